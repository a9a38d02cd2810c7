//! Slack's rules for Block Kit blocks in a message.
//!
//! Contract: every broken rule is named as Slack names it, message first, then
//! `[json-pointer:…]`. The wording of the maxima is Slack's own, read in public error
//! reports; Slack documents none of it, so a client must only show these texts.
//! Where Slack says nothing (an empty `rich_text_section`, an unknown `style`) the
//! stricter reading is taken: a client that passes here passes there.
//! The cumulative limit is checked last: Slack's staff give it as "12,000 text
//! characters" over all blocks of a message; see [`text_bytes`] for how it is counted.

mod elements;
mod rich_text;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::message::Refusal;

const BLOCKS_MAX: usize = 50;
const BLOCK_ID_MAX_CHARS: usize = 255;
const TEXT_MAX_CHARS: usize = 3_000;
const SECTION_FIELDS_MAX: usize = 10;
const SECTION_FIELD_MAX_CHARS: usize = 2_000;
const HEADER_TEXT_MAX_CHARS: usize = 150;
const CONTEXT_ELEMENTS_MAX: usize = 10;
const ACTIONS_ELEMENTS_MAX: usize = 25;
const ALT_TEXT_MAX_CHARS: usize = 2_000;
const TITLE_MAX_CHARS: usize = 2_000;
const URL_MAX_CHARS: usize = 3_000;
const MARKDOWN_MAX_CHARS: usize = 12_000;

/// The block types Slack takes in a message.
const TYPES: [&str; 13] = [
    "actions",
    "call",
    "context",
    "context_actions",
    "divider",
    "file",
    "header",
    "image",
    "markdown",
    "rich_text",
    "section",
    "table",
    "video",
];

/// An object's fields.
type Fields = Map<String, Value>;

/// Refuses what Slack refuses: `invalid_blocks`, then `msg_blocks_too_long` when the
/// text of all blocks is longer than `text_max_bytes`.
pub(super) fn check(blocks: &[Value], text_max_bytes: usize) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    problems.count("/blocks", blocks.len(), BLOCKS_MAX);
    for (index, block) in blocks.iter().enumerate() {
        problems.block(&format!("/blocks/{index}"), block);
    }
    problems.markdown_together(blocks);
    if !problems.found.is_empty() {
        return Err(Refusal {
            details: problems.found,
            ..Refusal::from("invalid_blocks")
        });
    }
    if table::count(blocks) > 1 {
        return Err(Refusal {
            details: vec!["only_one_table_allowed".to_owned()],
            ..Refusal::from("invalid_attachments")
        });
    }
    if blocks.iter().map(text_bytes).sum::<usize>() > text_max_bytes {
        return Err("msg_blocks_too_long".into());
    }
    Ok(())
}

/// The length of every `text` at whatever depth (text objects, rich text, table
/// cells), in bytes of UTF-8 after escaping. Slack does not say what a character is;
/// this is the reading which counts most. `mrkdwn` comes escaped, so it counts as sent.
fn text_bytes(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(fields) => {
            let escaped = kind(fields) == "mrkdwn" || kind(fields) == "markdown";
            let length = |(name, value): (&String, &Value)| match value {
                Value::String(text) if name == "text" && escaped => text.len(),
                Value::String(text) if name == "text" => escaped_bytes(text),
                other => text_bytes(other),
            };
            fields.iter().map(length).sum()
        }
        _ => 0,
    }
}

/// The length of a text once `&`, `<` and `>` are written as Slack wants them.
pub(super) fn escaped_bytes(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'&' => "&amp;".len(),
            b'<' | b'>' => "&lt;".len(),
            _ => 1,
        })
        .sum()
}

