//! A queue moves between a disk and JetStream while an API server goes on to send: nothing is lost and nothing told twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack};
use hyper::{Method, StatusCode, body::Bytes};
use serde_json::Value;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    Bench, LEASE_SECONDS, PATIENT, leads,
    support::{BINARY, PATIENCE, Running, ids, list, request, run, told},
};

pub const CONFIG: [&str; 2] = ["--config", "c.yaml"];
const PAUSE: Duration = Duration::from_millis(30);

impl Bench {
    /// A folder with a configuration, and the key that all of them have.
    pub fn place(&self, name: &str, queue: &str) -> PathBuf {
        let folder = self.folder(name);
        fs::create_dir_all(folder.join("data")).expect("made");
        fs::write(folder.join("data/dedup.key"), [7; 32]).expect("written");
        let api_url = self.slack.api_url();
        let text = format!(
            "data_dir: data
slack: {{token: xoxb-test, api_url: '{api_url}', messages_per_minute: 600}}
channels: {{ops: {{slack_channel: COPS, message_interval_milliseconds: 100, sentences_max: 20, message_events_max: 20, \
             park_retry_seconds: 1}}}}
ingest: {{ack_timeout_milliseconds: 20000}}
{queue}
"
        );
        fs::write(folder.join("c.yaml"), text).expect("written");
        folder
    }

    /// The same with its queue on JetStream, of this name.
    pub fn place_on_streams(&self, name: &str, of: &str) -> PathBuf {
        let (servers, monitoring) = (self.nats.address(), self.nats.monitoring());
        let queue = format!(
            "queue: {{jetstream: {{servers: ['{servers}'], monitoring: ['{monitoring}'], replicas: 1, name: {of}, \
             relay_name: {name}, lease_seconds: {LEASE_SECONDS}, {PATIENT}}}}}"
        );
        self.place(name, &queue)
    }
}

pub fn start(folder: &Path) -> Running {
    Running::start(folder, &[], &CONFIG)
}

/// An API server: sends batches, each until it is accepted, to whoever takes them now.
struct Sender {
    targets: Arc<Mutex<Vec<SocketAddr>>>,
    accepted: Arc<Mutex<Vec<String>>>,
    /// After the batch that is under way nothing is sent.
    is_over: Arc<AtomicBool>,
    sending: JoinHandle<()>,
}

impl Sender {
    fn start(targets: Vec<SocketAddr>) -> Self {
        let targets = Arc::new(Mutex::new(targets));
        let accepted: Arc<Mutex<Vec<String>>> = Arc::default();
        let is_over: Arc<AtomicBool> = Arc::default();
        let (to, done) = (Arc::clone(&targets), Arc::clone(&accepted));
        let ends = Arc::clone(&is_over);
        let sending = tokio::spawn(async move {
            for batch in 0.. {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let all: Vec<String> = ids(&format!("w-{batch}"), 3).collect();
                let body = list("alice", "get", all.clone());
                for attempt in 0.. {
                    let targets = to.lock().expect("no panic").clone();
                    let target = targets[(batch + attempt) % targets.len()];
                    let body = Bytes::from(body.clone());
                    let answer = request(target, Method::POST, "/webhook", body).await;
                    if answer.is_some_and(|(status, _)| status == StatusCode::OK) {
                        break;
                    }
                    sleep(PAUSE).await;
                }
                done.lock().expect("no panic").extend(all);
                sleep(PAUSE).await;
            }
        });
        Self {
            targets,
            accepted,
            is_over,
            sending,
        }
    }

    fn send_to(&self, targets: Vec<SocketAddr>) {
        *self.targets.lock().expect("no panic") = targets;
    }

    fn count(&self) -> usize {
        self.accepted.lock().expect("no panic").len()
    }

    /// Waits until so many more events are accepted.
    async fn more(&self, events: usize) {
        let enough = self.count() + events;
        let deadline = Instant::now() + PATIENCE;
        while self.count() < enough {
            assert!(Instant::now() < deadline, "nothing is accepted any more");
            sleep(PAUSE).await;
        }
    }

    /// What was accepted, and nothing after it is sent. A batch that is under way is waited for.
    async fn stop(self) -> Vec<String> {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = timeout(PATIENCE, self.sending).await;
        ended
            .expect("the last batch is accepted")
            .expect("no panic");
        self.accepted.lock().expect("no panic").clone()
    }
}

