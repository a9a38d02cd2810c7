//! Several relays as one, and everything that can be taken from them: real relays, a real cluster of nats-servers,
//! simulated API servers that send through a Service, and a local Slack that counts.
//!
//! Each scenario ends with the same check (`settled`): once it is quiet,
//! * every event that an API server got a 200 for is told in Slack, and no event is told twice, but in messages that say
//!   themselves that they may be a repetition;
//! * the ledger balances, counts exactly these events, and is the same from whichever relay it is asked;
//! * Slack never had to refuse anything for its rate, and a channel's messages come as far apart as they are to;
//! * exactly one relay leads, and there never were more changes of who posts than terms: no two ever posted in turns.
//!
//! `AUDITRELAY_CLUSTER_ROUNDS=50` runs the rounds whole, `AUDITRELAY_CLUSTER_SEED` picks others,
//! `AUDITRELAY_CLUSTER_GONE_SECONDS=60` keeps NATS away for a minute.

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod leaders;
mod nats_gone;
mod power;
mod rounds;
mod service;
mod settled;
mod undo;
mod wire;

use std::io::Write;

/// A number out of the environment: how many rounds, or which seed.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// For who reads a test's output.
fn say(text: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "{text}");
}
