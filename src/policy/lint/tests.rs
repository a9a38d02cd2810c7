//! Each finding, on a policy that has it; and the policy that `init` writes has none of them.

use auditrelay_audit::policy;

use super::*;

const OURS: &str = include_str!("../../init/set/audit-policy.yaml");

fn codes(text: &str) -> Vec<(&'static str, Weight)> {
    let loaded = policy::load(text).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"));
    let findings = lint(&loaded);
    findings
        .iter()
        .map(|finding| (finding.code, finding.severity))
        .collect()
}

/// Our policy with a rule above all others.
fn under(rule: &str) -> String {
    OURS.replacen("\nrules:\n", &format!("\nrules:\n  - {rule}\n"), 1)
}

#[test]
fn our_own_policy_is_clean() {
    assert_eq!(codes(OURS), [("truncation", Weight::Note)]);
}

#[test]
fn each_kind_is_found_where_it_is() {
    const CORE: &str = "resources: [{group: '', resources: ";
    for (rule, code, weight) in [
        (format!("{{level: RequestResponse, {CORE}[secrets]}}]}}"), "secret-bodies", Weight::Error),
        (format!("{{level: Request, verbs: [create], {CORE}[secrets]}}]}}"), "secret-bodies", Weight::Error),
        (format!("{{level: Request, users: [bob], namespaces: [x], verbs: [patch], {CORE}['*']}}]}}"), "secret-bodies", Weight::Error),
        (format!("{{level: RequestResponse, {CORE}[serviceaccounts/token]}}]}}"), "secret-bodies", Weight::Error),
        ("{level: Request, resources: [{group: authentication.k8s.io}]}".into(), "secret-bodies", Weight::Error),
        (format!("{{level: Request, verbs: [update], {CORE}[configmaps]}}]}}"), "secret-bodies", Weight::Warning),
        (format!("{{level: RequestResponse, verbs: [list], {CORE}[pods]}}]}}"), "whole-lists", Weight::Warning),
        (format!("{{level: None, {CORE}[pods/exec]}}]}}"), "leaves-no-trace", Weight::Warning),
        ("{level: None, userGroups: ['system:unauthenticated']}".into(), "leaves-no-trace", Weight::Warning),
        ("{level: Metadata, userGroups: ['system:nodes']}".into(), "noise", Weight::Warning),
        ("{level: Metadata, nonResourceURLs: ['/*']}".into(), "noise", Weight::Warning),
        ("{level: Metadata, resources: [{group: '*', resources: ['*/status']}]}".into(), "group-star", Weight::Warning),
        ("{level: Metadata, verbs: ['*']}".into(), "star-is-literal", Weight::Error),
        ("{level: Metadata, verbs: [read]}".into(), "unknown-verb", Weight::Warning),
        ("{level: Metadata, users: ['system:serviceaccounts:x']}".into(), "group-as-user", Weight::Warning),
        ("{level: Metadata, userGroups: ['system:serviceaccount:x:y']}".into(), "user-as-group", Weight::Warning),
        (format!("{{level: Metadata, {CORE}[deployments]}}]}}"), "wrong-group", Weight::Warning),
        (format!("{{level: Metadata, {CORE}[Pod]}}]}}"), "matches-nothing", Weight::Warning),
        (format!("{{level: Metadata, verbs: [create], {CORE}[pods], resourceNames: [a]}}]}}"), "matches-nothing", Weight::Warning),
        ("{level: Metadata, users: [bob], omitStages: [ResponseComplete]}".into(), "no-outcome", Weight::Warning),
        (
            "{level: Metadata, users: [bob], omitStages: [RequestReceived, ResponseStarted, ResponseComplete, Panic]}".into(),
            "no-stages",
            Weight::Error,
        ),
    ] {
        let found = codes(&under(&rule));
        assert!(found.contains(&(code, weight)), "{rule}: {found:?}");
    }
}

#[test]
fn what_is_of_the_whole_policy_is_found() {
    let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
    for (body, code) in [
        ("rules:\n- {level: None, users: [bob]}\n", "no-catch-all"),
        ("rules:\n- {level: Metadata}\n", "request-received"),
        (
            "omitStages: [RequestReceived]\nrules:\n- {level: None}\n- {level: Metadata}\n",
            "shadowed",
        ),
        (
            "omitStages: [RequestReceived]\nrules:\n- {level: Metadata}\n- {level: Metadata, users: [a]}\n",
            "redundant",
        ),
        (
            "rules:\n- {level: Metadata, resources: [{group: '', resources: [pods]}]}\n- {level: None}\n",
            "missing-subresource",
        ),
        ("webhook: {}\nrules:\n- {level: Metadata}\n", "loading"),
    ] {
        let found = codes(&format!("{head}{body}"));
        assert!(
            found.iter().any(|(found, _)| *found == code),
            "{body}: {found:?}"
        );
    }
    for (body, code) in [
        ("rules:\n- {level: Metadata}\n", "no-catch-all"),
        (
            "omitStages: [RequestReceived]\nrules:\n- {level: Metadata}\n",
            "request-received",
        ),
        ("rules:\n- {level: None}\n", "request-received"),
        // Others write the subresources.
        (
            "rules:\n- {level: Request, resources: [{group: '', resources: [pods]}]}\n- {level: Metadata}\n",
            "missing-subresource",
        ),
        (
            "rules:\n- {level: Metadata, resources: [{group: '', resources: ['pods/*', pods]}]}\n- {level: None}\n",
            "missing-subresource",
        ),
    ] {
        let found = codes(&format!("{head}{body}"));
        assert!(
            found.iter().all(|(found, _)| *found != code),
            "{body}: {found:?}"
        );
    }
}
