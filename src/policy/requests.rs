//! Requests that are asked about: out of events, out of lines of attributes, or of the command line.
//!
//! Contract: attributes are taken as they are, the ones of an event as the API server's policy saw them: an object
//! that is created had no name then.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use auditrelay_audit::{
    Envelope, ObjectRef, Text,
    list::{ITEMS_MAX, ListError, Readable},
    policy,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Failure, output::line};

/// More than any file that is looked at by eye.
const EVENTS_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Longer than any request's attributes.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// What a policy is asked about. Kubernetes: `authorizer.Attributes`. What is missing or null is empty; members
/// that are not here are passed over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Attributes<'a> {
    #[serde(borrow)]
    pub(super) user: Text<'a>,
    #[serde(borrow)]
    pub(super) groups: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    pub(super) verb: Text<'a>,
    #[serde(borrow)]
    pub(super) namespace: Text<'a>,
    #[serde(borrow)]
    pub(super) resource: Text<'a>,
    #[serde(borrow)]
    pub(super) api_group: Text<'a>,
    #[serde(borrow)]
    pub(super) subresource: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) path: Text<'a>,
    pub(super) is_resource_request: Option<bool>,
}

/// Attributes as the policy takes them.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    attributes: Attributes<'a>,
    object: Option<ObjectRef<'a>>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(attributes: Attributes<'a>) -> Self {
        let is_resource = attributes.is_resource_request.unwrap_or_default();
        let object = is_resource.then(|| ObjectRef {
            resource: attributes.resource.clone(),
            namespace: attributes.namespace.clone(),
            name: attributes.name.clone(),
            api_group: attributes.api_group.clone(),
            subresource: attributes.subresource.clone(),
        });
        Self { attributes, object }
    }

    pub(super) fn request(&self) -> policy::Request<'_> {
        policy::Request {
            user: &self.attributes.user,
            groups: self.attributes.groups.as_deref().unwrap_or_default(),
            verb: &self.attributes.verb,
            object: self.object.as_ref(),
            name: &self.attributes.name,
            path: self.attributes.path.as_str().into(),
        }
    }
}

/// Reads a line of attributes.
fn attributes(text: &[u8]) -> Result<Attributes<'_>, String> {
    // serde would read an array, too.
    if !text.starts_with(b"{") {
        return Err("it is not a JSON object".to_owned());
    }
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

/// The line as Go's reader takes it where serde's does not: of a member that is there twice the last one counts, and
/// what is half a character is U+FFFD. None if it is no JSON object.
fn mended(text: &[u8]) -> Option<String> {
    let text = whole_characters(&String::from_utf8_lossy(text));
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(&text).ok()?;
    serde_json::to_string(&members).ok()
}

/// JSON text with an escape of U+FFFD in place of each escaped surrogate that is not half of a pair.
fn whole_characters(json: &str) -> String {
    let unit = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (first, second) = (unit(rest), rest.get(6..).and_then(unit));
        let length = match (first, second) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                out.push_str("\\ufffd");
                rest = &rest[6..];
                continue;
            }
            (Some(_), _) => 6,
            // The escaped character may be a backslash, and is more than a byte where it is no JSON.
            (None, _) => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

/// Asks about each line of a file, or of standard input for `-`, as it comes in; empty lines are passed over.
///
/// # Errors
/// [`Failure::Data`] for the first line that cannot be read, by its number; what stands before it was asked.
pub(super) fn each_line(
    path: &Path,
    mut ask: impl FnMut(&Asked<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut input: Box<dyn BufRead> = if path.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).map_err(|error| unreadable(path, &error.to_string()))?;
        Box::new(BufReader::new(file))
    };
    let mut text = Vec::new();
    let mut number = 0_u64;
    loop {
        text.clear();
        number += 1;
        let read = input
            .by_ref()
            .take(LINE_BYTES_MAX + 1)
            .read_until(b'\n', &mut text)
            .map_err(|error| unreadable(path, &error.to_string()))?;
        if read == 0 {
            return Ok(());
        }
        let broken = |problem: &str| {
            let (path, problem) = (path.display(), line(problem, 300));
            Failure::Data(format!(
                "{path}: line {number} is no request: {problem}; the lines before it were answered, none after it"
            ))
        };
        if read as u64 > LINE_BYTES_MAX {
            return Err(broken(&format!("it is longer than {LINE_BYTES_MAX} bytes")));
        }
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
        match text.trim_ascii() {
            b"" => {}
            text => match attributes(text) {
                Ok(attributes) => ask(&Asked::new(attributes))?,
                Err(problem) => {
                    let mended = mended(text).ok_or_else(|| broken(&problem))?;
                    let attributes = attributes(mended.as_bytes()).map_err(|_| broken(&problem))?;
                    ask(&Asked::new(attributes))?;
                }
            },
        }
    }
}

