//! Random sequences of what a relay asks of its queue, crashes and restarts among them, against a model in
//! memory: after each step the ledger, the leases, the dead letters, the threads and what was told are those of the
//! model.
//!
//! `AUDITRELAY_MODEL_CASES` runs more of them than 2,000 on a disk, `AUDITRELAY_MODEL_STREAM_CASES` more than 40 on a ledger
//! stream of a real server, where a crash is a take-over by another relay under the open queue. The data directories are in memory where the
//! system has such a place: this is about what is kept, not about whether it reaches a disk.

#[path = "../support/mod.rs"]
mod support;

mod beside;
mod compare;
mod medium;
mod operation;
mod reference;
mod run;

use std::sync::atomic::{AtomicU32, Ordering};

use medium::Medium;
use operation::{Case, cases};
use proptest::test_runner::{Config, TestRng, TestRunner};
use support::on_jetstream::Server;

const CASES: u32 = 2_000;
const STREAM_CASES: u32 = 40;

fn asked(name: &str, default: u32) -> u32 {
    match std::env::var(name) {
        Ok(text) => text.parse().expect("it is a number"),
        Err(_) => default,
    }
}

#[test]
fn a_queue_on_a_stream_does_what_its_model_does() {
    let Some(server) = Server::start() else {
        return;
    };
    let number = AtomicU32::new(0);
    let medium = || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        Medium::Stream(&server, format!("case-{number}"))
    };
    run_share(
        200,
        asked("AUDITRELAY_MODEL_STREAM_CASES", STREAM_CASES),
        &medium,
    );
}

#[test]
fn a_queue_does_what_its_model_does() {
    let cases = asked("AUDITRELAY_MODEL_CASES", CASES);
    let workers = std::thread::available_parallelism().map_or(2, |cores| cores.get().min(8));
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let share = cases.div_ceil(workers as u32);
            scope.spawn(move || run_share(worker as u8, share, &|| Medium::Disk));
        }
    });
}

/// The same cases whenever it runs; one that fails is told as short as it can be made.
fn run_share<'a>(worker: u8, share: u32, medium: &impl Fn() -> Medium<'a>) {
    let config = Config {
        cases: share,
        failure_persistence: None,
        max_shrink_iters: 100,
        ..Config::default()
    };
    let rng = TestRng::from_seed(config.rng_algorithm, &[worker; 32]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("starts");
    let run = |case: Case| {
        runtime.block_on(run::run(&case, &medium()));
        Ok(())
    };
    if let Err(error) = TestRunner::new_with_rng(config, rng).run(&cases(), run) {
        panic!("{error}");
    }
}
