//! Power losses under load: what was acknowledged is there afterwards, and is told.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    load::{Promises, Shape, ended},
    model::tree,
    number,
    shim::{Bench, Disk, borrowed},
    support::{Running, command, run, slack, told},
    undo::{Loss, Report},
};

const SHAPE: Shape = Shape {
    events: 5,
    noise_bytes: 4_000,
    pause: Duration::from_millis(40),
};
const CONFIG: [&str; 2] = ["--config", "c.yaml"];
/// Acknowledged before the power is lost, at the least.
const EVENTS_A_ROUND: u64 = 50;

/// Few events a message, so that each is told by its audit ID.
fn config(bench: &Bench, api_url: &str) {
    let text = format!(
        "data_dir: {}
slack: {{token: xoxb-test, api_url: '{api_url}', messages_per_minute: 600}}
dedup: {{window_seconds: 86400}}
channels: {{ops: {{slack_channel: COPS, message_interval_milliseconds: 100, message_events_max: 20, sentences_max: 20}}}}
",
        bench.disk().join("data").display()
    );
    fs::write(bench.path().join("c.yaml"), text).expect("written");
}

/// Power lost under load, again and again, on the same disk.
struct Losses {
    bench: Bench,
    disk: Disk,
    rng: fastrand::Rng,
    promises: Promises,
    /// What was lost altogether, so that a model that takes nothing is noticed.
    sum: Report,
}

impl Losses {
    fn lose_power(&mut self, takes_all: bool) {
        let loss = if takes_all {
            Loss::All
        } else {
            Loss::Part(&mut self.rng)
        };
        let report = self.bench.lose_power(loss);
        self.sum.changes += report.changes;
        self.sum.syncs += report.syncs;
        self.sum.unsynced += report.unsynced;
        self.sum.undone += report.undone;
        self.sum.what = report.what;
    }

    /// The power is lost while the relay starts, at one of its changes; or it is killed while it idles.
    async fn lose_power_while_starting(&mut self) {
        let dies = Disk::Fails("dies", self.rng.u32(..50));
        self.bench.fail(true);
        let env = self.bench.env(dies);
        let args = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ];
        let mut child = command(self.bench.path())
            .args(args)
            .args(CONFIG)
            .envs(borrowed(&env))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(300) {
            if child.try_wait().expect("a child").is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        self.bench.fail(false);
        let takes_all = self.rng.bool();
        self.lose_power(takes_all);
    }

    /// The relay is killed under load, in three rounds of four at one of its own changes or syncs, else at
    /// any time; and the power is lost, but now and then: then the next relay begins with what this one
    /// had not synced, and it can still be lost.
    async fn end_under_load(&mut self, round: u64) -> Result<(), String> {
        let at_a_change = !round.is_multiple_of(4) && self.disk == Disk::Honest;
        let disk = match at_a_change {
            true => Disk::Fails("dies", self.rng.u32(..12)),
            false => self.disk,
        };
        let env = self.bench.env(disk);
        let mut relay = Running::start(self.bench.path(), &borrowed(&env), &CONFIG);
        let sound = self.promises.glance(&relay).await;
        sound.map_err(|why| format!("{why}\n{}", relay.logs()))?;
        let posters = self
            .promises
            .posters(relay.webhook, 4, &format!("r{round}"));
        let before = self.promises.events();
        tokio::time::sleep(Duration::from_millis(self.rng.u64(100..400))).await;
        // However slow the machine is.
        self.promises.reach(before + EVENTS_A_ROUND).await;
        if at_a_change {
            self.bench.fail(true);
            relay.wait().await;
            self.bench.fail(false);
        }
        relay.kill();
        ended(posters).await;
        // Half of the losses take all that was not synced, the others a part of it.
        if self.disk != Disk::Honest || self.rng.u8(..3) > 0 {
            self.lose_power(round.is_multiple_of(2));
        }
        Ok(())
    }

    async fn round(&mut self, round: u64) -> Result<(), String> {
        if self.disk == Disk::Honest && self.rng.u8(..2) == 0 {
            self.lose_power_while_starting().await;
        }
        self.end_under_load(round).await?;
        // In the others the next start finds the store as the power left it.
        if self.rng.bool() {
            let env = self.bench.env(self.disk);
            let ledger = ["ledger", "--config", "c.yaml"];
            let (code, text, errors) = run(self.bench.path(), &borrowed(&env), &ledger);
            if code != 0 {
                return Err(format!("`ledger` ended with {code}: {text}{errors}"));
            }
        }
        Ok(())
    }
}