/// An object's `type`, or "" if it has none that is a string.
fn kind(fields: &Fields) -> &str {
    fields
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A field that is there: Slack takes `null` for the default.
fn given<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

#[derive(Default)]
struct Problems {
    found: Vec<String>,
    block_ids: BTreeSet<String>,
}

impl Problems {
    fn add(&mut self, message: &str, pointer: &str) {
        self.found
            .push(format!("{message} [json-pointer:{pointer}]"));
    }

    fn count(&mut self, pointer: &str, count: usize, max: usize) {
        if count > max {
            self.add(&format!("no more than {max} items allowed"), pointer);
        }
    }

    /// Whether the text's length is between 1 and `max_chars`.
    fn length(&mut self, pointer: &str, text: &str, max_chars: usize) -> bool {
        let rule = match text.chars().count() {
            0 => "must be more than 0 characters".to_owned(),
            chars if chars > max_chars => format!("must be less than {} characters", max_chars + 1),
            _ => return true,
        };
        self.add(&rule, pointer);
        false
    }

    /// A string field of 1 to `max_chars` characters; one that may be missing may.
    fn string(
        &mut self,
        pointer: &str,
        fields: &Fields,
        name: &str,
        max_chars: usize,
        needed: bool,
    ) {
        match given(fields, name) {
            None if needed => self.add(&format!("missing required field: {name}"), pointer),
            None => {}
            Some(Value::String(text)) => {
                self.length(&format!("{pointer}/{name}"), text, max_chars);
            }
            Some(_) => self.add("must be a string", &format!("{pointer}/{name}")),
        }
    }

    /// The object's fields, or the finding that it is none.
    fn object<'a>(&mut self, pointer: &str, value: &'a Value) -> Option<&'a Fields> {
        if value.as_object().is_none() {
            self.add("must be an object", pointer);
        }
        value.as_object()
    }

    /// The items of an array field of at least one item.
    fn items<'a>(
        &mut self,
        pointer: &str,
        fields: &'a Fields,
        name: &str,
        max: usize,
    ) -> &'a [Value] {
        let Some(items) = given(fields, name) else {
            self.add(&format!("missing required field: {name}"), pointer);
            return &[];
        };
        let pointer = format!("{pointer}/{name}");
        let Some(items) = items.as_array() else {
            self.add("must be an array", &pointer);
            return &[];
        };
        if items.is_empty() {
            self.add("no less than 1 items allowed", &pointer);
        }
        self.count(&pointer, items.len(), max);
        items
    }

    fn unsupported(&mut self, pointer: &str, kind: &str) {
        self.add(
            &format!("unsupported type: {kind}"),
            &format!("{pointer}/type"),
        );
    }

    fn block(&mut self, pointer: &str, block: &Value) {
        let Some(fields) = self.object(pointer, block) else {
            return;
        };
        if given(fields, "type").is_none() {
            return self.add("missing required field: type", pointer);
        }
        let kind = kind(fields);
        if !TYPES.contains(&kind) {
            return self.unsupported(pointer, kind);
        }
        self.block_id(pointer, fields);
        match kind {
            "section" => self.section(pointer, fields),
            "header" => self.header(pointer, fields),
            "context" => self.context(pointer, fields),
            "actions" => self.actions(pointer, fields),
            "image" => self.image_block(pointer, fields),
            "rich_text" => self.rich_text(pointer, fields),
            "markdown" => self.string(pointer, fields, "text", MARKDOWN_MAX_CHARS, true),
            "table" => self.table(pointer, fields),
            _ => {}
        }
    }

    fn block_id(&mut self, pointer: &str, block: &Fields) {
        self.string(pointer, block, "block_id", BLOCK_ID_MAX_CHARS, false);
        if let Some(id) = given(block, "block_id").and_then(Value::as_str)
            && !self.block_ids.insert(id.to_owned())
        {
            self.add("block_id must be unique", &format!("{pointer}/block_id"));
        }
    }

    fn section(&mut self, pointer: &str, block: &Fields) {
        let text = given(block, "text");
        if text.is_none() && given(block, "fields").is_none() {
            self.add("missing required field: text", pointer);
        }
        if let Some(text) = text {
            self.text(&format!("{pointer}/text"), text, TEXT_MAX_CHARS);
        }
        if given(block, "fields").is_some() {
            let fields = self.items(pointer, block, "fields", SECTION_FIELDS_MAX);
            for (index, field) in fields.iter().enumerate() {
                let pointer = format!("{pointer}/fields/{index}");
                self.text(&pointer, field, SECTION_FIELD_MAX_CHARS);
            }
        }
        if let Some(accessory) = given(block, "accessory") {
            self.accessory(&format!("{pointer}/accessory"), accessory);
        }
    }

    fn header(&mut self, pointer: &str, block: &Fields) {
        let Some(text) = given(block, "text") else {
            return self.add("missing required field: text", pointer);
        };
        self.plain_text(&format!("{pointer}/text"), text, HEADER_TEXT_MAX_CHARS);
    }

    fn context(&mut self, pointer: &str, block: &Fields) {
        let elements = self.items(pointer, block, "elements", CONTEXT_ELEMENTS_MAX);
        for (index, element) in elements.iter().enumerate() {
            let pointer = format!("{pointer}/elements/{index}");
            match element.get("type").and_then(Value::as_str) {
                Some("image") => self.image_element(&pointer, element),
                Some("mrkdwn" | "plain_text") => self.text(&pointer, element, TEXT_MAX_CHARS),
                other => self.unsupported(&pointer, other.unwrap_or_default()),
            }
        }
    }

    fn image_block(&mut self, pointer: &str, block: &Fields) {
        self.image(pointer, block);
        if let Some(title) = given(block, "title") {
            self.plain_text(&format!("{pointer}/title"), title, TITLE_MAX_CHARS);
        }
    }

    /// The limit of markdown blocks is one for all of a message's together.
    fn markdown_together(&mut self, blocks: &[Value]) {
        let is_markdown = |block: &&Value| block["type"] == "markdown";
        let texts = blocks.iter().filter(is_markdown);
        let chars = texts.filter_map(|block| block["text"].as_str());
        if chars.map(|text| text.chars().count()).sum::<usize>() > MARKDOWN_MAX_CHARS {
            let rule = format!("must be less than {} characters", MARKDOWN_MAX_CHARS + 1);
            self.add(&rule, "/blocks");
        }
    }
}
