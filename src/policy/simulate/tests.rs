//! Suggestions for random logs and random policies, held against what must never happen.

use auditrelay_audit::{
    Envelope, Level, Stage,
    policy::{GroupResources, Match, Policy, Request, Rule, load},
};
use proptest::prelude::*;

use super::{
    cells::Cells,
    outcome::Outcome,
    sizes::Measured,
    suggest::{Bounds, Suggested, suggest},
    yaml::{self, Entry},
};

const USERS: [&str; 10] = [
    "alice",
    "system:apiserver",
    "system:serviceaccount:kube-system:gc",
    "system:serviceaccount:ci:deployer",
    "system:node:n1",
    "system:node:n2",
    "system:anonymous",
    "system:admin",
    "*",
    "",
];
const GROUPS: [&str; 4] = [
    "",
    r#""system:nodes""#,
    r#""system:authenticated","system:nodes""#,
    r#""system:unauthenticated""#,
];
const VERBS: [&str; 11] = [
    "get",
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "head",
    "",
];
/// Group, resource, subresource; some of them read like patterns.
const OBJECTS: [(&str, &str, &str); 15] = [
    ("", "pods", ""),
    ("", "pods", "log"),
    ("", "pods", "exec"),
    ("", "nodes", "proxy"),
    ("", "secrets", ""),
    ("", "configmaps", ""),
    ("", "serviceaccounts", "token"),
    ("", "events", ""),
    ("coordination.k8s.io", "leases", ""),
    ("rbac.authorization.k8s.io", "roles", ""),
    ("apps", "deployments", ""),
    ("", "*", ""),
    ("*", "pods", ""),
    ("", "pods", "*"),
    ("", "*", "exec"),
];
const PATHS: [&str; 7] = [
    "/healthz",
    "/livez/etcd?x=1",
    "/api",
    "/apis/apps/v1",
    "/openapi/v3",
    "/logs",
    "",
];
const CODES: [u32; 7] = [200, 200, 200, 404, 403, 401, 500];
const STAGES: [&str; 5] = [
    "RequestReceived",
    "ResponseStarted",
    "ResponseComplete",
    "ResponseComplete",
    "Panic",
];
const LEVELS: [&str; 3] = ["Metadata", "Request", "RequestResponse"];

