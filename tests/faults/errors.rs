//! A disk that is full or broken while the relay runs: it stops acknowledging, says so, and ends.

use std::{
    fs,
    process::Stdio,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    load::{Promises, Shape, ended},
    shim::{Bench, Disk, borrowed},
    support::{Running, command, run},
    undo::Loss,
};

const SHAPE: Shape = Shape {
    events: 5,
    noise_bytes: 2_000,
    pause: Duration::from_millis(5),
};
const CONFIG: [&str; 2] = ["--config", "c.yaml"];
/// The issue: it ends within this.
const END_WITHIN: Duration = Duration::from_secs(5);

fn config(bench: &Bench) {
    let text = format!(
        "data_dir: {}\nchannels: {{ops: {{preview: true, message_interval_milliseconds: 100}}}}\n",
        bench.disk().join("data").display()
    );
    fs::write(bench.path().join("c.yaml"), text).expect("written");
}

/// The relay's last word: one line, with its name, that is about storage.
fn last_word(logs: &str) -> Result<&str, String> {
    let words: Vec<&str> = logs
        .lines()
        .filter(|line| line.starts_with("auditrelay: "))
        .collect();
    match words[..] {
        [word] if logs.ends_with(word) && word.contains("mend the disk") => Ok(word),
        _ => Err(format!("no one clear last line:\n{logs}")),
    }
}

/// It has ended as it should; `failed` is when the disk first failed, in ns since 1970, as far as that is known when it
/// has ended.
async fn ends(relay: &mut Running, failed: impl FnOnce() -> u128) {
    let status = relay.wait().await;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    let failed = failed();
    let logs = relay.all_logs();
    assert_eq!(status.code(), Some(74), "{status}: {logs}");
    let took = now.as_nanos().saturating_sub(failed);
    assert!(took < END_WITHIN.as_nanos(), "it took {took} ns: {logs}");
    let word = last_word(&logs).unwrap_or_else(|why| panic!("{why}"));
    crate::say(&format!("after {} ms: {word}", took / 1_000_000));
}

/// A healthy disk again: all that was acknowledged is there.
async fn nothing_is_lost(bench: &Bench, promises: &Promises) {
    let (code, text, errors) = run(bench.path(), &[], &["ledger", "--config", "c.yaml"]);
    assert_eq!(code, 0, "{text}{errors}");
    let relay = Running::start(bench.path(), &[], &CONFIG);
    let known = async {
        promises.glance(&relay).await?;
        promises.all_are_known(&relay).await
    };
    known.await.unwrap_or_else(|why| panic!("{why}"));
}

