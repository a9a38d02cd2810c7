//! What a lease's members look like in Slack: a sentence each, with what else there is to say, or a digest when
//! there are too many.
//!
//! Invariants, whatever the events hold:
//! * within Slack's limits: at most 50 blocks, 10,000 bytes in all blocks together (Slack refuses
//!   somewhere above 12,000 and does not say of what: bytes of escaped UTF-8 are the most it can mean),
//!   a header of 150 characters, a fallback text of 4,000 bytes;
//! * text of events stands only in `rich_text` and `plain_text`, where Slack parses nothing, and escaped in the
//!   fallback text (`blocks.rs`);
//! * every event is told: each sentence is there, or a digest's totals are exact; what had to be cut is said,
//!   and the message is named by which all of it can be seen.

use std::{collections::BTreeMap, sync::Arc};

use auditrelay_audit::Severity;
use auditrelay_config::DigestDetails;
use auditrelay_store::{Delivery, EventDelivery, Lease, Notice};
use serde_json::Value;

use crate::{
    blocks::{Piece, context, cost, header, list, rich_text, section, text},
    card::Card,
    digest,
    escape::{clean, escape, escaped_len},
    message::Message,
    sentence::emoji,
    template::Templates,
};

pub(crate) const BLOCK_BYTES_MAX: usize = 10_000;
const TEXT_BYTES_MAX: usize = 4_000;
/// For the line that counts the rest.
const REST_BYTES: usize = 50;
const LINE_CHARS_MAX: usize = 400;
/// Two blocks an event, of 50 in all.
const SENTENCES_MAX: usize = 20;
const DIGEST_ROWS_MAX: usize = 40;
const NOTICES_MAX: usize = 5;
/// Of all notices in a message, escaped; one is always shown.
const NOTICES_BYTES_MAX: usize = 4_000;
const OWN_NOTICE_CHARS_MAX: usize = 700;

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

/// Renders a lease's members. `now_unix_ms` tells how late they are told.
pub fn render(lease: &Lease, style: &Style, now_unix_ms: i64) -> Message {
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
    let budget = BLOCK_BYTES_MAX.saturating_sub(extra.iter().map(|line| escaped_len(line)).sum());
    let id = lease.id.id;
    let few = events.len() <= style.sentences_max.min(SENTENCES_MAX);
    let body = few
        .then(|| as_sentences(&events, budget, style, id, now_unix_ms))
        .flatten();
    let mut body = body.unwrap_or_else(|| as_digest(&events, budget, style, id));
    // A notification shows the first line, which is to be the most telling one.
    let second = body.lines.len().min(1);
    body.lines.splice(second..second, extra.iter().cloned());
    body.blocks
        .splice(0..0, extra.iter().map(|line| note(line)));
    Message::new(fallback(&body.lines), body.blocks, body.form)
}

/// What is said of events for which no message could be made.
pub fn unrendered(events: usize, id: u64) -> Message {
    let line = format!(
        "⚠ auditrelay: {events} events could not be shown, a fault of the relay; its log says more"
    );
    let lines = [line, members_line(id)];
    let blocks = lines.iter().map(|line| note(line)).collect();
    Message::new(fallback(&lines), blocks, "digest")
}

/// How to see what a message stands for.
pub(crate) fn members_line(id: u64) -> String {
    format!("auditrelay events --message {id} lists each of them")
}

struct Body {
    lines: Vec<String>,
    blocks: Vec<Value>,
    form: &'static str,
}

/// A sentence an event, with as much detail as there is room for; nothing if not even the sentences fit.
fn as_sentences(
    events: &[(Severity, &EventDelivery)],
    budget: usize,
    style: &Style,
    id: u64,
    now_unix_ms: i64,
) -> Option<Body> {
    let card = |(severity, event): &(Severity, &EventDelivery)| {
        Card::new(*severity, event, &style.templates, now_unix_ms)
    };
    let cards: Vec<Card> = events.iter().map(card).collect();
    let shortened = if style.names_members {
        format!("Shortened: auditrelay events --message {id} --json shows all of it")
    } else {
        "Shortened: there was more to say than fits".to_owned()
    };
    let least: usize = cards.iter().map(Card::cost_min).sum();
    let mut room = budget.checked_sub(least + escaped_len(&shortened))?;
    let mut blocks = Vec::with_capacity(2 * cards.len() + 1);
    let mut lines = Vec::with_capacity(cards.len() + 1);
    let (mut left, mut is_cut) = (cards.len(), false);
    for card in cards {
        lines.push(card.brief.clone());
        // What one event does not need is there for those that follow.
        let (shown, taken, cut) = card.blocks(room / left);
        blocks.extend(shown);
        room -= taken;
        left -= 1;
        is_cut |= cut;
    }
    if is_cut {
        blocks.push(note(&shortened));
    }
    Some(Body {
        lines,
        blocks,
        form: "sentences",
    })
}