/// Waits until so many different events were received, and nothing waits. What is acknowledged may be in the inbox at first.
async fn settled(relay: &Running, events: u64) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ledger = relay.ledger().await;
        let count = |key: &str| ledger[key].as_u64().expect("a number");
        if count("received") - count("duplicates") == events {
            return relay.drained().await;
        }
        assert!(Instant::now() < deadline, "not {events}: {ledger}");
        sleep(PAUSE).await;
    }
}

/// Nothing gets through from here on.
pub fn archive(slack: &LocalSlack) {
    let code = "is_archived".into();
    slack.inject(Fault::new(Effect::Error { code }).times(10_000));
}

/// Leaves something of everything in a queue; what is to be told of it.
async fn fill(relay: &Running, folder: &Path, slack: &LocalSlack) -> Vec<String> {
    let post = async |body: String| {
        let (status, answer) = relay.post("/webhook", body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    };
    for (number, id) in ids("dead", 2).enumerate() {
        let code = "invalid_blocks".into();
        slack.inject(Fault::new(Effect::Error { code }).times(2));
        post(list("alice", "delete", [id])).await;
        settled(relay, number as u64 + 1).await;
    }
    post(list("alice", "get", ["odd".to_owned()]).replace("\"auditID\":\"odd\"", "\"auditID\":7"))
        .await;
    let mute = [
        "mute", "add", "--user", "bob", "--for", "1h", "--author", "me", "--reason", "quiet",
    ];
    let (code, _, why) = run(folder, &[], &[&mute, CONFIG.as_slice()].concat());
    assert_eq!(code, 0, "{why}");
    post(list("bob", "get", ids("muted", 3))).await;
    let early: Vec<String> = ids("early", 4).collect();
    post(list("alice", "get", early.clone())).await;
    settled(relay, 10).await;
    archive(slack);
    let late: Vec<String> = ids("late", 30).collect();
    post(list("alice", "get", late.clone())).await;
    early.into_iter().chain(late).collect()
}

/// `export - | import -`, which run until [`Pipe::end`].
struct Pipe {
    export: Child,
    import: Child,
    said: PathBuf,
}

impl Pipe {
    fn start((from, export): (&Path, &[&str]), (to, import): (&Path, &[&str])) -> Self {
        let said = to.join("import.out");
        let mut export = command(from, &[&["export", "-"], export].concat());
        let mut export = export.stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = export.stdout.take().expect("piped");
        let mut import = command(to, &[&["import", "-"], import].concat());
        let out = fs::File::create(&said).expect("a file");
        let import = import.stdin(lines).stdout(out).spawn();
        Self {
            export,
            import: import.expect("it starts"),
            said,
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).expect("text")
    }

    async fn until_said(&self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said().contains(what) {
            assert!(Instant::now() < deadline, "not said: {what}");
            sleep(PAUSE).await;
        }
    }

    /// What the import said; both have to end well.
    async fn end(self) -> String {
        let said = self.said.clone();
        let ended = tokio::task::spawn_blocking(move || {
            let ended = |child: Child| child.wait_with_output().expect("it ends");
            (ended(self.export), ended(self.import))
        });
        let (export, import) = ended.await.expect("no panic");
        assert!(export.status.success(), "{}", stderr(&export));
        assert!(import.status.success(), "{}", stderr(&import));
        fs::read_to_string(said).expect("text")
    }
}

pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(args)
        .env_clear()
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    command
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

pub async fn stop(relay: &mut Running) {
    relay.signal("-TERM");
    assert!(relay.wait().await.success(), "{}", relay.all_logs());
}

/// Waits until one of these leads.
async fn leader<'r>(relays: &[&'r Running]) -> &'r Running {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for relay in relays {
            if leads(relay).await {
                return relay;
            }
        }
        assert!(Instant::now() < deadline, "nobody leads");
        sleep(PAUSE).await;
    }
}

/// What Slack was told before it forgot it.
type Before = (BTreeMap<String, u32>, BTreeMap<String, u32>);

