//! What is asked of who leads comes to it, and the answer comes back whole or not at all.

use std::time::Duration;

use auditrelay_loadtest::nats::NatsOptions;
use auditrelay_store::jetstream::{
    AskError, Gone, JetStream, JetStreamOptions, Leadership, Questions,
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};

use super::{one, server, until};

const PAYLOAD: u64 = 64 << 10;

/// Whose leases do not run out in a test, however busy the machine is.
async fn two() -> Option<(impl Drop, JetStream, JetStream)> {
    two_with(Duration::from_secs(60)).await
}

async fn two_with(lease: Duration) -> Option<(impl Drop, JetStream, JetStream)> {
    // Small, so that an answer comes in pieces.
    let server = server(NatsOptions {
        payload_bytes_max: Some(PAYLOAD),
        ..NatsOptions::default()
    })?;
    let options = JetStreamOptions {
        lease,
        ..one(&server)
    };
    let (asks, leads) = (
        JetStream::connect_when_there(&options)
            .await
            .expect("connected"),
        JetStream::connect_when_there(&options)
            .await
            .expect("connected"),
    );
    Some((server, asks, leads))
}

/// One leads and listens, and another one knows.
async fn listens(leads: &JetStream, asks: &JetStream) -> (Leadership, Questions) {
    let led = leads.lead("one").await.expect("it leads");
    let questions = leads.questions(&led).await.expect("it listens");
    is_known(asks, "one").await;
    (led, questions)
}

async fn is_known(asks: &JetStream, leader: &str) {
    until("who leads is known", async || {
        asks.leader().borrow().as_deref() == Some(leader)
    })
    .await;
}

