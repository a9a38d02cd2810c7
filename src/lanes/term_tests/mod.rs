//! Lanes whose term ends, and those of whoever leads next on the same queue, against the local Slack: what is posted,
//! what is acked, what is told twice.

mod after;
mod before;
mod pace;

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use auditrelay_audit::{Envelope, Event, HashKey};
use auditrelay_config::{Config, Overrides, load};
use auditrelay_dispatch::{HoldBook, Holds, Metrics, Router, Routes, Term, template::Templates};
use auditrelay_loadtest::slack::{LocalSlack, Options};
use auditrelay_store::{
    BatchEncoder, Content, Engine, LeaseLimit, Ledger, Limits, Queue, QueueError, SledOptions,
    Tenure, TenureHolder,
};
use prometheus::Registry;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{Https, Lanes, Plan};

/// Only a broken relay is waited for as long.
const PATIENCE: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

async fn slack(options: Options) -> LocalSlack {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    LocalSlack::start(free, options).await.expect("a free port")
}

/// A configuration in which `API_URL` stands for the local Slack's.
fn config(slack: &LocalSlack, text: &str) -> Arc<Config> {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("a.yaml");
    let text = text.replace("API_URL", &slack.api_url());
    std::fs::write(&file, text).expect("written");
    let loaded = load(Some(&file), [], Overrides::default());
    Arc::new(loaded.expect("valid").config)
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = timeout(PATIENCE, async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waiting.await.is_ok(), "never: {what}");
}

/// The queue in a folder, as soon as the one before has let go of it.
async fn opened(folder: &Path) -> Engine {
    let mut queue = None;
    until("the queue opens", || {
        let options = SledOptions {
            limits: Limits {
                detail_ms: 3_600_000,
                detail_bytes_max: 1 << 20,
                ..Limits::default()
            },
            ..SledOptions::new(folder, 0)
        };
        let opened = Engine::open(&options).ok();
        queue = opened.map(|opened| opened.queue);
        queue.is_some()
    })
    .await;
    queue.expect("opened")
}

/// Who leads: the queue, its router and its lanes.
struct Leader {
    queue: Engine,
    metrics: Metrics,
    book: HoldBook,
    term: Term,
    routes: Routes,
    lanes: JoinHandle<Result<(), QueueError>>,
    router: JoinHandle<Result<(), QueueError>>,
    stop: watch::Sender<bool>,
    _plans: watch::Sender<Arc<Plan>>,
}

impl Leader {
    /// Opens the queue of the one before, which has ended.
    async fn begin(folder: &Path, config: &Arc<Config>, term: Term, holds: Holds) -> Self {
        let queue = opened(folder).await;
        let metrics = Metrics::new(&Registry::new()).expect("registered");
        let window = Duration::from_secs(900);
        let (stop, stopped) = watch::channel(false);
        let routes = Routes::new(config);
        let router = Router::load(queue.clone(), routes, window, 1_000, metrics.clone());
        let router = router.await.expect("loads").run(stopped.clone());
        let templates: BTreeMap<String, Arc<Templates>> = Templates::all(config).expect("work");
        let plan = Plan::new(config, &templates, &Https::default()).expect("tokens");
        let book = HoldBook::new(holds);
        let lanes = Lanes::new(
            queue.clone(),
            metrics.clone(),
            HashKey::new([2; 32]),
            (term.clone(), book.clone()),
            &plan,
        );
        let (plans, wanted) = watch::channel(Arc::new(plan));
        Self {
            metrics,
            book,
            term,
            routes: Routes::new(config),
            lanes: tokio::spawn(lanes.run(wanted, stopped)),
            router: tokio::spawn(router),
            stop,
            queue,
            _plans: plans,
        }
    }

    async fn append(&self, id: u64) {
        self.append_all(&[id]).await;
    }

    /// Events of one batch: they are routed, and wait, at the same time.
    async fn append_all(&self, ids: &[u64]) {
        let mut batch = BatchEncoder::new("prod", 0, self.routes.id(), 0);
        for id in ids {
            let json = format!(
                r#"{{"level":"Metadata","auditID":"{id}","stage":"ResponseComplete","verb":"get","user":{{"username":"u{id}"}},"stageTimestamp":"2026-11-26T08:00:00Z"}}"#
            );
            let envelope = Envelope::parse(&json).expect("an event");
            let event = Event {
                cluster: "prod",
                envelope: &envelope,
            };
            let advice = self.routes.at_the_door(&event);
            let (hint, _) = advice.expect("somebody wants it");
            let key = HashKey::new([1; 32]).unreadable("prod", json.as_bytes());
            let content = Content::Event {
                json: json.as_str().into(),
                body_unreadable: false,
            };
            batch.push(&key, &content, hint);
        }
        let appended = Queue::append(&self.queue, batch.finish()).await;
        appended.expect("durable");
    }

    fn posts(&self, outcome: &str) -> u64 {
        self.metrics.posts.with_label_values(&["a", outcome]).get()
    }

    fn looks(&self, outcome: &str) -> u64 {
        let looks = &self.metrics.lookups;
        looks.with_label_values(&["a", outcome]).get()
    }

    fn delivered(&self) -> u64 {
        let channels = self.queue.ledger().channels;
        channels.get("a").map_or(0, |one| one.delivered)
    }

    async fn until_delivered(&self, events: u64) {
        until("delivered", || self.delivered() == events).await;
    }

    /// Waits until its lanes have ended by themselves, as their term is over, and closes the queue; whether what was
    /// leased still is.
    async fn ended(self) -> (Ledger, bool) {
        let lanes = timeout(PATIENCE, self.lanes).await.expect("they end");
        lanes.expect("no panic").expect("no error");
        assert!(self.term.is_over());
        for outcome in ["later", "park", "never", "withheld"] {
            assert_eq!(
                self.metrics.posts.with_label_values(&["a", outcome]).get(),
                0
            );
        }
        assert_eq!(self.metrics.parked.with_label_values(&["a"]).get(), 0);
        self.metrics.no_lanes();
        assert!(self.metrics.board.lanes().is_empty());
        self.stop.send_replace(true);
        self.router.await.expect("no panic").expect("no error");
        let ledger = self.queue.ledger();
        let limit = LeaseLimit {
            events_max: 10,
            bytes_max: usize::MAX,
        };
        let lease = self.queue.lease("a", limit, 5).await.expect("read");
        let resumed = lease.is_some_and(|lease| lease.resumed);
        // Which `finish` would not close.
        drop(self.queue);
        (ledger, resumed)
    }

    /// Tells it to end, as at a shutdown.
    async fn stop(self) {
        self.stop.send_replace(true);
        let lanes = timeout(PATIENCE, self.lanes).await.expect("they end");
        lanes.expect("no panic").expect("no error");
        self.router.await.expect("no panic").expect("no error");
        // Which `finish` would not close.
        drop(self.queue);
    }
}

/// A term that lasts so long, unless it is extended or its holder dropped.
fn lasting(so_long: Duration, margin: Duration) -> (TenureHolder, Term) {
    let (holder, tenure) = Tenure::until(Instant::now() + so_long);
    (holder, Term::begin(tenure, margin))
}

/// Messages that were tried to be posted, refused ones included.
fn attempts(slack: &LocalSlack) -> usize {
    let posts = ["chat.postMessage", "webhook"];
    let is_post = |method: &str| posts.contains(&method);
    let attempts = slack.attempts().into_iter();
    attempts.filter(|one| is_post(&one.method)).count()
}
