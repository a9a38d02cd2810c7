//! Somebody deletes a message of the logs: each of them in turn, of a stream that holds some of everything.
//!
//! What it held is looked up in the index as it was. If that is needed, the stream is refused; if not, all is there that was,
//! who looks at what is missing gets an error, and the rest of the segment goes in the end.

use std::io::Seek as _;

use auditrelay_audit::{EventKey, Severity};

use super::{tests::block_on, *};
use crate::{
    Accepted, BatchEncoder, Block, Burial, Content, Counts, Cursor, DeliveriesEncoder,
    DeliveryBlock, EncodedBatch, EventToDeliver, Hint, LeaseLimit, Marks, Queue, QueueError,
    Routed, RoutedBlock,
    frame::{self, Kind},
    jetstream::{
        JetStream, JetStreamOptions,
        test_support::{connect, options_of, server},
    },
};

const NOW_UNIX_MS: i64 = 1_700_000_000_000;
const ONE: LeaseLimit = LeaseLimit {
    events_max: 1,
    bytes_max: usize::MAX,
};

fn options() -> StreamOptions {
    StreamOptions {
        limits: Limits {
            detail_ms: 1 << 40,
            detail_bytes_max: 1 << 30,
            retain_ms: 1 << 40,
            retain_bytes_max: 1 << 30,
            ..Limits::default()
        },
        segment_bytes: 1_800,
        ..StreamOptions::new(NOW_UNIX_MS)
    }
}

