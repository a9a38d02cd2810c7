//! Which blocks go on as they are packed.

use std::io::Write;

use auditrelay_audit::HashKey;
use auditrelay_config::{Overrides, load};
use auditrelay_store::{BatchEncoder, Content, Engine, NewMute, Queue, SledOptions};

use super::*;

const TABLE: &str = "channels: {ops: {preview: true}, sec: {preview: true}}
default_channel: ops
routes:
- {name: both, channel: [ops, sec], verbs: [get]}
- {name: again, channel: sec, auditIDReused: true, verbs: [list]}
- {name: lists, channel: ops, verbs: [list]}
- {name: bursts, channel: sec, rate: {moreThan: 1, withinSeconds: 9}, verbs: [delete]}
- {name: deletes, channel: ops, verbs: [delete, patch]}
- {name: twice, channel: ops, auditIDReused: true, verbs: [watch]}
";

fn routes() -> Routes {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(TABLE.as_bytes()).expect("written");
    let loaded = load(Some(file.path()), [], Overrides::default());
    Routes::new(&loaded.expect("valid").config)
}

/// A stored block of events with these verbs.
async fn block(routes: &Routes, verbs: &[&str]) -> Block {
    let dir = tempfile::tempdir().expect("a folder");
    let options = SledOptions::new(dir.path(), 0);
    let queue = Engine::open(&options).expect("opens").queue;
    let mut batch = BatchEncoder::new("prod", 0, routes.id(), 0);
    for verb in verbs {
        let json = format!(
            r#"{{"level":"Metadata","stage":"ResponseComplete","verb":"{verb}","user":{{"username":"a"}}}}"#
        );
        let key = HashKey::new([1; 32]).unreadable("prod", json.as_bytes());
        let envelope = Envelope::parse(&json).expect("an event");
        let event = Event {
            cluster: "prod",
            envelope: &envelope,
        };
        let content = Content::Event {
            json: json.as_str().into(),
            body_unreadable: false,
        };
        match routes.at_the_door(&event) {
            Ok((hint, _)) => batch.push(&key, &content, hint),
            Err(hint) => batch.push_unwanted(&key, hint),
        }
    }
    queue.append(batch.finish()).await.expect("durable");
    queue.unrouted(1).await.expect("blocks").remove(0)
}

/// A mute that none of these events is about: whoever might hold one back has to look at it.
async fn mutes() -> Mutes {
    let dir = tempfile::tempdir().expect("a folder");
    let options = SledOptions::new(dir.path(), 0);
    let queue = Engine::open(&options).expect("opens").queue;
    let now_unix_ms = crate::router::now_unix_ms();
    let mute = NewMute {
        author: "alice".into(),
        reason: "a test".into(),
        matches: r#"{"users":["nobody"]}"#.into(),
        words: String::new(),
        channels: Vec::new(),
        routes: Vec::new(),
        begun_unix_ms: now_unix_ms,
        until_unix_ms: now_unix_ms + 3_600_000,
    };
    let added = queue.add_mute(mute, String::new(), Vec::new()).await;
    added.expect("durable").expect("one more");
    let mut mutes = Mutes::new(&queue, "ops");
    mutes.keep(&queue).await.expect("kept");
    assert!(!mutes.is_empty());
    mutes
}

/// To which channels a block goes as it is, if it does; `reused` are numbers of its events.
fn as_it_is(
    routes: &Routes,
    block: &Block,
    reused: &[usize],
    hold: Option<&Mutes>,
) -> Option<Vec<String>> {
    let wanted = |(number, item): (usize, &BlockItem)| match item.kind {
        ItemKind::Event { hint, .. } => Some(Wanted {
            number,
            body_unreadable: false,
            hint,
            reused: reused.contains(&number),
        }),
        _ => None,
    };
    let wanted: Vec<Wanted> = block.items.iter().enumerate().filter_map(wanted).collect();
    let mut rates = Rates::default();
    let sorted = Sorted::new(routes, &mut rates, hold, 0);
    let targets = sorted.the_only_fate(block, &wanted)?;
    Some(targets.iter().map(|one| one.channel.to_owned()).collect())
}

#[tokio::test]
async fn a_block_whose_events_all_go_one_way_is_not_unpacked() {
    let routes = routes();
    let both = ["ops", "sec"];
    let mutes = mutes().await;
    for (verbs, reused, expected) in [
        (&["get", "get", "get"][..], &[][..], Some(&both[..])),
        (&["get"], &[], Some(&both)),
        // What nobody wants has no text in the block.
        (&["get", "create", "get"], &[], Some(&both)),
        // Nobody asks of these whether their IDs are others'.
        (&["get", "get"], &[1], Some(&both)),
        (&["list", "list"], &[], Some(&["ops"])),
        (&["list", "list"], &[0, 1], Some(&["sec"])),
        (&["list", "list"], &[1], None),
        (&["patch", "patch"], &[], Some(&["ops"])),
        (&["get", "patch"], &[], None),
        // Who counts them has to look at them.
        (&["delete", "delete"], &[], None),
        (&["watch"], &[0], Some(&["ops"])),
        (&["watch"], &[], None),
    ] {
        let block = block(&routes, verbs).await;
        let expected = expected.map(|names| names.iter().map(ToString::to_string).collect());
        let found = as_it_is(&routes, &block, reused, None);
        assert_eq!(found, expected, "{verbs:?} {reused:?}");
        assert_eq!(as_it_is(&routes, &block, reused, Some(&mutes)), None);
    }
}

#[tokio::test]
async fn a_block_with_an_event_that_is_not_told_is_not_passed_on_whole() {
    let routes = routes();
    let block = block(&routes, &["get", "get"]).await;
    let mut rates = Rates::default();
    let sorted = Sorted::new(&routes, &mut rates, None, 0);
    let first = Wanted {
        number: 0,
        body_unreadable: false,
        hint: routes_hint(&block),
        reused: false,
    };
    // The other one is a duplicate, whose text is in the block all the same.
    assert_eq!(sorted.the_only_fate(&block, &[first]), None);
}

fn routes_hint(block: &Block) -> Hint {
    match block.items[0].kind {
        ItemKind::Event { hint, .. } => hint,
        _ => panic!("an event"),
    }
}
