//! Opening the queue that the ledger stream holds.
//!
//! Contract: whoever opens it takes it over. A queue that another relay had open until then fails with its next commit,
//! and nothing that it does counts any more; what it had leased comes back as resumed, as after a restart.

use super::{JetStream, ledger_stream::LedgerStream};
use crate::{Engine, OpenError, StreamOptions};

impl JetStream {
    /// Opens the queue, or begins one. Takes as long as what is open takes to be read: the index, what is not routed, the
    /// keys of the dedup window and a list of everything else.
    ///
    /// # Errors
    /// The servers do not answer, others take over all the time, or what they hold is damaged.
    pub async fn open(&self, options: StreamOptions) -> Result<Engine, OpenError> {
        let (jetstream, stream) = (self.clone(), self.streams().ledger.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let taken = LedgerStream::take_over(&jetstream);
            let taken = taken.map_err(|error| OpenError::Unreachable {
                stream: jetstream.streams().ledger.clone(),
                error,
            })?;
            Engine::open_on_stream(taken, &options)
        });
        opened.await.unwrap_or_else(|error| {
            let what = match error.is_panic() {
                true => "opening it panicked, the log says where",
                false => "the process ends",
            };
            let error = std::io::Error::other(what);
            Err(OpenError::Unreachable { stream, error })
        })
    }
}