fn event(n: u64) -> EncodedBatch {
    // What waits all the time is little of its segment, and so it is moved.
    let noise = (1..if n == 1 { 2 } else { 40 })
        .map(|one| (n * 40 + one).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let noise: String = noise.map(|one| format!("{one:016x}")).collect();
    let key = EventKey {
        identity: n,
        fingerprint: [n as u8; 16],
    };
    let content = Content::Event {
        json: format!("\"{n} {noise}\"").into(),
        body_unreadable: false,
    };
    let mut batch = BatchEncoder::new("prod", NOW_UNIX_MS, 0, 0);
    batch.push(&key, &content, Hint::default());
    batch.finish()
}

/// A block of one event whose key is seen now: it is routed to something, or to nothing.
fn routed(block: &Block, routed: u64) -> Routed {
    Routed {
        blocks: vec![RoutedBlock {
            seq: block.seq,
            seen_unix_ms: NOW_UNIX_MS,
            new_keys: block.items.iter().map(|item| item.key).collect(),
            counts: Counts {
                routed,
                duplicates: 1 - routed,
                ..Counts::default()
            },
            quarantine: Vec::new(),
        }],
        ..Routed::default()
    }
}

/// Appends an event and routes it to a channel.
async fn route(queue: &Engine, n: u64, channel: &str) {
    queue.append(event(n)).await.expect("durable");
    let block = &queue.unrouted(1).await.expect("blocks")[0];
    let mut deliveries = DeliveriesEncoder::default();
    deliveries.push(&EventToDeliver {
        cluster: "prod",
        route: "",
        json: block.texts().expect("whole").get(0),
        marks: Marks::default(),
    });
    let deliveries = vec![DeliveryBlock {
        channel: channel.to_owned(),
        severity: Severity::Info,
        deliveries: deliveries.finish(),
    }];
    let routed = Routed {
        deliveries,
        ..routed(block, 1)
    };
    queue.route(routed).await.expect("routed");
}

async fn tell(queue: &Engine) -> Option<u64> {
    let lease = queue.lease("ops", ONE, NOW_UNIX_MS).await.expect("read")?;
    let told = queue.ack(&lease.id, Accepted::at(NOW_UNIX_MS));
    told.await.expect("held");
    Some(lease.id.id)
}

async fn bury(queue: &Engine) -> u64 {
    let lease = queue.lease("ops", ONE, NOW_UNIX_MS).await.expect("read");
    let lease = lease.expect("something waits").id;
    let burial = Burial {
        reason: "invalid_blocks".to_owned(),
        attempts: 1,
        first_unix_ms: NOW_UNIX_MS,
        last_unix_ms: NOW_UNIX_MS,
    };
    queue.bury(&lease, burial).await.expect("held");
    lease.id
}

/// Some of everything: told, dropped, dead, waiting, not routed, forgotten and seen. Says which messages were told.
async fn fill(queue: &Engine) -> Vec<u64> {
    route(queue, 1, "dev").await;
    let mut told = Vec::new();
    for n in 2..=9 {
        route(queue, n, "ops").await;
        match n {
            2 | 3 | 6 | 9 => told.extend(tell(queue).await),
            4 => {
                let dead = bury(queue).await;
                queue.drop_dead(vec![dead]).await.expect("dropped");
            }
            5 => drop(bury(queue).await),
            _ => {}
        }
    }
    for n in 10..=12 {
        queue.append(event(n)).await.expect("durable");
    }
    // Up to right before the fifth.
    let seen = queue.seen().await.expect("readable");
    queue.forget_seen(seen[4].seq - 1).await.expect("committed");
    told
}

/// A stream as it was, on which every case begins.
struct Origin {
    messages: Vec<(Entry, Vec<u8>)>,
    /// Which of them are needed, by sequence.
    needed: Vec<u64>,
}

impl Origin {
    fn of(jetstream: &JetStream) -> Self {
        let stream = LedgerStream::take_over(jetstream).expect("taken over");
        let entries = stream.list().expect("listed");
        let messages: Vec<_> = entries
            .iter()
            .map(|one| (one.clone(), stream.get(one.seq).expect("there")))
            .collect();
        let index = StreamIndex::load(Arc::new(stream), &entries, SNAPSHOT_BYTES);
        let rows = index.expect("an index").rows();
        let needed = needed(&messages, &Db::Memory(rows));
        Self { messages, needed }
    }

    /// A copy on a stream of its own, from which one message is deleted.
    fn without(&self, seq: u64, options: &JetStreamOptions) -> JetStream {
        let jetstream = connect(options);
        let stream = LedgerStream::take_over(&jetstream).expect("taken over");
        let mut copied = 0;
        for (entry, payload) in &self.messages {
            let chunks = stream.append(&entry.subject, entry.offset, payload);
            let chunks = chunks.expect("appended");
            if entry.seq == seq {
                copied = chunks[0].seq;
            }
        }
        if seq > 0 {
            block_on(async {
                let name = stream.name();
                let stream = jetstream.context().get_stream(name).await.expect("there");
                stream.delete_message(copied).await.expect("deleted");
            });
        }
        jetstream
    }
}

fn needed(messages: &[(Entry, Vec<u8>)], db: &Db) -> Vec<u64> {
    let totals: Totals = small(&db.get(keys::TOTALS).unwrap().unwrap()).unwrap();
    let held: Vec<Held> = db
        .scan_prefix(keys::HELD)
        .map(|row| row.unwrap())
        .filter(|(key, _)| !key.starts_with(keys::TOLD))
        .map(|(_, stored)| Held::read(&stored).unwrap())
        .collect();
    let is_needed = |(at, (entry, _)): &(usize, &(Entry, Vec<u8>))| {
        let Some((log, segment)) = entry.subject.split_once('.') else {
            return false;
        };
        let segment: u64 = segment.parse().unwrap();
        let end = entry.offset + entry.bytes;
        entry.bytes > 0
            && match log {
                // How they begin as well: it is not known how long the one before was.
                "events" => (segment, end) > (totals.routed_end.segment, totals.routed_end.offset),
                "deliveries" => held.iter().any(|one| {
                    let (start, held_end) = (one.place.start, one.place.end().offset);
                    start.segment == segment && entry.offset < held_end && start.offset < end
                }),
                // All before a record is forgotten if that may be, too.
                _ => {
                    let later = messages[at + 1..].iter();
                    let later = later.filter(|(one, _)| one.subject.starts_with("seen."));
                    let mut records = later
                        .filter_map(|(_, stored)| frame::decode(stored).ok())
                        .filter(|(header, _)| header.kind == Kind::Seen as u8);
                    records
                        .next()
                        .is_none_or(|(header, _)| header.seq > totals.seen_forgotten + 1)
                }
            }
    };
    let needed = messages.iter().enumerate().filter(is_needed);
    needed.map(|(_, (entry, _))| entry.seq).collect()
}

/// All that is not settled, and the ledger.
async fn exported(queue: &Engine) -> String {
    let mut file = tempfile::tempfile().expect("a file");
    let lines = file.try_clone().expect("a file");
    queue.export(lines, |_, _| ()).await.expect("exported");
    file.rewind().expect("sought");
    io::read_to_string(file).expect("text")
}

/// What is kept to be looked at: of each message what it told, and what was routed.
async fn kept(queue: &Engine, told: &[u64]) -> (Vec<Option<String>>, Result<usize, QueueError>) {
    let mut all = Vec::new();
    for id in told {
        let one = queue.told(*id).await.expect("no error");
        all.push(one.map(|one| format!("{one:?}")));
    }
    let (mut from, mut blocks) = (Some(Cursor::default()), Ok(0));
    while let Some(cursor) = from.take() {
        match queue.retained(cursor).await {
            Ok(some) => {
                blocks = blocks.map(|so_far| so_far + some.blocks.len());
                from = some.next;
            }
            Err(error) => blocks = Err(error),
        }
    }
    (all, blocks)
}

fn open(jetstream: &JetStream) -> Result<Engine, OpenError> {
    let stream = LedgerStream::take_over(jetstream).expect("taken over");
    Engine::open_on_stream(stream, &options())
}

/// Settles everything but what waits for one channel, and waits until a segment is gone.
async fn settle_all(queue: &Engine, log: &LogFiles, segment: u64) {
    let last = log.segments().expect("listed").pop();
    while queue.ledger().waiting > 0 {
        let block = &queue.unrouted(1).await.expect("blocks")[0];
        let routed = routed(block, 0);
        queue.route(routed).await.expect("routed");
    }
    while tell(queue).await.is_some() {}
    for letter in queue.dead(Default::default(), 0, 10).await.expect("listed") {
        queue.drop_dead(vec![letter.id]).await.expect("dropped");
    }
    queue.set_limits(Limits::default()).await.expect("set");
    // With each commit a piece is tidied up.
    for _ in 0..2_000 {
        if last == Some(segment) || !log.segments().expect("listed").contains(&segment) {
            return;
        }
        queue.forget_seen(u64::MAX / 2).await.expect("committed");
    }
    panic!("{} is still there", log.path(segment).display());
}

#[test]
fn a_message_that_was_deleted_stops_who_needs_it_and_nobody_else() {
    let Some(server) = server() else { return };
    let named = |name: String| JetStreamOptions {
        name,
        inbox_bytes_max: 1 << 20,
        ledger_bytes_max: 4 << 20,
        ..options_of(&server)
    };
    let jetstream = connect(&named("origin".to_owned()));
    let queue = open(&jetstream).expect("opens");
    let told = block_on(fill(&queue));
    drop(queue);
    let origin = Origin::of(&jetstream);
    let whole = open(&origin.without(0, &named("whole".to_owned()))).expect("opens");
    let (all, (all_told, retained)) =
        block_on(async { (exported(&whole).await, kept(&whole, &told).await) });
    drop(whole);
    assert!(all_told.iter().all(Option::is_some) && retained.is_ok());
    let mut refused = Vec::new();
    let (mut cases, mut lost_told) = (0, 0);
    for (entry, _) in &origin.messages {
        let Some((log, segment)) = entry.subject.split_once('.') else {
            continue;
        };
        cases += 1;
        let case = format!("{}-{}", entry.seq, entry.subject.replace('.', "-"));
        let jetstream = origin.without(entry.seq, &named(case.clone()));
        let queue = match open(&jetstream) {
            Err(error) => {
                let text = error.to_string();
                let advice = format!("nats stream rm {case}-ledger");
                assert!(text.contains(&advice), "{text}");
                refused.push(entry.seq);
                continue;
            }
            Ok(queue) => queue,
        };
        let logs = queue.0.logs.clone();
        let mut files = [&logs.events, &logs.deliveries, &logs.seen].into_iter();
        let files = files.find(|one| one.path(1).to_string_lossy().starts_with(log));
        block_on(async {
            queue.verify().await.expect(&case);
            assert_eq!(exported(&queue).await, all, "{case}");
            let (now_told, now_retained) = kept(&queue, &told).await;
            for (now, before) in now_told.iter().zip(&all_told) {
                assert!(now.is_none() || now == before, "{case}");
                lost_told += usize::from(now.is_none());
            }
            let is_kept = log == "events" && entry.bytes > 0;
            match now_retained {
                Err(QueueError::Unreadable(why)) => assert!(is_kept, "{case}: {why}"),
                now => assert!(!is_kept && now.ok() == retained.clone().ok(), "{case}"),
            }
            settle_all(&queue, files.unwrap(), segment.parse().unwrap()).await;
            route(&queue, 20, "ops").await;
            queue.verify().await.expect(&case);
        });
        drop(queue);
        // What waited all the time is still there, wherever it was moved to.
        let queue = open(&jetstream).expect(&case);
        block_on(async {
            queue.verify().await.expect(&case);
            let lease = queue.lease("dev", ONE, NOW_UNIX_MS).await.expect("read");
            assert_eq!(lease.expect("it waits").members.len(), 1, "{case}");
        });
    }
    assert_eq!(refused, origin.needed);
    let opened = cases - refused.len();
    assert!(refused.len() > 5 && opened > 5 && lost_told > 0);
}

#[test]
fn the_last_that_was_routed_is_needed_by_nobody() {
    let Some(server) = server() else { return };
    let jetstream = connect(&options_of(&server));
    let queue = open(&jetstream).expect("opens");
    block_on(route(&queue, 1, "dev"));
    drop(queue);
    let origin = Origin::of(&jetstream);
    let mut events = origin.messages.iter().rev().map(|(entry, _)| entry);
    let last = events.find(|one| one.subject.starts_with("events.") && one.bytes > 0);
    let named = JetStreamOptions {
        name: "copy".to_owned(),
        ..options_of(&server)
    };
    let jetstream = origin.without(last.unwrap().seq, &named);
    for n in 2..=3 {
        let queue = open(&jetstream).expect("opens");
        block_on(route(&queue, n, "dev"));
        block_on(queue.verify()).expect("sound");
    }
}
