//! One event as a sentence: who did what to which object, was it allowed and why, how did it end; and a line
//! of context under it: from where, with what, when, which audit ID.
//!
//! Every piece is cleaned and bounded, so a sentence has at most about 1,500 characters whatever the event
//! holds, and what could be taken for words of ours is quoted. Nothing here is escaped yet: `rich_text` needs
//! none, other places call [`crate::escape::escape`].

use std::borrow::Cow;

use auditrelay_audit::{Envelope, Level, ObjectRef, Severity, Stage, Text};
use auditrelay_store::EventDelivery;
use url::form_urlencoded;

pub use self::{
    object::{object, resource},
    outcome::{effective, has_failed},
    words::is_write,
};
use crate::{
    blocks::{self, DateStyle, Piece},
    change::{self, Change},
    escape::{clean, quoted},
};

mod object;
mod outcome;
mod words;

const NAME_CHARS_MAX: usize = 120;
const AGENT_CHARS_MAX: usize = 60;
const ID_CHARS_MAX: usize = 64;
const ADDRESSES_MAX: usize = 3;
/// A deletion's options are a handful of words.
const OPTIONS_BYTES_MAX: usize = 16 * 1024;

/// An event for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// The sentence.
    pub pieces: Vec<Piece>,
    /// The line of context.
    pub context: String,
}

impl Sentence {
    /// Describes an event, where one line has to do.
    pub fn new(severity: Severity, event: &EventDelivery) -> Self {
        let Ok(envelope) = Envelope::parse(&event.json) else {
            return Self {
                pieces: vec![Piece::plain(UNREADABLE)],
                context: clean(&event.cluster, NAME_CHARS_MAX),
            };
        };
        let mut pieces = vec![Piece::plain(format!("{} ", emoji(severity)))];
        pieces.extend(told(event, &envelope, &Change::of(&envelope), None));
        let route = match event.route.as_str() {
            "" => String::new(),
            route => format!("route {}", quoted(route, NAME_CHARS_MAX)),
        };
        Self {
            pieces,
            context: blocks::text(&context(event, &envelope, route)),
        }
    }

    /// The sentence without looks.
    pub fn text(&self) -> String {
        blocks::text(&self.pieces)
    }
}

/// What is said of an event that cannot be read.
pub const UNREADABLE: &str = "an event was stored that can no longer be read";

/// The sentence with its marks; `instead` stands in place of our own words.
pub fn told(
    event: &EventDelivery,
    envelope: &Envelope<'_>,
    change: &Change,
    instead: Option<String>,
) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(8);
    if is_dry_run(envelope) {
        pieces.push(Piece::bold("DRY RUN "));
    }
    match instead {
        Some(text) => pieces.push(Piece::plain(text)),
        None => {
            pieces.extend(said(envelope, change));
            pieces.push(Piece::plain(outcome::outcome(envelope)));
        }
    }
    pieces.extend(
        marks(event, envelope, change)
            .iter()
            .map(|mark| Piece::bold(format!(" [{mark}]"))),
    );
    pieces
}

/// The sentence as a notification has room for it: `alice deleted pod shop/api (allowed)`.
pub fn brief(event: &EventDelivery, envelope: &Envelope<'_>, change: &Change) -> String {
    let dry_run = if is_dry_run(envelope) { "DRY RUN " } else { "" };
    let outcome = outcome::outcome_in_brief(envelope);
    let outcome = if outcome.is_empty() {
        outcome
    } else {
        format!(" ({outcome})")
    };
    let marks: String = marks(event, envelope, change)
        .iter()
        .map(|mark| format!(" [{mark}]"))
        .collect();
    format!(
        "{dry_run}{}{outcome}{marks}",
        blocks::text(&said(envelope, change))
    )
}

/// The mark of a severity.
pub fn emoji(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "🔴",
        Severity::Warning => "🟠",
        Severity::Info => "🔵",
    }
}

