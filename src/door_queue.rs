//! Where the doors bring batches: the queue itself on a disk, or the inbox that the relay which leads takes them from.
//!
//! Servers are asked anew what they promise whenever there is a connection again, as one may have been started with other
//! settings; while it is known that they do not keep what they acknowledge, nothing is.

use std::time::Duration;

use auditrelay_store::{
    Admitted, EncodedBatch, Engine, Full, InputPosition, Intake, QueueError,
    jetstream::{Inbox, InboxHolds, JetStream},
};
use tokio::time::{Instant, sleep};

/// How often the connection is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How often, and for how long, servers are asked after there is a connection again.
const ASKED_EVERY: Duration = Duration::from_millis(500);
const ASKED_FOR: Duration = Duration::from_secs(15);

/// The queue as a door sees it; clones are the same.
#[derive(Debug, Clone)]
pub(crate) enum DoorQueue {
    /// This process has the queue.
    Engine(Engine),
    /// Some replica has: it takes batches from there.
    Inbox(Inbox, JetStream),
}

impl DoorQueue {
    /// What the inbox holds, where there is one and its servers said so lately.
    pub(crate) fn inbox(&self) -> Option<InboxHolds> {
        match self {
            Self::Engine(_) => None,
            Self::Inbox(inbox, _) => inbox.holds(),
        }
    }

    /// Keeps that current, until it is dropped.
    pub(crate) async fn look_on(self) {
        match self {
            Self::Engine(_) => std::future::pending().await,
            Self::Inbox(inbox, _) => inbox.look_on().await,
        }
    }

    /// Whether a batch could be committed now.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self) -> Result<(), QueueError> {
        match self {
            Self::Engine(queue) => queue.check(),
            Self::Inbox(_, servers) => servers
                .promises()
                .map_err(|why| QueueError::Unavailable(why.into())),
        }
    }
}

/// Asks the servers anew what they promise, whenever there is a connection again; several times, as one that has just
/// started does not answer everything yet, and another one may have been started too.
pub(crate) async fn ask_after_each_connection(servers: JetStream) {
    // Those of the first were asked when it was made.
    let mut asked_of = 1;
    let mut asked_until = None;
    loop {
        sleep(LOOK).await;
        // Not whether there was none: one that is lost is made again within milliseconds, where a server takes it.
        let connections = servers.connections();
        if connections != asked_of {
            asked_of = connections;
            asked_until = Some(Instant::now() + ASKED_FOR);
        }
        if servers.is_connected() && asked_until.is_some_and(|until| Instant::now() < until) {
            servers.ask_whether_durable().await;
            sleep(ASKED_EVERY).await;
        }
    }
}

impl Intake for DoorQueue {
    async fn append(&self, batch: EncodedBatch) -> Result<(), QueueError> {
        match self {
            Self::Engine(queue) => Intake::append(queue, batch).await,
            Self::Inbox(inbox, _) => inbox.append(batch).await,
        }
    }

    fn admit(&self, body_bytes: u64) -> Result<Admitted, Full> {
        match self {
            Self::Engine(queue) => Intake::admit(queue, body_bytes),
            Self::Inbox(inbox, _) => inbox.admit(body_bytes),
        }
    }

    async fn learn_inputs(&self) -> Result<(), QueueError> {
        match self {
            Self::Engine(queue) => queue.learn_inputs().await,
            Self::Inbox(inbox, _) => inbox.learn_inputs().await,
        }
    }

    fn inputs(&self) -> Vec<InputPosition> {
        match self {
            Self::Engine(queue) => Intake::inputs(queue),
            Self::Inbox(inbox, _) => inbox.inputs(),
        }
    }

    async fn note_inputs(&self, positions: Vec<InputPosition>) -> Result<(), QueueError> {
        match self {
            Self::Engine(queue) => Intake::note_inputs(queue, positions).await,
            Self::Inbox(inbox, _) => inbox.note_inputs(positions).await,
        }
    }
}
