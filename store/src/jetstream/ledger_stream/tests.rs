//! Against real servers: what one writer stores, another one reads; two of them never mix; servers that die between a
//! message and its acknowledgement make neither a loss nor a second message.

mod killed;
mod reading;

use std::{
    io::ErrorKind,
    sync::{Barrier, atomic::AtomicUsize},
    thread,
};

use async_nats::jetstream::{message::PublishMessage, stream::Config};

use super::*;
use crate::jetstream::test_support::{connect, options_of, server};

impl LedgerStream {
    /// Writes a fence, as one that may.
    pub(crate) fn take_over(jetstream: &JetStream) -> io::Result<Self> {
        Self::take_over_while(jetstream, || true)
    }

    /// All messages of a subject from a sequence on, up to the last one that its leader has.
    fn read_all(&self, subject: &str, from_seq: u64) -> io::Result<Vec<(Entry, Vec<u8>)>> {
        let all = format!("{}{subject}", self.prefix);
        self.read(subject, from_seq, async || self.last_of(&all).await)
    }
}

fn stored_bytes(ledger: &LedgerStream) -> u64 {
    let info = ledger.jetstream.block_on(ledger.info());
    info.unwrap().state.bytes
}

fn texts(read: Vec<(Entry, Vec<u8>)>) -> Vec<String> {
    let texts = whole(read, |(entry, _)| entry).into_iter();
    texts
        .map(|(_, text)| String::from_utf8(text).unwrap())
        .collect()
}

fn listed(ledger: &LedgerStream) -> Vec<(u64, String, u64)> {
    let entries = whole(ledger.list().unwrap(), |entry| entry).into_iter();
    entries
        .map(|entry| (entry.seq, entry.subject.to_string(), entry.offset))
        .collect()
}

