//! The keys there are and the kind of value each takes.
//!
//! Contract: this is the shape `model`, `channel` and `route` deserialize (a test holds them against
//! each other). It is what names an unknown key before anything is merged, types a value from the
//! environment, and finds the key an environment variable stands for.

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Integer,
    Text,
    /// A list of text.
    List,
    /// Text, or a list of it.
    Texts,
    /// A map of text by any key.
    TextMap,
    /// A map with these keys.
    Map(&'static [Field]),
    /// Text, or a map with any keys.
    Free,
    /// A map of channels by name, each a map with these keys.
    Channels(&'static [Field]),
    /// A list of maps with these keys.
    Maps(&'static [Field]),
}

/// A key and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) key: &'static str,
    pub(crate) kind: Kind,
}

const fn field(key: &'static str, kind: Kind) -> Field {
    Field { key, kind }
}

/// The keys of the whole configuration.
pub(crate) const ROOT: &[Field] = &[
    field("listen", Kind::Text),
    field("allow_plain_http", Kind::Bool),
    field("tls", Kind::Map(TLS)),
    field("clients", Kind::Maps(CLIENT)),
    field("allow_anonymous", Kind::Bool),
    field("admin_listen", Kind::Text),
    field("admin_token_file", Kind::Text),
    field("data_dir", Kind::Text),
    field("cluster", Kind::Text),
    field("default_channel", Kind::Text),
    field("ingest", Kind::Map(INGEST)),
    field("inputs", Kind::Map(INPUTS)),
    field("redaction", Kind::Map(REDACTION)),
    field("queue", Kind::Map(QUEUE)),
    field("dedup", Kind::Map(DEDUP)),
    field("slack", Kind::Map(SLACK)),
    field("channels", Kind::Channels(CHANNEL)),
    field("routes", Kind::Maps(ROUTE)),
    field("starter_routes", Kind::Text),
    field("tests", Kind::Maps(TEST)),
    field("metrics", Kind::Map(METRICS)),
    field("watchdog", Kind::Map(WATCHDOG)),
    field("log", Kind::Map(LOG)),
];

const METRICS: &[Field] = &[field("clusters", Kind::List)];

const WATCHDOG: &[Field] = &[
    field("interval_seconds", Kind::Integer),
    field("channel", Kind::Text),
    field("url", Kind::Text),
    field("url_file", Kind::Text),
];

const LOG: &[Field] = &[field("filter", Kind::Text)];

const TLS: &[Field] = &[
    field("certificate_file", Kind::Text),
    field("key_file", Kind::Text),
    field("client_ca_file", Kind::Text),
];

const CLIENT: &[Field] = &[
    field("name", Kind::Text),
    field("cluster", Kind::Text),
    field("certificate_names", Kind::List),
    field("token_file", Kind::Text),
    field("username", Kind::Text),
    field("password_file", Kind::Text),
];

const INPUTS: &[Field] = &[field("log_file", Kind::Maps(LOG_FILE))];

const LOG_FILE: &[Field] = &[field("path", Kind::Text), field("cluster", Kind::Text)];

const REDACTION: &[Field] = &[
    field("resources", Kind::Maps(RESOURCES)),
    field("environment", Kind::Bool),
];

const INGEST: &[Field] = &[
    field("body_bytes_max", Kind::Integer),
    field("decoded_bytes_max", Kind::Integer),
    field("bytes_in_flight_max", Kind::Integer),
    field("connections_max", Kind::Integer),
    field("events_per_list_max", Kind::Integer),
    field("http2_streams_max", Kind::Integer),
    field("handshake_timeout_seconds", Kind::Integer),
    field("header_timeout_seconds", Kind::Integer),
    field("body_timeout_seconds", Kind::Integer),
    field("body_bytes_per_second_min", Kind::Integer),
    field("ack_timeout_milliseconds", Kind::Integer),
    field("shutdown_seconds", Kind::Integer),
];

const QUEUE: &[Field] = &[
    field("cache_bytes_max", Kind::Integer),
    field("bytes_max", Kind::Integer),
    field("disk_free_bytes_min", Kind::Integer),
    field("channel_bytes_max", Kind::Integer),
    field("dead_bytes_max", Kind::Integer),
    field("quarantine_entries_max", Kind::Integer),
    field("quarantine_bytes_max", Kind::Integer),
    field("quarantine_raw", Kind::Text),
    field("digest_detail_hours", Kind::Integer),
    field("digest_detail_bytes_max", Kind::Integer),
    field("retain_hours", Kind::Integer),
    field("retain_bytes_max", Kind::Integer),
    field("jetstream", Kind::Map(JETSTREAM)),
];

const JETSTREAM: &[Field] = &[
    field("servers", Kind::List),
    field("name", Kind::Text),
    field("relay_name", Kind::Text),
    field("replicas", Kind::Integer),
    field("credentials_file", Kind::Text),
    field("user", Kind::Text),
    field("password", Kind::Text),
    field("password_file", Kind::Text),
    field("token", Kind::Text),
    field("token_file", Kind::Text),
    field("tls", Kind::Map(JETSTREAM_TLS)),
    field("inbox_bytes_max", Kind::Integer),
    field("lease_seconds", Kind::Integer),
    field("append_timeout_milliseconds", Kind::Integer),
    field("monitoring", Kind::List),
    field("accept_replicated_without_fsync", Kind::Bool),
];

const JETSTREAM_TLS: &[Field] = &[
    field("required", Kind::Bool),
    field("ca_file", Kind::Text),
    field("certificate_file", Kind::Text),
    field("key_file", Kind::Text),
];

const DEDUP: &[Field] = &[
    field("window_seconds", Kind::Integer),
    field("entries_max", Kind::Integer),
    field("key_file", Kind::Text),
];

const SLACK: &[Field] = &[
    field("api_url", Kind::Text),
    field("token", Kind::Text),
    field("token_file", Kind::Text),
    field("messages_per_minute", Kind::Integer),
    field("lookups_per_minute", Kind::Integer),
    field("proxy", Kind::Text),
    field("timeout_seconds", Kind::Integer),
];

const CHANNEL: &[Field] = &[
    field("slack_channel", Kind::Text),
    field("token", Kind::Text),
    field("token_file", Kind::Text),
    field("webhook_url", Kind::Text),
    field("webhook_url_file", Kind::Text),
    field("preview", Kind::Bool),
    field("fallback", Kind::Text),
    field("message_interval_milliseconds", Kind::Integer),
    field("message_burst", Kind::Integer),
    field("message_events_max", Kind::Integer),
    field("message_bytes_max", Kind::Integer),
    field("sentences_max", Kind::Integer),
    field("digest_groups_max", Kind::Integer),
    field("digest_details", Kind::Text),
    field("thread_replies_max", Kind::Integer),
    field("sentence", Kind::Text),
    field("fields", Kind::Maps(TEMPLATE_FIELD)),
    field("park_retry_seconds", Kind::Integer),
    field("retry_max_seconds", Kind::Integer),
];

const TEMPLATE_FIELD: &[Field] = &[field("title", Kind::Text), field("text", Kind::Text)];

pub(crate) const ROUTE: &[Field] = &[
    field("name", Kind::Text),
    field("channel", Kind::Texts),
    field("level", Kind::Text),
    field("severity", Kind::Text),
    field("continue", Kind::Bool),
    field("rate", Kind::Map(RATE)),
    field("auditIDReused", Kind::Bool),
    field("users", Kind::List),
    field("userGroups", Kind::List),
    field("verbs", Kind::List),
    field("resources", Kind::Maps(RESOURCES)),
    field("namespaces", Kind::List),
    field("nonResourceURLs", Kind::List),
    field("cluster", Kind::Texts),
    field("stages", Kind::List),
    field("levels", Kind::List),
    field("codes", Kind::List),
    field("decision", Kind::Text),
    field("impersonated", Kind::Map(IMPERSONATED)),
    field("sourceIPs", Kind::List),
    field("userAgents", Kind::List),
    field("annotations", Kind::TextMap),
    field("dryRun", Kind::Bool),
    field("risks", Kind::List),
    field("bodies", Kind::Text),
    field("template", Kind::Text),
    field("links", Kind::Maps(LINK)),
    field("command", Kind::Text),
];

const TEST: &[Field] = &[
    field("name", Kind::Text),
    field("event", Kind::Free),
    field("event_file", Kind::Text),
    field("cluster", Kind::Text),
    field("repeat", Kind::Integer),
    field("auditIDReused", Kind::Bool),
    field("expect", Kind::Maps(EXPECTED)),
];

const EXPECTED: &[Field] = &[
    field("channel", Kind::Text),
    field("severity", Kind::Text),
    field("route", Kind::Text),
];

const RATE: &[Field] = &[
    field("moreThan", Kind::Integer),
    field("withinSeconds", Kind::Integer),
    field("by", Kind::List),
];

const IMPERSONATED: &[Field] = &[
    field("nobody", Kind::Bool),
    field("users", Kind::List),
    field("userGroups", Kind::List),
];

const LINK: &[Field] = &[field("text", Kind::Text), field("url", Kind::Text)];

const RESOURCES: &[Field] = &[
    field("group", Kind::Text),
    field("resources", Kind::List),
    field("resourceNames", Kind::List),
];

/// The field called `key`.
pub(crate) fn find(fields: &'static [Field], key: &str) -> Option<&'static Field> {
    fields.iter().find(|field| field.key == key)
}

/// The field an environment variable's segment stands for: `userGroups` is both `USERGROUPS` and
/// `USER_GROUPS`.
pub(crate) fn find_folded(fields: &'static [Field], segment: &str) -> Option<&'static Field> {
    let segment = segment.to_ascii_lowercase();
    fields
        .iter()
        .find(|field| segment == field.key.to_ascii_lowercase() || segment == snake_case(field.key))
}

fn snake_case(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    let mut previous_lower = false;
    for character in key.chars() {
        if character.is_ascii_uppercase() && previous_lower {
            snake.push('_');
        }
        previous_lower = character.is_ascii_lowercase();
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// Keys of a policy's rule that a route has no use for, and what to do instead.
const OF_POLICIES: [(&str, &str); 2] = [
    (
        "omitStages",
        "a route takes a request once, whatever stages were logged; to choose the stage use `stages`",
    ),
    (
        "omitManagedFields",
        "what is logged is the API server's policy's to say; what is stored of bodies is said by `bodies`",
    ),
];

/// A hint for `key`, which is none of `fields`: a key much like it, or the place it belongs.
pub(crate) fn hint(fields: &'static [Field], key: &str) -> Option<String> {
    let of_policies = OF_POLICIES.iter().find(|(name, _)| *name == key);
    if let Some((_, advice)) = of_policies.filter(|_| fields == ROUTE) {
        return Some((*advice).to_owned());
    }
    let folded = snake_case(key).replace('-', "_");
    let nearest = fields
        .iter()
        .map(|field| (distance(&folded, &snake_case(field.key)), field.key))
        .min_by_key(|(distance, _)| *distance)
        // A third of the letters wrong is a typo; more is another word.
        .filter(|(distance, candidate)| distance * 3 <= candidate.len().max(3));
    match nearest {
        Some((_, candidate)) => Some(format!("did you mean `{candidate}`?")),
        None => place(ROOT, key).map(|place| format!("did you mean `{place}`?")),
    }
}

/// The path at which a key of this name exists, the shortest if there are several.
fn place(fields: &'static [Field], key: &str) -> Option<String> {
    let all = fields.iter().filter_map(|field| {
        if field.key == key {
            return Some(key.to_owned());
        }
        let (within, inner) = match field.kind {
            Kind::Map(inner) => (field.key.to_owned(), inner),
            Kind::Channels(inner) => (format!("{}.NAME", field.key), inner),
            Kind::Maps(inner) => (format!("{}[N]", field.key), inner),
            Kind::Bool
            | Kind::Integer
            | Kind::Text
            | Kind::Free
            | Kind::List
            | Kind::Texts
            | Kind::TextMap => {
                return None;
            }
        };
        place(inner, key).map(|rest| format!("{within}.{rest}"))
    });
    all.min_by_key(|path| path.split('.').count())
}

/// The edit distance of two keys (Levenshtein's).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
