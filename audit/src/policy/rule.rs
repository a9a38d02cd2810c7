//! The match half of a `PolicyRule`, evaluated as kube-apiserver does.
//!
//! Kubernetes: `apiserver/pkg/audit/policy/checker.go`. The fields that a rule sets are ANDed, the
//! values within a field ORed. Users, groups, verbs and namespaces match exactly (`*` is literal
//! there). A rule with `namespaces` or `resources` matches resource requests only, one with
//! `nonResourceURLs` non-resource requests only. Rules see the real user, not the impersonated one.

use super::Request;
use crate::event::{ObjectRef, Text};

/// Resources of one API group, as in a policy rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupResources {
    /// Group name; empty is the core group, `*` any.
    pub group: String,
    /// `pods`, `pods/log`, `pods/*`, `*/status`, `*`; empty means all of the group.
    pub resources: Vec<String>,
    /// Names in the URL; empty means any.
    pub resource_names: Vec<String>,
}

/// What a request must be to match. An empty field does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Names of the authenticated user.
    pub users: Vec<String>,
    /// Groups, any of which the user must be in.
    pub user_groups: Vec<String>,
    /// Verbs.
    pub verbs: Vec<String>,
    /// Resources.
    pub resources: Vec<GroupResources>,
    /// Namespaces; `""` is for cluster-scoped objects.
    pub namespaces: Vec<String>,
    /// Paths; a trailing `*` matches any rest.
    pub non_resource_urls: Vec<String>,
}

impl Match {
    /// Whether the request matches.
    pub fn matches(&self, request: &Request<'_>) -> bool {
        (self.users.is_empty() || has(&self.users, request.user))
            && (self.user_groups.is_empty()
                || request
                    .groups
                    .iter()
                    .any(|group| has(&self.user_groups, group)))
            && (self.verbs.is_empty() || has(&self.verbs, request.verb))
            && self.matches_target(request)
    }

    fn matches_target(&self, request: &Request<'_>) -> bool {
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return request
                .object
                .is_some_and(|object| self.matches_object(object, request.name));
        }
        self.non_resource_urls.is_empty()
            || (request.object.is_none()
                && self
                    .non_resource_urls
                    .iter()
                    .any(|pattern| matches_path(pattern, &request.path)))
    }

    fn matches_object(&self, object: &ObjectRef<'_>, name: &str) -> bool {
        (self.namespaces.is_empty() || has(&self.namespaces, &object.namespace))
            && (self.resources.is_empty()
                || self
                    .resources
                    .iter()
                    .any(|group| group.matches(object, name)))
    }
}

pub(super) fn has(list: &[String], value: &str) -> bool {
    list.iter().any(|one| one == value)
}

