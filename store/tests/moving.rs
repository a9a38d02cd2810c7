//! Moving a queue: what an export wrote, an import has; what was cut short or changed is refused.

mod support;

use std::{
    io::{Cursor, Write},
    sync::{Arc, Mutex},
};

use auditrelay_audit::{EventKey, Severity};
use auditrelay_store::{
    Accepted, Batch, Content, Counts, DeadFilter, Delivery, EncodedBatch, Engine, Entry,
    FilteredCount, ItemKind, LeaseLimit, Limits, MoveError, MutedCount, QuarantineRecord, Queue,
    RateCount, RatesCounted, Routed, RoutedBlock, Sealed, Source, Unreadable,
};
use support::{ALL, append_and_route, balanced, batch, burial, open, options, texts, told};

/// A file in memory that somebody else can read.
#[derive(Clone, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn exported(queue: &Engine) -> String {
    let out = Out::default();
    queue
        .export(out.clone(), |_, _| {})
        .await
        .expect("exported");
    let bytes = out.0.lock().expect("no panic").clone();
    String::from_utf8(bytes).expect("text")
}

async fn import(queue: &Engine, lines: &str) -> Result<auditrelay_store::Moved, MoveError> {
    queue.import(Cursor::new(lines.to_owned()), |_| {}).await
}

/// A queue with something of everything in it.
async fn filled(dir: &std::path::Path) -> Engine {
    let options = auditrelay_store::SledOptions {
        limits: Limits {
            detail_ms: 60_000,
            detail_bytes_max: 1 << 20,
            ..Limits::default()
        },
        ..options(dir)
    };
    let queue = Engine::open(&options).expect("opens").queue;
    append_and_route(&queue, "dev", Severity::Info, &["bad \"1\"\n", "bad 2"]).await;
    let lease = queue
        .lease("dev", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    queue
        .bury(&lease.id, burial("invalid_blocks"))
        .await
        .expect("held");
    append_and_route(&queue, "ops", Severity::Info, &["1", "2", "3"]).await;
    append_and_route(&queue, "ops", Severity::Critical, &["c"]).await;
    let two = LeaseLimit {
        events_max: 2,
        ..ALL
    };
    let lease = queue
        .lease("ops", two, 5)
        .await
        .expect("read")
        .expect("members");
    queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    // This one is being posted: `2`.
    let one = LeaseLimit {
        events_max: 1,
        ..ALL
    };
    queue
        .lease("ops", one, 5)
        .await
        .expect("read")
        .expect("members");
    queue
        .append(batch(["unrouted".to_owned()]))
        .await
        .expect("durable");
    queue
}

fn unreadable() -> Unreadable {
    Unreadable {
        reason: "not an object".into(),
        offset_bytes: 3,
        length_bytes: 4,
        sealed: Some(Sealed {
            to: [5; 8],
            bytes: vec![6; 52],
        }),
        source: Some(Source {
            file: "audit.log".into(),
            line: 8,
        }),
    }
}

#[tokio::test]
async fn what_could_not_be_read_moves_with_its_place_and_its_seal() {
    let (from, to) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let queue = open(from.path());
    let batch = || {
        EncodedBatch::new(&Batch {
            cluster: "prod".into(),
            received_unix_ms: 7,
            entries: vec![Entry {
                key: EventKey {
                    identity: 0,
                    fingerprint: [1; 16],
                },
                content: Content::Unreadable(unreadable()),
            }],
        })
    };
    queue.append(batch()).await.expect("durable");
    let seq = queue.unrouted(1).await.expect("blocks")[0].seq;
    let record = QuarantineRecord {
        cluster: "prod".into(),
        received_unix_ms: 7,
        fingerprint: [1; 16],
        unreadable: unreadable(),
    };
    let routed = RoutedBlock {
        seq,
        counts: Counts {
            quarantined: 1,
            ..Counts::default()
        },
        quarantine: vec![record.clone()],
        ..RoutedBlock::default()
    };
    let routed = Routed {
        blocks: vec![routed],
        deliveries: vec![],
        ..Routed::default()
    };
    queue.route(routed).await.expect("routed");
    // One that is not routed yet moves too.
    queue.append(batch()).await.expect("durable");
    let lines = exported(&queue).await;
    let moved = open(to.path());
    import(&moved, &lines).await.expect("imported");
    let items = moved.quarantined(0, 10).await.expect("read");
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].record, record);
    let blocks = moved.unrouted(1).await.expect("blocks");
    let kind = &blocks[0].items[0].kind;
    assert_eq!(*kind, ItemKind::Unreadable(Box::new(unreadable())));

    // An export of an earlier version knew neither, and may hold bytes as they came.
    let earlier = lines
        .replace(
            r#""sealed":{"to":[5,5,5,5,5,5,5,5],"bytes":[6"#,
            r#""raw":[6"#,
        )
        .replace("6]},", "6],")
        .replace(r#","source":{"file":"audit.log","line":8}"#, "");
    assert!(!earlier.contains("sealed") && !earlier.contains("source"));
    let third = tempfile::tempdir().expect("a folder");
    let moved = open(third.path());
    import(&moved, &earlier).await.expect("imported");
    let items = moved.quarantined(0, 10).await.expect("read");
    let before = Unreadable {
        sealed: None,
        source: None,
        ..unreadable()
    };
    assert_eq!(items[0].record.unreadable, before);
}

