//! Suggested rules as a policy that the API server loads.
//!
//! Contract: each rule has its reason and its saving in a comment above it. Where the given policy is written in
//! the usual way its text stays as it is, comments included, with the suggested rules before its own; otherwise it
//! is written anew. Whoever calls reads the result again and compares: nothing is trusted to have come out right.
//! Text of events stands in quotes with escapes, or in comments without what hides or breaks a line.

use auditrelay_audit::{
    Stage,
    policy::{Policy, Rule},
};
use auditrelay_dispatch::escape::is_hidden;

use crate::output::{line, wrap};

const COMMENT_CHARS_MAX: usize = 100;

/// A rule, and what is said above it.
pub(super) struct Entry<'a> {
    pub(super) rule: &'a Rule,
    pub(super) comment: String,
}

/// The given policy's text with rules before its own. None if it is not written so that this is known to be right.
pub(super) fn inserted(given: &str, heading: &str, entries: &[Entry<'_>]) -> Option<String> {
    let mut offset = 0;
    let mut behind_rules = None;
    for text in given.split_inclusive('\n') {
        let line = text.trim_end();
        offset += text.len();
        let Some(behind) = behind_rules else {
            let rest = line.strip_prefix("rules:").map(str::trim_start);
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#')) {
                behind_rules = Some(offset);
            }
            continue;
        };
        let item = line.trim_start_matches(' ');
        if item.is_empty() || item.starts_with('#') {
            continue;
        }
        let indent = line.len() - item.len();
        if item != "-" && !item.starts_with("- ") {
            return None;
        }
        let (before, after) = given.split_at(behind);
        let rules = rules(indent, heading, entries);
        return Some(format!(
            "{before}{rules}\n{}# Below are the rules that were there before.\n{after}",
            " ".repeat(indent)
        ));
    }
    None
}

