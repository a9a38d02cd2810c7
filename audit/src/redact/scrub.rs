//! Finds what is secret inside a body that as a whole is not: objects of secret kinds, also as text,
//! `last-applied-configuration` in every form, and by option values of environment variables.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use serde_json::{Map, Value};

use super::{
    mark,
    quotes::Quotes,
    shape::{SECRET_KINDS, Shape},
};
use crate::{
    key::HashKey,
    scan::{Scanner, unescaped},
};

pub(super) const LAST_APPLIED: &str = "last-applied-configuration";

/// How far behind `kind` its value is looked for.
const KIND_BYTES_MAX: usize = 128;

/// Replaces values by marks.
pub(super) struct Scrubber<'r> {
    pub(super) key: &'r HashKey,
    /// Values of environment variables go too.
    pub(super) environment: bool,
    /// What was taken out, for whoever may have quoted it; `None` where nobody can have.
    pub(super) lost: Option<&'r mut Quotes>,
}

/// Where in an environment a patch puts its value.
enum EnvPlace {
    List,
    Entry,
    Value,
}

impl Scrubber<'_> {
    /// Puts a mark in a value's place.
    pub(super) fn hide(&mut self, value: &mut Value) {
        if let (Some(lost), Value::String(text)) = (&mut self.lost, &*value) {
            lost.add_value(text);
        }
        *value = mark::of_value(self.key, value);
    }

    pub(super) fn scrub(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) => match secret_kind(map) {
                Some(shape) => self.mask_object(value, shape),
                None => self.scrub_members(map),
            },
            Value::Array(values) => values.iter_mut().for_each(|inner| self.scrub(inner)),
            // An object inside a string (a patch as text, an annotation that holds YAML).
            Value::String(text) if is_secret_text(text) => self.hide(value),
            _ => {}
        }
    }

    fn scrub_members(&mut self, map: &mut Map<String, Value>) {
        let pointer = |name: &str| map.get(name).and_then(Value::as_str);
        let patches_last_applied = ["path", "from"]
            .iter()
            .any(|name| pointer(name).is_some_and(|path| path.contains(LAST_APPLIED)));
        let patched = pointer("path")
            .filter(|_| self.environment)
            .and_then(env_place);
        for (name, inner) in map.iter_mut() {
            match name.as_str() {
                name if name.contains(LAST_APPLIED) => self.hide(inner),
                "value" if patches_last_applied => self.hide(inner),
                "path" | "from" if patches_last_applied => {}
                name => {
                    match (name, &patched) {
                        ("value", Some(EnvPlace::List)) => self.environment(inner),
                        ("value", Some(EnvPlace::Entry)) => self.variable(inner),
                        ("value", Some(EnvPlace::Value)) => self.mask_all(inner),
                        (name, _) if self.environment && name.eq_ignore_ascii_case("env") => {
                            self.environment(inner);
                        }
                        _ => {}
                    }
                    self.scrub(inner);
                }
            }
        }
    }

    /// A container's `env`, or the map that some custom resources have instead.
    fn environment(&mut self, env: &mut Value) {
        match env {
            Value::Array(entries) => entries.iter_mut().for_each(|entry| self.variable(entry)),
            Value::Object(map) => {
                for inner in map.values_mut() {
                    match inner {
                        Value::Object(_) => self.variable(inner),
                        _ => self.mask_all(inner),
                    }
                }
            }
            // A label of that name.
            _ => {}
        }
    }

    /// `valueFrom` only says where a value stands.
    fn variable(&mut self, entry: &mut Value) {
        if let Value::Object(map) = entry {
            for (name, inner) in map.iter_mut() {
                if name.eq_ignore_ascii_case("value") {
                    self.mask_all(inner);
                }
            }
        }
    }
}

fn secret_kind(map: &Map<String, Value>) -> Option<Shape> {
    map.iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("kind"))
        .find_map(|(_, value)| Shape::of_kind(value.as_str()?))
}

/// Of a JSON pointer (RFC 6901).
fn env_place(path: &str) -> Option<EnvPlace> {
    let names: Vec<&str> = path.split('/').collect();
    let env = names
        .iter()
        .rposition(|name| name.eq_ignore_ascii_case("env"))?;
    match &names[env + 1..] {
        [] => Some(EnvPlace::List),
        [_] => Some(EnvPlace::Entry),
        [_, value] if value.eq_ignore_ascii_case("value") => Some(EnvPlace::Value),
        _ => None,
    }
}

/// Whether a text holds a secret object, or what was last applied, as JSON or YAML.
pub(super) fn is_secret_text(text: &str) -> bool {
    if !may_be_secret_text(text) {
        return false;
    }
    let is_such = |text: &str| text.contains(LAST_APPLIED) || names_secret_kind(text);
    is_such(text) || (text.contains("\\u") && is_such(&unescaped(text)))
}

