//! Values in URLs and in commands, attackers' ones above all.

use proptest::prelude::*;

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
fn a_url_whose_host_is_not_written_out_is_refused_at_start() {
    let not_literal = "expected https:// or http:// and a host that are written out";
    let more_than_host = "expected a host and perhaps a port";
    for (url, problem) in [
        ("https://{{ cluster }}.example/", not_literal),
        ("https://x.example{{ path }}", not_literal),
        ("{{ user.name }}", not_literal),
        ("{% if code %}https://x.example/{% endif %}", not_literal),
        ("javascript:alert(1)", not_literal),
        ("https://a@x.example/", more_than_host),
        ("https://x.example\\@y.example/", more_than_host),
        ("https:///", "is no URL"),
        ("https://x.example/{{ zone }}", "there is no value zone"),
    ] {
        assert_refused(link(url), &format!("routes[0].links[0].url: {problem}"));
    }
}

#[test]
fn a_command_that_would_undo_quotes_is_refused_at_start() {
    let inside = "a value stands inside quotes";
    let escape = "a backslash or a backquote";
    for (line, problem) in [
        ("kubectl get '{{ object.name }}'", inside),
        ("kubectl get \"{{ object.name }}\"", inside),
        ("kubectl get \"$(x {{ object.name }})\"", inside),
        (
            "echo ${{ object.name }}",
            "a value stands right after a dollar sign",
        ),
        ("echo \\{{ object.name }}", escape),
        ("echo `{{ object.name }}`", escape),
        (
            "echo $'\\'{{ object.name }}",
            "a quote stands right after a dollar sign",
        ),
        ("kubectl get 'x", "a quote is not closed"),
        ("a\nb", "expected one line"),
        (
            "{% set a %}{{ verb }}{% endset %}x {{ a }}",
            "a value holds characters that hide",
        ),
    ] {
        assert_refused(command(line), &format!("routes[0].command: {problem}"));
    }
    let jsonpath =
        command("kubectl get {{ object.name }} -o jsonpath='{.data.tls\\.crt}' --as \"$USER\"");
    let line = commanded(&jsonpath.expect("valid"), "v").expect("a command");
    assert_eq!(
        line,
        "kubectl get n -o jsonpath='{.data.tls\\.crt}' --as \"$USER\""
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
