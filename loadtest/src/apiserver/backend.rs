//! One API server: events into the buffer, batches out of it.
//!
//! Contract: returns when every event that was made has been dropped, accepted or lost. The body of a
//! batch is written once; each try sends that.
//!
//! Kubernetes: `bufferedBackend.Run`, with a goroutine for each batch.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Options;
use super::buffer::{Event, make, next_batch};
use super::exchange::Exchange;
use super::retry::deliver;
use super::tally::Tally;
use super::throttle::Throttle;

const HEAD: &[u8] =
    br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
const TAIL: &[u8] = b"]}\n";

/// What the tasks of one API server share.
struct Shared {
    options: Options,
    exchange: Exchange,
    tally: Arc<Tally>,
}

/// Runs until the time is over or `stopped` says so, and then until the last batch has ended.
pub(super) async fn run(options: Options, tally: Arc<Tally>, stopped: watch::Receiver<bool>) {
    let exchange = Exchange::new(options.target.clone(), Arc::clone(&tally));
    let buffer_events = usize::try_from(options.buffer_events.get()).unwrap_or(usize::MAX);
    let (sender, mut buffer) = mpsc::channel(buffer_events);
    let mut throttle = Throttle::new(options.qps, options.burst);
    let (size_max, max_wait) = (options.batch_events, options.max_wait);
    let shared = Arc::new(Shared {
        options,
        exchange,
        tally,
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(fill(Arc::clone(&shared), sender, stopped));
    while let Some(events) = next_batch(&mut buffer, size_max, max_wait).await {
        if events.is_empty() {
            continue;
        }
        throttle.ready().await;
        tasks.spawn(send(Arc::clone(&shared), events));
        // What has ended is forgotten, so that a long run does not collect it.
        while let Some(ended) = tasks.try_join_next() {
            ended.expect("neither the maker nor a batch panics");
        }
    }
    tasks.join_all().await;
}

async fn fill(shared: Arc<Shared>, buffer: mpsc::Sender<Event>, stopped: watch::Receiver<bool>) {
    let made = make(&shared.options, buffer, stopped).await;
    shared.tally.made(made);
}

async fn send(shared: Arc<Shared>, events: Vec<Event>) {
    let tally = &shared.tally;
    let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
    let body = list(&events);
    drop(events);
    tally.batch_begins();
    let begun = Instant::now();
    let outcome = deliver(
        &shared.options,
        |deadline| shared.exchange.post(body.clone(), deadline),
        || tally.try_begins(),
    )
    .await;
    tally.batch_ends(count, outcome, begun.elapsed());
}

/// The events as the API server writes them: `metadata` empty, a line feed at the end.
fn list(events: &[Event]) -> Bytes {
    let events_bytes: usize = events.iter().map(|event| event.len() + 1).sum();
    let mut body = Vec::with_capacity(HEAD.len() + events_bytes + TAIL.len());
    body.extend_from_slice(HEAD);
    for (place, event) in events.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend_from_slice(event);
    }
    body.extend_from_slice(TAIL);
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_an_event_list_with_a_line_feed() {
        let body = list(&[b"{\"a\":1}".to_vec(), b"{\"b\":2}".to_vec()]);
        let expected = concat!(
            r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"#,
            r#""items":[{"a":1},{"b":2}]}"#,
            "\n"
        );
        assert_eq!(body, expected);
    }
}
