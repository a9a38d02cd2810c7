//! Which answers accept a batch, and which lose it.

use auditrelay_loadtest::apiserver::Report;
use tokio::net::TcpSocket;

use crate::support::{Reply, Sink, answers, one_batch, response, run};

/// One batch of ten events against a sink that always gives this answer.
async fn always(reply: Reply) -> (Report, Sink) {
    let sink = Sink::start(move |_, _| reply.clone()).await;
    (run(sink.one_batch(10)).await, sink)
}

#[tokio::test]
async fn every_code_from_200_to_206_accepts_whatever_the_body_says() {
    for code in 200..=206 {
        let (report, _) = always(response(code, &[])).await;
        assert_eq!(report.events_accepted, 10, "{code}");
        assert_eq!(answers(&report), [(&*code.to_string(), 1)]);
        assert!(report.is_complete());
        assert!(report.ack_ms.is_some() && report.refusal_ms.is_none());
    }
}

#[tokio::test]
async fn every_other_code_is_tried_five_times_with_the_same_bytes_and_then_lost() {
    let codes = [
        207, 226, 304, 400, 401, 403, 404, 413, 422, 429, 500, 503, 504,
    ];
    for code in codes {
        let (report, sink) = always(response(code, &[])).await;
        assert_eq!((report.events_lost, report.batches_lost), (10, 1), "{code}");
        assert_eq!(answers(&report), [(&*code.to_string(), 5)]);
        assert_eq!(report.tries, 5);
        assert!(!report.is_complete());
        assert!(report.ack_ms.is_none() && report.refusal_ms.is_some());
        let seen = sink.seen();
        assert_eq!(seen.len(), 5);
        for retry in &seen {
            assert_eq!(retry.head, seen[0].head);
            assert_eq!(retry.body, seen[0].body);
        }
    }
}

#[tokio::test]
async fn a_malformed_content_type_turns_an_ack_into_a_refusal() {
    let (report, _) = always(response(200, &[("Content-Type", "application/")])).await;
    assert_eq!(report.events_lost, 10);
    assert_eq!(answers(&report), [("200, bad Content-Type", 5)]);
    let (report, _) = always(response(200, &[("Content-Type", "text/html; charset=x")])).await;
    assert_eq!(report.events_accepted, 10);
}

#[tokio::test]
async fn no_answer_that_can_be_read_is_tried_again() {
    let cut_off = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes.";
    for text in ["", "garbage\r\n\r\n", "HTTP/1.1 2", cut_off] {
        let (report, _) = always(Reply::Close(text.to_owned())).await;
        assert_eq!(report.events_lost, 10, "{text}");
        assert_eq!(answers(&report), [("broken off", 5)], "{text}");
    }
}

#[tokio::test]
async fn a_refusal_whose_body_breaks_off_is_counted_under_its_code() {
    let text = "HTTP/1.1 503 No\r\nContent-Length: 100\r\n\r\nten bytes.";
    let (report, _) = always(Reply::Close(text.to_owned())).await;
    assert_eq!(answers(&report), [("503", 5)]);
}

#[tokio::test]
async fn a_sink_that_is_not_there_loses_the_batch() {
    let sink = Sink::start(|_, _| Reply::Hang).await;
    // Nobody listens there, and nobody else can.
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", held.local_addr().unwrap());
    let report = run(one_batch(&url, 10)).await;
    assert_eq!(report.events_lost, 10);
    assert_eq!(answers(&report), [("not connected", 5)]);
    assert_eq!((report.connections, sink.seen().len()), (0, 0));
}
