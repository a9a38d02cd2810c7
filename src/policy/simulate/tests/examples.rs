//! Suggestions for small logs, one thing at a time.

use auditrelay_audit::{
    Envelope, Level, Stage,
    policy::{Rule, load},
};

use super::suggestion;

/// User, verb, resource, code.
type Asked<'a> = (&'a str, &'a str, &'a str, u32);

/// What is suggested for a log of these, each many times over.
fn suggested(events: &[Asked<'_>]) -> Vec<Rule> {
    suggested_with("[{level: RequestResponse}]", 1_000, events)
}

/// The same for a policy of these rules, with room for so many cells.
fn suggested_with(rules: &str, cells_max: usize, events: &[Asked<'_>]) -> Vec<Rule> {
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
    let policy = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}");
    let policy = load(&policy).expect("valid").policy;
    let rules = suggestion(&log, &policy, cells_max);
    rules.into_iter().map(|one| one.rule).collect()
}

/// Verbs and resources of rules, sorted.
fn named(rules: &[Rule]) -> Vec<String> {
    let named = |rule: &Rule| {
        let resources = rule.matched.resources[0].resources.join(",");
        format!("{} {resources}", rule.matched.verbs.join(","))
    };
    let mut named: Vec<String> = rules.iter().map(named).collect();
    named.sort();
    named
}

const SYSTEM: &str = "system:kube-scheduler";

#[test]
fn one_denied_request_keeps_all_that_a_policy_cannot_tell_from_it() {
    let rules = suggested(&[(SYSTEM, "get", "pods", 200), (SYSTEM, "list", "nodes", 404)]);
    // One rule for all that it reads.
    assert_eq!(named(&rules), ["get,list nodes,pods"]);
    assert_eq!(rules[0].level, Level::None);
    assert_eq!(rules[0].matched.users, [SYSTEM]);
    // One was denied: the verb stays for this resource, and the others go.
    let rules = suggested(&[
        (SYSTEM, "get", "pods", 200),
        (SYSTEM, "get", "pods", 403),
        (SYSTEM, "list", "pods", 200),
        (SYSTEM, "get", "nodes", 200),
    ]);
    assert_eq!(named(&rules), ["get nodes", "list pods"]);
}

#[test]
fn where_there_was_no_room_a_rule_names_only_what_was_seen() {
    let events = [
        (SYSTEM, "get", "pods", 200),
        (SYSTEM, "list", "nodes", 200),
        (SYSTEM, "list", "pods", 403),
    ];
    let rules = suggested_with("[{level: Request}]", 2, &events);
    assert_eq!(named(&rules), ["get pods", "list nodes"]);
}

#[test]
fn people_are_shortened_and_their_writes_left_alone() {
    let events = [
        ("alice", "get", "pods", 200),
        ("alice", "delete", "pods", 200),
        ("alice", "get", "secrets", 200),
    ];
    let rules = suggested(&events);
    assert_eq!(named(&rules), ["get pods"]);
    assert_eq!(rules[0].level, Level::Metadata);
    // What the policy leaves out must not come back.
    let rules = "[{level: Request, omitStages: [ResponseStarted]}]";
    let rules = suggested_with(rules, 1_000, &events);
    let omitted = [Stage::RequestReceived, Stage::ResponseStarted];
    assert_eq!(rules[0].omit_stages, omitted);
    for quiet in ["[{level: Metadata}]", "[{level: None}]"] {
        assert_eq!(suggested_with(quiet, 1_000, &events), [], "{quiet}");
    }
}
