//! Any lease, in any style: the judge has nothing to say against what it becomes.

use std::{
    io::Write,
    sync::{Arc, LazyLock},
};

use auditrelay_audit::Severity;
use auditrelay_config::{DigestDetails, Overrides, load};
use auditrelay_dispatch::{
    Message, Templates,
    details::{listing, replies},
    render::{Style, render, unrendered},
};
use auditrelay_store::{Delivery, Lease, LeaseId, Notice};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError},
};

use crate::{
    events::{Hostile, Recipe, hostile, recipe},
    judge::{Told, complete, harmless, lines, listing_is_one, replies_complete},
};

const CASES: u32 = 96;
const NOW_UNIX_MS: i64 = 1_795_299_999_000;
/// A channel and a route that say all they can in their own words.
const CONFIG: &str = r"
default_channel: plain
channels:
  ops:
    preview: true
    sentence: '{{ user.name }} {{ verb }} {{ path }} {{ annotations.x }} {{ user_agent }}'
    fields:
      - { title: 'Who <b>', text: '{{ user.groups | join(user.name) }}' }
      - { title: Why, text: '{{ reason }}{{ object.name }}' }
  plain:
    preview: true
routes:
  - name: own-words
    channel: ops
    links:
      - { text: 'Runbook & more', url: 'https://w.example/{{ object.name }}?u={{ user.name }}' }
      - { text: Path, url: 'https://w.example/x?p={{ path }}#{{ user_agent }}' }
    command: kubectl --context {{ cluster }} get {{ object.resource }} {{ object.name }} --as {{ user.name }}
";

/// None, those of a route, and those of a channel and a route.
static TEMPLATES: LazyLock<[Arc<Templates>; 3]> = LazyLock::new(|| {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(CONFIG.as_bytes()).expect("written");
    let loaded = load(Some(file.path()), [], Overrides::default()).expect("valid");
    let all = Templates::all(&loaded.config).expect("templates that work");
    [
        Arc::default(),
        Arc::clone(&all["plain"]),
        Arc::clone(&all["ops"]),
    ]
});

#[derive(Debug, Clone)]
struct Look {
    sentences_max: usize,
    digest_groups_max: usize,
    details: u8,
    names_members: bool,
    templates: usize,
    replies_max: usize,
}

fn look() -> impl Strategy<Value = Look> {
    (
        1usize..=20,
        1usize..=40,
        0u8..3,
        any::<bool>(),
        0usize..3,
        1usize..6,
    )
        .prop_map(
            |(sentences_max, digest_groups_max, details, names_members, templates, replies_max)| {
                Look {
                    sentences_max,
                    digest_groups_max,
                    details,
                    names_members,
                    templates,
                    replies_max,
                }
            },
        )
}

impl Look {
    fn style(&self) -> Style {
        Style {
            sentences_max: self.sentences_max,
            digest_groups_max: self.digest_groups_max,
            details: match self.details {
                0 => DigestDetails::Command,
                1 => DigestDetails::Thread,
                _ => DigestDetails::File,
            },
            names_members: self.names_members,
            templates: Arc::clone(&TEMPLATES[self.templates]),
        }
    }
}

/// A lease to be made.
#[derive(Debug, Clone)]
struct Case {
    recipes: Vec<Recipe>,
    events: usize,
    notices: Vec<(Hostile, Hostile, u64)>,
    resumed: bool,
    id: u64,
    look: Look,
}

fn case() -> impl Strategy<Value = Case> {
    let events =
        prop_oneof![6 => 1usize..=4, 8 => 4usize..=24, 4 => 24usize..200, 1 => 200usize..=2_000];
    let notice = (hostile(), hostile(), any::<u32>().prop_map(u64::from)).boxed();
    let recipes = prop_oneof![
        3 => prop::collection::vec(recipe(), 1..6),
        1 => prop::collection::vec(recipe(), 6..24),
    ];
    (
        recipes,
        events,
        prop_oneof![3 => prop::collection::vec(notice.clone(), 0..1), 1 => prop::collection::vec(notice, 1..9)],
        any::<bool>(),
        any::<u64>(),
        look(),
    )
        .prop_map(|(recipes, events, notices, resumed, id, look)| Case {
            recipes,
            events,
            notices,
            resumed,
            id,
            look,
        })
}

impl Case {
    /// The lease, and the audit ID of each event, where it can be looked for.
    fn lease(&self) -> (Lease, Vec<Option<String>>) {
        let mut members = Vec::new();
        let mut ids = Vec::new();
        // Making thousands is what takes time: from the hundredth on they are the same ones again.
        let made: Vec<_> = (0..self.events.min(100))
            .map(|number| self.recipes[number % self.recipes.len()].make(number))
            .collect();
        for number in 0..self.events {
            let (event, id) = made[number % made.len()].clone();
            let severity = Severity::ALL[number * Severity::ALL.len() / self.events];
            members.push((severity, Delivery::Event(event)));
            ids.push(id);
        }
        members.extend(self.notices.iter().map(|(text, cluster, events)| {
            let notice = Notice {
                text: text.text(),
                events: *events,
                cluster: cluster.text(),
            };
            (Severity::Warning, Delivery::Notice(notice))
        }));
        let lease = Lease {
            id: LeaseId {
                channel: "ops".into(),
                id: self.id,
            },
            members,
            resumed: self.resumed,
            sealed_unix_ms: 0,
        };
        (lease, ids)
    }

    /// Lines of its message that are not about an event of the lease.
    fn extra(&self) -> usize {
        let mut notices: Vec<(String, String)> = self
            .notices
            .iter()
            .map(|(text, cluster, _)| (cluster.text(), text.text()))
            .collect();
        notices.sort();
        notices.dedup();
        notices.len().min(6) + usize::from(self.resumed)
    }

    fn judge(&self) -> Result<(), String> {
        let (lease, ids) = self.lease();
        let told = Told {
            events: self.events,
            ids: &ids,
            extra: self.extra(),
        };
        let message = render(&lease, &self.look.style(), NOW_UNIX_MS);
        harmless(&message)?;
        complete(&message, &told)?;
        alone(&message)?;
        let Look {
            replies_max,
            names_members,
            ..
        } = self.look;
        let replies = replies(&lease.members, self.id, replies_max, names_members);
        if replies.len() > replies_max {
            return Err(format!("{} replies", replies.len()));
        }
        for reply in &replies {
            harmless(reply)?;
            alone(reply)?;
        }
        replies_complete(&replies, lease.members.len())?;
        listing_is_one(&listing(&lease.members), lease.members.len())?;
        harmless(&unrendered(self.events, self.id))
    }
}

/// Its text by itself, as it is posted where blocks are refused.
fn alone(message: &Message) -> Result<(), String> {
    let plain = message.clone().plain();
    if lines(&plain.text) != lines(&message.text) || !plain.blocks.is_empty() {
        return Err("the text alone says less".to_owned());
    }
    harmless(&plain)
}

fn config() -> Config {
    let cases = match std::env::var("AUDITRELAY_JUDGE_CASES") {
        Ok(number) => number.parse().expect("AUDITRELAY_JUDGE_CASES is a number"),
        Err(_) => CASES,
    };
    Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn the_judge_finds_nothing_against_any_message(case in case()) {
        case.judge().map_err(TestCaseError::fail)?;
    }
}
