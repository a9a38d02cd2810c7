//! Whatever happens to a store's files: the queue opens within 30 s and says what is wrong, or all is as
//! it was. Never is wrong content told as right, and nothing is missing without a word.
//!
//! A filled store is copied for each case and damaged as the case's seed says ([`support::harm`]). Cases run
//! in processes of their own, so that an endless loop or an abort is the finding of one case:
//! `AUDITRELAY_DAMAGE_CASES` runs more of them than 300, `AUDITRELAY_DAMAGE_SEED` one alone.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use auditrelay_audit::Severity;
use auditrelay_store::{Engine, MovedAside, Queue, QueueError};
use support::{
    append_and_route, balanced,
    filled::{self, Reading},
    harm, quick_dir,
};

const CASES: u64 = 300;
const UP_WITHIN: Duration = Duration::from_secs(30);
/// The store that a child copies, the messages to look at, and which of the cases are its own.
const STORE: &str = "AUDITRELAY_DAMAGE_STORE";
const TOLD: &str = "AUDITRELAY_DAMAGE_TOLD";
const SHARE: &str = "AUDITRELAY_DAMAGE_SHARE";

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("it is a number"))
}

#[tokio::test]
async fn a_damaged_store_is_told_and_never_wrong() {
    let dir = quick_dir();
    let told = filled::fill(dir.path()).await;
    let seeds: Vec<u64> = match number("AUDITRELAY_DAMAGE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("AUDITRELAY_DAMAGE_CASES").unwrap_or(CASES)).collect(),
    };
    let workers = std::thread::available_parallelism().map_or(2, |cores| cores.get().min(8));
    let share = seeds.len().div_ceil(workers);
    let told = told
        .iter()
        .map(u64::to_string)
        .collect::<Vec<_>>()
        .join(",");
    let outcomes: Vec<(u64, String)> = std::thread::scope(|scope| {
        let (store, told) = (dir.path(), told.as_str());
        let run = |seeds| scope.spawn(move || run_share(store, told, seeds));
        let workers: Vec<_> = seeds.chunks(share).map(run).collect();
        let outcomes = workers.into_iter().map(|one| one.join().expect("no panic"));
        outcomes.flatten().collect()
    });
    assert_eq!(outcomes.len(), seeds.len());
    let mut counted: BTreeMap<&str, u32> = BTreeMap::new();
    let mut findings = Vec::new();
    for (seed, outcome) in &outcomes {
        match outcome.strip_prefix("FOUND ") {
            Some(finding) => findings.push(format!("seed {seed}: {finding}")),
            None => *counted.entry(outcome).or_default() += 1,
        }
    }
    println!("{counted:?}");
    assert!(
        findings.is_empty(),
        "{} of {} cases:\n{}",
        findings.len(),
        outcomes.len(),
        findings.join("\n")
    );
}

/// Runs cases in one child after the other: a child that ends or hangs has found something.
fn run_share(store: &Path, told: &str, seeds: &[u64]) -> Vec<(u64, String)> {
    let mut outcomes: Vec<(u64, String)> = Vec::new();
    while outcomes.len() < seeds.len() {
        let left = &seeds[outcomes.len()..];
        let (mut child, lines) = start(store, told, left);
        while outcomes.len() < seeds.len() {
            let seed = seeds[outcomes.len()];
            let outcome = match lines.recv_timeout(UP_WITHIN) {
                Ok(outcome) => outcome,
                Err(mpsc::RecvTimeoutError::Timeout) => "FOUND not up within 30 s".to_owned(),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let how = child.wait().map(|status| status.to_string());
                    format!("FOUND the process ended: {how:?}")
                }
            };
            let is_over = outcome.starts_with("FOUND not up") || outcome.starts_with("FOUND the p");
            outcomes.push((seed, outcome));
            if is_over {
                break;
            }
        }
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
    outcomes
}

/// A process that runs cases and says a line for each. Its memory is bounded, so that asking for an
/// absurd amount of it is an abort and not luck.
fn start(store: &Path, told: &str, seeds: &[u64]) -> (Child, mpsc::Receiver<String>) {
    let program = std::env::current_exe().expect("known");
    let share: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -v 4000000; exec \"$0\" \"$@\""])
        .arg(program)
        .args(["cases_of_a_child", "--exact", "--ignored", "--nocapture"])
        .env(STORE, store)
        .env(TOLD, told)
        .env(SHARE, share.join(","))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            if let Some(outcome) = line.strip_prefix("case: ") {
                // Nobody listens any more when a case took too long.
                let _ = sender.send(outcome.to_owned());
            }
        }
    });
    (child, lines)
}