fn told_once(slack: &auditrelay_loadtest::slack::LocalSlack, ids: &[String]) {
    let (plain, marked) = told(slack);
    for id in ids {
        assert!(
            plain.contains_key(id) || marked.contains_key(id),
            "{id} was acknowledged and never told"
        );
    }
    let twice: BTreeMap<_, _> = plain.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "told twice, and not marked: {twice:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn power_lost_under_load_costs_nothing_that_was_acknowledged() {
    let Some(bench) = Bench::new() else { return };
    let slack = slack(Duration::ZERO).await;
    config(&bench, &slack.api_url());
    let seed = number("AUDITRELAY_FAULT_SEED", 4);
    let rounds = number("AUDITRELAY_POWER_LOSS_ROUNDS", 20);
    let promises = Promises::new(SHAPE);
    let mut losses = Losses {
        bench,
        disk: Disk::Honest,
        rng: fastrand::Rng::with_seed(seed),
        promises,
        sum: Report::default(),
    };
    for round in 0..rounds {
        let outcome = losses.round(round).await;
        if let Err(why) = outcome {
            let last = &losses.sum.what;
            panic!("AUDITRELAY_FAULT_SEED={seed}, round {round}: {why}\nlast loss: {last:#?}");
        }
    }
    let Losses {
        bench,
        promises,
        sum,
        ..
    } = losses;
    crate::say(&format!(
        "{} events were acknowledged; {sum:?}",
        promises.events()
    ));
    assert!(
        promises.events() >= EVENTS_A_ROUND * rounds,
        "only {}",
        promises.events()
    );
    assert!(
        sum.syncs as u64 > 10 * rounds && sum.undone as u64 > rounds / 2,
        "{sum:?}"
    );
    let relay = Running::start(bench.path(), &[], &CONFIG);
    let known = async {
        promises.glance(&relay).await?;
        promises.all_are_known(&relay).await
    };
    let known = known.await;
    known.unwrap_or_else(|why| panic!("AUDITRELAY_FAULT_SEED={seed}, at the end: {why}"));
    told_once(&slack, &promises.ids());
}

/// 300 KB each, as 64 characters compress.
const LARGE: Shape = Shape {
    events: 1,
    noise_bytes: 400_000,
    pause: Duration::from_millis(10),
};

/// Fills the logs to a megabyte below where the next files begin (64 MiB).
async fn prefill(bench: &Bench) {
    let relay = Running::start(bench.path(), &[], &CONFIG);
    let larger = Promises::new(Shape {
        noise_bytes: 2_000_000,
        ..LARGE
    });
    for n in 0..44 {
        assert!(
            larger
                .post(relay.webhook, vec![format!("prefill-{n}")])
                .await
        );
    }
    relay.drained().await;
    larger.glance(&relay).await.expect("sound");
    relay.kill();
}

fn copy(from: &Path, to: &Path) {
    // What is there may be gone already.
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp").success());
}

