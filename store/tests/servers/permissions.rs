//! What docs/jetstream.md lets the relays' user do is enough for all that a relay does, and nothing in it is of no use.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
};

use auditrelay_audit::Severity;
use auditrelay_loadtest::nats::{NatsOptions, NatsServer};
use auditrelay_store::{
    Accepted, Engine, Intake, Queue, QueueError, StreamOptions,
    jetstream::{Credentials, Inbox, JetStream, JetStreamOptions, Leadership},
};
use futures_util::StreamExt as _;
use tokio::{sync::watch, task::JoinHandle};

use super::{one, server, support, until};

/// The block of the page, as it stands there.
fn documented() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/jetstream.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let blocks = page.split("```").skip(1).step_by(2);
    let mut blocks = blocks.map(str::trim_start);
    let block = blocks.find(|block| block.starts_with("accounts {"));
    block.expect("a block of accounts").to_owned()
}

/// What stands in quotes after `key: [`.
fn listed(block: &str, key: &str) -> Vec<String> {
    let (_, list) = block.split_once(&format!("{key}: [")).expect(key);
    let (list, _) = list.split_once(']').expect("an end");
    let quoted = list.split('"').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// Whether a subject is one of a pattern, `*` and `>` as NATS reads them.
fn is_of(subject: &str, pattern: &str) -> bool {
    let (mut subject, mut pattern) = (subject.split('.'), pattern.split('.'));
    loop {
        match (subject.next(), pattern.next()) {
            (Some(_), Some(">")) | (None, None) => return true,
            (Some(one), Some(other)) if other == "*" || one == other => {}
            _ => return false,
        }
    }
}

/// A server with the account of the page, and one more user, who sees everything.
fn start(block: &str) -> Option<NatsServer> {
    let block = block
        .replace("$RELAY_PASSWORD", "secret")
        .replace("users: [{", "users: [{user: watcher, password: watcher}, {");
    server(NatsOptions {
        lines: block,
        // Small, so that a block comes in pieces.
        payload_bytes_max: Some(64 << 10),
        ..NatsOptions::default()
    })
}

/// Gathers the subjects that anybody publishes to.
async fn watched(server: &NatsServer) -> Arc<Mutex<BTreeSet<String>>> {
    let with =
        async_nats::ConnectOptions::with_user_and_password("watcher".into(), "watcher".into());
    let client = with.connect(server.address()).await.expect("connected");
    let mut all = client.subscribe(">").await.expect("subscribed");
    client.flush().await.expect("the server knows");
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let subjects = seen.clone();
    tokio::spawn(async move {
        while let Some(message) = all.next().await {
            let mut subjects = subjects.lock().expect("no panic");
            subjects.insert(message.subject.to_string());
        }
        drop(client);
    });
    seen
}

fn options(server: &NatsServer) -> JetStreamOptions {
    JetStreamOptions {
        name: "auditrelay".to_owned(),
        credentials: Credentials::User("auditrelay".to_owned(), "secret".into()),
        ..one(server)
    }
}

async fn open(relay: &JetStream) -> Engine {
    let options = StreamOptions {
        // So that something is purged.
        segment_bytes: 4 << 10,
        ..StreamOptions::new(1_700_000_000_000)
    };
    relay.open(options).await.expect("it opens")
}

type Pump = (watch::Sender<bool>, JoinHandle<Result<(), QueueError>>);

fn pump(inbox: &Inbox, engine: &Engine) -> Pump {
    let (stop, stopping) = watch::channel(false);
    let (inbox, engine) = (inbox.clone(), engine.clone());
    (
        stop,
        tokio::spawn(async move { inbox.pump(engine, stopping).await }),
    )
}

/// Takes batches through the inbox and the queue to their end.
async fn passes(inbox: &Inbox, engine: &Engine) {
    // Larger than a message may be.
    let large = vec![support::noise(300_000, 7)];
    for events in [vec!["{}".to_owned()], large] {
        inbox.append(support::batch(events)).await.expect("stored");
        let blocks = engine.unrouted(64).await.expect("an answer");
        engine
            .route(support::all_to("ops", Severity::Info, &blocks))
            .await
            .expect("routed");
        let lease = engine.lease("ops", support::ALL, 7).await;
        let lease = lease.expect("sealed").expect("a lease");
        let accepted = Accepted::at(8);
        engine.ack(&lease.id, accepted).await.expect("settled");
    }
}

/// Leaves a value to whoever leads next, asks who leads, and answers.
async fn leaves_and_asks(relay: &JetStream, leads: &Leadership) {
    relay.keep("holds", b"{}".to_vec()).await.expect("kept");
    let mut questions = relay.questions(leads).await.expect("it listens");
    until("who leads is known", async || {
        relay.leader().borrow().is_some()
    })
    .await;
    let mut answer = relay.ask(b"what?".to_vec()).await.expect("asked");
    let question = questions.next().await.expect("one");
    let (ended, piece) = tokio::join!(question.end(), answer.next());
    ended.expect("taken");
    piece.expect("an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_allows_is_enough_and_of_use() {
    let block = documented();
    let Some(server) = start(&block) else { return };
    let seen = watched(&server).await;
    let one = JetStream::connect_when_there(&options(&server))
        .await
        .expect("connected");
    one.agree_on_key(b"mark").await.expect("agreed");
    let leads = one.lead("one").await.expect("it leads");
    let engine = open(&one).await;
    let inbox = one.inbox();
    let (stop, pumping) = pump(&inbox, &engine);
    passes(&inbox, &engine).await;
    leaves_and_asks(&one, &leads).await;
    // More room than there is, which the second one gives.
    let larger = JetStreamOptions {
        inbox_bytes_max: 128 << 20,
        ledger_bytes_max: 512 << 20,
        ..options(&server)
    };
    let other = JetStream::connect_when_there(&larger)
        .await
        .expect("connected");
    other.agree_on_key(b"mark").await.expect("agreed");
    let door = other.inbox();
    until("the leader answers", async || {
        door.learn_inputs().await.is_ok()
    })
    .await;
    door.admit(1_000).expect("room");
    let purged = |stream: &str| format!("$JS.API.STREAM.PURGE.auditrelay-{stream}");
    for stream in ["inbox", "ledger"] {
        let subject = purged(stream);
        until(&subject, async || {
            seen.lock().expect("no panic").contains(&subject)
        })
        .await;
    }
    stop.send(true).expect("it runs");
    pumping.await.expect("no panic").expect("no error");
    leads.resign().await;
    let leads = other.lead("two").await.expect("it leads");
    let engine = open(&other).await;
    let (stop, pumping) = pump(&door, &engine);
    passes(&door, &engine).await;
    stop.send(true).expect("it runs");
    pumping.await.expect("no panic").expect("no error");
    leads.resign().await;

    let log = server.log();
    let refused: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("Violation"))
        .collect();
    assert_eq!(refused, [""; 0]);
    let mut seen = seen.lock().expect("no panic").clone();
    let patterns = listed(&block, "publish");
    assert!(patterns.len() > 10, "{patterns:?}");
    let idle = |pattern: &&String| !seen.iter().any(|subject| is_of(subject, pattern));
    let idle: Vec<String> = patterns.iter().filter(idle).cloned().collect();
    seen.retain(|subject| !subject.starts_with("_INBOX."));
    // A lone server's lease has no more replicas to be given.
    assert_eq!(
        idle,
        ["$JS.API.STREAM.UPDATE.KV_auditrelay-lease"],
        "{seen:#?}"
    );
    may_not_delete(&server).await;
}

/// A stream, with the relays' user.
async fn may_not_delete(server: &NatsServer) {
    let with =
        async_nats::ConnectOptions::with_user_and_password("auditrelay".into(), "secret".into());
    let client = with.connect(server.address()).await.expect("connected");
    let deletes = "$JS.API.STREAM.DELETE.auditrelay-ledger";
    client.publish(deletes, "".into()).await.expect("sent");
    client.flush().await.expect("the server has it");
    until("it may not delete", async || {
        let log = server.log();
        log.lines()
            .any(|line| line.contains("Violation") && line.contains(deletes))
    })
    .await;
}

#[test]
fn patterns_are_read_as_the_servers_read_them() {
    for (subject, pattern) in [("a.b", "a.b"), ("a.b", "a.*"), ("a.b.c", "a.>"), ("a", "*")] {
        assert!(is_of(subject, pattern), "{subject} {pattern}");
    }
    for (subject, pattern) in [
        ("a", "a.>"),
        ("a.b", "a"),
        ("a.b", "*"),
        ("a", "a.b"),
        ("a.c", "a.b"),
    ] {
        assert!(!is_of(subject, pattern), "{subject} {pattern}");
    }
}
