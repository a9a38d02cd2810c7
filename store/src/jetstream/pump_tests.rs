//! The pump step by step on a real server: it is ended at each point at which a kill could change what is taken.

use auditrelay_audit::EventKey;
use auditrelay_loadtest::nats::{NatsOptions, NatsServer};
use bytes::Bytes;
use tempfile::TempDir;

use super::*;

#[path = "pump_harm_tests.rs"]
mod harm;

use crate::{
    BatchEncoder, Content, EncodedBatch, Hint, InputPosition, Intake, SledOptions,
    jetstream::{Credentials, Durability, JetStream, JetStreamOptions, Tls, parts::PATIENCE},
};

/// For what is to be stored, however busy the servers are.
const PATIENT: Duration = Duration::from_secs(30);

struct Case {
    server: NatsServer,
    servers: JetStream,
    inbox: Inbox,
    folder: TempDir,
    stop: watch::Sender<bool>,
    stopping: watch::Receiver<bool>,
}

/// A server that takes messages of 64 KiB at most; `None` where there is no program.
async fn case() -> Option<Case> {
    let with = NatsOptions {
        payload_bytes_max: Some(64 << 10),
        ..NatsOptions::default()
    };
    let server = NatsServer::start(&with).expect("it starts")?;
    let options = JetStreamOptions {
        servers: vec![server.address()],
        credentials: Credentials::None,
        tls: Tls::default(),
        replicas: 1,
        name: "relay".to_owned(),
        inbox_bytes_max: 64 << 20,
        ledger_bytes_max: 64 << 20,
        lease: Duration::from_secs(6),
        append_timeout: PATIENT,
        durability: Durability::Synced(vec![server.monitoring().parse().expect("an address")]),
    };
    let servers = JetStream::connect_when_there(&options).await;
    let servers = servers.expect("it connects");
    let (stop, stopping) = watch::channel(false);
    Some(Case {
        inbox: servers.inbox(),
        servers,
        server,
        folder: TempDir::new().expect("a folder"),
        stop,
        stopping,
    })
}

/// Text that does not get much smaller by compression.
fn noise(bytes: usize, mut seed: u64) -> String {
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.push_str(&format!("{:016x}", seed ^ (seed >> 29)));
    }
    text
}

fn event(n: u64, json: &str) -> EncodedBatch {
    let mut batch = BatchEncoder::new("prod", 7, 0, 0);
    let key = EventKey {
        identity: n,
        fingerprint: [n as u8; 16],
    };
    let content = Content::Event {
        json: json.into(),
        body_unreadable: false,
    };
    batch.push(&key, &content, Hint::default());
    batch.finish()
}

impl Case {
    fn engine(&self) -> Engine {
        let options = SledOptions::new(self.folder.path(), 7);
        Engine::open(&options).expect("it opens").queue
    }

    /// What the engine was given, in order, and nothing of what it has forgotten how it got there.
    async fn taken(&self, engine: &Engine) -> Vec<String> {
        if engine.ledger().waiting == 0 {
            return Vec::new();
        }
        let blocks = engine.unrouted(10_000).await.expect("blocks");
        let texts = blocks.iter().flat_map(|block| {
            let texts = block.texts().expect("whole");
            let all = 0..block.items.len();
            all.map(move |item| texts.get(item).to_owned())
        });
        texts.collect()
    }

    async fn messages(&self) -> u64 {
        let inbox = &self.servers.streams().inbox;
        let stream = self.servers.context().get_stream(inbox).await;
        stream.expect("it is there").cached_info().state.messages
    }

    /// A round of a pump that is then killed, with or without having deleted what it took.
    async fn round(&self, engine: &Engine, deletes: bool) {
        let door = &self.inbox.0;
        let mut stop = self.stopping.clone();
        let mut pump = begun(door, engine).await;
        // Not a second has passed since it began: nothing is deleted by itself.
        pump.purged_at = Instant::now() + Duration::from_secs(3_600);
        assert!(done(pump.turn(&mut stop).await));
        if deletes {
            done(pump.purge().await);
        }
    }
}

async fn begun<'d>(door: &'d Door, engine: &'d Engine) -> Pump<'d> {
    let mut behind_since = None;
    loop {
        match Pump::begin(door, engine, &mut behind_since).await {
            // As if it had been so for long.
            Err(Failed::Servers(_)) if behind_since.is_some() => {
                behind_since = Instant::now().checked_sub(Duration::from_secs(60));
            }
            begun => return done(begun),
        }
    }
}

