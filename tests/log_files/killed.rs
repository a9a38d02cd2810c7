//! Killed at any moment, while a writer appends, rotates and compresses: each line is counted once.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{Log, folder, lines, received, start};

/// Kills; AUDITRELAY_LOG_FILE_KILLS makes it more.
const KILLS: u64 = 12;

/// Appends lines and rotates until it is told to stop.
fn write_and_rotate(mut log: Log, written: &AtomicU64, stop: &AtomicBool) {
    let mut rotated: Vec<PathBuf> = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let count = 1 + number % 90;
        let text = lines(
            &format!("n{number}"),
            usize::try_from(count).expect("small"),
        );
        // In two writes, so that a look may come between them.
        let (one, two) = text.split_at(text.len() / 3);
        log.write(one);
        log.write(two);
        written.fetch_add(count, Ordering::Relaxed);
        number += 1;
        if number.is_multiple_of(25) {
            rotated.push(log.rotate(number));
        }
        if number.is_multiple_of(75) {
            gzip(&rotated.swap_remove(0));
        }
        std::thread::park_timeout(Duration::from_millis(4));
    }
}

fn gzip(path: &Path) {
    let packed = path.with_extension("log.gz");
    let file = fs::File::create(packed).expect("made");
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    std::io::copy(&mut fs::File::open(path).expect("there"), &mut encoder).expect("read");
    encoder.finish().expect("written");
    fs::remove_file(path).expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_each_line_is_counted_once() {
    let kills = std::env::var("AUDITRELAY_LOG_FILE_KILLS");
    let kills = kills.map_or(KILLS, |kills| kills.parse().expect("a number"));
    let folder = folder("audit.log", "");
    let (written, stop) = (
        Arc::new(AtomicU64::new(1)),
        Arc::new(AtomicBool::new(false)),
    );
    let mut log = Log::new(folder.path().join("audit.log"));
    log.write(lines("first", 1));
    let relay = start(folder.path());
    // The first look decides what had been rotated before it.
    received(&relay, 1).await;
    let writer = {
        let (written, stop) = (Arc::clone(&written), Arc::clone(&stop));
        std::thread::spawn(move || write_and_rotate(log, &written, &stop))
    };
    let mut relay = Some(relay);
    for round in 0..kills {
        tokio::time::sleep(Duration::from_millis(150 + 97 * (round % 7))).await;
        if let Some(relay) = relay.take() {
            relay.kill();
        }
        if round.is_multiple_of(3) {
            // Several files are rotated while nobody looks.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        relay = Some(start(folder.path()));
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("no panic");
    let relay = relay.expect("it runs");
    received(&relay, written.load(Ordering::Relaxed)).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    received(&relay, written.load(Ordering::Relaxed)).await;
}
