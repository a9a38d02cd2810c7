//! One event as blocks: the sentence, what else there is to say of it, and a line of context.
//!
//! Invariant: sentence and context are always there; the rest takes what room it is given, line by line, and
//! what does not fit is counted, never silently left out.

use auditrelay_audit::{Envelope, Severity};
use auditrelay_store::EventDelivery;
use serde_json::Value;

use crate::{
    blocks::{self, Piece},
    change::{Change, duration},
    command::Session,
    escape::{clean, escaped_len, quoted},
    sentence,
    template::Templates,
    watchdog,
};

/// More of the channel's own words than this is no message any more.
const FIELDS_MAX: usize = 10;
const LINKS_MAX: usize = 8;
const COMMAND_CHARS_MAX: usize = 2_000;
const FIELD_CHARS_MAX: usize = 300;
const TITLE_CHARS_MAX: usize = 60;
/// An event that is told later than this after it happened says so.
const LATE_SECONDS: i64 = 60;

/// An event that is to be told.
pub struct Card {
    /// What a notification says of it.
    pub brief: String,
    sentence: Value,
    /// None where the sentence says all there is.
    context: Option<Value>,
    /// Lines under the sentence.
    lines: Vec<Value>,
    change: Change,
    command: Option<String>,
}

impl Card {
    /// Describes an event.
    pub fn new(
        severity: Severity,
        event: &EventDelivery,
        templates: &Templates,
        now_unix_ms: i64,
    ) -> Self {
        let cluster = clean(&event.cluster, 63);
        let mut lead = vec![Piece::plain(format!("{} ", sentence::emoji(severity)))];
        if !event.route.is_empty() {
            lead.push(Piece::bold(quoted(&event.route, TITLE_CHARS_MAX)));
            lead.push(Piece::plain(": "));
        }
        let Ok(envelope) = Envelope::parse(&event.json) else {
            lead.push(Piece::plain(sentence::UNREADABLE));
            let cluster = if cluster.is_empty() {
                "no cluster".to_owned()
            } else {
                cluster
            };
            return Self {
                brief: format!("[{cluster}] {}", sentence::UNREADABLE),
                sentence: blocks::section(&lead),
                context: Some(blocks::context(&[Piece::plain(cluster)])),
                lines: Vec::new(),
                change: Change::default(),
                command: None,
            };
        };
        let change = Change::of(&envelope);
        if let Some(alive) = watchdog::sentence(event, &envelope, now_unix_ms) {
            let said = sentence::told(event, &envelope, &change, Some(alive));
            return Self {
                brief: blocks::text(&said),
                sentence: blocks::section(&said),
                context: None,
                lines: Vec::new(),
                command: None,
                change,
            };
        }
        let instead = templates
            .sentence(event, &envelope)
            .map(|text| clean(&text, 1_000))
            .filter(|text| !text.is_empty());
        let told = instead.is_some();
        lead.extend(sentence::told(event, &envelope, &change, instead));
        let late = late(event, &envelope, now_unix_ms);
        Self {
            brief: if told {
                format!("[{cluster}] {}", blocks::text(&lead[1..]))
            } else {
                format!("[{cluster}] {}", sentence::brief(event, &envelope, &change))
            },
            sentence: blocks::section(&lead),
            context: Some(blocks::context(&sentence::context(event, &envelope, late))),
            lines: lines(event, &envelope, &change, templates),
            command: templates
                .command(event, &envelope)
                .filter(|command| !command.is_empty()),
            change,
        }
    }

    /// What it takes at the least.
    pub fn cost_min(&self) -> usize {
        blocks::cost(&self.sentence) + self.context.as_ref().map_or(0, blocks::cost)
    }

    /// The blocks, with what `room` there is besides [`Card::cost_min`]; how much of it was taken, and whether
    /// something is missing.
    pub fn blocks(self, room: usize) -> (Vec<Value>, usize, bool) {
        let mut left = room;
        let mut parts = vec![self.sentence];
        let mut cut = false;
        let mut take = |part: Value, left: &mut usize| {
            let cost = blocks::cost(&part);
            if cost <= *left {
                *left -= cost;
                parts.push(part);
            } else {
                cut = true;
            }
        };
        for line in self.lines {
            take(line, &mut left);
        }
        let (text, is_cut) = diff(&self.change, left);
        if !text.is_empty() {
            take(blocks::preformatted(&text), &mut left);
        }
        // A command of which a part is missing is another command.
        let whole = |command: &String| command.chars().count() <= COMMAND_CHARS_MAX;
        let left_out = self.command.as_ref().is_some_and(|command| !whole(command));
        if let Some(command) = self.command.filter(whole) {
            let command = clean(&command, COMMAND_CHARS_MAX);
            take(blocks::preformatted(&command), &mut left);
        }
        let cut = cut || is_cut || left_out;
        let sentence = std::iter::once(blocks::rich_text(&parts));
        let shown = sentence.chain(self.context).collect();
        (shown, room - left, cut)
    }
}

