//! What belongs together of one audit ID, and what does not.

use auditrelay_audit::Severity;
use auditrelay_store::{Burial, EventDelivery, Marks, Noted};

use super::{super::kept::EACH_MAX, *};

const ID: &str = "a1";

fn key() -> HashKey {
    HashKey::new([3; 32])
}

fn gathered() -> Gathered {
    let mut gathered = Gathered::new(ID.to_owned(), None, Some(key()));
    gathered.cluster("prod");
    gathered
}

fn json(verb: &str) -> String {
    format!(r#"{{"level":"Metadata","auditID":"{ID}","stage":"ResponseComplete","verb":"{verb}"}}"#)
}

fn queued(record: u64, verb: &str) -> Queued {
    Queued {
        record,
        number: 0,
        channel: "ops".into(),
        severity: Severity::Info,
        is_copy: false,
        event: EventDelivery {
            cluster: "prod".into(),
            route: "reads".into(),
            json: json(verb),
            marks: Marks::default(),
            meant_for: None,
        },
    }
}

fn seen(block: u64, content: u8) -> SeenKey {
    SeenKey {
        block,
        seen_unix_ms: 7,
        key: EventKey {
            identity: key().identity("prod", ID, Stage::ResponseComplete),
            fingerprint: [content; 16],
        },
    }
}

fn told(message: u64) -> Option<Whereabouts> {
    Some(Whereabouts::Told {
        message,
        told_unix_ms: 9,
        posted: None,
        events: 1,
    })
}

/// Whether the text and the key of each content are known.
fn known(contents: &[Content]) -> Vec<(bool, bool)> {
    let of = |one: &Content| (one.json.is_some(), !one.fingerprints.is_empty());
    contents.iter().map(of).collect()
}

#[test]
fn a_text_and_the_key_that_came_before_it_are_one_event() {
    let mut gathered = gathered();
    gathered.deliveries(vec![queued(12, "get")], Vec::new());
    gathered.seen(vec![seen(11, 1)], Some(7));
    let contents = gathered.contents(vec![told(13)]);
    assert_eq!(known(&contents), [(true, true)]);
    assert_eq!(contents[0].seen, Some(seen(11, 1)));
}

#[test]
fn a_text_that_was_queued_or_told_before_the_key_came_is_another_events() {
    for (record, message) in [(5, 20), (30, 6)] {
        let mut gathered = gathered();
        // A record that was moved has a higher number than its event.
        gathered.deliveries(vec![queued(record, "get")], Vec::new());
        gathered.seen(vec![seen(11, 1)], Some(7));
        let mut found = known(&gathered.contents(vec![told(message)]));
        found.sort_unstable();
        assert_eq!(found, [(false, true), (true, false)], "{record} {message}");
    }
}

#[test]
fn where_there_are_two_of_either_nothing_is_put_together() {
    let mut gathered = gathered();
    gathered.deliveries(vec![queued(12, "get"), queued(13, "delete")], Vec::new());
    gathered.seen(vec![seen(11, 1)], Some(7));
    assert_eq!(gathered.contents(vec![None, None]).len(), 3);
    let mut gathered = self::gathered();
    gathered.deliveries(vec![queued(12, "get")], Vec::new());
    gathered.seen(vec![seen(10, 1), seen(11, 2)], Some(7));
    assert_eq!(gathered.contents(vec![None]).len(), 3);
}

#[test]
fn one_event_in_two_channels_is_one_and_of_another_cluster_it_is_not_asked() {
    let mut both = gathered();
    let other = Queued {
        channel: "sec".into(),
        ..queued(14, "get")
    };
    both.deliveries(vec![queued(12, "get"), other.clone()], Vec::new());
    let contents = both.contents(vec![told(20), told(21)]);
    assert_eq!(contents.len(), 1);
    assert_eq!(contents[0].deliveries.len(), 2);
    let mut only = Gathered::new(ID.to_owned(), Some("dev".to_owned()), Some(key()));
    only.deliveries(vec![other], Vec::new());
    assert!(only.known().is_empty());
    assert!(only.clusters.iter().eq(["dev"]));
}

#[test]
fn notes_are_their_deliverys_own_and_in_order() {
    let mut gathered = gathered();
    let note = |record, stamp, noted| Note {
        record,
        number: 0,
        stamp,
        message: 20,
        noted,
    };
    let dead = Noted::Dead(Burial {
        reason: "no".into(),
        attempts: 1,
        first_unix_ms: 1,
        last_unix_ms: 2,
    });
    let notes = vec![
        note(12, 40, Noted::Gone),
        note(99, 41, Noted::Gone),
        note(12, 30, dead.clone()),
    ];
    gathered.deliveries(vec![queued(12, "get")], notes);
    let contents = gathered.contents(vec![None]);
    let said: Vec<_> = contents[0].deliveries[0]
        .notes
        .iter()
        .map(|note| &note.noted)
        .collect();
    assert_eq!(said, [&dead, &Noted::Gone]);
}

#[test]
fn an_id_that_is_used_for_everything_fills_no_memory_and_buries_neither_the_first_nor_the_last_use()
{
    let mut gathered = gathered();
    let kept = 2 * EACH_MAX as u64;
    let all = kept + 7;
    let mut at = 1;
    let mut note = |record| {
        at += 1;
        Note {
            record,
            number: 0,
            stamp: at,
            message: 20,
            noted: Noted::Gone,
        }
    };
    for n in 0..all {
        let verb = match n {
            0 => "first",
            _ if n == all - 1 => "last",
            _ => "get",
        };
        gathered.deliveries(vec![queued(n, verb)], vec![note(n)]);
        gathered.seen(vec![seen(n, (n % 250) as u8)], Some(7));
    }
    let known: Vec<u64> = gathered.known().iter().map(|(record, _)| *record).collect();
    let half = EACH_MAX as u64;
    let expected: Vec<u64> = (0..half).chain(all - half..all).collect();
    assert_eq!((known, gathered.left_out()), (expected, 14));
    assert_eq!(gathered.notes.len() as u64, kept);
    let places = vec![None; kept as usize];
    let contents = gathered.contents(places);
    for verb in ["first", "last"] {
        let text = Some(json(verb));
        assert!(contents.iter().any(|one| one.json == text), "{verb}");
    }
}
