//! Keys of the index, all in sled's default tree, so that one `apply_batch` changes all of them or none.
//!
//! | key | value |
//! |---|---|
//! | `rd` channel rank seq | deliveries that wait, rank 0 (critical) to 2 (info) |
//! | `rm` message n | deliveries that a message told, kept to be looked at |
//! | `rx` message n | deliveries that can never be told: a dead letter |
//! | `s` channel | the channel's lease: its ID, members and when it was sealed |
//! | `f` channel | up to which sequence what waits critically for it was copied to its fallback |
//! | `t` channel message | a message of which details are still to be posted, and under what |
//! | `q` seq | a quarantined item |
//! | `i` name | how far an input other than the webhook was read, by what is routed |
//! | `m` id | a mute |
//! | `h` id channel | how much a mute held back from a channel |
//! | `l` | totals of the ledger, next sequence, how far each log goes |
//! | `c` name | a channel's counts |
//! | `n` route | how many events it kept from everybody |
//! | `w` seq | what rates of routes counted in a commit |
//! | `v` name | how far a store that was moved aside has been salvaged |
//!
//! Every value of an `r` key says where its record is in the log of deliveries, and which of its
//! deliveries are meant; that is all that points there. A message is the ID of the lease that it was
//! told for. Sequences are 8 bytes big-endian, `n` 2, so that keys sort in order of time. A channel is its
//! length in one byte and its name, so that no channel's keys are another's prefix.

use auditrelay_audit::Severity;

pub(super) const TOTALS: &[u8] = b"l";
/// Whatever points to a record.
pub(super) const HELD: &[u8] = b"r";
pub(super) const WAITING: &[u8] = b"rd";
pub(super) const TOLD: &[u8] = b"rm";
pub(super) const DEAD: &[u8] = b"rx";
pub(super) const QUARANTINE: &[u8] = b"q";
pub(super) const CHANNELS: &[u8] = b"c";
pub(super) const SEALS: &[u8] = b"s";
pub(super) const SALVAGES: &[u8] = b"v";
pub(super) const FALLBACKS: &[u8] = b"f";
pub(super) const THREADS: &[u8] = b"t";
pub(super) const INPUTS: &[u8] = b"i";
pub(super) const MUTES: &[u8] = b"m";
pub(super) const MUTED: &[u8] = b"h";
pub(super) const FILTERED: &[u8] = b"n";
pub(super) const RATES: &[u8] = b"w";

pub(super) fn quarantine(seq: u64) -> Vec<u8> {
    with_seq(QUARANTINE, seq)
}

pub(super) fn waiting_of(channel: &str) -> Vec<u8> {
    named(WAITING, channel)
}

pub(super) fn waiting_of_severity(channel: &str, severity: Severity) -> Vec<u8> {
    let mut key = waiting_of(channel);
    key.push(severity as u8);
    key
}

pub(super) fn waiting(channel: &str, severity: Severity, seq: u64) -> Vec<u8> {
    with_seq(&waiting_of_severity(channel, severity), seq)
}

pub(super) fn told(message: u64, n: u16) -> Vec<u8> {
    numbered(TOLD, message, n)
}

pub(super) fn told_by(message: u64) -> Vec<u8> {
    with_seq(TOLD, message)
}

pub(super) fn dead(message: u64, n: u16) -> Vec<u8> {
    numbered(DEAD, message, n)
}

pub(super) fn dead_of(message: u64) -> Vec<u8> {
    with_seq(DEAD, message)
}

pub(super) fn seal(channel: &str) -> Vec<u8> {
    named(SEALS, channel)
}

pub(super) fn fallback(channel: &str) -> Vec<u8> {
    named(FALLBACKS, channel)
}

pub(super) fn threads_of(channel: &str) -> Vec<u8> {
    named(THREADS, channel)
}

pub(super) fn thread(channel: &str, message: u64) -> Vec<u8> {
    with_seq(&threads_of(channel), message)
}

pub(super) fn channel_counts(channel: &str) -> Vec<u8> {
    [CHANNELS, channel.as_bytes()].concat()
}

pub(super) fn salvage(store: &str) -> Vec<u8> {
    [SALVAGES, store.as_bytes()].concat()
}

pub(super) fn input(name: &str) -> Vec<u8> {
    [INPUTS, name.as_bytes()].concat()
}

pub(super) fn mute(id: u64) -> Vec<u8> {
    with_seq(MUTES, id)
}

pub(super) fn muted(id: u64, channel: &str) -> Vec<u8> {
    named(&with_seq(MUTED, id), channel)
}

pub(super) fn filtered(route: &str) -> Vec<u8> {
    [FILTERED, route.as_bytes()].concat()
}

pub(super) fn rates(seq: u64) -> Vec<u8> {
    with_seq(RATES, seq)
}

/// The channel, severity and sequence in a key of deliveries that wait.
pub(super) fn read_waiting(key: &[u8]) -> Option<(&str, Severity, u64)> {
    let rest = key.strip_prefix(WAITING)?;
    let (length, rest) = rest.split_first()?;
    let (channel, rest) = rest.split_at_checked(usize::from(*length))?;
    let (rank, seq) = rest.split_first()?;
    let severity = *Severity::ALL.get(usize::from(*rank))?;
    let channel = std::str::from_utf8(channel).ok()?;
    Some((channel, severity, u64::from_be_bytes(seq.try_into().ok()?)))
}

/// The message in a key of a dead letter or of what was told.
pub(super) fn message(key: &[u8]) -> Option<u64> {
    let seq = key.get(DEAD.len()..DEAD.len() + 8)?;
    Some(u64::from_be_bytes(seq.try_into().ok()?))
}

fn numbered(prefix: &[u8], seq: u64, n: u16) -> Vec<u8> {
    [prefix, &seq.to_be_bytes(), &n.to_be_bytes()].concat()
}

fn with_seq(prefix: &[u8], seq: u64) -> Vec<u8> {
    [prefix, &seq.to_be_bytes()].concat()
}

fn named(prefix: &[u8], channel: &str) -> Vec<u8> {
    debug_assert!(channel.len() <= 64, "the configuration bounds names");
    [prefix, &[channel.len() as u8], channel.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_severity_then_time() {
        let key = |severity, seq| waiting("ops", severity, seq);
        assert!(key(Severity::Critical, 900) < key(Severity::Warning, 3));
        assert!(key(Severity::Info, 255) < key(Severity::Info, 256));
        assert_eq!(
            read_waiting(&key(Severity::Warning, 7)),
            Some(("ops", Severity::Warning, 7))
        );
        assert_eq!(message(&dead(9, 3)), Some(9));
        assert!(dead(9, 255) < dead(9, 256) && dead(9, 256) < dead(10, 0));
    }

    #[test]
    fn no_channel_is_a_prefix_of_another() {
        assert!(!waiting("ops-eu", Severity::Info, 1).starts_with(&waiting_of("ops")));
    }
}
