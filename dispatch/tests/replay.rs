//! A replay: what was stored, through today's routes again.

use std::{borrow::Cow, io::Write, sync::Arc};

use auditrelay_audit::{EventKey, Severity};
use auditrelay_config::{Overrides, load};
use auditrelay_dispatch::{Replay, Replayed, Routes, replay::Selection};
use auditrelay_store::{
    BatchEncoder, Block, Content, Counts, Delivery, Engine, Hint, LeaseLimit, Queue, Routed,
    RoutedBlock, SledOptions,
};

fn routes(yaml: &str) -> Arc<Routes> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(yaml.as_bytes()).expect("written");
    let loaded = load(Some(file.path()), [], Overrides::default());
    Arc::new(Routes::new(&loaded.expect("valid").config))
}

const TODAY: &str = "channels: {ops: {preview: true}, sec: {preview: true}}
default_channel: ops
routes:
- {name: deletes, channel: sec, severity: critical, verbs: [delete]}
- {name: gets, channel: ops, verbs: [get]}
";

fn key(number: u8) -> EventKey {
    EventKey {
        identity: 0,
        fingerprint: [number; 16],
    }
}

/// A batch received at a time: one event a verb, keyed by `first` and the numbers behind it.
async fn append(queue: &Engine, at: i64, first: u8, verbs: &[&str]) {
    let mut encoder = BatchEncoder::new("prod", at, 0, 0);
    for (verb, number) in verbs.iter().zip(first..) {
        if verb.is_empty() {
            encoder.push_unwanted(&key(number), None);
            continue;
        }
        let json = format!(
            r#"{{"level":"Metadata","stage":"ResponseComplete","auditID":"a","verb":"{verb}","user":{{"username":"a"}}}}"#
        );
        let content = Content::Event {
            json: Cow::Owned(json),
            body_unreadable: false,
        };
        encoder.push(&key(number), &content, Hint::default());
    }
    queue.append(encoder.finish()).await.expect("durable");
}

async fn stored(queue: &Engine) -> Vec<Block> {
    append(queue, 1_000, 1, &["get", "delete", "", "patch"]).await;
    // The API server sent it twice.
    append(queue, 1_100, 1, &["get", "delete", "", "patch"]).await;
    append(queue, 2_000, 9, &["get", "get"]).await;
    queue.unrouted(10).await.expect("blocks")
}

fn selection(route: Option<&str>) -> Selection {
    Selection {
        received_unix_ms: 1_000..2_000,
        route: route.map(str::to_owned),
    }
}

fn rows(replayed: &Replayed) -> Vec<(&str, &str, u64)> {
    replayed
        .sent
        .iter()
        .map(|row| (row.channel.as_str(), row.route.as_str(), row.events))
        .collect()
}

#[tokio::test]
async fn each_event_of_the_range_goes_once_where_the_routes_of_today_send_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SledOptions::new(folder.path(), 0);
    let queue = Engine::open(&options).expect("opens").queue;
    let blocks = stored(&queue).await;
    let mut replay = Replay::new(routes(TODAY), selection(None));
    let mut deliveries = Vec::new();
    for block in &blocks {
        deliveries.extend(replay.piece(std::slice::from_ref(block)));
    }
    let replayed = replay.finish();
    assert_eq!(rows(&replayed), [("ops", "gets", 1), ("sec", "deletes", 1)]);
    assert_eq!(
        (
            replayed.filtered,
            replayed.without_text,
            replayed.duplicates
        ),
        (1, 1, 4)
    );
    assert_eq!(
        (replayed.blocks, replayed.retained_unix_ms),
        (2, Some((1_000, 2_000)))
    );

    let done = |block: &Block| RoutedBlock {
        seq: block.seq,
        counts: Counts {
            filtered: block.items.len() as u64,
            ..Counts::default()
        },
        ..RoutedBlock::default()
    };
    let routed = Routed {
        blocks: blocks.iter().map(done).collect(),
        deliveries,
        ..Routed::default()
    };
    queue.route(routed).await.expect("routed");
    let limit = LeaseLimit {
        events_max: 10,
        bytes_max: 1 << 20,
    };
    let lease = queue.lease("sec", limit, 5).await.expect("a lease");
    let members = lease.expect("something waits").members;
    let [(Severity::Critical, Delivery::Event(event))] = members.as_slice() else {
        panic!("{members:?}");
    };
    assert!(event.marks.replayed && event.json.contains("delete"));
}

