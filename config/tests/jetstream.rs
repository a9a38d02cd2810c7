//! The section `queue.jetstream`: what is read, what goes together, and what is refused.

mod common;

use auditrelay_config::{Config, JetStreamConfig};
use common::{Case, line};
use secrecy::ExposeSecret;

fn text(keys: &str) -> String {
    format!("queue: {{jetstream: {{servers: [nats://127.0.0.1:4222], {keys}}}}}")
}

fn of(config: &Config) -> &JetStreamConfig {
    config.queue.jetstream.as_ref().expect("a section")
}

fn refusal(keys: &str) -> String {
    let line = line(&text(keys));
    let rest = line.strip_prefix("a.yaml: queue.jetstream");
    rest.unwrap_or_else(|| panic!("{line}")).to_owned()
}

const ACCEPT: &str = "accept_replicated_without_fsync: true";
const THREE: &str = "monitoring: [http://a:1, http://b:1, http://c:1]";

#[test]
fn without_the_section_the_queue_is_on_the_disk() {
    for absent in ["", "queue: null", "queue: {jetstream: null}"] {
        assert_eq!(Case::file(absent).config().queue.jetstream, None);
    }
}

#[test]
fn a_promise_of_the_servers_is_asked_for() {
    let of_monitoring = Case::file(text(THREE)).config();
    assert_eq!(of(&of_monitoring).monitoring.len(), 3);
    assert!(of(&Case::file(text(ACCEPT)).config()).accept_replicated_without_fsync);
    let none = refusal("");
    for part in [
        ": expected monitoring",
        "sync_interval: always",
        "accept_replicated_without_fsync: true",
    ] {
        assert!(none.contains(part), "{none}");
    }
    let both = refusal(&format!("{ACCEPT}, {THREE}"));
    assert!(
        both.starts_with(
            ".accept_replicated_without_fsync: found true beside monitoring, expected only one"
        ),
        "{both}"
    );
    let single = refusal(&format!("{ACCEPT}, replicas: 1"));
    assert!(
        single.starts_with(".accept_replicated_without_fsync: found true with replicas: 1"),
        "{single}"
    );
    assert_eq!(
        refusal("monitoring: [http://a:1]"),
        ".monitoring: found 1, expected the one of each server, so at least as many as replicas (3)"
    );
    assert_eq!(
        refusal("monitoring: [http://a:1, http://b:1, http://a:1/]"),
        ".monitoring: found http://a:1/ twice, expected the one of each server once"
    );
    Case::file(text("replicas: 1, monitoring: [http://a:1]")).config();
    assert_eq!(
        refusal("replicas: 4, monitoring: [http://a:1]"),
        ".replicas: found 4, expected 1, 3 or 5"
    );
}

#[test]
fn what_crosses_the_network_in_the_open_is_noted() {
    let noted = |server: &str| {
        let text = format!(
            "channels: {{a: {{preview: true}}}}\nqueue: {{jetstream: {{servers: ['{server}'], {ACCEPT}}}}}"
        );
        Case::file(text).loaded().notes
    };
    assert_eq!(noted("nats://127.0.0.1:4222"), [""; 0]);
    let notes = noted("nats://nats.example:4222");
    assert!(
        notes.len() == 1 && notes[0].starts_with("queue.jetstream.servers: "),
        "{notes:?}"
    );
}

#[test]
fn an_address_holds_no_secret() {
    let found = line(
        "queue: {jetstream: {servers: [nats://me:hunter2@a:4222], accept_replicated_without_fsync: true}}",
    );
    assert_eq!(
        found,
        "a.yaml: queue.jetstream.servers[0]: found a value that is not shown, as it is a secret, expected a nats:// or \
         tls:// URL such as nats://nats.example:4222, without user and password, which have keys of their own"
    );
    assert_eq!(
        line("queue: {jetstream: {accept_replicated_without_fsync: true}}"),
        "a.yaml: queue.jetstream.servers: found 0 servers, expected 1 to 32"
    );
}

