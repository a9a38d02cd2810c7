//! Relays that are one hash with one key.
//!
//! Contract: the first relay on these streams writes what tells its key from another (not the key), and a relay whose
//! key is another is refused: it would not know again what the others have seen. Relays that begin at once agree, as the
//! entry is made only where there is none.

use async_nats::jetstream::kv::{CreateErrorKind, Store};
use bytes::Bytes;

use super::{connect::JetStream, error::JetStreamError};

/// Beside the lease.
const KEY: &str = "dedup-key";
/// How often the entry is looked for that others make and delete meanwhile.
const TRIES_MAX: usize = 5;

impl JetStream {
    /// Compares the mark of this relay's key with that of the relays before it; the first one leaves its own.
    ///
    /// # Errors
    /// It is another one, or nobody answers.
    pub async fn agree_on_key(&self, mark: &[u8]) -> Result<(), JetStreamError> {
        let (own, mark) = (self.clone(), Bytes::copy_from_slice(mark));
        // On the connection's runtime, whatever clock the caller's has.
        let agreed = self.handle().spawn(async move { agree(&own, mark).await });
        let agreed = agreed.await.map_err(|error| failed(&error)).flatten();
        if agreed.as_ref().is_err_and(JetStreamError::is_of_the_moment) {
            // Nobody looks on yet.
            self.silence().unanswered();
            self.leave_if_silent().await;
        }
        agreed
    }
}

async fn agree(jetstream: &JetStream, mark: Bytes) -> Result<(), JetStreamError> {
    let bucket = &jetstream.streams().lease;
    let store = jetstream.context().get_key_value(bucket.as_str()).await;
    let store: Store = store.map_err(|error| failed(&error))?;
    for _ in 0..TRIES_MAX {
        let found = store.get(KEY).await.map_err(|error| failed(&error))?;
        match found {
            Some(found) if found == mark => return Ok(()),
            Some(_) => {
                return Err(JetStreamError::OtherKey {
                    bucket: bucket.clone(),
                    entry: KEY,
                });
            }
            None => match store.create(KEY, mark.clone()).await {
                Ok(_) => return Ok(()),
                // Another relay was faster; or it was this one, and the answer was lost.
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&error)),
            },
        }
    }
    Err(failed(&"the entry comes and goes"))
}

fn failed(why: &impl std::fmt::Display) -> JetStreamError {
    JetStreamError::failed("say which dedup key the other relays have", why)
}
