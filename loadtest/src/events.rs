//! Audit events to send: shaped like a busy cluster's, each with an audit ID of its own.
//!
//! Contract:
//! * no two events of any source have the same audit ID (122 random bits), so that none is a
//!   duplicate unless the same bytes are sent twice;
//! * what varies in a real cluster varies here (addresses, pod names, timestamps; UIDs out of a few
//!   hundred hot objects), what does not does not, so that the events compress as real ones do;
//! * making an event costs one copy of its template and its slots, far less than receiving it.

use jiff::Timestamp;

const METADATA: &str = include_str!("../events/metadata.jsonl");
const REQUEST_RESPONSE: &str = include_str!("../events/request_response.jsonl");

const HEAD: &[u8] =
    br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
const TAIL: &[u8] = b"]}\n";

/// How many objects of the imagined cluster have a UID that shows up.
const HOT_OBJECTS: usize = 256;

/// What kind of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// Level Metadata, 1.2 KB each.
    Metadata,
    /// Level RequestResponse, a Deployment with both its bodies, 50 KB each.
    RequestResponse,
}

/// A part of an event that differs from one to the next.
#[derive(Clone, Copy, Debug)]
enum Slot {
    AuditId,
    Uid,
    Name,
    Octet,
    Number,
    Begun,
    Ended,
}

impl Slot {
    fn named(name: &str) -> Self {
        match name {
            "id" => Self::AuditId,
            "uuid" => Self::Uid,
            "name" => Self::Name,
            "octet" => Self::Octet,
            "number" => Self::Number,
            "begun" => Self::Begun,
            "ended" => Self::Ended,
            other => unreachable!("the templates have no slot {other}"),
        }
    }
}

