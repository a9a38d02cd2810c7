//! What a policy decides: each documented behaviour in a table.

use super::*;
use crate::event::{ObjectRef, Text};

/// A request that owns its parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) user: String,
    pub(super) groups: Vec<String>,
    pub(super) verb: String,
    /// Group, resource, subresource, namespace.
    pub(super) object: Option<[String; 4]>,
    pub(super) name: String,
    pub(super) path: String,
}

impl Asked {
    pub(super) fn with<T>(&self, ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let groups: Vec<Text<'_>> = self.groups.iter().map(|one| one.as_str().into()).collect();
        let object = self.object.as_ref().map(|parts| {
            let [api_group, resource, subresource, namespace] =
                parts.each_ref().map(|part| part.as_str().into());
            ObjectRef {
                resource,
                namespace,
                name: self.name.as_str().into(),
                api_group,
                subresource,
            }
        });
        ask(&Request {
            user: &self.user,
            groups: &groups,
            verb: &self.verb,
            object: object.as_ref(),
            name: &self.name,
            path: self.path.as_str().into(),
        })
    }
}

/// `verb [group:]resource[/sub] [namespace] [name]`, or `verb /path`; of user alice in dev and ops.
pub(super) fn asked(text: &str) -> Asked {
    let mut words = text.split(' ');
    let verb = words.next().expect("a verb").to_owned();
    let what = words.next().expect("a target");
    let mut asked = Asked {
        user: "alice".into(),
        groups: vec!["dev".into(), "ops".into()],
        verb,
        ..Default::default()
    };
    if what.starts_with('/') {
        asked.path = what.into();
        return asked;
    }
    let (group, what) = what.split_once(':').unwrap_or(("", what));
    let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
    let namespace = words.next().unwrap_or_default();
    asked.name = words.next().unwrap_or_default().into();
    asked.object = Some([group, resource, subresource, namespace].map(str::to_owned));
    asked
}

