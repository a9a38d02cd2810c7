//! A term that ends before a message leaves: nothing is posted, by whatever the lane was kept.

use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack, Options, Via};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};

use super::{Leader, PATIENCE, SECOND, attempts, config, lasting, slack, until};
use auditrelay_dispatch::Holds;
use auditrelay_store::Queue;
use std::time::Duration;
use tokio::time::{Instant, timeout};

const CONFIG: &str = "
slack: { token: xoxb-test, api_url: API_URL, proxy: PROXY, timeout_seconds: 20 }
channels: { a: { slack_channel: CAAAA, message_interval_milliseconds: 100 } }
default_channel: a
";

/// A proxy that connects when it is told to: what a slow way to Slack is.
pub(super) struct SlowProxy {
    pub(super) url: String,
    /// Connections that wait; each is told whether to go on by its sender.
    waiting: mpsc::UnboundedReceiver<Waiting>,
}

pub(super) struct Waiting {
    pub(super) go_on: oneshot::Sender<()>,
    /// When the client has closed it.
    closed: oneshot::Receiver<()>,
}

impl SlowProxy {
    pub(super) async fn start(slack: &LocalSlack) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (told, waiting) = mpsc::unbounded_channel();
        let slack = slack.addr();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (go_on, may_go_on) = oneshot::channel();
                let (ended, closed) = oneshot::channel();
                if told.send(Waiting { go_on, closed }).is_err() {
                    return;
                }
                tokio::spawn(async move {
                    through(client, slack, may_go_on).await;
                    // The test may have ended.
                    let _ = ended.send(());
                });
            }
        });
        Self { url, waiting }
    }

    pub(super) async fn next(&mut self) -> Waiting {
        let next = timeout(PATIENCE, self.waiting.recv()).await;
        next.expect("somebody connects").expect("it runs")
    }

    /// Nothing waits from now on.
    pub(super) fn open(mut self) {
        tokio::spawn(async move {
            while let Some(next) = self.waiting.recv().await {
                // It may have been given up.
                let _ = next.go_on.send(());
            }
        });
    }
}

async fn through(
    mut client: TcpStream,
    slack: std::net::SocketAddr,
    may_go_on: oneshot::Receiver<()>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    tokio::select! {
        told = may_go_on => if told.is_err() { return },
        // A client says nothing before it is answered: it has gone.
        _ = client.read_u8() => return,
    }
    let mut server = TcpStream::connect(slack).await.expect("Slack listens");
    let answered = client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
    if answered.is_ok() {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_took_too_long_to_connect_is_withheld_and_posted_when_the_lease_lasts_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Options::default()).await;
    let mut proxy = SlowProxy::start(&slack).await;
    let config = config(&slack, &CONFIG.replace("PROXY", &proxy.url));
    let (holder, term) = lasting(20 * SECOND, 19 * SECOND);
    let leader = Leader::begin(folder.path(), &config, term.clone(), Holds::default()).await;
    leader.append(1).await;
    let first = loop {
        holder.extend(Instant::now() + 20 * SECOND);
        tokio::select! {
            first = proxy.next() => break first,
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    };
    until("it ends soon", || !term.may_post()).await;
    first.go_on.send(()).expect("it waits");
    let closed = timeout(PATIENCE, first.closed).await.expect("it is closed");
    closed.expect("it was connected");
    assert_eq!(attempts(&slack), 0, "posted at the end of its lease");
    assert!(!term.is_over());
    holder.extend(Instant::now() + 40 * SECOND);
    let second = proxy.next().await;
    second.go_on.send(()).expect("it waits");
    leader.until_delivered(1).await;
    assert_eq!(attempts(&slack), 1);
    // Nothing of it was a fault of anybody.
    assert_eq!(leader.posts("later") + leader.posts("unknown"), 0);
    assert_eq!(leader.posts("accepted"), 1);
    assert_eq!(leader.metrics.board.incidents(), []);
    leader.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_ends_while_it_connects_posts_nothing_and_the_next_one_posts_it_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Options::default()).await;
    let mut proxy = SlowProxy::start(&slack).await;
    let (holder, term) = lasting(60 * SECOND, SECOND);
    let leader = Leader::begin(
        folder.path(),
        &config(&slack, &CONFIG.replace("PROXY", &proxy.url)),
        term,
        Holds::default(),
    )
    .await;
    leader.append(1).await;
    let first = proxy.next().await;
    drop(holder);
    let closed = timeout(PATIENCE, first.closed).await.expect("it is closed");
    closed.expect("it was connected");
    let (ledger, resumed) = leader.ended().await;
    assert_eq!(ledger.channels["a"].delivered, 0);
    assert!(resumed, "given back by a lane whose lease had ended");
    assert_eq!(attempts(&slack), 0);
    let direct = CONFIG.replace(", proxy: PROXY", "");
    // Long enough that it looks before that is over, also on a busy machine.
    let direct = direct.replace("timeout_seconds: 20", "timeout_seconds: 6");
    let begun = Instant::now();
    let (_holder, term) = lasting(60 * SECOND, SECOND);
    let next = Leader::begin(
        folder.path(),
        &config(&slack, &direct),
        term,
        Holds::default(),
    )
    .await;
    next.until_delivered(1).await;
    assert!(begun.elapsed() >= 5 * SECOND, "it may come yet");
    assert_eq!(attempts(&slack), 1);
    assert!(next.looks("absent") >= 2 && next.looks("found") == 0);
    let text = slack.posts()[0].body.to_string();
    assert!(!text.contains("ossibly repeated"), "{text}");
    next.stop().await;
}

