//! What holds of every message.

use auditrelay_dispatch::{Message, slack::api_content};
use auditrelay_loadtest::slack::{findings, validate};
use serde_json::Value;

pub const TEXT_BYTES_MAX: usize = 4_000;

/// A message by itself: Slack takes it, and it is harmless.
pub fn harmless(message: &Message) -> Result<(), String> {
    let mut message = message.clone();
    message.id = "0123456789abcdef0123456789abcdef".to_owned();
    let posted = api_content("C0123456789", &message);
    validate(&posted).map_err(|problems| format!("Slack refuses it: {problems:?}"))?;
    let found = findings(posted.as_object().expect("an object"));
    if !found.is_empty() {
        return Err(format!("it could do harm: {found:?}"));
    }
    let text = &message.text;
    if text.len() > TEXT_BYTES_MAX || text.is_empty() {
        return Err(format!("a text of {} bytes", text.len()));
    }
    if text.contains(['<', '>']) {
        return Err(format!("not escaped: {text}"));
    }
    let is_entity = |at: usize| {
        let rest = &text[at..];
        ["&amp;", "&lt;", "&gt;"]
            .iter()
            .any(|entity| rest.starts_with(entity))
    };
    match text.match_indices('&').find(|(at, _)| !is_entity(*at)) {
        Some((at, _)) => Err(format!("an escape is cut at byte {at}: {text}")),
        None => Ok(()),
    }
}

/// What the events of a message were.
pub struct Told<'a> {
    /// How many.
    pub events: usize,
    /// Of all members, what the audit ID of each is, where it has one that can be looked for.
    pub ids: &'a [Option<String>],
    /// Lines besides the events': notices, and that it may be repeated.
    pub extra: usize,
}

/// Whether every event is there, with its own card or in a total.
pub fn complete(message: &Message, told: &Told<'_>) -> Result<(), String> {
    match message.form {
        "sentences" => sentences(message, told),
        "digest" => digest(message, told.events),
        other => Err(format!("a message of form {other}")),
    }
}

fn sentences(message: &Message, told: &Told<'_>) -> Result<(), String> {
    let cards: Vec<(&Value, &Value)> = message
        .blocks
        .iter()
        .zip(message.blocks.iter().skip(1))
        .filter(|(block, _)| block["type"] == "rich_text")
        .collect();
    if cards.len() != told.events {
        return Err(format!("{} cards for {} events", cards.len(), told.events));
    }
    for (number, (_, context)) in cards.iter().enumerate() {
        if context["type"] != "context" {
            return Err("an event without its line of context".to_owned());
        }
        let id = told.ids.get(number).and_then(Option::as_ref);
        if let Some(id) = id.filter(|id| !context.to_string().contains(*id)) {
            return Err(format!("audit ID {id} is not shown: {context}"));
        }
    }
    let lines = lines(&message.text);
    let expected = told.events + told.extra;
    if lines != expected {
        return Err(format!(
            "the text tells {lines} of {expected} lines: {}",
            message.text
        ));
    }
    Ok(())
}

/// Lines of a text, those that are only counted included.
pub fn lines(text: &str) -> usize {
    let shown = text.lines().count();
    let last = text.lines().last().unwrap_or_default();
    let cut = last
        .strip_prefix("… and ")
        .and_then(|rest| rest.strip_suffix(" more lines"))
        .and_then(|count| count.parse::<usize>().ok());
    cut.map_or(shown, |more| shown - 1 + more)
}

fn digest(message: &Message, events: usize) -> Result<(), String> {
    let header = message
        .blocks
        .iter()
        .find(|block| block["type"] == "header")
        .and_then(|block| block["text"]["text"].as_str())
        .unwrap_or_default();
    let number = |text: &str| text.split(' ').next().and_then(|word| word.parse().ok());
    if number(header) != Some(events) {
        return Err(format!("{events} events under the title {header}"));
    }
    if number(&message.text) != Some(events) {
        return Err(format!("{events} events, and the text: {}", message.text));
    }
    let counted: usize = rows(message)
        .iter()
        .map(|row| {
            let count = row["elements"][1]["text"].as_str().unwrap_or_default();
            number(count).unwrap_or_default()
        })
        .sum();
    let rest = notes(message)
        .filter_map(|note| note.strip_prefix("and "))
        .find(|note| note.contains(" more event"));
    let rest = rest.and_then(number).unwrap_or_default();
    if counted + rest != events {
        return Err(format!(
            "{counted} in rows and {rest} besides are not {events}"
        ));
    }
    Ok(())
}

/// The rows of a message's lists.
pub fn rows(message: &Message) -> Vec<&Value> {
    let elements = message
        .blocks
        .iter()
        .filter(|block| block["type"] == "rich_text")
        .filter_map(|block| block["elements"].as_array())
        .flatten();
    elements
        .filter(|element| element["type"] == "rich_text_list")
        .filter_map(|list| list["elements"].as_array())
        .flatten()
        .collect()
}

/// The small lines of a message that are plain text.
fn notes(message: &Message) -> impl Iterator<Item = &str> {
    message
        .blocks
        .iter()
        .filter(|block| block["type"] == "context")
        .filter_map(|block| block["elements"][0]["text"].as_str())
}

/// Replies tell every member once, in order, or count those that they have no room for.
pub fn replies_complete(replies: &[Message], members: usize) -> Result<(), String> {
    let mut told = 0;
    for reply in replies {
        let title = notes(reply).next().unwrap_or_default();
        let numbers: Vec<usize> = title
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        let shown = rows(reply).len();
        if numbers != [told + 1, told + shown, members] {
            return Err(format!("{shown} rows after {told} under the title {title}"));
        }
        told += shown;
    }
    let more = replies.last().into_iter().flat_map(notes).find_map(|note| {
        let (count, _) = note.strip_prefix("and ")?.split_once(" more, for which")?;
        count.parse::<usize>().ok()
    });
    if told + more.unwrap_or_default() != members {
        return Err(format!(
            "{told} of {members} told, and {more:?} said to be more"
        ));
    }
    Ok(())
}

/// A line a member, with as many columns as ever, and nothing that a terminal would obey.
pub fn listing_is_one(listing: &str, members: usize) -> Result<(), String> {
    let lines = listing.lines().count();
    let is_bad = |one: char| one.is_control() && !matches!(one, '\t' | '\n');
    if lines != members || listing.contains(is_bad) {
        return Err(format!("a list of {lines} lines for {members} members"));
    }
    match listing.lines().find(|line| line.matches('\t').count() != 4) {
        Some(line) => Err(format!("other columns: {line}")),
        None => Ok(()),
    }
}
