//! What makes two events the same (promise P3).
//!
//! A client may choose its own audit ID, so an ID alone must never make an event disappear. An
//! event's *fingerprint* is a keyed 128-bit hash of its cluster and of everything it says, as
//! received: before redaction, and without the top-level `kind` and `apiVersion` that only the log
//! file's lines carry. Its *identity* is (cluster, auditID, stage). Same fingerprint: a duplicate.
//! Same identity and another fingerprint: two events, and somebody reuses an audit ID.
//!
//! The hash is keyed, with a key that is kept outside the store, so that nobody who can write events
//! can aim at a collision.

use serde::{Deserialize, Serialize};

use crate::{event::Envelope, list::Item, redact::Members};

/// The two hashes that stand for an event in the dedup window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventKey {
    /// Keyed hash of (cluster, auditID, stage); 0 where the event has no audit ID.
    pub identity: u64,
    /// Keyed hash of the cluster and the whole event.
    pub fingerprint: [u8; 16],
}

/// The secret that keys every hash. All replicas of one relay share it.
#[derive(Clone)]
pub struct HashKey([u8; 32]);

impl std::fmt::Debug for HashKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("HashKey([secret])")
    }
}

impl HashKey {
    /// A key of 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key of an event whose envelope was read.
    pub fn event(&self, cluster: &str, item: &Item<'_>, envelope: &Envelope<'_>) -> EventKey {
        let identity = if envelope.audit_id.is_empty() {
            0
        } else {
            let mut hasher = self.hasher("identity", cluster);
            hasher.update(envelope.stage.as_str().as_bytes());
            hasher.update(&[0]);
            hasher.update(envelope.audit_id.as_bytes());
            u64::from_be_bytes(first(&hasher))
        };
        if envelope.kind.is_none() && envelope.api_version.is_none() {
            return EventKey {
                identity,
                fingerprint: self.fingerprint(cluster, item.wire),
            };
        }
        let without_type = Members::parse(item.text)
            .map(|members| members.without(&["kind", "apiVersion"]).to_json())
            .unwrap_or_else(|_| item.wire.to_vec());
        EventKey {
            identity,
            fingerprint: self.fingerprint(cluster, &without_type),
        }
    }

    /// The key of bytes that could not be read as an event: they are told apart by hash alone.
    pub fn unreadable(&self, cluster: &str, wire: &[u8]) -> EventKey {
        EventKey {
            identity: 0,
            fingerprint: self.fingerprint(cluster, wire),
        }
    }

    fn fingerprint(&self, cluster: &str, wire: &[u8]) -> [u8; 16] {
        let mut hasher = self.hasher("event", cluster);
        hasher.update(wire);
        first(&hasher)
    }

    fn hasher(&self, domain: &str, cluster: &str) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in [domain, cluster] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        hasher
    }
}

fn first<const N: usize>(hasher: &blake3::Hasher) -> [u8; N] {
    let mut bytes = [0; N];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(secret: u8, cluster: &str, text: &str) -> EventKey {
        let item = Item {
            wire: text.as_bytes(),
            text,
            offset: 0,
            has_invalid_utf8: false,
        };
        let envelope = Envelope::parse(text).expect("readable");
        HashKey::new([secret; 32]).event(cluster, &item, &envelope)
    }

    const EVENT: &str = r#"{"level":"Metadata","auditID":"x","stage":"Panic","verb":"get"}"#;

    #[test]
    fn the_same_event_has_the_same_key() {
        assert_eq!(key_of(1, "prod", EVENT), key_of(1, "prod", EVENT));
    }

    #[test]
    fn other_content_under_the_same_id_is_another_event_of_the_same_identity() {
        let other = EVENT.replace("get", "delete");
        let (one, two) = (key_of(1, "prod", EVENT), key_of(1, "prod", &other));
        assert_eq!(one.identity, two.identity);
        assert_ne!(one.fingerprint, two.fingerprint);
    }

    #[test]
    fn cluster_and_secret_are_part_of_both_hashes() {
        let one = key_of(1, "prod", EVENT);
        for two in [key_of(1, "test", EVENT), key_of(2, "prod", EVENT)] {
            assert_ne!(one.identity, two.identity);
            assert_ne!(one.fingerprint, two.fingerprint);
        }
    }

    #[test]
    fn a_line_of_the_log_file_is_the_same_event() {
        let line = EVENT.replacen('{', r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","#, 1);
        assert_eq!(key_of(1, "prod", EVENT), key_of(1, "prod", &line));
    }

    #[test]
    fn no_audit_id_means_no_identity() {
        let key = key_of(1, "prod", r#"{"level":"Metadata","stage":"Panic"}"#);
        assert_eq!(key.identity, 0);
    }
}
