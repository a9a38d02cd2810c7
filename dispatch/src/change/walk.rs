//! A patch or an object as lines: `spec.replicas = 3`.
//!
//! Invariants:
//! * at most [`NODES_MAX`] values are looked at, whatever the body holds; what was not is said (`stopped`);
//! * whether a value may be shown is decided by every name on its way: once a name says secret, all below it
//!   is masked. Names by which Kubernetes only refers to a secret are known ([`Trust`]), and nothing but the
//!   reference is shown of them;
//! * long text, and text with line breaks, is told by its length: nobody can say what is in it.

use auditrelay_audit::{
    Envelope,
    mask::{MASK, Masker, is_secret_name},
    redact::is_redacted,
};
use serde_json::{Map, Value};

use super::names::{BORING, TELLING, Trust};
use crate::escape::{clean, quoted};

const NODES_MAX: usize = 2_000;
const PATH_CHARS_MAX: usize = 200;
const NAME_CHARS_MAX: usize = 60;
const VALUE_CHARS_MAX: usize = 80;
const ITEMS_MAX: usize = 12;

/// What a Secret within another object says of itself, or of the one that is referred to.
const OF_ANY_OBJECT: [&str; 6] = [
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "namespace",
    "type",
];

/// The lines of a body, the most telling first.
pub(super) struct Walk {
    pub(super) lines: Vec<String>,
    /// Lines that say so little that they are only counted.
    pub(super) untold: usize,
    /// There was more than could be looked at.
    pub(super) stopped: bool,
    ranked: Vec<(u8, String)>,
    nodes_left: usize,
    /// Where `null` takes a field away.
    is_patch: bool,
}

impl Walk {
    pub(super) fn of(event: &Envelope<'_>, body: &Value) -> Self {
        let mut walk = Self {
            lines: Vec::new(),
            untold: 0,
            stopped: false,
            ranked: Vec::new(),
            nodes_left: NODES_MAX,
            is_patch: event.verb.as_str() == "patch",
        };
        let (resource, subresource) = event.object_ref.as_ref().map_or(("", ""), |object| {
            (object.resource.as_str(), object.subresource.as_str())
        });
        let is_secret =
            matches!(resource, "secrets" | "tokenreviews") || is_secret_kind(&body["kind"]);
        match body {
            Value::Array(operations) if walk.is_patch => {
                operations
                    .iter()
                    .for_each(|operation| walk.operation(operation, is_secret));
            }
            Value::Object(fields) => walk.top(fields, is_secret, subresource),
            _ => {}
        }
        walk.ranked.sort_by_key(|(rank, _)| *rank);
        let (told, filled_in): (Vec<_>, Vec<_>) = std::mem::take(&mut walk.ranked)
            .into_iter()
            .partition(|(rank, _)| *rank < 3);
        walk.untold = if told.is_empty() { 0 } else { filled_in.len() };
        let lines = if told.is_empty() { filled_in } else { told };
        walk.lines = lines.into_iter().map(|(_, line)| line).collect();
        walk
    }

    fn top(&mut self, fields: &Map<String, Value>, is_secret: bool, subresource: &str) {
        for (name, value) in fields {
            // What every object has, and what a client only sends back.
            let is_known = matches!(name.as_str(), "kind" | "apiVersion")
                || (name == "status" && subresource != "status");
            if is_known {
                continue;
            }
            let trust = match name.as_str() {
                "metadata" | "type" | "immutable" => Trust::Plain,
                _ if is_secret => Trust::Secret,
                other => Trust::Plain.below(other),
            };
            self.visit(
                &segment("", name),
                name,
                value,
                trust,
                u8::from(name != "metadata"),
            );
        }
    }

    /// One operation of a JSON patch (RFC 6902).
    fn operation(&mut self, operation: &Value, is_secret: bool) {
        let Some(path) = operation["path"].as_str() else {
            return;
        };
        let mut trust = if is_secret {
            Trust::Secret
        } else {
            Trust::Plain
        };
        let (mut shown, mut last) = (String::new(), String::new());
        for name in path.split('/').skip(1).take(64) {
            let name = name.replace("~1", "/").replace("~0", "~");
            // Of `env/0/value` nobody can say what it is called.
            let is_nameless = matches!(name.as_str(), "value" | "values") && is_index(&last);
            trust = if is_nameless {
                Trust::Secret
            } else {
                trust.below(&name)
            };
            shown = segment(&shown, &name);
            last = name;
        }
        if path.contains("managedFields") || path.contains("last-applied-configuration") {
            return;
        }
        match operation["op"].as_str() {
            Some("remove") => self.push(0, format!("{shown} removed")),
            Some("test") => self.push(2, format!("{shown} was tested")),
            Some(how @ ("move" | "copy")) => {
                let from = clean(
                    operation["from"].as_str().unwrap_or_default(),
                    PATH_CHARS_MAX,
                );
                self.push(0, format!("{shown} {how} from {from}"));
            }
            _ => self.visit(&shown, &last, &operation["value"], trust, 0),
        }
    }

    /// Whether nothing more may be looked at.
    fn is_at_end(&mut self) -> bool {
        self.stopped |= self.nodes_left == 0;
        self.nodes_left == 0
    }

    fn push(&mut self, rank: u8, line: String) {
        self.ranked.push((rank, line));
    }

