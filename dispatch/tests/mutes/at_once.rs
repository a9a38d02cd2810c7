//! Whoever was told that a mute has begun is right about the very next event.

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
        // The answer to an append may come before the ledger that counts it.
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
