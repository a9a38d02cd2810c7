//! Whoever was told that a mute has begun is right about the very next event, and whoever sees an event counted finds it
//! counted everywhere.

use super::*;

/// The router shares this thread, so it has no turn between the mute's answer and the event: when it wakes it finds
/// both, and takes either first.
#[tokio::test]
async fn an_event_right_behind_the_answer_is_held_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let router = start(&queue).await;
    send(&queue, [event("bob", "get", "before")]).await;
    for round in 0..24 {
        let other = queue.clone();
        let asking = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.expect("a runtime").block_on(async {
                let user = format!("u{round}");
                let mute = add(&other, asked(&format!(r#"{{"users":["{user}"]}}"#))).await;
                let next = batch([event(&user, "get", &user)]);
                other.append(next).await.expect("durable");
                mute
            })
        });
        let mute = asking.join().expect("no panic");
        until("it is routed", || {
            let ledger = queue.ledger();
            ledger.received == round + 2 && ledger.waiting == 0
        })
        .await;
        assert_eq!(held(&queue, mute), [("ops".to_owned(), 1)], "{round}");
    }
    router.stop().await;
    assert_eq!(told(&queue, "ops").await, ["before"]);
    sound(&queue).await;
}

/// Nobody asks for long who waits for a count, and what belongs to it must not come later.
#[tokio::test(flavor = "multi_thread")]
async fn when_an_event_is_counted_as_held_back_its_mute_says_so_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let router = start_with(&queue, ROUTES).await;
    let mute = add(&queue, asked("{}")).await;
    for round in 1..=100 {
        let next = queue.append(batch([event("bob", "get", &format!("{round}"))]));
        next.await.expect("durable");
        let ledger = loop {
            let ledger = queue.ledger();
            if ledger.waiting == 0 {
                break ledger;
            }
            std::hint::spin_loop();
        };
        assert_eq!(held(&queue, mute), [("ops".to_owned(), round)]);
        assert_eq!(ledger.counts.muted, round);
        assert!(ledger.is_balanced(), "{ledger:?}");
    }
    router.stop().await;
    sound(&queue).await;
}
