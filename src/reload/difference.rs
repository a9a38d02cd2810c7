//! What differs between two configurations, by key; and what of one counts only after a restart.
//!
//! Invariant: no value is told, as some are secrets. Whether a secret changed is told.

use std::collections::BTreeMap;

use auditrelay_config::{ChannelConfig, Config, DedupConfig, QueueConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A key, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) key: String,
    pub(crate) change: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    Added,
    Removed,
    Changed,
    /// The same in another order.
    Reordered,
}

impl What {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Reordered => "reordered",
        }
    }
}

/// The new configuration, as far as it may count while the relay runs: what needs a restart is as it is in use.
pub(crate) fn as_far_as_possible(new: Config, in_use: &Config) -> Config {
    // Every key is named, so that a new one cannot be forgotten here.
    let Config {
        listen: _,
        allow_plain_http: _,
        tls: _,
        clients: _,
        allow_anonymous: _,
        admin_listen: _,
        admin_token_file: _,
        data_dir: _,
        cluster: _,
        inputs: _,
        default_channel,
        ingest,
        redaction,
        queue,
        dedup,
        slack,
        channels,
        routes,
        starter_routes,
        tests,
        metrics,
        watchdog,
        log,
    } = new;
    let used = in_use.clone();
    Config {
        default_channel,
        ingest,
        redaction,
        queue: queue_as_far_as_possible(queue, &used.queue),
        dedup: DedupConfig {
            window_seconds: dedup.window_seconds,
            ..used.dedup.clone()
        },
        slack,
        channels,
        routes,
        starter_routes,
        tests,
        metrics,
        watchdog,
        log,
        ..used
    }
}

fn queue_as_far_as_possible(new: QueueConfig, used: &QueueConfig) -> QueueConfig {
    // The stream has its size from the start, and what else is set has to fit `bytes_max`.
    if used.jetstream.is_some() && new.bytes_max != used.bytes_max {
        return used.clone();
    }
    QueueConfig {
        cache_bytes_max: used.cache_bytes_max,
        jetstream: used.jetstream.clone(),
        ..new
    }
}

/// What differs, in the order of keys.
pub(crate) fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let mut found = Vec::new();
    // Both were serialized before, at `/config` or in a test.
    let (before, after) = (shown(old), shown(new));
    compare("", &before, &after, &mut found);
    secrets(old, new, &mut found);
    found.sort_by(|one, other| one.key.cmp(&other.key));
    found.dedup_by(|one, other| one.key == other.key);
    found
}

fn shown(config: &Config) -> Value {
    serde_json::to_value(config).unwrap_or_default()
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<Change>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => maps(path, old, new, found),
        (Value::Array(old_list), Value::Array(new_list)) => {
            match (by_name(old_list), by_name(new_list)) {
                (Some(old), Some(new)) => lists(path, &old, &new, found),
                _ => note(path, old, new, found),
            }
        }
        _ => note(path, old, new, found),
    }
}

fn note(path: &str, old: &Value, new: &Value, found: &mut Vec<Change>) {
    let change = match (old, new) {
        (Value::Null, _) => What::Added,
        (_, Value::Null) => What::Removed,
        _ => What::Changed,
    };
    found.push(Change {
        key: path.to_owned(),
        change,
    });
}

fn maps(path: &str, old: &Map<String, Value>, new: &Map<String, Value>, found: &mut Vec<Change>) {
    let keys = old
        .keys()
        .chain(new.keys().filter(|key| !old.contains_key(*key)));
    for key in keys {
        let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
        compare(&join(path, key), &of(old), &of(new), found);
    }
}

type Named<'a> = Vec<(&'a str, &'a Value)>;

/// A list of what has names, each its own.
fn by_name(list: &[Value]) -> Option<Named<'_>> {
    let named = list
        .iter()
        .map(|one| Some((one.get("name")?.as_str()?, one)));
    let named = named.collect::<Option<Named<'_>>>()?;
    let names: BTreeMap<_, _> = named.iter().copied().collect();
    (names.len() == named.len()).then_some(named)
}

