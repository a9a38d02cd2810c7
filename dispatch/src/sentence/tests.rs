//! Sentences: what they say, and what hostile events cannot make them say.

use auditrelay_store::Marks;

use super::*;

fn sentence(json: &str) -> Sentence {
    let event = EventDelivery {
        cluster: "prod-eu".into(),
        route: String::new(),
        json: json.to_owned(),
        marks: Marks::default(),
        meant_for: None,
    };
    Sentence::new(Severity::Info, &event)
}

fn event(verb: &str, rest: &str) -> String {
    format!(
        r#"{{"level":"Metadata","stage":"ResponseComplete","auditID":"a-1","verb":"{verb}","requestURI":"/healthz?x=1","user":{{"username":"alice"}},"sourceIPs":["10.0.0.9"],"stageTimestamp":"2026-11-21T03:15:29.133245Z"{rest}}}"#
    )
}

#[test]
fn it_says_who_did_what_to_which_object() {
    let object = r#","objectRef":{"resource":"deployments","apiGroup":"apps","namespace":"payments","name":"api"}"#;
    let allowed =
        r#","responseStatus":{"code":200},"annotations":{"authorization.k8s.io/decision":"allow"}"#;
    let told = sentence(&event("delete", &format!("{object}{allowed}")));
    assert_eq!(
        told.text(),
        "🔵 alice deleted deployment payments/api — allowed — 200"
    );
    assert_eq!(
        told.context,
        "prod-eu · from 10.0.0.9 · 2026-11-21 03:15:29 UTC · verb delete · ResponseComplete · audit ID a-1"
    );
}

#[test]
fn a_refusal_is_told_as_an_attempt_with_its_reason() {
    let rest = r#","objectRef":{"resource":"secrets","name":"db","namespace":"x"},"responseStatus":{"code":403,"reason":"Forbidden","message":"no &lt;!here&gt; way"},"annotations":{"authorization.k8s.io/decision":"forbid"}"#;
    assert_eq!(
        sentence(&event("get", rest)).text(),
        "🔵 alice tried to read secret x/db — forbidden — 403 (no <!here> way)"
    );
}

#[test]
fn sessions_impersonation_and_paths_have_their_words() {
    let exec = r#","objectRef":{"resource":"pods","name":"api","namespace":"x","subresource":"exec"},"impersonatedUser":{"username":"root"},"responseStatus":{"code":101}"#;
    assert_eq!(
        sentence(&event("get", exec)).text(),
        "🔵 alice as root exec'd into pod x/api — session open, 101"
    );
    assert_eq!(sentence(&event("get", "")).text(), "🔵 alice read /healthz");
    assert_eq!(
        sentence(&event("brew", "")).text(),
        "🔵 alice did “brew” on /healthz"
    );
}

#[test]
fn a_hostile_event_stays_short_and_harmless() {
    let long = "x\u{202e}<".repeat(5_000);
    let rest = format!(
        r#","userAgent":"{long}","objectRef":{{"resource":"{long}","apiGroup":"{long}","namespace":"{long}","name":"{long}","subresource":"{long}"}},"responseStatus":{{"code":500,"message":"{long}"}},"impersonatedUser":{{"username":"{long}"}}"#
    );
    let told = sentence(&event("get", &rest));
    let chars = told.text().chars().count() + told.context.chars().count();
    assert!(chars < 1_500, "{chars}");
    assert!(!told.text().contains('\u{202e}') && !told.context.contains('\u{202e}'));
}

#[test]
fn what_cannot_be_read_is_told_all_the_same() {
    assert!(sentence("{").text().contains("can no longer be read"));
}

#[test]
fn a_dry_run_is_marked_only_where_the_api_server_knows_it() {
    let object = |subresource: &str| {
        format!(r#","objectRef":{{"resource":"pods","name":"p","subresource":"{subresource}"}}"#)
    };
    let marked = |verb: &str, query: &str, subresource: &str| {
        let json =
            event(verb, &object(subresource)).replace("/healthz?x=1", &format!("/p?{query}"));
        sentence(&json).text().contains("DRY RUN")
    };
    assert!(marked("create", "dryRun=All", ""));
    assert!(marked("delete", "x=1&dryRun=%41ll", ""));
    assert!(marked("patch", "dryRun=All", "scale"));
    assert!(!marked("get", "dryRun=All", ""));
    assert!(!marked("create", "dryRun=All", "exec"));
    assert!(!marked("create", "dryRun=", ""));
}

#[test]
fn what_was_only_asked_for_is_not_told_as_done() {
    let received = event("delete", r#","objectRef":{"resource":"pods","name":"p"}"#)
        .replace("ResponseComplete", "RequestReceived");
    assert_eq!(sentence(&received).text(), "🔵 alice asked to delete pod p");
    let some = event(
        "deletecollection",
        r#","objectRef":{"resource":"pods","namespace":"x"}"#,
    )
    .replace("x=1", "labelSelector=a%3Db");
    assert_eq!(
        sentence(&some).text(),
        "🔵 alice deleted a selection of pods in x"
    );
}
