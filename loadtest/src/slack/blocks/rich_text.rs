//! The structure of a `rich_text` block: sections, lists, preformatted text, quotes,
//! and the leaves within them.
//!
//! Contract: Slack states no maximum for a leaf's text, so none is checked here but
//! the one over all blocks. Preformatted text holds texts and links only, as the types
//! of Slack's own SDK say.

use serde_json::Value;

use super::{Fields, Problems, URL_MAX_CHARS, given, kind};

const INDENT_MAX: u64 = 8;
/// Slack names no maximum; the cumulative one strikes long before.
const ANY: usize = usize::MAX - 1;
const STYLES: [&str; 8] = [
    "bold",
    "italic",
    "strike",
    "code",
    "underline",
    "highlight",
    "client_highlight",
    "unlink",
];

impl Problems {
    pub(super) fn rich_text(&mut self, pointer: &str, block: &Fields) {
        let parts = self.items(pointer, block, "elements", ANY);
        for (index, part) in parts.iter().enumerate() {
            let pointer = format!("{pointer}/elements/{index}");
            let Some(fields) = self.object(&pointer, part) else {
                continue;
            };
            match kind(fields) {
                "rich_text_section" => self.leaves(&pointer, fields, false),
                "rich_text_quote" => {
                    self.border(&pointer, fields);
                    self.leaves(&pointer, fields, false);
                }
                "rich_text_preformatted" => {
                    self.border(&pointer, fields);
                    self.leaves(&pointer, fields, true);
                }
                "rich_text_list" => self.rich_list(&pointer, fields),
                unknown => self.unsupported(&pointer, unknown),
            }
        }
    }

    fn rich_list(&mut self, pointer: &str, list: &Fields) {
        let style = given(list, "style");
        if !style.is_some_and(|style| style == "bullet" || style == "ordered") {
            self.add("must be a valid enum value", &format!("{pointer}/style"));
        }
        self.border(pointer, list);
        self.whole_number(pointer, list, "indent", INDENT_MAX);
        self.whole_number(pointer, list, "offset", u64::MAX);
        let items = self.items(pointer, list, "elements", ANY);
        for (index, item) in items.iter().enumerate() {
            let pointer = format!("{pointer}/elements/{index}");
            let Some(fields) = self.object(&pointer, item) else {
                continue;
            };
            match kind(fields) {
                "rich_text_section" => self.leaves(&pointer, fields, false),
                other => self.unsupported(&pointer, other),
            }
        }
    }

    fn border(&mut self, pointer: &str, part: &Fields) {
        self.whole_number(pointer, part, "border", 1);
    }

    fn whole_number(&mut self, pointer: &str, fields: &Fields, name: &str, max: u64) {
        let fits = |value: &Value| value.as_u64().is_some_and(|number| number <= max);
        if given(fields, name).is_some_and(|value| !fits(value)) {
            let rule = format!("must be a whole number from 0 to {max}");
            self.add(&rule, &format!("{pointer}/{name}"));
        }
    }

    fn leaves(&mut self, pointer: &str, part: &Fields, preformatted: bool) {
        let leaves = self.items(pointer, part, "elements", ANY);
        for (index, leaf) in leaves.iter().enumerate() {
            let pointer = format!("{pointer}/elements/{index}");
            if let Some(fields) = self.object(&pointer, leaf) {
                self.leaf(&pointer, fields, preformatted);
            }
        }
    }

    fn leaf(&mut self, pointer: &str, leaf: &Fields, preformatted: bool) {
        match kind(leaf) {
            "text" => self.string(pointer, leaf, "text", ANY, true),
            "link" => {
                self.string(pointer, leaf, "url", URL_MAX_CHARS, true);
                self.string(pointer, leaf, "text", ANY, false);
            }
            other if preformatted => self.unsupported(pointer, other),
            "date" => self.date(pointer, leaf),
            "emoji" => self.string(pointer, leaf, "name", ANY, true),
            "color" => self.string(pointer, leaf, "value", ANY, true),
            "user" => self.string(pointer, leaf, "user_id", ANY, true),
            "usergroup" => self.string(pointer, leaf, "usergroup_id", ANY, true),
            "channel" => self.string(pointer, leaf, "channel_id", ANY, true),
            "broadcast" => {
                let range = given(leaf, "range").and_then(Value::as_str);
                if !matches!(range, Some("here" | "channel" | "everyone")) {
                    self.add("must be a valid enum value", &format!("{pointer}/range"));
                }
            }
            unknown => self.unsupported(pointer, unknown),
        }
        self.style(pointer, leaf);
    }

    fn date(&mut self, pointer: &str, leaf: &Fields) {
        if !given(leaf, "timestamp").is_some_and(Value::is_i64) {
            self.add("must be an integer", &format!("{pointer}/timestamp"));
        }
        self.string(pointer, leaf, "format", ANY, true);
        self.string(pointer, leaf, "url", URL_MAX_CHARS, false);
        self.string(pointer, leaf, "fallback", ANY, false);
        // Slack shows a format without a known placeholder as an error.
        let format = leaf.get("format").and_then(Value::as_str);
        if format.is_some_and(|format| !format.contains('{')) {
            self.add("must hold a date token", &format!("{pointer}/format"));
        }
    }

