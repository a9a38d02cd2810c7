//! This crate's policies beside kube-apiserver's own code: what each makes of the same texts and requests.

use auditrelay_audit::{
    ObjectRef, Text,
    policy::{self, Request},
};
use serde::Deserialize;

const DECISIONS: &str = include_str!("decisions.jsonl");
const LOADS: &str = include_str!("loads.jsonl");

#[derive(Deserialize)]
struct Asked {
    policy: serde_json::Value,
    requests: Vec<(Attributes, Decided)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Attributes {
    user: String,
    groups: Vec<String>,
    verb: String,
    namespace: String,
    resource: String,
    api_group: String,
    subresource: String,
    name: String,
    path: String,
    is_resource_request: bool,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Decided {
    rule: Option<usize>,
    level: String,
    omit_stages: Vec<String>,
}

fn decided(loaded: &policy::Loaded, asked: &Attributes) -> Decided {
    let groups: Vec<Text<'_>> = asked.groups.iter().map(|one| one.as_str().into()).collect();
    let object = ObjectRef {
        resource: asked.resource.as_str().into(),
        namespace: asked.namespace.as_str().into(),
        name: asked.name.as_str().into(),
        api_group: asked.api_group.as_str().into(),
        subresource: asked.subresource.as_str().into(),
    };
    let decision = loaded.policy.evaluate(&Request {
        user: &asked.user,
        groups: &groups,
        verb: &asked.verb,
        object: asked.is_resource_request.then_some(&object),
        name: &asked.name,
        path: asked.path.as_str().into(),
    });
    let stages = decision.omit_stages.iter();
    Decided {
        rule: decision.rule,
        level: decision.level.as_str().to_owned(),
        omit_stages: stages.map(|stage| stage.as_str().to_owned()).collect(),
    }
}

#[test]
fn the_same_rule_decides_as_in_the_api_server() {
    let mut count = 0;
    for line in DECISIONS.lines() {
        let asked: Asked = serde_json::from_str(line).expect("a line of it");
        let loaded = policy::load(&asked.policy.to_string())
            .unwrap_or_else(|problems| panic!("{}: {problems:?}", asked.policy));
        for (request, expected) in asked.requests {
            count += 1;
            let found = decided(&loaded, &request);
            assert_eq!(found, expected, "{request:?} of {}", asked.policy);
        }
    }
    assert_eq!(count, 1_050);
}

#[derive(Deserialize)]
struct Load {
    name: String,
    text: String,
    loads: bool,
    /// Of what is wrong with its values; empty where the API server cannot even decode it.
    #[serde(default)]
    paths: Vec<String>,
}

#[test]
fn the_same_policies_are_loaded_and_refused_at_the_same_paths() {
    let mut count = 0;
    for line in LOADS.lines() {
        let Load {
            name,
            text,
            loads,
            paths,
        } = serde_json::from_str(line).expect("a line of it");
        count += 1;
        match policy::load(&text) {
            Ok(_) => assert!(loads, "{name} is loaded:\n{text}"),
            Err(problems) => {
                assert!(!loads, "{name} is refused: {problems:?}");
                let found: Vec<&str> = problems.iter().map(|one| one.path.as_str()).collect();
                assert!(paths.is_empty() || found == paths, "{name}: {problems:?}");
            }
        }
    }
    assert_eq!(count, 101);
}