/// One loss of power, as soon as so many batches are acknowledged: enough for new files.
async fn lose_power_in_new_files(
    bench: &Bench,
    disk: Disk,
    batches: u64,
    loss: Loss<'_>,
) -> Result<(), String> {
    let promises = Promises::new(LARGE);
    let env = bench.env(disk);
    let mut relay = Running::start(bench.path(), &borrowed(&env), &CONFIG);
    let posters = promises.posters(relay.webhook, 4, "a");
    while promises.events() < batches {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if let Disk::Fails(..) = disk {
        bench.fail(true);
        relay.wait().await;
        bench.fail(false);
    }
    relay.kill();
    ended(posters).await;
    let report = bench.lose_power(loss);
    let relay = Running::start(bench.path(), &[], &CONFIG);
    let known = async {
        promises.glance(&relay).await?;
        promises.all_are_known(&relay).await
    };
    known.await.map_err(|why| format!("{why}; {report:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn power_lost_as_the_next_files_begin_costs_nothing_either() {
    let Some(bench) = Bench::new() else { return };
    let slack = slack(Duration::ZERO).await;
    config(&bench, &slack.api_url());
    prefill(&bench).await;
    let saved = bench.path().join("saved");
    copy(&bench.disk(), &saved);
    for round in 0..3 {
        let disk = Disk::Fails("dies", round * 2);
        let outcome =
            lose_power_in_new_files(&bench, disk, 8 + 4 * u64::from(round), Loss::All).await;
        outcome.unwrap_or_else(|why| panic!("round {round}: {why}"));
        copy(&saved, &bench.disk());
    }
    // The negative control: without syncs of folders the new files are gone.
    let outcome = lose_power_in_new_files(&bench, Disk::Ignores("folders"), 12, Loss::All).await;
    crate::say(&format!("without syncs of folders: {outcome:?}"));
    assert!(outcome.is_err(), "nothing was lost");
}

/// What was made for a new store has to be as durable as what is in it.
#[tokio::test(flavor = "multi_thread")]
async fn power_lost_after_the_first_start_costs_nothing_either() {
    let seed = number("AUDITRELAY_FAULT_SEED", 4);
    let mut rng = fastrand::Rng::with_seed(seed);
    for round in 0..8 {
        let Some(bench) = Bench::new() else { return };
        let slack = slack(Duration::ZERO).await;
        config(&bench, &slack.api_url());
        // A file of which a part is there can be worse than one that is empty.
        let loss = match round {
            0 => Loss::All,
            _ => Loss::Part(&mut rng),
        };
        let disk = Disk::Fails("dies", round % 4);
        let outcome = lose_power_in_new_files(&bench, disk, 2, loss).await;
        outcome.unwrap_or_else(|why| panic!("AUDITRELAY_FAULT_SEED={seed}, round {round}: {why}"));
    }
}

/// The negative control: the same, on a disk that answers `fdatasync` and does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn without_fdatasync_the_same_test_finds_losses() {
    for seed in 0..2 {
        let Some(bench) = Bench::new() else { return };
        let slack = slack(Duration::ZERO).await;
        config(&bench, &slack.api_url());
        let mut losses = Losses {
            bench,
            disk: Disk::Ignores("fdatasync"),
            rng: fastrand::Rng::with_seed(seed),
            promises: Promises::new(SHAPE),
            sum: Report::default(),
        };
        let mut found = None;
        for round in 0..4 {
            if let Err(why) = losses.round(round).await {
                found = Some(why);
                break;
            }
        }
        crate::say(&format!("seed {seed}: {found:?}"));
        assert!(found.is_some(), "seed {seed}: {:?}", losses.sum);
    }
}

/// Whatever the relay did to its disk, the shim saw: taken back, each byte and name is as it was.
#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_taken_back() {
    let Some(bench) = Bench::new() else { return };
    let slack = slack(Duration::ZERO).await;
    config(&bench, &slack.api_url());
    let disk = Disk::Ignores("all");
    for round in 0..4 {
        let before = tree(&bench.disk());
        let env = bench.env(disk);
        let mut relay = Running::start(bench.path(), &borrowed(&env), &CONFIG);
        let promises = Promises::new(SHAPE);
        let posters = promises.posters(relay.webhook, 4, &format!("u{round}"));
        tokio::time::sleep(Duration::from_millis(400)).await;
        if round % 2 == 0 {
            relay.kill();
        } else {
            relay.signal("-TERM");
            assert_eq!(relay.wait().await.code(), Some(0));
        }
        ended(posters).await;
        let changed = tree(&bench.disk());
        assert!(changed != before, "nothing was done");
        let report = bench.lose_power(Loss::All);
        assert_eq!(
            (report.syncs, report.undone),
            (0, report.unsynced),
            "{report:?}"
        );
        let after = tree(&bench.disk());
        let names = before.keys().chain(after.keys());
        let unseen: Vec<_> = names
            .filter(|name| before.get(*name) != after.get(*name))
            .collect();
        assert!(
            unseen.is_empty(),
            "round {round}: not seen: changes of {unseen:?}"
        );
        // The next round begins with a store that has something in it.
        let relay = Running::start(bench.path(), &[], &CONFIG);
        let ids = (0..5).map(|n| format!("k{round}-{n}"));
        assert!(promises.post(relay.webhook, ids.collect()).await);
        relay.drained().await;
        relay.kill();
    }
}
