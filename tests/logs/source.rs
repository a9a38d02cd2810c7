//! What the sources say to the log: each call's level, fields and message.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) place: String,
    pub(crate) level: &'static str,
    /// As it is written, with `{…}` where something is put in.
    pub(crate) message: String,
    /// Everything before the message.
    pub(crate) fields: String,
}

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Every call outside of tests.
pub(crate) fn calls() -> Vec<Call> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in [
        "src",
        "audit/src",
        "config/src",
        "dispatch/src",
        "ingest/src",
        "store/src",
    ] {
        rust_files(&root.join(folder), &mut files);
    }
    files.sort();
    let mut calls = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("text");
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let name = path
            .strip_prefix(root)
            .expect("below it")
            .display()
            .to_string();
        for level in LEVELS {
            let begin = format!("tracing::{level}!(");
            for (at, _) in code.match_indices(&begin) {
                let line = code[..at].lines().count();
                let inside = inside(&code[at + begin.len()..]);
                let (fields, message) = message(inside);
                assert!(!message.is_empty(), "{name}:{line} has no message");
                calls.push(Call {
                    place: format!("{name}:{line}"),
                    level,
                    message,
                    fields: fields.to_owned(),
                });
            }
        }
    }
    calls
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.is_dir() {
            rust_files(&path, files);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            files.push(path);
        }
    }
}

/// Up to the bracket that closes the call; brackets within text do not count.
fn inside(code: &str) -> &str {
    let (mut depth, mut is_text, mut is_escaped) = (1, false, false);
    for (at, character) in code.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_text => is_escaped = true,
            '"' => is_text = !is_text,
            '(' if !is_text => depth += 1,
            ')' if !is_text => {
                depth -= 1;
                if depth == 0 {
                    return &code[..at];
                }
            }
            _ => {}
        }
    }
    panic!("a call does not end: {code:.100}")
}

/// The first text that is an argument of its own, joined where it is broken; and what stands before it.
fn message(inside: &str) -> (&str, String) {
    let (mut depth, mut is_text, mut is_escaped) = (0, false, false);
    let mut begin = None;
    for (at, character) in inside.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_text => is_escaped = true,
            '"' => {
                let before = inside[..at].trim_end();
                if !is_text && depth == 0 && (before.is_empty() || before.ends_with(',')) {
                    begin = Some(at);
                    break;
                }
                is_text = !is_text;
            }
            '(' if !is_text => depth += 1,
            ')' if !is_text => depth -= 1,
            _ => {}
        }
    }
    let Some(at) = begin else {
        return (inside, String::new());
    };
    let (mut text, mut rest) = (String::new(), inside[at + 1..].chars());
    while let Some(character) = rest.next() {
        match character {
            '"' => break,
            '\\' => match rest.next() {
                Some('\n') => {
                    let kept = rest.as_str().trim_start();
                    rest = kept.chars();
                }
                Some(other) => text.push(other),
                None => break,
            },
            other => text.push(other),
        }
    }
    (&inside[..at], text)
}
