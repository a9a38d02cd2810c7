//! The values that a template sees. Their names are a promise to whoever wrote a template: one may be
//! added, none may change (docs/messages.md lists them).
//!
//! Invariant: each is bounded, whatever the event holds, and each exists for every event: what an event
//! does not have is empty.

use std::{collections::BTreeMap, sync::Arc};

use auditrelay_audit::{Envelope, Severity, User};
use minijinja::{
    Template, Value, context,
    value::{Enumerator, Object},
};

const VALUE_CHARS_MAX: usize = 1_000;
const GROUPS_MAX: usize = 50;
const ADDRESSES_MAX: usize = 20;
const ANNOTATIONS_MAX: usize = 50;

/// Single values; a name inside of one of these is unknown.
const SINGLE: [&str; 22] = [
    "cluster",
    "route",
    "severity",
    "user",
    "user.name",
    "impersonated",
    "impersonated.name",
    "verb",
    "object",
    "object.resource",
    "object.group",
    "object.namespace",
    "object.name",
    "object.subresource",
    "path",
    "code",
    "decision",
    "reason",
    "stage",
    "level",
    "audit_id",
    "time",
];
/// Values that have others inside, by number or by any name; and one more text.
const OPEN: [&str; 5] = [
    "user.groups",
    "impersonated.groups",
    "source_ips",
    "annotations",
    "user_agent",
];

/// The values of an event.
pub(super) fn of(cluster: &str, route: &str, severity: Severity, event: &Envelope<'_>) -> Value {
    let object = event.object_ref.as_ref();
    let nobody = User::default();
    let impersonated = event.impersonated_user.as_ref().unwrap_or(&nobody);
    let of_object =
        |text: fn(&auditrelay_audit::ObjectRef<'_>) -> String| object.map(text).unwrap_or_default();
    let annotation = |name| bounded(&event.annotation(name).unwrap_or_default());
    context! {
        cluster => bounded(cluster),
        route => bounded(route),
        severity => severity.as_str(),
        user => person(&event.user),
        impersonated => person(impersonated),
        verb => bounded(&event.verb),
        object => context! {
            resource => of_object(|object| bounded(&object.resource)),
            group => of_object(|object| bounded(&object.api_group)),
            namespace => of_object(|object| bounded(&object.namespace)),
            name => of_object(|object| bounded(&object.name)),
            subresource => of_object(|object| bounded(&object.subresource)),
        },
        path => bounded(event.path()),
        code => event.code().unwrap_or_default(),
        decision => annotation("authorization.k8s.io/decision"),
        reason => annotation("authorization.k8s.io/reason"),
        stage => event.stage.as_str(),
        level => format!("{:?}", event.level),
        audit_id => bounded(&event.audit_id),
        source_ips => texts(event.source_ips.iter().map(|ip| ip.as_str()), ADDRESSES_MAX),
        user_agent => bounded(&event.user_agent),
        time => bounded(&event.stage_timestamp),
        annotations => Value::from_object(Annotations::of(event)),
    }
}

fn person(user: &User<'_>) -> Value {
    let groups = user.groups.iter().map(|group| group.as_str());
    context! { name => bounded(&user.username), groups => texts(groups, GROUPS_MAX) }
}

fn texts<'a>(all: impl Iterator<Item = &'a str>, max: usize) -> Vec<String> {
    all.take(max).map(bounded).collect()
}

fn bounded(text: &str) -> String {
    text.chars().take(VALUE_CHARS_MAX).collect()
}

/// Annotations by name. One that the event does not have is empty: which there are differs from event
/// to event.
#[derive(Debug)]
struct Annotations(BTreeMap<String, String>);

impl Annotations {
    fn of(event: &Envelope<'_>) -> Self {
        let all = event.annotations.iter().take(ANNOTATIONS_MAX);
        Self(
            all.map(|(name, value)| (bounded(name), bounded(&value)))
                .collect(),
        )
    }
}

impl Object for Annotations {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let value = self.0.get(key.as_str()?).cloned();
        Some(Value::from(value.unwrap_or_default()))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(
            self.0
                .keys()
                .map(|name| Value::from(name.as_str()))
                .collect(),
        )
    }
}

/// The first name that a template uses and that no event has, on whatever way through it.
pub(super) fn unknown(template: &Template<'_, '_>) -> Option<String> {
    let functions = ["range", "dict", "namespace"];
    let is_known = |name: &str| {
        let is_inside = |open: &str| {
            let rest = name.strip_prefix(open);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        SINGLE.contains(&name)
            || functions.contains(&name)
            || OPEN.iter().any(|open| is_inside(open))
    };
    let mut names: Vec<String> = template.undeclared_variables(true).into_iter().collect();
    names.sort_unstable();
    names.into_iter().find(|name| !is_known(name))
}

/// An event to try a template on.
pub(super) struct Sample {
    pub(super) values: Value,
    /// It has every value, and none that needs care: what comes of it has to be usable.
    pub(super) is_plain: bool,
}

const PLAIN: &str = r#"{"level":"RequestResponse","auditID":"0e5b3f6e-8c9f-4c39-9a53-2f8d1f3f7b11","stage":"ResponseStarted",
"requestURI":"/api/v1/namespaces/shop/pods/api-7c9/exec?command=sh","verb":"create",
"user":{"username":"alice","groups":["developers","system:authenticated"]},
"impersonatedUser":{"username":"bob","groups":["operators"]},"sourceIPs":["10.0.0.1"],"userAgent":"kubectl/v1.36.0",
"objectRef":{"resource":"pods","namespace":"shop","name":"api-7c9","apiGroup":"apps","subresource":"exec"},
"responseStatus":{"code":101},"stageTimestamp":"2026-11-21T03:15:29.123456Z",
"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed"}}"#;
/// Before authentication, and nothing is known of it.
const BARE: &str = r#"{"level":"Metadata","stage":"ResponseStarted","user":{}}"#;
const HOSTILE: &str = r#"{"level":"Metadata","stage":"ResponseComplete","verb":"get","user":{"username":"--x $(id) ' \" <!channel>","groups":["-"]},
"objectRef":{"resource":"secrets","namespace":"../..","name":"a;b"},"responseStatus":{"code":403},
"annotations":{"authorization.k8s.io/decision":"forbid"}}"#;

pub(super) fn samples() -> Vec<Sample> {
    let sample = |(json, is_plain)| {
        let event = Envelope::parse(json).expect("the samples are events, a test renders them");
        let values = of("production", "sample", Severity::Warning, &event);
        Sample { values, is_plain }
    };
    [(PLAIN, true), (BARE, false), (HOSTILE, false)]
        .into_iter()
        .map(sample)
        .collect()
}
