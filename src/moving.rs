//! A queue on JetStream in the hands of a command: for `export`, and for `import` of what it wrote.
//!
//! Contract:
//! * a command leads as a relay does, with the same lease, so no relay leads meanwhile; one that goes on to lead is named, and
//!   nothing is done then. Relays that do not lead go on to take batches into the inbox;
//! * what is exported holds everything that was acknowledged. Where a batch came while it was written, or the lease was lost,
//!   it has no end, and no import takes it for whole;
//! * no relay leads a queue of which an import is not complete.

use std::{io::BufRead, time::Duration};

use auditrelay_config::Config;
use auditrelay_store::{
    Engine, MoveError, Moved, StreamOptions,
    jetstream::{Importing, Inbox, JetStream, JetStreamError, Leadership},
};
use tokio::time::timeout;

use crate::{
    Failure, cli::PlaceArgs, data_dir::hash_key, export, jetstream_options::jetstream_options,
    output::say, reach::command_limits, when::now_unix_ms,
};

/// How much longer than a lease lasts whoever holds it is waited for: after that it is alive.
const LEASE_PATIENCE: Duration = Duration::from_secs(4);

impl PlaceArgs {
    /// The configuration, where it says that the queue is on JetStream. A folder that is named is meant itself.
    pub(crate) fn on_streams(&self) -> Result<Option<Config>, Failure> {
        if self.data_dir.is_some() {
            return Ok(None);
        }
        let config = self.load()?;
        Ok(config.queue.jetstream.is_some().then_some(config))
    }
}

/// The lease, in a command's hands.
struct Held {
    queue: JetStream,
    leadership: Leadership,
    name: String,
}

impl Held {
    /// Takes it; `advice` follows the name of a relay that goes on to lead. Without patience it is waited for until then.
    async fn take(
        config: &Config,
        command: &str,
        waits: bool,
        advice: &str,
    ) -> Result<Self, Failure> {
        let Some(options) = jetstream_options(config).transpose()? else {
            return Err(Failure::Usage("the queue is not on JetStream".to_owned()));
        };
        let queue = JetStream::connect(&options).await.map_err(refused)?;
        let leads = queue.lead(command);
        let led = match waits {
            true => Ok(leads.await),
            false => timeout(options.lease + LEASE_PATIENCE, leads).await,
        };
        let name = options.name;
        let Ok(led) = led else {
            let leader = queue.leader().borrow().clone();
            let who = match leader {
                Some(leader) => format!("{leader} leads the queue {name} on JetStream"),
                None => format!("the lease of the queue {name} on JetStream cannot be had"),
            };
            return Err(Failure::Other(format!("{who}; {advice}")));
        };
        Ok(Self {
            leadership: led.map_err(refused)?,
            queue,
            name,
        })
    }

    async fn end(self) {
        self.leadership.resign().await;
    }
}

/// What NATS refuses is for whoever configures it, or the relay.
fn refused(error: JetStreamError) -> Failure {
    match error.is_of_the_moment() {
        true => Failure::Other(error.to_string()),
        false => Failure::Key(error.to_string()),
    }
}

fn options(leadership: &Leadership) -> StreamOptions {
    StreamOptions {
        tenure: leadership.tenure(),
        limits: command_limits(),
        ..StreamOptions::new(now_unix_ms())
    }
}

/// A queue to be exported; everything that was acknowledged is in it.
pub(crate) struct Outgoing {
    held: Held,
    engine: Engine,
    inbox: Inbox,
    /// The last message of the inbox that is in the queue.
    last: u64,
}

impl Outgoing {
    pub(crate) async fn open(config: &Config, waits: bool) -> Result<Self, Failure> {
        let advice = "stop all relays of it first: what they would go on to take and to post cannot be exported";
        let held = Held::take(config, "auditrelay export", waits, advice).await?;
        match Self::of(&held).await {
            Ok((engine, inbox, last)) => Ok(Self {
                held,
                engine,
                inbox,
                last,
            }),
            Err(failure) => {
                held.end().await;
                Err(failure)
            }
        }
    }

    async fn of(held: &Held) -> Result<(Engine, Inbox, u64), Failure> {
        let engine = held.queue.open(options(&held.leadership)).await?;
        let inbox = held.queue.inbox();
        let last = inbox.drain(&engine).await.map_err(MoveError::from);
        let last = last.map_err(|error| export::failure(error, "take the inbox in"))?;
        Ok((engine, inbox, last))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether what was written is all there is.
    pub(crate) async fn check(&self) -> Result<(), Failure> {
        let name = &self.held.name;
        let drained = self.inbox.is_drained(self.last).await;
        if !drained.map_err(|error| export::failure(error.into(), "look at the inbox"))? {
            return Err(Failure::Other(format!(
                "a relay of the queue {name} took a batch meanwhile, which is not exported: stop all of them first"
            )));
        }
        if self.held.leadership.tenure().has_ended() {
            return Err(Failure::Other(format!(
                "the lease of the queue {name} ran out before all was exported, and a relay may have posted of it: stop all of \
                 them first, and see that NATS answers"
            )));
        }
        Ok(())
    }

    pub(crate) async fn end(self) {
        drop(self.engine);
        self.held.end().await;
    }
}

/// A queue that something is to be imported into. No relay leads it before that is complete.
pub(crate) struct Incoming {
    held: Held,
    importing: Importing,
}

impl Incoming {
    pub(crate) async fn open(config: &Config) -> Result<Self, Failure> {
        let path = config.dedup_key_file();
        if !path.exists() {
            let path = path.display();
            return Err(Failure::Key(format!(
                "dedup.key_file: {path} is not there; it has to be the key of the old relay (dedup.key in its data directory), \
                 or repetitions of what that has seen are told twice"
            )));
        }
        let key = hash_key(config)?;
        let advice = "an import goes into a queue that was never used: begin it before the relays, and where they have led \
                      already give queue.jetstream another name";
        let held = Held::take(config, "auditrelay import", false, advice).await?;
        let begun = async {
            let agreed = held.queue.agree_on_key(&key.mark()).await;
            agreed.map_err(refused)?;
            let begun = held.queue.begin_import(options(&held.leadership)).await;
            begun.map_err(|error| export::failure(error, "import"))
        };
        match begun.await {
            Ok(importing) => Ok(Self { held, importing }),
            Err(failure) => {
                held.end().await;
                Err(failure)
            }
        }
    }

    /// Says what relays may do while the lines are waited for.
    pub(crate) fn tell(&self) -> Result<(), Failure> {
        let name = &self.held.name;
        say(&format!(
            "waiting for an export to import into the queue {name} on JetStream: relays of it may be started, take batches, and \
             post nothing until it is complete\n"
        ))
    }

    /// Imports; the name of the queue comes with what was moved.
    pub(crate) async fn run(
        self,
        lines: impl BufRead + Send + 'static,
    ) -> Result<(String, Moved), Failure> {
        let Self { held, importing } = self;
        let moved = importing.run(lines, |_| {}).await;
        let name = held.name.clone();
        held.end().await;
        let moved = moved.map_err(|error| {
            Failure::Other(format!(
                "cannot import: {error}; no relay leads the queue {name} before an import into it is complete. The same command \
                 begins anew"
            ))
        })?;
        Ok((name, moved))
    }

    /// What came is no export.
    pub(crate) async fn give_up(self) -> Result<(), Failure> {
        let Self { held, importing } = self;
        let given_up = importing.give_up().await;
        held.end().await;
        given_up.map_err(|error| export::failure(error, "give the import up"))
    }
}
