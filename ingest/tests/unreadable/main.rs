//! What becomes of bodies and events that nobody should send: the rows of docs/quarantine.md, by a real server.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what they call.

#[path = "../common/mod.rs"]
mod common;

mod bodies;
mod events;
mod hiding;
mod table;

use auditrelay_store::{Content, Queue};
use common::*;

pub(crate) const SECRET: &str = "hunter2-s3cret";

/// Posts events in one list, each between two good ones, and says what became of each.
pub async fn become_of(events: Vec<Vec<u8>>) -> Vec<(String, Option<String>, bool)> {
    let (server, _dir) = start(&config()).await;
    let mut items = vec![event("first", "").into_bytes()];
    for one in &events {
        items.push(one.clone());
        items.push(event("next", "").into_bytes());
    }
    let body = list(&items);
    let answer = server.post("/webhook", body.clone()).await;
    assert_eq!(answer.code, 200, "{answer:?}");
    assert_eq!(server.queue.ledger().received, items.len() as u64);
    let blocks = all_unrouted(&server.queue).await;
    let stored: Vec<_> = blocks.iter().flat_map(common::entries).collect();
    assert_eq!(stored.len(), items.len());
    let mut became = Vec::new();
    for (number, (entry, wire)) in stored.into_iter().zip(&items).enumerate() {
        let one = match entry.content {
            Content::Event {
                json,
                body_unreadable,
            } => (json.into_owned(), None, body_unreadable),
            Content::Unreadable(unreadable) => {
                let start = unreadable.offset_bytes as usize;
                let end = start + unreadable.length_bytes as usize;
                assert_eq!(&body[start..end], wire);
                assert_eq!(unreadable.sealed, None);
                (String::new(), Some(unreadable.reason), false)
            }
        };
        if number % 2 == 1 {
            became.push(one);
        } else {
            assert_eq!(one.1, None, "a good event beside {number}");
        }
    }
    became
}

/// Sealing is what takes long: a list of nothing but broken items does not get it for each.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_a_hundred_items_of_a_list_are_sealed() {
    let dir = tempfile::TempDir::new().unwrap();
    let server = start_with(open(dir.path()), &config(), true).await;
    let items: Vec<String> = (0..150).map(|number| number.to_string()).collect();
    assert_eq!(server.post("/webhook", list(&items)).await.code, 200);
    let blocks = all_unrouted(&server.queue).await;
    let stored: Vec<_> = blocks.iter().flat_map(common::entries).collect();
    let sealed = stored.iter().filter(|entry| match &entry.content {
        Content::Unreadable(unreadable) => unreadable.sealed.is_some(),
        Content::Event { .. } => panic!("an event"),
    });
    assert_eq!((stored.len(), sealed.count()), (150, 100));
}
