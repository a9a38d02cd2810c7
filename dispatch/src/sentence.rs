//! One event as a sentence: who did what to which object, was it allowed, how did it end; and a line
//! of context under it: from where, with what, when, which audit ID.
//!
//! Every piece is cleaned and bounded, so a sentence has at most about 1,300 characters whatever
//! the event holds. Nothing here is escaped yet: `rich_text` needs none, other places call
//! [`crate::escape::escape`].

use std::borrow::Cow;

use auditrelay_audit::{Envelope, ObjectRef, Severity, Stage};
use auditrelay_store::EventDelivery;
use url::form_urlencoded;

use crate::escape::clean;

const NAME_CHARS_MAX: usize = 120;
const REASON_CHARS_MAX: usize = 200;
const AGENT_CHARS_MAX: usize = 80;
const ID_CHARS_MAX: usize = 64;
const ADDRESSES_MAX: usize = 3;

/// A run of text in one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Clean text.
    pub text: String,
    /// Whether it stands out.
    pub bold: bool,
}

/// An event for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// The sentence.
    pub pieces: Vec<Piece>,
    /// The line of context.
    pub context: String,
}

impl Sentence {
    /// Describes an event.
    pub fn new(severity: Severity, event: &EventDelivery) -> Self {
        let Ok(envelope) = Envelope::parse(&event.json) else {
            let text = "an event was stored that can no longer be read".to_owned();
            let cluster = clean(&event.cluster, NAME_CHARS_MAX);
            return Self {
                pieces: vec![Piece { text, bold: false }],
                context: cluster,
            };
        };
        let mut pieces = vec![plain(format!("{} ", emoji(severity)))];
        pieces.extend(subject(&envelope));
        pieces.extend(predicate(&envelope));
        pieces.push(plain(outcome(&envelope)));
        pieces.extend(
            marks(event, &envelope)
                .into_iter()
                .map(|mark| bold(format!(" [{mark}]"))),
        );
        Self {
            pieces,
            context: context(event, &envelope),
        }
    }

    /// The sentence without styles.
    pub fn text(&self) -> String {
        self.pieces
            .iter()
            .map(|piece| piece.text.as_str())
            .collect()
    }
}

/// The mark of a severity.
pub fn emoji(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "🔴",
        Severity::Warning => "🟠",
        Severity::Info => "🔵",
    }
}

fn plain(text: impl Into<String>) -> Piece {
    Piece {
        text: text.into(),
        bold: false,
    }
}

fn bold(text: impl Into<String>) -> Piece {
    Piece {
        text: text.into(),
        bold: true,
    }
}

fn name(text: &str) -> String {
    clean(text, NAME_CHARS_MAX)
}

/// The user that a request was made by, as digests group it.
pub fn who(event: &Envelope<'_>) -> String {
    let user = if event.user.username.is_empty() {
        "somebody unauthenticated".to_owned()
    } else {
        name(&event.user.username)
    };
    match &event.impersonated_user {
        Some(other) => format!("{user} as {}", name(&other.username)),
        None => user,
    }
}

fn subject(event: &Envelope<'_>) -> Vec<Piece> {
    vec![bold(who(event)), plain(" ")]
}

/// What was done.
struct Action {
    past: String,
    infinitive: String,
    /// Whether the words already say which subresource it was.
    names_subresource: bool,
}

fn action(event: &Envelope<'_>) -> Action {
    let subresource = event
        .object_ref
        .as_ref()
        .map_or("", |object| object.subresource.as_str());
    let verb = event.verb.as_str();
    if let Some((past, infinitive)) = subresource_action(subresource, verb) {
        let (past, infinitive) = (past.to_owned(), infinitive.to_owned());
        return Action {
            past,
            infinitive,
            names_subresource: true,
        };
    }
    let (past, infinitive) = match verb {
        "get" => ("read", "read"),
        "list" => ("listed", "list"),
        "watch" => ("watched", "watch"),
        "create" => ("created", "create"),
        "update" => ("updated", "update"),
        "patch" => ("patched", "patch"),
        "delete" => ("deleted", "delete"),
        "deletecollection" if has_selector(event) => {
            ("deleted a selection of", "delete a selection of")
        }
        "deletecollection" => ("deleted all of", "delete all of"),
        "" => (
            "sent a request without a verb to",
            "send a request without a verb to",
        ),
        other => {
            let verb = clean(other, 20);
            let (past, infinitive) = (format!("did {verb} on"), format!("do {verb} on"));
            return Action {
                past,
                infinitive,
                names_subresource: false,
            };
        }
    };
    let (past, infinitive) = (past.to_owned(), infinitive.to_owned());
    Action {
        past,
        infinitive,
        names_subresource: false,
    }
}

