//! What is counted beside deliveries: with the routing, and for ever.

use crate::Sound;
use auditrelay_store::{Engine, Queue as _};
use std::collections::BTreeMap;

use auditrelay_audit::Severity;
use auditrelay_store::{
    Counts, FilteredCount, MutedCount, RateCount, RatesCounted, Routed, RoutedBlock,
};

use crate::{
    Backend,
    support::{batch, one_to},
};

fn filtered(route: &str, events: u64) -> FilteredCount {
    FilteredCount {
        route: route.to_owned(),
        events,
    }
}

/// Appends so many events, and routes them with these counts; `more` says what else is committed.
async fn route(queue: &Engine, counts: Counts, more: Routed) {
    let events = (0..counts.total()).map(|n| format!("{n}"));
    queue.append(batch(events)).await.expect("durable");
    let block = &queue.unrouted(1).await.expect("blocks")[0];
    let blocks = vec![RoutedBlock {
        seq: block.seq,
        counts,
        ..RoutedBlock::default()
    }];
    let routed = Routed { blocks, ..more };
    queue.route(routed).await.expect("routed");
}

pub async fn who_filtered_and_what_was_muted_is_counted_with_the_routing<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut queue = B::at(dir.path());
    for _ in 0..2 {
        let counts = Counts {
            filtered: 3,
            muted: 1,
            routed: 1,
            ..Counts::default()
        };
        let muted = |mute, channel: &str, events| MutedCount {
            mute,
            channel: channel.to_owned(),
            events,
        };
        let more = Routed {
            deliveries: vec![one_to("ops", Severity::Info, "{}")],
            filtered_by: vec![filtered("probes", 2)],
            // One event for two channels, of which one hears of it; and one that nobody hears of.
            muted: vec![muted(7, "sec", 1), muted(8, "sec", 1), muted(7, "dev", 1)],
            ..Routed::default()
        };
        route(&queue, counts, more).await;
        drop(queue);
        queue = B::at(dir.path());
        queue.sound().await;
    }
    let ledger = queue.ledger();
    assert_eq!((ledger.counts.filtered, ledger.counts.muted), (6, 2));
    assert_eq!(ledger.filtered_by, BTreeMap::from([("probes".into(), 4)]));
    let muted = BTreeMap::from([("dev".into(), 2), ("sec".into(), 4)]);
    assert_eq!(ledger.muted_deliveries, muted);
    let routed = |channel: &str| ledger.channels[channel].routed;
    assert_eq!(["ops", "sec", "dev"].map(routed), [2, 0, 0]);
}

pub async fn of_too_many_routes_the_one_that_filtered_nothing_for_the_longest_is_forgotten<
    B: Backend,
>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    let counts = |filtered| Counts {
        filtered,
        ..Counts::default()
    };
    let by = |names: Vec<String>| Routed {
        filtered_by: names.iter().map(|name| filtered(name, 1)).collect(),
        ..Routed::default()
    };
    let most = FilteredCount::ROUTES_MAX as u64;
    route(&queue, counts(1), by(vec!["first".to_owned()])).await;
    route(&queue, counts(1), by(vec!["second".to_owned()])).await;
    let others = (2..most).map(|n| format!("r{n}")).collect();
    route(&queue, counts(most - 2), by(others)).await;
    // The first filters again, so the second goes.
    route(&queue, counts(1), by(vec!["first".to_owned()])).await;
    route(&queue, counts(1), by(vec!["one more".to_owned()])).await;
    let before = queue.ledger();
    drop(queue);
    let queue = B::at(dir.path());
    queue.sound().await;
    let ledger = queue.ledger();
    assert_eq!(ledger, before);
    assert_eq!(ledger.counts.filtered, most + 2);
    assert_eq!(ledger.filtered_by.len() as u64, most);
    assert_eq!(ledger.filtered_by.get("first"), Some(&2));
    assert_eq!(ledger.filtered_by.get("second"), None);
    assert_eq!(ledger.filtered_by.get("one more"), Some(&1));
}

/// By key and slot.
fn summed(counts: &[RateCount]) -> BTreeMap<(u64, i64), u64> {
    let mut summed = BTreeMap::new();
    for RateCount { key, slot, events } in counts {
        *summed.entry((*key, *slot)).or_default() += u64::from(*events);
    }
    summed
}

pub async fn what_rates_counted_adds_up_until_all_of_it_is_said_anew<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut queue = B::at(dir.path());
    let filtered = Counts {
        filtered: 1,
        ..Counts::default()
    };
    let mut said: Vec<RateCount> = Vec::new();
    // More than a row holds at a time, and everything anew in between.
    for (round, is_all) in [false, false, true, false, true].into_iter().enumerate() {
        let count = |n: u64| RateCount {
            key: n * (u64::MAX / 700),
            slot: round as i64 - 2,
            events: n as u32 + 1,
        };
        let counts: Vec<RateCount> = (0..700 / (round as u64 + 1)).map(count).collect();
        if is_all {
            said.clear();
        }
        said.extend(&counts);
        let rates = RatesCounted { counts, is_all };
        let more = Routed {
            rates,
            ..Routed::default()
        };
        route(&queue, filtered, more).await;
        assert_eq!(queue.rates().await.expect("read"), said, "in their order");
        drop(queue);
        queue = B::at(dir.path());
        queue.sound().await;
        assert_eq!(summed(&queue.rates().await.expect("read")), summed(&said));
    }
    let rates = RatesCounted {
        counts: vec![],
        is_all: true,
    };
    let more = Routed {
        rates,
        ..Routed::default()
    };
    route(&queue, filtered, more).await;
    assert_eq!(queue.rates().await.expect("read"), []);
}
