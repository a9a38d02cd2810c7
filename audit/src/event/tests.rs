//! When an event is told, and what an envelope takes.

use super::*;

fn event(stage: &str, rest: &str) -> String {
    format!(r#"{{"level":"Metadata","stage":"{stage}","verb":"get"{rest}}}"#)
}

fn told(stage: &str, rest: &str) -> bool {
    let text = event(stage, rest);
    Envelope::parse(&text)
        .expect("readable")
        .is_told_by_default()
}

#[test]
fn a_request_is_told_once_at_its_end() {
    let user = r#","user":{"username":"alice"}"#;
    assert!(!told("RequestReceived", user));
    assert!(!told("ResponseStarted", user));
    assert!(told("ResponseComplete", user));
    assert!(told("Panic", user));
}

#[test]
fn a_session_is_told_when_it_starts() {
    let rest = r#","user":{"username":"a"},"objectRef":{"resource":"pods","subresource":"exec"}"#;
    assert!(told("ResponseStarted", rest));
    assert!(!told("ResponseComplete", rest));
    assert!(told("Panic", rest));
}

#[test]
fn a_refusal_before_authentication_is_told_though_it_never_completes() {
    assert!(told(
        "ResponseStarted",
        r#","user":{},"responseStatus":{"code":401}"#
    ));
}

#[test]
fn an_event_of_a_later_kubernetes_is_told_and_no_configuration_can_ask_for_it() {
    let user = r#","user":{"username":"alice"}"#;
    assert!(told("ResponseAbandoned", user));
    let text = event("Panic", user).replace("Metadata", "Everything");
    let envelope = Envelope::parse(&text).expect("readable");
    assert_eq!(envelope.level, Level::Unknown);
    assert!(serde_json::from_str::<Stage>("\"Panic\"").is_ok());
    for name in ["\"Unknown\"", "\"ResponseAbandoned\""] {
        assert!(serde_json::from_str::<Stage>(name).is_err());
        assert!(serde_json::from_str::<Level>(name).is_err());
    }
}

#[test]
fn what_go_writes_as_null_is_empty() {
    let text = event(
        "Panic",
        r#","user":null,"sourceIPs":null,"annotations":null,"impersonatedUser":{"groups":null}"#,
    );
    let envelope = Envelope::parse(&text).expect("readable");
    assert!(envelope.user.username.is_empty() && envelope.source_ips.is_empty());
    assert_eq!(envelope.annotations.iter().count(), 0);
}

#[test]
fn bodies_stay_unread() {
    let text = event(
        "Panic",
        r#","requestObject":{"n":1e999,"d":[[[[]]]]},"user":{}"#,
    );
    let envelope = Envelope::parse(&text).expect("readable");
    assert_eq!(envelope.request_object, Some(r#"{"n":1e999,"d":[[[[]]]]}"#));
}

#[test]
fn an_array_is_no_event() {
    let error = Envelope::parse(r#"["Metadata","Panic"]"#).expect_err("an array");
    assert!(error.to_string().contains("not an object"), "{error}");
}

#[test]
fn an_event_without_a_stage_is_an_error() {
    let error = Envelope::parse(r#"{"level":"Metadata"}"#).expect_err("no stage");
    assert!(error.to_string().contains("stage"), "{error}");
}

#[test]
fn a_path_is_matched_as_the_api_server_served_it() {
    for (uri, served) in [
        ("/%64ebug/pprof/heap?seconds=%31", "/debug/pprof/heap"),
        ("/%6civez", "/livez"),
        // Once, and nothing but escapes.
        ("/%2564ebug", "/%64ebug"),
        ("/a+b;c//d", "/a+b;c//d"),
        ("/a%2Bb%3fc?d%20e", "/a+b?c"),
        // The API server refuses these before it logs.
        ("/%64ebug%", "/%64ebug%"),
        ("/%64ebug%4", "/%64ebug%4"),
        ("/%64ebug%zz", "/%64ebug%zz"),
        ("/debug%ff", "/debug\u{fffd}"),
        ("", ""),
    ] {
        let text = event("ResponseComplete", &format!(r#","requestURI":"{uri}""#));
        let envelope = Envelope::parse(&text).expect("readable");
        assert_eq!(envelope.served_path(), served, "{uri}");
        // What is shown is what was written.
        assert!(uri.starts_with(envelope.path()));
        let request = crate::policy::Request::of(&envelope);
        let rule = |pattern: &str| crate::policy::Match {
            non_resource_urls: vec![pattern.to_owned()],
            ..Default::default()
        };
        assert!(rule(served).matches(&request), "{uri}");
        assert_eq!(
            rule("/debug*").matches(&request),
            served.starts_with("/debug")
        );
        assert_eq!(
            rule("/debug*").mismatch(&request).is_none(),
            served.starts_with("/debug")
        );
    }
    let resource = r#","requestURI":"/%61","objectRef":{"resource":"pods"}"#;
    let text = event("ResponseComplete", resource);
    let envelope = Envelope::parse(&text).expect("readable");
    assert_eq!(envelope.served_path(), "/%61");
}
