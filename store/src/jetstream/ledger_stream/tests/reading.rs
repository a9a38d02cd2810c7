//! Reading goes on where servers lag, consumers are gone or messages are lost on the way.

use std::{
    sync::{Arc, atomic::AtomicBool},
    thread,
};

use async_nats::jetstream::Message;
use futures_util::StreamExt as _;

use super::{
    super::read::{Plan, SILENCE, take_next},
    *,
};

#[test]
fn reading_waits_for_servers_that_lag_and_goes_on_without_a_consumer_that_is_gone() {
    let Some(server) = server() else { return };
    let jetstream = connect(&options_of(&server));
    let ledger = LedgerStream::take_over(&jetstream).unwrap();
    for at in 0..10 {
        ledger.append("events.1", at, b"x").unwrap();
    }
    let plan = Plan {
        subject: "test.ledger.events.1".to_owned(),
        is_headers_only: true,
        at_once: 3,
    };
    // The leader says that there are twelve; who delivers has ten, until a while later.
    let mut seen = Vec::new();
    thread::scope(|scope| {
        let remove = || {
            jetstream.block_on(async {
                let mut names = ledger.stream.consumer_names();
                let name = names.next().await.unwrap().unwrap();
                ledger.stream.delete_consumer(&name).await.unwrap();
            })
        };
        let scan = ledger.scan(
            &plan,
            2,
            async || Ok(Some(13)),
            |message| {
                seen.push(message.info().unwrap().stream_sequence);
                if seen.len() == 4 {
                    // Of the second batch, which goes no further than what is on its way already.
                    scope.spawn(remove).join().unwrap();
                }
                if seen.len() == 10 {
                    scope.spawn(|| {
                        jetstream.block_on(async { tokio::time::sleep(5 * SILENCE / 2).await });
                        ledger.append("events.1", 10, b"x").unwrap();
                        ledger.append("events.1", 11, b"x").unwrap();
                    });
                }
                Ok(())
            },
        );
        jetstream.block_on(scan).unwrap();
    });
    assert!(seen.iter().copied().eq(2..=13), "{seen:?}");

    // A message that was lost on the way shows in the numbers of those after it.
    let delivery = |seq: u64, number: u64| Message {
        message: async_nats::Message {
            subject: "test.ledger.events.1".into(),
            reply: Some(
                format!("$JS.ACK.test-ledger.c.1.{seq}.{number}.1790230470084404000.0").into(),
            ),
            payload: Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        },
        context: ledger.context.clone(),
    };
    let (mut next, mut delivered) = (20, 0);
    let mut take = |seq, number| {
        take_next(
            &delivery(seq, number),
            &mut next,
            &mut delivered,
            &mut |_| Ok(()),
        )
        .is_ok()
    };
    assert!(take(20, 1) && take(24, 2));
    assert!(!take(26, 4) && !take(24, 3) && take(25, 3));
}

#[test]
fn an_opening_that_was_given_up_reads_no_further() {
    let Some(server) = server() else { return };
    let jetstream = connect(&options_of(&server));
    let ledger = LedgerStream::take_over(&jetstream).unwrap();
    for at in 0..10 {
        ledger.append("events.1", at, b"x").unwrap();
    }
    let is_wanted = Arc::new(AtomicBool::new(true));
    let may = Arc::clone(&is_wanted);
    let ledger =
        LedgerStream::take_over_while(&jetstream, move || may.load(Ordering::SeqCst)).unwrap();
    let plan = Plan {
        subject: "test.ledger.events.1".to_owned(),
        is_headers_only: true,
        at_once: 3,
    };
    let is_refused = |text: String| assert!(text.contains("was given up"), "{text}");
    let mut seen = 0;
    let scan = ledger.scan(
        &plan,
        2,
        async || Ok(Some(11)),
        |_| {
            seen += 1;
            is_wanted.store(false, Ordering::SeqCst);
            Ok(())
        },
    );
    is_refused(jetstream.block_on(scan).unwrap_err().to_string());
    // What was on its way, at most.
    assert!((1..=3).contains(&seen), "{seen}");
    is_refused(ledger.list().unwrap_err().to_string());
    let read = ledger.read_some("events.1", 2, 11, || true);
    is_refused(read.unwrap_err().to_string());

    // Once it is open, who waited for that has gone in any case.
    ledger.opened();
    assert_eq!(ledger.list().unwrap().len(), 10);
}
