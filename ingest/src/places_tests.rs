//! Who gives way to whom.

use std::time::Duration;

use super::*;
use crate::clock::{Exchange, Expired, Patience};

fn clock() -> Arc<Clock> {
    Clock::start(Patience {
        header: Duration::from_secs(10),
        idle: Duration::from_secs(180),
        body_bytes_per_second_min: 1_000,
    })
}

/// A connection that was answered 200 once.
fn proven() -> Arc<Clock> {
    let clock = clock();
    let mut exchange = clock.begin();
    exchange.answered(true);
    drop(exchange);
    clock
}

fn owed(clock: &Arc<Clock>) -> Exchange {
    let exchange = clock.begin();
    exchange.complete();
    exchange
}

async fn later() {
    tokio::time::advance(Duration::from_secs(1)).await;
}

async fn is_leaving(clock: &Clock) -> bool {
    let expired = tokio::time::timeout(Duration::ZERO, clock.expired()).await;
    matches!(expired, Ok(Expired::GaveWay { .. }))
}

#[tokio::test(start_paused = true)]
async fn who_keeps_us_waiting_gives_way_in_order_and_who_is_owed_an_answer_never() {
    let places = Places::new(6);
    let idle = proven();
    later().await;
    let busy = clock();
    let answer = owed(&busy);
    later().await;
    let dribbles = proven();
    let _body = dribbles.begin();
    later().await;
    let dribbles_unproven = clock();
    let _body = dribbles_unproven.begin();
    later().await;
    let silent = clock();
    later().await;
    let silent_since_then = clock();
    let held: Vec<_> = [
        &idle,
        &busy,
        &dribbles,
        &dribbles_unproven,
        &silent,
        &silent_since_then,
    ]
    .map(|clock| places.enter(clock).expect("a place"))
    .into();

    // Each newcomer is worked for, so that it is the others' turn.
    let mut newcomers = Vec::new();
    for leaver in [
        &dribbles_unproven,
        &silent,
        &silent_since_then,
        &dribbles,
        &idle,
    ] {
        assert!(!is_leaving(leaver).await);
        let newcomer = clock();
        let work = owed(&newcomer);
        newcomers.push((places.enter(&newcomer).expect("a place"), work));
        assert!(is_leaving(leaver).await);
    }
    assert!(places.enter(&clock()).is_none());
    assert!(!is_leaving(&busy).await);

    // A place that is given back is free; those of the leavers were taken over already.
    drop(held);
    assert_eq!(places.open().leaving, 0);
    drop(answer);
    assert_eq!(places.open().clocks.len(), 5);
    assert!(places.enter(&clock()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_newcomers_takes_its_own_places() {
    let places = Places::new(100);
    let honest = proven();
    let _place = places.enter(&honest).expect("a place");
    let mut flood = Vec::new();
    for _ in 0..99 + LEAVING_MAX {
        let clock = clock();
        let place = places.enter(&clock).expect("a place");
        flood.push((place, clock));
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert!(!is_leaving(&honest).await);
    // They went in the order in which they came, and nobody else.
    for (index, (_, clock)) in flood.iter().enumerate() {
        assert_eq!(is_leaving(clock).await, index < LEAVING_MAX, "{index}");
    }
    // Leaving takes files as well.
    assert!(places.enter(&clock()).is_none());
    flood.drain(..LEAVING_MAX / 2);
    assert!(places.enter(&clock()).is_some());
}

#[tokio::test(start_paused = true)]
async fn who_was_next_and_has_sent_a_request_since_stays() {
    let places = Places::new(3);
    let clocks = [clock(), clock(), clock()];
    let _held = clocks
        .each_ref()
        .map(|clock| places.enter(clock).expect("a place"));
    // Now the other two are remembered as next.
    let newcomer = clock();
    let _answer = owed(&newcomer);
    let _place = places.enter(&newcomer).expect("a place");
    assert!(is_leaving(&clocks[0]).await);
    let _work = owed(&clocks[1]);
    let _place = places.enter(&clock()).expect("a place");
    assert!(!is_leaving(&clocks[1]).await);
    assert!(is_leaving(&clocks[2]).await);
}

#[tokio::test(start_paused = true)]
async fn one_that_proved_itself_goes_and_then_the_newcomer_is_less_worthy_than_the_others() {
    let places = Places::new(3);
    let idle = [proven(), proven(), proven()];
    let _held = idle
        .each_ref()
        .map(|clock| places.enter(clock).expect("a place"));
    later().await;
    let mut newcomers = Vec::new();
    for _ in 0..10 {
        let newcomer = clock();
        newcomers.push((places.enter(&newcomer).expect("a place"), newcomer));
    }
    let mut left = 0;
    for clock in &idle {
        left += usize::from(is_leaving(clock).await);
    }
    assert_eq!(left, 1);
}
