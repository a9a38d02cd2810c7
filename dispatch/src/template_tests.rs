//! What templates say, and what is refused at start.

use std::io::Write;

use auditrelay_config::{Overrides, load};
use auditrelay_store::Marks;
use serde_json::json;

use super::*;

#[path = "template/kinds_tests.rs"]
mod kinds_tests;

/// The templates of channel `ops`, whose one route is called `r`.
fn templates(channel: &str, route: &str) -> Result<Templates, String> {
    let yaml = format!(
        "channels:\n  ops:\n    preview: true\n{channel}routes:\n  - name: r\n    channel: ops\n    severity: warning\n{route}"
    );
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(yaml.as_bytes()).expect("written");
    let config = load(Some(file.path()), [], Overrides::default())
        .expect("valid YAML")
        .config;
    let mut all = Templates::all(&config)?;
    Ok(Arc::into_inner(all.remove("ops").expect("the channel")).expect("not shared"))
}

fn sentence(template: &str) -> Result<Templates, String> {
    templates(&format!("    sentence: {}\n", json!(template)), "")
}

fn link(url: &str) -> Result<Templates, String> {
    templates(
        "",
        &format!("    links: [{{ text: Go, url: {} }}]\n", json!(url)),
    )
}

fn command(template: &str) -> Result<Templates, String> {
    templates("", &format!("    command: {}\n", json!(template)))
}

fn event(value: &str) -> EventDelivery {
    let json = json!({
        "level": "Metadata", "stage": "ResponseComplete", "verb": "get", "auditID": "1",
        "requestURI": "/api/v1/x?y=z", "userAgent": value, "stageTimestamp": "2026-11-21T03:15:29Z",
        "user": {"username": value, "groups": ["a", value]}, "sourceIPs": ["10.0.0.1"],
        "objectRef": {"resource": "secrets", "namespace": value, "name": "n"},
        "responseStatus": {"code": 403},
        "annotations": {"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": "no rule"},
    });
    EventDelivery {
        cluster: "prod".into(),
        route: "r".into(),
        json: json.to_string(),
        meant_for: None,
        marks: Marks::default(),
    }
}

fn said(templates: &Templates, value: &str) -> Option<String> {
    let event = event(value);
    templates.sentence(&event, &Envelope::parse(&event.json).expect("an event"))
}

#[test]
fn every_value_can_be_said() {
    let all = "{{ cluster }} {{ route }} {{ severity }} {{ user.name }} {{ user.groups | join('+') }} \
        [{{ impersonated.name }}{{ impersonated.groups | length }}] {{ verb }} {{ object.resource }} [{{ object.group }}] \
        {{ object.namespace }} {{ object.name }} [{{ object.subresource }}] {{ path }} {{ code }} {{ decision }} {{ reason }} \
        {{ stage }} {{ level }} {{ audit_id }} {{ source_ips | first | default('-') }} {{ user_agent }} {{ time }} \
        {{ annotations['authorization.k8s.io/decision'] }}{{ annotations.none }}";
    let templates = sentence(all).expect("valid");
    assert_eq!(
        said(&templates, "v").expect("a sentence"),
        "prod r warning v a+v [0] get secrets [] v n [] /api/v1/x 403 forbid no rule ResponseComplete \
         Metadata 1 10.0.0.1 v 2026-11-21T03:15:29Z forbid"
    );
}

