//! Which routes can match an event at all, so that five hundred of them cost little more than ten.
//!
//! A bit for each route. For each field that a route may restrict there is, by value, the set of routes
//! that allow the value, those included that do not restrict the field. The sets of an event's values,
//! ANDed, hold every route that matches it, and few others; the matcher decides on those, in order.
//!
//! Invariant: leaving a route out is only right if its matcher would refuse the event. So whatever is
//! not a plain value (`*`, `*/status`) counts as no restriction.

use auditrelay_audit::{Event, Matcher};
use hashbrown::HashMap;

const WORD_BITS: usize = 64;

type Bits = Vec<u64>;

#[derive(Debug, Clone, Default)]
pub(crate) struct RouteIndex {
    words: usize,
    users: Field,
    groups: Field,
    verbs: Field,
    namespaces: Field,
    resources: Field,
}

/// Sets of routes by a field's values.
#[derive(Debug, Clone, Default)]
struct Field {
    /// Routes that do not restrict it.
    free: Bits,
    /// Routes that allow a value, the free ones included.
    by_value: HashMap<String, Bits>,
}

impl RouteIndex {
    pub(crate) fn new<'a>(matchers: impl ExactSizeIterator<Item = &'a Matcher> + Clone) -> Self {
        let words = matchers.len().div_ceil(WORD_BITS);
        let field = |values: fn(&'a Matcher) -> Option<Vec<&'a str>>| {
            Field::new(words, matchers.clone().map(values))
        };
        Self {
            words,
            users: field(|matcher| some(&matcher.rule.users)),
            groups: field(|matcher| some(&matcher.rule.user_groups)),
            verbs: field(|matcher| some(&matcher.rule.verbs)),
            namespaces: field(|matcher| some(&matcher.rule.namespaces)),
            resources: field(resources),
        }
    }

    /// The first route that can match the event and that `ends` it; it is asked of all before that, in order.
    pub(crate) fn candidates(
        &self,
        event: &Event<'_>,
        mut ends: impl FnMut(&usize) -> bool,
    ) -> Option<usize> {
        let event = event.envelope;
        let (resource, namespace) = match &event.object_ref {
            Some(object) => (object.resource.as_str(), object.namespace.as_str()),
            None => ("", ""),
        };
        let sets = [
            self.users.of(&event.user.username),
            self.verbs.of(&event.verb),
            self.namespaces.of(namespace),
            self.resources.of(resource),
        ];
        // Nearly always empty: few routes name groups.
        let groups: Vec<&Bits> = event
            .user
            .groups
            .iter()
            .filter_map(|group| self.groups.by_value.get(group.as_str()))
            .collect();
        for word in 0..self.words {
            let of_groups = groups
                .iter()
                .fold(self.groups.free[word], |bits, group| bits | group[word]);
            let mut bits = sets.iter().fold(of_groups, |bits, set| bits & set[word]);
            while bits != 0 {
                let number = word * WORD_BITS + bits.trailing_zeros() as usize;
                if ends(&number) {
                    return Some(number);
                }
                bits &= bits - 1;
            }
        }
        None
    }
}

fn some(values: &[String]) -> Option<Vec<&str>> {
    (!values.is_empty()).then(|| values.iter().map(String::as_str).collect())
}

/// The plain resource names that a route is about; `None` where it is about any.
fn resources(matcher: &Matcher) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    for group in &matcher.rule.resources {
        if group.resources.is_empty() {
            return None;
        }
        for pattern in &group.resources {
            let (name, _) = pattern.split_once('/').unwrap_or((pattern, ""));
            if name == "*" {
                return None;
            }
            names.push(name);
        }
    }
    (!names.is_empty()).then_some(names)
}

impl Field {
    fn new<'a>(words: usize, routes: impl Iterator<Item = Option<Vec<&'a str>>>) -> Self {
        let mut field = Self {
            free: vec![0; words],
            by_value: HashMap::new(),
        };
        for (number, values) in routes.enumerate() {
            let (word, bit) = (number / WORD_BITS, 1 << (number % WORD_BITS));
            let Some(values) = values else {
                field.free[word] |= bit;
                continue;
            };
            for value in values {
                let bits = field.by_value.entry_ref(value);
                bits.or_insert_with(|| vec![0; words])[word] |= bit;
            }
        }
        for bits in field.by_value.values_mut() {
            for (word, free) in bits.iter_mut().zip(&field.free) {
                *word |= free;
            }
        }
        field
    }

    fn of(&self, value: &str) -> &Bits {
        self.by_value.get(value).unwrap_or(&self.free)
    }
}

