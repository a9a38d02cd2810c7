//! What strace saw, and whether each answer was covered by a sync.
//!
//! strace holds a thread where a call begins and where it ends, and writes the line while it does. So
//! where the end of one call stands before the beginning of another, the first had ended before the
//! second began. Calls are therefore placed by their lines: line `n` begins at `2n` and ends at `2n + 1`.
//!
//! An answer is covered if the bytes of its batch fit into writes that began after its request had been
//! read, to files of one log, each with a sync of that file which began after the write had ended, succeeded, and
//! ended before the answer began. Bytes are not counted twice: two batches cannot be covered by a write
//! that has room for one. Batches are told by no name, since they are compressed; but they are made of
//! noise, so that each needs its bytes.

use std::collections::{BTreeMap, HashMap};

/// One system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    /// What strace says of its descriptor: a path, or the two ends of a connection.
    pub on: String,
    /// Whether it writes the answer to a batch.
    pub is_answer: bool,
    pub begins: usize,
    pub ends: usize,
    pub result: i64,
}

/// Reads `strace -f -yy`.
pub fn calls(trace: &str) -> Vec<Call> {
    let mut under_way: HashMap<&str, Call> = HashMap::new();
    let mut found = Vec::new();
    for (n, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim();
        let begun = if rest.starts_with("<... ") {
            under_way.remove(thread)
        } else {
            begun(rest, n)
        };
        let Some(mut call) = begun else { continue };
        if rest.ends_with("<unfinished ...>") {
            under_way.insert(thread, call);
            continue;
        }
        let result = rest.rsplit_once(" = ").map_or("", |(_, result)| result);
        let number = result.split(' ').next().unwrap_or_default();
        call.result = number.parse().unwrap_or(-1);
        call.ends = 2 * n + 1;
        found.push(call);
    }
    // An answer under way when the process ended was an answer all the same.
    found.extend(under_way.into_values().filter(|call| call.is_answer));
    found
}

fn begun(line: &str, n: usize) -> Option<Call> {
    let (name, rest) = line.split_once('(')?;
    let (_, on) = rest.split_once('<')?;
    let end = [">, ", ">)", "> <unfinished"]
        .iter()
        .filter_map(|end| on.find(end))
        .min()?;
    Some(Call {
        name: name.to_owned(),
        on: on[..end].to_owned(),
        is_answer: line.contains("safe on disk"),
        begins: 2 * n,
        ends: usize::MAX,
        result: -1,
    })
}

/// An answer, and when its request had been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub read: usize,
    pub begins: usize,
}

pub fn answers(calls: &[Call]) -> Vec<Answer> {
    let read_before = |answer: &Call| {
        let reads = calls.iter().filter(|call| {
            call.on == answer.on
                && (call.name.starts_with("read") || call.name.starts_with("recv"))
                && call.result > 0
                && call.ends < answer.begins
        });
        reads.map(|call| call.ends).max()
    };
    let answers = calls.iter().filter(|call| call.is_answer);
    answers
        .map(|answer| Answer {
            read: read_before(answer).expect("a request before its answer"),
            begins: answer.begins,
        })
        .collect()
}

/// A write to a file that a sync followed.
struct Durable {
    begins: usize,
    /// When that sync had ended.
    synced: usize,
    bytes: u64,
}

/// A log goes on in other files, whose names differ by their number.
fn log_of(path: &str) -> String {
    path.chars().filter(|one| !one.is_ascii_digit()).collect()
}

/// By log, in order.
fn durable(calls: &[Call]) -> BTreeMap<String, Vec<Durable>> {
    let mut logs: BTreeMap<String, Vec<Durable>> = BTreeMap::new();
    let is_write = |call: &&Call| {
        let name = call.name.as_str();
        (name.starts_with("write") || name.starts_with("pwrite"))
            && call.on.starts_with('/')
            && call.result > 0
    };
    for write in calls.iter().filter(is_write) {
        let syncs = calls.iter().filter(|call| {
            (call.name == "fdatasync" || call.name == "fsync")
                && call.on == write.on
                && call.result == 0
                && call.begins > write.ends
        });
        let Some(synced) = syncs.map(|call| call.ends).min() else {
            continue;
        };
        logs.entry(log_of(&write.on)).or_default().push(Durable {
            begins: write.begins,
            synced,
            bytes: write.result.unsigned_abs(),
        });
    }
    for writes in logs.values_mut() {
        writes.sort_by_key(|write| write.begins);
    }
    logs
}

/// How many answers are not covered, by the log that covers most. Each stands for `bytes` at least.
pub fn uncovered(calls: &[Call], bytes: u64) -> usize {
    let answers = answers(calls);
    let of_log = |writes: &Vec<Durable>| {
        let mut open: Vec<(Answer, u64)> = answers.iter().map(|one| (*one, bytes)).collect();
        // Who is answered first takes first: no other order covers more.
        open.sort_by_key(|(answer, _)| answer.begins);
        for write in writes {
            let mut room = write.bytes;
            for (answer, missing) in &mut open {
                if answer.read < write.begins && write.synced < answer.begins {
                    let taken = room.min(*missing);
                    room -= taken;
                    *missing -= taken;
                }
            }
        }
        open.iter().filter(|(_, missing)| *missing > 0).count()
    };
    durable(calls)
        .values()
        .map(of_log)
        .min()
        .unwrap_or(answers.len())
}