fn as_digest(events: &[(Severity, &EventDelivery)], budget: usize, style: &Style, id: u64) -> Body {
    let groups = digest::group(events.iter().copied());
    let mut clusters: Vec<&str> = events
        .iter()
        .map(|(_, event)| event.cluster.as_str())
        .collect();
    clusters.sort_unstable();
    clusters.dedup();
    let title = title(events, &clusters);
    let mut rows = Vec::new();
    let mut lines = vec![title.clone()];
    let whole = whole_line(style, id);
    // The title, the line that counts the rest, and the one that says where all of it is.
    let mut bytes = escaped_len(&title) + 100 + whole.as_deref().map_or(0, escaped_len);
    let mut told = 0;
    for (key, group) in groups
        .iter()
        .take(style.digest_groups_max.min(DIGEST_ROWS_MAX))
    {
        let pieces = digest::row(key, group, clusters.len() > 1);
        let row = section(&pieces);
        bytes += cost(&row);
        if bytes > budget {
            break;
        }
        told += group.events;
        lines.push(text(&pieces));
        rows.push(row);
    }
    let rest = groups.len() - rows.len();
    let mut blocks = vec![header(&title)];
    if !rows.is_empty() {
        blocks.push(rich_text(&[list(rows)]));
    }
    if rest > 0 {
        let events = events.len() as u64 - told;
        let more = format!("and {events} more events in {rest} more groups");
        blocks.push(note(&more));
        lines.push(more);
    }
    if let Some(whole) = whole {
        blocks.push(note(&whole));
        lines.push(whole);
    }
    Body {
        lines,
        blocks,
        form: "digest",
    }
}

/// Where all members of a digest are told.
fn whole_line(style: &Style, id: u64) -> Option<String> {
    let place = match style.details {
        DigestDetails::Command => None,
        DigestDetails::Thread => Some("each of them follows in the thread"),
        DigestDetails::File => Some("each of them follows as a file in the thread"),
    };
    match (place, style.names_members) {
        (Some(place), true) => Some(format!("{place}; {}", members_line(id))),
        (Some(place), false) => Some(place.to_owned()),
        (None, true) => Some(members_line(id)),
        (None, false) => None,
    }
}

fn title(events: &[(Severity, &EventDelivery)], clusters: &[&str]) -> String {
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
    let from = match clusters {
        [one] => clean(one, 63),
        many => format!("{} clusters", many.len()),
    };
    let severe = if severe.is_empty() {
        String::new()
    } else {
        format!(": {}", severe.join(", "))
    };
    format!("{} audit events from {from}{severe}", events.len())
}

/// The relay's own notices; those with the same text add up.
fn notice_lines(notices: &[&Notice]) -> Vec<String> {
    let mut totals: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for notice in notices {
        *totals.entry((&notice.cluster, &notice.text)).or_default() += notice.events;
    }
    let mut shown = Vec::new();
    let mut bytes = 0;
    for ((cluster, text), events) in totals.iter().take(NOTICES_MAX) {
        let line = format!("⚠ auditrelay: {}", notice_words(cluster, text, *events));
        bytes += escaped_len(&line);
        if bytes > NOTICES_BYTES_MAX && !shown.is_empty() {
            break;
        }
        shown.push(line);
    }
    let more = totals.len() - shown.len();
    let more = (more > 0).then(|| {
        let events: u64 = totals.values().skip(shown.len()).sum();
        let nouns =
            |count: u64, noun| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let (notices, events) = (nouns(more as u64, "more notice"), nouns(events, "event"));
        format!("⚠ auditrelay: and {notices} about {events}")
    });
    shown.extend(more);
    shown
}

/// A notice of no cluster is about the relay itself, such as a mute, and says all there is.
pub fn notice_words(cluster: &str, text: &str, events: u64) -> String {
    if cluster.is_empty() {
        return clean(text, OWN_NOTICE_CHARS_MAX);
    }
    let text = clean(text, 150);
    let noun = if events == 1 { "event" } else { "events" };
    let cluster = clean(cluster, 63);
    format!("{events} {noun} from {cluster} {text}")
}

/// A line of the relay's own.
pub(crate) fn note(line: &str) -> Value {
    context(&[Piece::plain(line)])
}

/// The text of notifications, escaped: the first lines, each shortened, and how many there are besides.
pub(crate) fn fallback(lines: &[String]) -> String {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let line = escape(&clean(line, LINE_CHARS_MAX));
        if index > 0 && text.len() + line.len() + REST_BYTES > TEXT_BYTES_MAX {
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

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "render_room_tests.rs"]
mod room_tests;
