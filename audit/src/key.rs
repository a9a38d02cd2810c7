//! What makes two events the same (promise P3).
//!
//! A client may choose its own audit ID, so an ID alone must never make an event disappear. An
//! event's *fingerprint* is a keyed 128-bit hash of its cluster and of everything it says, as
//! received: before redaction, and without the top-level `kind` and `apiVersion` that only the log
//! file's lines carry. Its *identity* is (cluster, auditID, stage). Same fingerprint: a duplicate.
//! Same identity and another fingerprint: two events, and somebody reuses an audit ID.
//!
//! The hash is keyed, with a key that is kept outside the store and never leaves the relay, so that
//! nobody who can write events can aim at a collision. It is HighwayHash, a keyed hash of 256-bit keys
//! made for input that an attacker chooses; docs/decisions/0009 says why it is not BLAKE3.

use highway::{HighwayHash, HighwayHasher, Key};
use serde::{Deserialize, Serialize};

use crate::{Stage, event::Envelope, list::Item, redact::Members};

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
pub struct HashKey {
    identity: Key,
    event: Key,
    message: Key,
    value: Key,
    mark: Key,
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("HashKey([secret])")
    }
}

impl HashKey {
    /// A key of 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let mut master = [0; 4];
        for (word, bytes) in master.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        // A hash for each purpose: what one of them says tells nothing of the other.
        let derived = |purpose: &str| {
            let hasher = HighwayHasher::new(Key(master));
            Key(hasher.hash256(purpose.as_bytes()))
        };
        Self {
            identity: derived("auditrelay identity"),
            event: derived("auditrelay event"),
            message: derived("auditrelay message"),
            value: derived("auditrelay redacted value"),
            mark: derived("auditrelay key fingerprint"),
        }
    }

    /// What tells this key from another, and nothing else of it: a keyed hash of nothing. Relays that are one compare it.
    pub fn mark(&self) -> [u8; 16] {
        let mut mark = [0; 16];
        let words = HighwayHasher::new(self.mark).finalize128();
        for (bytes, word) in mark.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        mark
    }

    /// The key of an event whose envelope was read.
    pub fn event(&self, cluster: &str, item: &Item<'_>, envelope: &Envelope<'_>) -> EventKey {
        let identity = self.identity(cluster, &envelope.audit_id, envelope.stage);
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

    /// The identity of all events of a cluster with this audit ID and stage; 0 without an audit ID.
    pub fn identity(&self, cluster: &str, audit_id: &str, stage: Stage) -> u64 {
        if audit_id.is_empty() {
            return 0;
        }
        let mut hasher = hasher(self.identity, cluster);
        hasher.append(&[stage as u8]);
        hasher.append(audit_id.as_bytes());
        hasher.finalize64()
    }

    /// The key of bytes that could not be read as an event: they are told apart by hash alone.
    pub fn unreadable(&self, cluster: &str, wire: &[u8]) -> EventKey {
        EventKey {
            identity: 0,
            fingerprint: self.fingerprint(cluster, wire),
        }
    }

    /// The ID of a message, from what it is made of: nobody who does not know the key can make another
    /// message with the same one.
    pub fn message<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> u128 {
        let mut hasher = HighwayHasher::new(self.message);
        for part in parts {
            // The length keeps a part apart from what follows it.
            hasher.append(&(part.len() as u64).to_le_bytes());
            hasher.append(part);
        }
        let [low, high] = hasher.finalize128();
        (u128::from(high) << 64) | u128::from(low)
    }

    /// What tells one redacted value from another, and nothing else of it.
    pub(crate) fn value(&self, value: &[u8]) -> u32 {
        let mut hasher = HighwayHasher::new(self.value);
        hasher.append(value);
        // The upper half of a hash is as good as all of it, only shorter.
        (hasher.finalize64() >> 32) as u32
    }

    fn fingerprint(&self, cluster: &str, wire: &[u8]) -> [u8; 16] {
        let mut hasher = hasher(self.event, cluster);
        hasher.append(wire);
        let [low, high] = hasher.finalize128();
        ((u128::from(high) << 64) | u128::from(low)).to_le_bytes()
    }
}

/// The length keeps a cluster's name apart from what follows it.
fn hasher(key: Key, cluster: &str) -> HighwayHasher {
    let mut hasher = HighwayHasher::new(key);
    hasher.append(&(cluster.len() as u64).to_le_bytes());
    hasher.append(cluster.as_bytes());
    hasher
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
