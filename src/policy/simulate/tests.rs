//! Suggestions for random logs and random policies, held against what must never happen.

mod examples;

use auditrelay_audit::{
    Envelope, Level, Stage,
    policy::{GroupResources, Match, Policy, Request, Rule, load},
};
use proptest::{prelude::*, sample::Index};

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
const STAGES: [&str; 8] = [
    "RequestReceived",
    "RequestReceived",
    "RequestReceived",
    "ResponseStarted",
    "ResponseComplete",
    "ResponseComplete",
    "ResponseComplete",
    "Panic",
];
const LEVELS: [&str; 3] = ["Metadata", "Request", "RequestResponse"];

/// Who asks for what; and how it went, which is another thing each time.
type Asked = (usize, usize, usize);
type Went = (usize, usize, usize, usize, u32, usize);

/// A log in which a few ask for a few things again and again.
fn log() -> impl Strategy<Value = Vec<String>> {
    let few = |of: usize| prop::collection::vec(0..of, 1..4);
    let asked = (
        few(USERS.len()),
        few(VERBS.len()),
        few(OBJECTS.len() + PATHS.len()),
    );
    let index = any::<Index>;
    let went = (
        0..GROUPS.len(),
        0..LEVELS.len(),
        0..CODES.len(),
        0..STAGES.len(),
        0..40_u32,
        0..2_000_usize,
    );
    let events = prop::collection::vec(((index(), index(), index()), went), 1..120);
    // In some logs nearly all goes well, and who asks is in no group.
    (asked, events, 0..3_u32).prop_map(|((users, verbs, targets), events, mood)| {
        let text = |((user, verb, target), went): &((_, _, _), Went)| {
            let (user, verb, target): (&Index, &Index, &Index) = (user, verb, target);
            let mut went = *went;
            if mood > 0 && went.5 < 1_980 {
                (went.2, went.3, went.4) = (0, went.3 % 7, 1 + went.4 % 3);
            }
            if mood > 1 {
                went.0 = 0;
            }
            event(
                (*user.get(&users), *verb.get(&verbs), *target.get(&targets)),
                went,
            )
        };
        events.iter().map(text).collect()
    })
}

fn event((user, verb, target): Asked, went: Went) -> String {
    let (groups, level, code, stage, other, length) = went;
    let target = match target.checked_sub(OBJECTS.len()) {
        Some(path) => format!(r#""requestURI":"{}""#, PATHS[path]),
        None => {
            let (group, resource, subresource) = OBJECTS[target];
            let namespace = ["", "a", "b"][other as usize % 3];
            format!(
                r#""objectRef":{{"apiGroup":"{group}","resource":"{resource}","subresource":"{subresource}","name":"x","namespace":"{namespace}"}}"#
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
}

/// A policy of few rules, which may tell apart what a suggested rule cannot.
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
        if which == 2 {
            matched.namespaces = vec!["a".to_owned()];
        }
        if which == 3 {
            matched.user_groups = vec!["system:authenticated".to_owned()];
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
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// Whatever a log and a policy hold, and however little of the log there is room for: of what must stay the
    /// policy says the same as before; nothing is logged that was not, or in more detail; no rule saves less than
    /// it says; people's reads stay on record; and the policy is read back as it was meant.
    #[test]
    fn a_suggestion_takes_nothing_that_must_stay_and_adds_nothing(
        texts in log(),
        policy in policy(),
        cells_max in prop::sample::select(vec![2, 5, 1_000]),
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