fn lists(path: &str, old: &Named<'_>, new: &Named<'_>, found: &mut Vec<Change>) {
    let of = |list: &Named<'_>, name: &str| {
        let mut list = list.iter();
        list.find(|(one, _)| *one == name)
            .map(|(_, value)| (*value).clone())
            .unwrap_or_default()
    };
    for (name, value) in old {
        compare(&join(path, name), value, &of(new, name), found);
    }
    for (name, value) in new {
        if of(old, name).is_null() {
            note(&join(path, name), &Value::Null, value, found);
        }
    }
    let stayed = |list: &Named<'_>, other: &Named<'_>| {
        let names = list.iter().map(|(name, _)| (*name).to_owned());
        names
            .filter(|name| !of(other, name).is_null())
            .collect::<Vec<_>>()
    };
    if stayed(old, new) != stayed(new, old) {
        found.push(Change {
            key: path.to_owned(),
            change: What::Reordered,
        });
    }
}

fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        _ => format!("{path}.{key}"),
    }
}

/// What is masked where a configuration is shown.
fn secrets(old: &Config, new: &Config, found: &mut Vec<Change>) {
    let mut differs = |key: String, differs: bool| {
        if differs {
            found.push(Change {
                key,
                change: What::Changed,
            });
        }
    };
    let of_token =
        |token: &Option<_>, other: &Option<_>| token.is_some() && other.is_some() && token != other;
    differs(
        "slack.token".to_owned(),
        of_token(&old.slack.token, &new.slack.token),
    );
    let urls = (&old.watchdog.url, &new.watchdog.url);
    differs(
        "watchdog.url".to_owned(),
        urls.0.is_some() && urls.1.is_some() && urls.0 != urls.1,
    );
    if let (Some(old), Some(new)) = (&old.queue.jetstream, &new.queue.jetstream) {
        let pairs = [
            ("password", &old.password, &new.password),
            ("token", &old.token, &new.token),
        ];
        for (key, old, new) in pairs {
            let is_other = old.is_some() && new.is_some() && old != new;
            differs(format!("queue.jetstream.{key}"), is_other);
        }
    }
    let both = |(name, channel)| Some((name, channel, new.channels.get(name)?));
    let both = old.channels.iter().filter_map(both);
    for (name, before, after) in both {
        let of = |key: &str| format!("channels.{name}.{key}");
        differs(of("token"), of_token(&before.token, &after.token));
        let url = |channel: &ChannelConfig| channel.webhook_url.clone();
        let urls = (url(before), url(after));
        differs(
            of("webhook_url"),
            urls.0.is_some() && urls.1.is_some() && urls.0 != urls.1,
        );
    }
}

#[cfg(test)]
mod tests {
    use auditrelay_config::{Overrides, load};

    use super::*;