#[test]
#[ignore = "a child of the test above, which says what to do"]
fn cases_of_a_child() {
    let list = |variable: &str| -> Vec<u64> {
        let text = std::env::var(variable).expect("said");
        text.split(',')
            .map(|one| one.parse().expect("a number"))
            .collect()
    };
    let store = std::env::var(STORE).expect("said");
    let (store, told) = (Path::new(&store), list(TOLD));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("starts");
    let whole = runtime.block_on(read_whole(store, &told));
    for seed in list(SHARE) {
        let case = async { judge(store, &told, &whole, seed).await };
        let judged =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(case)));
        let outcome = match judged {
            Ok(Ok(outcome)) => outcome.to_owned(),
            Ok(Err(finding)) => format!("FOUND {}", finding.replace('\n', " ")),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                format!(
                    "FOUND panic: {}",
                    text.unwrap_or_default().replace('\n', " ")
                )
            }
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "\ncase: {outcome}").expect("somebody listens");
        out.flush().expect("somebody listens");
    }
}

/// What is read from a store that nothing happened to.
async fn read_whole(store: &Path, told: &[u64]) -> Reading {
    let dir = quick_dir();
    harm::copy(store, dir.path()).expect("copied");
    let opened = Engine::open(&filled::options(dir.path())).expect("opens");
    assert!(opened.moved_aside.is_none(), "{:?}", opened.moved_aside);
    let mut whole = Reading::default();
    let read = whole.read(&opened.queue, told).await;
    read.expect("it is whole");
    balanced(&opened.queue).await;
    assert!(
        whole.pieces.values().all(Option::is_some),
        "all can be read"
    );
    whole
}

/// One case: what became of it, or what is wrong.
async fn judge(
    store: &Path,
    told: &[u64],
    whole: &Reading,
    seed: u64,
) -> Result<&'static str, String> {
    let dir = quick_dir();
    harm::copy(store, dir.path()).map_err(|error| error.to_string())?;
    let queue_dir = dir.path().join("queue");
    let was_killed = seed % 3 == 2;
    if was_killed {
        std::fs::remove_file(queue_dir.join("CLOSED")).expect("it was closed");
    }
    let harm = harm::harm(&queue_dir, seed);
    let killed = if was_killed { ", killed" } else { "" };
    let said = |what: String| format!("{}{killed}: {what}", harm.said);
    let options = filled::options(dir.path());
    let opened = Engine::open(&options).map_err(|error| said(format!("no queue: {error}")))?;
    if let Some(moved) = &opened.moved_aside {
        let all_of = harm.spares_logs.then_some(&whole.deliverable);
        works_after(&opened.queue, moved, whole, all_of)
            .await
            .map_err(said)?;
        if harm.said.starts_with("left over") {
            return Err(said(format!("it costs the store: {}", moved.reason)));
        }
        return Ok("moved aside at the start");
    }
    let mut reading = Reading::default();
    let read = read_or_fail(&opened.queue, told, &mut reading, seed.is_multiple_of(2)).await;
    right(&reading, whole, was_killed).map_err(said)?;
    match read {
        Ok(()) if was_killed => lost_nothing(&reading, whole).map_err(said),
        Ok(()) => as_it_was(&reading, whole).map_err(said),
        Err(QueueError::Storage(reason)) => {
            if !dir.path().join("queue.damaged").is_file() {
                return Err(said(format!("no mark is left of: {reason}")));
            }
            drop(opened);
            let opened = Engine::open(&options);
            let opened = opened.map_err(|error| said(format!("no second queue: {error}")))?;
            let Some(moved) = &opened.moved_aside else {
                return Err(said(format!("not moved aside after: {reason}")));
            };
            works_after(&opened.queue, moved, whole, None)
                .await
                .map_err(said)?;
            Ok("moved aside after it was found while reading")
        }
        Err(error) => Err(said(format!("another error: {error}"))),
    }
}

/// Reads everything, and compares the counters before or after it.
async fn read_or_fail(
    queue: &Engine,
    told: &[u64],
    reading: &mut Reading,
    verify_first: bool,
) -> Result<(), QueueError> {
    if verify_first {
        verified(queue).await?;
    }
    reading.read(queue, told).await?;
    verified(queue).await
}