#[cfg(test)]
mod tests {
    use auditrelay_audit::{
        Envelope,
        policy::{GroupResources, Match},
    };
    use proptest::prelude::*;

    use super::*;

    fn values(from: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(prop::sample::select(from).prop_map(str::to_owned), 0..3)
    }

    fn matcher() -> impl Strategy<Value = Matcher> {
        let resources = (
            prop::sample::select(&["", "*", "apps"][..]),
            values(&["pods", "pods/log", "pods/*", "*/status", "*", "secrets"]),
        );
        let resources = resources.prop_map(|(group, resources)| GroupResources {
            group: group.to_owned(),
            resources,
            resource_names: vec![],
        });
        (
            values(&["alice", "bob", ""]),
            values(&["dev", "ops"]),
            values(&["get", "create", ""]),
            values(&["demo", "", "prod"]),
            prop::collection::vec(resources, 0..3),
            values(&["/healthz", "/livez*", "*"]),
            values(&["4xx", "200-403"]),
            prop::option::of(prop::bool::ANY),
        )
            .prop_map(
                |(users, user_groups, verbs, namespaces, resources, urls, codes, dry_run)| {
                    Matcher {
                        rule: Match {
                            users,
                            user_groups,
                            verbs,
                            namespaces,
                            resources,
                            non_resource_urls: urls,
                        },
                        codes: codes.iter().filter_map(|one| one.parse().ok()).collect(),
                        dry_run,
                        ..Matcher::default()
                    }
                },
            )
    }

    fn event() -> impl Strategy<Value = String> {
        let one = |from: &'static [&'static str]| prop::sample::select(from);
        let object = (
            one(&["", "apps"]),
            one(&["pods", "secrets", "nodes"]),
            one(&["", "log", "status"]),
            one(&["", "demo", "prod"]),
        );
        (
            one(&["alice", "bob", "eve", ""]),
            prop::sample::subsequence(vec!["dev", "ops", "system:authenticated"], 0..=3),
            one(&["get", "delete", "create", ""]),
            prop::option::of(object),
            one(&["/healthz", "/livez/x?a=b", "/api", "/api?dryRun=All"]),
            prop::sample::select(&[0, 200, 404][..]),
        )
            .prop_map(|(user, groups, verb, object, uri, code)| {
                let object = object.map(|(group, resource, subresource, namespace)| {
                    serde_json::json!({ "apiGroup": group, "resource": resource,
                        "subresource": subresource, "namespace": namespace })
                });
                let mut event = serde_json::json!({ "level": "Metadata", "stage": "ResponseComplete",
                    "verb": verb, "requestURI": uri, "responseStatus": { "code": code }, "user": { "username": user, "groups": groups } });
                if let Some(object) = object {
                    event["objectRef"] = object;
                }
                event.to_string()
            })
    }

    proptest! {
        #[test]
        fn the_index_finds_what_looking_at_every_route_finds(
            matchers in prop::collection::vec(matcher(), 0..150),
            event in event(),
        ) {
            let envelope = Envelope::parse(&event).expect("readable");
            let event = Event { cluster: "test", envelope: &envelope };
            let expected = matchers.iter().position(|matcher| matcher.matches(&event));
            let index = RouteIndex::new(matchers.iter());
            let found = index.candidates(&event, |number| matchers[*number].matches(&event));
            prop_assert_eq!(found, expected);
            // Where those that match are open, all of them are visited, in order.
            let mut visited = Vec::new();
            let end = index.candidates(&event, |number| {
                visited.push(*number);
                false
            });
            prop_assert_eq!(end, None);
            prop_assert!(visited.is_sorted());
            let matching = (0..matchers.len()).filter(|number| matchers[*number].matches(&event));
            for number in matching {
                prop_assert!(visited.contains(&number), "{}", number);
            }
        }
    }
}