#[test]
fn one_way_to_say_who_the_relay_is() {
    let with = |keys: &str| refusal(&format!("{ACCEPT}, {keys}"));
    let one = "expected only one of credentials_file, user with password, and token";
    for (keys, key) in [
        ("credentials_file: a, token: b", "token"),
        ("credentials_file: a, user: b, password: c", "user"),
        ("user: a, password: b, token: c", "token"),
    ] {
        assert_eq!(with(keys), format!(".{key}: {one}"));
    }
    assert_eq!(
        with("user: a"),
        ".user: expected password or password_file beside it"
    );
    assert_eq!(with("password: a"), ".password: expected user beside it");
    assert_eq!(with("user: '', password: a"), ".user: found an empty name");
    assert_eq!(
        with("tls: {key_file: a}"),
        ".tls.key_file: expected certificate_file beside it"
    );
    assert_eq!(
        with("tls: {certificate_file: a}"),
        ".tls.certificate_file: expected key_file beside it"
    );
}

#[test]
fn secrets_come_from_files_and_are_not_shown() {
    let case = Case::bare();
    let password = case.write("password", "hunter2 and more\n");
    let case = Case::file(text(&format!(
        "{ACCEPT}, user: me, password_file: {}",
        password.display()
    )));
    let config = case.config();
    let read = of(&config).password.as_ref().expect("a password");
    assert_eq!(read.as_secret().expose_secret(), "hunter2 and more");
    let shown = serde_json::to_string(&config).expect("JSON") + &format!("{config:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let twice = refusal(&format!(
        "{ACCEPT}, user: me, password: a, password_file: b"
    ));
    assert_eq!(
        twice,
        ".password_file: password is set too (by a.yaml), expected only one of the two"
    );
    let token = refusal(&format!("{ACCEPT}, token: \"a\\nb\""));
    assert_eq!(
        token,
        ".token: found a value that is not shown, as it is a secret, expected one line of text"
    );
}

#[test]
fn sizes_and_times_fit_what_they_depend_on() {
    let small =
        format!("queue: {{bytes_max: 67108864, jetstream: {{servers: [nats://a], {ACCEPT}}}}}");
    let config = Case::file(&small).config();
    assert_eq!(of(&config).inbox_bytes_max.get(), 16 << 20);
    assert_eq!(config.ingest.body_bytes_max.get(), 16 << 20);
    let quick = format!(
        "{}\ningest: {{ack_timeout_milliseconds: 100}}",
        text(ACCEPT)
    );
    let config = Case::file(&quick).config();
    assert_eq!(of(&config).append_timeout_milliseconds.get(), 88);
    assert_eq!(
        refusal(&format!("{ACCEPT}, append_timeout_milliseconds: 900")),
        ".append_timeout_milliseconds: found 900, expected less than ingest.ack_timeout_milliseconds (900)"
    );
    assert_eq!(
        refusal(&format!("{ACCEPT}, inbox_bytes_max: 1048576")),
        ".inbox_bytes_max: found 1048576, expected at least ingest.body_bytes_max (67108864)"
    );
}

#[test]
fn the_environment_reaches_every_key() {
    let config = Case::bare()
        .env(
            "AUDITRELAY__QUEUE__JETSTREAM__SERVERS",
            r#"["nats://a:1", "nats://b:1"]"#,
        )
        .env("AUDITRELAY__QUEUE__JETSTREAM__USER", "me")
        .env("AUDITRELAY__QUEUE__JETSTREAM__PASSWORD", "word")
        .env("AUDITRELAY__QUEUE__JETSTREAM__TLS__REQUIRED", "true")
        .env(
            "AUDITRELAY__QUEUE__JETSTREAM__ACCEPT_REPLICATED_WITHOUT_FSYNC",
            "true",
        )
        .config();
    let jetstream = of(&config);
    assert_eq!(jetstream.servers.len(), 2);
    assert!(jetstream.tls.required && jetstream.password.is_some());
    let refused = |name: &str| {
        let case = Case::bare().env(name, "1");
        case.line()
    };
    assert_eq!(
        refused("AUDITRELAY__QUEUE__JETSTREAM__SERVER"),
        "environment variable AUDITRELAY__QUEUE__JETSTREAM__SERVER: there is no such key `server` in \
         `queue.jetstream`: did you mean `servers`?"
    );
    assert_eq!(
        refused("AUDITRELAY__QUEUE__BYTES_MAX__X"),
        "environment variable AUDITRELAY__QUEUE__BYTES_MAX__X: there is no such key `bytes_max__x` in `queue`: did you \
         mean `bytes_max`?"
    );
}
