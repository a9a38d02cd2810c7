//! A hundred times SIGKILL under load.

use std::{fs, time::Duration};

use crate::{
    load::{Promises, Shape, ended},
    support::{Running, run},
};

const ROUNDS: u64 = 100;
/// Acknowledged before the kill, at the least.
const EVENTS_A_ROUND: u64 = 50;
const CONFIG: [&str; 2] = ["--config", "c.yaml"];

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_kills_under_load_lose_nothing_and_leave_no_holes() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "channels: {ops: {preview: true, message_interval_milliseconds: 100}}\n";
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    let promises = Promises::new(Shape {
        events: 5,
        noise_bytes: 300,
        pause: Duration::from_millis(5),
    });
    let mut rng = fastrand::Rng::with_seed(4);
    for round in 0..ROUNDS {
        let relay = Running::start(folder.path(), &[], &CONFIG);
        let sound = promises.glance(&relay).await;
        sound.unwrap_or_else(|why| panic!("round {round}: {why}"));
        let posters = promises.posters(relay.webhook, 4, &format!("r{round}"));
        let before = promises.events();
        tokio::time::sleep(Duration::from_millis(rng.u64(30..230))).await;
        // However slow the machine is.
        promises.reach(before + EVENTS_A_ROUND).await;
        relay.kill();
        ended(posters).await;
        // It counts every record, and so finds a hole.
        let (code, text, errors) = run(folder.path(), &[], &["ledger", "--config", "c.yaml"]);
        assert_eq!(code, 0, "round {round}: {text}{errors}");
    }
    let events = promises.events();
    crate::say(&format!("{events} events were acknowledged"));
    assert!(events >= EVENTS_A_ROUND * ROUNDS, "only {events} events");
    let relay = Running::start(folder.path(), &[], &CONFIG);
    let known = promises.all_are_known(&relay).await;
    known.unwrap_or_else(|why| panic!("at the end: {why}"));
}