fn has_selector(event: &Envelope<'_>) -> bool {
    parameters(event).any(|(name, _)| matches!(&*name, "labelSelector" | "fieldSelector"))
}

/// The query's parameters, decoded.
fn parameters<'a>(event: &'a Envelope<'_>) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
    let query = event
        .request_uri
        .split_once('?')
        .map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes())
}

/// Whether the API server changed nothing because it was asked to. Kubernetes reads the parameter for
/// writes of objects only; elsewhere anybody may write it.
pub fn is_dry_run(event: &Envelope<'_>) -> bool {
    let writes = ["create", "update", "patch", "delete", "deletecollection"];
    let connects = ["exec", "attach", "portforward", "proxy"];
    let subresource = event
        .object_ref
        .as_ref()
        .map(|object| object.subresource.as_str());
    writes.contains(&event.verb.as_str())
        && subresource.is_some_and(|subresource| !connects.contains(&subresource))
        && parameters(event).any(|(name, value)| name == "dryRun" && value == "All")
}

fn subresource_action(subresource: &str, verb: &str) -> Option<(&'static str, &'static str)> {
    Some(match (subresource, verb) {
        ("exec", _) => ("exec'd into", "exec into"),
        ("attach", _) => ("attached to", "attach to"),
        ("portforward", _) => ("forwarded a port to", "forward a port to"),
        ("proxy", _) => ("reached through the proxy of", "reach through the proxy of"),
        ("log", "get") => ("read the log of", "read the log of"),
        ("token", "create") => ("requested a token for", "request a token for"),
        ("eviction", "create") => ("evicted", "evict"),
        ("binding", "create") => ("bound", "bind"),
        ("approval", "update" | "patch") => {
            ("decided on the approval of", "decide on the approval of")
        }
        ("ephemeralcontainers", "update" | "patch") => {
            ("added a debug container to", "add a debug container to")
        }
        ("scale", "update" | "patch") => ("scaled", "scale"),
        ("status", "update" | "patch") => ("updated the status of", "update the status of"),
        _ => return None,
    })
}

fn predicate(event: &Envelope<'_>) -> Vec<Piece> {
    let action = action(event);
    let mut pieces = if event.stage == Stage::RequestReceived {
        vec![plain("asked to "), bold(action.infinitive), plain(" ")]
    } else if has_failed(event) {
        vec![plain("tried to "), bold(action.infinitive), plain(" ")]
    } else {
        vec![bold(action.past), plain(" ")]
    };
    match &event.object_ref {
        Some(object) => {
            pieces.push(bold(object_name(object, action.names_subresource)));
            pieces.push(plain(place(object)));
        }
        None => pieces.push(bold(name(event.path()))),
    }
    pieces
}

/// The kind of object as digests group it, with group and subresource.
pub fn resource(object: &ObjectRef<'_>) -> String {
    let mut text = name(&object.resource);
    if !object.api_group.is_empty() {
        text = format!("{text}.{}", name(&object.api_group));
    }
    if !object.subresource.is_empty() {
        text = format!("{text}/{}", clean(&object.subresource, 40));
    }
    text
}

/// `pods/api-7c9`, as kubectl writes it.
fn object_name(object: &ObjectRef<'_>, subresource_is_named: bool) -> String {
    let mut text = name(&object.resource);
    if !object.api_group.is_empty() {
        text = format!("{text}.{}", name(&object.api_group));
    }
    if !object.name.is_empty() {
        text = format!("{text}/{}", name(&object.name));
    }
    if !object.subresource.is_empty() && !subresource_is_named {
        text = format!("{text} ({})", clean(&object.subresource, 40));
    }
    text
}

