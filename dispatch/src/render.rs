//! What a lease's members look like in Slack: a sentence each, or a digest when there are too many.
//!
//! Invariants, whatever the events hold:
//! * within Slack's limits: at most 50 blocks, 10,000 bytes in all blocks together (Slack refuses
//!   somewhere above 12,000 and does not say of what: bytes of escaped UTF-8 are the most it can mean),
//!   a header of 150 characters, a fallback text of 4,000 bytes;
//! * text of events stands only in `rich_text` and `plain_text`, where Slack parses nothing, and escaped in the
//!   fallback text;
//! * a digest's totals are exact, what it does not list it counts, and it names its message, by which all
//!   of its members can be listed.

use std::{collections::BTreeMap, sync::Arc};

use auditrelay_audit::Severity;
use auditrelay_config::DigestDetails;
use auditrelay_store::{Delivery, EventDelivery, Lease, Notice};
use serde_json::{Value, json};

use crate::{
    digest::{self, Group, GroupKey},
    escape::{clean, escape},
    message::Message,
    sentence::{Piece, Sentence, emoji, time},
    template::Templates,
};

const BLOCK_BYTES_MAX: usize = 10_000;
const TEXT_BYTES_MAX: usize = 4_000;
const LINE_CHARS_MAX: usize = 400;
const HEADER_CHARS_MAX: usize = 150;
const DIGEST_ROWS_MAX: usize = 40;
const NOTICES_MAX: usize = 5;

/// How messages of a channel look.
#[derive(Debug, Clone)]
pub struct Style {
    /// With more sentences to say it becomes a digest.
    pub sentences_max: usize,
    /// Groups that a digest lists.
    pub digest_groups_max: usize,
    /// Where a digest's complete list is.
    pub details: DigestDetails,
    /// Whether a digest says how to see its members: they are kept for a while.
    pub names_members: bool,
    /// The channel's own words.
    pub templates: Arc<Templates>,
}

impl Default for Style {
    /// How messages look where nothing is configured.
    fn default() -> Self {
        Self {
            sentences_max: 8,
            digest_groups_max: 40,
            details: DigestDetails::Command,
            names_members: true,
            templates: Arc::default(),
        }
    }
}

/// Renders a lease's members.
pub fn render(lease: &Lease, style: &Style) -> Message {
    let mut events = Vec::new();
    let mut notices = Vec::new();
    for (severity, delivery) in &lease.members {
        match delivery {
            Delivery::Event(event) => events.push((*severity, event)),
            Delivery::Notice(notice) => notices.push(notice),
        }
    }
    let mut extra: Vec<String> = Vec::new();
    if lease.resumed {
        extra
            .push("⚠ Possibly repeated: it is not known whether this was posted before".to_owned());
    }
    extra.extend(notice_lines(&notices));
    let budget = BLOCK_BYTES_MAX.saturating_sub(extra.iter().map(|line| cost(line)).sum());
    let few = events.len() <= style.sentences_max;
    let mut body = if few {
        as_sentences(&events, budget)
    } else {
        None
    }
    .unwrap_or_else(|| as_digest(&events, budget, style.names_members.then_some(lease.id.id)));
    body.lines.splice(0..0, extra.iter().cloned());
    body.blocks
        .splice(0..0, extra.iter().map(|line| context(line)));
    Message::new(fallback(&body.lines), body.blocks, body.form)
}

/// What is said of events for which no message could be made.
pub fn unrendered(events: usize, id: u64) -> Message {
    let line = format!(
        "⚠ auditrelay: {events} events could not be shown, a fault of the relay; its log says more"
    );
    let lines = [line, members_line(id)];
    let blocks = lines.iter().map(|line| context(line)).collect();
    Message::new(fallback(&lines), blocks, "digest")
}

/// How to see what a message stands for.
fn members_line(id: u64) -> String {
    format!("auditrelay events --message {id} lists each of them")
}

/// The most that Slack may count for a text.
fn cost(text: &str) -> usize {
    escape(text).len()
}

