//! Servers are killed while a writer appends: no acknowledged entry is lost, none is there twice.

use std::{sync::mpsc, thread};

use auditrelay_loadtest::nats::{NatsCluster, NatsServer};

use super::*;
use crate::jetstream::{
    JetStreamOptions,
    test_support::{cluster, options},
};

/// Appends numbered entries, as a relay does: after an error it takes over, looks at what is there, and goes on. The last
/// one waits until nobody holds the other end of a channel. Returns how often it took over.
fn append_numbered(
    jetstream: &JetStream,
    count: u64,
    acknowledged: &AtomicU64,
    more_happens: &mpsc::Receiver<()>,
) -> usize {
    for terms in 1.. {
        let Ok(ledger) = LedgerStream::take_over(jetstream) else {
            continue;
        };
        let Ok(list) = ledger.list() else { continue };
        let next = whole(list, |entry| entry)
            .last()
            .map_or(0, |entry| entry.offset + 1);
        assert!(
            next >= acknowledged.load(Ordering::SeqCst),
            "an acknowledged entry is lost"
        );
        let append = |number: u64| {
            if number + 1 == count {
                let _over = more_happens.recv();
            }
            let text = format!("entry {number}");
            let chunks = ledger.append("events.1", number, text.as_bytes())?;
            assert_eq!(chunks.len(), 1);
            acknowledged.store(number + 1, Ordering::SeqCst);
            Ok::<_, io::Error>(())
        };
        if (next..count).try_for_each(append).is_ok() {
            return terms;
        }
    }
    unreachable!("it goes on until all are acknowledged")
}

fn assert_numbered(ledger: &LedgerStream, count: u64) {
    let texts = texts(ledger.read_all("events.1", 0).unwrap());
    let expected: Vec<_> = (0..count).map(|number| format!("entry {number}")).collect();
    assert_eq!(texts, expected);
    assert_eq!(ledger.list().unwrap().len() as u64, count);
}

/// Lets something happen whenever so many more entries are acknowledged.
fn meanwhile(
    jetstream: &JetStream,
    count: u64,
    at: &[u64],
    mut happens: impl FnMut(usize),
) -> usize {
    let acknowledged = AtomicU64::new(0);
    let counted = &acknowledged;
    thread::scope(|scope| {
        // However long this thread does not run: it happens while there is more to append.
        let (happening, more_happens) = mpsc::channel::<()>();
        let append = move || append_numbered(jetstream, count, counted, &more_happens);
        let writer = scope.spawn(append);
        for (step, at) in at.iter().enumerate() {
            while acknowledged.load(Ordering::SeqCst) < *at && !writer.is_finished() {
                jetstream.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
            }
            happens(step);
        }
        drop(happening);
        writer.join().unwrap()
    })
}

#[test]
fn a_server_that_is_killed_loses_and_repeats_nothing() {
    let Some(mut server) = server() else { return };
    let jetstream = connect(&options_of(&server));
    let restart = |server: &mut NatsServer| server.restart().unwrap();
    let terms = meanwhile(&jetstream, 200, &[50, 120], |_| restart(&mut server));
    println!("{terms} terms");
    assert_numbered(&LedgerStream::take_over(&jetstream).unwrap(), 200);
}

#[test]
fn the_streams_leader_is_killed_and_every_acknowledged_entry_is_there() {
    let Some(mut cluster) = cluster() else { return };
    let jetstream = connect(&options(cluster.addresses(), &cluster.monitoring()));
    let kill = |cluster: &mut NatsCluster| {
        let leader = cluster.stream_leader("test-ledger").unwrap();
        cluster.servers[leader].kill();
        leader
    };
    let mut killed = 0;
    let terms = meanwhile(&jetstream, 500, &[200], |_| killed = kill(&mut cluster));
    println!("{terms} terms");
    let ledger = LedgerStream::take_over(&jetstream).unwrap();
    assert_numbered(&ledger, 500);

    // It comes back. Whichever server is asked, also one that lags: a list is whole, and has nothing of what was purged.
    cluster.servers[killed].restart().unwrap();
    cluster.wait_until_ready().unwrap();
    // Over a connection to the one that leads, which goes on while another one lags.
    let leader = cluster.stream_leader("test-ledger").unwrap();
    let options = JetStreamOptions {
        servers: vec![cluster.servers[leader].address()],
        ..options(cluster.addresses(), &cluster.monitoring())
    };
    let jetstream = connect(&options);
    let ledger = LedgerStream::take_over(&jetstream).unwrap();
    for round in 0..6 {
        let lags = &mut cluster.servers[(leader + 1 + round % 2) % 3];
        ledger.append("events.0", 0, b"gone").unwrap();
        lags.stop().unwrap();
        ledger.purge("events.0", None).unwrap();
        ledger.append("events.0", 1, b"gone, too").unwrap();
        let chunks = ledger.append("index", 0, &vec![b'x'; 4 << 20]).unwrap();
        ledger.purge("events.0", None).unwrap();
        lags.cont().unwrap();
        let index: Vec<_> = ledger.list().unwrap().into_iter().skip(500).collect();
        assert!(
            index
                .iter()
                .map(|entry| entry.seq)
                .eq(chunks.iter().map(|chunk| chunk.seq))
        );
        assert_eq!(ledger.read_all("index", 0).unwrap().len(), chunks.len());
        ledger.purge("index", None).unwrap();
        assert_numbered(&ledger, 500);
    }
}
