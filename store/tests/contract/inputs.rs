//! How far inputs were read: with the batch, and never behind or ahead of it.

use crate::Sound;
use auditrelay_store::{Engine, Queue as _};
use std::collections::BTreeMap;

use auditrelay_audit::{EventKey, Severity};
use auditrelay_store::{BatchEncoder, Content, EncodedBatch, Hint, INPUTS_MAX, InputPosition};

use crate::{
    Backend,
    support::{all_to, texts},
};

pub fn position(input: &str, state: &str) -> InputPosition {
    InputPosition::new(input.to_owned(), state.to_owned()).expect("short")
}

/// A batch of one block that reads `input` up to `state`.
pub fn read_to(input: &str, state: &str, events: &[&str]) -> EncodedBatch {
    let mut batch = BatchEncoder::of_one_block("prod", 7, 0, 0);
    for (n, json) in events.iter().enumerate() {
        let key = EventKey {
            identity: n as u64,
            fingerprint: [n as u8; 16],
        };
        let content = Content::Event {
            json: (*json).into(),
            body_unreadable: false,
        };
        batch.push(&key, &content, Hint::default());
    }
    batch.finish_at(position(input, state))
}

fn inputs(queue: &Engine) -> BTreeMap<String, String> {
    let inputs = queue.inputs().into_iter();
    inputs.map(|one| (one.input, one.state)).collect()
}

fn expected(inputs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(input, state): &(&str, &str)| ((*input).to_owned(), (*state).to_owned());
    inputs.iter().map(owned).collect()
}

async fn route_all(queue: &Engine) {
    let blocks = queue.unrouted(100).await.expect("blocks");
    let routed = all_to("ops", Severity::Info, &blocks);
    queue.route(routed).await.expect("routed");
}

pub async fn what_was_read_is_known_with_its_batch_and_after_a_restart<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    assert!(inputs(&queue).is_empty());
    for (input, state) in [("a", "10"), ("b", "7"), ("a", "20")] {
        let batch = read_to(input, state, &["{\"n\":1}", "{\"n\":2}"]);
        queue.append(batch).await.expect("durable");
    }
    let reached = expected(&[("a", "20"), ("b", "7")]);
    assert_eq!(inputs(&queue), reached);
    // Not routed, partly routed, routed: the newest word counts each time.
    drop(queue);
    let queue = B::at(dir.path());
    assert_eq!(inputs(&queue), reached);
    let blocks = queue.unrouted(1).await.expect("blocks");
    assert_eq!(texts(&blocks[0]), ["{\"n\":1}", "{\"n\":2}"]);
    let routed = all_to("ops", Severity::Info, &blocks);
    queue.route(routed).await.expect("routed");
    assert_eq!(inputs(&queue), reached);
    drop(queue);
    let queue = B::at(dir.path());
    assert_eq!(inputs(&queue), reached);
    route_all(&queue).await;
    drop(queue);
    let queue = B::at(dir.path());
    assert_eq!(inputs(&queue), reached);
    assert_eq!(queue.ledger().counts.routed, 6);
    queue.sound().await;
}

pub async fn a_batch_of_one_block_is_one_however_much_is_in_it<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    let event = format!("\"{}\"", "x".repeat(3_000));
    let many: Vec<&str> = vec![&event; 1_500];
    queue
        .append(read_to("a", "1", &many))
        .await
        .expect("durable");
    let mut two = read_to("a", "2", &["{}"]);
    two.join(read_to("a", "3", &["[]"]));
    queue.append(two).await.expect("durable");
    let blocks = queue.unrouted(100).await.expect("blocks");
    let items: Vec<usize> = blocks.iter().map(|block| block.items.len()).collect();
    assert_eq!(items, [1_500, 1, 1]);
    assert_eq!(texts(&blocks[2]), ["[]"]);
    assert_eq!(inputs(&queue), expected(&[("a", "3")]));
    queue.sound().await;
}

pub async fn a_note_counts_more_than_batches_before_it<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    let batch = read_to("a", "batch", &["{}"]);
    queue.append(batch).await.expect("durable");
    let note = position("a", "note");
    queue.note_inputs(vec![note]).await.expect("noted");
    let noted = expected(&[("a", "note")]);
    assert_eq!(inputs(&queue), noted);
    drop(queue);
    // The block that is older comes back from its log, and is routed after the note.
    let queue = B::at(dir.path());
    assert_eq!(inputs(&queue), noted);
    route_all(&queue).await;
    drop(queue);
    let queue = B::at(dir.path());
    assert_eq!(inputs(&queue), noted);
    let batch = read_to("a", "later", &["{}"]);
    queue.append(batch).await.expect("durable");
    route_all(&queue).await;
    drop(queue);
    let queue = B::at(dir.path());
    assert_eq!(inputs(&queue), expected(&[("a", "later")]));
}

pub async fn an_input_is_forgotten_on_request_and_the_oldest_beyond_the_limit<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    for input in ["oldest", "kept"] {
        let batch = read_to(input, "1", &["{}"]);
        queue.append(batch).await.expect("durable");
    }
    route_all(&queue).await;
    let again = position("kept", "2");
    let many = (0..INPUTS_MAX - 1).map(|n| position(&format!("n{n}"), "x"));
    let notes = std::iter::once(again).chain(many).collect();
    queue.note_inputs(notes).await.expect("noted");
    let known = inputs(&queue);
    assert_eq!(known.len(), INPUTS_MAX);
    assert!(!known.contains_key("oldest") && known["kept"] == "2");
    drop(queue);
    let queue = B::at(dir.path());
    assert_eq!(inputs(&queue), known);
    queue.sound().await;
}
