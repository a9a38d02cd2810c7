//! Servers that lose what they acknowledged, or get what was sent to them later than it counts.

use std::{fs, path::Path};

use super::*;

/// Copies a folder, which replaces what is there.
fn put(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).expect("it goes");
    }
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("it is read") {
        let entry = entry.expect("it is read");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            put(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

async fn append(case: &Case, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let json = n.to_string();
        case.inbox.append(event(n, &json)).await.expect("durable");
    }
}

/// Starts the server again on other files of the inbox, if there are any.
async fn again(case: &mut Case, inbox: Option<&Path>) {
    let store = case.server.store_dir();
    case.server.kill();
    while case.servers.is_connected() {
        sleep(Duration::from_millis(5)).await;
    }
    if let Some(inbox) = inbox {
        put(inbox, &store.join("jetstream/$G/streams/relay-inbox"));
    }
    case.server.restart().expect("it starts");
    while !case.servers.is_connected() {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Takes 20 messages of an inbox that then goes back to the third, and is filled past the 20th before anybody looks.
async fn comes_back(deletes: bool, goes_on: bool) {
    let Some(mut case) = case().await else { return };
    append(&case, 0..3).await;
    case.server.kill();
    let older = TempDir::new().expect("a folder");
    let files = case.server.store_dir();
    put(
        &files.join("jetstream/$G/streams/relay-inbox"),
        older.path(),
    );
    again(&mut case, None).await;

    let engine = case.engine();
    let inbox = case.inbox.clone();
    let mut stop = case.stopping.clone();
    let mut pump = begun(&inbox.0, &engine).await;
    append(&case, 3..20).await;
    pump.purged_at = Instant::now() + Duration::from_secs(3_600);
    assert!(done(pump.turn(&mut stop).await));
    if deletes {
        done(pump.purge().await);
    }
    assert_eq!(case.taken(&engine).await.len(), 20);

    again(&mut case, Some(older.path())).await;
    append(&case, 20..60).await;
    if goes_on {
        let turned = pump.turn(&mut stop).await;
        assert!(
            matches!(turned, Err(Failed::Servers(_))),
            "what it took last is not there any more"
        );
    }
    let mut pump = begun(&inbox.0, &engine).await;
    while done(pump.turn(&mut stop).await) {}
    let taken = case.taken(&engine).await;
    let lost: Vec<_> = (0..60)
        .filter(|n| !taken.contains(&n.to_string()))
        .collect();
    assert!(
        lost.is_empty(),
        "acknowledged, and nobody has them: {lost:?}"
    );
    // What is taken twice is no more than what came back, and the router knows it.
    assert_eq!(taken.len(), 63);
    assert_eq!(case.messages().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_after_an_inbox_came_back_shorter_is_taken_by_who_went_on() {
    comes_back(false, true).await;
    comes_back(true, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_after_an_inbox_came_back_shorter_is_taken_by_who_leads_next() {
    comes_back(false, false).await;
    comes_back(true, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_an_older_version_is_gone_on_from() {
    let Some(case) = case().await else { return };
    append(&case, 0..3).await;
    let engine = case.engine();
    let created = begun(&case.inbox.0, &engine).await.created;
    let older = InputPosition {
        input: INPUT.to_owned(),
        state: format!("{created}/2"),
    };
    let noted = Queue::note_inputs(&engine, vec![older]).await;
    noted.expect("noted");
    let mut pump = begun(&case.inbox.0, &engine).await;
    while done(pump.turn(&mut case.stopping.clone()).await) {}
    assert_eq!(case.taken(&engine).await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_without_a_connection_is_not_kept_for_the_next_one() {
    let Some(mut case) = case().await else { return };
    case.server.kill();
    while case.servers.is_connected() {
        sleep(Duration::from_millis(5)).await;
    }
    // As where the connection breaks while an append is under way.
    let subject = &case.servers.streams().inbox_subject;
    let block = message::block(message::framed(&event(1, "late").blocks[0]));
    let deadline = Instant::now() + Duration::from_millis(800);
    let late = publish(&case.servers, subject, block.message_id("late"), deadline).await;
    assert!(matches!(late, Err(QueueError::Unavailable(_))), "{late:?}");
    again(&mut case, None).await;
    append(&case, 2..3).await;
    assert_eq!(case.messages().await, 1, "nobody waits for it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_whose_block_was_given_up_is_no_damage_for_who_reads_it_without_the_first() {
    let Some(case) = case().await else { return };
    let engine = case.engine();
    let mut stop = case.stopping.clone();
    let mut pump = begun(&case.inbox.0, &engine).await;
    let send = async |id: &str, message: PublishMessage, last| {
        let subject = format!("{}.{id}", case.servers.streams().inbox_subject);
        let message = message
            .message_id(format!("{id}.{last}"))
            .expected_last_subject_sequence(last);
        let deadline = Instant::now() + PATIENT;
        let stored = publish(&case.servers, &subject, message, deadline).await;
        stored.expect("it is stored")
    };
    let part = |number| message::part(number, 3, "piece".into());
    let dead = send("dead", part(0), 0).await;
    send("waits", part(0), 0).await;
    let dead = send("dead", part(1), dead).await;
    send("dead", message::given_up(), dead).await;
    done(pump.turn(&mut stop).await);
    done(pump.purge().await);
    assert_eq!(case.messages().await, 3, "the first part is gone");
    let mut pump = begun(&case.inbox.0, &engine).await;
    while done(pump.turn(&mut stop).await) {}
    assert_eq!(engine.ledger().received, 0, "nothing was whole or is lost");
}
