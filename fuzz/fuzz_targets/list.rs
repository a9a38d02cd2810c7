//! Bytes as a body of the webhook: it is cut into the same items however it is read, and no event is lost.
//!
//! * Nothing panics, and every item is a part of the body, behind the one before it.
//! * What is one JSON value for serde_json is cut as serde_json cuts it.
//! * An event that is put between items which are anything is told as it was sent, or the body is refused.
#![no_main]

use auditrelay_audit::list::{ITEMS_MAX, Readable};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

const HEAD: &[u8] = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":["#;
const EVENT: &[u8] = br#"{"level":"Metadata","stage":"Panic","auditID":"fuzzed","verb":"get"}"#;

fuzz_target!(|bytes: &[u8]| {
    judge(bytes);
    let (one, other) = bytes.split_at(bytes.len() / 2);
    for items in [
        vec![bytes],
        vec![EVENT, bytes],
        vec![bytes, EVENT],
        vec![one, EVENT, other],
        vec![one, EVENT, other, EVENT, b"{x}"],
    ] {
        let mut body = HEAD.to_vec();
        let mut events = Vec::new();
        for (number, item) in items.iter().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            if *item == EVENT {
                events.push(body.len());
            }
            body.extend_from_slice(item);
        }
        body.extend_from_slice(b"]}");
        let told = judge(&body);
        // What is JSON as a whole says itself where its items are.
        let is_json = is_json(&body);
        if let Some(told) = told.filter(|_| !is_json) {
            for at in events {
                assert!(told.contains(&at), "an event at {at} was lost");
            }
        }
    }
});

fn is_json(body: &[u8]) -> bool {
    str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok())
}

/// Where its events are; `None` where it is refused.
fn judge(body: &[u8]) -> Option<Vec<usize>> {
    let readable = Readable::new(body);
    let mut told = Vec::new();
    let mut events = Vec::new();
    let outcome = readable.events(ITEMS_MAX, |item, envelope| {
        assert_eq!(
            item.wire.len(),
            body[item.offset..][..item.wire.len()].len()
        );
        assert_eq!(item.wire, &body[item.offset..][..item.wire.len()]);
        if let Ok(envelope) = &envelope {
            assert_eq!(item.text.len(), item.wire.len());
            assert!(!envelope.audit_id.contains("fuzzed") || !item.wire.is_empty());
            events.push(item.offset);
        }
        told.push((item.offset, item.wire.len()));
    });
    let split = readable.split(ITEMS_MAX);
    match (outcome, split) {
        (Ok(()), Ok(items)) => {
            let items: Vec<_> = items
                .iter()
                .map(|item| (item.offset, item.wire.len()))
                .collect();
            assert_eq!(told, items);
            let in_order = told
                .windows(2)
                .all(|two| two[0].0 + two[0].1 < two[1].0 + 1);
            assert!(in_order, "items overlap");
        }
        (Err(told), Err(split)) => {
            assert_eq!(told, split);
            return None;
        }
        (told, split) => panic!("{told:?} and {:?}", split.map(|items| items.len())),
    }
    strict(body, &told);
    Some(events)
}

/// serde_json's own cut, of what it understands.
fn strict(body: &[u8], told: &[(usize, usize)]) {
    #[derive(serde::Deserialize)]
    struct List<'a> {
        #[serde(borrow, default)]
        items: Option<Vec<&'a RawValue>>,
    }
    let Ok(text) = str::from_utf8(body) else {
        return;
    };
    let Ok(list) = serde_json::from_str::<List<'_>>(text) else {
        return;
    };
    let offset = |item: &&RawValue| item.get().as_ptr().addr() - text.as_ptr().addr();
    let items = list.items.unwrap_or_default();
    let items: Vec<_> = items
        .iter()
        .map(|item| (offset(item), item.get().len()))
        .collect();
    assert_eq!(told, items, "serde_json cuts it in another way");
}
