//! Taking all that the inbox holds into an engine, once: before the queue is exported.
//!
//! Contract: when it returns, everything that was acknowledged before it was called is in the engine. What is
//! acknowledged meanwhile may be, or not; [`Inbox::is_drained`] tells whether there is any.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    inbox::Inbox,
    pump::{Failed, Pump, REST},
};
use crate::{Engine, QueueError};

/// Servers that do not answer for so long are not waited for.
const PATIENCE: Duration = Duration::from_secs(15);

impl Inbox {
    /// Takes everything; the sequence of the last message that it took, 0 if there was none.
    ///
    /// # Errors
    /// The engine's, or the servers do not answer.
    pub async fn drain(&self, engine: &Engine) -> Result<u64, QueueError> {
        let _leading = self.0.lead(engine.clone());
        let (_never, mut stop) = watch::channel(false);
        let mut until = Instant::now() + PATIENCE;
        let mut pump: Option<Pump<'_>> = None;
        let mut behind_since = None;
        loop {
            let turned = match &mut pump {
                Some(pump) => pump.turn(&mut stop).await,
                None => Pump::begin(&self.0, engine, &mut behind_since)
                    .await
                    .map(|begun| {
                        pump = Some(begun);
                        true
                    }),
            };
            match (turned, &pump) {
                (Ok(true), _) => until = Instant::now() + PATIENCE,
                (Ok(false), Some(pump)) => return Ok(pump.next - 1),
                (Ok(false), None) | (Err(Failed::Ended(None)), _) => {
                    return Err(QueueError::Closed);
                }
                (Err(Failed::Ended(Some(error))), _) => return Err(error),
                (Err(Failed::Servers(why)), _) if Instant::now() > until => {
                    return Err(QueueError::Unavailable(why.into()));
                }
                (Err(Failed::Servers(_)), _) => {
                    // What it had gathered is read again.
                    pump = None;
                    sleep(REST).await;
                }
            }
        }
    }

    /// Whether nothing came since [`Inbox::drain`] took this message as the last one.
    ///
    /// # Errors
    /// The servers do not answer.
    pub async fn is_drained(&self, last: u64) -> Result<bool, QueueError> {
        let away =
            |error: &dyn std::fmt::Display| QueueError::Unavailable(error.to_string().into());
        let (context, inbox) = (self.0.servers.context(), &self.0.servers.streams().inbox);
        let stream = context.get_stream(inbox.as_str()).await;
        let stream = stream.map_err(|error| away(&error))?;
        let state = &stream.cached_info().state;
        Ok(state.messages == 0 || state.last_sequence <= last)
    }
}