/// Asks about each event of a file, or of standard input for `-`: an `EventList`, a JSON array, an event, or one of
/// these on each line. Says how many items were no events.
///
/// # Errors
/// [`Failure::Usage`] if the file cannot be read, [`Failure::Data`] if no event is in it.
pub(super) fn each_event(
    path: &Path,
    mut ask: impl FnMut(&Envelope<'_>) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let bytes = bytes(path).map_err(|error| unreadable(path, &error.to_string()))?;
    let mut tally = Tally::default();
    let whole = match events(&bytes, &mut tally, &mut ask) {
        Ok(()) => None,
        Err(problem) => {
            let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            for line in lines.filter(|line| !line.is_empty()) {
                if events(line, &mut tally, &mut ask).is_err() {
                    tally.unreadable += 1;
                }
            }
            Some(problem)
        }
    };
    if let Some(failure) = tally.failure {
        return Err(failure);
    }
    if tally.events == 0 {
        let problem = whole.unwrap_or_else(|| "no event is in it".to_owned());
        let (path, problem) = (path.display(), line(&problem, 300));
        return Err(Failure::Data(format!(
            "{path}: {problem}; give an audit event, a list of them, or a log"
        )));
    }
    Ok(tally.unreadable)
}

#[derive(Debug, Default)]
struct Tally {
    events: u64,
    unreadable: u64,
    failure: Option<Failure>,
}

fn events(
    bytes: &[u8],
    tally: &mut Tally,
    ask: &mut impl FnMut(&Envelope<'_>) -> Result<(), Failure>,
) -> Result<(), String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let bytes = bytes.trim_ascii();
    let outcome = match bytes.first() {
        None => return Err("it is empty".to_owned()),
        Some(b'[') => list(&as_list(bytes), tally, ask),
        Some(_) => match list(bytes, tally, ask) {
            // An event as the log backend writes it.
            Err(ListError::BareEvent) => list(&as_list(&[b"[", bytes, b"]"].concat()), tally, ask),
            outcome => outcome,
        },
    };
    outcome.map_err(|error| error.to_string())
}

fn list(
    body: &[u8],
    tally: &mut Tally,
    ask: &mut impl FnMut(&Envelope<'_>) -> Result<(), Failure>,
) -> Result<(), ListError> {
    let readable = Readable::new(body);
    readable.events(ITEMS_MAX, |_, envelope| match envelope {
        Ok(envelope) => {
            tally.events += 1;
            if tally.failure.is_none() {
                tally.failure = ask(&envelope).err();
            }
        }
        Err(_) => tally.unreadable += 1,
    })?;
    Ok(())
}

fn as_list(array: &[u8]) -> Vec<u8> {
    let head = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":"#;
    [head.as_slice(), array, b"}"].concat()
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = EVENTS_BYTES_MAX + 1;
    if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > EVENTS_BYTES_MAX {
        let problem = format!("it is longer than {EVENTS_BYTES_MAX} bytes");
        return Err(io::Error::other(problem));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, problem: &str) -> Failure {
    Failure::Usage(format!(
        "{}: {problem}; give a file that can be read",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_as_go_takes_it() {
        for (json, expected) in [
            (r#"{"user":"a\ud800b"}"#, "a\u{fffd}b"),
            (r#"{"user":"\udc00\ud83d\ude00"}"#, "\u{fffd}😀"),
            (r#"{"user":"\\ud800"}"#, r"\ud800"),
            (r#"{"user":"a","user":"b","x":1e999}"#, "b"),
            (r#"{"\ud800":1,"user":"b","user":"é"}"#, "é"),
        ] {
            let mended = mended(json.as_bytes()).expect(json);
            let read = attributes(mended.as_bytes()).expect(json);
            assert_eq!(read.user.as_str(), expected, "{json}");
        }
        let mended = mended(b"{\"user\":\"a\xffb\"}").expect("JSON");
        assert_eq!(mended, "{\"user\":\"a\u{fffd}b\"}");
        for json in ["{", "[]", r#"{"user":"\"#, "\\é", "{\"a\": \\u12"] {
            assert_eq!(super::mended(json.as_bytes()), None, "{json}");
        }
    }
}
