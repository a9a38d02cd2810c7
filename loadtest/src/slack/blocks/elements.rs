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