fn assert_refused(outcome: Result<Templates, String>, expected: &str) {
    let error = outcome.expect_err(expected);
    assert!(error.starts_with(expected), "{error} instead of {expected}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn what_cannot_work_is_refused_at_start_with_its_key() {
    let endless = "{% for i in range(9999) %}{% for i in range(9999) %}x{% endfor %}{% endfor %}";
    let never = "{% if code == 599 %}{{ object.kind }}{% endif %}";
    let long = "x".repeat(4_001);
    for (template, problem) in [
        ("{{ user.name", "syntax error"),
        ("{{ usr }}", "there is no value usr"),
        ("{{ user.nme }}", "there is no value user.nme"),
        (never, "there is no value object.kind"),
        ("{{ verb | shout }}", "unknown filter: "),
        ("{{ verb | safe }}", "unknown filter: "),
        ("{{ user.groups[7] }}", "undefined value"),
        ("{% if user.groups[7] %}x{% endif %}", "undefined value"),
        ("{{ debug() }}", "there is no value debug"),
        (endless, "engine ran out of fuel"),
        (&long, "is longer than 4000 characters"),
    ] {
        assert_refused(
            sentence(template),
            &format!("channels.ops.sentence: {problem}"),
        );
    }
    let many = "{ title: a, text: b }, ".repeat(11);
    for (fields, expected) in [
        (
            "{ title: a, text: b }, { title: c, text: '{{ d }}' }",
            "[1].text: there is no value d",
        ),
        ("{ title: ' ', text: b }", "[0].title: is empty"),
        (&many, ": found 11 fields, expected at most 10"),
    ] {
        let outcome = templates(&format!("    fields: [{fields}]\n"), "");
        assert_refused(outcome, &format!("channels.ops.fields{expected}"));
    }
}

#[test]
fn a_sentence_is_clean_bounded_and_one_line() {
    let templates = sentence("{{ user.name }}\n  did {{ verb }}\n").expect("valid");
    assert_eq!(
        said(&templates, "a\n\u{202e}b\u{1b}[2J").as_deref(),
        Some("a␊\u{fffd}b␛[2J did get")
    );
    let long = said(&templates, &"x".repeat(100_000)).expect("a sentence");
    assert_eq!(long.chars().count(), SENTENCE_CHARS_MAX);
    let empty = sentence("{% if code == 599 %}x{% endif %}").expect("valid");
    assert_eq!(said(&empty, "v"), None);
}

#[test]
fn a_template_that_fails_on_an_event_costs_a_mark_and_no_more() {
    // Groups of the samples are never called so.
    let fails = "{% if 'boom' in user.groups %}{{ user.groups[40] }}{% else %}fine{% endif %}";
    let templates = templates(
        &format!(
            "    sentence: {}\n    fields: [{{ title: Who, text: '{{{{ user.name }}}}' }}]\n",
            json!(fails)
        ),
        "",
    )
    .expect("valid");
    assert_eq!(said(&templates, "alice").as_deref(), Some("fine"));
    assert_eq!(said(&templates, "boom"), None);
    let event = event("boom");
    let fields = templates.fields(&event, &Envelope::parse(&event.json).expect("an event"));
    let own = |title: &str, text: &str| (title.to_owned(), text.to_owned());
    assert_eq!(
        fields,
        [
            own(MARK, "channels.ops.sentence failed"),
            own("Who", "boom")
        ]
    );
}

#[test]
fn a_routes_own_sentence_is_stronger_than_the_channels() {
    let channel = "    sentence: 'of the channel'\n";
    let of_route = |template: &str| format!("    template: {}\n", json!(template));
    let both = templates(channel, &of_route("{{ user.name }} on {{ route }}")).expect("valid");
    assert_eq!(said(&both, "alice").as_deref(), Some("alice on r"));
    let alone = templates("", &of_route("{{ verb }}")).expect("valid");
    assert_eq!(said(&alone, "alice").as_deref(), Some("get"));
    // Of another route, and of none.
    for route in ["", "gone"] {
        let mut event = event("v");
        event.route = route.to_owned();
        let envelope = Envelope::parse(&event.json).expect("an event");
        let text = both.sentence(&event, &envelope);
        assert_eq!(text.as_deref(), Some("of the channel"));
    }
    // Safe as the channel's: clean, bounded, and one that fails costs a mark and no more.
    assert_eq!(
        said(&both, "a\n\u{202e}b").as_deref(),
        Some("a␊\u{fffd}b on r")
    );
    let fails = "{% if 'boom' in user.groups %}{{ user.groups[40] }}{% else %}fine{% endif %}";
    let fragile = templates(channel, &of_route(fails)).expect("valid");
    assert_eq!(said(&fragile, "boom"), None, "the built-in sentence stands");
    let event = event("boom");
    let fields = fragile.fields(&event, &Envelope::parse(&event.json).expect("an event"));
    let mark = (MARK.to_owned(), "routes[0].template failed".to_owned());
    assert_eq!(fields, [mark]);
    assert_refused(
        templates("", &of_route("{{ usr }}")),
        "routes[0].template: there is no value usr",
    );
}

#[test]
fn fields_that_come_out_empty_are_not_said() {
    let fields = "    fields:\n      - { title: As, text: '{{ impersonated.name }}' }\n      - { title: Groups, text: '{{ user.groups | join(\", \") }}' }\n";
    let templates = templates(fields, "").expect("valid");
    let event = event(&"x".repeat(900));
    let said = templates.fields(&event, &Envelope::parse(&event.json).expect("an event"));
    assert_eq!(said.len(), 1);
    assert_eq!(
        (said[0].0.as_str(), said[0].1.chars().count()),
        ("Groups", FIELD_CHARS_MAX)
    );
}

#[test]
fn a_route_without_words_and_a_route_that_is_gone_say_nothing() {
    let templates = command("kubectl get {{ object.resource }}").expect("valid");
    let mut event = event("v");
    for route in ["", "gone"] {
        event.route = route.to_owned();
        let envelope = Envelope::parse(&event.json).expect("an event");
        assert_eq!(templates.command(&event, &envelope), None);
        assert!(templates.links(&event, &envelope).is_empty());
        assert!(templates.fields(&event, &envelope).is_empty());
    }
}
