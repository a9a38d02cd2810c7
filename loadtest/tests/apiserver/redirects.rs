//! Redirects: two kinds repeat the request, three turn it into a GET that loses the events silently.

use crate::support::{Reply, Seen, Sink, answers, ok, response, run};

fn elsewhere(code: u16) -> impl Fn(usize, &Seen) -> Reply {
    move |_, seen| {
        if seen.line().contains("/webhook") {
            response(code, &[("Location", "/elsewhere?x=y")])
        } else {
            ok()
        }
    }
}

#[tokio::test]
async fn after_301_302_and_303_a_get_without_the_events_is_taken_for_the_ack() {
    for code in [301, 302, 303] {
        let sink = Sink::start(elsewhere(code)).await;
        let report = run(sink.one_batch(10)).await;
        assert_eq!(report.events_accepted, 10);
        assert_eq!(report.events_accepted_without_body, 10);
        assert!(!report.is_complete(), "it is a loss for all that");
        assert!(report.ack_ms.is_none());
        assert_eq!(answers(&report), [("200", 1), (&*code.to_string(), 1)]);
        let seen = sink.seen();
        let expected = [
            "GET /elsewhere?x=y HTTP/1.1",
            &format!("Host: {}", sink.addr),
            "User-Agent: Go-http-client/1.1",
            "Accept: application/json, */*",
            "Accept-Encoding: gzip",
        ];
        assert_eq!(seen[1].head, expected.join("\r\n"));
        assert!(seen[1].body.is_empty());
    }
}

#[tokio::test]
async fn after_307_and_308_the_same_post_goes_to_the_new_place() {
    for code in [307, 308] {
        let sink = Sink::start(elsewhere(code)).await;
        let report = run(sink.one_batch(10)).await;
        assert_eq!(report.events_accepted, 10);
        assert!(report.is_complete());
        let seen = sink.seen();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[1].line(), "POST /elsewhere?x=y HTTP/1.1");
        assert_eq!(seen[1].body, seen[0].body);
    }
}

#[tokio::test]
async fn a_get_that_is_refused_fails_the_try_and_the_next_one_posts_again() {
    let sink = Sink::start(|number, _| match number {
        1 => response(303, &[("Location", "/elsewhere")]),
        2 => response(405, &[]),
        _ => ok(),
    })
    .await;
    let report = run(sink.one_batch(10)).await;
    assert_eq!((report.tries, report.requests), (2, 3));
    assert_eq!(report.events_accepted_without_body, 0);
    let seen = sink.seen();
    assert_eq!(seen[2].body, seen[0].body);
    assert_eq!(seen[2].line(), seen[0].line());
}

#[tokio::test]
async fn a_redirect_in_circles_ends_after_ten_requests() {
    let sink = Sink::start(|_, _| response(307, &[("Location", "/webhook")])).await;
    let report = run(sink.one_batch(10)).await;
    assert_eq!(report.events_lost, 10);
    assert_eq!((report.tries, report.requests), (5, 50));
}

#[tokio::test]
async fn a_redirect_to_nowhere_or_away_from_loopback_is_not_followed() {
    for location in [
        None,
        Some("http://192.0.2.1/webhook"),
        Some("https://127.0.0.1/"),
    ] {
        let sink = Sink::start(move |_, _| match location {
            Some(location) => response(308, &[("Location", location)]),
            None => response(308, &[]),
        })
        .await;
        let report = run(sink.one_batch(10)).await;
        assert_eq!(answers(&report), [("308", 5)]);
        assert_eq!(report.events_lost, 10);
    }
}
