//! Lines that are no events: each is counted and quarantined with its place, none costs another one.

use std::fs;

use crate::{Log, becomes, folder, lines, received, start, stopped, support::run};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_quarantined_and_the_lines_around_it_are_read() {
    let folder = folder("audit.log", "");
    let mut log = Log::new(folder.path().join("audit.log"));
    log.write(lines("a", 2));
    log.write("garbage hunter2\n{\"level\":\"Metadata\"}\n[1,2]\n\n{\"half\":\n");
    log.write(b"\xff\xfe\x00 no text\n");
    log.write(
        "{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1beta1\",\"level\":\"Metadata\",\"stage\":\"Panic\"}\n",
    );
    log.write("{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"items\":[]}\n");
    log.write(lines("b", 2));
    let relay = start(folder.path());
    let ledger = received(&relay, 11).await;
    assert_eq!(ledger["quarantined"], 7, "{ledger}");
    becomes(&relay, "unreadable_lines_total", "audit.log", 7.0).await;
    let logs = stopped(relay).await;
    assert_eq!(
        logs.matches("is no event and goes to quarantine").count(),
        1,
        "{logs}"
    );
    assert!(!logs.contains("hunter2"), "{logs}");
    let (code, lines, _) = run(folder.path(), &[], &["export", "-", "--config", "c.yaml"]);
    assert_eq!(code, 0);
    assert!(!lines.contains("hunter2"));
    for (line, reason) in [
        (3, "not valid JSON"),
        (4, "missing field"),
        (9, "audit.k8s.io/v1beta1"),
        (10, "missing field"),
    ] {
        let is_told = lines.lines().any(|one| {
            one.contains("\"quarantine\"")
                && one.contains(reason)
                && one.contains("audit.log")
                && one.contains(&line.to_string())
        });
        assert!(is_told, "line {line}: {reason} in {lines}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_text_format_is_told_once_a_file() {
    let folder = folder("audit.log", "");
    let legacy = |n: u32| {
        format!(
            "2017-03-21T03:57:09.106841886-04:00 AUDIT: id=\"c939d2a7-{n}\" stage=\"RequestReceived\" \
             ip=\"127.0.0.1\" method=\"get\" user=\"hunter2\"\n"
        )
    };
    let mut log = Log::new(folder.path().join("audit.log"));
    log.write((0..500).map(legacy).collect::<String>());
    let relay = start(folder.path());
    let ledger = received(&relay, 500).await;
    assert_eq!(ledger["quarantined"], 500, "{ledger}");
    let logs = stopped(relay).await;
    assert_eq!(logs.matches("--audit-log-format=json").count(), 1, "{logs}");
    assert!(!logs.contains("hunter2"), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_without_end_costs_neither_memory_nor_the_lines_around_it() {
    const LONG_BYTES: usize = 200 << 20;
    let folder = folder("audit.log", "");
    let mut log = Log::new(folder.path().join("audit.log"));
    log.write(lines("a", 3));
    log.write("{\"kind\":\"Event\",\"hunter2\":\"");
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..LONG_BYTES >> 20 {
        log.write(&piece);
    }
    let mut relay = start(folder.path());
    received(&relay, 3).await;
    log.write("\"}\n");
    log.write(lines("b", 4));
    let ledger = received(&relay, 8).await;
    assert_eq!(ledger["quarantined"], 1, "{ledger}");
    let status = fs::read_to_string(format!("/proc/{}/status", relay.pid())).expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.trim().strip_suffix(" kB"));
    let peak_kb: u64 = peak.expect("a peak").trim().parse().expect("a number");
    assert!(peak_kb < 160 << 10, "{peak_kb} kB");
    assert!(!relay.logs().contains("hunter2"));
}
