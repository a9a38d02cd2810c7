//! What a mute matches: the keys of a match, on their own, as a command or the store has them.
//!
//! Contract: what is read here is judged exactly as a route's match in the configuration file is. The form in
//! which it is stored says only what restricts, so that a later version with more keys reads it the same.

use config::{Map, Value, ValueKind};
use serde_json::Value as Json;

use crate::error::ConfigError;
use crate::file::parse_yaml;
use crate::raw::in_words;
use crate::route::MatchConfig;
use crate::schema::{Kind, ROUTE};
use crate::tree::{Layer, Tree};

/// What the keys stand under.
const TOP: &str = "match";
/// Longest value that is said in words, in characters.
const WORD_CHARS_MAX: usize = 60;

impl MatchConfig {
    /// Reads a match written as YAML, of which JSON is a part.
    ///
    /// # Errors
    /// One line that names the key; `origin` says where it was written.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let table = parse_yaml(text).map_err(|problem| ConfigError::new(origin, TOP, &problem))?;
        read(table, origin)
    }

    /// The same as JSON: only the keys that restrict.
    #[must_use]
    pub fn stored(&self) -> String {
        self.restricting().to_string()
    }

    /// Whether every event matches.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.restricting()
            .as_object()
            .is_some_and(|keys| keys.is_empty())
    }

    /// In words for people, at most so many bytes: `users: bob; verbs: get, list`.
    #[must_use]
    pub fn words(&self, bytes_max: usize) -> String {
        let restricting = self.restricting();
        let keys = restricting.as_object().into_iter().flatten();
        let words: Vec<_> = keys
            .map(|(key, value)| format!("{key}: {}", value_in_words(value)))
            .collect();
        let words = match words.is_empty() {
            true => "every event".to_owned(),
            false => words.join("; "),
        };
        if words.len() <= bytes_max {
            return words;
        }
        let kept = words.floor_char_boundary(bytes_max.saturating_sub('…'.len_utf8()));
        format!("{}…", &words[..kept])
    }

    fn restricting(&self) -> Json {
        let all = serde_json::to_value(self).expect("names and lists are JSON");
        match all {
            Json::Object(keys) => keys
                .into_iter()
                .filter(|(_, value)| restricts(value))
                .collect(),
            other => other,
        }
    }
}

/// What is null or empty says nothing; a map with keys does, even if they do not: any impersonation is one.
fn restricts(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Array(list) => !list.is_empty(),
        Json::Object(keys) => !keys.is_empty(),
        _ => true,
    }
}

fn read(table: Map<String, Value>, origin: &str) -> Result<MatchConfig, ConfigError> {
    let value = Value::new(None, ValueKind::Table(table));
    let layer = Layer::single(TOP.to_owned(), Kind::Map(ROUTE), value, origin)?;
    let tree = Tree::merge(&[layer], origin)?;
    let found = tree.to_json().get(TOP).cloned();
    let found = found.unwrap_or_else(|| Json::Object(serde_json::Map::new()));
    let read: MatchConfig = serde_path_to_error::deserialize(&found).map_err(|error| {
        let path = match error.path().to_string() {
            top if top == "." => TOP.to_owned(),
            path => format!("{TOP}.{path}"),
        };
        let message = error.inner().to_string();
        match message.starts_with("unknown field") {
            true => tree.refusal(
                &path,
                "is a key of routes, and says nothing of which events are meant",
            ),
            false => tree.refusal(&path, &in_words(&message)),
        }
    })?;
    match read.fault() {
        Some((key, problem)) => Err(tree.refusal(&format!("{TOP}.{key}"), &problem)),
        None => Ok(read),
    }
}

fn value_in_words(value: &Json) -> String {
    match value {
        Json::Array(list) => {
            let parts: Vec<_> = list.iter().map(value_in_words).collect();
            parts.join(", ")
        }
        Json::String(text) => name(text),
        Json::Object(keys) if keys.contains_key("resources") && keys.contains_key("group") => {
            resources(keys)
        }
        Json::Object(keys) if keys.get("nobody") == Some(&Json::Bool(true)) => "nobody".to_owned(),
        Json::Object(keys) => {
            let says = |value: &Json| restricts(value) && *value != Json::Bool(false);
            let set = keys.iter().filter(|(_, value)| says(value));
            let parts: Vec<_> = set
                .map(|(key, value)| format!("{}={}", name(key), value_in_words(value)))
                .collect();
            match parts.is_empty() {
                true => "any".to_owned(),
                false => parts.join(" and "),
            }
        }
        other => other.to_string(),
    }
}

