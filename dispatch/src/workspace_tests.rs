//! What lanes of one token share, on a paused clock.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn all_lanes_share_the_workspace_and_none_is_passed_over() {
    let workspace = Workspace::new(60, 50);
    let start = Instant::now();
    let lanes = (0..10).map(|lane| {
        let workspace = workspace.clone();
        tokio::spawn(async move {
            let mut turns = Vec::new();
            for _ in 0..3 {
                workspace.turn_to_post().await;
                turns.push(Instant::now());
            }
            (lane, turns)
        })
    });
    let mut firsts = Vec::new();
    for lane in lanes.collect::<Vec<_>>() {
        let (_, turns) = lane.await.expect("no panic");
        firsts.push(turns[0] - start);
    }
    assert!(start.elapsed() >= SECOND * 29, "{:?}", start.elapsed());
    // The first one asked twice before the others had begun; nobody else had a second turn before all
    // had one.
    assert!(
        firsts.iter().all(|first| *first <= SECOND * 10),
        "{firsts:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_holds_its_channel_and_a_second_ones_holds_all() {
    let workspace = Workspace::new(600, 50);
    let start = Instant::now();
    assert!(!workspace.limited("a", SECOND * 5));
    assert!(
        !workspace.limited("a", SECOND * 7),
        "the same channel again"
    );
    workspace.turn_to_post().await;
    assert_eq!(
        start.elapsed(),
        Duration::ZERO,
        "another channel had to wait"
    );
    assert!(workspace.limited("b", SECOND * 3));
    workspace.turn_to_post().await;
    assert!(start.elapsed() >= SECOND * 7, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn rate_limits_that_are_far_apart_are_told_apart() {
    let workspace = Workspace::new(600, 50);
    assert!(!workspace.limited("a", SECOND));
    sleep_until(Instant::now() + WINDOW).await;
    assert!(!workspace.limited("b", SECOND));
    // A hold that lasts longer than the window still counts.
    assert!(!workspace.limited("b", WINDOW * 5));
    sleep_until(Instant::now() + WINDOW * 2).await;
    assert!(workspace.limited("c", SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_somebody_else_may_have_used_begins_empty() {
    let full = || Workspace::new(300, 60);
    let empty = || full().emptied();
    let makes: [(&dyn Fn() -> Workspace, Duration); 2] =
        [(&full, Duration::ZERO), (&empty, SECOND)];
    for (make, takes) in makes {
        let (workspace, start) = (make(), Instant::now());
        for _ in 0..5 {
            workspace.turn_to_post().await;
        }
        let took = start.elapsed();
        assert!(took >= takes && took <= takes + SECOND / 10, "{took:?}");
        let (workspace, start) = (make(), Instant::now());
        workspace.turn_to_look("a").await;
        let took = start.elapsed();
        assert!(took >= takes && took <= takes + SECOND / 10, "{took:?}");
        tokio::time::advance(60 * SECOND).await;
        let start = Instant::now();
        workspace.turn_to_look("b").await;
        assert_eq!(start.elapsed(), Duration::ZERO, "it has filled");
    }
}

#[tokio::test(start_paused = true)]
async fn another_token_of_the_same_app_is_held_as_the_one_before_and_shares_its_budget() {
    let before = Workspace::new(60, 50);
    before.learn_channels([("a".to_owned(), "C1".to_owned())]);
    before.limited("a", SECOND * 5);
    assert!(before.limited("b", SECOND * 7));
    let (rotated, parted) = (before.rotated(), before.parted(60, 50));
    assert_eq!(rotated.channel_id("a"), None, "another token's look");
    assert!(rotated.is_held() && parted.is_held());
    let start = Instant::now();
    for one in [&rotated, &parted] {
        one.turn_to_post().await;
        assert!(start.elapsed() >= SECOND * 7, "{:?}", start.elapsed());
    }
    before.turn_to_post().await;
    assert!(start.elapsed() >= SECOND * 8, "two at once of one budget");
    // A message was under way when its token was exchanged.
    before.limited("a", SECOND);
    before.limited("b", SECOND * 9);
    assert!(rotated.is_held() && !parted.is_held());
}