async fn verified(queue: &Engine) -> Result<(), QueueError> {
    let verified = queue.verify().await;
    // A failure of the storage is no disagreement.
    queue.check()?;
    assert_eq!(
        verified,
        Ok(()),
        "a record is missing and nothing noticed it"
    );
    assert!(queue.ledger().is_balanced(), "{:?}", queue.ledger());
    Ok(())
}

/// Nothing is told that is not so. What a killed process did last may not have been done: its counters, what
/// gathers in a lease, and the thread that its last ack noted (in `sec`, in the commit of the ack) may be others.
fn right(reading: &Reading, whole: &Reading, was_killed: bool) -> Result<(), String> {
    let may_differ = |name: &str| {
        let before = ["ledger", "dead", "retained", "threads sec"].contains(&name);
        was_killed && (before || name.starts_with("lease "))
    };
    for (name, piece) in &reading.pieces {
        if piece.is_some() && !may_differ(name) && whole.pieces.get(name) != Some(piece) {
            return Err(format!("{name} is not what it was: {piece:?}"));
        }
    }
    match reading.all.difference(&whole.all).next() {
        Some(text) => Err(format!("nobody ever stored {text:?}")),
        None => Ok(()),
    }
}

/// Everything was read, of a store that was closed: it is as it was, or says what it cannot read.
fn as_it_was(reading: &Reading, whole: &Reading) -> Result<&'static str, String> {
    let pieces = &reading.pieces;
    match whole.pieces.keys().find(|name| !pieces.contains_key(*name)) {
        Some(missing) => Err(format!("nobody says that {missing} is missing")),
        None if pieces.values().any(Option::is_none) => Ok("a part was told as unreadable"),
        None => Ok("whole"),
    }
}

/// Everything was read, of a store whose process was killed: all that has to be delivered is there. Only
/// the end of what was appended after the index was last written looks like a commit that was never
/// acknowledged.
fn lost_nothing(reading: &Reading, whole: &Reading) -> Result<&'static str, String> {
    if reading.pieces.values().any(Option::is_none) {
        return Ok("a part was told as unreadable");
    }
    let there: BTreeSet<&String> = reading.deliverable.iter().collect();
    let mut lost = whole
        .deliverable
        .iter()
        .filter(|text| !there.contains(text));
    let is_last = |text: &String| whole.last_appended.contains(text);
    match lost.find(|text| !is_last(text)) {
        Some(lost) => Err(format!("nobody says that {lost:?} is missing")),
        None => Ok("all that waited is there"),
    }
}

/// A store was moved aside and said so; the new one works, and what is whole of the old one comes back,
/// once.
async fn works_after(
    queue: &Engine,
    moved: &MovedAside,
    whole: &Reading,
    all_of: Option<&Vec<String>>,
) -> Result<(), String> {
    let name = moved.path.file_name().and_then(|name| name.to_str());
    if !name.is_some_and(|name| name.starts_with("queue.corrupt-20")) || moved.reason.is_empty() {
        return Err(format!("it was moved aside as {moved:?}"));
    }
    let lost = queue.ledger().lost;
    if lost != moved.kept_events.unwrap_or_default() {
        return Err(format!(
            "{lost} are lost, but {:?} were kept",
            moved.kept_events
        ));
    }
    append_and_route(queue, "ops", Severity::Critical, &["new"]).await;
    balanced(queue).await;
    let salvaged = queue.salvage(&moved.path, |_, _| {}).await;
    let salvaged = salvaged.map_err(|error| format!("salvage: {error}"))?;
    balanced(queue).await;
    let mut back = Reading::default();
    let read = back.read(queue, &[]).await;
    read.map_err(|error| format!("the new queue: {error}"))?;
    balanced(queue).await;
    if !back.all.remove("new") {
        return Err("the new queue does not deliver".to_owned());
    }
    back.deliverable.retain(|text| text != "new");
    if let Some(text) = back.all.difference(&whole.all).next() {
        return Err(format!("salvage invents {text:?}"));
    }
    match all_of {
        Some(all) if *all != back.deliverable => Err(format!(
            "{} were to be delivered, a salvage brings {}: {salvaged:?}",
            all.len(),
            back.deliverable.len()
        )),
        _ => Ok(()),
    }
}