/// `apps/deployments (api)`, as a group, its resources and their names are written.
fn resources(keys: &serde_json::Map<String, Json>) -> String {
    let list = |key: &str| {
        let list = keys.get(key).and_then(Json::as_array);
        let list = list.into_iter().flatten().filter_map(Json::as_str);
        list.map(name).collect::<Vec<_>>()
    };
    let group = keys.get("group").and_then(Json::as_str).unwrap_or_default();
    let of = |resource: &String| match group {
        "" => resource.clone(),
        group => format!("{}/{resource}", name(group)),
    };
    let all = match group {
        "" => "core/*".to_owned(),
        _ => of(&"*".to_owned()),
    };
    let words: Vec<_> = list("resources").iter().map(of).collect();
    let words = if words.is_empty() {
        all
    } else {
        words.join(", ")
    };
    match list("resourceNames") {
        names if names.is_empty() => words,
        names => format!("{words} ({})", names.join(", ")),
    }
}

/// A name as it stands within words of ours: what could be taken for them is quoted.
fn name(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:@/+=~$%*?".contains(&byte);
    let short: String = text.chars().take(WORD_CHARS_MAX).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    if !text.is_empty() && text.bytes().all(is_plain) {
        return format!("{short}{more}");
    }
    format!("“{}{more}”", short.replace(['“', '”'], "\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<MatchConfig, String> {
        MatchConfig::parse(text, "--match").map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_stored_is_read_again_and_says_only_what_restricts() {
        for (text, stored, words) in [
            ("", "{}", "every event"),
            ("{}", "{}", "every event"),
            (
                "users: [bob, 'a b']\nverbs: [get]",
                r#"{"users":["bob","a b"],"verbs":["get"]}"#,
                "users: bob, “a b”; verbs: get",
            ),
            (
                "{\"namespaces\": [\"\"], \"stages\": [\"Panic\"]}",
                r#"{"namespaces":[""],"stages":["Panic"]}"#,
                "namespaces: “”; stages: Panic",
            ),
            (
                "resources: [{group: apps, resources: [deployments], resourceNames: [api]}, {group: batch}, {resources: [pods/log, pods]}]",
                r#"{"resources":[{"group":"apps","resourceNames":["api"],"resources":["deployments"]},{"group":"batch","resourceNames":[],"resources":[]},{"group":"","resourceNames":[],"resources":["pods/log","pods"]}]}"#,
                "resources: apps/deployments (api), batch/*, pods/log, pods",
            ),
            (
                "codes: [403, 5xx]\nannotations: {a/b: 'x*', c: d}\ndryRun: false",
                r#"{"annotations":{"a/b":"x*","c":"d"},"codes":["403","5xx"],"dryRun":false}"#,
                "annotations: a/b=x* and c=d; codes: 403, 5xx; dryRun: false",
            ),
            (
                "{impersonated: {}, sourceIPs: [10.0.0.0/8], decision: forbid, annotations: {}}",
                r#"{"decision":"forbid","impersonated":{"nobody":false,"userGroups":[],"users":[]},"sourceIPs":["10.0.0.0/8"]}"#,
                "decision: forbid; impersonated: any; sourceIPs: 10.0.0.0/8",
            ),
            (
                "impersonated: {nobody: true}",
                r#"{"impersonated":{"nobody":true,"userGroups":[],"users":[]}}"#,
                "impersonated: nobody",
            ),
        ] {
            let read = parse(text).expect(text);
            assert_eq!(read.stored(), stored);
            assert_eq!(read.words(400), words);
            assert_eq!(parse(&read.stored()), Ok(read.clone()), "{text}");
            assert_eq!(read.is_everything(), stored == "{}");
        }
    }

    #[test]
    fn what_a_route_could_not_match_by_is_refused_with_its_key() {
        for (text, part) in [
            ("verb: [get]", "match.verb"),
            ("channel: ops", "match.channel: is a key of routes"),
            ("users: bob", "match.users"),
            ("users: [1]", "match.users[0]"),
            ("nonResourceURLs: [healthz]", "match.nonResourceURLs[0]"),
            ("resources: [{group: Apps}]", "match.resources[0].group"),
            (
                "impersonated: {nobody: true, users: [bob]}",
                "match.impersonated.nobody",
            ),
            ("impersonated: {nobody: 7}", "match.impersonated.nobody"),
            (
                "{namespaces: [a], nonResourceURLs: [/x]}",
                "match.nonResourceURLs",
            ),
            ("- users", "found a list"),
            ("users: [", "not valid YAML"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn words_end_at_their_bound_and_cannot_pass_for_ours() {
        let long = MatchConfig {
            users: vec!["ä”; reason: none “".to_owned(); 100],
            ..MatchConfig::default()
        };
        let words = long.words(400);
        assert!(words.len() <= 400 && words.ends_with('…'), "{words}");
        assert!(
            words.starts_with("users: “ä\"; reason: none \"”, “"),
            "{words}"
        );
    }
}
