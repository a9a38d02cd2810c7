//! Whoever decides, and from whatever: what becomes of an event is the same, on a real queue.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use auditrelay_audit::{Envelope, Event, EventKey, HashKey};
use auditrelay_config::{Overrides, load};
use auditrelay_dispatch::{Metrics, Router, Routes};
use auditrelay_store::{
    BatchEncoder, Content, Delivery, EncodedBatch, Engine, LeaseLimit, Ledger, NewMute, Queue,
    SledOptions,
};
use prometheus::Registry;
use tokio::sync::watch;

const TABLES: [&str; 6] = [
    "",
    "- {name: all, channel: [ops, sec]}",
    "- {name: quiet, level: None, verbs: [get, watch]}
- {name: rest, channel: ops}",
    "- {name: copy, channel: sec, continue: true, verbs: [delete, patch], severity: critical}
- {name: quiet, level: None, verbs: [get, delete]}
- {name: rest, channel: ops, users: [a, b]}",
    "- {name: twice, channel: ops, auditIDReused: true, verbs: [get], continue: true}
- {name: again, channel: sec, auditIDReused: true, severity: warning}
- {name: lists, channel: ops, verbs: [list]}",
    "- {name: bursts, channel: sec, severity: critical, verbs: [delete, list], continue: true,
   rate: {moreThan: 2, withinSeconds: 30, by: [user]}}
- {name: noise, channel: ops, users: [a, b], rate: {moreThan: 4, withinSeconds: 60, by: [user, verb]}}
- {name: again, channel: sec, auditIDReused: true, verbs: [get], rate: {moreThan: 1, withinSeconds: 600}}
- {name: rest, channel: ops, verbs: [list, patch, watch]}",
];

fn routes(table: &str) -> Routes {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let routes = match table {
        "" => String::new(),
        routes => format!("routes:\n{routes}\n"),
    };
    let yaml = format!(
        "channels: {{ops: {{preview: true}}, sec: {{preview: true}}}}\ndefault_channel: ops\n{routes}"
    );
    file.write_all(yaml.as_bytes()).expect("written");
    let loaded = load(Some(file.path()), [], Overrides::default());
    Routes::new(&loaded.expect("valid").config)
}

/// Who made a block, and from what the router has to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// As it is: hints, and no text of what nobody wants.
    Hints,
    /// As where everything is kept for a replay.
    KeepsAll,
    /// Of another table.
    OtherTable,
}

/// Blocks of events of a few users, which come out of order, repeat each other and share audit IDs.
fn blocks(seed: u64) -> Vec<Vec<(u64, String)>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut blocks = Vec::new();
    for block in 0..6 {
        // Some blocks are of one kind, so that they go one way.
        let one_kind = random.bool();
        let kind = random.usize(..5);
        let events = (0..random.usize(1..12)).map(|_| {
            let kind = if one_kind { kind } else { random.usize(..5) };
            let verb = ["get", "list", "delete", "watch", "patch"][kind];
            let user = ["a", "b", "c"][random.usize(..3)];
            let second = block * 9 + random.u32(..20);
            let stage = match random.u32(..8) {
                0 => "RequestReceived",
                _ => "ResponseComplete",
            };
            let json = format!(
                r#"{{"level":"Metadata","stage":"{stage}","verb":"{verb}","user":{{"username":"{user}"}},"stageTimestamp":"2026-11-26T08:{:02}:{:02}Z"}}"#,
                second / 60,
                second % 60
            );
            (random.u64(1..25), json)
        });
        blocks.push(events.collect());
    }
    blocks
}

fn encoded(routes: &Routes, door: Door, block: &[(u64, String)]) -> EncodedBatch {
    let hints_of = match door {
        Door::OtherTable => routes.id() ^ 1,
        _ => routes.id(),
    };
    let mut batch = BatchEncoder::new("prod", 0, hints_of, 0);
    for (identity, json) in block {
        let key = EventKey {
            identity: *identity,
            ..HashKey::new([1; 32]).unreadable("prod", json.as_bytes())
        };
        let envelope = Envelope::parse(json).expect("an event");
        let advice = routes.at_the_door(&Event {
            cluster: "prod",
            envelope: &envelope,
        });
        let content = Content::Event {
            json: json.as_str().into(),
            body_unreadable: false,
        };
        match (advice, door) {
            (Ok((hint, _)), _) => batch.push(&key, &content, hint),
            (Err(hint), Door::Hints) => batch.push_unwanted(&key, hint),
            (Err(hint), _) => batch.push(&key, &content, hint.unwrap_or(Routes::NOBODY)),
        }
    }
    batch.finish()
}

