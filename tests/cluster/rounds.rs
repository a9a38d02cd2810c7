//! One fault after the other under load, picked by a seeded generator.

use std::time::Duration;

use tokio::{task::block_in_place, time::sleep};

use crate::{
    bench::{ApiServers, Bench, RELAYS},
    number, say,
};

const LEASE_SECONDS: u32 = 3;
/// What has to be promised after each fault, before the next one.
const PROGRESS: usize = 30;

#[derive(Debug, Clone, Copy)]
enum Fault {
    KillRelay,
    PauseRelay,
    EndRelay,
    KillNats,
    PauseNats,
    KillBothLeaders,
}

const FAULTS: [Fault; 6] = [
    Fault::KillRelay,
    Fault::PauseRelay,
    Fault::EndRelay,
    Fault::KillNats,
    Fault::PauseNats,
    Fault::KillBothLeaders,
];

struct Rounds {
    bench: Bench,
    rng: fastrand::Rng,
}

impl Rounds {
    fn milliseconds(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    /// Mostly the one that leads.
    async fn relay(&mut self) -> usize {
        let any = self.rng.usize(..RELAYS);
        let leaders = self.bench.leaders().await;
        let leads = leaders.first().copied().filter(|_| self.rng.u8(..3) > 0);
        leads.unwrap_or(any)
    }

    /// Half of the time one that leads a stream.
    fn nats(&mut self) -> usize {
        let streams = [
            "auditrelay-ledger",
            "auditrelay-inbox",
            "KV_auditrelay-lease",
        ];
        let any = self.rng.usize(..self.bench.nats.servers.len());
        let leads = match self.rng.bool() {
            true => self.bench.nats.stream_leader(streams[self.rng.usize(..3)]),
            false => None,
        };
        leads.unwrap_or(any)
    }

    fn start_nats(&mut self, at: usize) {
        // Half of the time the next fault comes before it has caught up.
        let waits = self.rng.bool();
        let nats = &mut self.bench.nats;
        block_in_place(|| match waits {
            true => nats.servers[at]
                .restart()
                .and_then(|()| nats.wait_until_ready()),
            false => nats.servers[at].restart(),
        })
        .expect("it starts again");
    }

    async fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::KillRelay => {
                let relay = self.relay().await;
                self.bench.kill_relay(relay).await;
                sleep(self.milliseconds(0..1_500)).await;
                self.bench.start_relay(relay);
            }
            Fault::PauseRelay => {
                let relay = self.relay().await;
                let time = match self.rng.bool() {
                    true => self.milliseconds(200..2_500),
                    // Past its lease, and what comes after that.
                    false => self.milliseconds(3_500..7_000),
                };
                self.bench.stop_relay(relay);
                sleep(time).await;
                self.bench.cont_relay(relay);
            }
            Fault::EndRelay => {
                let relay = self.relay().await;
                self.bench.end_relay(relay).await;
                sleep(self.milliseconds(0..500)).await;
                self.bench.start_relay(relay);
            }
            Fault::KillNats => {
                let nats = self.nats();
                self.bench.nats.servers[nats].kill();
                sleep(self.milliseconds(200..3_000)).await;
                self.start_nats(nats);
            }
            Fault::PauseNats => {
                let nats = self.nats();
                self.bench.nats.servers[nats].stop().expect("it runs");
                sleep(self.milliseconds(200..6_000)).await;
                self.bench.nats.servers[nats].cont().expect("it runs");
            }
            Fault::KillBothLeaders => {
                let leader = self.bench.leaders().await.first().copied();
                let relay = leader.unwrap_or(0);
                let nats = self
                    .bench
                    .nats
                    .stream_leader("auditrelay-ledger")
                    .unwrap_or(0);
                self.bench.nats.servers[nats].kill();
                self.bench.kill_relay(relay).await;
                sleep(self.milliseconds(0..1_500)).await;
                self.start_nats(nats);
                self.bench.start_relay(relay);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rounds_of_faults_under_load_cost_nothing_that_was_promised() {
    let seed = number("AUDITRELAY_CLUSTER_SEED", 9);
    let count = number("AUDITRELAY_CLUSTER_ROUNDS", 6);
    let Some(bench) = Bench::start(LEASE_SECONDS).await else {
        return;
    };
    let api_servers = ApiServers::start(&bench.service);
    let mut rounds = Rounds {
        bench,
        rng: fastrand::Rng::with_seed(seed),
    };
    // Each kind of fault as often as the others, in an order of chance.
    let mut faults = Vec::new();
    for round in 0..count {
        if faults.is_empty() {
            faults = FAULTS.to_vec();
            rounds.rng.shuffle(&mut faults);
        }
        let fault = faults.pop().expect("one is left");
        say(&format!(
            "AUDITRELAY_CLUSTER_SEED={seed}, round {round}: {fault:?}"
        ));
        rounds.strike(fault).await;
        rounds.bench.nobody_ended();
        rounds.bench.service.goes_on(PROGRESS).await;
    }
    block_in_place(|| rounds.bench.nats.wait_until_ready()).expect("ready");
    let what = format!("{count} rounds, seed {seed}");
    rounds.bench.settled(api_servers, &what).await;
}
