//! Who, what and why, in words.

use super::{
    cells::{Subject, Target},
    suggest::{Action, Suggested},
};

/// Who, in words.
pub(super) fn subject(subject: &Subject) -> String {
    match subject {
        Subject::Anyone => "anyone".to_owned(),
        Subject::Nodes => "nodes".to_owned(),
        Subject::User(name) => name.clone(),
    }
}

pub(super) fn target(target: &Target) -> String {
    match target {
        Target::Path(pattern) => (*pattern).to_owned(),
        Target::Resource(group, resource) if group.is_empty() => resource.clone(),
        Target::Resource(group, resource) => match resource.split_once('/') {
            None => format!("{resource}.{group}"),
            Some((resource, subresource)) => format!("{resource}.{group}/{subresource}"),
        },
    }
}

/// Why a rule is suggested.
pub(super) fn reason(suggested: &Suggested) -> String {
    let who = subject(&suggested.subject);
    let matched = &suggested.rule.matched;
    let what = match (
        suggested.targets,
        &matched.non_resource_urls[..],
        &matched.resources[..],
    ) {
        (1, [path], _) => path.clone(),
        (1, _, [of_group]) => {
            let resource = of_group.resources.first().cloned().unwrap_or_default();
            target(&Target::Resource(of_group.group.clone(), resource))
        }
        (targets, [], _) => format!("{targets} resources"),
        (targets, ..) => format!("{targets} kinds of paths"),
    };
    let mut reason = match (suggested.action, &suggested.subject) {
        (Action::Drop, Subject::Anyone) => "health checks, whoever asks".to_owned(),
        (Action::Drop, _) if suggested.is_heartbeat => format!("{who} writes {what}: heartbeats"),
        (Action::Drop, _) => format!("{who} reads {what}"),
        (Action::Shorten, _) => format!("{who} reads {what}: who and what stays, without bodies"),
    };
    if suggested.failed > 0 {
        reason += &format!("; {} failed, none was denied", suggested.failed);
    }
    reason
}