/// The whole policy, written anew.
pub(super) fn anew(given: &Policy, heading: &str, entries: &[Entry<'_>]) -> String {
    let mut text = "apiVersion: audit.k8s.io/v1\nkind: Policy\n".to_owned();
    if !given.omit_stages.is_empty() {
        text += &format!("omitStages: {}\n", stages(&given.omit_stages));
    }
    if given.omit_managed_fields {
        text += "omitManagedFields: true\n";
    }
    text += "rules:\n";
    text += &rules(2, heading, entries);
    text += "\n  # Below are the rules that were there before, without their comments.\n";
    for rule in &given.rules {
        text += &one(2, rule);
    }
    text
}

fn rules(indent: usize, heading: &str, entries: &[Entry<'_>]) -> String {
    let mut text = comment(indent, heading);
    for entry in entries {
        text.push('\n');
        text += &comment(indent, &entry.comment);
        text += &one(indent, entry.rule);
    }
    text
}

/// In lines, each of which is a comment whatever is in the text.
fn comment(indent: usize, text: &str) -> String {
    let space = " ".repeat(indent);
    let mut comment = String::new();
    for paragraph in text.split('\n') {
        let clean = line(paragraph, 1_000);
        for line in wrap(&clean, COMMENT_CHARS_MAX) {
            comment += format!("{space}# {line}").trim_end();
            comment.push('\n');
        }
    }
    comment
}

fn one(indent: usize, rule: &Rule) -> String {
    let space = " ".repeat(indent);
    let mut text = format!("{space}- level: {}\n", rule.level.as_str());
    let matched = &rule.matched;
    let mut list = |name: &str, list: &[String]| {
        if !list.is_empty() {
            text += &format!("{space}  {name}: {}\n", strings(list));
        }
    };
    list("users", &matched.users);
    list("userGroups", &matched.user_groups);
    list("verbs", &matched.verbs);
    list("namespaces", &matched.namespaces);
    list("nonResourceURLs", &matched.non_resource_urls);
    if !matched.resources.is_empty() {
        text += &format!("{space}  resources:\n");
    }
    for of_group in &matched.resources {
        text += &format!("{space}    - group: {}\n", quoted(&of_group.group));
        for (name, list) in [
            ("resources", &of_group.resources),
            ("resourceNames", &of_group.resource_names),
        ] {
            if !list.is_empty() {
                text += &format!("{space}      {name}: {}\n", strings(list));
            }
        }
    }
    if !rule.omit_stages.is_empty() {
        text += &format!("{space}  omitStages: {}\n", stages(&rule.omit_stages));
    }
    if let Some(omits) = rule.omit_managed_fields {
        text += &format!("{space}  omitManagedFields: {omits}\n");
    }
    text
}

fn strings(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|one| quoted(one)).collect();
    format!("[{}]", quoted.join(", "))
}

fn stages(list: &[Stage]) -> String {
    let names: Vec<&str> = list.iter().map(|stage| stage.as_str()).collect();
    format!("[{}]", names.join(", "))
}

/// A string as YAML and JSON read it: in double quotes, with an escape for all that a reader would not see.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() || is_hidden(character) || character == '\u{feff}' => {
                let code = u32::from(character);
                // YAML has one escape for what JSON writes as two.
                quoted += &match code {
                    0..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                };
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use auditrelay_audit::{
        Level,
        policy::{GroupResources, Match, load},
    };
    use proptest::prelude::*;

    use super::*;

    fn rule(user: &str) -> Rule {
        Rule {
            level: Level::Metadata,
            matched: Match {
                users: vec![user.to_owned()],
                verbs: vec!["get".to_owned(), "list".to_owned()],
                resources: vec![GroupResources {
                    group: String::new(),
                    resources: vec!["pods".to_owned()],
                    resource_names: vec!["a".to_owned()],
                }],
                namespaces: vec![String::new(), "yes".to_owned()],
                ..Match::default()
            },
            omit_stages: vec![Stage::RequestReceived],
            omit_managed_fields: Some(false),
        }
    }

    const GIVEN: &str = "# why\napiVersion: audit.k8s.io/v1\nkind: Policy\nrules: # in order\n\n  # the first\n  - level: None\n    verbs: [watch]\n  - level: Metadata\n";

    #[test]
    fn a_policys_text_stays_and_the_rules_come_before_its_own() {
        for given in [
            GIVEN.to_owned(),
            GIVEN.replace("  - ", "- ").replace("    verbs", "  verbs"),
            GIVEN.replace('\n', "\r\n"),
        ] {
            let rule = rule("x");
            let entry = Entry {
                rule: &rule,
                comment: "because".to_owned(),
            };
            let text = inserted(&given, "Suggested.", &[entry]).expect("written as usual");
            let rest = text.replace('\r', "");
            for kept in GIVEN.lines().map(str::trim) {
                assert!(rest.contains(kept), "{kept} in {text}");
            }
            let loaded = load(&text).expect("valid").policy;
            let mut expected = load(GIVEN).expect("valid").policy;
            expected.rules.insert(0, rule);
            assert_eq!(loaded, expected, "{text}");
        }
    }

    #[test]
    fn a_policy_of_another_form_is_written_anew() {
        for given in [
            r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Request"}]}"#,
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Request}]\n",
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n  [{level: Request}]\n",
        ] {
            assert_eq!(inserted(given, "", &[]), None, "{given}");
            let mut policy = load(given).expect("valid").policy;
            policy.omit_stages = vec![Stage::RequestReceived, Stage::Panic];
            policy.omit_managed_fields = true;
            assert_eq!(
                load(&anew(&policy, "x", &[])).expect("valid").policy,
                policy
            );
        }
    }

    proptest! {
        /// Whatever a user is called, the policy says that name and nothing else.
        #[test]
        fn no_name_breaks_out_of_its_quotes(name in "(\\PC|[\\n\\r\\t\"'\\\\#:{}\u{feff}\u{202e}\u{85}\u{2028}\u{e0041}]){0,12}") {
            let rule = rule(&name);
            let entry = Entry { rule: &rule, comment: format!("about {name}\n- level: None") };
            let given = load(GIVEN).expect("valid").policy;
            let text = anew(&given, &name, &[entry]);
            let mut expected = given;
            expected.rules.insert(0, rule);
            prop_assert_eq!(load(&text).expect("valid").policy, expected, "{}", text);
        }
    }
}