/// The disk fails under load, after `skip` more calls that should have failed.
async fn fails_under_load(fault: &'static str, skip: u32, loses_power: bool) {
    let Some(bench) = Bench::new() else { return };
    config(&bench);
    let env = bench.env(Disk::Fails(fault, skip));
    let mut relay = Running::start(bench.path(), &borrowed(&env), &CONFIG);
    let promises = Promises::new(SHAPE);
    let posters = promises.posters(relay.webhook, 4, "a");
    promises.reach(1).await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    bench.fail(true);
    let failed = loop {
        match bench.failed_at() {
            Some(failed) => break failed,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    ends(&mut relay, || failed).await;
    ended(posters).await;
    for one in promises.all() {
        assert!(
            one.asked < failed,
            "{:?} was asked for after the disk had failed, and acknowledged",
            one.ids
        );
        // What was durable before may be answered a moment after.
        let ends = failed + END_WITHIN.as_nanos();
        assert!(one.answered < ends, "{:?}", one.ids);
    }
    if loses_power {
        bench.lose_power(Loss::All);
    }
    bench.fail(false);
    nothing_is_lost(&bench, &promises).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_it_acknowledges_no_more_and_ends() {
    for (skip, loses_power) in [(0, false), (1, true), (2, false), (7, true)] {
        fails_under_load("enospc", skip, loses_power).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_disk_that_cannot_write_it_acknowledges_no_more_and_ends() {
    for (skip, loses_power) in [(0, true), (1, false), (2, true), (7, false)] {
        fails_under_load("eio-write", skip, loses_power).await;
    }
}

/// Linux: pages whose sync failed are clean afterwards and may be gone; so the power is always lost too.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_disk_that_cannot_sync_it_acknowledges_no_more_and_ends() {
    for skip in [0, 1, 2, 7] {
        fails_under_load("eio-sync", skip, true).await;
    }
}

/// Starts the relay on a disk that fails: its exit code, none if it runs on, and what it said.
async fn starts(bench: &Bench, disk: Disk) -> (Option<i32>, String) {
    let env = bench.env(disk);
    let errors = bench.path().join("stderr");
    let mut child = command(bench.path())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0"])
        .args(CONFIG)
        .envs(borrowed(&env))
        .stdout(Stdio::null())
        .stderr(fs::File::create(&errors).expect("a file"))
        .spawn()
        .expect("the binary starts");
    let said = || fs::read_to_string(&errors).expect("text");
    let begun = Instant::now();
    while begun.elapsed() < END_WITHIN {
        if let Some(status) = child.try_wait().expect("a child") {
            return (status.code(), said());
        }
        // It is ready before it writes the last of its files.
        let is_ready = said().contains("\"ready\"");
        tokio::time::sleep(Duration::from_millis(if is_ready { 200 } else { 5 })).await;
        if is_ready && bench.failed_at().is_none() {
            break;
        }
    }
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    (None, said())
}

/// Wherever the disk fails while the relay starts, call by call: it says so in one line and ends with
/// 74, and starts when the disk is well again.
async fn fails_at_the_start(fault: &'static str) {
    let Some(bench) = Bench::new() else { return };
    config(&bench);
    let promises = Promises::new(SHAPE);
    let mut wrong = Vec::new();
    for is_new in [true, false] {
        for skip in 0.. {
            if is_new {
                fs::remove_dir_all(bench.disk()).expect("removed");
                fs::create_dir(bench.disk()).expect("made");
            }
            bench.fail(true);
            let ended = starts(&bench, Disk::Fails(fault, skip)).await;
            bench.fail(false);
            let is_failed = bench.failed_at().is_some();
            bench.lose_power(Loss::All);
            match ended {
                (None, _) if !is_failed => break,
                (Some(74), errors) if is_one_line(&errors) => {}
                other => wrong.push(format!("{fault}, new: {is_new}, {skip}: {other:?}")),
            }
        }
        let relay = Running::start(bench.path(), &[], &CONFIG);
        let id = format!("new-{is_new}");
        assert!(promises.post(relay.webhook, vec![id]).await);
        relay.kill();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    nothing_is_lost(&bench, &promises).await;
}

fn is_one_line(errors: &str) -> bool {
    let words = errors
        .lines()
        .filter(|line| line.starts_with("auditrelay: "));
    words.count() == 1
        && errors
            .trim_end()
            .lines()
            .last()
            .is_some_and(|last| last.starts_with("auditrelay: "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_at_the_start_is_told_in_one_line() {
    fails_at_the_start("enospc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_write_at_the_start_is_told_in_one_line() {
    fails_at_the_start("eio-write").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_sync_at_the_start_is_told_in_one_line() {
    fails_at_the_start("eio-sync").await;
}

/// A disk that fails while the relay is told to stop makes it neither panic nor hang, and costs nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_at_the_stop_costs_nothing() {
    let Some(bench) = Bench::new() else { return };
    config(&bench);
    for (round, fault) in ["enospc", "eio-write", "eio-sync"].into_iter().enumerate() {
        let env = bench.env(Disk::Fails(fault, 0));
        let mut relay = Running::start(bench.path(), &borrowed(&env), &CONFIG);
        let promises = Promises::new(SHAPE);
        assert!(
            promises
                .post(relay.webhook, vec![format!("s{round}")])
                .await
        );
        bench.fail(true);
        relay.signal("-TERM");
        let status = relay.wait().await;
        let logs = relay.all_logs();
        assert!(
            matches!(status.code(), Some(0 | 74)),
            "{fault}: {status}: {logs}"
        );
        assert!(!logs.contains("panicked"), "{fault}: {logs}");
        bench.fail(false);
        bench.lose_power(Loss::All);
        nothing_is_lost(&bench, &promises).await;
    }
}

/// Without a handler SIGXFSZ would kill the process instead of making the write fail.
#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_of_a_files_size_it_acknowledges_no_more_and_ends() {
    let Some(bench) = Bench::new() else { return };
    config(&bench);
    // In blocks of 512 bytes: 2 MiB.
    let limited = ["sh", "-c", "ulimit -f 4096; exec \"$0\" \"$@\""];
    let mut relay = Running::start_under(&limited, bench.path(), &CONFIG);
    let promises = Promises::new(Shape {
        noise_bytes: 20_000,
        ..SHAPE
    });
    let posters = promises.posters(relay.webhook, 4, "a");
    // It failed after the last answer.
    let answered = || promises.all().iter().map(|one| one.answered).max();
    ends(&mut relay, || answered().expect("answers")).await;
    ended(posters).await;
    nothing_is_lost(&bench, &promises).await;
}

#[test]
fn a_last_word_that_is_not_one_clear_line_is_found() {
    let word = "auditrelay: no space; mend the disk";
    assert_eq!(last_word(&format!("{{}}\n{word}")), Ok(word));
    for bad in [
        "",
        "auditrelay: x",
        &format!("{word}\n{word}"),
        &format!("{word}\nmore"),
    ] {
        assert!(last_word(bad).is_err(), "{bad}");
    }
    assert!(is_one_line(&format!("{{}}\n{word}\n")) && !is_one_line("panic"));
}
