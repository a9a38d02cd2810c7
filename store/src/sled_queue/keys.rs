//! Keys of the index, all in sled's default tree, so that one `apply_batch` changes all of them or none.
//!
//! | key | value |
//! |---|---|
//! | `d` channel rank seq | where a record of deliveries is, rank 0 (critical) to 2 (info), and how many of them are settled |
//! | `s` channel | the channel's lease: its ID and members |
//! | `x` channel seq part | dead letters |
//! | `q` seq | a quarantined item |
//! | `l` | totals of the ledger, next sequence, how far each log goes |
//! | `c` name | a channel's counts |
//!
//! Sequences are 8 bytes big-endian, parts 2, so that keys sort in order of time. A channel is its
//! length in one byte and its name, so that no channel's keys are another's prefix.

use auditrelay_audit::Severity;

pub(super) const TOTALS: &[u8] = b"l";
pub(super) const DELIVERIES: &[u8] = b"d";
pub(super) const QUARANTINE: &[u8] = b"q";
pub(super) const CHANNELS: &[u8] = b"c";

pub(super) fn quarantine(seq: u64) -> Vec<u8> {
    with_seq(QUARANTINE, seq)
}

pub(super) fn deliveries_of(channel: &str) -> Vec<u8> {
    named(b'd', channel)
}

pub(super) fn deliveries(channel: &str, severity: Severity, seq: u64) -> Vec<u8> {
    ranked(b'd', channel, severity, seq)
}

pub(super) fn seal(channel: &str) -> Vec<u8> {
    named(b's', channel)
}

pub(super) fn dead(channel: &str, seq: u64) -> Vec<u8> {
    with_seq(&named(b'x', channel), seq)
}

pub(super) fn channel_counts(channel: &str) -> Vec<u8> {
    [CHANNELS, channel.as_bytes()].concat()
}

pub(super) fn part(mut key: Vec<u8>, part: u16) -> Vec<u8> {
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// The severity and sequence of a delivery's key.
pub(super) fn rank_and_seq(key: &[u8], channel: &str) -> Option<(Severity, u64)> {
    let rest = key.get(2 + channel.len()..)?;
    let severity = *Severity::ALL.get(usize::from(*rest.first()?))?;
    Some((
        severity,
        u64::from_be_bytes(rest.get(1..9)?.try_into().ok()?),
    ))
}

fn with_seq(prefix: &[u8], seq: u64) -> Vec<u8> {
    [prefix, &seq.to_be_bytes()].concat()
}

fn named(prefix: u8, channel: &str) -> Vec<u8> {
    debug_assert!(channel.len() <= 64, "the configuration bounds names");
    [&[prefix, channel.len() as u8], channel.as_bytes()].concat()
}

fn ranked(prefix: u8, channel: &str, severity: Severity, seq: u64) -> Vec<u8> {
    let mut key = named(prefix, channel);
    key.push(severity as u8);
    with_seq(&key, seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_severity_then_time() {
        let key = |severity, seq| deliveries("ops", severity, seq);
        assert!(key(Severity::Critical, 900) < key(Severity::Warning, 3));
        assert!(key(Severity::Info, 255) < key(Severity::Info, 256));
        assert_eq!(
            rank_and_seq(&key(Severity::Warning, 7), "ops"),
            Some((Severity::Warning, 7))
        );
    }

    #[test]
    fn no_channel_is_a_prefix_of_another() {
        assert!(!deliveries("ops-eu", Severity::Info, 1).starts_with(&deliveries_of("ops")));
    }
}
