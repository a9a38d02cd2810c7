//! What a relay says of itself at `/metrics`, with the real binary: as docs/metrics.md has it, as its ledger has it,
//! as strict parsers of others read it, and never more of it because of what is in events.
//!
//! `AUDITRELAY_CARDINALITY_EVENTS` sets how many events with names of their own are posted (100,000 is the whole).

#[path = "../support/prometheus.rs"]
mod prometheus;
#[path = "../support/mod.rs"]
mod support;

mod busy;
mod cardinality;
mod page;
mod scrape;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use busy::Busy;
use prometheus::{Prometheus, scraping};
use scrape::{Family, families, scrape, value};
use serde_json::Value;
use support::run;

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_relay_is_as_its_reference_and_its_ledger_say_and_as_others_read_it() {
    let busy = Busy::start().await;
    let (content_type, text) = scrape(&busy.relay, None).await;
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    let scraped = families(&text);
    as_the_reference(&scraped);
    as_the_ledger(busy.folder.path(), &scraped);
    by_cluster(&scraped);
    let (content_type, open) = scrape(&busy.relay, Some(OPEN_METRICS)).await;
    assert_eq!(
        content_type,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    for (name, family) in &scraped {
        let open_name = match family.kind.as_str() {
            "counter" => name.trim_end_matches("_total"),
            _ => name,
        };
        let kind = format!("# TYPE {open_name} {}\n", family.kind);
        assert!(open.contains(&kind), "{kind}");
    }
    read_by_python(&open, &scraped);
    checked_by_promtool(&text);
    scraped_by_prometheus(&busy).await;
}

/// Every family is described with its type and its labels, every one that is described is there or may be absent, and
/// values of labels are names of the configuration or stand on the page.
fn as_the_reference(scraped: &BTreeMap<String, Family>) {
    let page = page::text();
    let rows = page::rows(&page);
    assert!(rows.len() > 60, "the page was not read: {}", rows.len());
    let mut findings = Vec::new();
    for (name, row) in &rows {
        if !scraped.contains_key(name) && !row.may_be_absent() {
            findings.push(format!("{name} is described and not there"));
        }
    }
    for (name, family) in scraped {
        let Some(row) = rows.get(name) else {
            findings.push(format!("{name} is not described"));
            continue;
        };
        if row.kind != family.kind {
            findings.push(format!("{name} is a {}, not a {}", family.kind, row.kind));
        }
        for (_, labels, _) in &family.samples {
            let labels = labels.iter().filter(|(label, _)| *label != "le");
            let names: Vec<&String> = labels.clone().map(|(label, _)| label).collect();
            if names != row.labels.iter().collect::<Vec<_>>() {
                findings.push(format!(
                    "{name} has the labels {names:?}, not {:?}",
                    row.labels
                ));
            }
            for (label, value) in labels {
                let is_known = busy::is_configured(label, value)
                    || page.contains(&format!("`{value}`"))
                    || value.is_empty();
                if !is_known {
                    findings.push(format!("{name}: {label}={value:?} is nowhere on the page"));
                }
            }
        }
    }
    findings.sort();
    findings.dedup();
    assert!(findings.is_empty(), "{findings:#?}");
}

/// The counters are those of `auditrelay ledger`.
#[expect(clippy::too_many_lines, reason = "a table")]
fn as_the_ledger(folder: &Path, scraped: &BTreeMap<String, Family>) {
    let (code, text, stderr) = run(folder, &[], &["ledger", "--json", "--config", "c.yaml"]);
    assert_eq!(code, 0, "{text}{stderr}");
    let ledger: Value = serde_json::from_str(&text).expect("JSON");
    let mut compared = 0;
    let mut same = |name: &str, labels: &[(&str, &str)], expected: &Value| {
        let expected = expected.as_u64().expect("a count") as f64;
        assert_eq!(
            value(scraped, name, labels),
            Some(expected),
            "{name} {labels:?}: {ledger}"
        );
        compared += 1;
    };
    for fate in [
        "received",
        "duplicates",
        "filtered",
        "muted",
        "quarantined",
        "routed",
    ] {
        same(
            "auditrelay_ledger_events_total",
            &[("fate", fate)],
            &ledger[fate],
        );
    }
    same("auditrelay_ledger_waiting_events", &[], &ledger["waiting"]);
    same("auditrelay_ledger_lost_events", &[], &ledger["lost"]);
    for (channel, counts) in ledger["channels"].as_object().expect("channels") {
        let channel = ("channel", channel.as_str());
        for fate in ["routed", "delivered"] {
            let name = "auditrelay_channel_events_total";
            same(name, &[channel, ("fate", fate)], &counts[fate]);
        }
        for stock in ["waiting", "dead"] {
            let name = format!("auditrelay_channel_{stock}_events");
            same(&name, &[channel], &counts[stock]);
        }
        for reason in ["quota", "command"] {
            let name = "auditrelay_channel_dropped_events_total";
            same(
                name,
                &[channel, ("reason", reason)],
                &counts["dropped"][reason],
            );
        }
    }
    for (part, total) in [
        ("notices", "auditrelay_notices_total"),
        ("copies", "auditrelay_copies_total"),
    ] {
        for (channel, counts) in ledger[part].as_object().expect("channels") {
            let channel = ("channel", channel.as_str());
            for fate in ["queued", "delivered", "dropped"] {
                same(total, &[channel, ("fate", fate)], &counts[fate]);
            }
            for stock in ["waiting", "dead"] {
                let name = format!("auditrelay_{stock}_{part}");
                same(&name, &[channel], &counts[stock]);
            }
        }
    }
    for (route, events) in ledger["filtered_by"].as_object().expect("routes") {
        same(
            "auditrelay_events_filtered_total",
            &[("route", route)],
            events,
        );
    }
    for (channel, events) in ledger["muted_deliveries"].as_object().expect("channels") {
        same(
            "auditrelay_events_muted_total",
            &[("channel", channel)],
            events,
        );
    }
    assert!(compared > 40, "{compared} of {ledger}");
    for fate in ["duplicates", "filtered", "muted", "quarantined", "routed"] {
        assert!(
            ledger[fate].as_u64() > Some(0),
            "nothing was {fate}: {ledger}"
        );
    }
    backlog_is_the_sum(scraped, &ledger);
}

/// What waits by severity is what waits in all.
fn backlog_is_the_sum(scraped: &BTreeMap<String, Family>, ledger: &Value) {
    let mut all = 0.0;
    for channel in ledger["channels"].as_object().expect("channels").keys() {
        let by_severity = |name: &str| {
            let severities = ["critical", "warning", "info"];
            let one = |severity| {
                let labels = [("channel", channel.as_str()), ("severity", severity)];
                value(scraped, name, &labels).expect("it is there")
            };
            severities.map(one)
        };
        let events = by_severity("auditrelay_backlog_events");
        let ages = by_severity("auditrelay_backlog_oldest_age_seconds");
        for (events, age) in events.into_iter().zip(ages) {
            // An hour is more than this test takes: an age is one of this relay.
            assert_eq!(
                events > 0.0,
                age > 0.0 && age < 3_600.0,
                "{channel}: {events} {age}"
            );
        }
        let waiting = ["channels", "notices", "copies"];
        let waiting = waiting.map(|part| ledger[part][channel]["waiting"].as_f64().unwrap_or(0.0));
        let events: f64 = events.iter().sum();
        assert_eq!(events, waiting.iter().sum::<f64>(), "{channel}");
        let bytes: f64 = by_severity("auditrelay_backlog_bytes").iter().sum();
        let stored = value(
            scraped,
            "auditrelay_channel_waiting_bytes",
            &[("channel", channel)],
        );
        assert_eq!(Some(bytes), stored, "{channel}");
        all += events;
    }
    assert!(all > 0.0, "nothing waits for the channel that is parked");
}

/// A cluster of the configuration has its own series, any other shares one, and complete requests are no gap.
fn by_cluster(scraped: &BTreeMap<String, Family>) {
    let of = |name: &str, labels: &[(&str, &str)]| value(scraped, name, labels).expect(name);
    let events = |cluster, outcome| {
        let labels = [("cluster", cluster), ("outcome", outcome)];
        of("auditrelay_cluster_events_total", &labels)
    };
    assert_eq!(events("prod", "new"), busy::PROD_EVENTS as f64);
    assert_eq!(events("prod", "duplicate"), busy::PROD_EVENTS as f64);
    assert_eq!(events("other", "new"), busy::STRANGERS as f64);
    assert_eq!(events("silent", "new"), 0.0);
    let all: f64 = ["home", "prod", "other"]
        .iter()
        .flat_map(|cluster| ["new", "duplicate"].map(|outcome| events(cluster, outcome)))
        .sum();
    let received = of("auditrelay_ledger_events_total", &[("fate", "received")]);
    assert_eq!(all, received);
    let heard = |cluster| {
        let name = "auditrelay_cluster_last_event_timestamp_seconds";
        of(name, &[("cluster", cluster)])
    };
    assert_eq!(heard("silent"), 0.0);
    let started = of("auditrelay_start_time_seconds", &[]);
    for cluster in ["home", "prod", "other"] {
        assert!(heard(cluster) >= started, "{cluster}");
        let unfinished = "auditrelay_requests_unfinished_total";
        assert_eq!(of(unfinished, &[("cluster", cluster)]), 0.0);
    }
    assert!(of("auditrelay_ingest_stored_bytes_total", &[]) > 1_000.0);
    assert!(of("process_resident_memory_bytes", &[]) > 1_000_000.0);
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
/// Python's client library reads every sample of the strict format, and finds the families that are there.
fn read_by_python(text: &str, scraped: &BTreeMap<String, Family>) {
    const READ: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read
for family in read(sys.stdin.read()):
    print(family.name, family.type, family.unit or '-', len(family.samples))
";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/observability");
    if !folder.join("ready").exists() {
        println!("skipped: prometheus_client is not installed (tests/observability/install.sh)");
        return;
    }
    let (read, complaint) = piped(folder.join("venv/bin/python"), &["-c", READ], text);
    assert_eq!(complaint, "");
    let mut found: Vec<&str> = read
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let mut expected: Vec<&str> = scraped
        .iter()
        .map(|(name, family)| match family.kind.as_str() {
            "counter" => name.trim_end_matches("_total"),
            _ => name.as_str(),
        })
        .collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!(
        read.contains("auditrelay_ingest_received_bytes counter bytes 1\n"),
        "{read}"
    );
    // Cut short it is no exposition.
    let (_, complaint) = piped(
        folder.join("venv/bin/python"),
        &["-c", READ],
        text.trim_end_matches("# EOF\n"),
    );
    assert!(complaint.contains("ValueError"), "{complaint}");
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn checked_by_promtool(text: &str) {
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("skipped: promtool is not installed (apt-get install prometheus)");
        return;
    }
    let (_, complaint) = piped("promtool", &["check", "metrics"], text);
    // It wants no gauge to end with `_total` and the like; names that it does not like it says on its own lines.
    let other: Vec<&str> = complaint.lines().filter(|line| !line.is_empty()).collect();
    assert!(other.is_empty(), "{complaint}");
}

/// What a program says and complains of, given a text.
fn piped(program: impl AsRef<std::ffi::OsStr>, args: &[&str], text: &str) -> (String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("input");
    fs::File::create(&input)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("written");
    let ended = Command::new(program)
        .args(args)
        .stdin(Stdio::from(fs::File::open(input).expect("there")))
        .output()
        .expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(ended.stdout), text(ended.stderr))
}

/// A real Prometheus, which asks for OpenMetrics, takes all of it.
async fn scraped_by_prometheus(busy: &Busy) {
    let config = scraping(&[("auditrelay", busy.relay.admin)]);
    let Some(prometheus) = Prometheus::start(busy.folder.path(), &config).await else {
        return;
    };
    prometheus.until("up{job=\"auditrelay\"} == 1").await;
    let query = "auditrelay_cluster_events_total{cluster=\"prod\",outcome=\"new\"}";
    prometheus
        .until(&format!("{query} == {}", busy::PROD_EVENTS))
        .await;
    // Buckets as OpenMetrics writes them.
    prometheus
        .until("auditrelay_ingest_commit_duration_seconds_bucket{le=\"1.0\"}")
        .await;
}
