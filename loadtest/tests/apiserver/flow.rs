//! Events on their way: batches, buffer, throttle, and the end.

use std::time::Duration;

use auditrelay_loadtest::apiserver::Options;
use tokio::time::{Instant, sleep};

use crate::support::{PATIENCE, Reply, Sink, count, ok, response, response_text, run, run_until};

fn sizes(sink: &Sink) -> Vec<usize> {
    let seen = sink.seen();
    seen.iter().map(|seen| seen.items().len()).collect()
}

#[tokio::test]
async fn batches_are_closed_by_size_and_the_rest_is_flushed_at_the_end() {
    let sink = Sink::start(|_, _| ok()).await;
    let report = run(sink.one_batch(1_000)).await;
    assert_eq!((report.events_made, report.events_accepted), (1_000, 1_000));
    let mut sizes = sizes(&sink);
    sizes.sort_unstable();
    assert_eq!(sizes, [200, 400, 400]);
}

#[tokio::test]
async fn batches_are_closed_by_age() {
    let sink = Sink::start(|_, _| ok()).await;
    let options = Options {
        events_per_second: count(100),
        duration: PATIENCE,
        max_wait: Duration::from_millis(200),
        // More than are ever made: nothing but age closes a batch.
        batch_events: count(10_000),
        ..sink.one_batch(1)
    };
    let begun = Instant::now();
    let report = run_until(options, sink.has_seen(3)).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(600));
    // One each 200 ms, and what is flushed at the end.
    let at_most = took.as_millis() / 200 + 1;
    assert!(u128::from(report.batches_sent) <= at_most, "{report}");
}

#[tokio::test]
async fn the_throttle_holds_batches_back_and_then_the_buffer_overflows() {
    let sink = Sink::start(|_, _| ok()).await;
    let report = run(Options {
        events_per_second: count(2_000),
        duration: Duration::from_secs(1),
        buffer_events: count(100),
        batch_events: count(10),
        qps: count(20),
        burst: count(5),
        ..sink.one_batch(1)
    })
    .await;
    // About 36: 5 at once, 20 in the second, 10 from the buffer, and one that was being held. A machine that stalls takes
    // longer for it.
    let at_most = 5.0 + 20.0 * report.total_seconds + 2.0;
    assert!(report.batches_sent >= 16, "{report}");
    assert!(report.batches_sent as f64 <= at_most, "{report}");
    assert_eq!(report.events_made, 2_000);
    assert!(report.events_dropped > 0, "{report}");
    assert_eq!(report.events_lost, 0);
    assert!(!report.is_complete());
    assert!(report.total_seconds > report.making_seconds, "{report}");
}

#[tokio::test]
async fn a_slow_sink_has_batches_in_flight_beside_each_other() {
    let sink =
        Sink::start(|_, _| Reply::After(Duration::from_secs(3), response_text(200, &[]))).await;
    let report = run(Options {
        events_per_second: count(2_000),
        duration: Duration::from_millis(500),
        batch_events: count(10),
        qps: count(1_000),
        try_timeout: PATIENCE,
        ..sink.one_batch(1)
    })
    .await;
    assert_eq!((report.batches_sent, report.events_accepted), (100, 1_000));
    assert_eq!(
        report.events_dropped, 0,
        "the sink's slowness fills no buffer"
    );
    assert!(report.batches_in_flight_max > 20, "{report}");
    assert!(report.connections > 20, "{report}");
}

#[tokio::test]
async fn shutdown_flushes_what_was_made() {
    let sink = Sink::start(|_, _| ok()).await;
    let options = Options {
        events_per_second: count(1_000),
        duration: PATIENCE * 2,
        ..sink.one_batch(1)
    };
    let report = run_until(options, sink.has_seen(1)).await;
    assert!(report.batches_sent >= 1, "{report}");
    assert_eq!(report.events_accepted, report.events_made);
    let received: usize = sizes(&sink).iter().sum();
    assert_eq!(u64::try_from(received), Ok(report.events_made));
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_batch_to_fill() {
    let sink = Sink::start(|_, _| ok()).await;
    let begun = Instant::now();
    let options = Options {
        events_per_second: count(100),
        duration: PATIENCE * 2,
        max_wait: PATIENCE * 2,
        batch_events: count(100_000),
        ..sink.one_batch(1)
    };
    let report = run_until(options, sleep(Duration::from_millis(500))).await;
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(report.events_accepted, report.events_made);
}

#[tokio::test]
async fn shutdown_waits_for_retries() {
    let sink = Sink::start(|number, _| match number {
        1..=3 => response(503, &[]),
        _ => ok(),
    })
    .await;
    let options = Options {
        events_per_second: count(100),
        duration: PATIENCE * 2,
        batch_events: count(10),
        ..sink.one_batch(1)
    };
    let report = run_until(options, sink.has_seen(1)).await;
    assert_eq!(report.events_accepted, report.events_made);
    assert_eq!(report.tries, report.batches_sent + 3);
}

#[tokio::test]
async fn api_servers_are_independent() {
    let sink = Sink::start(|_, _| ok()).await;
    let report = run(Options {
        api_servers: count(3),
        ..sink.one_batch(500)
    })
    .await;
    assert_eq!((report.api_servers, report.events_made), (3, 1_500));
    let mut sizes = sizes(&sink);
    sizes.sort_unstable();
    assert_eq!(sizes, [100, 100, 100, 400, 400, 400]);
    assert!(report.connections >= 3);
}

#[tokio::test]
async fn whatever_the_sink_answers_every_event_is_accounted_for() {
    let sink = Sink::start(|number, _| match number % 7 {
        0 | 1 => ok(),
        2 => Reply::Hang,
        3 => Reply::Close(String::new()),
        4 => response(503, &[("Retry-After", "0")]),
        5 => response(303, &[("Location", "/elsewhere")]),
        _ => response(400, &[]),
    })
    .await;
    let report = run(Options {
        events_per_second: count(5_000),
        duration: Duration::from_millis(500),
        buffer_events: count(50),
        batch_events: count(20),
        qps: count(60),
        try_timeout: Duration::from_millis(400),
        api_servers: count(2),
        ..sink.one_batch(1)
    })
    .await;
    assert_eq!(report.events_made, 5_000);
    assert!(report.events_accepted > 0, "{report}");
    assert!(report.events_dropped > 0, "{report}");
}
