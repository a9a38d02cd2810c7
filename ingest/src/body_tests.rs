//! How much is reserved, and how slowly a body may come.

use super::*;

const MIB: usize = 1 << 20;

#[test]
fn what_is_reserved_runs_ahead_of_what_came_and_not_of_what_was_announced() {
    assert_eq!(ahead(Some(64 * MIB), 0), 64 * 1024);
    assert_eq!(ahead(Some(64 * MIB), 64 * 1024 + 1), 8 * (64 * 1024 + 1));
    assert_eq!(ahead(Some(64 * MIB), 5 * MIB), 40 * MIB);
    assert_eq!(ahead(Some(64 * MIB), 9 * MIB), 64 * MIB);
    assert_eq!(ahead(Some(10), 0), 10);
    assert_eq!(ahead(Some(0), 0), 0);
    assert_eq!(ahead(None, 0), 0);
    assert_eq!(ahead(None, 700), 700);
    assert_eq!(ahead(Some(usize::MAX), usize::MAX / 2), usize::MAX);
}

/// As the reader does it, a piece at a time for each in turn; gives how many were taken whole.
fn taken_whole(budget: &Budget, bodies: usize, length: usize) -> usize {
    const PIECE_BYTES: usize = 16 * 1024;
    let mut reservations: Vec<_> = (0..bodies)
        .map(|_| budget.try_reserve(ahead(Some(length), 0)).ok())
        .collect();
    for came in (PIECE_BYTES..=length).step_by(PIECE_BYTES) {
        for slot in &mut reservations {
            let Some(reservation) = slot else { continue };
            let more = ahead(Some(length), came).saturating_sub(reservation.bytes());
            if came > reservation.bytes() && reservation.grow(budget, more).is_err() {
                *slot = None;
            }
        }
    }
    reservations.iter().flatten().count()
}

#[test]
fn many_large_bodies_at_once_fill_the_memory_and_do_not_starve_each_other() {
    let in_use = IntGauge::new("in_use", "Bytes.").expect("a name");
    let budget = Budget::new(256 * MIB, in_use.clone());
    // Eight have room. Forty that come at the same time and pace must not all be refused half-way.
    assert_eq!(taken_whole(&budget, 8, 32 * MIB), 8);
    assert_eq!(taken_whole(&budget, 40, 32 * MIB), 8);
    assert_eq!(in_use.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_has_five_seconds_and_then_what_it_has_paid_for_and_never_more_than_all() {
    let limits = |bytes_per_second_min| BodyLimits {
        bytes_max: MIB,
        timeout: Duration::from_secs(25),
        bytes_per_second_min,
    };
    let begun = Instant::now();
    let due = |limits: BodyLimits, bytes| {
        let (deadline, refusal) = limits.next_by(begun, bytes);
        ((deadline - begun).as_secs(), refusal.reason)
    };
    assert_eq!(due(limits(1_000), 0), (5, Reason::BodyTooSlow));
    assert_eq!(due(limits(1_000), 5_000), (5, Reason::BodyTooSlow));
    assert_eq!(due(limits(1_000), 9_000), (9, Reason::BodyTooSlow));
    assert_eq!(due(limits(1_000), 25_000), (25, Reason::BodyTimeout));
    assert_eq!(due(limits(1_000), MIB), (25, Reason::BodyTimeout));
    assert_eq!(due(limits(0), 0), (25, Reason::BodyTimeout));
}