pub(super) fn policy(rules: &str) -> Policy {
    let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}");
    load(&text)
        .unwrap_or_else(|problems| panic!("{text}{problems:?}"))
        .policy
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_field_restricts_as_it_is_documented() {
    const CORE: &str = "resources: [{group: '', resources: [";
    for (fields, yes, no) in [
        // Neither resources nor paths: both.
        (
            "verbs: [get]",
            &["get pods a", "get /healthz"][..],
            &["list pods a", "get2 /x"][..],
        ),
        // A star is a name like any other here.
        ("users: ['*']", &[], &["get pods", "get /x"]),
        ("users: [bob, alice]", &["get pods", "get /x"], &[]),
        ("users: [Alice]", &[], &["get pods"]),
        ("userGroups: ['*']", &[], &["get pods"]),
        ("userGroups: [x, ops]", &["get pods", "get /x"], &[]),
        ("userGroups: [x]", &[], &["get pods"]),
        ("verbs: ['*']", &[], &["get pods"]),
        ("verbs: ['']", &[" pods", " /x"], &["get pods"]),
        (
            "users: [alice]\n  verbs: [get]",
            &["get pods"],
            &["list pods"],
        ),
        ("users: [bob]\n  userGroups: [dev]", &[], &["get pods"]),
        // Namespaces are of resources; the empty one is of what is in none.
        (
            "namespaces: ['']",
            &["get nodes"],
            &["get pods a", "get /x"],
        ),
        (
            "namespaces: [a, '']",
            &["get nodes", "get pods a"],
            &["get pods b"],
        ),
        ("namespaces: ['*']", &[], &["get pods a", "get nodes"]),
        // Resources.
        (
            "resources: [{group: ''}]",
            &["get pods a", "get pods/log a"],
            &["get apps:deployments a", "get /x"],
        ),
        (
            "resources: [{}]",
            &["get pods a"],
            &["get apps:deployments a"],
        ),
        (
            "resources: [{group: apps}]",
            &["get apps:deployments/scale"],
            &["get pods", "get x.apps:pods"],
        ),
        (
            "resources: [{group: '*'}]",
            &["get pods", "get apps:deployments/scale"],
            &["get /x"],
        ),
        (
            "resources: [{group: '*', resources: [pods]}]",
            &["get pods", "get x:pods"],
            &["get x:pods/log"],
        ),
        (
            "resources: [{group: apps}, {group: ''}]",
            &["get pods", "get apps:x"],
            &["get b:x"],
        ),
    ] {
        let policy = policy(&format!("rules:\n- level: Metadata\n  {fields}\n"));
        let decides = |text: &&str| asked(text).with(|request| policy.rule_for(request)) == Some(0);
        assert_eq!(yes.iter().find(|text| !decides(text)), None, "{fields}");
        assert_eq!(no.iter().find(|text| decides(text)), None, "{fields}");
    }
    for (patterns, yes, no) in [
        (
            "pods",
            &["get pods a p"][..],
            &["get pods/log a p", "get pod a p", "get Pods a p"][..],
        ),
        (
            "pods/log",
            &["get pods/log a p"],
            &["get pods a p", "get pods/exec a p"],
        ),
        // Plain pods, too.
        (
            "pods/*",
            &["get pods a", "get pods/log a", "get pods/exec a"],
            &["get nodes/log"],
        ),
        (
            "'*/status'",
            &["get pods/status a", "get nodes/status"],
            &["get pods a", "get status a"],
        ),
        (
            "'*'",
            &["get pods a", "get pods/log a", "get nodes"],
            &["get /x"],
        ),
        // What looks like a pattern and is none.
        (
            "'*/*'",
            &["get */status", "get */*", "get pods/*", "get *"],
            &["get pods", "get pods/log"],
        ),
        ("'*/'", &[], &["get pods", "get pods/log", "get */log"]),
        ("pods/", &[], &["get pods", "get pods/log"]),
        ("/log", &[], &["get pods/log", "get log"]),
        ("/*", &[], &["get pods", "get pods/log"]),
        ("po*", &[], &["get pods", "get po"]),
        ("'', pods", &["get pods a"], &["get nodes"]),
    ] {
        let policy = policy(&format!(
            "rules:\n- level: Metadata\n  {CORE}{patterns}]}}]\n"
        ));
        let decides = |text: &&str| asked(text).with(|request| policy.rule_for(request)) == Some(0);
        assert_eq!(yes.iter().find(|text| !decides(text)), None, "{patterns}");
        assert_eq!(no.iter().find(|text| decides(text)), None, "{patterns}");
    }
}

#[test]
fn names_are_those_of_the_url() {
    let named = policy(
        "rules:\n- level: Metadata\n  resources: [{group: '', resources: [pods], resourceNames: [p, q]}, {group: '', resources: [nodes], resourceNames: ['']}]\n",
    );
    for (text, rule) in [
        ("get pods a p", Some(0)),
        ("delete pods b q", Some(0)),
        ("get pods a r", None),
        // Nothing is named: lists, and what is being created.
        ("list pods a", None),
        ("create pods a", None),
        // The empty name asks for just these.
        ("list nodes", Some(0)),
        ("get nodes  n", None),
        // A name is of its own entry only.
        ("get pods a ", None),
    ] {
        assert_eq!(
            asked(text).with(|request| named.rule_for(request)),
            rule,
            "{text}"
        );
    }
}