#[tokio::test]
async fn what_was_counted_moves_and_an_export_says_so_only_if_there_is_any() {
    let from = tempfile::tempdir().expect("a folder");
    let queue = open(from.path());
    let header = |lines: &str| lines.lines().next().unwrap_or_default().to_owned();
    assert!(header(&exported(&queue).await).contains(r#""version":1"#));
    queue
        .append(batch(["1", "2"].map(str::to_owned)))
        .await
        .expect("durable");
    let seq = queue.unrouted(1).await.expect("blocks")[0].seq;
    let counts = |n: u64| RateCount {
        key: u64::MAX - n,
        slot: -5,
        events: 3,
    };
    let counts: Vec<RateCount> = (0..2_500).map(counts).collect();
    let routed = Routed {
        blocks: vec![RoutedBlock {
            seq,
            counts: Counts {
                filtered: 1,
                muted: 1,
                ..Counts::default()
            },
            ..RoutedBlock::default()
        }],
        filtered_by: vec![FilteredCount {
            route: "noise".to_owned(),
            events: 1,
        }],
        muted: vec![MutedCount {
            mute: 1,
            channel: "ops".to_owned(),
            events: 1,
        }],
        rates: RatesCounted {
            counts: counts.clone(),
            is_all: false,
        },
        ..Routed::default()
    };
    queue.route(routed).await.expect("routed");
    let lines = exported(&queue).await;
    assert!(header(&lines).contains(r#""version":3"#), "{lines}");
    let to = tempfile::tempdir().expect("a folder");
    let moved = open(to.path());
    import(&moved, &lines).await.expect("imported");
    balanced(&moved).await;
    assert_eq!(moved.ledger(), queue.ledger());
    assert_eq!(moved.rates().await.expect("read"), counts);
}

#[tokio::test]
async fn what_was_exported_is_all_there_after_an_import() {
    let (from, to) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let queue = filled(from.path()).await;
    let lines = exported(&queue).await;
    let before = queue.ledger();
    let seen: Vec<_> = queue
        .seen()
        .await
        .expect("read")
        .into_iter()
        .map(|one| one.keys)
        .collect();

    let moved = open(to.path());
    let report = import(&moved, &lines).await.expect("imported");
    assert_eq!(
        (
            report.unrouted_events,
            report.waiting_events,
            report.dead_events
        ),
        (1, 2, 2)
    );
    drop(moved);
    let moved = open(to.path());
    assert_eq!(moved.ledger(), before);
    balanced(&moved).await;
    let keys: Vec<_> = moved
        .seen()
        .await
        .expect("read")
        .into_iter()
        .map(|one| one.keys)
        .collect();
    assert_eq!(keys, seen);
    let blocks = moved.unrouted(10).await.expect("blocks");
    assert_eq!(
        blocks.iter().flat_map(texts).collect::<Vec<_>>(),
        ["unrouted"]
    );
    let lease = moved
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(told(&lease.members), ["2", "3"]);
    let marked = |(_, delivery): &(Severity, Delivery)| match delivery {
        Delivery::Event(event) => event.marks.possibly_repeated,
        Delivery::Notice(_) => false,
    };
    let marks: Vec<bool> = lease.members.iter().map(marked).collect();
    assert_eq!(marks, [true, false], "what was leased may have been posted");
    let letters = moved
        .dead(DeadFilter::default(), 0, 10)
        .await
        .expect("read");
    assert_eq!((letters.len(), letters[0].events), (1, 2));
    assert_eq!(letters[0].burial, burial("invalid_blocks"));
    let members = moved
        .dead_members(letters[0].id)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(told(&members), ["bad \"1\"\n", "bad 2"]);
}

#[tokio::test]
async fn copies_for_a_fallback_are_moved_and_still_know_for_whom_they_were_meant() {
    let (from, to) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let queue = open(from.path());
    append_and_route(&queue, "dev", Severity::Critical, &["d1"]).await;
    append_and_route(&queue, "ops", Severity::Critical, &["c1", "c2"]).await;
    for channel in ["dev", "ops"] {
        queue.fall_back(channel, "sec").await.expect("copied");
    }
    let one = LeaseLimit {
        events_max: 1,
        ..ALL
    };
    let lease = queue.lease("sec", one, 5).await.expect("read");
    let lease = lease.expect("members").id;
    queue.bury(&lease, burial("refused")).await.expect("held");
    append_and_route(&queue, "sec", Severity::Critical, &["own"]).await;
    let lines = exported(&queue).await;

    let moved = open(to.path());
    import(&moved, &lines).await.expect("imported");
    drop(moved);
    let moved = open(to.path());
    assert_eq!(moved.ledger(), queue.ledger());
    balanced(&moved).await;
    let lease = moved.lease("sec", ALL, 5).await.expect("read");
    let lease = lease.expect("members");
    assert_eq!(told(&lease.members), ["c1", "c2", "own"]);
    let expected = [Some("ops"), Some("ops"), None];
    assert_eq!(support::meant_for(&lease.members), expected);
    let dead = moved.dead_members(letter(&moved).await).await;
    let dead = dead.expect("read").expect("there");
    assert_eq!(support::meant_for(&dead), [Some("dev")]);
    // What was copied there is not known here, and a copy is none to copy.
    let copied = moved.fall_back("sec", "ops").await.expect("copied");
    assert_eq!(copied.events, 1);
}

async fn letter(queue: &Engine) -> u64 {
    let letters = queue.dead(DeadFilter::default(), 0, 10).await;
    letters.expect("read")[0].id
}

#[tokio::test]
async fn a_queue_that_holds_something_takes_no_import() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = filled(dir.path()).await;
    let lines = exported(&queue).await;
    let error = import(&queue, &lines).await.expect_err("it is not empty");
    assert!(matches!(error, MoveError::NotEmpty), "{error}");
}

#[tokio::test]
async fn an_export_that_is_not_whole_is_refused_at_its_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let lines = exported(&filled(dir.path()).await).await;
    let all: Vec<&str> = lines.lines().collect();
    let without = |left_out: usize| {
        let kept = all.iter().enumerate().filter(|(n, _)| *n != left_out);
        kept.map(|(_, line)| format!("{line}\n"))
            .collect::<String>()
    };
    let changed = lines.replacen("\"dead\":2", "\"dead\":3", 1);
    assert_ne!(changed, lines);
    let cases = [
        (without(all.len() - 1), "ends early"),
        (without(0), "begins with one header"),
        (without(2), "lines were written before it"),
        (
            lines.replacen("\"version\":1", "\"version\":4", 1),
            "version 4",
        ),
        (changed, "the ledger counts"),
        (format!("{lines}{}\n", all[1]), "follows the end"),
        (
            lines.replacen("{\"kind\":\"waiting\"", "{\"kind\":\"wait", 1),
            "no line of an export",
        ),
    ];
    for (text, reason) in cases {
        let dir = tempfile::tempdir().expect("a folder");
        let error = import(&open(dir.path()), &text).await.expect_err(reason);
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    }
}
