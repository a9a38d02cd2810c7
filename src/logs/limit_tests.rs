//! The limit on lines, with a clock that stands still until it is moved.

use std::thread;

use prometheus::{Encoder, TextEncoder};
use tracing::subscriber::with_default;
use tracing_subscriber::{fmt, layer::SubscriberExt};

use super::*;
use crate::logs::tests::Lines;

fn subscriber(limiter: &Arc<Limiter>, lines: &Lines) -> impl Subscriber + Send + Sync + use<> {
    let writer = lines.clone();
    tracing_subscriber::registry()
        .with(tracing_subscriber::filter::LevelFilter::TRACE)
        .with(Limited(Arc::clone(limiter)))
        .with(fmt::layer().json().with_writer(move || writer.clone()))
}

fn limiter() -> Arc<Limiter> {
    Arc::new(Limiter::new().expect("metrics"))
}

fn storm(times: u32) {
    for number in 0..times {
        tracing::error!(number, "the storm");
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_writes_so_many_lines_a_minute_and_another_is_not_concerned() {
    let (limiter, lines) = (limiter(), Lines::default());
    with_default(subscriber(&limiter, &lines), || {
        storm(10_000);
        tracing::info!("another place");
    });
    assert_eq!(lines.with("the storm"), LINES_MAX as usize);
    assert_eq!(lines.with("another place"), 1);
    tokio::time::advance(MINUTE).await;
    with_default(subscriber(&limiter, &lines), || storm(10_000));
    assert_eq!(lines.with("the storm"), 2 * LINES_MAX as usize);
}

#[tokio::test(start_paused = true)]
async fn what_was_left_out_is_told_once_with_its_place_and_counted() {
    let (limiter, lines) = (limiter(), Lines::default());
    with_default(subscriber(&limiter, &lines), || {
        limiter.tell_left_out();
        assert_eq!(lines.text(), "");
        storm(LINES_MAX + 5);
        limiter.tell_left_out();
        limiter.tell_left_out();
    });
    assert_eq!(lines.with("lines were left out of the log"), 1);
    let told = lines.text();
    assert!(told.contains("\"lines\":5"), "{told}");
    assert!(told.contains("auditrelay::logs::limit::tests:"), "{told}");
    let registry = Registry::new();
    limiter.register(&registry).expect("new there");
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    encoder.encode(&registry.gather(), &mut text).expect("text");
    let text = String::from_utf8(text).expect("text");
    for sample in [
        "auditrelay_log_lines_suppressed_total 5",
        "auditrelay_log_lines_total{level=\"error\"} 60",
        "auditrelay_log_lines_total{level=\"warn\"} 1",
        "auditrelay_log_lines_total{level=\"trace\"} 0",
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample}\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_asked_for_debug_gets_more_of_it() {
    let (limiter, lines) = (limiter(), Lines::default());
    with_default(subscriber(&limiter, &lines), || {
        for _ in 0..ASKED_LINES_MAX + 10 {
            tracing::debug!("asked for");
        }
    });
    assert_eq!(lines.with("asked for"), ASKED_LINES_MAX as usize);
}

/// Threads do not get more together than one alone.
#[test]
fn many_threads_at_once_write_no_more() {
    let (limiter, lines) = (limiter(), Lines::default());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| with_default(subscriber(&limiter, &lines), || storm(1_000)));
        }
    });
    // A minute may pass meanwhile.
    let written = lines.with("the storm");
    let max = LINES_MAX as usize * (1 + limiter.minute() as usize);
    assert!((1..=max).contains(&written), "{written}");
    assert_eq!(
        limiter.left_out.get(),
        8_000 - u64::try_from(written).expect("few")
    );
}
