//! What loads, what is warned of, and what is refused, with its path and its line.

use super::*;
use crate::{
    event::{Level, Stage},
    policy::{GroupResources, Match, Rule},
};

pub(super) const HEAD: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|one| (*one).to_owned()).collect()
}

fn loaded(text: &str) -> Loaded {
    load(text).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"))
}

/// `line path` of each problem of a policy of which the head is given.
fn refused(body: &str) -> Vec<String> {
    let text = format!("{HEAD}{body}");
    let problems = load(&text).expect_err(&text);
    let problems = problems.iter();
    problems
        .map(|problem| format!("{} {}", problem.place.line, problem.path))
        .collect()
}

fn warned(text: &str) -> Vec<String> {
    let warnings = loaded(text).warnings;
    let warnings = warnings.iter();
    warnings
        .map(|problem| format!("{} {}", problem.place.line, problem.path))
        .collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_field_is_read_where_it_stands() {
    let text = format!(
        "{HEAD}metadata: {{name: all, labels: {{a: b}}, creationTimestamp: null}}
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: RequestResponse
  users: [alice, \"*\"]
  userGroups: [dev]
  verbs: [get]
  namespaces: [\"\"]
  resources:
  - group: \"\"
    resources: [pods, pods/log]
    resourceNames: [a]
  - group: apps
  omitStages:
  - Panic
  omitManagedFields: false
- level: None
  nonResourceURLs:
    - \"*\"
    - /healthz*
- {{level: Metadata}}
"
    );
    let loaded = loaded(&text);
    assert_eq!(loaded.warnings, []);
    let first = Rule {
        level: Level::RequestResponse,
        matched: Match {
            users: strings(&["alice", "*"]),
            user_groups: strings(&["dev"]),
            verbs: strings(&["get"]),
            resources: vec![
                GroupResources {
                    group: String::new(),
                    resources: strings(&["pods", "pods/log"]),
                    resource_names: strings(&["a"]),
                },
                GroupResources {
                    group: "apps".into(),
                    ..Default::default()
                },
            ],
            namespaces: strings(&[""]),
            ..Default::default()
        },
        omit_stages: vec![Stage::Panic],
        omit_managed_fields: Some(false),
    };
    let rule = |level, urls: &[&str]| Rule {
        level,
        matched: Match {
            non_resource_urls: strings(urls),
            ..Default::default()
        },
        omit_stages: vec![],
        omit_managed_fields: None,
    };
    let policy = Policy {
        rules: vec![
            first,
            rule(Level::None, &["*", "/healthz*"]),
            rule(Level::Metadata, &[]),
        ],
        omit_stages: vec![Stage::RequestReceived],
        omit_managed_fields: true,
    };
    assert_eq!(loaded.policy, policy);
    let line = |path: &str| loaded.lines.at(path).line;
    assert_eq!(
        [0, 1, 2].map(|rule| loaded.lines.rule(rule).line),
        [7, 20, 24]
    );
    assert_eq!(line("rules[0].resources[0].resources[1]"), 14);
    assert_eq!(line("rules[0].omitStages[0]"), 18);
    assert_eq!(line("rules[1].nonResourceURLs[1]"), 23);
    // What is not there stands where it would be.
    assert_eq!(line("rules[1].verbs"), 20);
    assert_eq!(line("nothing"), 1);
}

#[test]
fn json_is_the_same_policy_with_lines() {
    let yaml = format!(
        "{HEAD}rules:\n- level: None\n  users: [\"a\\\"\\\\/\\u00e4\"]\n  omitManagedFields: true\n- level: Metadata\n"
    );
    let json = "{ \"apiVersion\": \"audit.k8s.io/v1\",\n\t\"kind\": \"Policy\", \"rules\": [\n{\"level\": \"None\",
\"users\": [ \"a\\\"\\\\\\/\\u00e4\" ], \"omitManagedFields\": true },\n { \"level\" : \"Metadata\" } ] }\n";
    let read = loaded(json);
    assert_eq!(read.policy, loaded(&yaml).policy);
    assert_eq!([0, 1].map(|rule| read.lines.rule(rule).line), [3, 5]);
    let problems = load(&json.replace("\"None\"", "\"none\"")).expect_err("case counts");
    assert_eq!(problems[0].path, "rules[0].level");
    assert_eq!(problems[0].place, Place { line: 3, column: 2 });
    // What begins with { is JSON to the API server, whatever YAML would make of it.
    for text in [
        "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None}]}",
        "{\"kind\": \"Policy\"} x",
        "{",
    ] {
        let problems = load(text).expect_err(text);
        assert!(problems[0].what.contains("JSON"), "{problems:?}");
    }
}

#[test]
fn only_the_types_that_go_takes_are_read() {
    for (field, is_fine) in [
        ("users: [a]", true),
        ("users: []", true),
        ("users:", true),
        ("users: [null]", true),
        ("users: [\"7\", 'yes', 2026-11-21, 1.2.3]", true),
        ("users: [!!str 7]", true),
        ("users: a", false),
        ("users: {a: b}", false),
        ("users: [7]", false),
        ("users: [yes]", false),
        ("users: [1_000]", false),
        ("users: [[a]]", false),
        ("resources: [pods]", false),
        ("resources: {group: a}", false),
        ("resources: [{group: 7}]", false),
        ("resources: [{resources: pods}]", false),
        ("resources: [null]", true),
        ("omitManagedFields: yes", true),
        ("omitManagedFields: null", true),
        ("omitManagedFields: \"true\"", false),
        ("omitManagedFields: 1", false),
        ("omitStages: Panic", false),
    ] {
        let text = format!("{HEAD}rules:\n- level: Metadata\n  {field}\n");
        assert_eq!(load(&text).is_ok(), is_fine, "{field}: {:?}", load(&text));
    }
    for rules in [
        "rules: {level: None}",
        "rules: x",
        "rules: [x]",
        "rules: [[]]",
    ] {
        assert_eq!(refused(rules).len(), 1, "{rules}");
    }
    for root in ["x", "- level: None", "7"] {
        assert_eq!(load(root).expect_err(root).len(), 1, "{root}");
    }
    assert_eq!(
        refused("metadata: x\nrules: [{level: None}]"),
        ["3 metadata"]
    );
    assert_eq!(
        refused("metadata: {labels: {a: 1}}\nrules: [{level: None}]"),
        ["3 metadata.labels[\"a\"]"]
    );
}

#[test]
fn what_the_api_server_refuses_is_refused_under_its_path() {
    for (body, problems) in [
        ("rules: []", &["3 rules"][..]),
        ("rules:\n", &["3 rules"]),
        ("omitStages: [Panic]", &["1 rules"]),
        ("rules:\n- users: [a]", &["4 rules[0].level"]),
        // What is empty ends, to the parser, where the next thing begins.
        ("rules:\n-\n- level: None", &["5 rules[0].level"]),
        ("rules:\n- level: metadata", &["4 rules[0].level"]),
        ("rules:\n- level: 5", &["4 rules[0].level"]),
        (
            "omitStages: [Panic, panic]\nrules: [{level: None}]",
            &["3 omitStages[1]"],
        ),
        (
            "rules:\n- level: None\n  omitStages:\n  - Panic\n  - \"\"\n",
            &["7 rules[0].omitStages[1]"],
        ),
        (
            "rules:\n- level: None\n- level: None\n  nonResourceURLs: [healthz, /a*b, \"*\", /c*, \"\"]\n",
            &[
                "6 rules[1].nonResourceURLs[0]",
                "6 rules[1].nonResourceURLs[1]",
                "6 rules[1].nonResourceURLs[4]",
            ],
        ),
        (
            "rules: [{level: None, nonResourceURLs: [a*b]}]",
            &[
                "3 rules[0].nonResourceURLs[0]",
                "3 rules[0].nonResourceURLs[0]",
            ],
        ),
        (
            "rules:\n- level: None\n  nonResourceURLs: [/a]\n  namespaces: [a]",
            &["5 rules[0].nonResourceURLs"],
        ),
        (
            "rules:\n- level: None\n  nonResourceURLs: [/a]\n  resources: [{group: \"\"}]",
            &["5 rules[0].nonResourceURLs"],
        ),
        (
            "rules:\n- level: None\n  resources:\n  - group: apps\n  - group: apps/v1\n  - group: Apps\n",
            &["7 rules[0].resources.group", "8 rules[0].resources.group"],
        ),
        (
            "rules:\n- level: None\n  resources:\n  - group: \"\"\n    resourceNames: [a]\n",
            &["7 rules[0].resources.resourceNames"],
        ),
    ] {
        assert_eq!(refused(body), problems, "{body}");
    }
    for group in [
        "-a",
        "a-",
        "a..b",
        ".a",
        "a.",
        "*.k8s.io",
        "a_b",
        &"a".repeat(254),
    ] {
        let body = format!("rules: [{{level: None, resources: [{{group: '{group}'}}]}}]");
        assert_eq!(refused(&body), ["3 rules[0].resources.group"], "{group}");
    }
    for group in ["a", "1.2", "a-b.c", &"a".repeat(253)] {
        let body = format!("{HEAD}rules: [{{level: None, resources: [{{group: '{group}'}}]}}]");
        assert!(load(&body).is_ok(), "{group}");
    }
}

#[test]
fn the_head_must_be_right() {
    for (head, path) in [
        ("kind: Policy", "apiVersion"),
        (
            "apiVersion: audit.k8s.io/v1beta1\nkind: Policy",
            "apiVersion",
        ),
        ("apiVersion: v1\nkind: Policy", "apiVersion"),
        ("apiVersion: 1\nkind: Policy", "apiVersion"),
        ("apiVersion: audit.k8s.io/v1\nkind: policy", "kind"),
        ("apiVersion: audit.k8s.io/v1\nkind: EventList", "kind"),
        ("apiVersion: audit.k8s.io/v1\nkind: [Policy]", "kind"),
    ] {
        let problems = load(&format!("{head}\nrules: [{{level: None}}]")).expect_err(head);
        assert_eq!(problems.len(), 1, "{head}: {problems:?}");
        assert_eq!(problems[0].path, path, "{head}");
    }
    // What is not said is taken for a policy, and these two fields are read in any case.
    let without = "apiVersion: audit.k8s.io/v1\nrules: [{level: None}]";
    assert_eq!(warned(without), ["1 kind"]);
    let lower = "apiversion: audit.k8s.io/v1\nKIND: Policy\nrules: [{level: None}]";
    assert_eq!(warned(lower), ["1 apiversion", "2 KIND"]);
}

#[test]
fn what_is_unknown_or_there_twice_is_warned_of() {
    let text = format!(
        "{HEAD}webhook: {{url: x}}\nrules:\n- level: None\n  level: Metadata\n  verb: [get]\n  Users: [a]\n  resources:\n  - group: '*'\n    names: [a]\n---\nnonsense: ["
    );
    assert_eq!(
        warned(&text),
        [
            "3 webhook",
            "6 ",
            "7 rules[0].verb",
            "8 rules[0].Users",
            "10 rules[0].resources.group",
            "11 rules[0].resources[0].names",
            "12 ",
        ]
    );
    // The last of two counts, and what is unknown does not.
    let policy = loaded(&text).policy;
    assert_eq!(policy.rules[0].level, Level::Metadata);
    assert!(policy.rules[0].matched.users.is_empty());
    let json = r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"None","level":"Request"}]}"#;
    assert_eq!(loaded(json).policy.rules[0].level, Level::Request);
    assert_eq!(warned(json), ["1 "]);
}

#[test]
fn anchors_and_merge_keys_are_understood() {
    let text = format!(
        "{HEAD}rules:
- &quiet
  level: None
  verbs: &reads [get, list, watch]
- <<: *quiet
  level: Metadata
- level: Request
  <<: [{{users: [a]}}, {{users: [b], userGroups: [c]}}]
- level: Metadata
  verbs: *reads
"
    );
    let rules = loaded(&text).policy.rules;
    assert_eq!(rules[1].level, Level::Metadata);
    assert_eq!(rules[1].matched.verbs, ["get", "list", "watch"]);
    assert_eq!(rules[2].matched.users, ["a"]);
    assert_eq!(rules[2].matched.user_groups, ["c"]);
    assert_eq!(rules[3].matched.verbs, ["get", "list", "watch"]);
}