type Told = BTreeMap<&'static str, Vec<String>>;

/// Routes blocks, with a restart after some of them; returns where everything is, and what channels were told.
async fn fates(
    dir: &Path,
    table: &str,
    door: Door,
    seed: u64,
    mute: Option<&str>,
) -> (Ledger, Told) {
    let queue = Engine::open(&SledOptions::new(dir, 0))
        .expect("opens")
        .queue;
    if let Some(matches) = mute {
        add_mute(&queue, matches).await;
    }
    for (number, block) in blocks(seed).into_iter().enumerate() {
        let routes = routes(table);
        let batch = encoded(&routes, door, &block);
        queue.append(batch).await.expect("durable");
        if number % 2 == 0 {
            continue;
        }
        let metrics = Metrics::new(&Registry::new()).expect("registered");
        let window = Duration::from_secs(900);
        let router = Router::load(queue.clone(), routes, window, 1_000, metrics)
            .await
            .expect("loads");
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(router.run(stopped));
        while queue.ledger().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stop.send(true).expect("it runs");
        task.await.expect("no panic").expect("no error");
    }
    queue.verify().await.expect("counters agree with records");
    let mut told = Told::new();
    let limit = LeaseLimit {
        events_max: 1_000,
        bytes_max: usize::MAX,
    };
    for channel in ["ops", "sec"] {
        let lease = queue.lease(channel, limit, 5).await.expect("read");
        let members = lease.map(|lease| lease.members).unwrap_or_default();
        let member = |(severity, delivery): &(_, Delivery)| format!("{severity:?} {delivery:?}");
        told.insert(channel, members.iter().map(member).collect());
    }
    let ledger = queue.ledger();
    assert!(ledger.is_balanced(), "{ledger:?}");
    (ledger, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fate_is_the_same_with_hints_and_without() {
    let mut seen = BTreeSet::new();
    for seed in 0..4 {
        for table in TABLES {
            let mut all = Vec::new();
            for door in [Door::Hints, Door::KeepsAll, Door::OtherTable] {
                let dir = tempfile::tempdir().expect("a folder");
                all.push(fates(dir.path(), table, door, seed, None).await);
            }
            assert_eq!(all[1], all[0], "{table}");
            // A text that was not stored as nobody wanted it names nobody in another table: there it was read.
            assert_eq!(all[2], all[0], "{table}");
            let (ledger, told) = &all[0];
            seen.extend(ledger.filtered_by.keys().cloned());
            for member in told.values().flatten() {
                let route = member.split("route: \"").nth(1).expect("an event");
                seen.insert(route.split('"').next().expect("a name").to_owned());
            }
        }
    }
    // Each route had its say, or the test would say nothing of it.
    let names = [
        "", "again", "all", "bursts", "copy", "lists", "noise", "quiet", "rest", "twice",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), names);
}

/// Holds back from channel `sec` what matches.
async fn add_mute(queue: &Engine, matches: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_unix_ms = now.expect("after 1970").as_millis() as i64;
    let mute = NewMute {
        author: "alice".into(),
        reason: "a test".into(),
        matches: matches.into(),
        words: "some".into(),
        channels: vec!["sec".into()],
        routes: Vec::new(),
        begun_unix_ms: now_unix_ms,
        until_unix_ms: now_unix_ms + 86_400_000,
    };
    let added = queue.add_mute(mute, String::new(), Vec::new()).await;
    added.expect("durable").expect("there is room");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_back_is_counted_and_everything_else_is_as_it_was() {
    for table in [TABLES[1], TABLES[3]] {
        for door in [Door::Hints, Door::OtherTable] {
            let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
            let (before, told) = fates(dirs[0].path(), table, door, 1, None).await;
            let held = Some(r#"{"users":["a"]}"#);
            let (after, left) = fates(dirs[1].path(), table, door, 1, held).await;
            assert_eq!(left["ops"], told["ops"]);
            let of_a = |one: &&String| one.contains(r#"username\":\"a"#);
            let others: Vec<_> = told["sec"].iter().filter(|one| !of_a(one)).collect();
            assert_eq!(left["sec"].iter().collect::<Vec<_>>(), others);
            let muted = (told["sec"].len() - others.len()) as u64;
            assert!(muted > 0);
            assert_eq!(after.muted_deliveries, [("sec".to_owned(), muted)].into());
            // Where `ops` hears of it too, it is routed all the same.
            let gone = before.counts.routed - after.counts.routed;
            assert_eq!(gone, after.counts.muted);
            assert_eq!(gone == 0, table == TABLES[1]);
        }
    }
}
