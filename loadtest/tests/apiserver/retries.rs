//! Tries, pauses and time limits.

use std::time::Duration;

use auditrelay_loadtest::apiserver::Options;
use auditrelay_loadtest::events::Shape;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::support::{PATIENCE, Reply, Sink, answers, ok, one_batch, response, response_text, run};

#[tokio::test]
async fn the_pauses_grow_by_half() {
    let sink = Sink::start(|_, _| response(503, &[])).await;
    let report = run(Options {
        initial_backoff: Duration::from_millis(100),
        ..sink.one_batch(10)
    })
    .await;
    assert_eq!(report.events_lost, 10);
    let seen = sink.seen();
    for (pair, least) in seen.windows(2).zip([100, 150, 225, 337]) {
        let pause = pair[1].at - pair[0].at;
        assert!(pause >= Duration::from_millis(least), "{pause:?}");
    }
}

#[tokio::test]
async fn a_batch_that_gets_through_at_the_fifth_try_is_accepted() {
    let sink = Sink::start(|number, _| match number {
        5 => ok(),
        _ => response(413, &[]),
    })
    .await;
    let report = run(sink.one_batch(10)).await;
    assert_eq!((report.events_accepted, report.tries), (10, 5));
    assert_eq!(answers(&report), [("200", 1), ("413", 4)]);
    // 20 + 30 + 45 + 67.5 ms of pauses.
    let acceptance = report.acceptance_ms.unwrap();
    assert!(acceptance.max >= 160.0, "{acceptance:?}");
    assert!(report.ack_ms.unwrap().max < acceptance.max);
}

#[tokio::test]
async fn whole_seconds_in_retry_after_make_an_inner_loop() {
    for code in [429, 503] {
        let sink = Sink::start(move |number, _| match number {
            2 => ok(),
            _ => response(code, &[("Retry-After", "1")]),
        })
        .await;
        let report = run(Options {
            // Were this a try of its own, it would come after half a minute.
            initial_backoff: Duration::from_secs(30),
            ..sink.one_batch(10)
        })
        .await;
        assert_eq!((report.tries, report.requests), (1, 2));
        let seen = sink.seen();
        assert!(seen[1].at - seen[0].at >= Duration::from_secs(1));
        assert_eq!(seen[1].body, seen[0].body);
    }
}

#[tokio::test]
async fn zero_seconds_hammer_eleven_times_in_each_try() {
    let sink = Sink::start(|_, _| response(503, &[("Retry-After", "0")])).await;
    let report = run(sink.one_batch(10)).await;
    assert_eq!((report.tries, report.requests), (5, 55));
    assert_eq!(report.events_lost, 10);
}

#[tokio::test]
async fn a_date_or_another_code_makes_no_inner_loop() {
    let date = "Wed, 21 Oct 2026 07:28:00 GMT";
    for (code, retry_after) in [(503, date), (403, "0"), (408, "0")] {
        let sink = Sink::start(move |_, _| response(code, &[("Retry-After", retry_after)])).await;
        let report = run(sink.one_batch(10)).await;
        assert_eq!((report.tries, report.requests), (5, 5), "{code}");
    }
}

#[tokio::test]
async fn a_wait_beyond_the_try_is_sat_out_and_fails_the_try() {
    let sink = Sink::start(|_, _| response(503, &[("Retry-After", "60")])).await;
    let begun = Instant::now();
    let report = run(Options {
        try_timeout: Duration::from_millis(200),
        ..sink.one_batch(10)
    })
    .await;
    assert_eq!((report.tries, report.requests), (5, 5));
    assert!(begun.elapsed() >= Duration::from_millis(5 * 200 + 160));
}

#[tokio::test]
async fn a_sink_that_hangs_is_given_up_after_five_time_limits() {
    let sink = Sink::start(|_, _| Reply::Hang).await;
    let begun = Instant::now();
    let report = run(Options {
        try_timeout: Duration::from_millis(400),
        ..sink.one_batch(10)
    })
    .await;
    assert_eq!(answers(&report), [("timed out", 5)]);
    assert_eq!(report.events_lost, 10);
    assert!(begun.elapsed() >= Duration::from_millis(5 * 400 + 160));
    // A connection that hangs is not used again, and not kept either.
    assert_eq!(report.connections, 5);
    while sink.hung_up() < 5 {
        assert!(begun.elapsed() < PATIENCE, "{}", sink.hung_up());
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_answer_within_the_limit_is_in_time_and_its_latency_told() {
    let sink =
        Sink::start(|_, _| Reply::After(Duration::from_millis(300), response_text(200, &[]))).await;
    let report = run(sink.one_batch(10)).await;
    assert_eq!((report.events_accepted, report.tries), (10, 1));
    let ack = report.ack_ms.unwrap();
    assert!((290.0..5_000.0).contains(&ack.p50), "{ack:?}");
    assert!(ack.p50 <= ack.p90 && ack.p90 <= ack.p99 && ack.p99 <= ack.p99_9);
    assert!(report.acceptance_ms.unwrap().max >= 290.0);
}

#[tokio::test]
async fn the_time_that_a_slow_reader_takes_is_not_counted_as_ack_latency() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // 15 MB do not fit the buffers between: the client cannot finish writing before this.
        sleep(Duration::from_secs(1)).await;
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"]}\n") {
            stream.read_buf(&mut bytes).await.unwrap();
        }
        assert!(bytes.len() > 10_000_000, "{}", bytes.len());
        let answer = response_text(200, &[]);
        stream.write_all(answer.as_bytes()).await.unwrap();
        sleep(PATIENCE).await;
    });
    let report = run(Options {
        shape: Shape::RequestResponse,
        ..one_batch(&url, 300)
    })
    .await;
    assert_eq!((report.events_accepted, report.tries), (300, 1));
    assert!(report.acceptance_ms.unwrap().max >= 900.0, "{report}");
    assert!(report.ack_ms.unwrap().max < 900.0, "{report}");
}
