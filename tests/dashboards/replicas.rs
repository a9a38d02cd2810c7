//! What panels say of several relays on one queue: nothing is counted twice, and nobody is calm for want of a leader.
//!
//! `promtool` works the committed queries out over series that are written here, as a hand-over takes longer than a test.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{
    boards::{none, panels},
    live::filled,
};

/// A panel, and its only number; `None`: it has none.
type Expected = (&'static str, Option<f64>);

struct Case {
    name: &'static str,
    /// Names of series without what each has, and a value every half minute, in promtool's form.
    series: &'static [(&'static str, &'static str)],
    /// At the 60th minute, in each dashboard that has a panel with this title.
    expected: &'static [Expected],
}

const CASES: [Case; 6] = [
    Case {
        name: "two relays began anew, and nobody leads",
        series: &[
            ("auditrelay_build_info{instance='a',version='1'}", "1+0x200"),
            ("auditrelay_build_info{instance='b',version='1'}", "1+0x200"),
            ("auditrelay_start_time_seconds{instance='a'}", "1800+0x200"),
            ("auditrelay_leader{instance='a',queue='q'}", "0+0x200"),
            ("auditrelay_leader{instance='b',queue='q'}", "0+0x200"),
            (
                "auditrelay_leader_since_timestamp_seconds{instance='a'}",
                "0+0x200",
            ),
            (
                "auditrelay_watchdog_interval_seconds{instance='a'}",
                "0+0x200",
            ),
            (
                "auditrelay_watchdog_last_delivered_timestamp_seconds{instance='a'}",
                "0+0x200",
            ),
            ("auditrelay_queue_reachable{instance='a'}", "1+0x200"),
            ("auditrelay_queue_reachable{instance='b'}", "1+0x200"),
            ("auditrelay_inbox_bytes{instance='a',queue='q'}", "99+0x200"),
            (
                "auditrelay_inbox_bytes_max{instance='a',queue='q'}",
                "100+0x200",
            ),
        ],
        expected: &[
            ("Leader", Some(0.0)),
            ("Inbox used", Some(0.99)),
            ("Door", Some(1.0)),
            ("Oldest waiting", None),
            ("Waiting", None),
            ("Dropped, 1 h", None),
            ("Dead letters, 1 h", None),
            ("Quarantined, 1 h", None),
            ("Refused, 1 h", Some(0.0)),
            ("Watchdog heard", None),
        ],
    },
    Case {
        name: "one of two queues is without a leader",
        series: &[
            ("auditrelay_leader{instance='a',queue='one'}", "1+0x200"),
            ("auditrelay_leader{instance='b',queue='one'}", "0+0x200"),
            ("auditrelay_leader{instance='c',queue='two'}", "0+0x200"),
        ],
        expected: &[("Leader", Some(0.0))],
    },
    Case {
        name: "one leads, then another, then the first again; something falls between the scrapes",
        series: &[
            (
                "auditrelay_leader{instance='a',queue='q'}",
                "1+0x40 0+0x39 1+0x100",
            ),
            (
                "auditrelay_leader{instance='b',queue='q'}",
                "0+0x40 1+0x39 0+0x100",
            ),
            (
                "auditrelay_channel_dropped_events_total{instance='a',channel='security',reason='quota'}",
                "500+0x40 stale _x39 1500+0x100",
            ),
            (
                "auditrelay_channel_dropped_events_total{instance='b',channel='security',reason='quota'}",
                "_x41 600+0x10 1500+0x27 stale",
            ),
            (
                "auditrelay_channel_dead_events{instance='a',channel='security'}",
                "3+0x40 stale _x39 13+0x100",
            ),
            (
                "auditrelay_channel_dead_events{instance='b',channel='security'}",
                "_x41 13+0x38 stale",
            ),
            (
                "auditrelay_ledger_events_total{instance='a',fate='quarantined'}",
                "7+0x40 stale _x39 107+0x100",
            ),
            (
                "auditrelay_ledger_events_total{instance='b',fate='quarantined'}",
                "_x41 17+0x10 107+0x27 stale",
            ),
        ],
        expected: &[
            ("Dropped, 1 h", Some(1000.0)),
            ("Dead letters, 1 h", Some(10.0)),
            ("Quarantined, 1 h", Some(100.0)),
        ],
    },
    Case {
        name: "two groups and two relays on their disks, each with a ledger of its own",
        series: &[
            ("auditrelay_leader{instance='a',queue='one'}", "1+0x200"),
            ("auditrelay_leader{instance='b',queue='two'}", "1+0x200"),
            ("auditrelay_leader{instance='c',queue=''}", "1+0x200"),
            ("auditrelay_leader{instance='d',queue=''}", "1+0x200"),
            (
                "auditrelay_channel_dropped_events_total{instance='a',channel='security',reason='quota'}",
                "0+0x60 10+0x100",
            ),
            (
                "auditrelay_channel_dropped_events_total{instance='b',channel='security',reason='quota'}",
                "5000+0x60 5020+0x100",
            ),
            (
                "auditrelay_channel_dropped_events_total{instance='c',channel='security',reason='quota'}",
                "0+0x60 30+0x100",
            ),
            (
                "auditrelay_channel_dropped_events_total{instance='d',channel='security',reason='quota'}",
                "7000+0x60 7040+0x100",
            ),
        ],
        expected: &[("Dropped, 1 h", Some(100.0))],
    },
    Case {
        name: "a cluster that no relay ever heard, beside a relay that began just now, and one that was heard",
        series: &[
            ("auditrelay_start_time_seconds{instance='a'}", "600+0x200"),
            (
                "auditrelay_start_time_seconds{instance='b'}",
                "_x110 3300+0x100",
            ),
            (
                "auditrelay_cluster_last_event_timestamp_seconds{instance='a',cluster='prod'}",
                "0+0x200",
            ),
            (
                "auditrelay_cluster_last_event_timestamp_seconds{instance='b',cluster='prod'}",
                "_x110 0+0x100",
            ),
            (
                "auditrelay_cluster_last_event_timestamp_seconds{instance='a',cluster='dev'}",
                "2600+0x200",
            ),
            (
                "auditrelay_cluster_last_event_timestamp_seconds{instance='b',cluster='dev'}",
                "_x110 0+0x100",
            ),
        ],
        // Of prod: 3600 s are past, and the first relay was there from the 600th on.
        expected: &[("Quietest cluster", Some(3000.0))],
    },
    Case {
        name: "a relay on its disk",
        series: &[
            ("auditrelay_build_info{instance='a',version='1'}", "1+0x200"),
            ("auditrelay_leader{instance='a',queue=''}", "1+0x200"),
            (
                "auditrelay_watchdog_interval_seconds{instance='a'}",
                "0+0x200",
            ),
            ("auditrelay_queue_reachable{instance='a'}", "1+0x200"),
            ("auditrelay_queue_refusing{instance='a'}", "0+0x200"),
        ],
        expected: &[
            ("Leader", Some(1.0)),
            ("Inbox used", Some(-1.0)),
            ("Door", Some(0.0)),
            ("Oldest waiting", Some(0.0)),
            ("Dropped, 1 h", Some(0.0)),
            ("Watchdog heard", Some(-1.0)),
        ],
    },
];

/// A series as promtool names it, with what all of them have.
fn named(series: &str) -> String {
    series
        .replace('{', "{job='auditrelay',")
        .replace('\'', "\"")
}

/// The only query of a panel in each dashboard that has one of this title.
fn queries(title: &str) -> Vec<String> {
    let panels = panels();
    let own = panels.iter().filter(|one| one.string("/title") == title);
    let queries: Vec<String> = own
        .map(|panel| {
            let mut queries = panel.queries();
            assert_eq!(queries.len(), 1, "{}", panel.place);
            filled(&queries.remove(0).1, "security")
        })
        .collect();
    assert!(!queries.is_empty(), "there is no panel {title:?}");
    queries
}

fn checks((title, value): &Expected) -> Vec<Value> {
    let samples: Vec<Value> = value
        .iter()
        .map(|value| json!({"labels": "{}", "value": value}))
        .collect();
    let check = |query: String| {
        // What is worked out from a range is not even.
        let size = value.map_or(1.0, |value| if value >= 10.0 { 10.0 } else { 0.01 });
        json!({"expr": format!("round({query}, {size})"), "eval_time": "60m", "exp_samples": samples})
    };
    queries(title).into_iter().map(check).collect()
}

fn test(case: &Case) -> Value {
    let series: Vec<Value> = case
        .series
        .iter()
        .map(|(name, values)| json!({"series": named(name), "values": values}))
        .collect();
    let checks: Vec<Value> = case.expected.iter().flat_map(checks).collect();
    json!({"name": case.name, "interval": "30s", "input_series": series, "promql_expr_test": checks})
}

#[test]
fn several_relays_on_one_queue_are_told_as_one() {
    let tests: Vec<Value> = CASES.iter().map(test).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cases.yaml");
    // JSON is YAML.
    let text = json!({"rule_files": [], "evaluation_interval": "30s", "tests": tests});
    fs::write(&file, text.to_string()).expect("written");
    let run = Command::new("promtool")
        .args(["test", "rules"])
        .arg(&file)
        .output();
    let Ok(run) = run else {
        println!("skipped: promtool is not installed (apt-get install prometheus)");
        return;
    };
    if !run.status.success() {
        none(&[String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned()]);
    }
}
