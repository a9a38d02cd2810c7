//! What is written of refusals: enough to find who is refused, and never so much that it fills a disk.
//!
//! Invariants:
//! * a source and a reason are logged at most once a minute, and the next line says how many were not;
//! * so many pairs of them are remembered, and no more; what finds no place shares one gate a reason,
//!   so an attacker with many addresses does not silence whoever has a place already;
//! * what was held back is told at the latest by the first line of its reason that is written a minute or
//!   more after its source's own: the source's next one, or another's, which then says how many are of
//!   others. Where no line of the reason follows, none tells it; the metric has counted it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::refusal::Reason;

/// How long one line stands for those that would be the same.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Pairs of a source and a reason that have a gate of their own.
const SOURCES_MAX: usize = 1024;
/// How often places may be searched for one that is not needed any more.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

/// Logs refusals, each source and reason at most once a minute.
#[derive(Debug)]
pub(crate) struct RefusalLog(Mutex<Gates>);

#[derive(Debug, Default)]
struct Gates {
    own: HashMap<(IpAddr, Reason), Gate>,
    shared: HashMap<Reason, Gate>,
    searched: Option<Instant>,
}

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    /// Of the same source and not logged since its last line.
    suppressed: u64,
    /// Of the same reason and of other sources, and not told by a line of theirs.
    of_others: u64,
    /// Whether it stands for sources that have no gate of their own.
    is_shared: bool,
}

/// Lets one through per [`LOG_INTERVAL`] and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    opened: Option<Instant>,
    suppressed: u64,
}

impl Gate {
    /// Whether to speak now; if so, how many were not spoken of since the last time.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.is_closed(now) {
            self.suppressed += 1;
            return None;
        }
        self.opened = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }

    fn is_closed(&self, now: Instant) -> bool {
        let is_recent = |opened: Instant| now.duration_since(opened) < LOG_INTERVAL;
        self.opened.is_some_and(is_recent)
    }
}

impl RefusalLog {
    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    pub(crate) fn warn(&self, reason: Reason, message: &str, peer: SocketAddr) {
        let line = {
            let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            gates.pass(source(peer.ip()), reason, Instant::now())
        };
        let Some(Line {
            suppressed,
            of_others,
            is_shared,
        }) = line
        else {
            return;
        };
        tracing::warn!(
            reason = reason.label(),
            %peer,
            suppressed,
            suppressed_of_others = of_others,
            many_sources = is_shared,
            "refused what was sent to the audit webhook: {message}"
        );
    }
}

impl Gates {
    fn pass(&mut self, source: IpAddr, reason: Reason, now: Instant) -> Option<Line> {
        let key = (source, reason);
        if self.own.len() >= SOURCES_MAX && !self.own.contains_key(&key) {
            self.make_room(now);
        }
        // What has no place, or lost it, is owed by the gate that all share.
        let is_shared = self.own.len() >= SOURCES_MAX && !self.own.contains_key(&key);
        let gate = if is_shared {
            self.shared.entry(reason).or_default()
        } else {
            self.own.entry(key).or_default()
        };
        let suppressed = gate.pass(now)?;
        // This source's own gate is closed now and stays; others whose minute is over have had their time.
        self.forget_open(now, |of| of == reason);
        let shared = self.shared.get_mut(&reason);
        Some(Line {
            suppressed,
            of_others: shared.map_or(0, |gate| std::mem::take(&mut gate.suppressed)),
            is_shared,
        })
    }

    /// Looks for room, not too often.
    fn make_room(&mut self, now: Instant) {
        let is_recent = |searched: Instant| now.duration_since(searched) < SEARCH_INTERVAL;
        if self.searched.is_some_and(is_recent) {
            return;
        }
        self.searched = Some(now);
        self.forget_open(now, |_| true);
    }