struct Body {
    lines: Vec<String>,
    blocks: Vec<Value>,
    form: &'static str,
}

fn as_sentences(events: &[(Severity, &EventDelivery)], budget: usize) -> Option<Body> {
    let sentences: Vec<Sentence> = events
        .iter()
        .map(|(severity, event)| Sentence::new(*severity, event))
        .collect();
    let bytes = |sentence: &Sentence| cost(&sentence.text()) + cost(&sentence.context);
    if sentences.iter().map(bytes).sum::<usize>() > budget {
        return None;
    }
    let mut blocks = Vec::with_capacity(2 * sentences.len());
    for sentence in &sentences {
        blocks.push(rich_text(&[json!({
            "type": "rich_text_section",
            "elements": elements(&sentence.pieces),
        })]));
        blocks.push(context(&sentence.context));
    }
    let lines = sentences
        .iter()
        .zip(events)
        .map(|(sentence, (_, event))| format!("[{}] {}", event.cluster, sentence.text()))
        .collect();
    Some(Body {
        lines,
        blocks,
        form: "sentences",
    })
}

fn as_digest(events: &[(Severity, &EventDelivery)], budget: usize, message: Option<u64>) -> Body {
    let groups = digest::group(events.iter().copied());
    let title = title(events);
    let mut rows = Vec::new();
    let mut lines = vec![title.clone()];
    let members = message.map(members_line);
    // The title, the line that counts the rest, and the one that names the message.
    let (mut bytes, mut told) = (cost(&title) + 100 + members.as_deref().map_or(0, cost), 0);
    for (key, group) in groups.iter().take(DIGEST_ROWS_MAX) {
        let pieces = row(key, group);
        let row_bytes: usize = pieces.iter().map(|piece| cost(&piece.text)).sum();
        if bytes + row_bytes > budget {
            break;
        }
        bytes += row_bytes;
        told += group.events;
        lines.push(pieces.iter().map(|piece| piece.text.as_str()).collect());
        rows.push(json!({"type": "rich_text_section", "elements": elements(&pieces)}));
    }
    let rest = groups.len() - rows.len();
    let list = json!({"type": "rich_text_list", "style": "bullet", "elements": rows});
    let header = clean(&title, HEADER_CHARS_MAX);
    let mut blocks = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": header, "emoji": false}}),
        rich_text(&[list]),
    ];
    if rest > 0 {
        let more = format!(
            "and {} more events in {rest} smaller groups",
            events.len() as u64 - told
        );
        blocks.push(context(&more));
        lines.push(more);
    }
    if let Some(members) = members {
        blocks.push(context(&members));
        lines.push(members);
    }
    Body {
        lines,
        blocks,
        form: "digest",
    }
}

fn title(events: &[(Severity, &EventDelivery)]) -> String {
    let count = |severity| events.iter().filter(|(one, _)| *one == severity).count();
    let severe: Vec<String> = [Severity::Critical, Severity::Warning]
        .into_iter()
        .filter(|severity| count(*severity) > 0)
        .map(|severity| {
            format!(
                "{} {} {}",
                emoji(severity),
                count(severity),
                severity.as_str()
            )
        })
        .collect();
    let mut clusters: Vec<&str> = events
        .iter()
        .map(|(_, event)| event.cluster.as_str())
        .collect();
    clusters.sort_unstable();
    clusters.dedup();
    let from = match clusters.as_slice() {
        [one] => (*one).to_owned(),
        many => format!("{} clusters", many.len()),
    };
    let severe = if severe.is_empty() {
        String::new()
    } else {
        format!(": {}", severe.join(", "))
    };
    format!("{} audit events from {from}{severe}", events.len())
}

