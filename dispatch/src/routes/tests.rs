//! Which channels hear what, and that whoever decides it decides the same.

use std::io::Write;

use auditrelay_audit::Envelope;
use auditrelay_config::{Overrides, load};
use auditrelay_store::Hint;
use smallvec::smallvec;

use super::*;

pub(super) fn routes(yaml: &str) -> Routes {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(yaml.as_bytes()).expect("written");
    Routes::new(
        &load(Some(file.path()), [], Overrides::default())
            .expect("valid")
            .config,
    )
}

pub(super) fn event(stage: &str, verb: &str, resource: &str) -> String {
    format!(
        r#"{{"level":"Metadata","stage":"{stage}","verb":"{verb}","user":{{"username":"alice"}},"objectRef":{{"resource":"{resource}"}}}}"#
    )
}

fn told(
    routes: &Routes,
    stage: &str,
    verb: &str,
    resource: &str,
) -> Option<(String, Severity, String)> {
    let text = event(stage, verb, resource);
    let envelope = Envelope::parse(&text).expect("readable");
    let event = Event {
        cluster: "test",
        envelope: &envelope,
    };
    let matched = routes.matched(&event);
    // Whoever decides, the decision is the same.
    if let Some((hint, _)) = routes.advice(&event) {
        assert_eq!(routes.hinted(hint), Some(matched));
    }
    let targets = routes.targets(&event);
    assert!(targets.len() < 2);
    let target = targets.first()?;
    Some((
        target.channel.to_owned(),
        target.severity,
        target.route.to_owned(),
    ))
}

#[test]
fn without_routes_each_request_is_told_once_in_the_default_channel() {
    let routes = routes("channels:\n  ops:\n    preview: true\n");
    assert_eq!(
        told(&routes, "ResponseComplete", "get", "pods"),
        Some(("ops".into(), Severity::Info, String::new()))
    );
    assert_eq!(told(&routes, "RequestReceived", "get", "pods"), None);
}

#[test]
fn the_first_match_decides_and_no_match_filters() {
    let routes = routes(
        "channels: {ops: {preview: true}, sec: {preview: true}}
default_channel: ops
routes:
- {name: secrets, channel: sec, severity: critical, resources: [{resources: [secrets]}]}
- {name: received, channel: ops, stages: [RequestReceived], verbs: [delete]}
- {name: deletes, channel: ops, severity: warning, verbs: [delete]}
",
    );
    let to = |channel: &str, severity, route: &str| {
        Some((channel.to_owned(), severity, route.to_owned()))
    };
    assert_eq!(
        told(&routes, "ResponseComplete", "delete", "secrets"),
        to("sec", Severity::Critical, "secrets")
    );
    assert_eq!(
        told(&routes, "ResponseComplete", "delete", "pods"),
        to("ops", Severity::Warning, "deletes")
    );
    assert_eq!(
        told(&routes, "RequestReceived", "delete", "pods"),
        to("ops", Severity::Info, "received")
    );
    assert_eq!(told(&routes, "RequestReceived", "get", "secrets"), None);
    assert_eq!(told(&routes, "ResponseComplete", "get", "pods"), None);
}

#[test]
fn the_route_that_takes_an_event_says_what_is_stored_of_its_bodies() {
    let routes = routes(
        "channels: {ops: {preview: true}}
routes:
- {name: a, channel: ops, bodies: drop, verbs: [delete]}
- {name: b, channel: ops, bodies: redact, verbs: [delete, create]}
- {name: c, channel: ops, verbs: [get]}
",
    );
    for (verb, bodies) in [
        ("delete", Some(Bodies::Drop)),
        ("create", Some(Bodies::Redact)),
        ("get", Some(Bodies::Keep)),
        ("list", None),
    ] {
        let text = event("ResponseComplete", verb, "pods");
        let envelope = Envelope::parse(&text).expect("readable");
        let advice = routes.advice(&Event {
            cluster: "test",
            envelope: &envelope,
        });
        assert_eq!(advice.map(|(_, bodies)| bodies), bodies, "{verb}");
    }
}

#[test]
fn a_hint_that_means_no_route_says_nothing() {
    let routes = routes("channels: {ops: {preview: true}}\nroutes: [{name: a, channel: ops}]\n");
    assert_eq!(routes.hinted(Hint(1)), Some(Matched::Routes(smallvec![0])));
    for unknown in [2, u16::MAX - 2, u16::MAX] {
        assert_eq!(routes.hinted(Hint(unknown)), None, "{unknown}");
    }
}

#[test]
fn a_table_is_told_from_every_other() {
    let one = "channels: {ops: {preview: true}}\nroutes: [{name: a, channel: ops, verbs: [get]}]\n";
    let id = routes(one).id();
    assert_eq!(routes(one).id(), id);
    for (from, to) in [("get", "list"), ("name: a", "name: b"), ("ops", "dev")] {
        assert_ne!(routes(&one.replace(from, to)).id(), id, "{to}");
    }
}