/// The process is stopped (SIGSTOP) while it connects, until its lease is over: as it goes on, everything is there.
#[test]
fn a_relay_that_was_stopped_past_its_lease_posts_nothing_as_it_goes_on() {
    // It runs out by itself, and not before it is to: it is extended while the relay begins.
    const LEASE: Duration = Duration::from_secs(8);
    let outside = tokio::runtime::Runtime::new().expect("threads");
    let folder = tempfile::tempdir().expect("a folder");
    let (slack, mut proxy) = outside.block_on(async {
        let slack = slack(Options::default()).await;
        let proxy = SlowProxy::start(&slack).await;
        (slack, proxy)
    });
    let config = config(&slack, &CONFIG.replace("PROXY", &proxy.url));
    let (holder, term) = {
        let _entered = outside.enter();
        lasting(LEASE, SECOND)
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = std::sync::mpsc::channel::<()>();
    let (path, its_term) = (folder.path().to_owned(), term.clone());
    let relay = std::thread::spawn(move || {
        let inside = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a thread");
        inside.block_on(async {
            let leader = Leader::begin(&path, &config, its_term, Holds::default()).await;
            leader.append(1).await;
            // It stands still when it has connected, and goes on when it is told to.
            tokio::spawn(async move {
                stopped.await.expect("it connects");
                begun.send(()).expect("somebody waits");
                goes_on.recv().expect("it is told to");
            });
            leader.ended().await
        })
    });
    let first = outside.block_on(async {
        loop {
            holder.extend(Instant::now() + LEASE);
            tokio::select! {
                first = proxy.next() => return first,
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
    });
    stop.send(()).expect("it runs");
    has_begun.recv().expect("it stands still");
    outside.block_on(async {
        term.over().await;
        first.go_on.send(()).expect("it waits");
    });
    go_on.send(()).expect("it waits");
    let (ledger, resumed) = relay.join().expect("no panic");
    outside.block_on(async {
        let closed = timeout(PATIENCE, first.closed).await.expect("it is closed");
        closed.expect("it was connected");
    });
    assert_eq!(attempts(&slack), 0, "posted after its lease had ended");
    assert_eq!(ledger.channels["a"].delivered, 0);
    assert!(resumed);
}

/// How far the file behind a digest is, as it is noted for whoever follows.
async fn done(leader: &Leader) -> u32 {
    let threads = leader.queue.threads("a").await.expect("read");
    threads.first().expect("a digest").done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_withheld_is_not_taken_for_shared_by_the_next_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Options::default()).await;
    let text = CONFIG.replace("CAAAA,", "CAAAA, digest_details: file, sentences_max: 1,");
    let config = config(&slack, &text.replace(", proxy: PROXY", ""));
    // The answer to its first step comes when no other may begin.
    let first = "files.getUploadURLExternal";
    let milliseconds = 6_000;
    slack.inject(Fault::new(Effect::Delay { milliseconds }).of(first));
    let (holder, term) = lasting(20 * SECOND, 19 * SECOND);
    let leader = Leader::begin(folder.path(), &config, term.clone(), Holds::default()).await;
    // Two events become a digest.
    leader.append_all(&[1, 2]).await;
    until("its first step", || {
        holder.extend(Instant::now() + 20 * SECOND);
        slack.attempts().iter().any(|one| one.method == first)
    })
    .await;
    assert_ne!(done(&leader).await, 0, "it is noted before it begins");
    let noted = async {
        while done(&leader).await != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, noted).await.expect("it is noted");
    assert!(!term.may_post() && !term.is_over());
    drop(holder);
    leader.lanes.await.expect("no panic").expect("no error");
    leader.stop.send_replace(true);
    leader.router.await.expect("no panic").expect("no error");
    drop(leader.queue);
    let (_holder, term) = lasting(60 * SECOND, SECOND);
    let next = Leader::begin(folder.path(), &config, term, Holds::default()).await;
    let shared = || slack.posts().iter().any(|post| post.via == Via::File);
    until("shared", shared).await;
    next.stop().await;
}