/// The user that a request was made by, and the one that it was made as.
pub fn who(event: &Envelope<'_>) -> String {
    let user = if event.user.username.is_empty() {
        "somebody unauthenticated".to_owned()
    } else {
        quoted(&event.user.username, NAME_CHARS_MAX)
    };
    let Some(other) = &event.impersonated_user else {
        return user;
    };
    let other_name = quoted(&other.username, NAME_CHARS_MAX);
    let is_master = other
        .groups
        .iter()
        .any(|group| group.as_str() == outcome::MASTERS);
    let masters = if is_master {
        ", group system:masters"
    } else {
        ""
    };
    format!("{user} as {other_name}{masters}")
}

/// Who did what to which object.
fn said(event: &Envelope<'_>, change: &Change) -> Vec<Piece> {
    let object = event.object_ref.as_ref();
    let mut action = words::action(&event.verb, object, has_selector(event));
    if let Some((past, infinitive)) = change.decision {
        (action.past, action.infinitive) = (past.into(), infinitive.into());
    }
    let (lead, verb) = lead(event).words(action.past, action.infinitive);
    let mut pieces = vec![
        Piece::bold(who(event)),
        Piece::plain(format!(" {lead}{verb}")),
    ];
    if action.names_object {
        return pieces;
    }
    pieces.push(Piece::plain(" "));
    match object {
        Some(object) => pieces.extend(object::phrase(event, object, action.names_subresource)),
        None if event.path().is_empty() => pieces.push(Piece::plain("something without a path")),
        None => pieces.push(Piece::bold(quoted(event.path(), NAME_CHARS_MAX))),
    }
    pieces
}

/// Whether what a request asked for was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lead {
    /// It was.
    Did,
    /// Not yet, or it was never meant to be.
    AskedTo,
    /// It was not.
    TriedTo,
}

impl Lead {
    fn words<T>(self, past: T, infinitive: T) -> (&'static str, T) {
        match self {
            Self::Did => ("", past),
            Self::AskedTo => ("asked to ", infinitive),
            Self::TriedTo => ("tried to ", infinitive),
        }
    }
}

/// Whether what the request asked for was done.
pub fn lead(event: &Envelope<'_>) -> Lead {
    // At a stage that is not known it may not have been done yet; a code is there once it was.
    let may_be_open = event.stage == Stage::Unknown && event.code().is_none();
    if event.stage == Stage::RequestReceived || may_be_open {
        Lead::AskedTo
    } else if has_failed(event) || event.stage == Stage::Panic {
        Lead::TriedTo
    } else if is_dry_run(event) {
        Lead::AskedTo
    } else {
        Lead::Did
    }
}

/// What a group of a digest did, and to what kind of object: `tried to read`, `pods`. Nothing where there is
/// no object but a path.
pub fn did(lead: Lead, verb: &str, object: Option<&ObjectRef<'_>>) -> (String, String) {
    // Whether with a selector or without differs from event to event.
    let action = if verb == "deletecollection" {
        words::spelled("deleted a collection of", "delete a collection of")
    } else {
        words::action(verb, object, false)
    };
    let (lead, words) = lead.words(action.past, action.infinitive);
    let words = format!("{lead}{words}");
    let Some(object) = object else {
        return (words, String::new());
    };
    // Kubernetes' own kinds need no group to be known.
    let known = words::noun(&object.api_group, &object.resource).is_some();
    let mut shown = object.clone();
    if known {
        shown.api_group = Text::default();
    }
    if action.names_subresource {
        shown.subresource = Text::default();
    }
    let kind = resource(&shown);
    (words, quoted(&kind, NAME_CHARS_MAX))
}

fn has_selector(event: &Envelope<'_>) -> bool {
    event.verb.as_str() == "deletecollection"
        && parameters(event).any(|(name, value)| {
            matches!(&*name, "labelSelector" | "fieldSelector") && !value.is_empty()
        })
}

/// The query's parameters, decoded.
pub fn parameters<'a>(
    event: &'a Envelope<'_>,
) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
    let query = event
        .request_uri
        .split_once('?')
        .map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes())
}