/// Everything was taken over, and each event that is to be told was told once; the ledger.
async fn all_once(
    relay: &Running,
    folder: &Path,
    expected: Vec<String>,
    (before, slack): (Before, &LocalSlack),
) -> Value {
    let unique: BTreeSet<String> = expected.into_iter().collect();
    // Beside what is told: two dead letters, what is no event, and three that are muted.
    let ledger = settled(relay, unique.len() as u64 + 2 + 1 + 3).await;
    let since = told(slack);
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for (id, count) in [before.0, before.1, since.0, since.1].into_iter().flatten() {
        *times.entry(id).or_default() += count;
    }
    let times_of = |id: &String| times.get(id).copied().unwrap_or_default();
    let wrong = unique.iter().map(|id| (id, times_of(id)));
    let wrong: Vec<_> = wrong.filter(|(_, times)| *times != 1).collect();
    assert!(wrong.is_empty(), "not told once: {wrong:?}; {ledger}");
    assert_eq!(times.len(), unique.len(), "{times:?}");
    assert_eq!(ledger["balanced"], true, "{ledger}");
    assert_eq!(ledger["quarantined"], 1, "{ledger}");
    let ops = &ledger["channels"]["ops"];
    assert_eq!(ops["dead"], 2, "{ledger}");
    assert_eq!(ops["delivered"], unique.len(), "{ledger}");
    let mutes = ["mute", "list", "--json"];
    let (code, mutes, why) = run(folder, &[], &[&mutes, CONFIG.as_slice()].concat());
    assert_eq!(code, 0, "{why}");
    let mutes: Value = serde_json::from_str(&mutes).expect("JSON");
    assert!(mutes.to_string().contains("\"quiet\""), "{mutes}");
    ledger
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_disk_to_jetstream() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let disk = bench.place("disk", "");
    let (first, second) = (
        bench.place_on_streams("one", "moved"),
        bench.place_on_streams("two", "moved"),
    );
    let mut old = start(&disk);
    let mut expected = fill(&old, &disk, &bench.slack).await;
    let sender = Sender::start(vec![old.webhook]);
    sender.more(9).await;
    // Held before relays begin, however long the old one goes on.
    let pipe = Pipe::start(
        (&disk, &["--wait", "--config", "c.yaml"]),
        (&first, &CONFIG),
    );
    pipe.until_said("waiting for an export").await;
    let (one, two) = (start(&first), start(&second));
    // The API server got no answer from the old one, and repeats to a new one what the old one has.
    let both: Vec<String> = ids("both", 4).collect();
    for relay in [&old, &one, &two] {
        crate::post(relay, &both).await;
    }
    sender.send_to(vec![one.webhook, two.webhook]);
    sender.more(30).await;
    assert!(!leads(&one).await && !leads(&two).await);
    stop(&mut old).await;
    let before = told(&bench.slack);
    bench.slack.reset();
    let said = pipe.end().await;
    assert!(
        said.contains("read into the queue moved on JetStream"),
        "{said}"
    );
    assert!(said.contains("2 events among dead letters"), "{said}");
    sender.more(15).await;
    expected.extend(sender.stop().await);
    expected.extend(both);
    let leader = leader(&[&one, &two]).await;
    let ledger = all_once(leader, &first, expected, (before, &bench.slack)).await;
    assert!(ledger["duplicates"].as_u64() >= Some(8), "{ledger}");
    // What the old one had seen is known.
    crate::post(&two, &ids("late", 30).collect::<Vec<_>>()).await;
    let duplicates = ledger["duplicates"].as_u64().expect("a number") + 30;
    let deadline = Instant::now() + PATIENCE;
    while leader.ledger().await["duplicates"] != duplicates {
        assert!(Instant::now() < deadline, "{}", leader.ledger().await);
        sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_jetstream_to_a_disk() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let disk = bench.place("disk", "");
    let (first, second) = (
        bench.place_on_streams("one", "moved"),
        bench.place_on_streams("two", "moved"),
    );
    let one = start(&first);
    leader(&[&one]).await;
    let two = start(&second);
    let mut expected = fill(&one, &first, &bench.slack).await;
    let sender = Sender::start(vec![one.webhook, two.webhook]);
    sender.more(15).await;
    // Killed, so that the lease has to run out; and what the other one takes until then is in the inbox alone.
    one.kill();
    let inboxed: Vec<String> = ids("inboxed", 5).collect();
    crate::post(&two, &inboxed).await;
    two.kill();
    let before = told(&bench.slack);
    bench.slack.reset();
    // The API server goes on to send, and is not answered.
    let pipe = Pipe::start((&first, &CONFIG), (&disk, &CONFIG));
    let said = pipe.end().await;
    assert!(said.contains("2 events among dead letters"), "{said}");
    let new = start(&disk);
    sender.send_to(vec![new.webhook]);
    sender.more(15).await;
    expected.extend(sender.stop().await);
    expected.extend(inboxed);
    all_once(&new, &disk, expected, (before, &bench.slack)).await;
}