    /// Forgets those of these reasons whose minute is over. What they held back goes to the gate that
    /// all share.
    fn forget_open(&mut self, now: Instant, concerns: impl Fn(Reason) -> bool) {
        let shared = &mut self.shared;
        self.own.retain(|(_, reason), gate| {
            let stays = gate.is_closed(now) || !concerns(*reason);
            if !stays && gate.suppressed > 0 {
                shared.entry(*reason).or_default().suppressed += gate.suppressed;
            }
            stays
        });
    }
}

/// Who counts as one: an address, or the network of an IPv6 address, as a host has all of it.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: usize) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap()))
    }

    fn own(suppressed: u64) -> Option<Line> {
        own_and_others(suppressed, 0)
    }

    fn own_and_others(suppressed: u64, of_others: u64) -> Option<Line> {
        Some(Line {
            suppressed,
            of_others,
            is_shared: false,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_opens_once_a_minute_and_tells_what_it_held_back() {
        let mut gate = Gate::default();
        assert_eq!(gate.pass(Instant::now()), Some(0));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(gate.pass(Instant::now()), None);
        assert_eq!(gate.pass(Instant::now()), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(gate.pass(Instant::now()), Some(2));
        assert_eq!(gate.pass(Instant::now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_does_not_silence_another_one_nor_a_reason_another_one() {
        let mut gates = Gates::default();
        let now = Instant::now();
        let mut pass = |number, reason| gates.pass(address(number), reason, now);
        assert_eq!(pass(1, Reason::UnknownToken), own(0));
        assert_eq!(pass(1, Reason::UnknownToken), None);
        assert_eq!(pass(2, Reason::UnknownToken), own(0));
        assert_eq!(pass(1, Reason::WrongCluster), own(0));
        assert_eq!(pass(1, Reason::WrongCluster), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded_and_nothing_held_back_is_forgotten() {
        let mut gates = Gates::default();
        let reason = Reason::Unauthenticated;
        let now = Instant::now();
        let mut lines = Vec::new();
        for number in (0..2 * SOURCES_MAX).chain(0..2 * SOURCES_MAX) {
            lines.extend(gates.pass(address(number), reason, now));
        }
        assert_eq!(gates.own.len(), SOURCES_MAX);
        assert_eq!(gates.shared.len(), 1);
        // Each that has a place, and one for all others.
        assert_eq!(lines.len(), SOURCES_MAX + 1);

        tokio::time::advance(LOG_INTERVAL).await;
        let now = Instant::now();
        // A place is free again, and the first line tells what others were not told of: each that had
        // a place was held back once, each that had none twice; and one shared line was written.
        let owed = SOURCES_MAX + 2 * SOURCES_MAX - 1;
        let first = gates.pass(address(9999), reason, now);
        assert_eq!(first, own_and_others(0, owed as u64));
        assert_eq!(gates.own.len(), 1);
        // It is told once.
        assert_eq!(gates.pass(address(10_000), reason, now), own(0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_back_of_a_silent_source_is_told_by_the_next_line_of_the_reason() {
        let mut gates = Gates::default();
        let reason = Reason::UnknownToken;
        let mut pass = |number, reason| gates.pass(address(number), reason, Instant::now());
        assert_eq!(pass(1, reason), own(0));
        assert_eq!(pass(1, reason), None);
        assert_eq!(pass(1, reason), None);
        // Its minute is not over: it may still tell that itself.
        assert_eq!(pass(2, reason), own(0));
        assert_eq!(pass(2, reason), None);
        tokio::time::advance(LOG_INTERVAL).await;
        assert_eq!(pass(3, Reason::WrongCluster), own(0), "another reason");
        // Its own by the source itself; that of the silent one beside it.
        assert_eq!(pass(2, reason), own_and_others(1, 2));
        assert_eq!(pass(3, reason), own(0));
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let of = |text: &str| source(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2::99"));
        assert_ne!(of("2001:db8:1:2::4"), of("2001:db8:1:3::4"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.2"), of("10.0.0.1"));
    }
}
