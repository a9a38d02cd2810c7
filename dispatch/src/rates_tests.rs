//! Rates against counting by hand, and what is kept of them.

use std::{collections::HashSet, io::Write};

use auditrelay_config::{Overrides, load};
use auditrelay_store::Hint;
use proptest::prelude::*;

use super::*;
use crate::routes::{Fate, Matched};

fn routes(rate: &str) -> Routes {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let yaml = format!(
        "channels: {{ops: {{preview: true}}}}\nroutes: [{{name: bursts, channel: ops, verbs: [get], rate: {rate}}}]\n"
    );
    file.write_all(yaml.as_bytes()).expect("written");
    let loaded = load(Some(file.path()), [], Overrides::default());
    Routes::new(&loaded.expect("valid").config)
}

fn json(user: &str, at_unix_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_unix_ms).expect("a time");
    format!(
        r#"{{"level":"Metadata","stage":"ResponseComplete","verb":"get","user":{{"username":"{user}"}},"sourceIPs":["8.8.8.8","10.0.0.{}"],"objectRef":{{"resource":"pods","namespace":"of-{user}"}},"stageTimestamp":"{at}"}}"#,
        user.len()
    )
}

/// Whether an event of a user at a time is beyond the rate of the only route.
fn is_told(rates: &mut Rates, routes: &Routes, user: &str, at_unix_ms: i64, now: i64) -> bool {
    told_in("prod", rates, routes, &json(user, at_unix_ms), now)
}

fn told_in(cluster: &str, rates: &mut Rates, routes: &Routes, json: &str, now: i64) -> bool {
    let envelope = Envelope::parse(json).expect("an event");
    let event = Event {
        cluster,
        envelope: &envelope,
    };
    let matched = routes.matched(&event);
    assert!(routes.counts(&matched));
    let (hint, _) = routes.advice(&event).expect("it has to be looked at");
    assert_ne!(hint, Hint(0));
    assert_eq!(routes.hinted(hint), Some(matched.clone()));
    let mut occurrence = Occurrence {
        event: &event,
        received_unix_ms: now,
        is_reused: false,
        rates,
        now_unix_ms: now,
    };
    match routes.fate(&matched, &mut occurrence) {
        Fate::Told(targets) => {
            assert_eq!((targets[0].channel, targets[0].route), ("ops", "bursts"));
            true
        }
        Fate::Filtered(by) => {
            assert_eq!(by, None);
            false
        }
    }
}

const HOUR: i64 = 3_600_000;
const THREE_A_MINUTE: &str = "{moreThan: 3, withinSeconds: 60, by: [user]}";

#[test]
fn what_is_beyond_the_rate_is_told_and_each_who_counts_alone() {
    let (routes, mut rates) = (routes(THREE_A_MINUTE), Rates::default());
    let mut told = |user: &str, at| is_told(&mut rates, &routes, user, at, at);
    let of_alice: Vec<bool> = (0..6).map(|n| told("alice", HOUR + n * 10_000)).collect();
    assert_eq!(of_alice, [false, false, false, true, true, true]);
    assert!(!told("bob", HOUR + 50_000));
    // A minute and a twelfth later nothing of it counts any more.
    assert!(!told("alice", HOUR + 50_000 + 65_000));
}

#[test]
fn a_slow_stream_is_never_told_and_a_burst_after_it_is() {
    let (routes, mut rates) = (routes(THREE_A_MINUTE), Rates::default());
    let mut told = |at| is_told(&mut rates, &routes, "alice", at, at);
    // Three in any 65 seconds.
    assert!((0..200).all(|n| !told(HOUR + n * 25_000)));
    let burst: Vec<bool> = (0..4).map(|n| told(10 * HOUR + n)).collect();
    assert_eq!(burst, [false, false, false, true]);
}