    fn config(text: &str) -> Config {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, text).expect("written");
        let loaded = load(Some(&file), [], Overrides::default());
        loaded.expect("valid").config
    }

    const BASE: &str = "slack: {token: xoxb-1}\n\
        channels: {a: {slack_channel: C1}, b: {webhook_url: 'https://hooks.slack.com/services/T/B/1'}}\n\
        default_channel: a\n";

    fn told(old: &str, new: &str) -> Vec<String> {
        let changes = changes(&config(old), &config(new));
        let told = changes.iter();
        told.map(|one| format!("{} {}", one.key, one.change.as_str()))
            .collect()
    }

    #[test]
    fn keys_are_told_and_secrets_are_not() {
        let routes = |routes: &str| format!("{BASE}routes: [{routes}]\n");
        let (x, y) = (
            "{name: x, channel: a, verbs: [get]}",
            "{name: y, channel: b, verbs: [list]}",
        );
        assert_eq!(told(BASE, BASE), [""; 0]);
        assert_eq!(told(BASE, &routes(x)), ["routes.x added"]);
        assert_eq!(
            told(&routes(&format!("{x}, {y}")), &routes(&format!("{y}, {x}"))),
            ["routes reordered"]
        );
        let severe = x.replace("channel: a", "channel: a, severity: critical");
        assert_eq!(
            told(&routes(&format!("{x}, {y}")), &routes(&severe)),
            ["routes.x.severity changed", "routes.y removed"]
        );
        let secrets = BASE.replace("xoxb-1", "xoxb-2").replace("B/1", "B/2");
        assert_eq!(
            told(BASE, &secrets),
            ["channels.b.webhook_url changed", "slack.token changed"]
        );
        let own = BASE.replace("C1", "C1, token: xoxb-3");
        assert_eq!(told(BASE, &own), ["channels.a.token added"]);
    }

    #[test]
    fn what_needs_a_restart_stays_and_the_rest_counts() {
        let in_use = config(BASE);
        let new = format!(
            "{BASE}data_dir: elsewhere\ncluster: other\nlisten: 127.0.0.1:1\n\
             inputs: {{log_file: [{{path: /a.log}}]}}\n\
             dedup: {{window_seconds: 400, entries_max: 5000}}\n\
             queue: {{cache_bytes_max: 2097152, dead_bytes_max: 2097152}}\n"
        );
        let new = config(&new);
        let counts = as_far_as_possible(new.clone(), &in_use);
        let keys = |changes: Vec<Change>| changes.into_iter().map(|one| one.key);
        let live: Vec<_> = keys(changes(&in_use, &counts)).collect();
        assert_eq!(live, ["dedup.window_seconds", "queue.dead_bytes_max"]);
        let restart: Vec<_> = keys(changes(&counts, &new)).collect();
        assert_eq!(
            restart,
            [
                "cluster",
                "data_dir",
                "dedup.entries_max",
                "inputs.log_file",
                "listen",
                "queue.cache_bytes_max"
            ]
        );
    }

    #[test]
    fn jetstream_needs_a_restart_and_its_size_with_it() {
        let with = |keys: &str| {
            config(&format!(
                "{BASE}queue: {{jetstream: {{servers: [nats://a], accept_replicated_without_fsync: true, \
                 user: me, password: one}}, {keys}}}\n"
            ))
        };
        let in_use = with("dead_bytes_max: 2097152");
        let split = |new: &Config| {
            let counts = as_far_as_possible(new.clone(), &in_use);
            let keys = |old: &Config, new: &Config| {
                let changes = changes(old, new).into_iter();
                changes.map(|one| one.key).collect::<Vec<_>>()
            };
            (keys(&in_use, &counts), keys(&counts, new))
        };
        let (live, restart) = split(&with("dead_bytes_max: 3145728"));
        assert_eq!(live, ["queue.dead_bytes_max"]);
        assert_eq!(restart, [""; 0]);
        let mut other = in_use.clone();
        let jetstream = other.queue.jetstream.as_mut().expect("a section");
        jetstream.password = with("retain_hours: 1")
            .queue
            .jetstream
            .expect("one")
            .password;
        assert_eq!(split(&other), (vec![], vec![]), "the same password");
        let text = format!(
            "{BASE}queue: {{jetstream: {{servers: [nats://a], accept_replicated_without_fsync: true, \
             user: me, password: two, lease_seconds: 5}}, dead_bytes_max: 2097152}}\n"
        );
        let (live, restart) = split(&config(&text));
        assert_eq!(live, [""; 0]);
        assert_eq!(
            restart,
            ["queue.jetstream.lease_seconds", "queue.jetstream.password"]
        );
        let (live, restart) = split(&with("bytes_max: 9000000000, dead_bytes_max: 3145728"));
        assert_eq!(live, [""; 0], "what fits the new size need not fit the old");
        assert_eq!(restart, ["queue.bytes_max", "queue.dead_bytes_max"]);
    }
}
