use std::io::Write;

use auditrelay_config::{Overrides, load};
use auditrelay_store::Marks;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const ATTACKS: [&str; 12] = [
    "'; touch /tmp/owned; '",
    "$(touch /tmp/owned)",
    "`touch /tmp/owned`",
    "a\\' b",
    "\" || true \"",
    "a b\tc",
    "a;b|c&d>e<f",
    "*?[a]{b,c}~!#",
    "../../admin",
    "a/b?c=d&e#f",
    "https://evil.example/@x",
    "<!channel> *b* `c` <@U1>",
];

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
        marks: Marks::default(),
    }
}

fn said(templates: &Templates, value: &str) -> Option<String> {
    let event = event(value);
    templates.sentence(&event, &Envelope::parse(&event.json).expect("an event"))
}

fn linked(templates: &Templates, value: &str) -> Option<String> {
    let event = event(value);
    let links = templates.links(&event, &Envelope::parse(&event.json).expect("an event"));
    links.into_iter().next().map(|(_, url)| url.to_string())
}

fn commanded(templates: &Templates, value: &str) -> Option<String> {
    let event = event(value);
    templates.command(&event, &Envelope::parse(&event.json).expect("an event"))
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

#[test]
fn what_cannot_work_is_refused_at_start_with_its_key() {
    let refused = [
        (
            sentence("{{ user.name"),
            "channels.ops.sentence: syntax error",
        ),
        (
            sentence("{{ usr }}"),
            "channels.ops.sentence: there is no value usr",
        ),
        (
            sentence("{{ user.nme }}"),
            "channels.ops.sentence: there is no value user.nme",
        ),
        (
            sentence("{% if code == 599 %}{{ object.kind }}{% endif %}"),
            "channels.ops.sentence: there is no value object.kind",
        ),
        (
            sentence("{{ verb | shout }}"),
            "channels.ops.sentence: unknown filter: ",
        ),
        (
            sentence("{{ verb | safe }}"),
            "channels.ops.sentence: unknown filter: ",
        ),
        (
            sentence("{{ user.groups[7] }}"),
            "channels.ops.sentence: undefined value",
        ),
        (
            sentence("{% if user.groups[7] %}x{% endif %}"),
            "channels.ops.sentence: undefined value",
        ),
        (
            sentence("{{ debug() }}"),
            "channels.ops.sentence: there is no value debug",
        ),
        (
            sentence(
                "{% for i in range(9999) %}{% for i in range(9999) %}x{% endfor %}{% endfor %}",
            ),
            "channels.ops.sentence: engine ran out of fuel",
        ),
        (
            sentence(&"x".repeat(4_001)),
            "channels.ops.sentence: is longer than 4000 characters",
        ),
        (
            templates(
                "    fields: [{ title: a, text: b }, { title: c, text: '{{ d }}' }]\n",
                "",
            ),
            "channels.ops.fields[1].text: there is no value d",
        ),
        (
            templates("    fields: [{ title: ' ', text: b }]\n", ""),
            "channels.ops.fields[0].title: is empty",
        ),
        (
            link("https://{{ cluster }}.example/"),
            "routes[0].links[0].url: expected https:// or http:// and a host that are written out",
        ),
        (
            link("https://x.example{{ path }}"),
            "routes[0].links[0].url: expected https:// or http:// and a host",
        ),
        (
            link("{{ user.name }}"),
            "routes[0].links[0].url: expected https://",
        ),
        (
            link("javascript:alert(1)"),
            "routes[0].links[0].url: expected https://",
        ),
        (
            link("https://a@x.example/"),
            "routes[0].links[0].url: expected a host and perhaps a port",
        ),
        (
            link("https://x.example/{{ zone }}"),
            "routes[0].links[0].url: there is no value zone",
        ),
        (
            command("kubectl get '{{ object.name }}'"),
            "routes[0].command: a value stands inside quotes",
        ),
        (
            command("kubectl get \"{{ object.name }}\""),
            "routes[0].command: a value stands inside quotes",
        ),
        (
            command("echo ${{ object.name }}"),
            "routes[0].command: a value stands right after a dollar sign",
        ),
        (
            command("echo \\{{ object.name }}"),
            "routes[0].command: a backslash or a backquote",
        ),
        (
            command("echo `{{ object.name }}`"),
            "routes[0].command: a backslash or a backquote",
        ),
        (
            command("echo $'\\'{{ object.name }}"),
            "routes[0].command: a quote stands right after a dollar sign",
        ),
        (
            command("kubectl get 'x"),
            "routes[0].command: a quote is not closed",
        ),
        (command("a\nb"), "routes[0].command: expected one line"),
    ];
    for (outcome, expected) in refused {
        let error = outcome.expect_err(expected);
        assert!(error.starts_with(expected), "{error} instead of {expected}");
        assert!(!error.contains('\n'), "{error}");
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
            own("Who", "boom"),
            own(MARK, "channels.ops.sentence failed")
        ]
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
fn a_value_is_data_in_a_url() {
    let templates =
        link("https://x.example:8443/d/{{ object.namespace }}?u={{ user.name }}#{{ verb }}")
            .expect("valid");
    assert_eq!(
        linked(&templates, "a/b?c=d&e#f é").as_deref(),
        Some(
            "https://x.example:8443/d/a%2Fb%3Fc%3Dd%26e%23f%20%C3%A9?u=a%2Fb%3Fc%3Dd%26e%23f%20%C3%A9#get"
        )
    );
    for attack in ATTACKS {
        let url = linked(&templates, attack).expect("a link");
        let parsed = Url::parse(&url).expect("a URL");
        assert_eq!(parsed.host_str(), Some("x.example"), "{url}");
        assert_eq!(
            parsed.path_segments().map(Iterator::count),
            Some(2),
            "{url}"
        );
        assert_eq!(parsed.query_pairs().count(), 1, "{url}");
        assert!(!url.contains(['<', '>', '|', '"', ' ', '`']), "{url}");
    }
    for left_out in ["..", ".", &"é".repeat(900)] {
        assert_eq!(linked(&templates, left_out), None, "{left_out}");
    }
    // Nothing turns the encoding off.
    for template in [
        "https://x.example/{% autoescape false %}{{ user.name }}{% endautoescape %}",
        "https://x.example/{% set a %}{{ user.name }}{% endset %}{{ a }}",
        "https://x.example/{{ '/' ~ user.name }}",
        "https://x.example/{{ user.groups | join('/') }}",
    ] {
        let url = linked(&link(template).expect("valid"), "a/../b?c").expect("a link");
        assert_eq!(
            url["https://x.example/".len()..].find(['/', '?']),
            None,
            "{url}"
        );
    }
}

#[test]
fn a_shell_reads_a_value_as_one_word_and_nothing_else() {
    let templates =
        command("printf '%s|' --ns={{ user.name }} {{ user.name }} x/{{ object.name }}")
            .expect("valid");
    for attack in ATTACKS
        .into_iter()
        .filter(|attack| !attack.contains('\t'))
        .chain(["", "plain-1.2", "é"])
    {
        let line = commanded(&templates, attack).expect("a command");
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(&line)
            .output();
        let output = output.expect("a shell").stdout;
        let expected = format!("--ns={attack}|{attack}|x/n|");
        assert_eq!(String::from_utf8_lossy(&output), expected, "{line}");
    }
    let plain = commanded(&templates, "api-7c9.v1/x:y@z").expect("a command");
    assert_eq!(
        plain,
        "printf '%s|' --ns=api-7c9.v1/x:y@z api-7c9.v1/x:y@z x/n"
    );
    // No names of Kubernetes; a pasted command must be about the object or not be there.
    for left_out in [
        "-o",
        "--kubeconfig=x",
        "a\nb",
        "a\tb",
        "a\u{202e}b",
        "a\u{1}b\u{2}c",
        &"x".repeat(700),
    ] {
        assert_eq!(commanded(&templates, left_out), None, "{left_out:?}");
    }
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

proptest! {
    #[test]
    fn whatever_the_value_urls_keep_their_host_and_shape(value in any::<String>()) {
        let templates = link("https://x.example/d/{{ user.name }}?u={{ user.name }}").expect("valid");
        if let Some(url) = linked(&templates, &value) {
            let parsed = Url::parse(&url).expect("a URL");
            prop_assert_eq!(parsed.host_str(), Some("x.example"));
            prop_assert_eq!(parsed.path_segments().map(Iterator::count), Some(2));
            prop_assert_eq!(parsed.query_pairs().collect::<Vec<_>>(), [("u".into(), value.as_str().into())]);
        }
    }

    #[test]
    fn whatever_the_value_the_shell_reads_it_back(value in "[ -~é]{0,40}") {
        let templates = command("x {{ user.name }}").expect("valid");
        match commanded(&templates, &value) {
            None => prop_assert!(value.starts_with('-')),
            Some(line) => prop_assert_eq!(words(&line), ["x", value.as_str()]),
        }
    }
}

/// What a POSIX shell reads from a line that has no quotes but single ones and escaped single quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut inside) = (Vec::new(), String::new(), false);
    let mut rest = line.chars();
    while let Some(one) = rest.next() {
        match one {
            '\'' => inside = !inside,
            '\\' if !inside => word.extend(rest.next()),
            ' ' if !inside => words.push(std::mem::take(&mut word)),
            other => {
                assert!(
                    inside || other.is_ascii_alphanumeric() || "_./:@%+=,-".contains(other),
                    "{line}"
                );
                word.push(other);
            }
        }
    }
    assert!(!inside, "{line}");
    words.push(word);
    words
}
