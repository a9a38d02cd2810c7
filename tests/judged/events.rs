//! Hostile events, as recipes: small values, of which the same events are made every time.

use std::sync::LazyLock;

use auditrelay_audit::{Envelope, redact::Bodies};
use auditrelay_store::{EventDelivery, Marks};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Real events, one a line.
pub static CORPUS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let lines = include_str!("corpus.jsonl").lines();
    lines
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect()
});
static ATTACKS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let text = include_str!("../../dispatch/tests/data/attacks.json");
    let attacks: Map<String, Value> = serde_json::from_str(text).expect("a map");
    let texts = attacks.values().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
});

/// What an attacker puts somewhere.
#[derive(Debug, Clone)]
pub enum Hostile {
    Attack(usize),
    Any(String),
    Long(String, usize),
    Deep(usize),
    Wide(usize),
    Json(Value),
}

impl Hostile {
    pub fn text(&self) -> String {
        match self {
            Self::Attack(number) => ATTACKS[number % ATTACKS.len()].clone(),
            Self::Any(text) => text.clone(),
            Self::Long(text, bytes) => text.repeat(bytes / text.len().max(1)),
            Self::Deep(levels) => "[".repeat(*levels),
            Self::Wide(count) => "a=b&".repeat(*count),
            Self::Json(value) => value.to_string(),
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Deep(levels) => (0..*levels).fold(json!("end"), |inner, level| match level % 2 {
                0 => json!([inner]),
                _ => json!({"spec": inner}),
            }),
            Self::Wide(count) => {
                let entry =
                    |number: usize| json!({"name": format!("n{number}&<"), "value": number});
                (0..*count).map(entry).collect()
            }
            Self::Json(value) => value.clone(),
            text => text.text().into(),
        }
    }
}

pub fn hostile() -> impl Strategy<Value = Hostile> {
    const PIECES: [&str; 16] = [
        "&lt;",
        "&amp;amp;",
        "<!channel>",
        "<@U1|x>",
        "```",
        "`",
        "\n",
        "\r\n",
        "\t",
        "\u{202e}",
        "\u{200b}",
        "👩‍👩‍👧‍👦🏳️‍🌈",
        "e\u{301}\u{302}\u{303}\u{304}",
        "\0\u{1b}[2J",
        "&",
        "”—“",
    ];
    let mixed = prop::collection::vec(prop::sample::select(&PIECES), 1..9)
        .prop_map(|pieces| pieces.concat());
    let bytes = prop_oneof![3 => 100usize..5_000, 1 => 5_000usize..100_000];
    let long = prop_oneof![
        "[ -~]{1,4}",
        Just("&".to_owned()),
        Just("ß".into()),
        Just("𝕏<".into()),
        mixed.clone()
    ];
    prop_oneof![
        4 => any::<usize>().prop_map(Hostile::Attack),
        3 => mixed.prop_map(Hostile::Any),
        2 => any::<String>().prop_map(Hostile::Any),
        3 => (long, bytes).prop_map(|(text, bytes)| Hostile::Long(text, bytes)),
        1 => prop_oneof![1usize..100, 100usize..2_000].prop_map(|levels| Hostile::Deep(levels.min(120))),
        1 => (1usize..3_000).prop_map(Hostile::Wide),
        3 => json_value().prop_map(Hostile::Json),
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let name = "(name|kind|metadata|spec|data|items|op|path|value|rules|subjects|stage|level|verb|[a-z/]{0,9})";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// An event to be made.
#[derive(Debug, Clone)]
pub struct Recipe {
    base: Option<usize>,
    instead: Hostile,
    changes: Vec<(bool, usize, bool, Hostile)>,
    redacted: bool,
    cluster: Option<Hostile>,
    route: u8,
    meant_for: Option<Hostile>,
    marks: [bool; 4],
}

pub fn recipe() -> impl Strategy<Value = Recipe> {
    let change = (
        any::<bool>(),
        any::<usize>(),
        prop::bool::weighted(0.1),
        hostile(),
    );
    let rarely = || prop::option::weighted(0.2, hostile());
    (
        prop::option::weighted(0.9, any::<usize>()),
        hostile(),
        prop::collection::vec(change, 0..5),
        prop::bool::weighted(0.8),
        rarely(),
        0u8..4,
        rarely(),
        any::<[bool; 4]>(),
    )
        .prop_map(
            |(base, instead, changes, redacted, cluster, route, meant_for, marks)| Recipe {
                base,
                instead,
                changes,
                redacted,
                cluster,
                route,
                meant_for,
                marks,
            },
        )
}

impl Recipe {
    /// The event as it comes out of the queue, and its audit ID if that can be looked for.
    pub fn make(&self, number: usize) -> (EventDelivery, Option<String>) {
        let json = match self.base {
            Some(base) => self.mutated(base, number),
            None => self.instead.value().to_string(),
        };
        let id = Envelope::parse(&json)
            .ok()
            .map(|envelope| envelope.audit_id.to_string())
            .filter(|id| id.starts_with("judged-"));
        let [
            body_unreadable,
            audit_id_reused,
            possibly_repeated,
            replayed,
        ] = self.marks;
        let event = EventDelivery {
            cluster: self.cluster.as_ref().map_or("prod".into(), Hostile::text),
            route: match self.route {
                0 => String::new(),
                1 => self.instead.text(),
                _ => "own-words".to_owned(),
            },
            json,
            marks: Marks {
                body_unreadable,
                audit_id_reused,
                possibly_repeated,
                replayed,
            },
            meant_for: self.meant_for.as_ref().map(Hostile::text),
        };
        (event, id)
    }

    fn mutated(&self, base: usize, number: usize) -> String {
        let mut event = CORPUS[base % CORPUS.len()].clone();
        event["auditID"] = format!("judged-{number:06}").into();
        for (at_top, place, renames, what) in &self.changes {
            let mut left = if *at_top {
                place % event.as_object().map_or(1, Map::len)
            } else {
                place % count(&event)
            };
            change(&mut event, *at_top, &mut left, *renames, what);
        }
        let text = event.to_string();
        match Envelope::parse(&text) {
            Ok(envelope) if self.redacted => crate::secrets::redactor()
                .redact(&text, &envelope, true, Bodies::Keep)
                .json
                .into_owned(),
            _ => text,
        }
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields.values().map(count).sum::<usize>() + fields.len().max(1),
        Value::Array(items) => items.iter().map(count).sum::<usize>() + items.len().max(1),
        _ => 0,
    }
}

/// Replaces the value that stands at a place, or its name, or adds one. Whether it was found.
fn change(
    value: &mut Value,
    only_top: bool,
    left: &mut usize,
    renames: bool,
    what: &Hostile,
) -> bool {
    let next = |left: &mut usize| {
        let found = *left == 0;
        *left = left.wrapping_sub(1);
        found
    };
    match value {
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().cloned().collect();
            for name in names {
                if next(left) {
                    if renames {
                        let inner = fields.remove(&name).unwrap_or_default();
                        fields.insert(what.text(), inner);
                    } else {
                        fields.insert(name, what.value());
                    }
                    return true;
                }
                let inner = fields.get_mut(&name).expect("its name was just read");
                if !only_top && change(inner, false, left, renames, what) {
                    return true;
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                if next(left) {
                    *item = what.value();
                    return true;
                }
                if change(item, false, left, renames, what) {
                    return true;
                }
            }
        }
        _ => {}
    }
    false
}