impl GroupResources {
    fn matches(&self, object: &ObjectRef<'_>, name: &str) -> bool {
        if self.group != "*" && self.group != object.api_group.as_str() {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        (self.resource_names.is_empty() || has(&self.resource_names, name))
            && self
                .resources
                .iter()
                .any(|pattern| matches_resource(pattern, object))
    }
}

impl GroupResources {
    /// Whether an object may be, or hold, one of these, for whoever must not miss any: the same resource under
    /// any subresource, and where only some names are meant, whatever is asked for without a name (lists, and
    /// what has none yet).
    pub(crate) fn covers(&self, object: &ObjectRef<'_>) -> bool {
        let whole = ObjectRef {
            subresource: Text::default(),
            ..object.clone()
        };
        self.matches(object, &object.name)
            || self.matches(&whole, &object.name)
            || (object.name.is_empty()
                && Self {
                    resource_names: Vec::new(),
                    ..self.clone()
                }
                .matches(&whole, &object.name))
    }
}

/// Whether a pattern of a rule means the object. What looks like a pattern and is none (`*/*`, `*/`, `pods/`)
/// means what has exactly that name.
pub(super) fn matches_resource(pattern: &str, object: &ObjectRef<'_>) -> bool {
    let (resource, subresource) = (object.resource.as_str(), object.subresource.as_str());
    pattern == "*"
        || is_called(pattern, resource, subresource)
        || (!subresource.is_empty() && pattern.strip_prefix("*/") == Some(subresource))
        // Kubernetes: `pods/*` matches plain pods too.
        || pattern.strip_suffix("/*") == Some(resource)
}

/// Whether this is `resource`, or `resource/subresource` of what has one.
fn is_called(name: &str, resource: &str, subresource: &str) -> bool {
    match name.strip_prefix(resource) {
        Some("") => subresource.is_empty(),
        Some(rest) => !subresource.is_empty() && rest.strip_prefix('/') == Some(subresource),
        None => false,
    }
}

pub(super) fn matches_path(pattern: &str, path: &str) -> bool {
    pattern == path || (pattern.ends_with('*') && path.starts_with(pattern.trim_end_matches('*')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Envelope;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|one| (*one).to_owned()).collect()
    }

    fn matches(matcher: &Match, object: Option<(&str, &str, &str, &str, &str)>) -> bool {
        let reference = object.map(|(group, resource, subresource, namespace, name)| {
            format!(r#","objectRef":{{"apiGroup":"{group}","resource":"{resource}","subresource":"{subresource}","namespace":"{namespace}","name":"{name}"}}"#)
        });
        let text = format!(
            r#"{{"level":"Metadata","stage":"ResponseComplete","verb":"get","requestURI":"/healthz/etcd?x=1","user":{{"username":"alice","groups":["dev","ops"]}}{}}}"#,
            reference.unwrap_or_default()
        );
        let envelope = Envelope::parse(&text).expect("readable");
        matcher.matches(&Request::of(&envelope))
    }

    fn resources(group: &str, list: &[&str]) -> Match {
        let resources = strings(list);
        Match {
            resources: vec![GroupResources {
                group: group.into(),
                resources,
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    const POD: Option<(&str, &str, &str, &str, &str)> = Some(("", "pods", "", "demo", "p"));
    const LOG: Option<(&str, &str, &str, &str, &str)> = Some(("", "pods", "log", "demo", "p"));

    #[test]
    fn an_empty_rule_matches_everything() {
        assert!(matches(&Match::default(), POD));
        assert!(matches(&Match::default(), None));
    }

    #[test]
    fn fields_are_anded_and_values_ored() {
        let mut rule = Match {
            users: strings(&["bob", "alice"]),
            ..Default::default()
        };
        assert!(matches(&rule, POD));
        rule.user_groups = strings(&["none", "ops"]);
        assert!(matches(&rule, POD));
        rule.verbs = strings(&["delete"]);
        assert!(!matches(&rule, POD));
        assert!(!matches(
            &Match {
                verbs: strings(&["*"]),
                ..Default::default()
            },
            POD
        ));
    }

    #[test]
    fn subresources_match_as_in_kubernetes() {
        for (pattern, pod, log) in [
            ("pods", true, false),
            ("pods/log", false, true),
            ("pods/*", true, true),
            ("*/log", false, true),
            ("*", true, true),
            ("secrets", false, false),
        ] {
            assert_eq!(
                matches(&resources("", &[pattern]), POD),
                pod,
                "{pattern} on pods"
            );
            assert_eq!(
                matches(&resources("", &[pattern]), LOG),
                log,
                "{pattern} on pods/log"
            );
        }
        assert!(!matches(&resources("apps", &["*"]), POD));
        assert!(matches(&resources("*", &[]), POD));
        assert!(!matches(&resources("", &["pods"]), None));
    }

    #[test]
    fn names_and_namespaces_restrict() {
        let mut rule = resources("", &["pods"]);
        rule.resources[0].resource_names = strings(&["q"]);
        assert!(!matches(&rule, POD));
        rule.resources[0].resource_names = strings(&["p", "q"]);
        assert!(matches(&rule, POD));
        rule.namespaces = strings(&["", "kube-system"]);
        assert!(!matches(&rule, POD));
        let cluster_scoped = Match {
            namespaces: strings(&[""]),
            ..Default::default()
        };
        assert!(matches(&cluster_scoped, Some(("", "nodes", "", "", "n"))));
        assert!(!matches(&cluster_scoped, None));
    }

    #[test]
    fn paths_match_non_resource_requests_only() {
        for (pattern, hit) in [
            ("/healthz*", true),
            ("*", true),
            ("/healthz", false),
            ("/healthz/etcd", true),
        ] {
            let rule = Match {
                non_resource_urls: strings(&[pattern]),
                ..Default::default()
            };
            assert_eq!(matches(&rule, None), hit, "{pattern}");
            assert!(!matches(&rule, POD));
        }
    }
}
