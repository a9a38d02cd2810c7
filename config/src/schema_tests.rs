//! The schema against the configuration that it describes, and what is found in it.

use super::{Field, Kind, ROOT, distance, find, find_folded, hint};
use serde_json::Value;

/// Holds `fields` against the map they describe, key by key.
fn compare(fields: &'static [Field], value: &Value, path: &str) {
    let map = value
        .as_object()
        .unwrap_or_else(|| panic!("{path} is a map"));
    let mut described: Vec<&str> = fields.iter().map(|field| field.key).collect();
    let mut existing: Vec<&str> = map.keys().map(String::as_str).collect();
    described.sort_unstable();
    existing.sort_unstable();
    assert_eq!(described, existing, "{path}");
    for field in fields {
        let (value, path) = (&map[field.key], format!("{path}.{}", field.key));
        match field.kind {
            Kind::Bool => assert!(value.is_boolean(), "{path}"),
            Kind::Integer => assert!(value.is_u64(), "{path}"),
            Kind::Text | Kind::Free => {
                assert!(value.is_string() || value.is_null(), "{path}");
            }
            Kind::List | Kind::Texts => assert!(value.is_array(), "{path}"),
            Kind::TextMap => assert!(value.is_object(), "{path}"),
            Kind::Map(fields) => compare(fields, value, &path),
            Kind::Channels(fields) => compare(fields, &value["default"], &path),
            Kind::Maps(fields) => compare(fields, &value[0], &path),
        }
    }
}

#[test]
fn it_is_the_shape_of_the_configuration() {
    let routes = r#"[{"name":"a","channel":"default","resources":[{}],"rate":{"moreThan":1,"withinSeconds":1},"impersonated":{"nobody":true},"dryRun":true,"links":[{"text":"a","url":"https://b"}]}]"#;
    let channels = r#"{"default":{"preview":true,"fields":[{"title":"a","text":"b"}]}}"#;
    let clients = r#"[{"name":"a","token_file":"b"}]"#;
    let env = [
        ("AUDITRELAY__CLIENTS".to_owned(), clients.to_owned()),
        (
            "AUDITRELAY__INPUTS__LOG_FILE".to_owned(),
            r#"[{"path":"a"}]"#.to_owned(),
        ),
        (
            "AUDITRELAY__REDACTION__RESOURCES".to_owned(),
            "[{}]".to_owned(),
        ),
        ("AUDITRELAY__ROUTES".to_owned(), routes.to_owned()),
        (
            "AUDITRELAY__TESTS".to_owned(),
            r#"[{"name":"a","event":{},"expect":[{"channel":"default"}]}]"#.to_owned(),
        ),
        ("AUDITRELAY__CHANNELS".to_owned(), channels.to_owned()),
        (
            "AUDITRELAY__QUEUE__JETSTREAM".to_owned(),
            r#"{"servers":["nats://a"],"accept_replicated_without_fsync":true}"#.to_owned(),
        ),
    ];
    let loaded = crate::load(None, env, crate::Overrides::default()).unwrap();
    compare(ROOT, &serde_json::to_value(&loaded.config).unwrap(), "");
}

#[test]
fn distances() {
    assert_eq!(distance("", "abc"), 3);
    assert_eq!(distance("kitten", "sitting"), 3);
    assert_eq!(distance("same", "same"), 0);
}

#[test]
fn hints() {
    assert_eq!(
        hint(ROOT, "chanels").as_deref(),
        Some("did you mean `channels`?")
    );
    assert_eq!(
        hint(ROOT, "admin-listen").as_deref(),
        Some("did you mean `admin_listen`?")
    );
    assert_eq!(
        hint(ROOT, "messages_per_minute").as_deref(),
        Some("did you mean `slack.messages_per_minute`?")
    );
    assert_eq!(
        hint(ROOT, "sentences_max").as_deref(),
        Some("did you mean `channels.NAME.sentences_max`?")
    );
    assert_eq!(
        hint(ROOT, "token").as_deref(),
        Some("did you mean `slack.token`?"),
        "and not the one of queue.jetstream, which is deeper"
    );
    assert_eq!(hint(ROOT, "zebra"), None);
}

#[test]
fn folded_keys() {
    let Some(Kind::Maps(route)) = find(ROOT, "routes").map(|field| field.kind) else {
        panic!("routes are maps")
    };
    let found = |segment| find_folded(route, segment).map(|field| field.key);
    assert_eq!(found("USERGROUPS"), Some("userGroups"));
    assert_eq!(found("User_Groups"), Some("userGroups"));
    assert_eq!(found("NON_RESOURCE_URLS"), Some("nonResourceURLs"));
    assert_eq!(found("NONRESOURCEURLS"), Some("nonResourceURLs"));
    assert_eq!(found("USER__GROUPS"), None);
}
