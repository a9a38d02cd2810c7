//! What blocks are made of: text objects, images, buttons and the other things that
//! can be pressed.
//!
//! Contract: text objects, images, buttons and overflow menus are checked whole; of
//! the other interactive elements only that Slack knows the type, since a message
//! that waits for no answer has none.

use serde_json::Value;

use super::{
    ACTIONS_ELEMENTS_MAX, ALT_TEXT_MAX_CHARS, Fields, Problems, URL_MAX_CHARS, given, kind,
};

const ACTION_ID_MAX_CHARS: usize = 255;
const BUTTON_TEXT_MAX_CHARS: usize = 75;
const BUTTON_VALUE_MAX_CHARS: usize = 2_000;
const BUTTON_LABEL_MAX_CHARS: usize = 75;
const OVERFLOW_OPTIONS_MAX: usize = 5;
const OPTION_TEXT_MAX_CHARS: usize = 75;
const OPTION_VALUE_MAX_CHARS: usize = 150;

/// Interactive elements besides buttons and overflow menus.
const INTERACTIVE: [&str; 15] = [
    "channels_select",
    "checkboxes",
    "conversations_select",
    "datepicker",
    "datetimepicker",
    "external_select",
    "multi_channels_select",
    "multi_conversations_select",
    "multi_external_select",
    "multi_static_select",
    "multi_users_select",
    "radio_buttons",
    "static_select",
    "timepicker",
    "users_select",
];

impl Problems {
    /// A text object: `mrkdwn` or `plain_text`, between 1 and `max_chars` characters.
    pub(super) fn text(&mut self, pointer: &str, text: &Value, max_chars: usize) {
        const NO_MATCH: &str = "failed to match all allowed schemas";
        let (Some(fields), Some(content)) = (text.as_object(), text["text"].as_str()) else {
            return self.add(NO_MATCH, pointer);
        };
        // `emoji` is for plain text only and `verbatim` for mrkdwn only.
        let foreign = match kind(fields) {
            "mrkdwn" => "emoji",
            "plain_text" => "verbatim",
            _ => return self.add(NO_MATCH, pointer),
        };
        let flags = ["emoji", "verbatim"].map(|name| given(fields, name));
        if given(fields, foreign).is_some() || flags.iter().flatten().any(|flag| !flag.is_boolean())
        {
            return self.add(NO_MATCH, pointer);
        }
        let before = self.found.len();
        if !self.length(&format!("{pointer}/text"), content, max_chars) {
            // Slack names the object first, then the rule.
            self.found
                .insert(before, format!("{NO_MATCH} [json-pointer:{pointer}]"));
        }
    }

    /// A text object that knows no mrkdwn.
    pub(super) fn plain_text(&mut self, pointer: &str, text: &Value, max_chars: usize) {
        if text["type"] == "mrkdwn" {
            return self.unsupported(pointer, "mrkdwn");
        }
        self.text(pointer, text, max_chars);
    }

    pub(super) fn image_element(&mut self, pointer: &str, element: &Value) {
        if let Some(fields) = self.object(pointer, element) {
            self.image(pointer, fields);
        }
    }

    /// What an image has as a block and as an element.
    pub(super) fn image(&mut self, pointer: &str, fields: &Fields) {
        self.string(pointer, fields, "alt_text", ALT_TEXT_MAX_CHARS, true);
        let of_slack = given(fields, "slack_file").is_some();
        self.string(pointer, fields, "image_url", URL_MAX_CHARS, !of_slack);
    }

    pub(super) fn actions(&mut self, pointer: &str, block: &Fields) {
        let elements = self.items(pointer, block, "elements", ACTIONS_ELEMENTS_MAX);
        for (index, element) in elements.iter().enumerate() {
            self.interactive(&format!("{pointer}/elements/{index}"), element);
        }
    }

    pub(super) fn accessory(&mut self, pointer: &str, element: &Value) {
        if element["type"] == "image" {
            return self.image_element(pointer, element);
        }
        self.interactive(pointer, element);
    }

    fn interactive(&mut self, pointer: &str, element: &Value) {
        let Some(fields) = self.object(pointer, element) else {
            return;
        };
        self.string(pointer, fields, "action_id", ACTION_ID_MAX_CHARS, false);
        match kind(fields) {
            "button" => self.button(pointer, fields),
            "overflow" => self.overflow(pointer, fields),
            known if INTERACTIVE.contains(&known) => {}
            unknown => self.unsupported(pointer, unknown),
        }
    }

    fn button(&mut self, pointer: &str, button: &Fields) {
        match given(button, "text") {
            None => self.add("missing required field: text", pointer),
            Some(text) => self.plain_text(&format!("{pointer}/text"), text, BUTTON_TEXT_MAX_CHARS),
        }
        self.string(pointer, button, "url", URL_MAX_CHARS, false);
        self.string(pointer, button, "value", BUTTON_VALUE_MAX_CHARS, false);
        let label = "accessibility_label";
        self.string(pointer, button, label, BUTTON_LABEL_MAX_CHARS, false);
        let style = given(button, "style").is_none_or(|one| one == "primary" || one == "danger");
        if !style {
            self.add("must be a valid enum value", &format!("{pointer}/style"));
        }
    }

