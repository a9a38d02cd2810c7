//! Addresses of requests (`requestURI`) without the secrets in them.
//!
//! What is looked at: the arguments of a command (`command=`, Kubernetes' exec and attach), each other value
//! of the query by its name and by its looks, and of what is passed on to a workload or is nothing of
//! Kubernetes' own the path too.
//!
//! Invariants:
//! * an address stays one: what stands for a secret is percent-encoded, and all else is the bytes that came;
//! * masking a masked address changes nothing;
//! * what is encoded twice is masked as a whole where its inner form holds a secret.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{MASK, Masker, is_secret_name, looks_secret};

/// A longer value is masked without a look at it.
const VALUE_BYTES_MAX: usize = 32 * 1024;
/// Encodings within encodings; what is wrapped more often is masked.
const ENCODINGS_MAX: usize = 3;
const ROUNDS_MAX: usize = 4;
/// Behind it stands what is passed on to a workload or a node.
const PROXY: &str = "/proxy/";
/// A shorter part of a path is no token.
const SEGMENT_BYTES_MIN: usize = 16;
/// What is left as it is in a value (RFC 3986: unreserved characters).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Names that say secret in a query, and not elsewhere.
const SECRET_NAMES: [&str; 8] = [
    "sig",
    "code",
    "hmac",
    "ticket",
    "assertion",
    "samlresponse",
    "samlrequest",
    "state",
];
/// Kubernetes' own parameters, of which a short word needs no second look.
const PLAIN_NAMES: [&str; 16] = [
    "allowWatchBookmarks",
    "container",
    "dryRun",
    "fieldManager",
    "fieldValidation",
    "force",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "stderr",
    "stdin",
    "stdout",
    "timeout",
    "timeoutSeconds",
    "watch",
];
/// No token is as short.
const PLAIN_BYTES_MAX: usize = 19;

/// Whose parameters they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The API server's own.
    Kubernetes,
    /// A workload's behind it, or nobody knows whose.
    Other,
}

/// An address in which something was masked.
#[derive(Debug, PartialEq, Eq)]
pub struct Masked {
    /// The address without it.
    pub address: String,
    /// What was taken out of it, decoded.
    pub lost: Vec<String>,
}

/// The address without its secrets; `None` where it holds none.
pub fn masked(address: &str, reader: Reader) -> Option<Masked> {
    let mut lost = Vec::new();
    let mut now = pass(address, reader, &mut lost)?;
    for _ in 1..ROUNDS_MAX {
        // What a mask makes of its surroundings must not depend on how often it is looked at.
        match pass(&now, reader, &mut lost) {
            Some(again) => now = again,
            None => return Some(Masked { address: now, lost }),
        }
    }
    let path = address.split('?').next().unwrap_or_default();
    lost.extend(pairs(address).map(|(_, value)| decoded(value).into_owned()));
    let address = match pass(path, reader, &mut lost) {
        Some(path) => format!("{path}?{}", encoded(MASK)),
        None => format!("{path}?{}", encoded(MASK)),
    };
    Some(Masked { address, lost })
}

/// Masks once; `None` where nothing changed.
fn pass(address: &str, reader: Reader, lost: &mut Vec<String>) -> Option<String> {
    let (path, query) = match address.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (address, None),
    };
    let masked_path = if reader == Reader::Other {
        masked_path(path, lost)
    } else {
        None
    };
    let masked_query = query.and_then(|query| masked_query(query, reader, lost));
    if masked_path.is_none() && masked_query.is_none() {
        return None;
    }
    let mut out = masked_path.unwrap_or_else(|| path.to_owned());
    if let Some(query) = query {
        out.push('?');
        out.push_str(masked_query.as_deref().unwrap_or(query));
    }
    Some(out)
}

fn masked_path(path: &str, lost: &mut Vec<String>) -> Option<String> {
    let is_secret = |segment: &str| {
        segment.len() >= SEGMENT_BYTES_MIN
            && looks_secret(&percent_decode_str(segment).decode_utf8_lossy())
    };
    // Before that stand names of objects.
    let passed_on = path.find(PROXY).map_or(0, |at| at + PROXY.len());
    let (before, path) = path.split_at(passed_on);
    if !path.split('/').any(is_secret) {
        return None;
    }
    let shown = path.split('/').map(|segment| {
        if !is_secret(segment) {
            return Cow::Borrowed(segment);
        }
        lost.push(percent_decode_str(segment).decode_utf8_lossy().into_owned());
        Cow::Owned(encoded(MASK))
    });
    Some(before.to_owned() + &shown.collect::<Vec<_>>().join("/"))
}