fn event() -> impl Strategy<Value = String> {
    let who = (0..USERS.len(), 0..GROUPS.len(), 0..12_u32);
    let what = (
        0..VERBS.len(),
        0..OBJECTS.len() + PATHS.len(),
        0..LEVELS.len(),
    );
    let how = (0..CODES.len(), 0..STAGES.len(), 0..2_000_usize);
    (who, what, how).prop_map(|(who, what, how)| {
        let ((user, groups, other), (verb, target, level), (code, stage, length)) = (who, what, how);
        let target = match target.checked_sub(OBJECTS.len()) {
            Some(path) => format!(r#""requestURI":"{}""#, PATHS[path]),
            None => {
                let (group, resource, subresource) = OBJECTS[target];
                format!(
                    r#""objectRef":{{"apiGroup":"{group}","resource":"{resource}","subresource":"{subresource}","name":"x"}}"#
                )
            }
        };
        let impersonated = match other {
            0 => r#""impersonatedUser":{"username":"eve"},"#,
            _ => "",
        };
        let status = match STAGES[stage] {
            "RequestReceived" => String::new(),
            _ => format!(r#""responseStatus":{{"code":{}}},"#, CODES[code]),
        };
        let body = match level {
            0 => String::new(),
            _ => format!(r#","requestObject":"{}""#, "y".repeat(length)),
        };
        format!(
            r#"{{"level":"{}","stage":"{}","verb":"{}","user":{{"username":"{}","groups":[{}]}},{impersonated}{status}{target}{body}}}"#,
            LEVELS[level], STAGES[stage], VERBS[verb], USERS[user], GROUPS[groups]
        )
    })
}

/// Few users and things, so that cells fill up, in a policy of few rules.
fn policy() -> impl Strategy<Value = Policy> {
    let level = prop::sample::select(vec![
        Level::None,
        Level::Metadata,
        Level::Request,
        Level::RequestResponse,
        Level::RequestResponse,
    ]);
    let stages =
        || prop::sample::subsequence(vec![Stage::RequestReceived, Stage::ResponseComplete], 0..2);
    let rule = (level, 0..VERBS.len(), 0..OBJECTS.len(), 0..5_u32, stages());
    let rule = rule.prop_map(|(level, verb, object, which, omit_stages)| {
        let mut matched = Match::default();
        if which == 0 {
            matched.verbs = vec![VERBS[verb].to_owned()];
        }
        if which == 1 {
            matched.resources = vec![GroupResources {
                group: OBJECTS[object].0.to_owned(),
                resources: vec![OBJECTS[object].1.to_owned()],
                resource_names: Vec::new(),
            }];
        }
        Rule {
            level,
            matched,
            omit_stages,
            omit_managed_fields: None,
        }
    });
    (prop::collection::vec(rule, 1..4), stages()).prop_map(|(rules, omit_stages)| Policy {
        rules,
        omit_stages,
        omit_managed_fields: false,
    })
}

fn with(policy: &Policy, suggested: &[Suggested]) -> Policy {
    let mut wanted = policy.clone();
    let rules = suggested.iter().map(|one| one.rule.clone());
    wanted.rules.splice(0..0, rules);
    wanted
}

fn suggestion(log: &[Envelope<'_>], policy: &Policy, cells_max: usize) -> Vec<Suggested> {
    let mut cells = Cells::holding(cells_max);
    for envelope in log {
        let event = measured(envelope);
        cells.add(&event, &Outcome::of(policy, &event));
    }
    let bounds = Bounds {
        rules_max: 50,
        rule_bytes_min: 0,
        total_bytes: 0,
    };
    suggest(&cells, bounds).0
}

fn measured<'a>(envelope: &'a Envelope<'a>) -> Measured<'a> {
    // The text's length does not matter here, only that it is longer than its body.
    Measured::new(envelope, 5_000)
}

/// What must never be touched, in this test's own words.
fn must_stay(event: &Envelope<'_>) -> bool {
    let (verb, user) = (event.verb.as_str(), event.user.username.as_str());
    let object = event.object_ref.as_ref();
    let (group, resource, subresource) = object.map_or(("", "", ""), |object| {
        (&*object.api_group, &*object.resource, &*object.subresource)
    });
    let by_nobody = ["", "system:anonymous"].contains(&user)
        || event
            .user
            .groups
            .iter()
            .any(|group| group.as_str() == "system:unauthenticated");
    let is_person = ["alice", "*", "system:admin"].contains(&user) || by_nobody;
    let is_write = !["get", "list", "watch", "head"].contains(&verb);
    let is_heartbeat = !is_person
        && ["events", "leases"].contains(&resource)
        && ["create", "update", "patch"].contains(&verb);
    let is_health = ["/healthz", "/livez/etcd"].contains(&event.path()) && object.is_none();
    (is_write && !is_heartbeat)
        || matches!(event.code(), Some(401 | 403))
        || resource == "secrets"
        || subresource == "token"
        || ["exec", "proxy"].contains(&subresource)
        || group == "rbac.authorization.k8s.io"
        || event.impersonated_user.is_some()
        || (by_nobody && !is_health)
        || event.stage == Stage::Panic
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever a log and a policy hold, and however little of the log there is room for: of what must stay the
    /// policy says the same as before; nothing is logged that was not, or in more detail; no rule saves less than
    /// it says; people's reads stay on record; and the policy is read back as it was meant.
    #[test]
    fn a_suggestion_takes_nothing_that_must_stay_and_adds_nothing(
        texts in prop::collection::vec(event(), 1..250),
        policy in policy(),
        cells_max in prop::sample::select(vec![3, 20, 1_000]),
    ) {
        let log: Vec<_> = texts.iter().map(|text| Envelope::parse(text).expect("readable")).collect();
        let suggested = suggestion(&log, &policy, cells_max);
        let wanted = with(&policy, &suggested);
        let (mut events, mut bytes) = (0, 0);
        for envelope in &log {
            let event = measured(envelope);
            let (before, after) = (Outcome::of(&policy, &event), Outcome::of(&wanted, &event));
            let text = || format!("{envelope:?}\n{suggested:?}");
            if must_stay(envelope) {
                let request = Request::at_the_api_server(envelope);
                let (before, after) = (policy.evaluate(&request), wanted.evaluate(&request));
                prop_assert_eq!(before.level, after.level, "{}", text());
                prop_assert_eq!(before.omit_stages, after.omit_stages, "{}", text());
            }
            prop_assert!(after.level <= before.level, "{}", text());
            prop_assert!(after.bytes <= before.bytes, "{}", text());
            let is_person = ["alice", "*", "system:admin"].contains(&envelope.user.username.as_str());
            let is_resource = envelope.object_ref.is_some();
            if is_person && is_resource && envelope.stage != Stage::RequestReceived {
                prop_assert_eq!(before.bytes.is_some(), after.bytes.is_some(), "{}", text());
            }
            events += u64::from(before.bytes.is_some()) - u64::from(after.bytes.is_some());
            bytes += before.bytes.unwrap_or(0) - after.bytes.unwrap_or(0);
        }
        let said_events: u64 = suggested.iter().map(|one| one.events).sum();
        let said_bytes: u64 = suggested.iter().map(|one| one.bytes).sum();
        prop_assert!(events >= said_events && bytes >= said_bytes, "{events} {said_events} {bytes} {said_bytes}");
        let entries: Vec<_> = suggested
            .iter()
            .map(|one| Entry { rule: &one.rule, comment: String::new() })
            .collect();
        prop_assert_eq!(load(&yaml::anew(&policy, "", &entries)).expect("valid").policy, wanted);
    }
}

/// What a log of these says, each many times over.
fn suggested_for(events: &[(&str, &str, &str, u32)]) -> Vec<(Level, Match)> {
    let texts: Vec<String> = events
        .iter()
        .flat_map(|(user, verb, resource, code)| {
            let text = format!(
                r#"{{"level":"Request","stage":"ResponseComplete","verb":"{verb}","user":{{"username":"{user}"}},"objectRef":{{"resource":"{resource}"}},"responseStatus":{{"code":{code}}},"requestObject":"{}"}}"#,
                "y".repeat(1_000)
            );
            std::iter::repeat_n(text, 10)
        })
        .collect();
    let log: Vec<_> = texts
        .iter()
        .map(|text| Envelope::parse(text).expect("readable"))
        .collect();
    let policy =
        load("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: RequestResponse}]");
    let policy = policy.expect("valid").policy;
    let rules = suggestion(&log, &policy, 1_000);
    let rule = |one: &Suggested| (one.rule.level, one.rule.matched.clone());
    rules.iter().map(rule).collect()
}

#[test]
fn one_denied_request_keeps_all_that_a_policy_cannot_tell_from_it() {
    let system = "system:kube-scheduler";
    let strings = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let [(level, matched)] =
        &suggested_for(&[(system, "get", "pods", 200), (system, "list", "nodes", 404)])[..]
    else {
        panic!("one rule for all that it reads");
    };
    assert_eq!((*level, &matched.users), (Level::None, &strings(&[system])));
    assert_eq!(matched.verbs, strings(&["get", "list"]));
    assert_eq!(matched.resources[0].resources, strings(&["nodes", "pods"]));
    // One was denied: the verb stays for this resource, and the others go.
    let rules = suggested_for(&[
        (system, "get", "pods", 200),
        (system, "get", "pods", 403),
        (system, "list", "pods", 200),
        (system, "get", "nodes", 200),
    ]);
    let named: Vec<_> = rules
        .iter()
        .map(|(_, matched)| {
            (
                matched.verbs.join(","),
                matched.resources[0].resources.join(","),
            )
        })
        .collect();
    assert_eq!(
        named,
        [
            ("get".into(), "nodes".into()),
            ("list".into(), "pods".into())
        ]
    );
}

#[test]
fn people_are_shortened_and_their_writes_left_alone() {
    let rules = suggested_for(&[
        ("alice", "get", "pods", 200),
        ("alice", "delete", "pods", 200),
        ("alice", "get", "secrets", 200),
    ]);
    let [(Level::Metadata, matched)] = &rules[..] else {
        panic!("{rules:?}");
    };
    assert_eq!(matched.verbs, ["get"]);
    assert_eq!(matched.resources[0].resources, ["pods"]);
}
