//! What a connection keeps us waiting for, as time goes by.

use super::*;

const HEADER: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(180);
const PATIENCE: Patience = Patience {
    header: HEADER,
    idle: IDLE,
    body_bytes_per_second_min: 1_000,
};

async fn expires_after(clock: &Clock, limit: Duration, expected: Expired) {
    let begun = Instant::now();
    assert_eq!(clock.expired().await, expected);
    assert_eq!(begun.elapsed(), limit);
}

async fn lasts(clock: &Clock) {
    let forever = tokio::time::timeout(IDLE * 10, clock.expired()).await;
    assert!(forever.is_err());
}

fn wait(clock: &Clock) -> Option<Wait> {
    clock.standing(Instant::now()).map(|standing| standing.wait)
}

#[tokio::test(start_paused = true)]
async fn idling_and_a_head_have_their_own_limits_and_work_has_none() {
    let clock = Clock::start(PATIENCE);
    expires_after(&clock, IDLE, Expired::Idle).await;

    clock.bytes_came(b'P');
    let first_byte = Instant::now();
    tokio::time::advance(HEADER / 2).await;
    clock.bytes_came(b'O');
    expires_after(&clock, HEADER / 2, Expired::Head).await;
    assert_eq!(clock.first_byte(), Some(b'P'));

    let exchange = clock.begin();
    assert_eq!(exchange.started, first_byte);
    clock.bytes_came(b'S');
    lasts(&clock).await;
    drop(exchange);
    expires_after(&clock, IDLE, Expired::Idle).await;
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_ends_late_does_not_end_the_next_one() {
    let clock = Clock::start(PATIENCE);
    let first = clock.begin();
    let second = clock.begin();
    drop(first);
    lasts(&clock).await;
    drop(second);
    expires_after(&clock, IDLE, Expired::Idle).await;
}

#[tokio::test(start_paused = true)]
async fn on_http2_only_the_first_head_is_awaited() {
    let clock = Clock::start(PATIENCE);
    clock.speaks_http2();
    tokio::time::advance(HEADER / 2).await;
    // A preface, settings, pings: no request.
    clock.bytes_came(0);
    expires_after(&clock, HEADER / 2, Expired::Head).await;

    drop(clock.begin());
    tokio::time::advance(IDLE / 2).await;
    clock.bytes_came(0);
    assert_eq!(clock.begin().started, Instant::now());
    clock.bytes_came(0);
    expires_after(&clock, IDLE, Expired::Idle).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_connection_is_waited_for_follows_what_it_does() {
    let clock = Clock::start(PATIENCE);
    assert_eq!(wait(&clock), Some(Wait::Unproven));
    clock.bytes_came(b'P');
    assert_eq!(wait(&clock), Some(Wait::Unproven));
    let mut exchange = clock.begin();
    assert_eq!(wait(&clock), Some(Wait::Unproven));
    // Two seconds' worth.
    exchange.received(2_000);
    assert_eq!(wait(&clock), None);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(wait(&clock), Some(Wait::Unproven));
    exchange.complete();
    tokio::time::advance(IDLE).await;
    assert_eq!(wait(&clock), None);
    exchange.answered(true);
    // The rest of a body that was refused may be left.
    assert_eq!(wait(&clock), Some(Wait::Behind));
    drop(exchange);
    assert_eq!(wait(&clock), Some(Wait::Idle));
    clock.bytes_came(b'P');
    assert_eq!(wait(&clock), Some(Wait::Behind));
    let _proven = clock.begin();
    assert_eq!(wait(&clock), Some(Wait::Behind));
}

#[tokio::test(start_paused = true)]
async fn who_was_only_refused_has_proven_nothing() {
    let clock = Clock::start(PATIENCE);
    let mut exchange = clock.begin();
    exchange.answered(false);
    // What is left of its body is read away: no reason to keep it longer than a newcomer.
    assert_eq!(wait(&clock), Some(Wait::Unproven));
    drop(exchange);
    assert_eq!(wait(&clock), Some(Wait::Unproven));
}

#[tokio::test(start_paused = true)]
async fn one_request_that_is_whole_protects_a_connection_and_the_best_body_speaks_for_it() {
    let clock = Clock::start(PATIENCE);
    let slow = clock.begin();
    tokio::time::advance(Duration::from_secs(9)).await;
    let quick = clock.begin();
    quick.received(5_000);
    assert_eq!(wait(&clock), None);
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(wait(&clock), Some(Wait::Unproven));
    slow.complete();
    assert_eq!(wait(&clock), None);
}

#[tokio::test(start_paused = true)]
async fn who_moved_in_the_meantime_stays_and_who_did_not_goes() {
    let clock = Clock::start(PATIENCE);
    let now = Instant::now();
    let standing = clock.standing(now).expect("it is waited for");
    tokio::time::advance(Duration::from_millis(1)).await;
    let now = Instant::now();
    let exchange = clock.begin();
    assert!(!clock.leave(standing, now));
    exchange.complete();
    assert_eq!(clock.standing(now), None);
    drop(exchange);

    let standing = clock.standing(now).expect("it is waited for");
    assert!(clock.leave(standing, now));
    clock.gave_way().await;
    assert_eq!(clock.expired().await, Expired::GaveWay { is_quiet: true });
    assert_eq!(clock.standing(now), None, "it goes once");
}

#[tokio::test(start_paused = true)]
async fn resets_in_a_row_end_a_connection_and_an_answer_forgives_them() {
    let clock = Clock::start(PATIENCE);
    clock.speaks_http2();
    for _ in 0..RESETS_IN_A_ROW_MAX {
        drop(clock.begin());
    }
    clock.begin().answered(false);
    for _ in 0..RESETS_IN_A_ROW_MAX {
        drop(clock.begin());
    }
    expires_after(&clock, IDLE, Expired::Idle).await;
    drop(clock.begin());
    assert_eq!(clock.expired().await, Expired::Resets);
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_no_answer_is_sent_away_even_while_it_asks_for_more() {
    let clock = Clock::start(PATIENCE);
    clock.bytes_came(b'P');
    let _asked = clock.begin();
    clock.wrote(false);
    tokio::time::advance(UNREAD_TIMEOUT / 2).await;
    clock.wrote(false);
    expires_after(&clock, UNREAD_TIMEOUT / 2, Expired::Unread).await;

    clock.wrote(true);
    let forever = tokio::time::timeout(IDLE * 10, clock.expired()).await;
    assert!(
        forever.is_err(),
        "it took some of it, and a request is under way"
    );
}
