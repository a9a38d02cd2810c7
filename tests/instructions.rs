//! What an event costs between its body and the queue, counted in instructions and allocations: unlike
//! time they are the same on an idle machine and on one that does ten other things.
//!
//! valgrind runs `ingest/examples/ack_path.rs` with few rounds and with more of them. What starting
//! costs is in both, so the difference is that of the events.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// Per Metadata event of 1.2 KB, as measured on 2026-11-21 with rustc 1.95, gcc 12 (for zstd) and
/// valgrind 3.19 on x86-64 with AVX2. Whoever makes one cheaper, or dearer for a reason, writes down
/// the new figure.
const MEASURED: [Figure; 7] = [
    // 2,000 of them look for secrets in the address and for objects in annotations.
    instructions("prepare", 28_530.0),
    instructions("unwanted", 17_390.0),
    instructions("envelope", 14_450.0),
    instructions("fingerprint", 1_804.0),
    instructions("compress", 8_930.0),
    allocated("allocations", " bytes in ", 3.2),
    allocated("bytes", "Total: ", 1_945.0),
];

/// Another compiler or C library gives a few per cent more; a lost fast path gives times as many.
const MARGIN: f64 = 1.25;

const EVENTS_PER_ROUND: f64 = 400.0;
const ROUNDS: [u32; 2] = [2, 12];

/// Something that a tool of valgrind counts.
struct Figure {
    tool: &'static str,
    unit: &'static str,
    part: &'static str,
    /// What stands before the count in the tool's report.
    label: &'static str,
    per_event: f64,
}

/// Of a part of the way; `prepare` is all of it, `unwanted` that of events which no route wants.
const fn instructions(part: &'static str, per_event: f64) -> Figure {
    Figure {
        tool: "callgrind",
        unit: "instructions",
        part,
        label: "Collected : ",
        per_event,
    }
}

/// On the whole way; what is freed again counts too.
const fn allocated(unit: &'static str, label: &'static str, per_event: f64) -> Figure {
    Figure {
        tool: "dhat",
        unit,
        part: "prepare",
        label,
        per_event,
    }
}

impl Figure {
    fn count(&self, subject: &Path) -> f64 {
        let counts = ROUNDS.map(|rounds| {
            let report = valgrind(self.tool, subject, self.part, rounds);
            number_after(&report, self.label)
        });
        (counts[1] - counts[0]) / (f64::from(ROUNDS[1] - ROUNDS[0]) * EVENTS_PER_ROUND)
    }
}

#[test]
fn an_event_costs_no_more_than_it_did() {
    if let Some(reason) = cannot_count() {
        let skipped = format!("skipped: {reason}\n");
        std::io::stderr()
            .write_all(skipped.as_bytes())
            .expect("written");
        return;
    }
    let subject = build();
    let mut exceeded = 0;
    println!("\nper event of level Metadata:");
    for figure in &MEASURED {
        let now = figure.count(&subject);
        let bound = figure.per_event * MARGIN;
        exceeded += usize::from(now > bound);
        let (unit, part) = (figure.unit, figure.part);
        println!("{now:>10.1} {unit:<12} {part:<11} at most {bound:>8.1}");
    }
    assert_eq!(exceeded, 0, "of the figures printed are above their bounds");
}

fn cannot_count() -> Option<&'static str> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Some("valgrind is not installed (Debian: apt-get install valgrind)");
    }
    // The hash and the C library choose their code by what the processor can.
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has_avx2 = processor
        .split_ascii_whitespace()
        .any(|flag| flag == "avx2");
    (!has_avx2).then_some("the figures are those of a processor with AVX2")
}

/// Builds the program to count, optimised as a release is.
fn build() -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--profile", "instructions"])
        .args(["--package", "auditrelay-ingest", "--example", "ack_path"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let messages = stdout_of(&built);
    let executable = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "ack_path")
            .then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    executable.expect("cargo names what it built")
}

fn valgrind(tool: &str, subject: &Path, part: &str, rounds: u32) -> String {
    let run = Command::new("valgrind")
        .arg(format!("--tool={tool}"))
        .arg(format!("--{tool}-out-file=/dev/null"))
        .arg(subject)
        .args([part, &rounds.to_string()])
        .output()
        .expect("valgrind runs");
    stdout_of(&run);
    String::from_utf8_lossy(&run.stderr).into_owned()
}

fn stdout_of(run: &Output) -> String {
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}: {stderr}", run.status);
    String::from_utf8_lossy(&run.stdout).into_owned()
}

/// The first number behind `label`, which valgrind may write with commas and align with spaces.
fn number_after(report: &str, label: &str) -> f64 {
    let (_, rest) = report
        .split_once(label)
        .unwrap_or_else(|| panic!("no {label:?} in: {report}"));
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(|one| one.is_ascii_digit() || *one == ',')
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse().expect("a number")
}

#[test]
fn numbers_are_read_as_valgrind_writes_them() {
    let dhat =
        "==7== Total:     8,243,844 bytes in 17,033 blocks\n==7== At t-gmax: 1 bytes in 2 blocks";
    assert_eq!(number_after(dhat, "Total: "), 8_243_844.0);
    assert_eq!(number_after(dhat, " bytes in "), 17_033.0);
    assert_eq!(
        number_after("==7== Collected : 40255233\n", "Collected : "),
        40_255_233.0
    );
}
