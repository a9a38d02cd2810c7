//! `auditrelay quarantine list|show|keygen`: items that could not be read.
//!
//! Invariant: what is kept of an item is opened here, by who has the key, and nowhere else; a running relay
//! hands out the sealed box. It reaches a terminal only with everything that controls one made visible.

use std::{io::Write, process::ExitCode};

use serde_json::json;

use crate::{
    Failure,
    output::{count, line, say, say_json, table, time},
    request::{Aside, Request},
    session::Session,
};

mod args;
mod key;

pub(crate) use args::QuarantineCommand;
use args::{KeygenArgs, ListArgs, ShowArgs};

const REASON_CHARS_MAX: usize = 80;
const FILE_CHARS_MAX: usize = 100;

pub(crate) async fn run(command: &QuarantineCommand) -> Result<ExitCode, Failure> {
    match command {
        QuarantineCommand::List(args) => list(args).await,
        QuarantineCommand::Show(args) => show(args).await,
        QuarantineCommand::Keygen(args) => keygen(args),
    }
}

async fn list(args: &ListArgs) -> Result<ExitCode, Failure> {
    let session = Session::open(&args.place, false).await?;
    let items = session
        .ask("reading", Request::QuarantineList {})
        .await?
        .aside;
    if args.json {
        say_json(&items)?;
    } else if items.is_empty() {
        say("nothing is in quarantine\n")?;
    } else {
        let rows: Vec<_> = items.iter().map(row).collect();
        let headers = [
            ">id", "received", "cluster", "where", ">bytes", "kept", "reason",
        ];
        say(&table(&headers, &rows))?;
        say(&format!("\n{}\n", count(items.len() as u64, "item")))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(item: &Aside) -> Vec<String> {
    vec![
        item.id.to_string(),
        time(item.received_unix_ms),
        line(&item.cluster, 63),
        place(item),
        item.length_bytes.to_string(),
        match item.sealed_to {
            Some(_) => "sealed".to_owned(),
            None => "-".to_owned(),
        },
        line(&item.reason, REASON_CHARS_MAX),
    ]
}

/// Where it stood.
fn place(item: &Aside) -> String {
    match &item.source {
        Some(source) => format!(
            "{} line {}",
            line(&source.file, FILE_CHARS_MAX),
            source.line
        ),
        None => format!("byte {}", item.offset_bytes),
    }
}

async fn show(args: &ShowArgs) -> Result<ExitCode, Failure> {
    let key = args.key.as_deref().map(key::read).transpose()?;
    let session = Session::open(&args.place, false).await?;
    let request = Request::QuarantineShow { id: args.id };
    let answer = session.ask("reading", request).await?;
    let Some(item) = answer.aside.first() else {
        let id = args.id;
        return Err(Failure::No(format!(
            "there is no item {id} in quarantine: it was given up for newer ones, or never was there"
        )));
    };
    let opened = key.map(|key| open(item, &key)).transpose()?;
    if args.raw {
        let bytes = opened.unwrap_or_default();
        let mut out = std::io::stdout().lock();
        out.write_all(&bytes)
            .and_then(|()| out.flush())
            .map_err(|error| Failure::Other(format!("cannot write: {error}")))?;
    } else if args.json {
        let mut value = json!(item);
        if let Some(bytes) = &opened {
            value["opened"] = json!(String::from_utf8_lossy(bytes));
            value["opened_hex"] = json!(hex(bytes));
        }
        say_json(&value)?;
    } else {
        say(&told(item, opened.as_deref()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An item for people.
fn told(item: &Aside, opened: Option<&[u8]>) -> String {
    let mut text = format!(
        "item {} of cluster {}, received {}\n  reason       {}\n  where        {}, {}\n  fingerprint  {}\n",
        item.id,
        line(&item.cluster, 63),
        time(item.received_unix_ms),
        line(&item.reason, 500),
        place(item),
        count(item.length_bytes, "byte"),
        item.fingerprint,
    );
    match (&item.sealed_to, opened) {
        (None, _) => text.push_str("  kept         no bytes of it (queue.quarantine_raw was not set)\n"),
        (Some(to), None) => text.push_str(&format!(
            "  kept         its first bytes, sealed to the key that begins with {}; --key FILE opens them\n",
            line(to, 64)
        )),
        (Some(_), Some(bytes)) => text.push_str(&format!(
            "  kept         {} of it:\n\n{}\n",
            count(bytes.len() as u64, "byte"),
            visible(bytes)
        )),
    }
    text
}

/// Bytes as lines of text that do nothing to a terminal.
fn visible(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    let lines = text.split('\n').map(|one| line(one, text.len() + 1));
    lines.collect::<Vec<_>>().join("\n")
}

fn open(item: &Aside, key: &crypto_box::SecretKey) -> Result<Vec<u8>, Failure> {
    let id = item.id;
    let (Some(to), Some(sealed)) = (&item.sealed_to, &item.sealed) else {
        return Err(Failure::No(format!(
            "nothing is kept of item {id}: queue.quarantine_raw was not set when it came"
        )));
    };
    let public = hex(key.public_key().as_bytes());
    let ours = public.get(..16).unwrap_or_default();
    if to.strip_prefix("x25519:") != Some(ours) {
        return Err(Failure::No(format!(
            "item {id} is sealed to the key that begins with {}, and this one begins with x25519:{ours}",
            line(to, 64)
        )));
    }
    let opened = unhex(sealed).and_then(|sealed| key.unseal(&sealed).ok());
    opened.ok_or_else(|| {
        Failure::Other(format!(
            "what is kept of item {id} cannot be opened: it is not what was sealed"
        ))
    })
}

fn keygen(args: &KeygenArgs) -> Result<ExitCode, Failure> {
    let public = key::make(&args.out)?;
    say(&format!(
        "{public}\n\nThe line above is the public half: set queue.quarantine_raw to it.\n\
         The secret half is in {}, which only you can read. Keep it where the relay is not: nobody opens \
         what is sealed without it.\n",
        args.out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let digits = str::from_utf8(pair).ok()?;
        u8::from_str_radix(digits, 16).ok()
    };
    rest.is_empty()
        .then(|| pairs.iter().map(byte).collect())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_lines_that_control_nothing() {
        let shown = visible(b"{\"a\":\"\x1b[2J\x07\"}\r\nnext \xff\xfe \xe2\x80\xae end");
        assert_eq!(shown.lines().count(), 2);
        assert!(shown.contains("\\xff\\xfe"), "{shown}");
        let harmful = |sign: char| (sign.is_control() && sign != '\n') || sign == '\u{202e}';
        assert!(!shown.contains(harmful), "{shown:?}");
        let long = "x".repeat(5_000);
        assert_eq!(visible(long.as_bytes()), long);
    }

    #[test]
    fn hexadecimal_comes_back() {
        assert_eq!(unhex(&hex(&[0, 1, 0xab, 255])), Some(vec![0, 1, 0xab, 255]));
        for wrong in ["0", "0g", "é"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }
}
