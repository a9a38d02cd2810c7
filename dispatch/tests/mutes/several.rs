//! Several routes that ask for one delivery: a mute of one of them silences what that one asks for, and nobody else.

use super::*;

/// What may be looked at in passing stands before what says more of an event, as among the starter routes.
const TABLE: &str = "channels: {ops: {preview: true}, sec: {preview: true}}
default_channel: ops
routes:
- {name: reused, channel: sec, severity: warning, continue: true, users: [bob]}
- {name: bursts, channel: [sec, ops], severity: info, continue: true, users: [bob]}
- {name: exec, channel: sec, severity: warning, verbs: [create]}
- {name: rest, channel: sec, severity: info}
";

fn of_routes(matches: &str, routes: &[&str]) -> NewMute {
    NewMute {
        routes: routes.iter().map(|name| (*name).to_owned()).collect(),
        ..asked(matches)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_held_back_only_if_each_route_that_asks_for_it_is_muted() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let router = start_with(&queue, TABLE).await;
    // Whoever can have `reused` match too does not get off `exec` by it.
    let reused = add(&queue, of_routes("{}", &["reused"])).await;
    send(&queue, [event("bob", "create", "a")]).await;
    assert_eq!(told(&queue, "sec").await, ["a"]);
    assert!(held(&queue, reused).is_empty());
    let bursts = add(&queue, of_routes("{}", &["bursts"])).await;
    send(&queue, [event("bob", "create", "b")]).await;
    assert_eq!(told(&queue, "sec").await, ["a", "b"]);
    // `ops` hears of it from `bursts` alone.
    assert_eq!(told(&queue, "ops").await, ["a"]);
    assert_eq!(held(&queue, bursts), [("ops".to_owned(), 1)]);
    // A mute that matches only some events of the last route leaves the others.
    let exec = add(
        &queue,
        of_routes(r#"{"verbs":["create"]}"#, &["exec", "rest"]),
    )
    .await;
    send(
        &queue,
        [event("bob", "create", "c"), event("bob", "get", "d")],
    )
    .await;
    assert_eq!(told(&queue, "sec").await, ["a", "b", "d"]);
    // Whose name it would have had has the count: `exec`'s, which does not continue.
    assert_eq!(held(&queue, exec), [("sec".to_owned(), 1)]);
    assert!(held(&queue, reused).is_empty());
    router.stop().await;
    let counts = queue.ledger().counts;
    assert_eq!((counts.routed, counts.muted), (3, 1));
    sound(&queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_as_urgent_the_one_that_does_not_continue_gives_its_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let router = start_with(&queue, TABLE).await;
    send(
        &queue,
        [event("bob", "create", "a"), event("bob", "get", "b")],
    )
    .await;
    router.stop().await;
    let limit = LeaseLimit {
        events_max: 10,
        bytes_max: 1 << 20,
    };
    let lease = queue.lease("sec", limit, 0).await.expect("read");
    let names = lease
        .expect("two wait")
        .members
        .into_iter()
        .map(|(_, delivery)| match delivery {
            Delivery::Event(event) => event.route,
            Delivery::Notice(notice) => notice.text,
        });
    // `rest` is less urgent than `reused`.
    assert_eq!(names.collect::<Vec<_>>(), ["exec", "reused"]);
}