fn done<T>(result: Result<T, Failed>) -> T {
    match result {
        Ok(done) => done,
        Err(Failed::Servers(why)) => panic!("{why}"),
        Err(Failed::Ended(error)) => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_before_it_deleted_leaves_nothing_to_be_taken_twice_or_passed_over() {
    let Some(case) = case().await else { return };
    let mut expected = Vec::new();
    for n in 0..12_u64 {
        // Every third one is larger than a message.
        let json = format!(
            "\"{n}-{}\"",
            noise(if n % 3 == 1 { 300_000 } else { 100 }, n)
        );
        case.inbox.append(event(n, &json)).await.expect("durable");
        expected.push(json);
        // A new leader each time, on what the one before left.
        let engine = case.engine();
        case.round(&engine, n % 4 == 3).await;
        assert_eq!(case.taken(&engine).await, expected, "after {n}");
        drop(engine);
    }
    let engine = case.engine();
    assert_eq!(case.taken(&engine).await, expected);
    assert_eq!(engine.ledger().received, 12);
    assert_eq!(case.messages().await, 0, "the last one deleted all");
    drop(case.stop);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_whose_parts_are_half_there_is_taken_once_by_whoever_leads_when_it_is_whole() {
    let Some(case) = case().await else { return };
    let engine = case.engine();
    let door = &case.inbox.0;
    let (large, small) = (format!("\"{}\"", noise(150_000, 9)), "\"small\"".to_owned());
    let frame = message::framed(&event(1, &large).blocks[0]);
    let subject = format!("{}.some", case.servers.streams().inbox_subject);
    let (pieces, mut last) = (frame.chunks(50_000), 0);
    let of = pieces.len();
    assert!(of >= 2);
    for (number, piece) in pieces.enumerate() {
        let piece = Bytes::copy_from_slice(piece);
        let part = message::part(number, of, piece)
            .message_id(format!("some.{number}"))
            .expected_last_subject_sequence(last);
        let deadline = Instant::now() + PATIENT;
        last = publish(&case.servers, &subject, part, deadline)
            .await
            .expect("it is stored");
        if number + 1 < of {
            // What came between is taken, and deleted, and the parts stay.
            case.inbox.append(event(2, &small)).await.expect("durable");
            case.round(&engine, true).await;
            assert_eq!(case.messages().await, number as u64 + 1);
        }
    }
    case.round(&engine, false).await;
    case.round(&engine, true).await;
    let mut expected = vec![small; of - 1];
    expected.push(large);
    assert_eq!(case.taken(&engine).await, expected);
    assert_eq!(case.messages().await, 0);
    let _door = door;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_given_up_only_if_no_part_can_come_and_its_append_fails_then() {
    let Some(case) = case().await else { return };
    let engine = case.engine();
    let mut stop = case.stopping.clone();
    let deadline = || Instant::now() + PATIENT;
    let subject = |id: &str| format!("{}.{id}", case.servers.streams().inbox_subject);
    let large = format!("\"{}\"", noise(60_000, 9));
    let frame = message::framed(&event(1, &large).blocks[0]);
    let (first, rest) = (frame.slice(..10_000), frame.slice(10_000..));
    let (second, third) = (rest.slice(..10_000), rest.slice(10_000..));
    // With an ID each, as an append gives them: a try without an answer is repeated.
    let part = |id: &str, number, bytes: &Bytes, last| {
        message::part(number, 3, bytes.clone())
            .message_id(format!("{id}.{number}"))
            .expected_last_subject_sequence(last)
    };
    let mut pump = begun(&case.inbox.0, &engine).await;
    for id in ["dead", "late"] {
        let stored = publish(
            &case.servers,
            &subject(id),
            part(id, 0, &first, 0),
            deadline(),
        )
        .await;
        stored.expect("it is stored");
    }
    done(pump.turn(&mut stop).await);
    // The second part comes just before the block is given up, and is not seen yet.
    let late = publish(
        &case.servers,
        &subject("late"),
        part("late", 1, &second, 2),
        deadline(),
    )
    .await;
    let last = late.expect("it is stored");
    pump.give_up_stale(Instant::now() + PATIENCE).await;
    // So it is not given up, and can be whole.
    let late = publish(
        &case.servers,
        &subject("late"),
        part("late", 2, &third, last),
        deadline(),
    )
    .await;
    late.expect("it is stored");
    let dead = publish(
        &case.servers,
        &subject("dead"),
        part("dead", 1, &second, 1),
        deadline(),
    )
    .await;
    assert!(
        matches!(dead, Err(QueueError::Unavailable(_))),
        "it would be acknowledged and lost: {dead:?}"
    );
    done(pump.turn(&mut stop).await);
    assert_eq!(case.taken(&engine).await, [large]);
    assert_eq!(pump.parts.first(), None);
    done(pump.purge().await);
    assert_eq!(case.messages().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_that_is_another_one_is_read_from_its_beginning() {
    let Some(case) = case().await else { return };
    let engine = case.engine();
    let mut stop = case.stopping.clone();
    let mut pump = begun(&case.inbox.0, &engine).await;
    for n in 0..3 {
        let json = n.to_string();
        case.inbox.append(event(n, &json)).await.expect("durable");
    }
    done(pump.turn(&mut stop).await);
    let context = case.servers.context();
    let inbox = &case.servers.streams().inbox;
    context.delete_stream(inbox).await.expect("it is deleted");
    // What a relay that starts makes of it.
    let again = JetStream::connect_when_there(case.servers.options()).await;
    let again = again.expect("it connects").inbox();
    // More than was taken of the one before: its sequence says nothing here.
    for n in 4..8 {
        let json = n.to_string();
        again.append(event(n, &json)).await.expect("durable");
    }
    let turned = pump.turn(&mut stop).await;
    assert!(
        matches!(turned, Err(Failed::Servers(_))),
        "it is another one"
    );
    let mut pump = begun(&case.inbox.0, &engine).await;
    while done(pump.turn(&mut stop).await) {}
    let all = ["0", "1", "2", "4", "5", "6", "7"];
    assert_eq!(case.taken(&engine).await, all);
    assert_eq!(engine.ledger().received, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_that_ends_before_what_was_taken_is_doubted_and_then_read_from_its_beginning() {
    let Some(case) = case().await else { return };
    let engine = case.engine();
    for n in 0..3 {
        let json = n.to_string();
        case.inbox.append(event(n, &json)).await.expect("durable");
    }
    // What an engine knows whose servers lost what they had acknowledged.
    let context = case.servers.context();
    let stream = context.get_stream(&case.servers.streams().inbox).await;
    let created = stream.expect("it is there").cached_info().created;
    let position = InputPosition {
        input: INPUT.to_owned(),
        state: format!("{}/9", created.unix_timestamp_nanos()),
    };
    let noted = Queue::note_inputs(&engine, vec![position]).await;
    noted.expect("noted");
    let mut behind_since = None;
    let doubted = Pump::begin(&case.inbox.0, &engine, &mut behind_since).await;
    assert!(matches!(doubted, Err(Failed::Servers(_))), "believed");
    assert!(behind_since.is_some());
    let mut stop = case.stopping.clone();
    let mut pump = begun(&case.inbox.0, &engine).await;
    while done(pump.turn(&mut stop).await) {}
    assert_eq!(case.taken(&engine).await, ["0", "1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_relay_wrote_is_quarantined_and_what_a_later_one_wrote_is_left_there() {
    let Some(case) = case().await else { return };
    let engine = case.engine();
    let mut stop = case.stopping.clone();
    let context = case.servers.context();
    let subject = case.servers.streams().inbox_subject.clone();
    let send = async |message: PublishMessage| {
        let sent = context.send_publish(subject.clone(), message).await;
        sent.expect("sent").await.expect("stored");
    };
    send(PublishMessage::build().payload("strange".into())).await;
    case.inbox.append(event(1, "1")).await.expect("durable");
    let later = message::block("?".into()).header("Auditrelay-Version", "9");
    send(later).await;
    case.inbox.append(event(2, "2")).await.expect("durable");
    let mut pump = begun(&case.inbox.0, &engine).await;
    let failed = pump.turn(&mut stop).await;
    assert!(matches!(failed, Err(Failed::Servers(why)) if why.contains("later version")));
    done(pump.purge().await);
    let blocks = engine.unrouted(10).await.expect("blocks");
    let kinds: Vec<_> = blocks.iter().flat_map(|block| &block.items).collect();
    assert!(matches!(kinds[0].kind, crate::ItemKind::Unreadable(_)));
    assert_eq!(
        (kinds.len(), blocks[1].texts().expect("whole").get(0)),
        (2, "1")
    );
    assert_eq!(
        case.messages().await,
        2,
        "they wait for a relay that knows them"
    );
    drop(case.server);
}
