//! The inbox on a real server: what was acknowledged comes to the leader's engine once and in order, whatever happens to
//! the servers, to replicas and to the pump meanwhile.

mod away;
mod files;
mod killed;
mod room;

use std::{path::Path, time::Duration};

use auditrelay_audit::EventKey;
use auditrelay_loadtest::nats::{NatsOptions, NatsServer};
use auditrelay_store::{
    BatchEncoder, Content, EncodedBatch, Engine, Hint, Queue, QueueError, SledOptions,
    jetstream::{Credentials, Durability, Inbox, JetStream, JetStreamOptions, Tls},
};
use tokio::{sync::watch, task::JoinHandle};

/// One server; `None` where there is no program.
fn server() -> Option<NatsServer> {
    NatsServer::start(&NatsOptions::default()).expect("it starts")
}

fn options(server: &NatsServer) -> JetStreamOptions {
    JetStreamOptions {
        servers: vec![server.address()],
        credentials: Credentials::None,
        tls: Tls::default(),
        replicas: 1,
        name: "relay".to_owned(),
        inbox_bytes_max: 64 << 20,
        ledger_bytes_max: 64 << 20,
        lease: Duration::from_secs(6),
        append_timeout: Duration::from_secs(30),
        durability: Durability::Synced(vec![server.monitoring().parse().expect("an address")]),
    }
}

async fn connect(options: &JetStreamOptions) -> JetStream {
    let connected = JetStream::connect_when_there(options).await;
    connected.expect("it connects")
}

fn engine(folder: &Path) -> Engine {
    let options = SledOptions::new(folder, 7);
    Engine::open(&options).expect("it opens").queue
}

/// Text that does not get much smaller by compression.
fn noise(bytes: usize, mut seed: u64) -> String {
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:016x}", seed ^ (seed >> 29)));
    }
    text
}

fn pushed(batch: &mut BatchEncoder, json: &str) {
    let key = EventKey {
        identity: json.len() as u64,
        fingerprint: [json.len() as u8; 16],
    };
    let content = Content::Event {
        json: json.into(),
        body_unreadable: false,
    };
    batch.push(&key, &content, Hint::default());
}

fn batch(json: &str) -> EncodedBatch {
    let mut batch = BatchEncoder::new("prod", 7, 0, 0);
    pushed(&mut batch, json);
    batch.finish()
}

/// What the engine was given, in order.
async fn taken(engine: &Engine) -> Vec<String> {
    if engine.ledger().waiting == 0 {
        return Vec::new();
    }
    let blocks = engine.unrouted(100_000).await.expect("blocks");
    let texts = blocks.iter().flat_map(|block| {
        let texts = block.texts().expect("whole");
        let all = 0..block.items.len();
        all.map(move |item| texts.get(item).to_owned())
    });
    texts.collect()
}

/// A pump that runs until it is stopped.
struct Pumping {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), QueueError>>,
}

fn pump(inbox: &Inbox, engine: &Engine) -> Pumping {
    let (stop, stopping) = watch::channel(false);
    let (inbox, engine) = (inbox.clone(), engine.clone());
    let task = tokio::spawn(async move { inbox.pump(engine, stopping).await });
    Pumping { stop, task }
}

impl Pumping {
    async fn end(self) {
        self.stop.send(true).expect("it runs");
        self.task.await.expect("no panic").expect("no failure");
    }

    async fn kill(self) {
        self.task.abort();
        let ended = self.task.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }
}

/// Waits for what becomes so by itself.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..3_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not in a minute: {what}");
}
