//! What in an accepted message could notify, link or deceive: an audit, not a check.
//! Slack accepts all of it.
//!
//! Contract: a finding is `WHERE: WHAT`, WHERE a JSON pointer into the message. Found
//! are unescaped `<…>` tokens wherever Slack reads mrkdwn (dates are allowed),
//! rich-text elements that mention, settings that let Slack look for names and links
//! itself, and characters no text needs: controls, bidirectional overrides, zero
//! width. Plain text and rich text are not read as mrkdwn, so `<` is harmless there.

use serde_json::{Map, Value};

/// Every finding about a message as it was sent: what [`super::Post::audit`] holds.
pub fn findings(message: &Map<String, Value>) -> Vec<String> {
    let mut audit = Audit::default();
    for name in ["text", "markdown_text"] {
        if let Some(Value::String(text)) = message.get(name) {
            audit.mrkdwn(&format!("/{name}"), text);
        }
    }
    for name in ["text", "markdown_text", "blocks", "attachments"] {
        if let Some(value) = message.get(name) {
            audit.value(&format!("/{name}"), value);
        }
    }
    audit.settings(message);
    audit.found
}

#[derive(Default)]
struct Audit {
    found: Vec<String>,
}

impl Audit {
    fn add(&mut self, pointer: &str, what: &str) {
        self.found.push(format!("{pointer}: {what}"));
    }

    fn settings(&mut self, message: &Map<String, Value>) {
        for name in ["unfurl_links", "unfurl_media"] {
            // A form says it in a word.
            let off = message
                .get(name)
                .is_some_and(|value| value == false || value == "false");
            if !off {
                self.add(&format!("/{name}"), "is not false");
            }
        }
        if super::message::flag(message, "link_names") {
            self.add("/link_names", "names become mentions");
        }
        if message.get("parse").is_some_and(|parse| parse == "full") {
            self.add("/parse", "names and links are looked for");
        }
    }

    fn value(&mut self, pointer: &str, value: &Value) {
        match value {
            Value::String(text) => self.characters(pointer, text),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(&format!("{pointer}/{index}"), item);
                }
            }
            Value::Object(fields) => self.object(pointer, fields),
            _ => {}
        }
    }

    fn object(&mut self, pointer: &str, fields: &Map<String, Value>) {
        let kind = fields.get("type").and_then(Value::as_str);
        match kind {
            Some("user" | "usergroup" | "broadcast") => {
                self.add(pointer, &format!("{} mentions", kind.unwrap_or_default()));
            }
            Some("mrkdwn" | "markdown") => {
                if let Some(Value::String(text)) = fields.get("text") {
                    self.mrkdwn(&format!("{pointer}/text"), text);
                }
            }
            // What has no type is an attachment or its field: mrkdwn throughout.
            None => {
                for name in ["text", "pretext", "fallback", "value", "title", "footer"] {
                    if let Some(Value::String(text)) = fields.get(name) {
                        self.mrkdwn(&format!("{pointer}/{name}"), text);
                    }
                }
            }
            Some(_) => {}
        }
        for (name, value) in fields {
            self.value(&format!("{pointer}/{name}"), value);
        }
    }

    /// What Slack would take for a control sequence: `<…>`, without an end within the
    /// text or not.
    fn mrkdwn(&mut self, pointer: &str, text: &str) {
        let mut rest = text;
        while let Some((_, after)) = rest.split_once('<') {
            rest = after;
            let token = after.split_once('>').map_or(after, |(token, _)| token);
            let shown: String = token.chars().take(40).collect();
            match token {
                _ if token.starts_with("!date^") => {}
                _ if is_mention(token) => self.add(pointer, &format!("mention <{shown}>")),
                _ => self.add(pointer, &format!("unescaped <{shown}>")),
            }
        }
    }

    fn characters(&mut self, pointer: &str, text: &str) {
        if let Some(bad) = text.chars().find(|character| is_unwanted(*character)) {
            let code = u32::from(bad);
            self.add(pointer, &format!("character U+{code:04X}"));
        }
    }
}

fn is_mention(token: &str) -> bool {
    let word = token.split(['|', '^']).next().unwrap_or_default();
    token.starts_with('@')
        || token.starts_with('#')
        || matches!(
            word,
            "!channel" | "!here" | "!everyone" | "!group" | "!subteam"
        )
}

