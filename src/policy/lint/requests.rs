//! Requests that a policy is asked about.

use auditrelay_audit::{
    Level, Text,
    policy::{Decision, Match, Policy},
};

use crate::policy::requests::{Asked, Attributes};

/// Who asks: a user and the groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) user: String,
    pub(super) groups: Vec<String>,
}

/// More of a policy's own users, groups or namespaces than these are not tried.
const OWN_MAX: usize = 64;
/// Of a policy with more rules than these fewer are tried, so that a check takes seconds at most.
const RULES_MANY: usize = 500;
const SIGNED_IN: &str = "system:authenticated";

pub(super) fn who(user: &str, groups: &[&str]) -> Who {
    Who {
        user: user.to_owned(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    }
}

/// Somebody with a name of their own.
pub(super) fn person() -> Who {
    who("alice", &[SIGNED_IN])
}

/// A pod of the cluster's users.
pub(super) fn workload() -> Who {
    let groups = [
        "system:serviceaccounts",
        "system:serviceaccounts:shop",
        SIGNED_IN,
    ];
    who("system:serviceaccount:shop:api", &groups)
}

/// An agent of the cluster.
pub(super) fn agent() -> Who {
    let groups = [
        "system:serviceaccounts",
        "system:serviceaccounts:kube-system",
        SIGNED_IN,
    ];
    who(
        "system:serviceaccount:kube-system:generic-garbage-collector",
        &groups,
    )
}

pub(super) fn node() -> Who {
    who("system:node:node-1", &["system:nodes", SIGNED_IN])
}

pub(super) fn nobody() -> Who {
    who("system:anonymous", &["system:unauthenticated"])
}

/// A part of the control plane.
pub(super) fn part(name: &str) -> Who {
    who(name, &[SIGNED_IN])
}

/// A user by name, in the groups that Kubernetes itself puts such a user into.
pub(super) fn named(user: &str) -> Who {
    if user == "system:anonymous" {
        return nobody();
    }
    if user == "system:apiserver" {
        return who(user, &["system:masters", SIGNED_IN]);
    }
    if user.starts_with("system:node:") {
        return who(user, &["system:nodes", SIGNED_IN]);
    }
    let account = user.strip_prefix("system:serviceaccount:");
    match account.and_then(|rest| rest.split_once(':')) {
        Some((namespace, _)) => {
            let of_namespace = format!("system:serviceaccounts:{namespace}");
            who(user, &["system:serviceaccounts", &of_namespace, SIGNED_IN])
        }
        None => who(user, &[SIGNED_IN]),
    }
}

/// Somebody of a group, as whom Kubernetes has in it.
pub(super) fn member(group: &str) -> Who {
    match group {
        "system:unauthenticated" => return nobody(),
        "system:nodes" => return node(),
        "system:serviceaccounts" => return workload(),
        SIGNED_IN => return who("somebody", &[SIGNED_IN]),
        _ => {}
    }
    match group.strip_prefix("system:serviceaccounts:") {
        Some(namespace) => named(&format!("system:serviceaccount:{namespace}:some")),
        None => who("somebody", &[group, SIGNED_IN]),
    }
}

/// Somebody whom a rule's users and groups are for; a person if it is for everybody.
pub(super) fn asker(matched: &Match) -> Who {
    let group = matched.user_groups.first();
    let Some(user) = matched.users.first() else {
        return group.map_or_else(person, |group| member(group));
    };
    let mut asker = named(user);
    if !matched.user_groups.is_empty()
        && !asker
            .groups
            .iter()
            .any(|one| matched.user_groups.contains(one))
    {
        asker.groups.extend(group.cloned());
    }
    asker
}

/// How many of its own users, groups or namespaces are tried: their product with the rules is bounded.
fn own_max(policy: &Policy) -> usize {
    let rules = policy.rules.len().max(RULES_MANY);
    (OWN_MAX * OWN_MAX * RULES_MANY / rules).isqrt().max(1)
}

/// Everybody of the above, and whoever the policy itself names.
pub(super) fn everybody(policy: &Policy) -> Vec<Who> {
    let mut all = vec![
        person(),
        workload(),
        agent(),
        node(),
        nobody(),
        part("system:kube-controller-manager"),
        who("kubernetes-admin", &["system:masters", SIGNED_IN]),
    ];
    let mut add = |one: Who| {
        if !all.contains(&one) {
            all.push(one);
        }
    };
    let rules = || policy.rules.iter();
    let users = rules().flat_map(|rule| &rule.matched.users);
    users
        .take(own_max(policy))
        .for_each(|user| add(named(user)));
    let groups = rules().flat_map(|rule| &rule.matched.user_groups);
    groups
        .take(own_max(policy))
        .for_each(|group| add(member(group)));
    // Who is named and has to be in a group that nobody could guess.
    let both = rules()
        .filter(|rule| !rule.matched.users.is_empty() && !rule.matched.user_groups.is_empty());
    both.take(own_max(policy))
        .for_each(|rule| add(asker(&rule.matched)));
    all
}

/// Namespaces that are tried: two, and those that the policy names.
pub(super) fn namespaces(policy: &Policy) -> Vec<String> {
    let own = policy
        .rules
        .iter()
        .flat_map(|rule| &rule.matched.namespaces);
    let mut all: Vec<String> = ["shop", "kube-system"].map(str::to_owned).to_vec();
    all.extend(
        own.filter(|one| !one.is_empty())
            .take(own_max(policy))
            .cloned(),
    );
    all.sort();
    all.dedup();
    all
}

/// What is asked for: group, resource with its subresource, namespace, name.
#[derive(Clone, Copy, Debug)]
pub(super) struct What<'a> {
    pub(super) group: &'a str,
    pub(super) resource: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

/// What the policy makes of a request about a resource.
pub(super) fn ask(policy: &Policy, who: &Who, verb: &str, what: What<'_>) -> Decision {
    let (resource, subresource) = what.resource.split_once('/').unwrap_or((what.resource, ""));
    let asked = Asked::new(Attributes {
        user: who.user.as_str().into(),
        groups: Some(groups(who)),
        verb: verb.into(),
        namespace: what.namespace.into(),
        resource: resource.into(),
        api_group: what.group.into(),
        subresource: subresource.into(),
        name: what.name.into(),
        path: Text::default(),
        is_resource_request: Some(true),
    });
    policy.evaluate(&asked.request())
}

/// What it makes of one about a path.
pub(super) fn ask_path(policy: &Policy, who: &Who, path: &str) -> Decision {
    let asked = Asked::new(Attributes {
        user: who.user.as_str().into(),
        groups: Some(groups(who)),
        verb: "get".into(),
        path: path.into(),
        ..Attributes::default()
    });
    policy.evaluate(&asked.request())
}

fn groups(who: &Who) -> Vec<Text<'_>> {
    who.groups
        .iter()
        .map(|group| group.as_str().into())
        .collect()
}

/// Whether a decision writes a body, that of the request or that of the answer.
pub(super) fn writes_bodies(level: Level) -> (bool, bool) {
    match level {
        Level::Request => (true, false),
        Level::RequestResponse => (true, true),
        _ => (false, false),
    }
}

#[cfg(test)]
mod tests {
    use auditrelay_audit::policy::Rule;

    use super::*;

    #[test]
    fn the_more_rules_a_policy_has_the_fewer_of_its_users_are_tried() {
        for (rules, tried) in [(1, 64), (500, 64), (2_000, 32), (50_000, 6)] {
            let rule = Rule {
                level: Level::Metadata,
                matched: Match::default(),
                omit_stages: Vec::new(),
                omit_managed_fields: None,
            };
            let policy = Policy {
                rules: vec![rule; rules],
                ..Policy::default()
            };
            assert_eq!(own_max(&policy), tried, "{rules}");
        }
    }
}