fn masked_query(query: &str, reader: Reader, lost: &mut Vec<String>) -> Option<String> {
    let mut out = String::new();
    let mut kept = 0;
    let mut command = Masker::default();
    let mut at = 0;
    for pair in query.split('&') {
        let (start, end) = (at, at + pair.len());
        at = end + 1;
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if is_plain(name, value, reader) {
            continue;
        }
        let (name, value) = (decoded(name), decoded(value));
        let masked = if looks_secret(&name) {
            lost.push(name.clone().into_owned());
            lost.push(value.clone().into_owned());
            encoded(MASK)
        } else {
            let Some(masked) = masked_value(&name, &value, reader, &mut command) else {
                continue;
            };
            lost.extend(gaps(&value, &masked).map(str::to_owned));
            let until_value = pair.len() - pair.split_once('=').map_or(0, |(_, value)| value.len());
            format!("{}{}", &pair[..until_value], encoded(&masked))
        };
        out.push_str(&query[kept..start]);
        out.push_str(&masked);
        kept = end;
    }
    if kept == 0 && out.is_empty() {
        return None;
    }
    out.push_str(&query[kept..]);
    Some(out)
}

fn is_plain(name: &str, value: &str, reader: Reader) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    (name.is_empty() && value.is_empty())
        || (reader == Reader::Kubernetes
            && PLAIN_NAMES.contains(&name)
            && value.bytes().all(is_word)
            && (value.len() <= PLAIN_BYTES_MAX || !looks_secret(value)))
}

/// A value without what is secret in it; `None` where that is nothing.
fn masked_value(name: &str, value: &str, reader: Reader, command: &mut Masker) -> Option<String> {
    if value.is_empty() {
        // An empty argument may still be the one that a flag asks for.
        if name == "command" {
            command.argument(value);
        }
        return None;
    }
    let masked = if value.len() > VALUE_BYTES_MAX {
        MASK.to_owned()
    } else if name == "command" {
        argument(value, command, 0)
    } else if reader == Reader::Kubernetes && name == "continue" {
        // Where a list goes on, as the API server wrote it: Base64, and no secret.
        return None;
    } else if reader == Reader::Kubernetes && matches!(name, "labelSelector" | "fieldSelector") {
        // Names of labels and fields say nothing of their values.
        if looks_secret(value) {
            MASK.to_owned()
        } else {
            return None;
        }
    } else if says_secret(name) {
        MASK.to_owned()
    } else {
        argument(value, &mut Masker::default(), 0)
    };
    (masked != value).then_some(masked)
}

fn says_secret(name: &str) -> bool {
    is_secret_name(name)
        || SECRET_NAMES
            .iter()
            .any(|one| name.eq_ignore_ascii_case(one))
}

/// An argument, or what it holds in yet another encoding.
fn argument(value: &str, masker: &mut Masker, depth: usize) -> String {
    let mut of_inner = masker.clone();
    let masked = masker.argument(value);
    if masked != value || !value.contains('%') {
        return masked;
    }
    let inner = percent_decode_str(value).decode_utf8_lossy();
    if inner == value {
        return masked;
    }
    if depth >= ENCODINGS_MAX || argument(&inner, &mut of_inner, depth + 1) != inner {
        return MASK.to_owned();
    }
    masked
}

fn pairs(address: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = address.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// As a query is read (WHATWG URL: `application/x-www-form-urlencoded`).
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// What stood where there are masks now; all of it where that cannot be said.
fn gaps<'a>(before: &'a str, after: &str) -> impl Iterator<Item = &'a str> {
    let pieces: Vec<&str> = after.split(MASK).collect();
    let mut found = Vec::new();
    let mut rest = before.strip_prefix(pieces[0]);
    for (number, piece) in pieces.iter().enumerate().skip(1) {
        let is_last = number + 1 == pieces.len();
        rest = rest.and_then(|text| {
            let end = if is_last {
                text.ends_with(piece).then(|| text.len() - piece.len())
            } else {
                text.find(piece)
            }?;
            found.push(&text[..end]);
            Some(&text[end + piece.len()..])
        });
    }
    if rest.is_none() {
        found = vec![before];
    }
    found
        .into_iter()
        .filter(|gap| !gap.is_empty() && *gap != MASK)
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
