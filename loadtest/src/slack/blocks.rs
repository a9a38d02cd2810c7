//! Slack's rules for Block Kit blocks in a message.
//!
//! Contract: every broken rule is named as Slack names it, message first, then
//! `[json-pointer:…]`. The wording of the maxima is Slack's own, read in public error
//! reports; Slack documents none of it, so a client must only show these texts.
//! The cumulative limit is checked last: Slack's staff give it as "12,000 text
//! characters" over all blocks of a message.

use serde_json::{Map, Value};

use super::message::Refusal;

const BLOCKS_MAX: usize = 50;
const SECTION_TEXT_MAX_CHARS: usize = 3_000;
const SECTION_FIELDS_MAX: usize = 10;
const SECTION_FIELD_MAX_CHARS: usize = 2_000;
const HEADER_TEXT_MAX_CHARS: usize = 150;
const CONTEXT_ELEMENTS_MAX: usize = 10;
const ACTIONS_ELEMENTS_MAX: usize = 25;
const CUMULATIVE_TEXT_MAX_CHARS: usize = 12_000;

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

/// Refuses what Slack refuses: `invalid_blocks`, then `msg_blocks_too_long`.
pub(super) fn check(blocks: &[Value]) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    problems.count("/blocks", blocks.len(), BLOCKS_MAX);
    for (index, block) in blocks.iter().enumerate() {
        problems.block(&format!("/blocks/{index}"), block);
    }
    if !problems.found.is_empty() {
        return Err(Refusal {
            details: problems.found,
            ..Refusal::from("invalid_blocks")
        });
    }
    if blocks.iter().map(text_chars).sum::<usize>() > CUMULATIVE_TEXT_MAX_CHARS {
        return Err("msg_blocks_too_long".into());
    }
    Ok(())
}

/// The characters of every `text` at whatever depth: text objects, rich text, table cells.
fn text_chars(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(text_chars).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) if name == "text" => text.chars().count(),
                other => text_chars(other),
            })
            .sum(),
        _ => 0,
    }
}

#[derive(Default)]
struct Problems {
    found: Vec<String>,
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

    fn block(&mut self, pointer: &str, block: &Value) {
        let Some(fields) = block.as_object() else {
            return self.add("must be an object", pointer);
        };
        let kind = match fields.get("type") {
            None | Some(Value::Null) => return self.add("missing required field: type", pointer),
            Some(kind) => kind.as_str().unwrap_or_default(),
        };
        if !TYPES.contains(&kind) {
            return self.add(
                &format!("unsupported type: {kind}"),
                &format!("{pointer}/type"),
            );
        }
        match kind {
            "section" => self.section(pointer, fields),
            "header" => self.header(pointer, fields),
            "context" => self.elements(pointer, fields, CONTEXT_ELEMENTS_MAX),
            "actions" => self.elements(pointer, fields, ACTIONS_ELEMENTS_MAX),
            _ => {}
        }
    }

    fn section(&mut self, pointer: &str, block: &Map<String, Value>) {
        let text = block.get("text").filter(|text| !text.is_null());
        let fields = block.get("fields").filter(|fields| !fields.is_null());
        if text.is_none() && fields.is_none() {
            self.add("missing required field: text", pointer);
        }
        if let Some(text) = text {
            self.text(&format!("{pointer}/text"), text, SECTION_TEXT_MAX_CHARS);
        }
        let Some(fields) = fields else { return };
        let pointer = format!("{pointer}/fields");
        let Some(fields) = fields.as_array() else {
            return self.add("must be an array", &pointer);
        };
        self.count(&pointer, fields.len(), SECTION_FIELDS_MAX);
        for (index, field) in fields.iter().enumerate() {
            self.text(
                &format!("{pointer}/{index}"),
                field,
                SECTION_FIELD_MAX_CHARS,
            );
        }
    }

    fn header(&mut self, pointer: &str, block: &Map<String, Value>) {
        let Some(text) = block.get("text") else {
            return self.add("missing required field: text", pointer);
        };
        let pointer = format!("{pointer}/text");
        // A header knows no mrkdwn: its text is plain_text only.
        if text.get("type").and_then(Value::as_str) == Some("mrkdwn") {
            return self.add("unsupported type: mrkdwn", &format!("{pointer}/type"));
        }
        self.text(&pointer, text, HEADER_TEXT_MAX_CHARS);
    }

    fn elements(&mut self, pointer: &str, block: &Map<String, Value>, max: usize) {
        let Some(elements) = block.get("elements").and_then(Value::as_array) else {
            return self.add("missing required field: elements", pointer);
        };
        let pointer = format!("{pointer}/elements");
        if elements.is_empty() {
            self.add("no less than 1 items allowed", &pointer);
        }
        self.count(&pointer, elements.len(), max);
        for (index, element) in elements.iter().enumerate() {
            // Elements which are no text objects (images, buttons) have other rules.
            if matches!(
                element.get("type").and_then(Value::as_str),
                Some("mrkdwn" | "plain_text")
            ) {
                self.text(
                    &format!("{pointer}/{index}"),
                    element,
                    SECTION_TEXT_MAX_CHARS,
                );
            }
        }
    }

