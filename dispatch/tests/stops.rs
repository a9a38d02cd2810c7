//! A lane that is to end ends: it waits for an answer to what it has posted, and for nothing else. One whose term is over
//! does not wait for that either, and gives nothing back.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use auditrelay_audit::{Envelope, Event, HashKey};
use auditrelay_config::{Config, Overrides, load};
use auditrelay_dispatch::{
    Destination, Lane, Message, Metrics, Receipt, Router, Routes, SendError, Templates, Term,
    board::WaitsFor, destination::Found, lane::Setup, pace::Place, render::Style,
};
use auditrelay_store::{BatchEncoder, Content, Engine, LeaseLimit, Queue, SledOptions, Tenure};
use prometheus::Registry;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Loses answers, or accepts; looks take for ever.
struct Fake {
    loses: bool,
    posts: Arc<AtomicUsize>,
    looks: Arc<AtomicUsize>,
}

impl Destination for Fake {
    async fn post(&self, _: &Message) -> Result<Receipt, SendError> {
        self.posts.fetch_add(1, Ordering::Relaxed);
        match self.loses {
            false => Ok(Receipt::default()),
            true => Err(SendError::Unknown {
                after: None,
                reason: "the answer is lost".to_owned(),
            }),
        }
    }

    async fn find(&self, _: &Message, _: i64) -> Result<Found, SendError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }
}

fn config() -> Config {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let yaml = "channels: {ops: {preview: true, message_interval_milliseconds: 100, retry_max_seconds: 1}}\n\
        default_channel: ops\n";
    file.write_all(yaml.as_bytes()).expect("written");
    let loaded = load(Some(file.path()), [], Overrides::default());
    loaded.expect("valid").config
}

async fn append(queue: &Engine, routes: &Routes, id: u64) {
    let json = format!(
        r#"{{"level":"Metadata","auditID":"{id}","stage":"ResponseComplete","verb":"get","user":{{"username":"a"}},"stageTimestamp":"2026-11-26T08:00:00Z"}}"#
    );
    let envelope = Envelope::parse(&json).expect("an event");
    let event = Event {
        cluster: "prod",
        envelope: &envelope,
    };
    let (hint, _) = routes.at_the_door(&event).expect("somebody wants it");
    let mut batch = BatchEncoder::new("prod", 0, routes.id(), 0);
    let key = HashKey::new([1; 32]).unreadable("prod", json.as_bytes());
    let content = Content::Event {
        json: json.as_str().into(),
        body_unreadable: false,
    };
    batch.push(&key, &content, hint);
    queue.append(batch.finish()).await.expect("durable");
}

async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waiting.await.expect("it comes");
}

/// Why a lane ends.
enum By {
    Word,
    Term,
}

/// Ends a lane where it waits, and says whether what it had is still leased.
async fn ended(loses: bool, by: By) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = Engine::open(&SledOptions::new(folder.path(), 0));
    let (queue, config) = (opened.expect("opens").queue, config());
    let metrics = Metrics::new(&Registry::new()).expect("registered");
    let routes = || Routes::new(&config);
    let (stop_router, router_stopped) = watch::channel(false);
    let window = Duration::from_secs(900);
    let router = Router::load(queue.clone(), routes(), window, 1_000, metrics.clone());
    let router = tokio::spawn(router.await.expect("loads").run(router_stopped));
    let (name, channel) = config.channels.first_key_value().expect("one");
    let [posts, looks] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let rendering = Arc::new(Semaphore::new(1));
    let (holder, tenure) = Tenure::until(Instant::now() + 100 * PATIENCE);
    let setup = Setup {
        queue: queue.clone(),
        channel: name.as_str(),
        config: channel,
        style: Style::of(channel, false, Arc::new(Templates::default())),
        // The next message has to wait for its turn when it is ready already.
        place: Place::new("ops", Duration::from_secs(3_600), 1),
        workspace: None,
        key: HashKey::new([2; 32]),
        metrics: metrics.clone(),
        rendering: Arc::clone(&rendering),
        term: Term::begin(tenure, Duration::ZERO),
    };
    let destination = Fake {
        loses,
        posts: Arc::clone(&posts),
        looks: Arc::clone(&looks),
    };
    let (stop, stopped) = watch::channel(false);
    let lane = tokio::spawn(Lane::new(setup, destination).run(stopped));
    append(&queue, &routes(), 1).await;
    until(|| posts.load(Ordering::Relaxed) == 1).await;
    if loses {
        until(|| looks.load(Ordering::Relaxed) == 1).await;
    } else {
        // It waits for its turn twice, before and after it made the message.
        let permit = rendering.acquire().await.expect("open");
        append(&queue, &routes(), 2).await;
        let waits_for = |what| metrics.board.lanes()["ops"].waits_for == what;
        until(|| waits_for(WaitsFor::Rendering)).await;
        drop(permit);
        until(|| waits_for(WaitsFor::Pace)).await;
    }
    match by {
        By::Word => stop.send(true).expect("it runs"),
        By::Term => drop(holder),
    }
    let lane = timeout(PATIENCE, lane).await.expect("it ends");
    lane.expect("no panic").expect("no error");
    assert_eq!(posts.load(Ordering::Relaxed), 1);
    let limit = LeaseLimit {
        events_max: 10,
        bytes_max: usize::MAX,
    };
    let lease = queue.lease("ops", limit, 5).await.expect("read");
    let resumed = lease.expect("one waits").resumed;
    stop_router.send(true).expect("it runs");
    router.await.expect("no panic").expect("no error");
    resumed
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_turn_is_given_back() {
    assert!(!ended(false, By::Word).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_turn_when_the_term_is_over_is_not_given_back() {
    assert!(ended(false, By::Term).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_posted_is_kept_when_the_look_is_cut_short() {
    assert!(ended(true, By::Word).await);
    assert!(ended(true, By::Term).await);
}