    fn style(&mut self, pointer: &str, leaf: &Fields) {
        let Some(style) = given(leaf, "style") else {
            return;
        };
        let pointer = format!("{pointer}/style");
        let Some(style) = self.object(&pointer, style) else {
            return;
        };
        for (name, value) in style {
            if !STYLES.contains(&name.as_str()) {
                self.add(&format!("additional property: {name}"), &pointer);
            } else if !value.is_boolean() {
                self.add("must be a boolean", &format!("{pointer}/{name}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{broken, passes, rich};
    use super::*;

    fn part(fields: Value) -> Value {
        json!({"type": "rich_text", "elements": [fields]})
    }

    #[test]
    fn what_slack_documents_passes() {
        let leaves = [
            json!({"type": "text", "text": "a", "style": {"bold": true, "code": false}}),
            json!({"type": "link", "url": "https://example.com", "text": "b"}),
            json!({"type": "date", "timestamp": 1_720_710_212, "format": "{date_num}"}),
            json!({"type": "emoji", "name": "tada"}),
            json!({"type": "user", "user_id": "U1"}),
            json!({"type": "usergroup", "usergroup_id": "S1"}),
            json!({"type": "channel", "channel_id": "C1"}),
            json!({"type": "broadcast", "range": "here"}),
            json!({"type": "color", "value": "#fff"}),
        ];
        let item = json!({"type": "rich_text_section", "elements": leaves});
        let pre = [leaves[0].clone(), leaves[1].clone()];
        let list = json!({"type": "rich_text_list", "style": "bullet", "indent": 8, "border": 1,
            "elements": [item]});
        passes(&[json!({"type": "rich_text", "block_id": "x", "elements": [
            item, list,
            {"type": "rich_text_preformatted", "border": 0, "elements": pre},
            {"type": "rich_text_quote", "elements": leaves},
        ]})]);
    }

    #[test]
    fn a_broken_leaf_is_named() {
        let leaf = |value: Value, message: &str, field: &str| {
            let pointer = format!("/elements/0/elements/0{field}");
            broken(rich(&[value]), message, &pointer);
        };
        let missing = |field: &str| format!("missing required field: {field}");
        let text = |text: Value| json!({"type": "text", "text": text});
        leaf(text(json!("")), "must be more than 0 characters", "/text");
        leaf(text(json!(1)), "must be a string", "/text");
        leaf(text(Value::Null), &missing("text"), "");
        leaf(
            json!({"type": "mrkdwn"}),
            "unsupported type: mrkdwn",
            "/type",
        );
        leaf(json!({"type": "link", "text": "a"}), &missing("url"), "");
        let link = json!({"type": "link", "url": "a".repeat(3_001)});
        leaf(link, "must be less than 3001 characters", "/url");
        let date = |timestamp: Value, format: Value| json!({"type": "date", "timestamp": timestamp, "format": format});
        leaf(
            date(json!(1.5), json!("{a}")),
            "must be an integer",
            "/timestamp",
        );
        leaf(date(json!(1), Value::Null), &missing("format"), "");
        leaf(
            date(json!(1), json!("a")),
            "must hold a date token",
            "/format",
        );
        leaf(json!({"type": "emoji"}), &missing("name"), "");
        leaf(json!({"type": "user"}), &missing("user_id"), "");
        let all = json!({"type": "broadcast", "range": "all"});
        leaf(all, "must be a valid enum value", "/range");
        let styled = |style: Value| json!({"type": "text", "text": "a", "style": style});
        leaf(
            styled(json!({"bald": true})),
            "additional property: bald",
            "/style",
        );
        leaf(
            styled(json!({"bold": 1})),
            "must be a boolean",
            "/style/bold",
        );
        leaf(json!("a"), "must be an object", "");
    }

    #[test]
    fn a_broken_part_is_named() {
        let emoji = json!({"type": "emoji", "name": "a"});
        let item = json!({"type": "rich_text_section", "elements": [emoji]});
        let list = |name: &str, value: Value| {
            let mut list = json!({"type": "rich_text_list", "style": "bullet", "elements": [item]});
            list[name] = value;
            part(list)
        };
        let enumerated = "must be a valid enum value";
        let small = "must be a whole number from 0 to";
        broken(list("style", Value::Null), enumerated, "/elements/0/style");
        broken(
            list("indent", json!(9)),
            &format!("{small} 8"),
            "/elements/0/indent",
        );
        broken(
            list("border", json!(2)),
            &format!("{small} 1"),
            "/elements/0/border",
        );
        let wrong = list("elements", json!([emoji]));
        broken(
            wrong,
            "unsupported type: emoji",
            "/elements/0/elements/0/type",
        );
        let pre = part(json!({"type": "rich_text_preformatted", "elements": [emoji]}));
        broken(
            pre,
            "unsupported type: emoji",
            "/elements/0/elements/0/type",
        );
        broken(
            rich(&[]),
            "no less than 1 items allowed",
            "/elements/0/elements",
        );
        let without = part(json!({"type": "rich_text_quote"}));
        broken(without, "missing required field: elements", "/elements/0");
        let foreign = part(json!({"type": "section"}));
        broken(foreign, "unsupported type: section", "/elements/0/type");
    }
}
