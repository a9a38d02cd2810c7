//! Events of the templates beside this file, for benchmarks of packages that must not import the load
//! tools. The slots are those of `loadtest/src/events.rs`; unlike there the same events come at every
//! run, so that two runs measure the same work.

#![allow(dead_code, reason = "each benchmark uses its own part of this")]

/// How many objects of the imagined cluster have a UID that shows up.
const HOT_OBJECTS: u64 = 256;

/// A source of events.
pub struct Events {
    templates: Vec<&'static str>,
    next: usize,
    random: Random,
}

impl Events {
    /// Level Metadata, 1.2 KB each.
    pub fn metadata() -> Self {
        Self::of(include_str!("metadata.jsonl"))
    }

    /// Level RequestResponse, a Deployment with both its bodies, 50 KB each.
    pub fn request_response() -> Self {
        Self::of(include_str!("request_response.jsonl"))
    }

    fn of(lines: &'static str) -> Self {
        Self {
            templates: lines.lines().collect(),
            next: 0,
            random: Random(7),
        }
    }

    /// The next event.
    pub fn event(&mut self) -> String {
        let template = self.templates[self.next];
        self.next = (self.next + 1) % self.templates.len();
        let parts = template.split('%').enumerate();
        parts
            .map(|(place, part)| match place % 2 {
                0 => part.to_owned(),
                _ => self.random.slot(part),
            })
            .collect()
    }

    /// The next events.
    pub fn take(&mut self, events: usize) -> Vec<String> {
        (0..events).map(|_| self.event()).collect()
    }

    /// The next events as the API server sends them.
    pub fn list(&mut self, events: usize) -> String {
        let head = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
        format!("{head}{}]}}\n", self.take(events).join(","))
    }
}

/// SplitMix64: a dependency less.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn slot(&mut self, name: &str) -> String {
        match name {
            "id" => self.uuid(),
            "uuid" => Self(self.below(HOT_OBJECTS)).uuid(),
            "name" => {
                // Kubernetes: the alphabet of generated names has no vowels.
                let alphabet = b"bcdfghjklmnpqrstvwxz2456789";
                let letter = |_| char::from(alphabet[self.below(alphabet.len() as u64) as usize]);
                (0..5).map(letter).collect()
            }
            "octet" => self.below(256).to_string(),
            "number" => (100_000_000 + self.below(900_000_000)).to_string(),
            "begun" => format!("2026-11-21T08:00:00.101{:03}Z", self.below(1_000)),
            "ended" => format!("2026-11-21T08:00:00.106{:03}Z", self.below(1_000)),
            other => unreachable!("the templates have no slot {other}"),
        }
    }

    fn uuid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | (low >> 48) & 0x3fff,
            low & 0xffff_ffff_ffff,
        )
    }
}