#[test]
fn what_one_writer_appends_the_next_one_reads() {
    let Some(server) = server() else { return };
    let jetstream = connect(&options_of(&server));
    let first = LedgerStream::take_over(&jetstream).unwrap();
    assert_eq!(first.list().unwrap(), []);
    let large: Vec<u8> = (0..1_300_000_u32).map(|at| (at % 251) as u8).collect();
    assert_eq!(first.append("events.1", 0, b"one").unwrap()[0].seq, 2);
    let chunks = first.append("events.1", 3, &large).unwrap();
    let ends: Vec<_> = chunks
        .iter()
        .map(|chunk| (chunk.seq, chunk.offset + chunk.bytes))
        .collect();
    let part = CHUNK_BYTES_MAX as u64;
    assert_eq!(ends, [(3, part + 3), (4, 2 * part + 3), (5, 1_300_003)]);
    first.append("index", 0, b"").unwrap();
    first.append("index", 0, b"last").unwrap();

    let second = LedgerStream::take_over(&jetstream).unwrap();
    let list = second.list().unwrap();
    let brief: Vec<_> = list
        .iter()
        .map(|entry| (entry.seq, entry.part, entry.parts))
        .collect();
    assert_eq!(
        brief,
        [
            (2, 1, 1),
            (3, 1, 3),
            (4, 2, 3),
            (5, 3, 3),
            (6, 1, 1),
            (7, 1, 1)
        ]
    );
    assert_eq!(
        (list[3].offset, list[3].bytes),
        (2 * part + 3, 1_300_000 - 2 * part)
    );
    assert!((jiff::Timestamp::now().as_millisecond() - list[0].stored_unix_ms).abs() < 60_000);
    assert_eq!(whole(list.clone(), |entry| entry), list);
    let again: Vec<u8> = (3..=5).flat_map(|seq| second.get(seq).unwrap()).collect();
    assert!(again == large);
    let read = second.read_all("events.1", 3).unwrap();
    assert!(read.iter().flat_map(|(_, payload)| payload).eq(&large));
    assert_eq!(
        read.iter().map(|(entry, _)| entry).collect::<Vec<_>>(),
        list[1..4].iter().collect::<Vec<_>>()
    );
    assert_eq!(texts(second.read_all("index", 0).unwrap()), ["", "last"]);
    assert_eq!(texts(second.read_all("index", 8).unwrap()), [""; 0]);
    assert_eq!(texts(second.read_all("other", 0).unwrap()), [""; 0]);

    assert!(stored_bytes(&second) > 1_300_000);
    second.purge("index", Some(7)).unwrap();
    second.purge("events.1", None).unwrap();
    second.purge("events.1", None).unwrap();
    assert_eq!(listed(&second), [(7, "index".to_owned(), 0)]);
    assert_eq!(second.get(3).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(stored_bytes(&second) < 10_000 + BALLAST_BYTES as u64);
    // Its fence is the only one that is left.
    assert_eq!(second.append("index", 4, b"more").unwrap()[0].seq, 9);
    assert_eq!(
        second
            .jetstream
            .block_on(second.info())
            .unwrap()
            .state
            .messages,
        3
    );
}

#[test]
fn a_writer_that_was_paused_adds_nothing_and_takes_nothing_away() {
    let Some(server) = server() else { return };
    let jetstream = connect(&options_of(&server));
    let old = LedgerStream::take_over(&jetstream).unwrap();
    old.append("events.1", 0, b"old").unwrap();
    let other = connect(&options_of(&server));
    let new = LedgerStream::take_over(&other).unwrap();
    new.append("events.1", 3, b"new").unwrap();
    // It does not know yet: it may delete what was there before, and nothing else.
    old.purge("events.1", None).unwrap();
    old.purge("events.1", Some(u64::MAX)).unwrap();
    assert_eq!(texts(new.read_all("events.1", 0).unwrap()), ["new"]);
    for _ in 0..2 {
        let error = old.append("events.1", 3, b"late").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
        assert!(
            error.to_string().contains("another relay took over"),
            "{error}"
        );
    }
    assert_eq!(
        old.purge("events.1", None).unwrap_err().kind(),
        ErrorKind::ResourceBusy
    );
    new.append("events.1", 6, b"newer").unwrap();
    assert_eq!(
        texts(new.read_all("events.1", 0).unwrap()),
        ["new", "newer"]
    );
}

#[test]
fn writers_that_fight_never_mix() {
    let Some(server) = server() else { return };
    let options = options_of(&server);
    let terms = AtomicUsize::new(0);
    // Each term of a writer: its fence, and how many of its messages were acknowledged.
    let term = |jetstream: &JetStream| -> (u64, String, usize) {
        let ledger = LedgerStream::take_over(jetstream).unwrap();
        let term = terms.fetch_add(1, Ordering::SeqCst).to_string();
        // The last ones end without a fight.
        for done in 0..30 {
            let text = format!("{term} {done}");
            if let Err(error) = ledger.append("index", 0, text.as_bytes()) {
                assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
                return (ledger.fence, term, done);
            }
        }
        (ledger.fence, term, 30)
    };
    let begin = Barrier::new(3);
    let mut held: Vec<_> = thread::scope(|scope| {
        let fight = || {
            let jetstream = connect(&options);
            begin.wait();
            (0..8).map(|_| term(&jetstream)).collect::<Vec<_>>()
        };
        let fighters = [scope.spawn(fight), scope.spawn(fight), scope.spawn(fight)];
        fighters
            .into_iter()
            .flat_map(|fighter| fighter.join().unwrap())
            .collect()
    });
    held.sort_unstable();
    let reader = LedgerStream::take_over(&connect(&options)).unwrap();
    let read = reader.read_all("index", 0).unwrap();
    let mut acknowledged = 0;
    for (at, (fence, term, done)) in held.iter().enumerate() {
        let end = held.get(at + 1).map_or(u64::MAX, |(fence, ..)| *fence);
        let within = read
            .iter()
            .filter(|(entry, _)| (*fence..end).contains(&entry.seq));
        let found: Vec<_> = within
            .map(|(_, text)| String::from_utf8_lossy(text))
            .collect();
        let expected: Vec<_> = (0..found.len())
            .map(|done| format!("{term} {done}"))
            .collect();
        assert_eq!(found, expected, "between messages {fence} and {end}");
        assert!(
            found.len() >= *done,
            "term {term} had {done} acknowledged: {found:?}"
        );
        acknowledged += done;
    }
    assert!(acknowledged > 0 && held.len() == 24);
    let cut_off = held.iter().filter(|(_, _, done)| *done < 30).count();
    assert!(cut_off > 0, "nobody was fenced off");
}

#[test]
fn what_was_stored_without_an_acknowledgement_is_found_to_be_ones_own() {
    let Some(server) = server() else { return };
    let jetstream = connect(&options_of(&server));
    let config = Config {
        name: "short".to_owned(),
        subjects: vec!["short.>".to_owned()],
        // So that the server has forgotten its ID when it is published again.
        duplicate_window: Duration::from_millis(100),
        ..Config::default()
    };
    let mut ledger = LedgerStream::take_over(&jetstream).unwrap();
    jetstream.block_on(async {
        ledger.context.create_stream(config).await.unwrap();
        ledger.stream = ledger.context.get_stream_no_info("short").await.unwrap();
        ledger.prefix = "short.".to_owned();
        let messages = ledger.parts("index", 0, "text".into(), 1);
        let again = async || {
            let until = Instant::now() + APPEND_PATIENCE;
            publish(&ledger.context, &ledger.stream, &messages, until).await
        };
        again().await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        again().await.unwrap();
        assert_eq!(ledger.info().await.unwrap().state.messages, 1);
        let others = Outgoing {
            id: "another".to_owned(),
            ..messages[0].clone()
        };
        let until = Instant::now() + APPEND_PATIENCE;
        let refused = publish(&ledger.context, &ledger.stream, &[others], until).await;
        assert!(matches!(refused, Err(Refusal::Fenced(1))), "{refused:?}");
        // It was purged since, by whoever took over.
        ledger.stream.purge().await.unwrap();
        let refused = again().await;
        assert!(matches!(refused, Err(Refusal::Fenced(1))), "{refused:?}");
        // The stream was lost: it will not say that it stored what it has no place for.
        let lost = ledger.parts("index", 0, "text".into(), 100);
        let until = Instant::now() + Duration::from_millis(300);
        let refused = publish(&ledger.context, &ledger.stream, &lost, until).await;
        let text = io::Error::from(refused.unwrap_err()).to_string();
        assert!(
            text.contains("its last message is 1 where 99 was acknowledged"),
            "{text}"
        );
    });
}

#[test]
fn what_is_not_a_relays_is_left_out_and_what_is_too_short_is_refused() {
    let Some(server) = server() else { return };
    let jetstream = connect(&options_of(&server));
    let ledger = LedgerStream::take_over(&jetstream).unwrap();
    ledger.append("events.1", 0, b"good").unwrap();
    jetstream.block_on(async {
        let by_hand = ledger
            .context
            .publish("test.ledger.events.1", "hand".into())
            .await;
        assert_eq!(by_hand.unwrap().await.unwrap().sequence, 3);
        let mut headers = HeaderMap::new();
        Said::whole(4, 5).write(&mut headers);
        let short = PublishMessage::build()
            .headers(headers)
            .payload("four".into());
        let sent = ledger
            .context
            .send_publish("test.ledger.events.1", short)
            .await;
        assert_eq!(sent.unwrap().await.unwrap().sequence, 4);
    });
    assert_eq!(ledger.get(3).unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(ledger.get(4).unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(
        ledger.append("events.1", 4, b"x").unwrap_err().kind(),
        ErrorKind::ResourceBusy
    );
    let next = LedgerStream::take_over(&jetstream).unwrap();
    assert_eq!(listed(&next), [(2, "events.1".to_owned(), 0)]);
    assert_eq!(
        next.read_all("events.1", 0).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
    next.purge("events.1", Some(4)).unwrap();
}

#[test]
fn a_stream_without_room_says_what_to_raise() {
    let Some(server) = server() else { return };
    let mut options = options_of(&server);
    options.ledger_bytes_max = 4 << 20;
    let jetstream = connect(&options);
    let ledger = LedgerStream::take_over(&jetstream).unwrap();
    let large = vec![b'x'; 5 << 20];
    let error = ledger.append("events.1", 0, &large).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert!(
        error.to_string().contains("raise queue.bytes_max"),
        "{error}"
    );
    assert_eq!(
        ledger.append("events.1", 0, b"x").unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    // Some of its parts are stored: they are seen, and seen to be too few.
    let next = LedgerStream::take_over(&jetstream).unwrap();
    let list = next.list().unwrap();
    assert!(!list.is_empty() && list.iter().all(|entry| entry.parts == 10));
    assert_eq!(listed(&next), []);
    next.purge("events.1", None).unwrap();
    next.append("events.1", 0, b"x").unwrap();
}

/// Whoever leads has to be able to read it, and to make room in it.
#[test]
fn a_stream_that_is_full_is_taken_over_all_the_same() {
    let Some(server) = server() else { return };
    let mut options = options_of(&server);
    options.ledger_bytes_max = 2 << 20;
    let jetstream = connect(&options);
    let first = LedgerStream::take_over(&jetstream).unwrap();
    first.append("events.1", 0, &[b'x'; 1 << 19]).unwrap();
    let fill_to_the_last_byte = async || {
        let mut bytes = 512 << 10;
        while bytes > 0 {
            let payload = vec![b'x'; bytes].into();
            let sent = jetstream.context().publish("test.ledger.index", payload);
            if sent.await.unwrap().await.is_err() {
                bytes /= 2;
            }
        }
    };
    // The first one has what the fence before it held; after it fences are as long as each other.
    for _ in 0..3 {
        jetstream.block_on(fill_to_the_last_byte());
        let next = LedgerStream::take_over(&jetstream).unwrap();
        assert_eq!(listed(&next), [(2, "events.1".to_owned(), 0)]);
    }
    let next = LedgerStream::take_over(&jetstream).unwrap();
    next.purge("events.1", None).unwrap();
    next.append("events.2", 0, b"x").unwrap();
    let fence = |ledger: &LedgerStream| jetstream.block_on(ledger.get_async(ledger.fence));
    let last = LedgerStream::take_over(&jetstream).unwrap();
    assert_eq!(fence(&last).unwrap().payload.len(), BALLAST_BYTES);
}

/// Messages of a list; more by `AUDITRELAY_LEDGER_MESSAGES`.
#[test]
fn a_list_of_many_messages_is_all_of_them() {
    let Some(server) = server() else { return };
    let messages = std::env::var("AUDITRELAY_LEDGER_MESSAGES");
    let messages: usize = messages.map_or(2_200, |messages| messages.parse().unwrap());
    let mut options = options_of(&server);
    options.ledger_bytes_max = 4 << 30;
    let jetstream = connect(&options);
    let mut ledger = LedgerStream::take_over(&jetstream).unwrap();
    // What is appended does not matter, only how many there are.
    ledger.chunk_bytes = 100;
    for (at, done) in (0..messages).step_by(500).enumerate() {
        let count = (messages - done).min(500);
        ledger
            .append(&format!("events.{at}"), 0, &vec![b'x'; 100 * count])
            .unwrap();
    }
    let begun = Instant::now();
    let list = ledger.list().unwrap();
    println!("listed {} messages in {:?}", list.len(), begun.elapsed());
    assert!(
        list.iter()
            .map(|entry| entry.seq)
            .eq(2..messages as u64 + 2)
    );
    assert_eq!(whole(list, |entry| entry).len(), messages);
}
