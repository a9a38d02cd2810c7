//! Events out of a file: what `render` reads.
//!
//! Contract: an event is read, redacted and sent to its channel by the functions that do it in the relay, and
//! what cannot be read is counted and never costs the others. Nothing is told from duplicates: who gives an
//! event twice sees it twice.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use auditrelay_audit::{
    Envelope, Event, Severity,
    list::{ITEMS_MAX, Item, ListError, Readable},
    redact::{Bodies, Redactor},
};
use auditrelay_dispatch::Routes;
use auditrelay_store::{EventDelivery, Marks};

use crate::{Failure, output::line};

/// More than any file that is looked at by eye.
const INPUT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What was found in some input.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Events that were read.
    pub(super) events: u64,
    /// What could not be.
    pub(super) unreadable: u64,
    /// Events that go to another channel.
    pub(super) elsewhere: u64,
    /// Events that no route wants.
    pub(super) unwanted: u64,
    /// The channel's events, in the order of the input.
    pub(super) members: Vec<(Severity, EventDelivery)>,
}

impl Found {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.unreadable += other.unreadable;
        self.elsewhere += other.elsewhere;
        self.unwanted += other.unwanted;
        self.members.extend(other.members);
    }
}

/// Reads events for one channel.
pub(super) struct Reader<'a> {
    pub(super) routes: &'a Routes,
    pub(super) redactor: &'a Redactor,
    pub(super) channel: &'a str,
    pub(super) cluster: &'a str,
}

impl Reader<'_> {
    /// Reads a file, or standard input for `-`.
    pub(super) fn file(&self, path: &Path, found: &mut Found) -> Result<(), Failure> {
        let shown = path.display();
        let refused = |problem: &str| Failure::Usage(format!("{shown}: {}", line(problem, 300)));
        let bytes = bytes(path).map_err(|error| refused(&error.to_string()))?;
        found.add(self.input(&bytes).map_err(|problem| refused(&problem))?);
        Ok(())
    }

    /// An `EventList`, an array, one event, or one of these on each line.
    fn input(&self, bytes: &[u8]) -> Result<Found, String> {
        let whole = match self.one(bytes) {
            Ok(found) => return Ok(found),
            Err(problem) => problem,
        };
        let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        let lines: Vec<&[u8]> = lines
            .into_iter()
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty())
            .collect();
        let mut found = Found::default();
        for line in &lines {
            match self.one(line) {
                Ok(read) => found.add(read),
                Err(_) => found.unreadable += 1,
            }
        }
        // No line is an event: the problem of the whole says more.
        if found.events == 0 {
            Err(whole)
        } else {
            Ok(found)
        }
    }

    fn one(&self, bytes: &[u8]) -> Result<Found, String> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let bytes = bytes.trim_ascii();
        match bytes.first() {
            None => Err("is empty".to_owned()),
            Some(b'[') => self
                .list(&as_list(bytes))
                .map_err(|error| error.to_string()),
            Some(_) => match self.list(bytes) {
                // An event as the log backend writes it.
                Err(ListError::BareEvent) => {
                    let array = [b"[", bytes, b"]"].concat();
                    self.list(&as_list(&array))
                        .map_err(|error| error.to_string())
                }
                outcome => outcome.map_err(|error| error.to_string()),
            },
        }
    }

    fn list(&self, body: &[u8]) -> Result<Found, ListError> {
        let mut found = Found::default();
        Readable::new(body).events(ITEMS_MAX, |item, envelope| match envelope {
            Ok(envelope) => self.event(&item, &envelope, &mut found),
            Err(_) => found.unreadable += 1,
        })?;
        Ok(found)
    }

    fn event(&self, item: &Item<'_>, envelope: &Envelope<'_>, found: &mut Found) {
        found.events += 1;
        let event = Event {
            cluster: self.cluster,
            envelope,
        };
        let targets = self.routes.targets(&event);
        let here = targets.iter().find(|one| one.channel == self.channel);
        match here {
            None if targets.is_empty() => found.unwanted += 1,
            None => found.elsewhere += 1,
            Some(target) => {
                let is_readable = !item.has_invalid_utf8;
                let bodies = self
                    .routes
                    .advice(&event)
                    .map_or(Bodies::Keep, |(_, bodies)| bodies);
                let redacted = self
                    .redactor
                    .redact(item.text, envelope, is_readable, bodies);
                let event = EventDelivery {
                    cluster: self.cluster.to_owned(),
                    route: target.route.to_owned(),
                    json: redacted.json.into_owned(),
                    meant_for: None,
                    marks: Marks {
                        body_unreadable: redacted.body_unreadable,
                        ..Marks::default()
                    },
                };
                found.members.push((target.severity, event));
            }
        }
    }
}

fn as_list(array: &[u8]) -> Vec<u8> {
    let head = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":"#;
    [head.as_slice(), array, b"}"].concat()
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = INPUT_BYTES_MAX + 1;
    if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(io::Error::other(format!(
            "is longer than {INPUT_BYTES_MAX} bytes"
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use auditrelay_audit::HashKey;
    use auditrelay_config::{Overrides, load};

    use super::*;

    const TOLD: &str = r#"{"level":"Metadata","stage":"ResponseComplete","verb":"get","user":{"username":"alice"}}"#;
    const RECEIVED: &str = r#"{"level":"Metadata","stage":"RequestReceived","verb":"get"}"#;

    fn read(input: &str) -> Result<(u64, u64, u64, usize), String> {
        let config = load(None, [], Overrides::default()).expect("valid").config;
        let routes = Routes::new(&config);
        let redactor = Redactor::new(HashKey::new([7; 32]));
        let reader = Reader {
            routes: &routes,
            redactor: &redactor,
            channel: "default",
            cluster: "prod",
        };
        let found = reader.input(input.as_bytes())?;
        Ok((
            found.events,
            found.unreadable,
            found.unwanted,
            found.members.len(),
        ))
    }

    #[test]
    fn each_form_of_input_is_read() {
        let list = format!(
            r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{TOLD},{RECEIVED},7]}}"#
        );
        assert_eq!(read(&list), Ok((2, 1, 1, 1)));
        assert_eq!(read(&format!(" [{TOLD},\n{TOLD}]\n")), Ok((2, 0, 0, 2)));
        assert_eq!(read(TOLD), Ok((1, 0, 0, 1)));
        assert_eq!(read(&TOLD.replace(',', ",\n")), Ok((1, 0, 0, 1)));
        assert_eq!(
            read(&format!("\u{feff}{TOLD}\n\n{RECEIVED}\n{{\n{list}\n")),
            Ok((4, 2, 2, 2))
        );
    }

    #[test]
    fn what_holds_no_event_is_an_error() {
        for (input, problem) in [
            ("", "is empty"),
            ("nonsense", "not valid JSON"),
            ("{\n", "not valid JSON"),
            (r#"{"kind":"Pod"}"#, "expected kind EventList"),
        ] {
            let error = read(input).expect_err(input);
            assert!(error.contains(problem), "{error}");
        }
    }
}