#[test]
fn a_path_is_itself_or_begins_with_what_is_before_the_star() {
    for (pattern, yes, no) in [
        (
            "/healthz",
            &["get /healthz"][..],
            &["get /healthz/", "get /healthz/etcd", "get pods a"][..],
        ),
        (
            "/healthz*",
            &["get /healthz", "get /healthz/etcd", "get /healthzz"],
            &["get /health"],
        ),
        (
            "/healthz/*",
            &["get /healthz/", "get /healthz/etcd"],
            &["get /healthz"],
        ),
        ("'*'", &["get /x", "post /"], &["get pods a"]),
        ("/", &["get /"], &["get /x"]),
        ("/*", &["get /", "get /x"], &["get pods a"]),
    ] {
        let policy = policy(&format!(
            "rules:\n- level: Metadata\n  nonResourceURLs: [{pattern}]\n"
        ));
        let decides = |text: &&str| asked(text).with(|request| policy.rule_for(request)) == Some(0);
        assert_eq!(yes.iter().find(|text| !decides(text)), None, "{pattern}");
        assert_eq!(no.iter().find(|text| decides(text)), None, "{pattern}");
    }
}

#[test]
fn the_first_rule_decides_and_stages_add_up() {
    let policy = policy(
        "omitStages: [ResponseStarted, RequestReceived]
omitManagedFields: true
rules:
- level: Request
  verbs: [get]
  omitStages: [Panic, RequestReceived]
- level: RequestResponse
  verbs: [get, list]
  omitManagedFields: false
- level: Metadata
  verbs: [watch]
  omitManagedFields: true
",
    );
    let (received, started) = (Stage::RequestReceived, Stage::ResponseStarted);
    for (text, rule, level, omit_stages, omit_managed_fields) in [
        (
            "get pods",
            Some(0),
            Level::Request,
            vec![received, started, Stage::Panic],
            true,
        ),
        (
            "list pods",
            Some(1),
            Level::RequestResponse,
            vec![received, started],
            false,
        ),
        (
            "watch pods",
            Some(2),
            Level::Metadata,
            vec![received, started],
            true,
        ),
        (
            "delete pods",
            None,
            Level::None,
            vec![received, started],
            true,
        ),
    ] {
        let decision = Decision {
            rule,
            level,
            omit_stages,
            omit_managed_fields,
        };
        assert_eq!(
            asked(text).with(|request| policy.evaluate(request)),
            decision,
            "{text}"
        );
    }
}

#[test]
fn a_mismatch_says_what_would_match() {
    for (fields, text, why) in [
        (
            "verbs: [create, update]",
            "get pods",
            "verbs: get is not one of create, update",
        ),
        ("users: [bob]", "get pods", "users: alice is not bob"),
        (
            "userGroups: [x]",
            "get pods",
            "userGroups: none of the user's groups (dev, ops) is x",
        ),
        (
            "resources: [{group: '', resources: [pods]}]",
            "get pods/exec a",
            "resources: pods/exec is a subresource, which pods does not cover; pods/exec or pods/* would",
        ),
        (
            "resources: [{group: apps}, {group: '', resources: [nodes]}]",
            "get pods a",
            "resources: pods is not nodes",
        ),
        (
            "resources: [{group: ''}]",
            "get apps:deployments a",
            "resources: deployments.apps is of group apps, not of the core group",
        ),
        (
            "resources: [{group: '', resources: [pods], resourceNames: [p]}]",
            "create pods a",
            "resources: the URL names no object (as in create, list and deletecollection), and resourceNames asks for p",
        ),
        (
            "namespaces: [a]",
            "get nodes",
            "namespaces: what is asked for is in no namespace (\"\"), which is not a",
        ),
        (
            "nonResourceURLs: [/a, /b*]",
            "get /c",
            "nonResourceURLs: /c is not covered by /a, /b*",
        ),
        (
            "nonResourceURLs: [/a]",
            "get pods a",
            "nonResourceURLs: the request is about a resource, pods",
        ),
        (
            "namespaces: [a]",
            "get /c",
            "namespaces: /c is a path, not a resource",
        ),
    ] {
        let policy = policy(&format!("rules:\n- level: Metadata\n  {fields}\n"));
        let mismatch = asked(text).with(|request| policy.rules[0].matched.mismatch(request));
        assert_eq!(
            mismatch.map(|one| one.to_string()),
            Some(why.to_owned()),
            "{fields}"
        );
    }
}
