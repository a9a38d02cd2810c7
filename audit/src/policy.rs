//! The match half of an `audit.k8s.io/v1` `PolicyRule`, evaluated as kube-apiserver does.
//!
//! Kubernetes: `apiserver/pkg/audit/policy/checker.go`. The fields that a rule sets are ANDed, the
//! values within a field ORed. Users, groups, verbs and namespaces match exactly (`*` is literal
//! there). A rule with `namespaces` or `resources` matches resource requests only, one with
//! `nonResourceURLs` non-resource requests only. Rules see the real user, not the impersonated one.
//! Beside them: `stages` and `levels`, which a route may ask for.

use crate::event::{Envelope, Level, ObjectRef, Stage, Text};

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

/// What an event must be to match. An empty field does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
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
    /// Stages.
    pub stages: Vec<Stage>,
    /// Levels.
    pub levels: Vec<Level>,
}

impl Matcher {
    /// Whether the event matches.
    pub fn matches(&self, event: &Envelope<'_>) -> bool {
        let has =
            |list: &[String], value: &str| list.is_empty() || list.iter().any(|one| one == value);
        has(&self.users, &event.user.username)
            && (self.user_groups.is_empty()
                || event
                    .user
                    .groups
                    .iter()
                    .any(|group| has(&self.user_groups, group)))
            && has(&self.verbs, &event.verb)
            && (self.stages.is_empty() || self.stages.contains(&event.stage))
            && (self.levels.is_empty() || self.levels.contains(&event.level))
            && self.matches_target(event)
    }

    fn matches_target(&self, event: &Envelope<'_>) -> bool {
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return event
                .object_ref
                .as_ref()
                .is_some_and(|object| self.matches_object(object));
        }
        self.non_resource_urls.is_empty()
            || (event.object_ref.is_none()
                && self
                    .non_resource_urls
                    .iter()
                    .any(|pattern| matches_path(pattern, event.path())))
    }

    fn matches_object(&self, object: &ObjectRef<'_>) -> bool {
        let namespace = self.namespaces.is_empty()
            || self
                .namespaces
                .iter()
                .any(|one| one == object.namespace.as_str());
        namespace
            && (self.resources.is_empty()
                || self.resources.iter().any(|group| group.matches(object)))
    }
}

impl GroupResources {
    fn matches(&self, object: &ObjectRef<'_>) -> bool {
        if self.group != "*" && self.group != object.api_group.as_str() {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let named = self.resource_names.is_empty()
            || self
                .resource_names
                .iter()
                .any(|one| one == object.name.as_str());
        named
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
        self.matches(object)
            || self.matches(&whole)
            || (object.name.is_empty()
                && Self {
                    resource_names: Vec::new(),
                    ..self.clone()
                }
                .matches(&whole))
    }
}

fn matches_resource(pattern: &str, object: &ObjectRef<'_>) -> bool {
    let (resource, subresource) = (object.resource.as_str(), object.subresource.as_str());
    match pattern.split_once('/') {
        None => pattern == "*" || (pattern == resource && subresource.is_empty()),
        // Kubernetes: `pods/*` matches plain pods too.
        Some((left, "*")) => left == resource,
        Some(("*", right)) => right == subresource,
        Some((left, right)) => left == resource && right == subresource,
    }
}

fn matches_path(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|one| (*one).to_owned()).collect()
    }

    fn matches(matcher: &Matcher, object: Option<(&str, &str, &str, &str, &str)>) -> bool {
        let reference = object.map(|(group, resource, subresource, namespace, name)| {
            format!(r#","objectRef":{{"apiGroup":"{group}","resource":"{resource}","subresource":"{subresource}","namespace":"{namespace}","name":"{name}"}}"#)
        });
        let text = format!(
            r#"{{"level":"Metadata","stage":"ResponseComplete","verb":"get","requestURI":"/healthz/etcd?x=1","user":{{"username":"alice","groups":["dev","ops"]}}{}}}"#,
            reference.unwrap_or_default()
        );
        matcher.matches(&Envelope::parse(&text).expect("readable"))
    }

    fn resources(group: &str, list: &[&str]) -> Matcher {
        let resources = strings(list);
        Matcher {
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
        assert!(matches(&Matcher::default(), POD));
        assert!(matches(&Matcher::default(), None));
    }

    #[test]
    fn fields_are_anded_and_values_ored() {
        let mut rule = Matcher {
            users: strings(&["bob", "alice"]),
            ..Default::default()
        };
        assert!(matches(&rule, POD));
        rule.user_groups = strings(&["none", "ops"]);
        assert!(matches(&rule, POD));
        rule.verbs = strings(&["delete"]);
        assert!(!matches(&rule, POD));
        assert!(!matches(
            &Matcher {
                verbs: strings(&["*"]),
                ..Default::default()
            },
            POD
        ));
        assert!(!matches(
            &Matcher {
                stages: vec![Stage::Panic],
                ..Default::default()
            },
            POD
        ));
        assert!(!matches(
            &Matcher {
                levels: vec![Level::Request],
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
        let cluster_scoped = Matcher {
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
            let rule = Matcher {
                non_resource_urls: strings(&[pattern]),
                ..Default::default()
            };
            assert_eq!(matches(&rule, None), hit, "{pattern}");
            assert!(!matches(&rule, POD));
        }
    }
}
