//! What becomes of the items of a list: keyed, redacted, quarantined, stored.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what they call.

mod common;

use auditrelay_audit::{Envelope, HashKey, list::Readable};
use auditrelay_store::{Content, Entry, Hint, ItemKind, Queue};
use common::*;
use tempfile::TempDir;

const CANARY: &str = "c2VjcmV0LWNhbmFyeS0xMjM0";

async fn entries(server: &Server) -> Vec<Entry<'static>> {
    let blocks = all_unrouted(&server.queue).await;
    blocks.iter().flat_map(common::entries).collect()
}

fn shown(entry: &Entry<'_>) -> (String, bool) {
    match &entry.content {
        Content::Event {
            json,
            body_unreadable,
        } => (json.to_string(), *body_unreadable),
        Content::Unreadable(unreadable) => panic!("unreadable: {unreadable:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_200_means_stored_as_received_with_the_key_of_the_wire() {
    let (server, _dir) = start(&config()).await;
    let items = [event("a", ""), event("b", r#","annotations":{"x":"y"}"#)];
    let body = list(&items);
    let answer = server.post("/webhook/prod", body.clone()).await;
    assert_eq!(answer.code, 200);
    assert!(answer.message.starts_with("2 events"), "{answer:?}");
    assert_eq!(server.queue.ledger().received, 2);

    let stored = entries(&server).await;
    let readable = Readable::new(&body);
    for (entry, item) in stored.iter().zip(readable.split(1_000).unwrap()) {
        assert_eq!(shown(entry), (item.text.to_owned(), false));
        let envelope = Envelope::parse(item.text).unwrap();
        assert_eq!(entry.key, HashKey::new(KEY).event("prod", &item, &envelope));
    }
    let block = &all_unrouted(&server.queue).await[0];
    assert!(block.received_unix_ms > 1_700_000_000_000, "{block:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_event_costs_its_list_nothing() {
    for quarantine_raw in [false, true] {
        let dir = TempDir::new().unwrap();
        let server = start_with(open(dir.path()), &config(), quarantine_raw).await;
        let bad = format!(r#"{{"level":"Metadata","x":"{}"}}"#, CANARY.repeat(1_000));
        let body = list(&[event("a", ""), bad.clone(), event("b", "")]);
        let answer = server.post("/webhook", body.clone()).await;
        assert_eq!(answer.code, 200);
        assert!(!answer.message.contains(CANARY));

        let stored = entries(&server).await;
        assert!(shown(&stored[0]).0.contains(r#""auditID":"a""#));
        assert!(shown(&stored[2]).0.contains(r#""auditID":"b""#));
        let Content::Unreadable(unreadable) = &stored[1].content else {
            panic!("it was read: {:?}", stored[1]);
        };
        assert_eq!(unreadable.reason, "missing field \"stage\"");
        let start = unreadable.offset_bytes as usize;
        let wire = &body[start..start + unreadable.length_bytes as usize];
        assert_eq!(wire, bad.as_bytes());
        assert_eq!(stored[1].key, HashKey::new(KEY).unreadable("home", wire));
        let sealed = unreadable.sealed.as_ref();
        assert_eq!(sealed.is_some(), quarantine_raw);
        if let Some(sealed) = sealed {
            assert_eq!(sealed.to, seal_key().public_key().as_bytes()[..8]);
            assert_eq!(seal_key().unseal(&sealed.bytes).unwrap(), wire[..4 * 1024]);
        }
        // Whoever reads the disk learns nothing of it.
        for file in files(dir.path()) {
            let canary = CANARY.as_bytes();
            let leaks = file.windows(CANARY.len()).any(|bytes| bytes == canary);
            assert!(!leaks, "the canary is on disk");
        }
        assert_eq!(
            server.metric("auditrelay_ingest_events_total", "stored"),
            2.0
        );
        assert_eq!(
            server.metric("auditrelay_ingest_events_total", "unreadable"),
            1.0
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn items_that_are_no_objects_are_set_aside() {
    let (server, _dir) = start(&config()).await;
    let items = ["7", "null", r#"["Metadata","Panic"]"#, "{}", r#""text""#];
    assert_eq!(server.post("/webhook", list(&items)).await.code, 200);
    let reasons: Vec<String> = entries(&server)
        .await
        .into_iter()
        .map(|entry| match entry.content {
            Content::Unreadable(unreadable) => unreadable.reason,
            Content::Event { json, .. } => panic!("read: {json}"),
        })
        .collect();
    let not_an_object = "not an object";
    assert_eq!(
        reasons,
        [
            not_an_object,
            not_an_object,
            not_an_object,
            "missing field \"level\"",
            not_an_object
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_text_is_dropped_and_its_event_told() {
    let (server, _dir) = start(&config()).await;
    let mut bad = event("a", r#","requestObject":{"x":"@@"},"userAgent":"curl""#).into_bytes();
    let at = bad.windows(2).position(|two| two == b"@@").unwrap();
    bad[at..at + 2].copy_from_slice(&[0xff, 0xfe]);
    let deep = format!(
        r#","requestObject":{}{}"#,
        "[".repeat(9_990),
        "]".repeat(9_990)
    );
    let items = [
        bad,
        event("b", &deep).into_bytes(),
        event("c", "").into_bytes(),
    ];
    assert_eq!(server.post("/webhook", list(&items)).await.code, 200);
    let stored: Vec<_> = entries(&server).await.iter().map(shown).collect();
    assert!(
        stored[0].1 && stored[0].0.contains("curl"),
        "{:?}",
        stored[0]
    );
    assert!(stored[1].1);
    assert!(!stored[2].1);
    for (json, _) in &stored {
        assert!(!json.contains("requestObject"), "{json}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_never_reach_the_disk() {
    let (server, dir) = start(&config()).await;
    let secret = |value: &str| {
        let body = format!(
            r#"{{"kind":"Secret","apiVersion":"v1","metadata":{{"name":"db"}},"data":{{"password":"{value}"}}}}"#
        );
        event(
            "same",
            &format!(
                r#","objectRef":{{"resource":"secrets","namespace":"demo","name":"db"}},"requestObject":{body},"responseObject":{body}"#
            ),
        )
    };
    // Its envelope is not readable, and it says what it must not.
    let unreadable = format!(r#"{{"stage":"{CANARY}","responseObject":{{"data":"{CANARY}"}}}}"#);
    let mut not_text = secret(CANARY).into_bytes();
    let at = not_text
        .windows(5)
        .position(|five| five == b"\"db\"}")
        .unwrap();
    not_text[at + 1] = 0xff;
    let items = [
        secret(CANARY).into_bytes(),
        secret("c2VjcmV0LW90aGVy").into_bytes(),
        unreadable.into_bytes(),
        not_text,
    ];
    assert_eq!(server.post("/webhook", list(&items)).await.code, 200);

    let stored = entries(&server).await;
    assert_eq!(stored.len(), 4);
    for entry in &stored {
        assert!(!format!("{entry:?}").contains(CANARY), "{entry:?}");
    }
    assert!(shown(&stored[0]).0.contains("password"), "key names stay");
    // Redacted alike but for the marks, and told apart: keys are made of what was received.
    let unmarked = |json: String| -> String {
        let parts = json.split("[redacted ").enumerate();
        let unmarked = parts.map(|(number, part)| if number == 0 { part } else { &part[8..] });
        unmarked.collect()
    };
    let both = [0, 1].map(|number| shown(&stored[number]).0);
    assert_ne!(both[0], both[1]);
    let [one, other] = both.map(unmarked);
    assert_eq!(one, other);
    assert_eq!(stored[0].key.identity, stored[1].key.identity);
    assert_ne!(stored[0].key.fingerprint, stored[1].key.fingerprint);

    let files = files(dir.path());
    assert!(files.iter().map(Vec::len).sum::<usize>() > 0);
    for file in files {
        let leaks = file
            .windows(CANARY.len())
            .any(|bytes| bytes == CANARY.as_bytes());
        assert!(!leaks, "the canary is on disk");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_list_is_stored_whole() {
    let (server, _dir) = start(&config()).await;
    let filler = format!(r#","userAgent":"{}""#, "x".repeat(2_000));
    let items: Vec<String> = (0..3_000)
        .map(|number| event(&format!("id-{number}"), &filler))
        .collect();
    assert_eq!(server.post("/webhook", list(&items)).await.code, 200);
    let stored: Vec<String> = entries(&server)
        .await
        .iter()
        .map(|entry| shown(entry).0)
        .collect();
    assert_eq!(stored, items);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_goes_with_what_the_routing_table_says_of_it() {
    let (server, _dir) = start(&config()).await;
    let unwanted = event("b", "").replace("create", "unwanted");
    let items = [
        event("a", ""),
        unwanted.clone(),
        r#"{"level":"Metadata"}"#.to_owned(),
    ];
    assert_eq!(server.post("/webhook", list(&items)).await.code, 200);
    assert_eq!(server.queue.ledger().received, 3);
    let block = &all_unrouted(&server.queue).await[0];
    assert_eq!(block.hints_of, 7);
    // The test's table says how long the verb is.
    let kinds: Vec<_> = block.items.iter().map(|item| &item.kind).collect();
    assert!(
        matches!(
            kinds[..],
            [
                ItemKind::Event { hint: Hint(6), .. },
                ItemKind::Unwanted { hint: None },
                ItemKind::Unreadable(_)
            ]
        ),
        "{kinds:?}"
    );
    let texts = block.texts().unwrap();
    assert_eq!((texts.get(0), texts.get(1)), (items[0].as_str(), ""));
    // Its key is that of any other event.
    let envelope = Envelope::parse(&unwanted).unwrap();
    let readable = list(std::slice::from_ref(&unwanted));
    let readable = Readable::new(&readable);
    let item = readable.split(1).unwrap()[0];
    let key = HashKey::new(KEY).event("home", &item, &envelope);
    assert_eq!(block.items[1].key, key);
}