/// The same at a glance, which nearly every text passes.
fn may_be_secret_text(text: &str) -> bool {
    static HINTS: LazyLock<AhoCorasick> = LazyLock::new(|| {
        AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build([LAST_APPLIED, "kind", "\\u"])
            .expect("a handful of short words")
    });
    HINTS.is_match(text)
}

/// `"kind":"Secret"`, `\"kind\"\t: \"Secret\"`, `kind: Secret`, and in YAML on the next line, behind a tag, an anchor, a
/// comment or the sign of a block. What cannot be told counts as secret.
fn names_secret_kind(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.match_indices("kind").any(|(at, name)| {
        let rest = &text[at + name.len()..];
        let is_far = rest.len() > KIND_BYTES_MAX;
        let rest = &rest[..rest.floor_char_boundary(KIND_BYTES_MAX)];
        let before_colon = without_space(rest);
        let Some(rest) = before_colon.strip_prefix(':') else {
            return is_far && before_colon.is_empty();
        };
        let rest = without_properties(rest);
        if rest.is_empty() {
            return is_far;
        }
        // `*name` stands for what stands elsewhere.
        if let Some(alias) = rest.strip_prefix('*') {
            return alias.starts_with(|one: char| one.is_ascii_alphanumeric());
        }
        let end = rest
            .find(|one: char| !one.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        let after = &rest[end..];
        let is_coded =
            after.starts_with('\\') && after.trim_start_matches('\\').starts_with(['x', 'u']);
        is_coded || Shape::of_kind(&rest[..end]).is_some()
    })
}

/// Without white space, quotes, and the backslashes of both, as they stand inside a string.
fn without_space(mut text: &str) -> &str {
    loop {
        let rest = text.trim_start_matches(|one: char| one.is_whitespace() || "\"'".contains(one));
        let rest = match rest.strip_prefix('\\') {
            Some(escaped) if escaped.starts_with(['x', 'u']) => rest,
            // `\n`, `\t` and `\r`; a line break that is escaped, or a backslash that is.
            Some(escaped) => escaped.strip_prefix(['n', 't', 'r']).unwrap_or(escaped),
            None => rest,
        };
        if rest.len() == text.len() {
            return rest;
        }
        text = rest;
    }
}

/// Also without what YAML allows between a key's colon and its value.
fn without_properties(mut text: &str) -> &str {
    loop {
        let rest = without_space(text);
        let is_comment = rest.starts_with('#');
        if !is_comment && !rest.starts_with(['!', '&', '|', '>']) {
            return rest;
        }
        let bytes = rest.as_bytes();
        let is_line_end = |at: usize| match bytes[at] {
            b'\\' => matches!(bytes.get(at + 1), Some(b'n' | b'r')),
            one => matches!(one, b'\n' | b'\r'),
        };
        let is_end = |at: usize| {
            is_line_end(at)
                || !is_comment && (bytes[at] == b'\\' || bytes[at].is_ascii_whitespace())
        };
        let end = (0..bytes.len()).find(|at| is_end(*at));
        text = &rest[end.unwrap_or(rest.len())..];
    }
}

/// Whether no way of reading a body finds anything that [`Scrubber::scrub`] looks for: no string in it is the
/// name of a secret kind, none holds a member `kind` as JSON or YAML, none holds [`LAST_APPLIED`], and there is
/// no `\u` escape to write any of it in another way. Bodies nested so deep that
/// they would be dropped are left to that.
pub(super) fn has_nothing_to_hide(raw: &str, environment: bool) -> bool {
    static ALWAYS: LazyLock<AhoCorasick> = LazyLock::new(|| marks(&[]));
    static WITH_ENVIRONMENT: LazyLock<AhoCorasick> = LazyLock::new(|| marks(&["\"env\"", "/env"]));
    let marks: &AhoCorasick = if environment {
        &WITH_ENVIRONMENT
    } else {
        &ALWAYS
    };
    // A member of that name has the quote of the JSON behind it. Inside a string a quote has a backslash.
    let is_harmless = |end: usize| {
        let next = raw.as_bytes().get(end);
        next.is_some_and(|next| *next == b'"' || next.is_ascii_alphanumeric())
    };
    let is_mark = |pattern: usize, end: usize| pattern != KIND_PATTERN || !is_harmless(end);
    let mut finds = marks.find_iter(raw);
    !finds.any(|found| is_mark(found.pattern().as_usize(), found.end()))
        && Scanner::new(raw).skip().is_some()
}

const KIND_PATTERN: usize = 0;

fn marks(more: &[&str]) -> AhoCorasick {
    let kinds = SECRET_KINDS.iter().map(|(kind, _)| format!("\"{kind}\""));
    let others = [LAST_APPLIED, "\\u"].iter().chain(more);
    let word = std::iter::once("kind".to_owned());
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(word.chain(kinds).chain(others.map(|one| (*one).to_owned())))
        .expect("a handful of short words")
}
