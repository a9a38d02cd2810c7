//! What a leader leaves behind that ended between two messages, and what the next ones make of it.

use async_nats::jetstream::stream::Config;
use auditrelay_audit::Severity;

use crate::{
    DeliveriesEncoder, DeliveryBlock, Engine, EventToDeliver, Limits, Marks, Queue, StreamOptions,
    frame::{self, Kind},
    jetstream::{
        JetStream,
        ledger_stream::LedgerStream,
        test_support::{connect, options_of, server},
    },
};

fn options(segment_bytes: u64) -> StreamOptions {
    StreamOptions {
        limits: Limits::default(),
        segment_bytes,
        snapshot_bytes: 1,
        ..StreamOptions::new(1_700_000_000_000)
    }
}

fn open(jetstream: &JetStream, segment_bytes: u64) -> Engine {
    let stream = LedgerStream::take_over(jetstream).expect("taken over");
    Engine::open_on_stream(stream, &options(segment_bytes)).expect("opens")
}

pub(super) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(work)
}

/// One event that waits for a channel. What it takes is by far the most of its segment, so nothing moves it.
fn waiting() -> DeliveryBlock {
    let text = (0..2_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_string());
    copy(&format!("\"{}\"", text.collect::<String>()))
}

fn copy(json: &str) -> DeliveryBlock {
    let mut deliveries = DeliveriesEncoder::default();
    deliveries.push(&EventToDeliver {
        cluster: "prod",
        route: "",
        json,
        marks: Marks::default(),
    });
    DeliveryBlock {
        channel: "ops".to_owned(),
        severity: Severity::Info,
        deliveries: deliveries.finish(),
    }
}

/// A leader that ended after it had written deliveries and before the index said so leaves a tail.
#[test]
fn a_tail_that_the_index_does_not_know_is_cut_off_for_every_later_leader() {
    const FIRST: &str = "deliveries.0000000000000001";
    let Some(server) = server() else { return };
    let jetstream = connect(&options_of(&server));
    let queue = open(&jetstream, 1 << 20);
    block_on(queue.deliver_copies(vec![waiting()])).expect("committed");
    drop(queue);
    let stream = LedgerStream::take_over(&jetstream).expect("taken over");
    let entries = stream.list().expect("listed");
    let of_segment = entries.iter().filter(|one| &*one.subject == FIRST);
    let end = of_segment.map(|one| one.offset + one.bytes).max();
    let end = end.filter(|end| *end > 0).expect("what waits is in it");
    let tail = frame::single(Kind::Events, 99, &[7; 2_000]);
    stream.append(FIRST, end, &tail).expect("appended");
    drop(stream);
    // What it does first is a roll: the segment is full without the tail, and the next one says how long it is.
    for _ in 0..3 {
        let queue = open(&jetstream, 64);
        block_on(async {
            for _ in 0..2 {
                queue.forget_seen(0).await.expect("committed");
            }
            queue.verify().await.expect("sound");
        });
    }
}

/// A server that lost power while it removed a segment may have removed its first messages only.
#[test]
fn a_segment_that_was_removed_in_part_goes() {
    let Some(server) = server() else { return };
    let jetstream = connect(&options_of(&server));
    let queue = open(&jetstream, 256);
    block_on(async {
        for n in 0..40 {
            queue.forget_seen(n).await.expect("committed");
        }
    });
    drop(queue);
    let stream = LedgerStream::take_over(&jetstream).expect("taken over");
    // One that nothing needs: of seen keys, long forgotten.
    let forgotten = frame::single(Kind::Seen, 1, &[1; 10]);
    stream
        .append("seen.0000000000000000", 500, &forgotten)
        .expect("appended");
    drop(stream);
    let queue = open(&jetstream, 256);
    block_on(async {
        queue.verify().await.expect("sound");
        queue.forget_seen(41).await.expect("committed");
        // Tidying up follows what is answered; before the next answer it is done.
        queue.forget_seen(42).await.expect("committed");
    });
    assert!(!queue.0.logs.seen.segments().expect("listed").contains(&0));
}

/// Servers failed while snapshots were written. What there is of them leaves no room for another one.
#[test]
fn what_there_is_of_snapshots_that_were_not_finished_makes_room_for_the_next_one() {
    let Some(server) = server() else { return };
    let jetstream = connect(&options_of(&server));
    let open_with = |snapshot_bytes| {
        let stream = LedgerStream::take_over(&jetstream).expect("taken over");
        let options = StreamOptions {
            snapshot_bytes,
            ..options(1 << 20)
        };
        Engine::open_on_stream(stream, &options).expect("opens")
    };
    let queue = open_with(u64::MAX);
    // Rows for more than what a fence gives up where there is no room for it.
    let copies = (0..4_000).map(|n| copy(&format!("\"{n}\"")));
    block_on(queue.deliver_copies(copies.collect())).expect("committed");
    drop(queue);
    let servers = jetstream.context();
    let stream = servers.get_stream(&jetstream.streams().ledger);
    let stream = block_on(stream).expect("it is there");
    for _ in 0..2 {
        let writer = LedgerStream::take_over(&jetstream).expect("taken over");
        let parts = writer.append("snapshot", 0, &vec![7; 1 << 20]);
        let last = parts.expect("appended").pop().expect("a part");
        block_on(stream.delete_message(last.seq)).expect("deleted");
    }
    let state = || block_on(stream.get_info()).expect("asked");
    let full = state();
    let limited = Config {
        max_bytes: full.state.bytes as i64 + (8 << 10),
        ..full.config
    };
    block_on(servers.update_stream(limited)).expect("changed");
    let queue = open_with(1);
    block_on(async {
        for n in 0..2 {
            queue.forget_seen(n).await.expect("committed");
        }
        queue.verify().await.expect("sound");
    });
    assert!(state().state.bytes + (1 << 20) <= full.state.bytes);
}
