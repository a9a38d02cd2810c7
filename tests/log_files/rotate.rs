//! Rotation, while the relay runs and while it does not: nothing is left out, nothing read twice.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};

use crate::{Log, a_while, becomes, folder, lines, received, start, stopped, support::Running};

async fn stop(relay: Running) {
    stopped(relay).await;
}

/// Compresses a file as `gzip` does: the new one is whole before the old one goes.
fn gzip(path: &Path) {
    let packed = path.with_extension("log.gz");
    let mut encoder = GzEncoder::new(File::create(packed).expect("made"), Compression::fast());
    io::copy(&mut File::open(path).expect("there"), &mut encoder).expect("read");
    encoder.finish().expect("written").flush().expect("written");
    fs::remove_file(path).expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_renamed_is_read_to_its_end_and_then_the_new_one() {
    let folder = folder("audit.log", "");
    // Rotated before anybody followed: nobody asked for it.
    let mut log = Log::new(folder.path().join("audit.log"));
    log.write(lines("old", 9));
    log.rotate(0);
    log.write(lines("a", 10));
    let relay = start(folder.path());
    received(&relay, 10).await;
    log.write(lines("b", 20));
    log.rotate(1);
    log.write(lines("c", 30));
    received(&relay, 60).await;
    // Twice between two looks.
    for number in 2..5 {
        log.write(lines(&format!("r{number}"), 10));
        log.rotate(number);
    }
    log.write(lines("d", 1));
    received(&relay, 91).await;
    stop(relay).await;

    // While nobody looks: the rest of the old one, all of those between, and the new one.
    log.write(lines("e", 2));
    let rotated = log.rotate(5);
    log.write(lines("f", 3));
    log.rotate(6);
    log.write(lines("g", 4));
    let relay = start(folder.path());
    received(&relay, 100).await;
    stop(relay).await;
    // Nothing is read again, under another name neither.
    fs::rename(&rotated, folder.path().join("audit.log.7")).expect("renamed");
    let relay = start(folder.path());
    log.write(lines("h", 1));
    received(&relay, 101).await;
    a_while().await;
    received(&relay, 101).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_compressed_meanwhile_is_read_on_where_it_was() {
    let folder = folder("audit.log", "");
    let mut log = Log::new(folder.path().join("audit.log"));
    log.write(lines("a", 10));
    let relay = start(folder.path());
    received(&relay, 10).await;
    // While it runs: read before, nothing comes of it.
    let rotated = log.rotate(1);
    log.write(lines("b", 1));
    received(&relay, 11).await;
    gzip(&rotated);
    a_while().await;
    received(&relay, 11).await;
    stop(relay).await;
    // While it does not: the rest of one, all of another.
    log.write(lines("c", 600));
    gzip(&log.rotate(2));
    log.write(lines("d", 700));
    gzip(&log.rotate(3));
    log.write(lines("e", 4));
    let relay = start(folder.path());
    received(&relay, 1_315).await;
    stop(relay).await;
    let relay = start(folder.path());
    log.write(lines("f", 1));
    received(&relay, 1_316).await;
    a_while().await;
    received(&relay, 1_316).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_copied_and_cut_is_read_from_its_beginning_and_its_copy_to_its_end() {
    let folder = folder("audit.log", "");
    let mut log = Log::new(folder.path().join("audit.log"));
    log.write(lines("a", 30));
    let relay = start(folder.path());
    received(&relay, 30).await;
    log.copy_and_truncate();
    log.write(lines("b", 3));
    received(&relay, 33).await;
    a_while().await;
    // Longer than before at once: what stands before the place that was reached tells it.
    log.copy_and_truncate();
    log.write(lines("c", 50));
    received(&relay, 83).await;
    stop(relay).await;
    // Unread lines are in the copy alone.
    log.write(lines("d", 40));
    log.copy_and_truncate();
    log.write(lines("e", 5));
    let relay = start(folder.path());
    received(&relay, 128).await;
    a_while().await;
    received(&relay, 128).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_file_that_does_not_reach_so_far_waits_until_it_does() {
    let folder = folder("audit.log", "");
    let mut log = Log::new(folder.path().join("audit.log"));
    log.write(lines("a", 2_000));
    let relay = start(folder.path());
    received(&relay, 2_000).await;
    stop(relay).await;
    log.write(lines("b", 10));
    let rotated = log.rotate(1);
    gzip(&rotated);
    let packed = rotated.with_extension("log.gz");
    let whole = fs::read(&packed).expect("readable");
    fs::write(&packed, &whole[..whole.len() / 2]).expect("written");
    log.write(lines("c", 1));
    let relay = start(folder.path());
    received(&relay, 2_001).await;
    becomes(&relay, "failing_files", "audit.log", 1.0).await;
    fs::write(&packed, &whole).expect("written");
    received(&relay, 2_011).await;
    becomes(&relay, "failing_files", "audit.log", 0.0).await;
    let logs = stopped(relay).await;
    assert_eq!(logs.matches("cannot be read on").count(), 1, "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_told_once_and_read_when_it_can_be() {
    let folder = folder("*.log.gz", "");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(lines("a", 2_000).as_bytes())
        .expect("memory");
    let packed = encoder.finish().expect("memory");
    let path = folder.path().join("audit.log.gz");
    fs::write(&path, &packed[..packed.len() / 2]).expect("written");
    let relay = start(folder.path());
    becomes(&relay, "failing_files", "*.log.gz", 1.0).await;
    a_while().await;
    let part = relay.ledger().await["received"].as_u64().expect("a number");
    assert!((1..2_000).contains(&part), "{part}");
    fs::write(&path, &packed).expect("written");
    received(&relay, 2_000).await;
    becomes(&relay, "failing_files", "*.log.gz", 0.0).await;
    let logs = stopped(relay).await;
    assert_eq!(logs.matches("cannot be read on").count(), 1, "{logs}");
}

/// An event's first line as a client can make it: its audit ID comes before everything that nobody can choose.
fn chosen(end: &str, count: usize) -> String {
    lines(&format!("{}{end}", "u".repeat(1_500)), count)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_a_client_made_begin_alike_are_all_read() {
    let folder = folder("audit.log", "");
    let mut log = Log::new(folder.path().join("audit.log"));
    log.write(chosen("a", 3));
    let relay = start(folder.path());
    received(&relay, 3).await;
    let rotated = log.rotate(1);
    log.write(chosen("b", 4));
    received(&relay, 7).await;
    // A true copy waits, and is counted.
    let copy = folder.path().join("audit.log.1");
    fs::copy(folder.path().join("audit.log"), &copy).expect("copied");
    becomes(&relay, "waiting_files", "audit.log", 1.0).await;
    stop(relay).await;
    fs::remove_file(copy).expect("removed");
    // Packed while nobody looks.
    gzip(&rotated);
    log.write(chosen("c", 5));
    gzip(&log.rotate(2));
    log.write(chosen("d", 6));
    let relay = start(folder.path());
    received(&relay, 18).await;
    becomes(&relay, "waiting_files", "audit.log", 0.0).await;
}
