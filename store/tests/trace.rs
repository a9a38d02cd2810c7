//! One event, looked for by its audit ID: wherever its deliveries are, however many files there are, and whatever
//! moves meanwhile.

mod support;

use std::{collections::BTreeSet, path::Path};

use auditrelay_audit::{EventKey, Severity};
use auditrelay_store::{
    Accepted, Cursor, Engine, LeaseLimit, Limits, Note, Noted, Posted, Queue, Queued, SeenKey,
    SledOptions, Whereabouts,
};
use support::{ALL, all_to, append_and_route, balanced, batch, burial, noise, options, quick_dir};

fn event(id: &str, more: &str) -> String {
    format!(
        r#"{{"level":"Metadata","auditID":"{id}","stage":"ResponseComplete","verb":"get","requestURI":"/{more}"}}"#
    )
}

fn open(dir: &Path, segment_bytes: u64) -> Engine {
    let options = SledOptions {
        segment_bytes,
        limits: Limits {
            detail_ms: 1 << 40,
            detail_bytes_max: 1 << 30,
            ..Limits::default()
        },
        ..options(dir)
    };
    Engine::open(&options).expect("opens").queue
}

/// All that the pages tell.
async fn queued(queue: &Engine, id: &str) -> (Vec<Queued>, Vec<Note>, usize) {
    let (mut found, mut notes, mut pages) = (Vec::new(), Vec::new(), 0);
    let mut from = Some(Cursor::default());
    while let Some(at) = from {
        let known: BTreeSet<(u64, u32)> = found
            .iter()
            .map(|one: &Queued| (one.record, one.number))
            .collect();
        let page = queue.queued(id.to_owned(), known, at).await.expect("read");
        found.extend(page.found);
        notes.extend(page.notes);
        (from, pages) = (page.next, pages + 1);
    }
    (found, notes, pages)
}

async fn places(queue: &Engine, found: &[Queued]) -> Vec<Option<Whereabouts>> {
    let of = found.iter().map(|one| (one.record, one.number)).collect();
    queue.whereabouts(of).await.expect("read").0
}

async fn place(queue: &Engine, id: &str) -> Option<Whereabouts> {
    let (found, _, _) = queued(queue, id).await;
    assert_eq!(found.len(), 1, "{id}: {found:?}");
    places(queue, &found).await.remove(0)
}

#[tokio::test]
async fn a_delivery_is_found_where_it_is() {
    let dir = quick_dir();
    let queue = open(dir.path(), 1 << 20);
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| event(id, "x"));
    append_and_route(&queue, "ops", Severity::Info, &[&a, &b]).await;
    append_and_route(&queue, "ops", Severity::Info, &[&c]).await;
    append_and_route(&queue, "ops", Severity::Critical, &[&d]).await;
    let waiting = |before, leased| Some(Whereabouts::Waiting { before, leased });
    // The critical one goes first.
    for (id, before) in [("d", 0), ("a", 1), ("b", 2), ("c", 3)] {
        assert_eq!(place(&queue, id).await, waiting(before, None), "{id}");
    }
    let two = LeaseLimit {
        events_max: 2,
        ..ALL
    };
    let lease = queue.lease("ops", two, 77).await.expect("read");
    let lease = lease.expect("members").id;
    assert_eq!(place(&queue, "a").await, waiting(1, Some((lease.id, 77))));
    assert_eq!(place(&queue, "b").await, waiting(2, None));
    let posted = Posted {
        place: "COPS".into(),
        ts: "1700000000.000100".into(),
    };
    let accepted = Accepted {
        posted: Some(posted.clone()),
        ..Accepted::at(1_700_000_000_500)
    };
    queue.ack(&lease, accepted).await.expect("held");
    let told = Whereabouts::Told {
        message: lease.id,
        told_unix_ms: 1_700_000_000_500,
        posted: Some(posted.clone()),
        events: 2,
    };
    assert_eq!(place(&queue, "a").await, Some(told.clone()));
    assert_eq!(
        queue
            .told(lease.id)
            .await
            .expect("read")
            .expect("kept")
            .posted,
        Some(posted)
    );
    assert_eq!(place(&queue, "b").await, waiting(0, None));

    let lease = queue.lease("ops", ALL, 78).await.expect("read");
    let lease = lease.expect("members").id;
    queue.bury(&lease, burial("refused")).await.expect("held");
    let dead = Whereabouts::Dead {
        message: lease.id,
        burial: burial("refused"),
    };
    assert_eq!(place(&queue, "c").await, Some(dead));
    queue.drop_dead(vec![lease.id]).await.expect("done");
    let (found, notes, _) = queued(&queue, "c").await;
    assert_eq!(places(&queue, &found).await, [None]);
    let said: Vec<_> = notes
        .iter()
        .map(|note| (note.message, &note.noted))
        .collect();
    assert_eq!(
        said,
        [
            (lease.id, &Noted::Dead(burial("refused"))),
            (lease.id, &Noted::Gone)
        ]
    );
    drop(queue);
    let queue = open(dir.path(), 1 << 20);
    assert_eq!(place(&queue, "a").await, Some(told));
    balanced(&queue).await;
}

