//! Watching the lease, for as long as there is a connection's runtime.
//!
//! The key is read every second. Whoever writes it publishes to a plain subject as well, so a plain subscription tells
//! when to read at once: it costs no consumer, and async-nats makes it again after each reconnect. What it says is not
//! believed, as it comes before the stream has taken it: reading goes on, quickly, until something is new.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, Subscriber};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::Instant,
};

use super::record::{Held, Register, Value};

const BETWEEN_MAX: Duration = Duration::from_secs(1);
const BETWEEN_MIN: Duration = Duration::from_millis(25);

/// The key as this replica saw it last.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Whether it was seen at all.
    pub(super) is_known: bool,
    pub(super) revision: u64,
    held: Held,
    /// When this revision was seen first: after it was read.
    since: Instant,
}

impl Seen {
    /// Whether it says that it is held by this one.
    pub(super) fn is_of(&self, value: &Value) -> bool {
        self.held.is_by(&value.tenure)
    }

    /// From when on it may be taken by one whose leases last so long, if it stays as it is.
    pub(super) fn free_at(&self, own_lease: Duration) -> Instant {
        self.since + self.held.lasts(own_lease)
    }

    /// How long requests of whoever holds it, or held it, may be under way after its end.
    pub(super) fn requests(&self) -> Duration {
        self.held.requests()
    }
}

/// A watch that runs.
#[derive(Debug)]
pub(in crate::jetstream) struct LeaseWatch {
    seen: watch::Receiver<Seen>,
    leader: watch::Receiver<Option<String>>,
    nudge: Arc<Notify>,
}

impl LeaseWatch {
    /// Begins to watch on a runtime, with whose end it ends.
    pub(in crate::jetstream) fn start(
        runtime: &Handle,
        client: Client,
        register: Register,
        lease: Duration,
    ) -> Self {
        let nothing = Seen {
            is_known: false,
            revision: 0,
            held: Held::ByUnknown,
            since: Instant::now(),
        };
        let (seen_by, seen) = watch::channel(nothing);
        let (leader_is, leader) = watch::channel(None);
        let nudge = Arc::new(Notify::new());
        let watching = Watching {
            client,
            register,
            lease,
            nudge: nudge.clone(),
            seen: seen_by,
            leader: leader_is,
            read: Instant::now(),
        };
        runtime.spawn(watching.run());
        Self {
            seen,
            leader,
            nudge,
        }
    }

    pub(super) fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }

    pub(super) fn leader(&self) -> watch::Receiver<Option<String>> {
        self.leader.clone()
    }

    /// The random ID of the hold of who leads, as this replica saw it last.
    pub(in crate::jetstream) fn tenure(&self) -> Option<String> {
        let leads = self.leader.borrow().is_some();
        match &self.seen.borrow().held {
            // It becomes a part of a subject; what no relay wrote may be anything.
            Held::By(value) if leads && is_id(&value.tenure) => Some(value.tenure.clone()),
            _ => None,
        }
    }

    /// Lets it read at once.
    pub(super) fn nudge(&self) -> Arc<Notify> {
        self.nudge.clone()
    }
}

struct Watching {
    client: Client,
    register: Register,
    lease: Duration,
    nudge: Arc<Notify>,
    seen: watch::Sender<Seen>,
    leader: watch::Sender<Option<String>>,
    /// When it was read last.
    read: Instant,
}

impl Watching {
    async fn run(mut self) {
        let mut news = None;
        let mut between = BETWEEN_MIN;
        loop {
            if news.is_none() {
                let subject = self.register.subject().to_owned();
                // Without it the key is read every second, and this is tried again.
                news = self.client.subscribe(subject).await.ok();
            }
            let is_new = self.look().await;
            between = if is_new {
                BETWEEN_MAX
            } else {
                (between * 2).min(BETWEEN_MAX)
            };
            self.tell_leader();
            let is_told = tokio::select! {
                () = tokio::time::sleep(between) => false,
                () = self.nudge.notified() => true,
                () = next(&mut news) => true,
            };
            if is_told {
                between = BETWEEN_MIN;
            }
        }
    }

    /// Reads it, and says whether it is new.
    async fn look(&mut self) -> bool {
        let Ok((revision, held)) = self.register.read().await else {
            return false;
        };
        // After the answer: whoever counts from here counts from later than who wrote it.
        self.read = Instant::now();
        let since = self.read;
        self.seen.send_if_modified(|seen| {
            let is_new = !seen.is_known || seen.revision != revision;
            if is_new {
                *seen = Seen {
                    is_known: true,
                    revision,
                    held,
                    since,
                };
            }
            is_new
        })
    }

    /// A leader who did not say so for a whole lease, or of whom nothing could be read for so long, is none.
    fn tell_leader(&self) {
        let seen = self.seen.borrow().clone();
        let now = Instant::now();
        let lasts = seen.held.lasts(self.lease);
        let is_current = now < seen.free_at(self.lease) && now < self.read + lasts;
        let leader = match seen.held {
            Held::By(value) if is_current => Some(value.replica),
            _ => None,
        };
        self.leader.send_if_modified(|told| {
            let is_new = *told != leader;
            *told = leader;
            is_new
        });
    }
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Waits for news, and takes all that there are.
async fn next(news: &mut Option<Subscriber>) {
    let Some(told) = news else {
        return std::future::pending().await;
    };
    let mut first = told.next().await;
    while first.is_some() {
        match told.next().now_or_never() {
            None => return,
            Some(message) => first = message,
        }
    }
    *news = None;
}
