//! Several replicas append while the pump is killed.

use std::time::Duration;

use auditrelay_store::{Intake, Queue};

use crate::*;

/// Kills of the pump, each followed by another one on what was left.
fn kills() -> u64 {
    let named = std::env::var("AUDITRELAY_PUMP_KILLS");
    named.map_or(12, |kills| kills.parse().expect("a number"))
}

/// A replica that appends one batch after the other, some of them large, until it is stopped; what was acknowledged.
async fn replica(
    servers: JetStream,
    number: usize,
    stop: tokio::sync::watch::Receiver<bool>,
) -> Vec<String> {
    let inbox = servers.inbox();
    let mut acknowledged = Vec::new();
    for n in 0.. {
        if *stop.borrow() {
            break;
        }
        let long = if n % 40 == 7 { 2_400_000 } else { n % 200 };
        let json = format!("\"{number}-{n}-{}\"", noise(long, n as u64));
        drop(inbox.admit(json.len() as u64).expect("there is room"));
        inbox.append(batch(&json)).await.expect("durable");
        acknowledged.push(json);
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn what_three_replicas_were_acknowledged_is_taken_once_and_in_order_by_pumps_that_are_killed()
{
    let Some(server) = server() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let options = options(&server);
    let (stop, stopping) = tokio::sync::watch::channel(false);
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
        engine.finish().await.expect("it ends");
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
    let mut taken_of = vec![Vec::new(); 3];
    // What is read at once is bounded, so some of them at a time.
    while engine.ledger().waiting > 0 {
        let blocks = engine.unrouted(100).await.expect("blocks");
        for block in &blocks {
            let json = block.texts().expect("whole").get(0).to_owned();
            let number: usize = json[1..2].parse().expect("a replica");
            taken_of[number].push(json);
        }
        let routed = blocks.iter().map(|block| auditrelay_store::RoutedBlock {
            seq: block.seq,
            ..auditrelay_store::RoutedBlock::default()
        });
        let routed = auditrelay_store::Routed {
            blocks: routed.collect(),
            ..auditrelay_store::Routed::default()
        };
        engine.route(routed).await.expect("routed");
    }
    for (taken, acknowledged) in taken_of.iter().zip(&acknowledged) {
        assert!(acknowledged.len() > 20, "{}", acknowledged.len());
        assert_eq!(taken.len(), acknowledged.len());
        assert!(taken == acknowledged, "in the order of its own appends");
    }
}