#[tokio::test]
async fn one_route_alone_may_be_asked_for_and_what_nobody_wants_is_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SledOptions::new(folder.path(), 0);
    let queue = Engine::open(&options).expect("opens").queue;
    let blocks = stored(&queue).await;
    let mut replay = Replay::new(routes(TODAY), selection(Some("deletes")));
    assert_eq!(replay.piece(&blocks).len(), 1);
    let replayed = replay.finish();
    assert_eq!(rows(&replayed), [("sec", "deletes", 1)]);
    assert_eq!((replayed.events(), replayed.filtered), (1, 2));
    assert_eq!(
        Replay::new(routes(TODAY), selection(None)).finish(),
        Replayed::default()
    );
}

#[tokio::test]
async fn a_route_that_tells_along_with_others_finds_its_events_whatever_name_they_have() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SledOptions::new(folder.path(), 0);
    let queue = Engine::open(&options).expect("opens").queue;
    let blocks = stored(&queue).await;
    let table = "channels: {ops: {preview: true}, sec: {preview: true}}
default_channel: ops
routes:
- {name: passing, channel: sec, continue: true}
- {name: deletes, channel: sec, verbs: [delete]}
";
    for (asked, expected) in [
        (
            Some("passing"),
            vec![("sec", "deletes", 1), ("sec", "passing", 2)],
        ),
        (Some("deletes"), vec![("sec", "deletes", 1)]),
        (Some("other"), vec![]),
    ] {
        let mut replay = Replay::new(routes(table), selection(asked));
        replay.piece(&blocks);
        assert_eq!(rows(&replay.finish()), expected, "{asked:?}");
    }
}

#[tokio::test]
async fn a_replay_counts_by_itself_and_tells_what_it_cannot_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SledOptions::new(folder.path(), 0);
    let queue = Engine::open(&options).expect("opens").queue;
    append(&queue, 1_000, 1, &["get", "get", "get"]).await;
    // An hour later it is no burst.
    append(&queue, 3_601_000, 10, &["get", "get"]).await;
    append(&queue, 3_602_000, 20, &["get"]).await;
    let mut encoder = BatchEncoder::new("prod", 3_603_000, 0, 0);
    for (number, identity, json) in [
        (
            30,
            7,
            r#"{"level":"Metadata","stage":"ResponseComplete","verb":"list","user":{}}"#,
        ),
        (
            31,
            7,
            r#"{"level":"Metadata","stage":"ResponseComplete","verb":"list","user":{}}"#,
        ),
        (32, 0, "no event"),
    ] {
        let key = EventKey {
            identity,
            ..key(number)
        };
        let content = Content::Event {
            json: json.into(),
            body_unreadable: false,
        };
        encoder.push(&key, &content, Hint::default());
    }
    queue.append(encoder.finish()).await.expect("durable");
    let blocks = queue.unrouted(10).await.expect("blocks");
    let table = "channels: {ops: {preview: true}, sec: {preview: true}}
default_channel: ops
routes:
- {name: bursts, channel: sec, verbs: [get], rate: {moreThan: 2, withinSeconds: 60}}
- {name: again, channel: sec, verbs: [list], auditIDReused: true}
";
    let everything = Selection {
        received_unix_ms: 0..i64::MAX,
        route: None,
    };
    let mut replay = Replay::new(routes(table), everything);
    for block in blocks.chunks(1) {
        replay.piece(block);
    }
    let replayed = replay.finish();
    assert_eq!(
        rows(&replayed),
        [("ops", "", 1), ("sec", "again", 1), ("sec", "bursts", 2)]
    );
    assert_eq!(replayed.filtered, 5);
}