    fn overflow(&mut self, pointer: &str, menu: &Fields) {
        let options = self.items(pointer, menu, "options", OVERFLOW_OPTIONS_MAX);
        for (index, option) in options.iter().enumerate() {
            let pointer = format!("{pointer}/options/{index}");
            let Some(fields) = self.object(&pointer, option) else {
                continue;
            };
            let text = given(fields, "text").unwrap_or(&Value::Null);
            self.plain_text(&format!("{pointer}/text"), text, OPTION_TEXT_MAX_CHARS);
            self.string(&pointer, fields, "value", OPTION_VALUE_MAX_CHARS, true);
            self.string(&pointer, fields, "url", URL_MAX_CHARS, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{broken, button, details, passes, text};
    use super::*;

    fn long(chars: usize) -> Value {
        json!("a".repeat(chars))
    }

    fn act(element: Value) -> Value {
        json!({"type": "actions", "elements": [element]})
    }

    /// A button with one field of it changed.
    fn with(name: &str, value: Value) -> Value {
        let mut button = button();
        button[name] = value;
        act(button)
    }

    fn image(alt_chars: usize) -> Value {
        json!({"type": "image", "image_url": "https://a", "alt_text": long(alt_chars)})
    }

    fn menu(options: usize, value_chars: usize) -> Value {
        let option = json!({"text": text("plain_text", 75), "value": long(value_chars)});
        act(json!({"type": "overflow", "options": vec![option; options]}))
    }

    fn section(accessory: Value) -> Value {
        json!({"type": "section", "text": text("mrkdwn", 1), "accessory": accessory})
    }

    #[test]
    fn everything_at_its_limit_passes() {
        passes(&[
            menu(5, 150),
            with("url", long(3_000)),
            with("value", long(2_000)),
            with("action_id", long(255)),
            with("style", json!("danger")),
            image(2_000),
            json!({"type": "context", "elements": [image(1)]}),
            section(image(1)),
            section(button()),
            act(json!({"type": "datepicker"})),
            json!({"type": "divider", "block_id": long(255)}),
        ]);
    }

    #[test]
    fn buttons_and_menus_have_limits() {
        let less = |chars: usize| format!("must be less than {chars} characters");
        let at = |field: &str| format!("/elements/0{field}");
        let plain = |chars| text("plain_text", chars);
        broken(with("text", plain(76)), &less(76), &at("/text/text"));
        let mrkdwn = with("text", text("mrkdwn", 1));
        broken(mrkdwn, "unsupported type: mrkdwn", &at("/text/type"));
        let missing = with("text", Value::Null);
        broken(missing, "missing required field: text", &at(""));
        broken(with("url", long(3_001)), &less(3_001), &at("/url"));
        broken(with("value", long(2_001)), &less(2_001), &at("/value"));
        broken(with("action_id", long(256)), &less(256), &at("/action_id"));
        let red = with("style", json!("red"));
        broken(red, "must be a valid enum value", &at("/style"));
        let many = "no more than 5 items allowed";
        broken(menu(6, 1), many, &at("/options"));
        broken(menu(1, 151), &less(151), &at("/options/0/value"));
        let knob = act(json!({"type": "knob"}));
        broken(knob, "unsupported type: knob", &at("/type"));
    }

    #[test]
    fn images_accessories_and_block_ids_have_limits() {
        let missing = |field: &str| format!("missing required field: {field}");
        let less = |chars: usize| format!("must be less than {chars} characters");
        broken(image(2_001), &less(2_001), "/alt_text");
        broken(
            json!({"type": "image", "alt_text": "a"}),
            &missing("image_url"),
            "",
        );
        broken(
            json!({"type": "image", "image_url": "a"}),
            &missing("alt_text"),
            "",
        );
        let context = json!({"type": "context", "elements": [button()]});
        broken(context, "unsupported type: button", "/elements/0/type");
        let accessory = section(text("mrkdwn", 1));
        broken(accessory, "unsupported type: mrkdwn", "/accessory/type");
        let named = json!({"type": "divider", "block_id": long(256)});
        broken(named, &less(256), "/block_id");
        let twice = vec![json!({"type": "divider", "block_id": "a"}); 2];
        let expected = "block_id must be unique [json-pointer:/blocks/1/block_id]";
        assert_eq!(details(&twice), [expected]);
    }

    #[test]
    fn flags_belong_to_their_kind_of_text() {
        let flagged = |kind: &str, flag: &str, value: Value| json!({"type": "section", "text": {"type": kind, "text": "a", flag: value}});
        passes(&[flagged("mrkdwn", "verbatim", json!(true))]);
        passes(&[flagged("plain_text", "emoji", json!(false))]);
        for (kind, flag, value) in [
            ("mrkdwn", "emoji", json!(true)),
            ("plain_text", "verbatim", json!(true)),
            ("mrkdwn", "verbatim", json!("true")),
        ] {
            let block = flagged(kind, flag, value);
            broken(block, "failed to match all allowed schemas", "/text");
        }
    }
}
