//! Clients that post until the relay is gone, and what they were promised.

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use hyper::{Method, StatusCode, body::Bytes};
use tokio::task::JoinHandle;

use crate::support::{Running, metric, request};

/// Kubernetes: bodies are text; these are as hard to compress as text can be, six bits a byte.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What is posted.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub events: usize,
    /// Bytes of each event that do not compress, but to six bits each.
    pub noise_bytes: usize,
    /// Between an answer and the next request.
    pub pause: Duration,
}

/// A batch that was answered with 200.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    pub ids: Vec<String>,
    /// When its request began and when its answer was there, in ns since 1970.
    pub asked: u128,
    pub answered: u128,
}

/// Everything that was promised, over all rounds.
#[derive(Debug, Clone)]
pub struct Promises {
    shape: Shape,
    made: Arc<Mutex<Vec<Acknowledged>>>,
}

/// An `EventList` that is the same whenever it is made of the same IDs.
pub fn list(ids: &[String], noise_bytes: usize) -> String {
    let items: Vec<String> = ids.iter().map(|id| event(id, noise_bytes)).collect();
    format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{}]}}"#,
        items.join(",")
    )
}

fn event(id: &str, noise_bytes: usize) -> String {
    let mut text = format!(
        r#"{{"level":"Request","auditID":"{id}","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods","verb":"create","user":{{"username":"alice"}},"objectRef":{{"resource":"pods","namespace":"shop","name":"api","apiVersion":"v1"}},"responseStatus":{{"metadata":{{}},"code":201}},"requestReceivedTimestamp":"2026-11-21T03:15:29.131663Z","stageTimestamp":"2026-11-21T03:15:29.133245Z""#
    );
    if noise_bytes > 0 {
        let seed = id.bytes().fold(7, |seed: u64, byte| {
            seed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
        });
        let mut rng = fastrand::Rng::with_seed(seed);
        let noise: String = (0..noise_bytes)
            .map(|_| char::from(ALPHABET[rng.usize(..64)]))
            .collect();
        write!(
            text,
            r#","requestObject":{{"kind":"Pod","metadata":{{"name":"{noise}"}}}}"#
        )
        .expect("text");
    }
    text.push('}');
    text
}

fn now() -> u128 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_nanos()
}

impl Promises {
    pub fn new(shape: Shape) -> Self {
        let made = Arc::default();
        Self { shape, made }
    }

    pub fn all(&self) -> Vec<Acknowledged> {
        self.made.lock().expect("no panic").clone()
    }

    pub fn ids(&self) -> Vec<String> {
        let made = self.made.lock().expect("no panic");
        made.iter().flat_map(|one| one.ids.clone()).collect()
    }

    pub fn events(&self) -> u64 {
        let made = self.made.lock().expect("no panic");
        made.iter().map(|one| one.ids.len() as u64).sum()
    }

    /// Waits until so many events are acknowledged.
    pub async fn reach(&self, events: u64) {
        let reached = async {
            while self.events() < events {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let patience = tokio::time::timeout(crate::support::PATIENCE, reached);
        patience.await.expect("something is acknowledged");
    }

    /// Clients that post until nobody answers any more. Whoever is refused for now sends again.
    pub fn posters(&self, webhook: SocketAddr, count: usize, prefix: &str) -> Vec<JoinHandle<()>> {
        let poster = |poster| {
            let (this, prefix) = (self.clone(), format!("{prefix}-p{poster}"));
            tokio::spawn(async move {
                for n in 0.. {
                    let ids = (0..this.shape.events).map(|event| format!("{prefix}-n{n}-e{event}"));
                    if !this.post(webhook, ids.collect()).await {
                        return;
                    }
                    tokio::time::sleep(this.shape.pause).await;
                }
            })
        };
        (0..count).map(poster).collect()
    }

    /// Posts one batch until it is acknowledged; `false` when nobody answers.
    pub async fn post(&self, webhook: SocketAddr, ids: Vec<String>) -> bool {
        let body = Bytes::from(list(&ids, self.shape.noise_bytes));
        loop {
            let asked = now();
            match request(webhook, Method::POST, "/webhook", body.clone()).await {
                Some((StatusCode::OK, _)) => {
                    let answered = now();
                    self.made.lock().expect("no panic").push(Acknowledged {
                        ids,
                        asked,
                        answered,
                    });
                    return true;
                }
                Some((StatusCode::SERVICE_UNAVAILABLE, _)) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Some((status, body)) => panic!("{status}: {body:?}"),
                None => return false,
            }
        }
    }

    /// What a relay that has just started says about what was promised before.
    pub async fn glance(&self, relay: &Running) -> Result<(), String> {
        let metrics = relay.get("/metrics").await.1;
        if metric(&metrics, "auditrelay_store_moved_aside") != 0.0 {
            return Err("the store was moved aside".to_owned());
        }
        let ledger = relay.ledger().await;
        if ledger["balanced"] != true {
            return Err(format!("the ledger does not balance: {ledger}"));
        }
        let received = ledger["received"].as_u64().expect("a number");
        let promised = self.events();
        if received < promised {
            return Err(format!(
                "{received} events were received, {promised} were acknowledged"
            ));
        }
        Ok(())
    }

    /// Sends everything that was acknowledged again: each event has to be known.
    pub async fn all_are_known(&self, relay: &Running) -> Result<(), String> {
        let before = relay.drained_within(Duration::from_secs(300)).await;
        let ids = self.ids();
        for some in ids.chunks(100) {
            let (status, answer) = relay
                .post("/webhook", list(some, self.shape.noise_bytes))
                .await;
            if status != StatusCode::OK {
                return Err(format!("{status}: {answer}"));
            }
        }
        let after = relay.drained().await;
        let count = |ledger: &serde_json::Value| ledger["duplicates"].as_u64().expect("a number");
        let (known, all) = (count(&after) - count(&before), ids.len() as u64);
        if known != all {
            return Err(format!(
                "{} of {all} acknowledged events are lost",
                all - known
            ));
        }
        Ok(())
    }
}

/// Waits for clients to notice that nobody answers.
pub async fn ended(posters: Vec<JoinHandle<()>>) {
    for poster in posters {
        poster.await.expect("no panic");
    }
}