/// The change's lines that fit, and whether some do not.
fn diff(change: &Change, room: usize) -> (String, bool) {
    // The line that counts the rest.
    let mut left = room.saturating_sub(60);
    let mut shown = Vec::new();
    for line in &change.lines {
        let cost = escaped_len(line) + 1;
        if cost > left {
            break;
        }
        left -= cost;
        shown.push(line.clone());
    }
    let rest = change.lines.len() - shown.len() + change.more;
    let uncounted = if change.uncounted { "at least " } else { "" };
    let is_cut = rest > 0 || change.uncounted;
    if is_cut && room > 60 {
        shown.push(format!(
            "… and {uncounted}{rest} more {}",
            if rest == 1 { "line" } else { "lines" }
        ));
    }
    if let Some(note) = change
        .note
        .as_deref()
        .filter(|note| escaped_len(note) + 3 <= left)
    {
        shown.push(format!("({note})"));
    }
    (shown.join("\n"), is_cut)
}

/// What has a line of its own: the session, the change's fields, the channel's own words, its links.
fn lines(
    event: &EventDelivery,
    envelope: &Envelope<'_>,
    change: &Change,
    templates: &Templates,
) -> Vec<Value> {
    let mut lines = Vec::new();
    let session = Session::of(envelope);
    if !session.command.is_empty() {
        let mut pieces = vec![Piece::plain("Command: "), Piece::code(session.command)];
        if !session.container.is_empty() {
            pieces.push(Piece::plain(format!(" in container {}", session.container)));
        }
        if session.masked {
            pieces.push(Piece::plain(" (what looks like a secret is masked)"));
        }
        lines.push(blocks::section(&pieces));
    } else if !session.container.is_empty() {
        lines.push(field("Container", &session.container));
    }
    if let Some(groups) = groups(envelope) {
        lines.push(field("As groups", &groups));
    }
    lines.extend(change.fields.iter().map(|(title, text)| field(title, text)));
    let own = templates.fields(event, envelope);
    lines.extend(
        own.iter()
            .take(FIELDS_MAX)
            .map(|(title, text)| field(title, text)),
    );
    let mut links = Vec::new();
    for (text, url) in templates.links(event, envelope).iter().take(LINKS_MAX) {
        if !links.is_empty() {
            links.push(Piece::plain(" · "));
        }
        links.push(Piece::link(clean(text, TITLE_CHARS_MAX), url));
    }
    if !links.is_empty() {
        lines.push(blocks::section(&links));
    }
    lines
}

fn field(title: &str, text: &str) -> Value {
    let title = format!("{}: ", clean(title, TITLE_CHARS_MAX));
    blocks::section(&[
        Piece::plain(title),
        Piece::bold(clean(text, FIELD_CHARS_MAX)),
    ])
}

/// Groups that somebody chose to act as: the user's own come from where it was authenticated.
fn groups(event: &Envelope<'_>) -> Option<String> {
    const GIVEN: [&str; 2] = ["system:authenticated", "system:unauthenticated"];
    let user = event.impersonated_user.as_ref()?;
    let chosen: Vec<&str> = user
        .groups
        .iter()
        .map(|group| group.as_str())
        .filter(|group| !GIVEN.contains(group))
        .collect();
    if chosen.is_empty() {
        return None;
    }
    let shown = chosen
        .iter()
        .take(5)
        .map(|group| quoted(group, 60))
        .collect::<Vec<_>>()
        .join(", ");
    let more = chosen.len().saturating_sub(5);
    Some(if more > 0 {
        format!("{shown} and {more} more")
    } else {
        shown
    })
}

/// `told 5 min late`; what is replayed says so already.
fn late(event: &EventDelivery, envelope: &Envelope<'_>, now_unix_ms: i64) -> String {
    let Ok(time) = envelope.stage_timestamp.parse::<jiff::Timestamp>() else {
        return String::new();
    };
    let seconds = now_unix_ms.saturating_sub(time.as_millisecond()) / 1_000;
    if seconds <= LATE_SECONDS || event.marks.replayed {
        return String::new();
    }
    format!("told {} late", duration(seconds))
}