/// Controls other than line feed and tab, bidirectional marks, zero width.
fn is_unwanted(character: char) -> bool {
    let control = character.is_control() && !matches!(character, '\n' | '\t');
    let direction = matches!(
        character,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}'
    );
    let no_width = matches!(character, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}');
    control || direction || no_width
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn audit(mut message: Value) -> Vec<String> {
        for name in ["unfurl_links", "unfurl_media"] {
            if message.get(name).is_none() {
                message[name] = json!(false);
            }
        }
        findings(message.as_object().unwrap())
    }

    fn text(text: &str) -> Vec<String> {
        audit(json!({"text": text}))
    }

    #[test]
    fn a_careful_message_has_no_findings() {
        let rich = json!({"type": "rich_text", "elements": [{"type": "rich_text_section",
            "elements": [{"type": "text", "text": "<!channel> a < b"},
                         {"type": "link", "url": "https://example.com/<a>"}]}]});
        let message = json!({
            "text": "*a* &lt;!here&gt; <!date^1^{date}|then> at\n> quoted\té⚠️ @here",
            "blocks": [rich,
                {"type": "section", "text": {"type": "plain_text", "text": "<@U1>"}}],
            "unfurl_links": "false", "link_names": false, "parse": "none",
        });
        assert_eq!(audit(message), [""; 0]);
    }

    #[test]
    fn tokens_and_mentions_are_found() {
        for (given, expected) in [
            ("a <@U1> b", "/text: mention <@U1>"),
            ("<#C1|x>", "/text: mention <#C1|x>"),
            ("<!here>", "/text: mention <!here>"),
            ("<!channel|x>", "/text: mention <!channel|x>"),
            ("<!everyone>", "/text: mention <!everyone>"),
            ("<!subteam^S1>", "/text: mention <!subteam^S1>"),
            ("<https://a|b>", "/text: unescaped <https://a|b>"),
            ("a < b", "/text: unescaped < b>"),
        ] {
            assert_eq!(text(given), [expected]);
        }
        assert_eq!(text("<!date^1^x|y> <@U1>"), ["/text: mention <@U1>"]);
        let section = json!({"type": "section", "text": {"type": "mrkdwn", "text": "<@U1>"}});
        let found = audit(json!({"text": "a", "blocks": [{"type": "divider"}, section]}));
        assert_eq!(found, ["/blocks/1/text/text: mention <@U1>"]);
        let found = audit(json!({"attachments": [{"fallback": "<!here>"}]}));
        assert_eq!(found, ["/attachments/0/fallback: mention <!here>"]);
    }

    #[test]
    fn elements_that_mention_are_found() {
        for (kind, field) in [
            ("user", "user_id"),
            ("usergroup", "usergroup_id"),
            ("broadcast", "range"),
        ] {
            let element = json!({"type": kind, field: "here"});
            let part = json!({"type": "rich_text_section", "elements": [element]});
            let block = json!({"type": "rich_text", "elements": [part]});
            let expected = format!("/blocks/0/elements/0/elements/0: {kind} mentions");
            assert_eq!(audit(json!({"blocks": [block]})), [expected]);
        }
    }

    #[test]
    fn settings_that_let_slack_look_are_found() {
        let found = findings(json!({"text": "a"}).as_object().unwrap());
        assert_eq!(
            found,
            ["/unfurl_links: is not false", "/unfurl_media: is not false"]
        );
        for (message, expected) in [
            (json!({"unfurl_links": true}), "/unfurl_links: is not false"),
            (
                json!({"link_names": "1"}),
                "/link_names: names become mentions",
            ),
            (
                json!({"parse": "full"}),
                "/parse: names and links are looked for",
            ),
        ] {
            assert_eq!(audit(message), [expected]);
        }
    }

    #[test]
    fn characters_no_text_needs_are_found_at_any_depth() {
        for character in [
            '\0', '\r', '\u{1b}', '\u{7f}', '\u{85}', '\u{61c}', '\u{200b}', '\u{200d}',
            '\u{200e}', '\u{202e}', '\u{2060}', '\u{2066}', '\u{feff}',
        ] {
            let code = u32::from(character);
            let element = json!({"type": "text", "text": format!("a{character}")});
            let found = audit(json!({"blocks": [{"elements": [element]}]}));
            let expected = format!("/blocks/0/elements/0/text: character U+{code:04X}");
            assert_eq!(found, [expected]);
        }
    }
}
