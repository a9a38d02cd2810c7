//! What is advised, done: it mends what it is for and breaks nothing else; and what is no fault is not called one.

use auditrelay_audit::{
    Level,
    policy::{self, GroupResources, Rule},
};

use super::*;

const HEAD: &str =
    "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n";

fn loaded(rules: &str) -> Loaded {
    let text = format!("{HEAD}{rules}");
    policy::load(&text).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"))
}

fn of<'a>(findings: &'a [Finding], code: &str) -> Vec<&'a Finding> {
    findings.iter().filter(|one| one.code == code).collect()
}

fn errors(findings: &[Finding]) -> Vec<(&'static str, &str)> {
    let is_error = |one: &&Finding| one.severity == Weight::Error;
    let errors = findings.iter().filter(is_error);
    errors.map(|one| (one.code, one.what.as_str())).collect()
}

/// Policies whose rules write too much, above rules that drop some of it.
const WIDE: [&str; 4] = [
    "- {level: RequestResponse, userGroups: ['system:authenticated']}
- {level: None, users: ['system:kube-proxy'], verbs: [watch]}
- {level: None, verbs: [get, list, watch], userGroups: ['system:unauthenticated']}
- {level: Metadata}\n",
    "- {level: RequestResponse, namespaces: [shop, '']}
- {level: None, verbs: [get, list, watch], resources: [{group: '', resources: [pods, secrets]}]}
- {level: Metadata}\n",
    "- {level: RequestResponse, verbs: [list], resources: [{group: '', resources: [pods]}]}
- {level: None, verbs: [get, list, watch]}
- {level: Metadata}\n",
    "- {level: RequestResponse, resources: [{group: '', resources: [secrets]}, {group: apps}]}
- {level: None, resources: [{group: '', resources: [secrets]}], namespaces: [x]}
- {level: Metadata}\n",
];

#[test]
fn what_is_advised_of_lists_and_secrets_mends_it_and_shadows_nothing() {
    let mut followed = 0;
    for rules in WIDE {
        let before = lint(&loaded(rules));
        for finding in &before {
            let number = finding.rule.unwrap_or_default();
            let mut after = loaded(rules);
            let rule = &mut after.policy.rules[number];
            let mut copy = Rule {
                level: Level::Metadata,
                ..rule.clone()
            };
            match finding.code {
                "whole-lists" if finding.advice == "write level: Metadata here" => {
                    rule.level = Level::Metadata;
                }
                "whole-lists" => {
                    assert!(finding.advice.ends_with("verbs: [list]"), "{finding:?}");
                    copy.matched.verbs = vec!["list".to_owned()];
                    after.policy.rules.insert(number, copy);
                }
                "secret-bodies" => {
                    let resource = finding.what.split(' ').nth(2).expect("bodies of X");
                    assert!(finding.advice.contains(&format!("than {resource};")));
                    copy.matched.resources = vec![GroupResources {
                        group: match resource {
                            "tokenreviews" => "authentication.k8s.io".to_owned(),
                            _ => String::new(),
                        },
                        resources: vec![resource.to_owned()],
                        resource_names: Vec::new(),
                    }];
                    after.policy.rules.insert(number, copy);
                }
                _ => continue,
            }
            followed += 1;
            let after = lint(&after);
            let kept = of(&after, finding.code);
            assert!(
                !kept.iter().any(|one| one.what == finding.what),
                "{finding:?}: {kept:?}"
            );
            let known = errors(&before);
            for (code, what) in errors(&after) {
                let is_new = code == "shadowed" && !known.iter().any(|one| one.0 == "shadowed");
                assert!(!is_new, "{rules}{finding:?}: {what}");
            }
        }
    }
    assert!(followed >= 8, "{followed}");
}

#[test]
fn what_is_advised_of_noise_drops_nothing_that_leaves_no_trace() {
    for rules in [
        "- {level: Metadata}\n",
        "- {level: Request, userGroups: ['system:authenticated']}\n- {level: Metadata}\n",
    ] {
        let before = lint(&loaded(rules));
        let noise = of(&before, "noise");
        assert!(!noise.is_empty());
        let advised: String = noise
            .iter()
            .flat_map(|one| one.advice.split(" - ").skip(1))
            .map(|rule| format!("- {rule}\n"))
            .collect();
        for rule in advised
            .lines()
            .filter(|rule| !rule.contains("nonResourceURLs"))
        {
            let is_of_agents = rule.contains("system:nodes")
                || rule.contains("system:serviceaccounts:kube-system")
                || rule.contains("users: [\"system:");
            assert!(is_of_agents && rule.contains("verbs: ["), "{rule}");
            assert!(rule.contains("resources: ["), "{rule}");
        }
        let after = lint(&loaded(&format!("{advised}{rules}")));
        for code in ["noise", "leaves-no-trace", "shadowed"] {
            assert_eq!(of(&after, code), Vec::<&Finding>::new(), "{advised}");
        }
    }
    assert!(
        of(&lint(&loaded("- {level: Metadata}\n")), "noise")
            .iter()
            .all(|one| !one.what.contains("discovery"))
    );
}