    /// A text object: `mrkdwn` or `plain_text`, between 1 and `max_chars` characters.
    fn text(&mut self, pointer: &str, text: &Value, max_chars: usize) {
        let kind = text.get("type").and_then(Value::as_str);
        let content = text.get("text").and_then(Value::as_str);
        let (Some("mrkdwn" | "plain_text"), Some(content)) = (kind, content) else {
            return self.add("failed to match all allowed schemas", pointer);
        };
        let rule = match content.chars().count() {
            0 => "must be more than 0 characters".to_owned(),
            chars if chars > max_chars => format!("must be less than {} characters", max_chars + 1),
            _ => return,
        };
        self.add("failed to match all allowed schemas", pointer);
        self.add(&rule, &format!("{pointer}/text"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(kind: &str, chars: usize) -> Value {
        json!({"type": kind, "text": "ä".repeat(chars)})
    }

    fn section(chars: usize) -> Value {
        json!({"type": "section", "text": text("mrkdwn", chars)})
    }

    fn details(blocks: &[Value]) -> Vec<String> {
        let refusal = check(blocks).unwrap_err();
        assert_eq!(refusal.code, "invalid_blocks");
        refusal.details
    }

    #[test]
    fn blocks_at_every_limit_pass() {
        let mut blocks = vec![
            section(3_000),
            json!({"type": "section", "fields": vec![text("plain_text", 200); 10]}),
            json!({"type": "header", "text": text("plain_text", 150)}),
            json!({"type": "context", "elements": vec![text("mrkdwn", 10); 10]}),
            json!({"type": "actions", "elements": vec![json!({"type": "button"}); 25]}),
            json!({"type": "section", "fields": [text("mrkdwn", 2_000)]}),
        ];
        blocks.resize(50, json!({"type": "divider"}));
        assert_eq!(check(&blocks), Ok(()));
    }

    #[test]
    fn too_many_blocks() {
        let blocks = vec![json!({"type": "divider"}); 51];
        assert_eq!(
            details(&blocks),
            ["no more than 50 items allowed [json-pointer:/blocks]"]
        );
    }

    #[test]
    fn one_more_than_each_limit_is_named_with_its_pointer() {
        let over = "must be less than 3001 characters [json-pointer:/blocks/0/text/text]";
        let found = details(&[section(3_001)]);
        assert_eq!(
            found[0],
            "failed to match all allowed schemas [json-pointer:/blocks/0/text]"
        );
        assert_eq!(found[1], over);
        for (block, expected) in [
            (
                json!({"type": "header", "text": text("plain_text", 151)}),
                "must be less than 151 characters [json-pointer:/blocks/1/text/text]",
            ),
            (
                json!({"type": "context", "elements": vec![text("mrkdwn", 1); 11]}),
                "no more than 10 items allowed [json-pointer:/blocks/1/elements]",
            ),
            (
                json!({"type": "actions", "elements": vec![json!({"type": "button"}); 26]}),
                "no more than 25 items allowed [json-pointer:/blocks/1/elements]",
            ),
            (
                json!({"type": "section", "fields": vec![text("mrkdwn", 1); 11]}),
                "no more than 10 items allowed [json-pointer:/blocks/1/fields]",
            ),
            (
                json!({"type": "section", "fields": [text("mrkdwn", 2_001)]}),
                "must be less than 2001 characters [json-pointer:/blocks/1/fields/0/text]",
            ),
        ] {
            let found = details(&[json!({"type": "divider"}), block]);
            assert_eq!(found.last().unwrap(), expected);
        }
    }

    #[test]
    fn empty_and_unknown_things_are_refused() {
        for (block, expected) in [
            (
                json!({}),
                "missing required field: type [json-pointer:/blocks/0]",
            ),
            (
                json!({"type": ""}),
                "unsupported type:  [json-pointer:/blocks/0/type]",
            ),
            (
                json!({"type": 1}),
                "unsupported type:  [json-pointer:/blocks/0/type]",
            ),
            (
                json!({"type": "sect"}),
                "unsupported type: sect [json-pointer:/blocks/0/type]",
            ),
            (
                json!("divider"),
                "must be an object [json-pointer:/blocks/0]",
            ),
            (
                json!({"type": "section"}),
                "missing required field: text [json-pointer:/blocks/0]",
            ),
            (
                section(0),
                "must be more than 0 characters [json-pointer:/blocks/0/text/text]",
            ),
            (
                json!({"type": "header", "text": text("mrkdwn", 1)}),
                "unsupported type: mrkdwn [json-pointer:/blocks/0/text/type]",
            ),
            (
                json!({"type": "context", "elements": []}),
                "no less than 1 items allowed [json-pointer:/blocks/0/elements]",
            ),
            (
                json!({"type": "section", "text": "a"}),
                "failed to match all allowed schemas [json-pointer:/blocks/0/text]",
            ),
        ] {
            assert_eq!(details(&[block]).last().unwrap(), expected);
        }
    }

    #[test]
    fn the_text_of_all_blocks_together_is_limited() {
        let rich = |chars: usize| {
            let run = json!({"type": "text", "text": "a".repeat(chars)});
            let part = json!({"type": "rich_text_section", "elements": [run]});
            json!({"type": "rich_text", "elements": [part]})
        };
        let mut blocks = vec![section(3_000), section(3_000), section(3_000), rich(3_000)];
        assert_eq!(check(&blocks), Ok(()));
        blocks.push(rich(1));
        assert_eq!(check(&blocks), Err("msg_blocks_too_long".into()));
    }
}