/// `pods/api-7c9 in shop`.
pub fn object(object: &ObjectRef<'_>) -> String {
    object_name(object, false) + &place(object)
}

fn place(object: &ObjectRef<'_>) -> String {
    match object.namespace.as_str() {
        "" => String::new(),
        _ if object.resource.as_str() == "namespaces" => String::new(),
        namespace => format!(" in {}", name(namespace)),
    }
}

fn has_failed(event: &Envelope<'_>) -> bool {
    event.code().is_some_and(|code| code >= 400) || event.decision().as_deref() == Some("forbid")
}

fn outcome(event: &Envelope<'_>) -> String {
    let decision = match event.decision().as_deref() {
        Some("allow") => " — allowed",
        Some("forbid") => " — forbidden",
        _ => "",
    };
    let code = event
        .code()
        .map(|code| format!(" — {code}"))
        .unwrap_or_default();
    let mut reason = String::new();
    if let Some(status) = event.response_status.as_ref().filter(|_| has_failed(event)) {
        let text = if status.message.is_empty() {
            &status.reason
        } else {
            &status.message
        };
        if !text.is_empty() {
            reason = format!(" ({})", clean(&unescape_html(text), REASON_CHARS_MAX));
        }
    }
    let panicked = if event.stage == Stage::Panic {
        " — the API server panicked"
    } else {
        ""
    };
    format!("{decision}{code}{reason}{panicked}")
}

/// The API server escapes a status message for HTML, once.
fn unescape_html(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    let quotes = text.replace("&#34;", "\"").replace("&#39;", "'");
    quotes
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

fn marks(event: &EventDelivery, envelope: &Envelope<'_>) -> Vec<&'static str> {
    [
        (is_dry_run(envelope), "dry run"),
        (event.marks.body_unreadable, "body unreadable"),
        (
            event.marks.audit_id_reused,
            "audit ID seen before with other content",
        ),
        (event.marks.possibly_repeated, "possibly repeated"),
        (event.marks.replayed, "replayed"),
    ]
    .into_iter()
    .filter_map(|(holds, mark)| holds.then_some(mark))
    .collect()
}

fn context(event: &EventDelivery, envelope: &Envelope<'_>) -> String {
    let mut parts = vec![name(&event.cluster)];
    if !event.route.is_empty() {
        parts.push(format!("route {}", name(&event.route)));
    }
    if let Some(addresses) = addresses(envelope) {
        parts.push(format!("from {addresses}"));
    }
    if !envelope.user_agent.is_empty() {
        parts.push(clean(&envelope.user_agent, AGENT_CHARS_MAX));
    }
    if !envelope.verb.is_empty() {
        parts.push(format!("verb {}", clean(&envelope.verb, 20)));
    }
    parts.push(time(&envelope.stage_timestamp));
    parts.push(envelope.stage.as_str().to_owned());
    if !envelope.audit_id.is_empty() {
        parts.push(format!(
            "audit ID {}",
            clean(&envelope.audit_id, ID_CHARS_MAX)
        ));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}

/// The last addresses: the peer's own is the last, the others are the client's claim.
fn addresses(event: &Envelope<'_>) -> Option<String> {
    let all = &event.source_ips;
    let shown: Vec<String> = all
        .iter()
        .rev()
        .take(ADDRESSES_MAX)
        .rev()
        .map(|ip| clean(ip, 45))
        .collect();
    let more = all.len().saturating_sub(ADDRESSES_MAX);
    match (shown.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(shown.join(", ")),
        (false, more) => Some(format!("{more} more, {}", shown.join(", "))),
    }
}

/// `2026-11-21 03:15:29 UTC`, or the event's own text where that is no time.
pub fn time(stage_timestamp: &str) -> String {
    match stage_timestamp.parse::<jiff::Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => clean(stage_timestamp, 40),
    }
}

#[cfg(test)]
#[path = "sentence_tests.rs"]
mod tests;