#[test]
fn a_list_by_field_selector_has_a_name_and_a_created_object_has_none() {
    let found = |verbs: &str, resource: &str| {
        let rules = format!(
            "- {{level: Metadata, verbs: [{verbs}], resources: [{{group: '', resources: [{resource}], resourceNames: [a]}}]}}\n- {{level: Metadata, omitStages: [Panic]}}\n"
        );
        of(&lint(&loaded(&rules)), "matches-nothing").len()
    };
    for verbs in ["list", "watch", "deletecollection", "list, create"] {
        assert_eq!(found(verbs, "pods"), 0, "{verbs}");
    }
    assert_eq!(found("create", "pods"), 1);
    assert_eq!(found("create", "pods/exec"), 0);
}

#[test]
fn whom_a_policy_names_is_in_the_groups_that_kubernetes_gives() {
    // The service account's secrets are dropped by its group, the anonymous user is in no group of those signed in.
    for rules in [
        "- {level: Metadata, userGroups: ['system:serviceaccounts:ci']}
- {level: RequestResponse, users: ['system:serviceaccount:ci:bot'], resources: [{group: '', resources: [secrets]}]}
- {level: Metadata, omitStages: [Panic]}\n",
        "- {level: Metadata, userGroups: ['system:nodes']}
- {level: RequestResponse, users: ['system:node:a'], resources: [{group: '', resources: [secrets]}]}
- {level: Metadata, omitStages: [Panic]}\n",
        "- {level: Metadata, userGroups: ['system:unauthenticated']}
- {level: RequestResponse, users: ['system:anonymous'], resources: [{group: '', resources: [secrets]}]}
- {level: Metadata, omitStages: [Panic]}\n",
    ] {
        let found = lint(&loaded(rules));
        assert_eq!(of(&found, "secret-bodies"), Vec::<&Finding>::new());
    }
    // Only nobody's pods/exec is dropped, and the rule is for people.
    let found = lint(&loaded(
        "- {level: Metadata, userGroups: ['system:unauthenticated'], resources: [{group: '', resources: [pods]}]}
- {level: Metadata, userGroups: ['system:unauthenticated']}
- {level: None}\n",
    ));
    assert_eq!(of(&found, "missing-subresource"), Vec::<&Finding>::new());
}

#[test]
fn a_rule_above_that_drops_a_subresource_is_named_and_one_that_says_so_is_meant() {
    let rest = "- {level: Metadata, resources: [{group: '', resources: [pods, 'pods/*']}]}\n- {level: Metadata}\n";
    let found = lint(&loaded(&format!(
        "- {{level: None, users: [bob], verbs: [create]}}\n- {{level: Metadata, users: [bob], resources: [{{group: '', resources: [pods]}}]}}\n{rest}"
    )));
    let missing = of(&found, "missing-subresource");
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(
        missing[0]
            .what
            .contains("rules[0] drops pods/exec, pods/attach")
    );
    assert!(missing[0].advice.contains("above rules[0]"));
    let found = lint(&loaded(&format!(
        "- {{level: None, resources: [{{group: '', resources: [pods/log, pods/proxy]}}]}}\n{rest}"
    )));
    assert_eq!(of(&found, "missing-subresource"), Vec::<&Finding>::new());
}

#[test]
fn rules_that_are_together_for_everything_are_a_catch_all_and_groups_leave_out_failed_logins() {
    let catch_all = |rules: &str| {
        let found = lint(&loaded(rules));
        of(&found, "no-catch-all")
            .first()
            .map(|one| one.what.clone())
    };
    for rules in [
        "- {level: Metadata, resources: [{group: '*'}]}\n- {level: Metadata, nonResourceURLs: ['*']}\n",
        "- {level: None, nonResourceURLs: ['/*']}\n- {level: Metadata, resources: [{group: '*', resources: ['*']}]}\n",
    ] {
        assert_eq!(catch_all(rules), None, "{rules}");
    }
    let groups =
        "- {level: Metadata, userGroups: ['system:authenticated', 'system:unauthenticated']}\n";
    assert!(catch_all(groups).is_some_and(|what| what.contains("401")));
    for rules in [
        "- {level: Metadata, resources: [{group: '*'}]}\n",
        "- {level: Metadata, userGroups: ['system:authenticated']}\n",
        "- {level: Metadata, resources: [{group: '*'}]}\n- {level: Metadata, nonResourceURLs: ['/api*']}\n",
    ] {
        assert!(
            catch_all(rules).is_some_and(|what| what.contains("new kinds")),
            "{rules}"
        );
    }
}

#[test]
fn a_star_among_users_is_not_certain_to_be_nobody() {
    for (field, weight) in [
        ("users", Weight::Warning),
        ("userGroups", Weight::Warning),
        ("namespaces", Weight::Error),
    ] {
        let found = lint(&loaded(&format!(
            "- {{level: Metadata, {field}: ['a*']}}\n"
        )));
        assert_eq!(of(&found, "star-is-literal")[0].severity, weight, "{field}");
    }
}