#[test]
fn what_events_are_counted_by_is_what_the_route_says_and_the_cluster() {
    let at = |user: &str| json(user, HOUR);
    // Names of one length come from one address, which is the last; none has another's namespace.
    for (by, one_key, own_keys) in [
        ("[]", &["a", "bb", "cc"][..], &[][..]),
        ("[verb, resource]", &["a", "bb", "cc"], &[]),
        ("[sourceIP]", &["aa", "bb"], &["a", "ccc"]),
        ("[namespace]", &["aa", "aa"], &["a", "bb"]),
        ("[user, sourceIP]", &["aa", "aa"], &["a", "bb"]),
    ] {
        let routes = routes(&format!("{{moreThan: 1, withinSeconds: 60, by: {by}}}"));
        let mut rates = Rates::default();
        let mut told = |user: &str| told_in("prod", &mut rates, &routes, &at(user), HOUR);
        let together: Vec<bool> = one_key.iter().map(|user| told(user)).collect();
        assert!(
            !together[0] && together[1..].iter().all(|told| *told),
            "{by}"
        );
        assert!(own_keys.iter().all(|user| !told(user)), "{by}");
        let elsewhere = told_in("dev", &mut rates, &routes, &at(one_key[0]), HOUR);
        assert!(!elsewhere, "{by}");
    }
}

