//! A file is read from its beginning, as it grows, and on after a stop; several by a pattern; and it rests.

use std::{fs, process::Command};

use support::{Running, metric};

use crate::{CONFIG, Log, a_while, becomes, folder, lines, received, start, support};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_from_its_beginning_and_as_it_grows() {
    let folder = folder("logs/audit.log", "");
    fs::create_dir(folder.path().join("logs")).expect("made");
    // It is not there yet, and that is no error.
    let relay = start(folder.path());
    let mut log = Log::new(folder.path().join("logs/audit.log"));
    log.write(lines("a", 10));
    received(&relay, 10).await;
    // Half a line is none, and the other half makes it one.
    let one = lines("b", 1);
    let (half, rest) = one.split_at(40);
    log.write(half);
    a_while().await;
    received(&relay, 10).await;
    log.write(rest);
    log.write("\n\n");
    let ledger = received(&relay, 11).await;
    assert_eq!(
        ledger["counts"]["quarantined"].as_u64().unwrap_or(0),
        0,
        "{ledger}"
    );
    for (name, value) in [("lines_total", 13.0), ("lag_bytes", 0.0), ("files", 1.0)] {
        becomes(&relay, name, "logs/audit.log", value).await;
    }

    // Stopped and started, it goes on where it was.
    let mut relay = relay;
    relay.signal("-TERM");
    assert_eq!(relay.wait().await.code(), Some(0));
    log.write(lines("c", 5));
    let relay = start(folder.path());
    received(&relay, 16).await;
    a_while().await;
    received(&relay, 16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_the_file_is_the_event_that_the_webhook_brought() {
    let folder = folder("audit.log", "cluster: west");
    let relay = start(folder.path());
    let body = support::list("alice", "get", support::ids("a", 3));
    relay.post("/webhook", body).await;
    received(&relay, 3).await;
    Log::new(folder.path().join("audit.log")).write(lines("a", 4));
    let counted = async {
        loop {
            let ledger = relay.ledger().await;
            if ledger["received"] == 7 && ledger["waiting"] == 0 {
                return ledger;
            }
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        }
    };
    let ledger = tokio::time::timeout(support::PATIENCE, counted).await;
    let ledger = ledger.expect("read");
    assert_eq!(ledger["duplicates"], 3, "{ledger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_match_a_pattern_are_followed_also_those_that_come_later() {
    let folder = folder("node-*/audit*.log", "");
    for node in ["node-1", "node-2", "node-3"] {
        fs::create_dir(folder.path().join(node)).expect("made");
    }
    let mut first = Log::new(folder.path().join("node-1/audit.log"));
    first.write(lines("a", 7));
    let relay = start(folder.path());
    received(&relay, 7).await;
    let mut second = Log::new(folder.path().join("node-2/audit-b.log"));
    second.write(lines("b", 6));
    Log::new(folder.path().join("node-3/other.log")).write(lines("c", 5));
    received(&relay, 13).await;
    // A copy of what was read brings nothing, the pattern takes it in or not.
    fs::copy(&second.path, folder.path().join("node-2/audit-copy.log")).expect("copied");
    a_while().await;
    first.write(lines("d", 1));
    second.write(lines("e", 1));
    received(&relay, 15).await;
    becomes(&relay, "files", "node-*/audit*.log", 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_two_configured_paths_name_is_read_once() {
    let folder = folder("audit.log", "");
    let config = "inputs: {log_file: [{path: audit.log}, {path: 'a*.log'}, {path: audit.log}]}
channels: {ops: {preview: true, message_interval_milliseconds: 100}}";
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    let mut log = Log::new(folder.path().join("audit.log"));
    log.write(lines("a", 500));
    let relay = start(folder.path());
    received(&relay, 500).await;
    log.write(lines("b", 20));
    log.rotate(1);
    log.write(lines("c", 3));
    received(&relay, 523).await;
    a_while().await;
    received(&relay, 523).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_of_files_alone_opens_no_webhook_and_takes_everything() {
    let folder = folder("never.log", "cluster: east");
    Log::new(folder.path().join("one.log")).write(lines("a", 3));
    Log::new(folder.path().join("two.log")).write(lines("b", 4));
    let mut relay = Running::tail(folder.path(), &["one.log", "two.log", CONFIG[0], CONFIG[1]]);
    let logs = relay.logs();
    assert!(!logs.contains("webhook"), "{logs}");
    received(&relay, 7).await;
    relay.signal("-TERM");
    assert_eq!(relay.wait().await.code(), Some(0));
    let told = fs::read_to_string(folder.path().join("stdout")).expect("told");
    assert!(told.contains("east"), "{told}");
    // As with serve: what was read is not read again, and what came meanwhile is.
    Log::new(folder.path().join("one.log")).write(lines("c", 2));
    let relay = Running::tail(folder.path(), &["one.log", "two.log", CONFIG[0], CONFIG[1]]);
    received(&relay, 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_rests_while_the_queue_is_full_and_goes_on_when_there_is_room() {
    const ROOM: u64 = 1 << 30;
    let folder = folder("audit.log", "");
    let relay = start(folder.path());
    let (_, metrics) = relay.get("/metrics").await;
    let free = metric(&metrics, "auditrelay_disk_free_bytes") as u64;
    relay.kill();
    if free < 5 * ROOM {
        return; // Not enough of a disk to fill and to empty.
    }
    let keep = (free - 2 * ROOM).min(1 << 40);
    let minimum = format!("{keep}");
    let env = [("AUDITRELAY__QUEUE__DISK_FREE_BYTES_MIN", minimum.as_str())];
    let mut relay = Running::start(folder.path(), &env, &CONFIG);
    let mut log = Log::new(folder.path().join("audit.log"));
    log.write(lines("a", 5));
    received(&relay, 5).await;
    let filler = folder.path().join("filler");
    let filled = Command::new("fallocate")
        .args(["-l", &(3 * ROOM).to_string()])
        .arg(&filler)
        .status();
    assert!(filled.expect("util-linux").success());
    let is_full = async {
        while relay.post("/webhook", support::list("", "", [])).await.0 != 429 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let is_full = tokio::time::timeout(support::PATIENCE, is_full).await;
    is_full.expect("it sees that the disk is full");
    log.write(lines("b", 2_000));
    becomes(&relay, "resting", "audit.log", 1.0).await;
    received(&relay, 5).await;
    // The file is the buffer, and it may even be rotated meanwhile.
    log.rotate(1);
    log.write(lines("c", 3));
    fs::remove_file(filler).expect("removed");
    received(&relay, 2_008).await;
    becomes(&relay, "resting", "audit.log", 0.0).await;
    assert!(relay.logs().contains("reading of log files rests"));
}
