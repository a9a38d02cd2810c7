//! What one that leads leaves to the next, beside the queue: short values in the bucket of the lease.
//!
//! Contract: nothing rests on them. They may be old, or be missing.

use std::time::Duration;

use super::{JetStream, JetStreamError};

impl JetStream {
    /// What whoever led last left under this key.
    ///
    /// # Errors
    /// JetStream did not answer.
    pub async fn kept(&self, key: &str) -> Result<Option<Vec<u8>>, JetStreamError> {
        let failed = |error: &dyn std::fmt::Display| {
            JetStreamError::failed(format!("say what the last leader left ({key})"), &error)
        };
        let bucket = self.context().get_key_value(&self.streams().lease).await;
        let bucket = bucket.map_err(|error| failed(&error))?;
        let kept = bucket.get(key).await.map_err(|error| failed(&error))?;
        Ok(kept.map(Into::into))
    }

    /// Leaves a short value to whoever leads next.
    ///
    /// # Errors
    /// JetStream did not store it.
    pub async fn keep(&self, key: &str, value: Vec<u8>) -> Result<(), JetStreamError> {
        let failed = |error: &dyn std::fmt::Display| {
            JetStreamError::failed(
                format!("keep what is left to the next leader ({key})"),
                &error,
            )
        };
        let bucket = self.context().get_key_value(&self.streams().lease).await;
        let bucket = bucket.map_err(|error| failed(&error))?;
        let put = bucket.put(key, value.into()).await;
        put.map(drop).map_err(|error| failed(&error))
    }

    /// How long a replica leads without saying so again.
    pub fn lease_lasts(&self) -> Duration {
        self.options().lease
    }
}
