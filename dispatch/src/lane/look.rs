//! Whether a lease that was handed out before has been posted.
//!
//! Contract: what is found is acked and not posted again; what is absent is posted as if for the first
//! time; what cannot be found out is repeated and marked. A look-up that fails is tried again at the pace of other
//! tries, and given up after [`LOOKS_FAILED_MAX`] in a row: a channel does not wait for ever to find out.

use auditrelay_store::{Queue, QueueError};

use super::{Held, Lane};
use crate::{Destination, Message, SendError, destination::Found};

const LOOKS_FAILED_MAX: u32 = 8;

/// What came of a look-up.
pub(super) enum Looked {
    /// It is there, or it has to be looked for again later: nothing more to do now.
    Done,
    Absent,
    Unknowable,
}

impl<Q: Queue, D: Destination> Lane<Q, D> {
    /// Looks for a message that may have been posted.
    pub(super) async fn look(
        &mut self,
        id: String,
        since_unix_ms: i64,
        held: &Held,
    ) -> Result<Looked, QueueError> {
        let mut sought = Message::new(String::new(), Vec::new(), "sentences");
        sought.id = id;
        let found = self.destination.find(&sought, since_unix_ms).await;
        let found = self.or_give_up(found);
        self.count_look(&found);
        match found {
            Ok(Found::Posted(receipt)) => {
                tracing::info!(
                    channel = self.channel,
                    ts = receipt.ts,
                    "the message was posted before"
                );
                self.opened();
                let may_be_digest = held.events > self.settings.style.sentences_max;
                self.ack(held, receipt, may_be_digest).await?;
                Ok(Looked::Done)
            }
            Ok(Found::Absent) => Ok(Looked::Absent),
            Ok(Found::Unknowable { reason }) => {
                tracing::warn!(
                    channel = self.channel,
                    reason,
                    "it cannot be found out whether a message was posted; it is repeated and marked"
                );
                Ok(Looked::Unknowable)
            }
            Err(error) => {
                self.refused(error, held, false).await?;
                Ok(Looked::Done)
            }
        }
    }

    pub(super) fn count_look(&self, found: &Result<Found, SendError>) {
        let outcome = match found {
            Ok(Found::Posted(_)) => "found",
            Ok(Found::Absent) => "absent",
            Ok(Found::Unknowable { .. }) => "unknowable",
            Err(_) => "failed",
        };
        let lookups = &self.metrics.lookups;
        lookups
            .with_label_values(&[self.channel.as_str(), outcome])
            .inc();
    }

    fn or_give_up(&mut self, found: Result<Found, SendError>) -> Result<Found, SendError> {
        match &found {
            Ok(_) => self.looks_failed = 0,
            Err(SendError::Later { limited: true, .. }) => {}
            Err(error) => {
                self.looks_failed += 1;
                if self.looks_failed >= LOOKS_FAILED_MAX {
                    self.looks_failed = 0;
                    let reason =
                        format!("{LOOKS_FAILED_MAX} look-ups failed, the last one: {error}");
                    return Ok(Found::Unknowable { reason });
                }
            }
        }
        found
    }
}
