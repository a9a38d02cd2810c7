//! Power lost under nats-servers: what they had not synced is gone (see `undo` for what is modelled).

use std::{process::Command, time::Duration};

use auditrelay_loadtest::nats::NatsOptions;
use serde_json::Value;
use tokio::{task::block_in_place, time::sleep};

use crate::{
    bench::{ApiServers, Bench, Promise},
    number, say,
    support::PATIENCE,
    undo::{self, Lost, Sizes, Trace},
};

const LEASE_SECONDS: u32 = 3;
/// How long a stream is looked for that may be gone.
const GONE: Duration = Duration::from_secs(5);

/// A bench whose servers are looked at.
struct Traced {
    bench: Bench,
    folder: tempfile::TempDir,
    /// What each server had at its start.
    before: Vec<Sizes>,
    rng: fastrand::Rng,
    sum: Lost,
}

/// None where there is no strace or no nats-server, which is said.
async fn traced(sync_always: bool, promise: Promise) -> Option<Traced> {
    if Command::new("strace").arg("--version").output().is_err() {
        say("skipped: strace is not installed (Debian: apt-get install strace)");
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let options = NatsOptions {
        sync_always,
        wrapper: Some(undo::wrapper(folder.path())),
        ..NatsOptions::default()
    };
    let bench = Bench::with(LEASE_SECONDS, &options, promise).await?;
    let seed = number("AUDITRELAY_CLUSTER_SEED", 9);
    Some(Traced {
        before: vec![Sizes::new(); bench.nats.servers.len()],
        bench,
        folder,
        rng: fastrand::Rng::with_seed(seed),
        sum: Lost::default(),
    })
}

impl Traced {
    /// These servers lose power at the same time, and start again.
    async fn lose_power(&mut self, servers: &[usize], takes_all: bool) {
        let nats = &mut self.bench.nats.servers;
        let ids: Vec<u32> = servers
            .iter()
            .map(|at| nats[*at].id().expect("it runs"))
            .collect();
        let traces: Vec<Trace> = ids
            .iter()
            .map(|id| Trace::of(self.folder.path(), *id))
            .collect();
        // All of them before any is waited for.
        let kill = ids.iter().map(|id| format!("kill -KILL {id};"));
        let kill = Command::new("sh")
            .args(["-c", &kill.collect::<String>()])
            .status();
        assert!(kill.expect("a shell").success());
        for (at, trace) in servers.iter().zip(&traces) {
            block_in_place(|| nats[*at].kill());
            let store = nats[*at].store_dir();
            let part = (!takes_all).then_some(&mut self.rng);
            let before = (store.as_path(), &self.before[*at]);
            undo::lose_power(trace, before, part, &mut self.sum).await;
            self.before[*at] = undo::sizes(&store);
        }
        block_in_place(|| {
            for at in servers {
                nats[*at].begin_again().expect("it starts");
            }
        });
    }

    /// How far a stream has come, as its leader tells.
    fn last(&self, stream: &str) -> Option<u64> {
        let leader = self.bench.nats.stream_leader(stream)?;
        let jsz = self.bench.nats.servers[leader]
            .monitor("/jsz?streams=true")
            .ok()?;
        let accounts = jsz["account_details"].as_array()?;
        let streams = accounts
            .iter()
            .filter_map(|one| one["stream_detail"].as_array());
        let found: &Value = streams.flatten().find(|one| one["name"] == stream)?;
        found["state"]["last_seq"].as_u64()
    }

    /// The same, once there is a leader that tells it.
    async fn until_known(&self, stream: &str) -> u64 {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(last) = self.last(stream) {
                return last;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "nobody leads {stream}"
            );
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn ready(&mut self) {
        block_in_place(|| self.bench.nats.wait_until_ready()).expect("ready");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_that_lose_power_lose_nothing_that_was_promised() {
    let Some(mut traced) = traced(true, Promise::Synced).await else {
        return;
    };
    let rounds = number("AUDITRELAY_CLUSTER_POWER_LOSSES", 3);
    let api_servers = ApiServers::start(&traced.bench.service);
    for round in 0..rounds {
        traced.bench.service.goes_on(30).await;
        sleep(Duration::from_millis(traced.rng.u64(0..300))).await;
        // Mostly the one that acknowledges.
        let leader = traced.bench.nats.stream_leader("auditrelay-inbox");
        let any = traced.rng.usize(..3);
        let one = leader.filter(|_| round % 3 != 2).unwrap_or(any);
        traced.lose_power(&[one], round % 2 == 0).await;
        traced.ready();
    }
    // And all of them at once: nobody is left to ask.
    traced.bench.service.goes_on(30).await;
    traced.lose_power(&[0, 1, 2], true).await;
    traced.ready();
    traced.bench.service.goes_on(30).await;
    let sum = &traced.sum;
    assert!(sum.syncs > 100 && !sum.bytes.is_empty(), "{sum:?}");
    let what = format!("{rounds} power losses of a server and one of all: {sum:?}");
    traced.bench.settled(api_servers, &what).await;
}

/// The negative control: servers that do not sync, and lose what they acknowledged. It is why a relay asks for more.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_syncs_the_same_loss_is_found() {
    let Some(mut traced) = traced(false, Promise::Replicated).await else {
        return;
    };
    let api_servers = ApiServers::start(&traced.bench.service);
    traced.bench.service.goes_on(100).await;
    let before = traced.until_known("auditrelay-ledger").await;
    traced.lose_power(&[0, 1, 2], true).await;
    traced.ready();
    let begun = tokio::time::Instant::now();
    // A stream that is gone altogether is never there, until a relay makes it anew.
    let mut after = traced.last("auditrelay-ledger");
    while after.is_none() && begun.elapsed() < GONE {
        sleep(Duration::from_millis(100)).await;
        after = traced.last("auditrelay-ledger");
    }
    say(&format!(
        "without syncs: {before} before, {after:?} after, {:?}",
        traced.sum
    ));
    assert!(after.is_none_or(|after| after < before), "nothing was lost");
    drop(api_servers);
}