/// Whether the API server certainly changed nothing because it was asked to. Kubernetes reads the parameter for
/// writes of objects only; elsewhere anybody may write it. A deletion's options stand in its body, and where there
/// is one the parameter counts for nothing (`apiserver/pkg/endpoints/handlers/delete.go`).
pub fn is_dry_run(event: &Envelope<'_>) -> bool {
    if !is_write(event) {
        return false;
    }
    match (is_delete(event), event.request_object) {
        (true, Some(options)) => options_ask_for_dry_run(options),
        (true, None) => event.level > Level::Metadata && asks_for_dry_run(event),
        (false, _) => asks_for_dry_run(event),
    }
}

/// A deletion that was asked for as a dry run in its address, where a body that is not logged may say otherwise.
fn may_be_dry_run(event: &Envelope<'_>) -> bool {
    is_write(event) && is_delete(event) && event.level <= Level::Metadata && asks_for_dry_run(event)
}

fn is_delete(event: &Envelope<'_>) -> bool {
    matches!(event.verb.as_str(), "delete" | "deletecollection")
}

fn asks_for_dry_run(event: &Envelope<'_>) -> bool {
    parameters(event).any(|(name, value)| name == "dryRun" && value == "All")
}

fn options_ask_for_dry_run(options: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Options {
        #[serde(default, rename = "dryRun")]
        dry_run: Vec<String>,
    }
    options.len() <= OPTIONS_BYTES_MAX
        && serde_json::from_str::<Options>(options)
            .is_ok_and(|options| options.dry_run.iter().any(|one| one == "All"))
}

/// The mark of an event that another channel was to get.
pub(crate) fn meant_for(channel: &str) -> String {
    format!(
        "for channel {}, which cannot be reached",
        quoted(channel, 64)
    )
}

fn marks(
    event: &EventDelivery,
    envelope: &Envelope<'_>,
    change: &Change,
) -> Vec<Cow<'static, str>> {
    let may_be_dry_run = may_be_dry_run(envelope);
    let fallback = event.meant_for.as_deref().map(meant_for);
    let known = [
        (
            may_be_dry_run,
            "asked for as a dry run, which a body that is not logged may overrule",
        ),
        (change.nothing, "changed nothing"),
        (event.marks.body_unreadable, "body unreadable"),
        (
            event.marks.audit_id_reused,
            "audit ID seen before with other content",
        ),
        (event.marks.possibly_repeated, "possibly repeated"),
        (event.marks.replayed, "replayed"),
    ]
    .into_iter()
    .filter_map(|(holds, mark)| holds.then_some(Cow::Borrowed(mark)));
    fallback.map(Cow::Owned).into_iter().chain(known).collect()
}

/// The line under a sentence; `also` is what else it has to say, if anything.
pub fn context(event: &EventDelivery, envelope: &Envelope<'_>, also: String) -> Vec<Piece> {
    let mut parts = vec![Piece::plain(clean(&event.cluster, NAME_CHARS_MAX))];
    if let Some(addresses) = addresses(envelope) {
        parts.push(Piece::plain(format!("from {addresses}")));
    }
    // The client's own words must not pass for further parts of this line.
    let agent = clean(&envelope.user_agent, AGENT_CHARS_MAX).replace('·', "-");
    parts.push(Piece::plain(agent));
    parts.push(Piece::date(
        &envelope.stage_timestamp,
        DateStyle::DayAndTime,
    ));
    parts.push(Piece::plain(also));
    if is_write(envelope) && change::is_unlogged(envelope) {
        parts.push(Piece::plain(format!(
            "body not logged (level {:?})",
            envelope.level
        )));
    }
    if !envelope.verb.is_empty() {
        parts.push(Piece::plain(format!("verb {}", clean(&envelope.verb, 20))));
    }
    parts.push(Piece::plain(envelope.stage.as_str()));
    if !envelope.audit_id.is_empty() {
        let id = clean(&envelope.audit_id, ID_CHARS_MAX).replace('·', "-");
        parts.push(Piece::plain(format!("audit ID {id}")));
    }
    parts.retain(|part| !part.text.is_empty());
    let mut line = Vec::with_capacity(2 * parts.len());
    for part in parts {
        if !line.is_empty() {
            line.push(Piece::plain(" · "));
        }
        line.push(part);
    }
    line
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
    Piece::date(stage_timestamp, DateStyle::DayAndTime).text
}

#[cfg(test)]
mod tests;
