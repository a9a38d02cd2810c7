//! What a leader leaves behind that ended between two messages, and what the next ones make of it.

use crate::{
    Engine, Limits, Queue, StreamOptions,
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

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(work)
}

/// A leader that ended after it had written deliveries and before the index said so leaves a tail.
#[test]
fn a_tail_that_the_index_does_not_know_is_cut_off_for_every_later_leader() {
    let Some(server) = server() else { return };
    let jetstream = connect(&options_of(&server));
    drop(open(&jetstream, 1 << 20));
    let stream = LedgerStream::take_over(&jetstream).expect("taken over");
    let entries = stream.list().expect("listed");
    let of_segment = |one: &&crate::jetstream::ledger_stream::Entry| {
        &*one.subject == "deliveries.0000000000000001"
    };
    let ends = entries
        .iter()
        .filter(of_segment)
        .map(|one| one.offset + one.bytes);
    let end = ends.max().expect("its first segment");
    let tail = crate::frame::single(crate::frame::Kind::Events, 99, &[7; 2_000]);
    stream
        .append("deliveries.0000000000000001", end, &tail)
        .expect("appended");
    drop(stream);
    // Whatever it does first is a roll: the segment is full with what was cut off.
    for _ in 0..3 {
        let queue = open(&jetstream, 512);
        block_on(async {
            queue.forget_seen(0).await.expect("committed");
            queue
                .forget_seen(0)
                .await
                .expect("committed, and tidied up before");
            queue.verify().await.expect("sound");
        });
    }
}

/// A server that lost power while it removed a segment may have removed its first messages only.
#[test]
fn a_segment_that_was_removed_in_part_is_gone() {
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
    stream
        .append("seen.0000000000000000", 500, &[1; 10])
        .expect("appended");
    drop(stream);
    let queue = open(&jetstream, 256);
    block_on(queue.verify()).expect("sound");
}
