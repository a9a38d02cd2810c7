//! Several replicas append while the pump is killed.

use std::time::Duration;

use auditrelay_store::{Counts, Intake, Queue, QueueError, Routed, RoutedBlock};

use crate::*;

/// Kills of the pump, each followed by another one on what was left.
fn kills() -> u64 {
    let named = std::env::var("AUDITRELAY_PUMP_KILLS");
    named.map_or(8, |kills| kills.parse().expect("a number"))
}

/// What each replica appends at least.
const APPENDS_MIN: usize = 21;

/// A replica that appends one batch after the other, some of them large, until it is stopped; what was acknowledged.
async fn replica(
    servers: JetStream,
    number: usize,
    stop: tokio::sync::watch::Receiver<bool>,
) -> Vec<String> {
    let inbox = servers.inbox();
    let mut acknowledged = Vec::new();
    for n in 0.. {
        if *stop.borrow() && acknowledged.len() >= APPENDS_MIN {
            break;
        }
        let long = if n % 40 == 7 { 1_500_000 } else { n % 200 };
        let json = format!("\"{number}-{n}-{}\"", noise(long, n as u64));
        // A pump that is slower than three replicas lets the inbox fill: who sends comes again then.
        while inbox.admit(json.len() as u64).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        match inbox.append(batch(&json)).await {
            Ok(()) => acknowledged.push(json),
            // What the others stored meanwhile was not known.
            Err(QueueError::Full(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    acknowledged
}

/// Routes what waits, and notes what of which replica it is.
async fn route(engine: &Engine, taken_of: &mut [Vec<String>]) {
    // What is read at once is bounded.
    while engine.ledger().waiting > 0 {
        let blocks = engine.unrouted(100).await.expect("blocks");
        for block in &blocks {
            let json = block.texts().expect("whole").get(0).to_owned();
            let number: usize = json[1..2].parse().expect("a replica");
            taken_of[number].push(json);
        }
        let routed = blocks.iter().map(|block| RoutedBlock {
            seq: block.seq,
            counts: Counts {
                filtered: 1,
                ..Counts::default()
            },
            ..RoutedBlock::default()
        });
        let routed = Routed {
            blocks: routed.collect(),
            ..Routed::default()
        };
        engine.route(routed).await.expect("routed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_three_replicas_were_acknowledged_is_taken_once_and_in_order_by_pumps_that_are_killed()
{
    let Some(server) = server() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let options = options(&server);
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let mut taken_of = vec![Vec::new(); 3];
    let mut replicas = Vec::new();
    for number in 0..3 {
        let servers = connect(&options).await;
        replicas.push(tokio::spawn(replica(servers, number, stopping.clone())));
    }
    for kill in 0..kills() {
        // Another replica leads each time, on what the engine has.
        let inbox = connect(&options).await.inbox();
        let engine = engine(folder.path());
        let pumping = pump(&inbox, &engine);
        let before = engine.ledger().received;
        until("it takes something", async || {
            engine.ledger().received > before
        })
        .await;
        tokio::time::sleep(Duration::from_millis(kill * 37 % 120)).await;
        pumping.kill().await;
        if kill % 3 == 2 {
            // From now on the index says how far the inbox was read, and no block.
            route(&engine, &mut taken_of).await;
        }
        drop(engine);
    }
    stop.send(true).expect("they run");
    let mut acknowledged = Vec::new();
    for replica in replicas {
        acknowledged.push(replica.await.expect("no panic"));
    }
    let total: usize = acknowledged.iter().map(Vec::len).sum();
    let inbox = connect(&options).await.inbox();
    let engine = engine(folder.path());
    let pumping = pump(&inbox, &engine);
    until("all is taken", async || {
        engine.ledger().received >= total as u64
    })
    .await;
    pumping.end().await;
    assert_eq!(engine.ledger().received, total as u64);
    route(&engine, &mut taken_of).await;
    for (taken, acknowledged) in taken_of.iter().zip(&acknowledged) {
        assert!(acknowledged.len() >= APPENDS_MIN);
        assert_eq!(taken.len(), acknowledged.len());
        assert!(taken == acknowledged, "in the order of its own appends");
    }
}
