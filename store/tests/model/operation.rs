//! What a case does.

use auditrelay_audit::Severity;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

pub const CHANNELS: [&str; 3] = ["ops", "sec", "dev"];

/// What becomes of an event when it is routed.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    To(usize, Severity),
    Duplicate,
    Filtered,
    Quarantined,
}

#[derive(Debug, Clone)]
pub enum Operation {
    /// Events of so many bytes.
    Append(Vec<u16>),
    /// So many blocks; the fates go round.
    Route(usize, Vec<Fate>),
    Lease(usize, usize),
    Ack(usize),
    /// Details of the message are to follow.
    AckWithThread(usize),
    /// Of the thread of this number so many parts are posted, or it is finished; and one that there is not.
    NoteThread(usize, usize, Option<u32>),
    FallBack(usize, usize),
    Release(usize),
    Bury(usize),
    /// The dead letter of this number, and one that there is not.
    Redrive(usize),
    DropDead(usize),
    Copies(usize, Severity, u8),
    /// Closes the queue and opens it.
    Reopen,
    /// Goes on with what is on disk while the queue is open: what a killed process leaves. With so many
    /// bytes of a commit behind each log that was not completed.
    Crash(u8),
}

#[derive(Debug, Clone)]
pub struct Case {
    pub segment_bytes: u64,
    /// Of one channel, and of the dead letters.
    pub quota_bytes: Option<u64>,
    pub operations: Vec<Operation>,
}

pub fn cases() -> impl Strategy<Value = Case> {
    let quota = prop_oneof![3 => Just(None), 1 => (300..3_000u64).prop_map(Some)];
    let operations = proptest::collection::vec(operation(), 1..28);
    (300..3_000u64, quota, operations).prop_map(|(segment_bytes, quota_bytes, operations)| Case {
        segment_bytes,
        quota_bytes,
        operations,
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let channel = || 0..CHANNELS.len();
    let sizes = proptest::collection::vec(8..200u16, 1..6);
    let fates = proptest::collection::vec(fate(), 1..6);
    prop_oneof![
        8 => sizes.prop_map(Operation::Append),
        8 => (1..4usize, fates).prop_map(|(blocks, fates)| Operation::Route(blocks, fates)),
        8 => (channel(), 1..8usize).prop_map(|(channel, max)| Operation::Lease(channel, max)),
        6 => channel().prop_map(Operation::Ack),
        2 => channel().prop_map(Operation::AckWithThread),
        1 => (channel(), 0..3usize, proptest::option::of(1..9u32))
            .prop_map(|(channel, number, done)| Operation::NoteThread(channel, number, done)),
        3 => (channel(), channel()).prop_map(|(from, to)| Operation::FallBack(from, to)),
        1 => channel().prop_map(Operation::Release),
        3 => channel().prop_map(Operation::Bury),
        2 => (0..4usize).prop_map(Operation::Redrive),
        1 => (0..4usize).prop_map(Operation::DropDead),
        1 => (channel(), severity(), 1..4u8)
            .prop_map(|(channel, severity, events)| Operation::Copies(channel, severity, events)),
        1 => Just(Operation::Reopen),
        1 => any::<u8>().prop_map(Operation::Crash),
    ]
}

fn severity() -> impl Strategy<Value = Severity> {
    any::<u8>().prop_map(|number| Severity::ALL[usize::from(number) % 3])
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => (0..CHANNELS.len(), severity()).prop_map(|(to, severity)| Fate::To(to, severity)),
        1 => Just(Fate::Duplicate),
        1 => Just(Fate::Filtered),
        1 => Just(Fate::Quarantined),
    ]
}