#[tokio::test]
async fn longer_ids_and_other_places_of_the_text_are_no_match_and_escapes_are_one() {
    let dir = quick_dir();
    let queue = open(dir.path(), 1 << 20);
    let others = [
        event("seek-1", "x"),
        event("x", "seek"),
        event("other", r"\u0073eek"),
    ];
    let escaped = event(r"\u0073eek", "x");
    let events: Vec<&str> = others
        .iter()
        .chain([&escaped])
        .map(String::as_str)
        .collect();
    append_and_route(&queue, "ops", Severity::Info, &events).await;
    let (found, _, _) = queued(&queue, "seek").await;
    let texts: Vec<&str> = found.iter().map(|one| one.event.json.as_str()).collect();
    assert_eq!(texts, [escaped.as_str()]);
}

#[tokio::test]
async fn it_is_found_over_many_files_of_which_some_are_gone_and_after_it_moved() {
    let dir = quick_dir();
    let queue = open(dir.path(), 64 * 1024);
    append_and_route(&queue, "stuck", Severity::Info, &[&event("first", "x")]).await;
    let told = noise(30_000, 1).replace(['"', '\\'], "_");
    for n in 0..40 {
        let filling = event(&format!("filling-{n}"), &told);
        append_and_route(&queue, "ops", Severity::Info, &[&filling]).await;
        let lease = queue.lease("ops", ALL, 9).await.expect("read");
        queue
            .bury(&lease.expect("members").id, burial("no"))
            .await
            .expect("held");
    }
    append_and_route(&queue, "stuck", Severity::Info, &[&event("last", "x")]).await;
    let letters = queue.dead(Default::default(), 0, 100).await.expect("read");
    let some = letters.iter().skip(2).take(34).map(|letter| letter.id);
    queue.drop_dead(some.collect()).await.expect("done");
    let files = || {
        let names = std::fs::read_dir(dir.path().join("queue")).expect("a folder");
        let names = names.map(|name| name.expect("a name").file_name());
        let is_ours = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("deliveries-");
        names.filter(is_ours).count()
    };
    support::until("files go", || files() < 12).await;
    assert!(files() > 2);
    for (id, before) in [("first", 0), ("last", 1)] {
        let (found, _, pages) = queued(&queue, id).await;
        let places = places(&queue, &found).await;
        let held: Vec<_> = places.into_iter().flatten().collect();
        assert!(pages > 2, "{pages}");
        let waits = Whereabouts::Waiting {
            before,
            leased: None,
        };
        assert_eq!(held, [waits], "{id}");
    }
    balanced(&queue).await;
}

#[tokio::test]
async fn keys_and_blocks_are_found_whether_routed_or_not() {
    let dir = quick_dir();
    let queue = open(dir.path(), 1 << 20);
    let texts = ["a", "b", "c"].map(|id| event(id, "x"));
    queue.append(batch(texts.clone())).await.expect("durable");
    queue
        .append(batch([texts[0].clone()]))
        .await
        .expect("durable");
    let blocks = queue.unrouted(1).await.expect("blocks");
    queue
        .route(all_to("ops", Severity::Info, &blocks))
        .await
        .expect("routed");
    let page = queue.appended(Cursor::default()).await.expect("read");
    let seqs: Vec<u64> = page.blocks.iter().map(|block| block.seq).collect();
    assert_eq!(
        (seqs.len(), page.first_unrouted, page.next),
        (2, Some(seqs[1]), None)
    );
    // Of identities 0, which is none, to 2.
    let keys = |identities: &[u64]| {
        let identities = identities.iter().copied().collect();
        let queue = queue.clone();
        async move {
            queue
                .seen_keys(identities, Cursor::default())
                .await
                .expect("read")
        }
    };
    let found = keys(&[0, 2, 9]).await;
    let key = EventKey {
        identity: 2,
        fingerprint: [2; 16],
    };
    let seen = SeenKey {
        block: seqs[0],
        seen_unix_ms: 7,
        key,
    };
    assert_eq!((found.found, found.oldest_unix_ms), (vec![seen], Some(7)));
    queue.forget_seen(seqs[0]).await.expect("done");
    assert_eq!(keys(&[2]).await.found, []);
}
