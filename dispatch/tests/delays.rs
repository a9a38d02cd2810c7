//! Delivery delay is measured to the time that the destination says, once an event, also where an answer was lost.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use auditrelay_audit::{Envelope, Event, HashKey};
use auditrelay_config::{Config, Overrides, load};
use auditrelay_dispatch::{
    Destination, Lane, Message, Metrics, Receipt, Router, Routes, SendError, Templates, Term,
    destination::Found, lane::Setup, pace::Place, render::Style,
};
use auditrelay_store::{BatchEncoder, Content, Engine, Queue, SledOptions};
use prometheus::Registry;
use tokio::sync::{Semaphore, watch};

/// 2026-11-26T08:00:00Z.
const STAGE_UNIX_S: i64 = 1_795_680_000;

/// How a destination answers.
#[derive(Clone, Copy)]
enum Kind {
    /// With the time of the message, three seconds after the event.
    Dated,
    /// The first answer is lost, and the message is found.
    Lost,
    /// Without a time.
    Undated,
    /// With a time before the event.
    Ahead,
}

struct Fake {
    kind: Kind,
    posts: Arc<AtomicUsize>,
}

impl Destination for Fake {
    async fn post(&self, _: &Message) -> Result<Receipt, SendError> {
        self.posts.fetch_add(1, Ordering::Relaxed);
        let ts = match self.kind {
            Kind::Dated => format!("{}.000000", STAGE_UNIX_S + 3),
            Kind::Ahead => format!("{}.000000", STAGE_UNIX_S - 3),
            Kind::Undated => String::new(),
            Kind::Lost => {
                return Err(SendError::Unknown {
                    after: None,
                    reason: "the answer is lost".to_owned(),
                });
            }
        };
        Ok(Receipt { ts })
    }

    async fn find(&self, _: &Message, _: i64) -> Result<Found, SendError> {
        let ts = format!("{}.000000", STAGE_UNIX_S + 3);
        Ok(Found::Posted(Receipt { ts }))
    }
}

fn config() -> Config {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let yaml = "channels: {ops: {preview: true}}\ndefault_channel: ops\n";
    file.write_all(yaml.as_bytes()).expect("written");
    load(Some(file.path()), [], Overrides::default())
        .expect("valid")
        .config
}

async fn append(queue: &Engine, routes: &Routes) {
    let json = r#"{"level":"Metadata","auditID":"a","stage":"ResponseComplete","verb":"get","user":{"username":"a"},"stageTimestamp":"2026-11-26T08:00:00Z"}"#;
    let envelope = Envelope::parse(json).expect("an event");
    let event = Event {
        cluster: "prod",
        envelope: &envelope,
    };
    let (hint, _) = routes.at_the_door(&event).expect("somebody wants it");
    let mut batch = BatchEncoder::new("prod", 0, routes.id(), 0);
    let key = HashKey::new([1; 32]).unreadable("prod", json.as_bytes());
    let content = Content::Event {
        json: json.into(),
        body_unreadable: false,
    };
    batch.push(&key, &content, hint);
    queue.append(batch.finish()).await.expect("durable");
}

/// The delays of one event, their sum, the last delivery, and how often it was posted.
async fn told(kind: Kind) -> (u64, f64, i64, usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = Engine::open(&SledOptions::new(folder.path(), 0));
    let (queue, config) = (opened.expect("opens").queue, config());
    let metrics = Metrics::new(&Registry::new()).expect("registered");
    append(&queue, &Routes::new(&config)).await;
    let (stop, stopped) = watch::channel(false);
    let router = Router::load(
        queue.clone(),
        Routes::new(&config),
        Duration::from_secs(900),
        1_000,
        metrics.clone(),
    );
    let router = tokio::spawn(router.await.expect("loads").run(stopped.clone()));
    let (name, channel) = config.channels.first_key_value().expect("one");
    let posts = Arc::new(AtomicUsize::new(0));
    let setup = Setup {
        queue: queue.clone(),
        channel: name.as_str(),
        config: channel,
        style: Style::of(channel, false, Arc::new(Templates::default())),
        place: Place::new("ops", channel.message_interval(), 1),
        workspace: None,
        key: HashKey::new([2; 32]),
        metrics: metrics.clone(),
        rendering: Arc::new(Semaphore::new(1)),
        term: Term::alone(),
    };
    let destination = Fake {
        kind,
        posts: Arc::clone(&posts),
    };
    let lane = tokio::spawn(Lane::new(setup, destination).run(stopped));
    let delivered = || {
        let channels = queue.ledger().channels;
        channels.get("ops").is_some_and(|one| one.delivered == 1)
    };
    while !delivered() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.send(true).expect("they run");
    lane.await.expect("no panic").expect("no error");
    router.await.expect("no panic").expect("no error");
    queue.finish().await.expect("closed");
    let delay = metrics.delivery_delay_seconds.with_label_values(&["ops"]);
    let last = metrics.last_delivered.with_label_values(&["ops"]);
    (
        delay.get_sample_count(),
        delay.get_sample_sum(),
        last.get(),
        posts.load(Ordering::Relaxed),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delay_ends_when_the_destination_says_that_the_message_was_posted() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs() as i64;
    for kind in [Kind::Dated, Kind::Lost] {
        let (count, sum, last, posts) = told(kind).await;
        assert_eq!((count, sum, posts), (1, 3.0, 1));
        assert!(last >= now, "{last}");
    }
    let (count, sum, ..) = told(Kind::Ahead).await;
    assert_eq!((count, sum), (1, 0.0));
    // This machine's clock counts, which is not the year's of the event.
    let (count, sum, ..) = told(Kind::Undated).await;
    let off = (now - STAGE_UNIX_S).max(0) as f64;
    assert!(count == 1 && sum >= off && sum != 3.0, "{sum}");
}
