//! What a load costs in bytes: a bound that holds on any machine, unlike one on time.

use std::{path::Path, time::Duration};

use auditrelay_loadtest::{
    events::Shape,
    limits::{Programs, Setup, Subject, put_under_load},
    storm::Load,
};

async fn bytes_written_per_byte_received(setup: &Setup, load: Load) -> f64 {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let programs = Programs {
        relay: env!("CARGO_BIN_EXE_auditrelay").into(),
        nats_server: None,
        limits: Path::new("").into(),
    };
    let mut relay = Subject::relay(&programs, dir.path(), setup)
        .await
        .expect("it starts");
    let figures = put_under_load(&relay, load).await.expect("it accepts");
    assert_eq!(figures.refused, 0);
    // What was acknowledged is all routed soon, whatever the machine.
    for _ in 0..600 {
        if relay.unrouted().await.expect("a ledger") == Some(0) {
            relay.stop().await.expect("it ends");
            return figures.written_per_received;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not all is routed: {:?}", relay.ledger().await);
}

const STORM: Load = Load {
    connections: 8,
    events_per_batch: 400,
    shape: Shape::Metadata,
    duration: Duration::from_secs(3),
    batches_per_second: None,
};

#[tokio::test(flavor = "multi_thread")]
async fn metadata_batches_write_at_most_0_15_bytes_for_each_byte() {
    let written = bytes_written_per_byte_received(&Setup::careful(), STORM).await;
    assert!(written > 0.0 && written <= 0.15, "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_event_routed_batches_write_at_most_0_3_bytes_for_each_byte() {
    // Compressed, each is written twice, with its key: 0.18 in a storm, more where commits are small.
    let written = bytes_written_per_byte_received(&Setup::all_routed(), STORM).await;
    assert!(written > 0.0 && written <= 0.3, "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_write_at_most_half_of_what_they_are() {
    let load = Load {
        events_per_batch: 40,
        shape: Shape::RequestResponse,
        connections: 4,
        ..STORM
    };
    let written = bytes_written_per_byte_received(&Setup::all_routed(), load).await;
    assert!(written > 0.0 && written <= 0.5, "{written}");
}
