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
        "🔵 alice as root exec'd into pod x/api — session ended, 101"
    );
    assert_eq!(sentence(&event("get", "")).text(), "🔵 alice read /healthz");
    assert_eq!(
        sentence(&event("brew", "")).text(),
        "🔵 alice did “brew” on /healthz"
    );
}

#[test]
fn at_a_stage_that_is_not_known_something_was_asked_for_until_there_is_a_code() {
    let object = r#","objectRef":{"resource":"pods","name":"api","namespace":"x"}"#;
    let told = |rest: &str| {
        let event = event("delete", &format!("{object}{rest}"));
        sentence(&event.replace("ResponseComplete", "ResponseAbandoned")).text()
    };
    assert_eq!(told(""), "🔵 alice asked to delete pod x/api");
    let code = r#","responseStatus":{"code":200}"#;
    assert_eq!(told(code), "🔵 alice deleted pod x/api — 200");
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
    assert!(marked("update", "x=1&dryRun=%41ll", ""));
    // At level Metadata nobody knows what stands in a deletion's body.
    assert!(!marked("delete", "dryRun=All", ""));
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

#[test]
fn it_says_why_it_was_allowed_or_not() {
    let told = |code: u16, decision: &str, reason: &str, message: &str| {
        let rest = format!(
            r#","objectRef":{{"resource":"pods","namespace":"x","name":"p"}},"responseStatus":{{"code":{code},"message":{message:?}}},"annotations":{{"authorization.k8s.io/decision":"{decision}","authorization.k8s.io/reason":{reason:?}}}"#
        );
        let text = sentence(&event("delete", &rest)).text();
        text.replace("🔵 alice ", "").replace("pod x/p", "it")
    };
    let binding = r#"RBAC: allowed by RoleBinding "dev/x" of ClusterRole "edit" to Group "devs""#;
    let no_rule = r#"pods "p" is forbidden: User "alice" cannot delete resource "pods" in API group "" in the namespace "x""#;
    let quota = r#"pods "p" is forbidden: exceeded quota: small"#;
    for (text, expected) in [
        (
            told(200, "allow", binding, ""),
            "deleted it — allowed (RBAC: RoleBinding x/dev of ClusterRole edit, as group devs) — 200",
        ),
        (
            told(403, "forbid", "", no_rule),
            "tried to delete it — forbidden — 403",
        ),
        (
            told(403, "forbid", "webhook: not on Sundays", no_rule),
            "tried to delete it — forbidden (webhook: not on Sundays) — 403",
        ),
        (
            told(403, "allow", "", quota),
            "tried to delete it — allowed, but refused after that — 403 (exceeded quota: small)",
        ),
        (
            told(404, "allow", "", "pods \"p\" not found"),
            "tried to delete it — allowed, but failed — 404 (pods \"p\" not found)",
        ),
    ] {
        assert_eq!(text, expected);
    }
}

#[test]
fn a_panic_a_missing_login_and_system_masters_are_said() {
    let rest = r#","objectRef":{"resource":"nodes","name":"n"},"responseStatus":{"code":500},"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":""}"#;
    let panic = event("get", rest).replace("ResponseComplete", "Panic");
    assert_eq!(
        sentence(&panic).text(),
        "🔵 alice tried to read node n — allowed — the API server panicked, 500"
    );
    let nobody = event("list", r#","objectRef":{"resource":"pods"},"responseStatus":{"code":401,"message":"Unauthorized"}"#)
        .replace(r#"{"username":"alice"}"#, "{}");
    assert_eq!(
        sentence(&nobody).text(),
        "🔵 somebody unauthenticated tried to list pods in all namespaces — not authenticated, 401"
    );
    let masters = event("get", &rest.replace("500", "200")).replace(
        r#""alice"}"#,
        r#""alice"},"impersonatedUser":{"username":"x","groups":["system:masters"]}"#,
    );
    assert_eq!(
        sentence(&masters).text(),
        "🔵 alice as x, group system:masters read node n — allowed (system:masters) — 200"
    );
}

#[test]
fn a_made_up_name_is_taken_from_the_answer() {
    let object = r#","objectRef":{"resource":"pods","namespace":"x"},"requestObject":{"metadata":{"generateName":"api-"}}"#;
    let told = |rest: &str| sentence(&event("create", &format!("{object}{rest}"))).text();
    assert_eq!(
        told(r#","responseObject":{"metadata":{"name":"api-7c9","x":[]}}"#),
        "🔵 alice created pod x/api-7c9"
    );
    assert_eq!(told(""), "🔵 alice created pod x/api-…");
    assert_eq!(
        told(r#","responseObject":["a"]"#),
        "🔵 alice created pod x/api-…"
    );
    let failed =
        r#","responseStatus":{"code":409},"responseObject":{"metadata":{"name":"status"}}"#;
    assert!(
        told(failed).contains("tried to create pod x/api-… "),
        "{}",
        told(failed)
    );
    let nameless = event(
        "create",
        r#","objectRef":{"resource":"ingresses","apiGroup":"networking.k8s.io"}"#,
    );
    assert_eq!(sentence(&nameless).text(), "🔵 alice created an ingress");
}

#[test]
fn a_look_alike_keeps_its_whole_name() {
    let told = |object: &str| sentence(&event("get", &format!(r#","objectRef":{object}"#))).text();
    assert_eq!(
        told(r#"{"resource":"secrets","apiGroup":"evil.example","namespace":"x","name":"db"}"#),
        "🔵 alice read secrets.evil.example x/db"
    );
    assert_eq!(
        told(
            r#"{"resource":"pods","namespace":"x","name":"db — forbidden","subresource":"odd one"}"#
        ),
        "🔵 alice read pod x/“db — forbidden” (subresource “odd one”)"
    );
}

#[test]
fn a_write_without_a_body_says_why() {
    let told = |verb: &str| {
        let json = event(verb, r#","objectRef":{"resource":"pods","name":"p"}"#);
        sentence(&json)
            .context
            .contains("body not logged (level Metadata)")
    };
    assert!(told("update") && told("patch"));
    assert!(!told("get") && !told("delete"));
}

#[test]
fn a_deletion_is_a_dry_run_by_its_body_alone() {
    let told = |level: &str, query: &str, body: &str| {
        let rest = format!(r#","objectRef":{{"resource":"pods","name":"p"}}{body}"#);
        let json = event("delete", &rest)
            .replace("/healthz?x=1", &format!("/p?{query}"))
            .replace(r#""level":"Metadata""#, &format!(r#""level":"{level}""#));
        sentence(&json).text()
    };
    let body = |options: &str| format!(r#","requestObject":{options}"#);
    let real = told(
        "Request",
        "dryRun=All",
        &body(r#"{"kind":"DeleteOptions"}"#),
    );
    assert!(
        real.contains("deleted pod") && !real.contains("DRY RUN"),
        "{real}"
    );
    let dry = told(
        "Request",
        "",
        &body(r#"{"kind":"DeleteOptions","dryRun":["All"]}"#),
    );
    assert!(
        dry.contains("DRY RUN") && dry.contains("asked to delete"),
        "{dry}"
    );
    let dry = told("Request", "dryRun=All", "");
    assert!(dry.contains("DRY RUN"), "{dry}");
    let open = told("Metadata", "dryRun=All", "");
    assert!(
        open.contains("deleted pod") && open.contains("asked for as a dry run"),
        "{open}"
    );
}

#[test]
fn an_event_that_names_nothing_says_so() {
    let json = r#"{"level":"Metadata","stage":"ResponseComplete","verb":"get"}"#;
    let text = sentence(json).text();
    assert!(text.ends_with("read something without a path"), "{text}");
}
