//! Log files of any replica: each line once, though appends fail of which nobody knows what became.

use auditrelay_store::{InputPosition, Intake, QueueError};

use crate::*;

fn position(input: &str, offset: u64, more: &str) -> InputPosition {
    let state = format!("{{\"offset\":{offset}{more}}}");
    InputPosition::new(input.to_owned(), state).expect("short")
}

/// Blocks of a file, each with how far it reads it.
fn lines(input: &str, offsets: &[u64]) -> EncodedBatch {
    let blocks = offsets.iter().map(|offset| {
        let mut block = BatchEncoder::of_one_block("prod", 7, 0, 0);
        pushed(&mut block, &format!("\"{input}-{offset}\""));
        block.finish_at(position(input, *offset, ""))
    });
    let joined = blocks.reduce(|mut all, block| {
        all.join(block);
        all
    });
    joined.expect("some")
}

fn sorted(mut inputs: Vec<InputPosition>) -> Vec<(String, String)> {
    inputs.sort_by(|a, b| a.input.cmp(&b.input));
    inputs
        .into_iter()
        .map(|one| (one.input, one.state))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_are_given_again_are_taken_once_and_what_was_read_is_known_to_the_next_replica()
{
    let Some(server) = server() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let options = options(&server);
    let inbox = connect(&options).await.inbox();
    let engine = engine(folder.path());
    // Stored in part, stored and not known to be, stored at last; another file between them.
    for (input, offsets) in [
        ("a", &[10, 20][..]),
        ("a", &[10, 20, 30]),
        ("b", &[10]),
        ("a", &[10, 20, 30]),
        ("a", &[40]),
    ] {
        inbox.append(lines(input, offsets)).await.expect("durable");
    }
    let ended = position("a", 40, ",\"ended\":true");
    inbox.note_inputs(vec![ended.clone()]).await.expect("noted");
    let since = InputPosition::new("since".to_owned(), "x".repeat(3_000)).expect("short");
    inbox.note_inputs(vec![since.clone()]).await.expect("noted");
    // A block behind the notes, so that it is the engine's only once the pump came to the question.
    inbox.append(lines("c", &[10])).await.expect("durable");
    let known = sorted(vec![
        ended,
        position("b", 10, ""),
        position("c", 10, ""),
        since,
    ]);
    assert_eq!(sorted(inbox.inputs()), known, "what it appended itself");

    // Another replica begins while nobody leads, and all of that is in the inbox still.
    let next = connect(&options).await.inbox();
    let nobody = next.learn_inputs().await;
    assert!(
        matches!(nobody, Err(QueueError::Unavailable(_))),
        "{nobody:?}"
    );
    let pumping = pump(&inbox, &engine);
    until("it is answered", async || next.learn_inputs().await.is_ok()).await;
    assert_eq!(sorted(next.inputs()), known);

    // Late repetitions, also by a leader that knows the file from its engine alone.
    inbox.append(lines("a", &[30, 40])).await.expect("durable");
    let stale = position("a", 20, "");
    inbox.note_inputs(vec![stale]).await.expect("noted");
    pumping.end().await;
    let pumping = pump(&next, &engine);
    next.append(lines("a", &[40, 50])).await.expect("durable");
    next.append(batch("\"end\"")).await.expect("durable");
    until("all is taken", async || {
        taken(&engine).await.iter().any(|json| json == "\"end\"")
    })
    .await;
    let expected = [
        "a-10", "a-20", "a-30", "b-10", "a-40", "c-10", "a-50", "end",
    ];
    let expected = expected.map(|one| format!("\"{one}\""));
    assert_eq!(taken(&engine).await, expected);
    let reached = sorted(next.inputs());
    assert_eq!(reached[0], ("a".to_owned(), "{\"offset\":50}".to_owned()));
    assert_eq!(
        reached.len(),
        4,
        "the pump's own place is no file: {reached:?}"
    );
    pumping.end().await;
}

/// A block that was stored without the one before it would make that one look like a repetition.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_file_nothing_is_stored_behind_a_block_that_was_not() {
    let Some(server) = server() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let options = JetStreamOptions {
        inbox_bytes_max: 1 << 20,
        ..options(&server)
    };
    let inbox = connect(&options).await.inbox();
    let mut expected = Vec::new();
    let large = |seed| format!("\"{}\"", noise(200_000, seed));
    while inbox
        .append(batch(&large(expected.len() as u64)))
        .await
        .is_ok()
    {
        expected.push(large(expected.len() as u64));
        assert!(expected.len() < 100, "1 MiB is full");
    }
    let block = |offset, json: &str| {
        let mut block = BatchEncoder::of_one_block("prod", 7, 0, 0);
        pushed(&mut block, json);
        block.finish_at(position("a", offset, ""))
    };
    let first = large(999);
    let both = || {
        let mut both = block(10, &first);
        both.join(block(20, "\"second\""));
        both
    };
    let refused = inbox.append(both()).await;
    assert!(matches!(refused, Err(QueueError::Full(_))), "{refused:?}");
    assert_eq!(inbox.inputs(), []);
    // There was room for the second one.
    inbox.append(batch("\"small\"")).await.expect("durable");

    let engine = engine(folder.path());
    let pumping = pump(&inbox, &engine);
    until("there is room", async || inbox.append(both()).await.is_ok()).await;
    inbox.append(batch("\"end\"")).await.expect("durable");
    until("all is taken", async || {
        taken(&engine).await.iter().any(|json| json == "\"end\"")
    })
    .await;
    pumping.end().await;
    expected.extend(["\"small\"".to_owned(), first.clone()]);
    expected.extend(["\"second\"".to_owned(), "\"end\"".to_owned()]);
    let short = |texts: &[String]| -> Vec<String> {
        let short = texts.iter().map(|text| text.chars().take(20).collect());
        short.collect()
    };
    assert_eq!(short(&taken(&engine).await), short(&expected));
}
