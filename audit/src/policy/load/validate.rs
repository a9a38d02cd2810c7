//! What the API server refuses though it could read it, under the same paths.
//!
//! Kubernetes: `apiserver/pkg/apis/audit/validation/validation.go`. Its paths have no index behind `resources`.

use super::{
    Lines, Problems,
    decode::{RawPolicy, RawResources, RawRule},
    quoted,
};
use crate::{
    event::{Level, Stage},
    policy::{GroupResources, Match, Policy, Rule},
};

const LEVELS: [Level; 4] = [
    Level::None,
    Level::Metadata,
    Level::Request,
    Level::RequestResponse,
];
/// Kubernetes: `DNS1123SubdomainMaxLength`.
const GROUP_BYTES_MAX: usize = 253;

/// The policy, if no problem was added.
pub(super) fn policy(
    raw: RawPolicy,
    lines: &Lines,
    problems: &mut Problems,
    warnings: &mut Problems,
) -> Policy {
    let mut validator = Validator {
        lines,
        problems,
        warnings,
    };
    if raw.rules.is_empty() && !validator.problems.has("rules") && !validator.problems.has("") {
        validator.problem(
            "rules",
            "rules",
            "the policy has none, and the API server refuses such a one",
            "write at least one; a rule that has only a level is for all requests",
        );
    }
    let omit_stages = validator.stages(&raw.omit_stages, "omitStages");
    let rules = raw.rules.into_iter().enumerate();
    Policy {
        rules: rules
            .map(|(number, rule)| validator.rule(rule, &format!("rules[{number}]")))
            .collect(),
        omit_stages,
        omit_managed_fields: raw.omit_managed_fields,
    }
}

struct Validator<'v> {
    lines: &'v Lines,
    problems: &'v mut Problems,
    warnings: &'v mut Problems,
}

impl Validator<'_> {
    /// A problem under the API server's path, of a field that stands at a path of ours.
    fn problem(&mut self, path: &str, stands_at: &str, what: impl Into<String>, advice: &str) {
        let place = self.lines.at(stands_at);
        self.problems.add(path, place, what, advice);
    }

    fn rule(&mut self, raw: RawRule, path: &str) -> Rule {
        // What has the wrong type is empty here; that was told.
        let level = if self.problems.has(path) {
            Level::None
        } else {
            self.level(&raw.level, &format!("{path}.level"))
        };
        let urls = format!("{path}.nonResourceURLs");
        for (number, url) in raw.non_resource_urls.iter().enumerate() {
            self.url(url, &format!("{urls}[{number}]"));
        }
        for (number, resources) in raw.resources.iter().enumerate() {
            self.resources(resources, path, number);
        }
        let omit_stages = self.stages(&raw.omit_stages, &format!("{path}.omitStages"));
        let is_of_resources = !raw.resources.is_empty() || !raw.namespaces.is_empty();
        if is_of_resources && !raw.non_resource_urls.is_empty() {
            self.problem(
                &urls,
                &urls,
                "a rule is either about resources and namespaces or about paths, not about both",
                "make two rules of it",
            );
        }
        let resources = raw.resources.into_iter().map(|one| GroupResources {
            group: one.group,
            resources: one.resources,
            resource_names: one.resource_names,
        });
        Rule {
            level,
            matched: Match {
                users: raw.users,
                user_groups: raw.user_groups,
                verbs: raw.verbs,
                resources: resources.collect(),
                namespaces: raw.namespaces,
                non_resource_urls: raw.non_resource_urls,
            },
            omit_stages,
            omit_managed_fields: raw.omit_managed_fields,
        }
    }

    fn level(&mut self, text: &str, path: &str) -> Level {
        if let Some(level) = LEVELS.into_iter().find(|level| level.as_str() == text) {
            return level;
        }
        if self.problems.has(path) {
            return Level::None;
        }
        let mut levels = LEVELS.into_iter();
        let meant = levels.find(|level| level.as_str().eq_ignore_ascii_case(text));
        let names = LEVELS.map(Level::as_str).join(", ");
        let (what, advice) = match (text, meant) {
            ("", _) => ("is missing".to_owned(), format!("write one of {names}")),
            (_, Some(level)) => (
                format!("{} is no level", quoted(text)),
                format!("write {}; case counts", level.as_str()),
            ),
            _ => (
                format!("{} is no level", quoted(text)),
                format!("write one of {names}"),
            ),
        };
        self.problem(path, path, what, &advice);
        Level::None
    }

    fn url(&mut self, url: &str, path: &str) {
        if url == "*" || self.problems.has(path) {
            return;
        }
        if !url.starts_with('/') {
            let what = format!("{} does not begin with /", quoted(url));
            self.problem(
                path,
                path,
                what,
                "write the path from its first /, or * for all",
            );
        }
        let mut before_last = url.chars();
        before_last.next_back();
        if before_last.as_str().contains('*') {
            let what = format!("{} has a * that is not its last character", quoted(url));
            self.problem(
                path,
                path,
                what,
                "a * stands for any rest; end the path with it",
            );
        }
    }

    fn resources(&mut self, resources: &RawResources, rule: &str, number: usize) {
        let group = resources.group.as_str();
        let path = format!("{rule}.resources.group");
        let stands_at = format!("{rule}.resources[{number}].group");
        if group == "*" {
            let place = self.lines.at(&stands_at);
            self.warnings.add(
                &path,
                place,
                "* is any group since Kubernetes 1.36; API servers before that do not start with it",
                "name the groups if an older API server must take this policy",
            );
        } else if !group.is_empty() && !is_subdomain(group) {
            let what = format!("{} is no name of an API group", quoted(group));
            let advice = match group.split_once('/') {
                Some(_) => "leave out the version behind the /",
                None => {
                    "write lower-case letters, digits, - and ., as in rbac.authorization.k8s.io; \"\" is the core group"
                }
            };
            self.problem(&path, &stands_at, what, advice);
        }
        if !resources.resource_names.is_empty() && resources.resources.is_empty() {
            self.problem(
                &format!("{rule}.resources.resourceNames"),
                &format!("{rule}.resources[{number}].resourceNames"),
                "names are given, and no resources that have them",
                "say which in resources",
            );
        }
    }

    fn stages(&mut self, names: &[String], path: &str) -> Vec<Stage> {
        let mut stages = Vec::new();
        for (number, name) in names.iter().enumerate() {
            if let Some(stage) = Stage::ALL.into_iter().find(|stage| stage.as_str() == name) {
                stages.push(stage);
                continue;
            }
            let path = format!("{path}[{number}]");
            if self.problems.has(&path) {
                continue;
            }
            let what = format!("{} is no stage", quoted(name));
            let names = Stage::ALL.map(Stage::as_str).join(", ");
            let advice = format!("write one of {names}; case counts");
            self.problem(&path, &path, what, &advice);
        }
        stages
    }
}

/// Kubernetes: `IsDNS1123Subdomain`.
fn is_subdomain(name: &str) -> bool {
    let is_edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| match label.as_bytes() {
        [] => false,
        [one] => is_edge(*one),
        [first, middle @ .., last] => {
            let mut middle = middle.iter();
            is_edge(*first) && is_edge(*last) && middle.all(|byte| is_edge(*byte) || *byte == b'-')
        }
    };
    name.len() <= GROUP_BYTES_MAX && name.split('.').all(is_label)
}