    fn visit(&mut self, path: &str, name: &str, value: &Value, trust: Trust, rank: u8) {
        if self.is_at_end() {
            return;
        }
        self.nodes_left -= 1;
        let rank = match rank {
            _ if BORING.contains(&name) => 3,
            _ if TELLING.contains(&name) => 0,
            0 if path.starts_with("metadata") => 2,
            rank => rank,
        };
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                // `{name: PASSWORD, value: …}`, as in `env` and in lists of headers.
                let names_secret = ["name", "key", "header"].iter().any(|name| {
                    fields
                        .get(*name)
                        .and_then(Value::as_str)
                        .is_some_and(is_secret_name)
                });
                let is_secret = fields.get("kind").is_some_and(is_secret_kind);
                for (name, inner) in fields {
                    let trust = match name.as_str() {
                        "value" | "values" if names_secret => Trust::Secret,
                        name if is_secret && !OF_ANY_OBJECT.contains(&name) => Trust::Secret,
                        name => trust.below(name),
                    };
                    if self.is_at_end() {
                        break;
                    }
                    if !is_bookkeeping(path, name) {
                        self.visit(&segment(path, name), name, inner, trust, rank);
                    }
                }
            }
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                for (index, item) in items.iter().enumerate() {
                    if self.is_at_end() {
                        break;
                    }
                    let at = entry(item, index, trust);
                    self.visit(&bounded(format!("{path}[{at}]")), name, item, trust, rank);
                }
            }
            Value::Object(_) => {}
            Value::Null if self.is_patch => self.push(rank, format!("{path} removed")),
            Value::Null => {}
            _ if name == "$patch" => {
                self.push(0, format!("{path} = {}", shown(value, Trust::Plain)))
            }
            _ => self.push(rank, format!("{path} = {}", shown(value, trust))),
        }
    }
}

fn is_secret_kind(kind: &Value) -> bool {
    kind.as_str()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("secret"))
}

/// Of a JSON pointer: an entry of a list, or the one after its last.
fn is_index(name: &str) -> bool {
    name == "-" || (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// How a list's entry is told from the others.
fn entry(item: &Value, index: usize, trust: Trust) -> String {
    match item["name"].as_str().filter(|name| !name.is_empty()) {
        Some(name) if trust != Trust::Secret => quoted(name, NAME_CHARS_MAX),
        _ => index.to_string(),
    }
}

/// What clients send along and nobody wrote.
fn is_bookkeeping(path: &str, name: &str) -> bool {
    const OF_METADATA: [&str; 9] = [
        "managedFields",
        "resourceVersion",
        "uid",
        "creationTimestamp",
        "generation",
        "selfLink",
        "name",
        "namespace",
        "generateName",
    ];
    let of_metadata = path == "metadata" && OF_METADATA.contains(&name);
    let is_entrys_name = name == "name" && path.ends_with(']');
    let is_directive = name.starts_with("$setElementOrder") || name == "$retainKeys";
    of_metadata || is_entrys_name || is_directive || name.contains("last-applied-configuration")
}

fn segment(path: &str, name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-$".contains(&byte);
    let name = match name.is_empty() || !name.bytes().all(plain) {
        true => format!("[{}]", clean(name, NAME_CHARS_MAX)),
        false => clean(name, NAME_CHARS_MAX),
    };
    match path {
        "" => name,
        path if name.starts_with('[') => bounded(format!("{path}{name}")),
        path => bounded(format!("{path}.{name}")),
    }
}

fn bounded(path: String) -> String {
    if path.len() <= PATH_CHARS_MAX {
        path
    } else {
        clean(&path, PATH_CHARS_MAX / 2)
    }
}

/// A value, if nothing speaks against showing it.
fn shown(value: &Value, trust: Trust) -> String {
    match (value, trust) {
        // Its form leaves no room for anything of the event's author.
        (Value::String(text), _) if is_redacted(text) => text.clone(),
        (_, Trust::Secret) => MASK.to_owned(),
        (Value::Bool(_) | Value::Number(_), _) => clean(&value.to_string(), 40),
        (_, Trust::Reference) => MASK.to_owned(),
        (Value::String(text), _) => string(text, &mut Masker::default()),
        (Value::Array(items), _) => {
            let mut masker = Masker::default();
            let parts = items.iter().take(ITEMS_MAX).map(|item| match item {
                Value::String(text) if is_redacted(text) => text.clone(),
                Value::String(text) => string(text, &mut masker),
                other => clean(&other.to_string(), 40),
            });
            let more = items.len().saturating_sub(ITEMS_MAX);
            let more = (more > 0).then(|| format!("{more} more"));
            format!("[{}]", parts.chain(more).collect::<Vec<_>>().join(", "))
        }
        _ => String::new(),
    }
}

fn string(text: &str, masker: &mut Masker) -> String {
    let is_long = text.len() > 4 * VALUE_CHARS_MAX;
    if is_long || text.contains(['\n', '\r']) {
        return format!("({} characters)", text.chars().count());
    }
    let masked = masker.argument(text);
    if masked == "*" {
        masked
    } else if masked.is_empty() {
        "\"\"".to_owned()
    } else {
        quoted(&masked, VALUE_CHARS_MAX).replace("“[masked]”", MASK)
    }
}

/// A string or a list of strings, as a field shows it; nothing where it was redacted.
pub(super) fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if is_redacted(text) || text.is_empty() => None,
        Value::String(_) => Some(shown(value, Trust::Plain)),
        Value::Array(items)
            if !items.is_empty()
                && items
                    .iter()
                    .all(|item| item.as_str().is_some_and(|text| !is_redacted(text))) =>
        {
            let text = shown(value, Trust::Plain);
            Some(text.trim_matches(['[', ']']).to_owned())
        }
        _ => None,
    }
}
