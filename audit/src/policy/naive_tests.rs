//! All that a policy decides, and what is said of its rules, against a second, naive evaluator.

use proptest::prelude::*;

use super::{tests::Asked, *};

/// The documentation of `PolicyRule`, word by word and without any thought of speed.
fn naively_matches(rule: &Match, asked: &Asked) -> bool {
    let any = |list: &Vec<String>, values: &[String]| {
        list.is_empty() || values.iter().any(|value| list.contains(value))
    };
    let who = any(&rule.users, std::slice::from_ref(&asked.user))
        && any(&rule.user_groups, &asked.groups)
        && any(&rule.verbs, std::slice::from_ref(&asked.verb));
    let is_for_resources = !rule.namespaces.is_empty() || !rule.resources.is_empty();
    let is_for_paths = !rule.non_resource_urls.is_empty() && !is_for_resources;
    let what = match &asked.object {
        None => {
            let stands_for = |pattern: &String| {
                let mut prefix = pattern.clone();
                while prefix.ends_with('*') {
                    prefix.pop();
                }
                *pattern == asked.path || (prefix != *pattern && asked.path.starts_with(&prefix))
            };
            !is_for_resources && (!is_for_paths || rule.non_resource_urls.iter().any(stands_for))
        }
        Some([group, resource, subresource, namespace]) => {
            let mut names = vec!["*".to_owned(), format!("{resource}/*")];
            if subresource.is_empty() {
                names.push(resource.clone());
            } else {
                names.push(format!("{resource}/{subresource}"));
                names.push(format!("*/{subresource}"));
            }
            let is_one = |entry: &GroupResources| {
                (entry.group == "*" || entry.group == *group)
                    && (entry.resources.is_empty()
                        || (any(&entry.resource_names, std::slice::from_ref(&asked.name))
                            && any(&entry.resources, &names)))
            };
            !is_for_paths
                && any(&rule.namespaces, std::slice::from_ref(namespace))
                && (rule.resources.is_empty() || rule.resources.iter().any(is_one))
        }
    };
    who && what
}

/// Few words, so that they meet; among them what looks like a pattern.
fn word() -> impl Strategy<Value = String> {
    let words = vec![
        "", "*", "a", "b", "a/b", "a/", "/a", "/b", "a/*", "*/a", "*/b", "*/*", "*/", "/*", "/a*",
        "/a/b", "/a**", "**", "aa", "A", "ä", "a*",
    ];
    prop::sample::select(words).prop_map(str::to_owned)
}

fn words(count_max: usize) -> impl Strategy<Value = Vec<String>> {
    prop_oneof![2 => Just(Vec::new()), 3 => prop::collection::vec(word(), 0..=count_max)]
}

/// Of very few, for fields that would else hardly ever all be met.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "", "*"]).prop_map(str::to_owned)
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(name(), 1..3)]
}

fn a_match() -> impl Strategy<Value = Match> {
    let group =
        (name(), words(3), names()).prop_map(|(group, resources, resource_names)| GroupResources {
            group,
            resources,
            resource_names,
        });
    let groups = prop_oneof![1 => Just(Vec::new()), 2 => prop::collection::vec(group, 0..3)];
    let urls = prop_oneof![2 => Just(Vec::new()), 1 => words(3)];
    (names(), names(), names(), groups, names(), urls).prop_map(
        |(users, user_groups, verbs, resources, namespaces, non_resource_urls)| Match {
            users,
            user_groups,
            verbs,
            resources,
            namespaces,
            non_resource_urls,
        },
    )
}

fn a_policy() -> impl Strategy<Value = Policy> {
    let stages = || prop::sample::subsequence(Stage::ALL.to_vec(), 0..=4);
    let levels = vec![
        Level::None,
        Level::Metadata,
        Level::Request,
        Level::RequestResponse,
    ];
    let rule = (
        a_match(),
        prop::sample::select(levels),
        stages(),
        any::<Option<bool>>(),
    )
        .prop_map(|(matched, level, omit_stages, omit_managed_fields)| Rule {
            level,
            matched,
            omit_stages,
            omit_managed_fields,
        });
    (prop::collection::vec(rule, 1..6), stages(), any::<bool>()).prop_map(
        |(rules, omit_stages, omit_managed_fields)| Policy {
            rules,
            omit_stages,
            omit_managed_fields,
        },
    )
}

fn a_request() -> impl Strategy<Value = Asked> {
    // Names without a slash are what a server sees; now and then there is one all the same.
    let part = || {
        let parts = vec!["a", "b", "a", "b", "", "", "*", "aa", "a/b"];
        prop::sample::select(parts).prop_map(str::to_owned)
    };
    let object = prop::option::weighted(
        0.7,
        [
            name().boxed(),
            part().boxed(),
            part().boxed(),
            name().boxed(),
        ],
    );
    (name(), names(), name(), object, name(), word()).prop_map(
        |(user, groups, verb, object, name, path)| Asked {
            user,
            groups,
            verb,
            object,
            name,
            path,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn it_decides_as_the_documentation_says(policy in a_policy(), requests in prop::collection::vec(a_request(), 8)) {
        for asked in requests {
            let number = policy.rules.iter().position(|rule| naively_matches(&rule.matched, &asked));
            let rule = number.map(|number| policy.rules[number].clone());
            let mut omitted: Vec<Stage> = policy.omit_stages.clone();
            omitted.extend(rule.iter().flat_map(|rule| rule.omit_stages.clone()));
            omitted.sort();
            omitted.dedup();
            let naive = Decision {
                rule: number,
                level: rule.as_ref().map_or(Level::None, |rule| rule.level),
                omit_stages: omitted,
                omit_managed_fields: rule
                    .and_then(|rule| rule.omit_managed_fields)
                    .unwrap_or(policy.omit_managed_fields),
            };
            prop_assert_eq!(asked.with(|request| policy.evaluate(request)), naive, "{:?}", asked);
        }
    }

    #[test]
    fn there_is_a_reason_exactly_where_there_is_no_match(matched in a_match(), asked in a_request()) {
        let (matches, mismatch) = asked.with(|request| (matched.matches(request), matched.mismatch(request)));
        prop_assert_eq!(matches, mismatch.is_none(), "{:?}", mismatch);
    }

    /// A rule that is said to be covered decides nothing that an API server can be asked.
    #[test]
    fn nothing_is_left_where_nothing_is_said_to_be(policy in a_policy(), requests in prop::collection::vec(a_request(), 24)) {
        let covered: Vec<usize> =
            (0..policy.rules.len()).filter(|rule| !policy.covered_by(*rule).is_empty()).collect();
        for asked in requests {
            let has_slash = |parts: &[String; 4]| parts[1].contains('/') || parts[2].contains('/');
            if asked.object.as_ref().is_some_and(has_slash) {
                continue;
            }
            let decides = asked.with(|request| policy.rule_for(request));
            prop_assert!(decides.is_none_or(|rule| !covered.contains(&rule)), "{:?} {:?}", decides, asked);
        }
    }
}