/// Text, then a slot; the last has none.
type Template = Vec<(&'static str, Option<Slot>)>;

/// An endless source of events.
#[derive(Debug)]
pub struct EventSource {
    templates: Vec<Template>,
    next: usize,
    uids: Vec<[u8; 36]>,
    random: fastrand::Rng,
    begun: String,
    ended: String,
}

impl EventSource {
    /// A source of its own; two sources never make the same event.
    pub fn new(shape: Shape) -> Self {
        Self::seeded(shape, fastrand::u64(..))
    }

    /// A source whose events are the same for the same seed, but for their times.
    pub fn seeded(shape: Shape, seed: u64) -> Self {
        let lines = match shape {
            Shape::Metadata => METADATA,
            Shape::RequestResponse => REQUEST_RESPONSE,
        };
        let mut random = fastrand::Rng::with_seed(seed);
        Self {
            templates: lines.lines().map(template).collect(),
            next: 0,
            // The objects are the cluster's: every source has the same.
            uids: {
                let mut objects = fastrand::Rng::with_seed(7);
                (0..HOT_OBJECTS).map(|_| uuid(&mut objects)).collect()
            },
            begun: String::new(),
            ended: String::new(),
            random: random.fork(),
        }
    }

    /// Appends one event.
    pub fn event(&mut self, out: &mut Vec<u8>) {
        self.tick();
        self.write(out);
    }

    /// Appends an `EventList` of so many events, as the API server writes it.
    pub fn batch(&mut self, events: usize, out: &mut Vec<u8>) {
        self.tick();
        out.extend_from_slice(HEAD);
        for event in 0..events {
            if event > 0 {
                out.push(b',');
            }
            self.write(out);
        }
        out.extend_from_slice(TAIL);
    }

    fn tick(&mut self) {
        let now = Timestamp::now();
        let before = now - jiff::SignedDuration::from_micros(self.random.i64(2_000..9_000));
        self.begun = format!("{before:.6}");
        self.ended = format!("{now:.6}");
    }

    fn write(&mut self, out: &mut Vec<u8>) {
        let template = &self.templates[self.next];
        self.next = (self.next + 1) % self.templates.len();
        let random = &mut self.random;
        for (text, slot) in template {
            out.extend_from_slice(text.as_bytes());
            match slot {
                None => {}
                Some(Slot::AuditId) => out.extend_from_slice(&uuid(random)),
                Some(Slot::Uid) => out.extend_from_slice(&self.uids[random.usize(..HOT_OBJECTS)]),
                Some(Slot::Name) => {
                    // Kubernetes: the alphabet of generated names has no vowels.
                    let alphabet = b"bcdfghjklmnpqrstvwxz2456789";
                    out.extend((0..5).map(|_| alphabet[random.usize(..alphabet.len())]));
                }
                Some(Slot::Octet) => decimal(out, u32::from(random.u8(..))),
                Some(Slot::Number) => decimal(out, random.u32(100_000_000..999_999_999)),
                Some(Slot::Begun) => with_microseconds(out, &self.begun, random),
                Some(Slot::Ended) => with_microseconds(out, &self.ended, random),
            }
        }
    }
}

fn template(line: &'static str) -> Template {
    let mut parts = line.split('%');
    let mut template = Vec::new();
    while let Some(text) = parts.next() {
        template.push((text, parts.next().map(Slot::named)));
    }
    template
}

/// A version 4 UUID, as the API server makes them.
fn uuid(random: &mut fastrand::Rng) -> [u8; 36] {
    let digits = b"0123456789abcdef";
    let mut bits = random.u128(..);
    let mut out = [b'-'; 36];
    for (place, byte) in out.iter_mut().enumerate() {
        if matches!(place, 8 | 13 | 18 | 23) {
            continue;
        }
        *byte = match place {
            14 => b'4',
            19 => b"89ab"[(bits & 3) as usize],
            _ => digits[(bits & 15) as usize],
        };
        bits >>= 4;
    }
    out
}

fn decimal(out: &mut Vec<u8>, number: u32) {
    let mut digits = [0; 10];
    let (mut first, mut rest) = (digits.len(), number);
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// The batch's time with other last three digits: the events of a batch are not from one microsecond.
fn with_microseconds(out: &mut Vec<u8>, time: &str, random: &mut fastrand::Rng) {
    let (before, _) = time.split_at(time.len() - 4);
    out.extend_from_slice(before.as_bytes());
    for _ in 0..3 {
        out.push(b'0' + random.u8(..10));
    }
    out.push(b'Z');
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn batch(source: &mut EventSource, events: usize) -> serde_json::Value {
        let mut body = Vec::new();
        source.batch(events, &mut body);
        serde_json::from_slice(&body).expect("JSON")
    }

    #[test]
    fn audit_ids_are_unique_within_and_across_sources() {
        let mut seen = HashSet::new();
        for shape in [Shape::Metadata, Shape::Metadata, Shape::RequestResponse] {
            let mut source = EventSource::new(shape);
            let list = batch(&mut source, 60);
            for event in list["items"].as_array().expect("items") {
                let id = event["auditID"].as_str().expect("an ID").to_owned();
                assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id}");
                assert!(seen.insert(id));
            }
        }
        assert_eq!(seen.len(), 180);
    }

    #[test]
    fn events_have_the_size_and_level_they_claim() {
        for (shape, level, bytes) in [
            (Shape::Metadata, "Metadata", 1_100..1_350),
            (Shape::RequestResponse, "RequestResponse", 45_000..60_000),
        ] {
            let mut source = EventSource::new(shape);
            let mut body = Vec::new();
            source.batch(48, &mut body);
            assert!(bytes.contains(&(body.len() / 48)), "{}", body.len() / 48);
            let list: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(list["items"][0]["level"], level);
        }
    }

    #[test]
    fn times_are_real_times() {
        let list = batch(&mut EventSource::new(Shape::Metadata), 24);
        for event in list["items"].as_array().expect("items") {
            let time = |name: &str| -> Timestamp {
                event[name]
                    .as_str()
                    .expect("a time")
                    .parse()
                    .expect("RFC 3339")
            };
            assert!(time("requestReceivedTimestamp") <= time("stageTimestamp"));
        }
    }
}
