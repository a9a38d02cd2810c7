//! The pace of lanes and places, on a paused clock.

use tokio::time::sleep;

use super::*;

async fn post(pace: &mut Pace, preparing: Duration) -> Instant {
    pace.nearly_ready().await;
    let start = Instant::now();
    sleep(preparing).await;
    pace.prepared(start.elapsed());
    pace.ready().await;
    Instant::now()
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn one_message_an_interval_however_long_it_takes_to_prepare_one() {
    let preparing = Duration::from_millis(60);
    let mut pace = Pace::new(SECOND, Place::new("a", SECOND, 1));
    let mut sent = vec![post(&mut pace, preparing).await];
    for _ in 0..100 {
        sent.push(post(&mut pace, preparing).await);
    }
    for pair in sent.windows(2) {
        let gap = pair[1] - pair[0];
        assert!(gap >= SECOND, "too early: {gap:?}");
    }
    // The first two tell how long it takes; from then on 98 % of what is allowed is used.
    let all = sent[100] - sent[2];
    assert!(
        all <= Duration::from_secs(98).mul_f64(1.0 / 0.98),
        "{all:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_allowed_after_a_pause_and_no_more_on_average() {
    let mut pace = Pace::new(SECOND, Place::new("a", SECOND, 3));
    let start = Instant::now();
    for _ in 0..3 {
        post(&mut pace, Duration::ZERO).await;
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    for _ in 0..10 {
        post(&mut pace, Duration::ZERO).await;
    }
    assert!(start.elapsed() >= SECOND * 10, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn lanes_of_one_place_share_its_pace() {
    let place = Place::new("a", SECOND, 1);
    let mut lanes = [0, 1].map(|_| Pace::new(SECOND, place.clone()));
    let start = Instant::now();
    for _ in 0..3 {
        for lane in &mut lanes {
            post(lane, Duration::ZERO).await;
        }
    }
    assert!(start.elapsed() >= SECOND * 5, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_never_shortened() {
    let mut pace = Pace::new(SECOND, Place::new("a", SECOND, 1));
    pace.hold(SECOND * 7);
    pace.hold(SECOND * 2);
    let start = Instant::now();
    post(&mut pace, Duration::ZERO).await;
    assert!(start.elapsed() >= SECOND * 7, "{:?}", start.elapsed());
}

/// As after a channel was renamed, or a token exchanged.
#[tokio::test(start_paused = true)]
async fn what_slack_asked_for_holds_for_every_lane_of_the_place_also_for_one_that_is_ready() {
    let place = Place::new("a", SECOND, 9);
    let other_token = Place::new("a", SECOND, 9).held_as(&place);
    let mut asked = Pace::new(SECOND, place.clone());
    asked.hold(SECOND * 90);
    for place in [&place, &other_token] {
        let start = Instant::now();
        let mut lane = Pace::new(SECOND, place.clone());
        post(&mut lane, Duration::ZERO).await;
        assert_eq!(start.elapsed(), Duration::ZERO, "the relay's own hold");
        lane.nearly_ready().await;
        asked.hold_as_asked(SECOND * 7);
        let start = Instant::now();
        assert_eq!(lane.held(), Some(SECOND * 7));
        lane.ready().await;
        assert!(start.elapsed() >= SECOND * 7, "{:?}", start.elapsed());
        assert!(!place.is_held());
    }
}

#[tokio::test(start_paused = true)]
async fn another_pace_counts_at_once_also_for_who_waits_and_lets_nothing_through_early() {
    let place = Place::new("a", SECOND * 3600, 1);
    let mut pace = Pace::new(SECOND * 3600, place.clone());
    pace.ready().await;
    let start = Instant::now();
    let waiting = tokio::spawn(async move {
        pace.ready().await;
        pace
    });
    sleep(SECOND).await;
    place.set_pace(SECOND * 2, 5);
    let mut pace = waiting.await.expect("no panic");
    let waited = start.elapsed();
    assert!(
        waited >= SECOND * 3 && waited < SECOND * 4,
        "{waited:?}: a message of the old pace was within the new interval"
    );
    place.set_pace(SECOND * 9, 1);
    pace.ready().await;
    assert!(start.elapsed() >= waited + SECOND * 9);
}

#[tokio::test(start_paused = true)]
async fn where_somebody_else_may_have_posted_nothing_goes_for_an_interval_and_no_burst() {
    let start = Instant::now();
    let mut full = Pace::new(SECOND, Place::new("a", SECOND, 3));
    post(&mut full, Duration::ZERO).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    let mut pace = Pace::new(SECOND, Place::new("a", SECOND, 3).emptied(SECOND));
    // A lane waits before it leases: what gathers meanwhile is in the message.
    pace.nearly_ready().await;
    assert_eq!(start.elapsed(), SECOND);
    for n in 1..4 {
        post(&mut pace, Duration::ZERO).await;
        assert!(start.elapsed() >= SECOND * n, "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_lane_rests_as_long_and_after_a_change_as_long_as_slack_asked() {
    let mut before = Pace::new(SECOND, Place::new("a", SECOND, 1));
    before.hold_as_asked(SECOND * 5);
    before.hold(SECOND * 60);
    for (shortened, least) in [(false, 60), (true, 5)] {
        let mut rest = before.rest();
        if shortened {
            rest.shorten();
        }
        let mut next = Pace::new(SECOND, Place::new("a", SECOND, 1));
        next.resume(rest);
        let start = Instant::now();
        post(&mut next, Duration::ZERO).await;
        let waited = start.elapsed();
        let least = SECOND * least;
        // Paused time goes on from one turn to the next, and with it what is left of the hold.
        assert!(shortened || waited >= least, "{waited:?}");
        assert!(waited <= least + SECOND, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_message_goes_an_interval_after_the_one_before_left_whenever_its_turn_was() {
    let place = Place::new("a", SECOND, 1);
    let mut pace = Pace::new(SECOND, place.clone());
    post(&mut pace, Duration::ZERO).await;
    sleep(SECOND * 4).await;
    assert!(place.leaves());
    let left = Instant::now();
    // What gathers meanwhile is in the message.
    pace.nearly_ready().await;
    assert_eq!(left.elapsed(), SECOND);
    pace.ready().await;
    assert_eq!(left.elapsed(), SECOND);
    // This one never leaves: nothing waits for it.
    sleep(SECOND * 4).await;
    let given_up = Instant::now();
    post(&mut pace, Duration::ZERO).await;
    assert_eq!(given_up.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_left_late_is_one_of_the_burst() {
    let place = Place::new("a", SECOND, 3);
    let mut pace = Pace::new(SECOND, place.clone());
    pace.ready().await;
    sleep(SECOND * 4).await;
    let start = Instant::now();
    assert!(place.leaves());
    for after in [0, 0, 1, 2] {
        post(&mut pace, Duration::ZERO).await;
        assert_eq!(start.elapsed(), SECOND * after);
        assert!(place.leaves());
    }
}

#[tokio::test(start_paused = true)]
async fn of_all_lanes_of_a_place_one_message_leaves_at_a_time() {
    let place = Place::new("a", SECOND, 1);
    let rotated = Place::new("a", SECOND, 1).held_as(&place);
    let mut lane = Pace::new(SECOND, place.clone());
    assert!(place.leaves());
    sleep(SECOND / 2).await;
    assert!(!place.clone().leaves() && !rotated.leaves());
    sleep(SECOND / 2).await;
    assert!(rotated.leaves() && !place.leaves());
    // A file that is there is there.
    lane.left();
    let start = Instant::now();
    lane.ready().await;
    assert_eq!(start.elapsed(), SECOND * 2);
}

#[tokio::test(start_paused = true)]
async fn another_pace_counts_from_when_the_last_message_left() {
    for (interval, waited, new) in [
        (SECOND, SECOND * 3 / 2, SECOND * 3),
        (SECOND * 3600, SECOND, SECOND * 2),
    ] {
        let place = Place::new("a", interval, 1);
        let mut pace = Pace::new(interval, place.clone());
        pace.ready().await;
        sleep(SECOND * 4).await;
        assert!(place.leaves());
        let left = Instant::now();
        sleep(waited).await;
        place.set_pace(new, 1);
        place.set_pace(new, 1);
        pace.ready().await;
        assert!(left.elapsed() >= new, "{:?}", left.elapsed());
        assert!(left.elapsed() <= new + waited, "{:?}", left.elapsed());
    }
}