#[test]
fn behind_a_proxy_that_impersonates_each_user_counts_alone() {
    let routes = routes("{moreThan: 1, withinSeconds: 60, by: [user]}");
    let mut rates = Rates::default();
    let mut told = |other: &str| {
        let other = format!(r#""impersonatedUser":{{"username":"{other}"}},"sourceIPs""#);
        let json = json("proxy", HOUR).replace(r#""sourceIPs""#, &other);
        told_in("prod", &mut rates, &routes, &json, HOUR)
    };
    assert_eq!(
        ["alice", "bob", "alice", "eve"].map(&mut told),
        [false, false, true, false]
    );
    // The same user, whichever way.
    let itself = json("bob", HOUR);
    assert!(told_in("prod", &mut rates, &routes, &itself, HOUR));
}

#[test]
fn without_a_time_of_its_own_an_event_is_of_when_it_was_received() {
    let (routes, mut rates) = (routes(THREE_A_MINUTE), Rates::default());
    let json = json("alice", HOUR).replace("T01:", "x");
    let mut told = |now| told_in("prod", &mut rates, &routes, &json, now);
    assert!((0..20).all(|n| !told(HOUR + n * 30_000)));
    assert!(told(HOUR + 19 * 30_000 + 1) | told(HOUR + 19 * 30_000 + 2));
}

/// As often as the route says, by looking at all of them: within the time, and within a little more.
fn naive(earlier: &[i64], at: i64, more_than: usize, within_ms: i64) -> bool {
    let all = || earlier.iter().copied().chain([at]);
    // A window that holds the event begins at an event.
    let starts = all().filter(|start| *start <= at && at - *start < within_ms);
    let within = |start: i64| {
        all()
            .filter(|one| (start..start + within_ms).contains(one))
            .count()
    };
    starts.map(within).max().unwrap_or(0) > more_than
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the order, and with a restart at any moment.
    #[test]
    fn who_is_beyond_the_rate_is_always_told_and_who_is_within_it_never(
        steps in prop::collection::vec((0..4_000_i64, 0..8_000_i64, any::<bool>()), 1..120),
        more_than in 1..12_usize,
        within_seconds in 1..30_i64,
        restart in 0..120_usize,
    ) {
        let routes = routes(&format!("{{moreThan: {more_than}, withinSeconds: {within_seconds}}}"));
        let within_ms = within_seconds * 1_000;
        let mut rates = Rates::default();
        let (mut stored, mut earlier, mut clock) = (Vec::new(), Vec::new(), HOUR);
        for (number, (step, late, is_late)) in steps.into_iter().enumerate() {
            clock += step;
            // No later than the contract says.
            let at = if is_late { clock - late.min(within_ms) } else { clock };
            if number == restart {
                rates = Rates::load(&stored, &routes, clock);
            }
            let told = is_told(&mut rates, &routes, "alice", at, clock);
            let must = naive(&earlier, at, more_than, within_ms);
            let may = naive(&earlier, at, more_than, within_ms * 13 / 12 + 14);
            prop_assert!(told || !must, "{at} is beyond the rate after {earlier:?}");
            prop_assert!(!told || may, "{at} is within the rate after {earlier:?}");
            earlier.push(at);
            let counted = rates.take(clock);
            if counted.is_all {
                stored.clear();
            }
            stored.extend(counted.counts);
        }
    }
}

#[test]
fn the_store_is_told_now_and_then_what_all_of_it_comes_to() {
    let routes = routes(THREE_A_MINUTE);
    let mut rates = Rates::default();
    let (mut stored, mut rows, mut most, mut renewed) = (Vec::new(), 0, 0, 0);
    for n in 0..5_000_i64 {
        let now = HOUR + n * 1_000;
        is_told(&mut rates, &routes, &format!("u{}", n % 50), now, now);
        let counted = rates.take(now);
        if counted.is_all {
            (stored, rows) = (Vec::new(), 0);
            renewed += 1;
        }
        rows += counted.counts.len().div_ceil(COUNTS_PER_ROW);
        most = most.max(rows);
        stored.extend(counted.counts);
    }
    assert!((1..50).contains(&renewed), "{renewed}");
    assert!(most <= ROWS_MAX, "{most}");
    // What is loaded is what was there.
    let loaded = Rates::load(&stored, &routes, HOUR);
    let slots = |rates: &Rates| {
        let all = rates.keys.iter();
        all.map(|(key, counted)| (*key, counted.slots.to_vec()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(slots(&loaded), slots(&rates));
    assert_eq!(loaded.slots, rates.slots);
}

#[test]
fn a_flood_of_keys_is_bounded_here_and_in_the_store_and_the_stalest_give_way() {
    let routes = routes(THREE_A_MINUTE);
    let mut rates = Rates::default();
    let mut stored: HashSet<u64> = HashSet::new();
    let mut forgotten = 0;
    for n in 0..150_000_i64 {
        is_told(&mut rates, &routes, &format!("u{n}"), HOUR, HOUR + n);
        assert!(rates.slots <= COUNTS_MAX);
        if n % 5_000 == 0 {
            let counted = rates.take(HOUR + n);
            if counted.is_all {
                stored.clear();
            }
            stored.extend(counted.counts.iter().map(|count| count.key));
            assert!(stored.len() <= COUNTS_MAX + 5_000, "{}", stored.len());
            forgotten += rates.take_forgotten();
        }
    }
    forgotten += rates.take_forgotten();
    assert_eq!(forgotten + rates.keys.len() as u64, 150_000);
    // The newest is still known.
    let now = HOUR + 150_000;
    let newest = (0..3).map(|_| is_told(&mut rates, &routes, "u149999", HOUR, now));
    assert_eq!(newest.collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn what_cannot_count_any_more_goes_without_being_called_forgotten() {
    let routes = routes(THREE_A_MINUTE);
    let mut rates = Rates::default();
    is_told(&mut rates, &routes, "alice", HOUR, HOUR);
    rates.take(HOUR);
    let later = HOUR + 2 * 60_000 + LATE_MS + 1;
    rates.is_stale = true;
    let all = rates.take(later);
    assert_eq!((all.is_all, all.counts.len()), (true, 0));
    assert_eq!((rates.slots, rates.take_forgotten()), (0, 0));
}

#[test]
fn another_configuration_begins_at_nothing_and_one_without_rates_clears_the_store() {
    let first = routes(THREE_A_MINUTE);
    let mut rates = Rates::default();
    for _ in 0..3 {
        is_told(&mut rates, &first, "alice", HOUR, HOUR);
    }
    let stored = rates.take(HOUR).counts;
    assert!(is_told(
        &mut Rates::load(&stored, &first, HOUR),
        &first,
        "alice",
        HOUR,
        HOUR
    ));
    let other = routes("{moreThan: 3, withinSeconds: 61, by: [user]}");
    assert!(!is_told(
        &mut Rates::load(&stored, &other, HOUR),
        &other,
        "alice",
        HOUR,
        HOUR
    ));
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"channels: {ops: {preview: true}}")
        .expect("written");
    let loaded = load(Some(file.path()), [], Overrides::default()).expect("valid");
    let none = Routes::new(&loaded.config);
    assert_eq!(none.hinted(Hint(0)), Some(Matched::Default));
    let mut rates = Rates::load(&stored, &none, HOUR);
    let all = rates.take(HOUR);
    assert_eq!((all.is_all, all.counts.len()), (true, 0));
    assert_eq!(rates.take(HOUR), RatesCounted::default());
}