fn row(key: &GroupKey, group: &Group) -> Vec<Piece> {
    let bold = |text: String| Piece { text, bold: true };
    let plain = |text: String| Piece { text, bold: false };
    let place = if key.namespace.is_empty() {
        String::new()
    } else {
        format!(" in {}", key.namespace)
    };
    let code = if key.code == 0 {
        String::new()
    } else {
        format!(" → {}", key.code)
    };
    let names = match group.names.as_slice() {
        [] => String::new(),
        some => {
            let more = if group.events > some.len() as u64 {
                ", …"
            } else {
                ""
            };
            format!(" ({}{more})", some.join(", "))
        }
    };
    let when = span(&time(&group.first), &time(&group.last));
    let marks: String = [
        (group.bodies_unreadable, "body unreadable"),
        (
            group.audit_ids_reused,
            "audit ID seen before with other content",
        ),
        (group.possibly_repeated, "possibly repeated"),
        (group.replayed, "replayed"),
    ]
    .into_iter()
    .filter(|(events, _)| *events > 0)
    .map(|(events, mark)| format!(" [{events} {mark}]"))
    .collect();
    vec![
        plain(format!("{} ", emoji(key.severity))),
        bold(format!("{} × ", group.events)),
        bold(key.who.clone()),
        plain(format!(" {} ", key.verb)),
        bold(key.what.clone()),
        plain(format!("{place}{code}{names} · {} · {when}", key.cluster)),
        bold(marks),
    ]
}

/// `2026-11-21 03:01:25 to 03:01:30 UTC`: what both times begin with is said once.
fn span(first: &str, last: &str) -> String {
    if first == last {
        return first.to_owned();
    }
    let end = match (first.split_once(' '), last.split_once(' ')) {
        (Some((day, _)), Some((same, time))) if day == same => time,
        _ => last,
    };
    format!("{} to {end}", first.trim_end_matches(" UTC"))
}

/// The relay's own notices; those with the same text add up.
fn notice_lines(notices: &[&Notice]) -> Vec<String> {
    let mut totals: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for notice in notices {
        *totals.entry((&notice.cluster, &notice.text)).or_default() += notice.events;
    }
    let more = totals.len().saturating_sub(NOTICES_MAX);
    let shown = totals
        .iter()
        .take(NOTICES_MAX)
        .map(|((cluster, text), events)| {
            let text = clean(text, 150);
            let noun = if *events == 1 { "event" } else { "events" };
            let cluster = clean(cluster, 63);
            format!("⚠ auditrelay: {events} {noun} from {cluster} {text}")
        });
    let more = (more > 0).then(|| {
        let events: u64 = totals.values().skip(NOTICES_MAX).sum();
        let nouns =
            |count: u64, noun| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let (notices, events) = (nouns(more as u64, "more notice"), nouns(events, "event"));
        format!("⚠ auditrelay: and {notices} about {events}")
    });
    shown.chain(more).collect()
}

fn elements(pieces: &[Piece]) -> Vec<Value> {
    pieces
        .iter()
        .filter(|piece| !piece.text.is_empty())
        .map(|piece| match piece.bold {
            true => json!({"type": "text", "text": piece.text, "style": {"bold": true}}),
            false => json!({"type": "text", "text": piece.text}),
        })
        .collect()
}

fn rich_text(elements: &[Value]) -> Value {
    json!({"type": "rich_text", "elements": elements})
}

fn context(text: &str) -> Value {
    json!({"type": "context", "elements": [{"type": "plain_text", "text": text, "emoji": false}]})
}

/// The text of notifications, escaped: the first lines, each shortened, and how many there are besides.
fn fallback(lines: &[String]) -> String {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let line = escape(&clean(line, LINE_CHARS_MAX));
        if index > 0 && text.len() + line.len() > TEXT_BYTES_MAX {
            text.push_str(&format!("\n… and {} more lines", lines.len() - index));
            break;
        }
        if index > 0 {
            text.push('\n');
        }
        text.push_str(&line);
    }
    text
}

/// Replies.
pub fn replies(
    _members: &auditrelay_store::Members,
    _message: u64,
    _replies_max: usize,
) -> Vec<Message> {
    Vec::new()
}

/// A file.
pub fn listing(_members: &auditrelay_store::Members) -> String {
    String::new()
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