fn text(bytes: usize) -> Bytes {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_larger_than_a_message_comes_whole() {
    let Some((_server, asks, leads)) = two().await else {
        return;
    };
    let (_led, mut questions) = listens(&leads, &asks).await;
    let answering = tokio::spawn(async move {
        let question = questions.next().await.expect("one");
        assert_eq!(question.text, "what?");
        for bytes in [10, 1_000_000, 0, 77] {
            question.say(text(bytes)).await.expect("taken");
        }
        question.end().await.expect("taken");
    });
    let mut answer = asks.ask(b"what?".to_vec()).await.expect("asked");
    let mut heard = Vec::new();
    while let Some(piece) = answer.next().await.expect("whole") {
        assert!(piece.len() < PAYLOAD as usize);
        heard.extend_from_slice(&piece);
    }
    let said = [text(10), text(1_000_000), text(77)].concat();
    assert!(heard == said, "{} of {}", heard.len(), said.len());
    answering.await.expect("answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_goes_away_ends_the_answer_and_the_leader_goes_on() {
    let Some((_server, asks, leads)) = two().await else {
        return;
    };
    let (_led, mut questions) = listens(&leads, &asks).await;
    let mut answer = asks.ask(b"one".to_vec()).await.expect("asked");
    let question = questions.next().await.expect("one");
    let (said, heard) = tokio::join!(question.say(text(5)), answer.next());
    said.expect("taken");
    assert_eq!(heard.expect("a piece").expect("not the end"), text(5));
    drop(answer);
    // Until the server knows that nobody listens there a piece may still find its way, and is not taken.
    assert_eq!(question.say(text(5)).await, Err(Gone));
    let _answer = asks.ask(b"two".to_vec()).await.expect("asked");
    assert_eq!(questions.next().await.expect("another").text, "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_leads_that_is_said_at_once_and_what_breaks_off_is_no_answer() {
    let Some((_server, asks, leads)) = two().await else {
        return;
    };
    let asked = asks.ask(b"what?".to_vec()).await;
    assert_eq!(asked.expect_err("nobody"), AskError::NobodyLeads);
    // It has the lease, and does not listen.
    let led = leads.lead("two").await.expect("it leads");
    is_known(&asks, "two").await;
    let mut answer = asks.ask(b"what?".to_vec()).await.expect("asked");
    // The server says so at once: who waits in vain is told otherwise.
    assert_eq!(answer.next().await, Err(AskError::NobodyLeads));
    let large = asks.ask(vec![b'x'; PAYLOAD as usize]).await;
    assert!(matches!(large, Err(AskError::TooLarge { .. })), "{large:?}");

    led.resign().await;
    let (_led, mut questions) = listens(&leads, &asks).await;
    let mut answer = asks.ask(b"what?".to_vec()).await.expect("asked");
    let question = questions.next().await.expect("one");
    let (said, heard) = tokio::join!(question.say(text(5)), answer.next());
    said.expect("taken");
    assert_eq!(heard.expect("a piece").expect("not the end"), text(5));
    drop(question);
    assert_eq!(answer.next().await, Err(AskError::Silent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hangs_is_asked_nothing_any_more_once_another_one_leads() {
    let Some((_server, asks, hangs)) = two_with(Duration::from_secs(8)).await else {
        return;
    };
    let (led, mut hanging) = listens(&hangs, &asks).await;
    // It does not renew its lease any more; its connection is there, and its subscription.
    drop(led);
    until("nobody leads", async || asks.leader().borrow().is_none()).await;
    let asked = asks.ask(b"nobody?".to_vec()).await;
    assert_eq!(asked.expect_err("nobody"), AskError::NobodyLeads);
    let led = asks.lead("two").await.expect("it leads");
    let mut questions = asks.questions(&led).await.expect("it listens");
    is_known(&asks, "two").await;
    for number in 0..16_u8 {
        let mut answer = asks.ask(vec![number]).await.expect("asked");
        let answering = async {
            let question = questions.next().await.expect("one");
            assert_eq!(question.text, vec![number]);
            question.end().await.expect("taken");
        };
        let (heard, ()) = tokio::join!(answer.next(), answering);
        assert_eq!(heard.expect("answered"), Some(Bytes::new()));
    }
    // Whatever was sent to its connection before comes before this answer: it would be done when it goes on.
    hangs.kept("something").await.expect("an answer");
    let heard = hanging.next().now_or_never();
    assert!(heard.is_none(), "{heard:?}");
}

/// The servers know it then: nobody is told that nobody leads.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_listens_hears_all_that_is_asked_from_then_on() {
    let Some((_server, asks, leads)) = two().await else {
        return;
    };
    let led = leads.lead("one").await.expect("it leads");
    is_known(&asks, "one").await;
    for round in 0..300 {
        let mut questions = leads.questions(&led).await.expect("it listens");
        let mut answer = asks.ask(b"what?".to_vec()).await.expect("asked");
        let answering = tokio::spawn(async move {
            let question = questions.next().await.expect("one");
            question.end().await.expect("taken");
        });
        assert_eq!(answer.next().await, Ok(Some(Bytes::new())), "{round}");
        answering.await.expect("answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_connection_that_is_said_at_once() {
    let Some((server, asks, leads)) = two().await else {
        return;
    };
    let (_led, _questions) = listens(&leads, &asks).await;
    drop(server);
    until("it knows", async || !asks.is_connected()).await;
    let asked = asks.ask(b"what?".to_vec()).await;
    assert_eq!(asked.expect_err("nobody"), AskError::Away);
}

/// What stands in the lease becomes a part of a subject, and somebody else may have written it.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenure_that_no_relay_wrote_is_nobodys() {
    let Some(server) = server(NatsOptions::default()) else {
        return;
    };
    let options = one(&server);
    let asks = JetStream::connect_when_there(&options)
        .await
        .expect("connected");
    let client = async_nats::connect(server.address()).await;
    let client = client.expect("connected");
    let mut heard = client.subscribe(">").await.expect("subscribed");
    for (replica, tenure) in [("wild", "*"), ("apart", "a b"), ("deep", "a.b"), ("no", "")] {
        let value = format!(
            r#"{{"replica":"{replica}","tenure":"{tenure}","since":"","is_released":false,"lease_ms":60000}}"#
        );
        let key = format!("$KV.{}-lease.leader", options.name);
        let written = client.request(key, value.into()).await;
        written.expect("written");
        is_known(&asks, replica).await;
        let asked = asks.ask(b"what?".to_vec()).await;
        assert_eq!(asked.expect_err(tenure), AskError::NobodyLeads);
    }
    client.flush().await.expect("there");
    let questions = format!("{}.command", options.name);
    while let Some(Some(message)) = heard.next().now_or_never() {
        assert!(!message.subject.starts_with(&questions), "{message:?}");
    }
}
