//! `auditrelay policy simulate` with the real binary, on the log of a real API server (`audit.log.zst`: all kinds of
//! requests to a throw-away cluster, in four minutes).
//!
//! What it prints is held by snapshots (`cargo insta review` accepts a change); what it says of numbers, and of what
//! a suggestion loses, is counted again here in another way.

mod counted;
mod inputs;
mod suggestion;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::Value;

pub(crate) const LOG: &str = "tests/policy_simulate/audit.log.zst";
pub(crate) const EVERYTHING: &str = "tests/policy_simulate/policies/everything.yaml";
pub(crate) const QUIET: &str = "tests/policy_simulate/policies/quiet.yaml";

/// Runs `policy simulate` in the repository, with this on standard input; its exit code and both outputs.
pub(crate) fn simulate_with(stdin: &[u8], args: &[&str]) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_auditrelay"))
        .args(["policy", "simulate"])
        .args(args)
        .env_clear()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut to = child.stdin.take().expect("a pipe");
    let stdin = stdin.to_vec();
    let writer = std::thread::spawn(move || {
        // Who needs no standard input may be gone already.
        let _ = to.write_all(&stdin);
    });
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("written");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("an exit code");
    (code, text(output.stdout), text(output.stderr))
}

/// The same, which has to succeed; what it prints.
pub(crate) fn simulate(args: &[&str]) -> String {
    let (code, stdout, stderr) = simulate_with(b"", args);
    assert_eq!(code, 0, "{args:?}: {stderr}");
    stdout
}

pub(crate) fn json(args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().chain(&["--json"]).copied().collect();
    serde_json::from_str(&simulate(&args)).expect("JSON")
}

/// The log's lines.
pub(crate) fn lines() -> Vec<String> {
    let packed = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(LOG)).expect("there");
    let text = zstd::decode_all(&packed[..]).expect("zstd");
    let text = String::from_utf8(text).expect("text");
    text.lines().map(str::to_owned).collect()
}

pub(crate) fn written(folder: &Path, name: &str, text: &str) -> String {
    let path: PathBuf = folder.join(name);
    fs::write(&path, text).expect("written");
    path.to_str().expect("text").to_owned()
}

#[test]
fn a_policy_on_a_log() {
    assert_snapshot!("policy", simulate(&[QUIET, "--log", LOG, "--top", "5"]));
}

#[test]
fn a_policy_against_another() {
    let args = [QUIET, "--log", LOG, "--against", EVERYTHING, "--top", "3"];
    assert_snapshot!("against", simulate(&args));
}

#[test]
fn the_same_for_scripts() {
    let args = [QUIET, "--log", LOG, "--against", EVERYTHING, "--top", "2"];
    assert_json_snapshot!("json", json(&args));
}
