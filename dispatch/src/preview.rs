//! Messages in a terminal, as Slack would show them: the destination without a token, and the demo.
//!
//! Reads the same blocks that are posted, so that what is shown is what Slack would get. Text of
//! events was cleaned when the message was rendered: it holds no control character, hence no terminal
//! escape sequence.

use std::io::Write;

use serde_json::Value;

use crate::{
    destination::{Destination, Receipt, SendError},
    message::Message,
};

/// Shows messages on standard output.
pub struct Preview {
    channel: String,
    colour: bool,
}

impl Preview {
    /// Shows a channel's messages, with colour or without.
    pub fn new(channel: &str, colour: bool) -> Self {
        Self {
            channel: channel.to_owned(),
            colour,
        }
    }
}

impl Destination for Preview {
    async fn post(&self, message: &Message) -> Result<Receipt, SendError> {
        let shown = show(&self.channel, &message.blocks, self.colour);
        // A pipe that nobody reads blocks, and must block nothing else.
        let written = tokio::task::spawn_blocking(move || {
            let mut out = std::io::stdout().lock();
            out.write_all(shown.as_bytes()).and_then(|()| out.flush())
        });
        let failed = |reason: String| SendError::Later {
            after: None,
            limited: false,
            reason,
        };
        written
            .await
            .map_err(|error| failed(format!("showing the message failed: {error}")))?
            .map_err(|error| failed(format!("cannot write to the terminal: {error}")))?;
        Ok(Receipt::default())
    }
}

/// A message's blocks as text, with the channel's name above.
pub fn show(channel: &str, blocks: &[Value], colour: bool) -> String {
    let paint = Paint(colour);
    let mut out = format!("{}\n", paint.channel(&format!("#{channel}")));
    for block in blocks {
        match block["type"].as_str() {
            Some("header") => {
                let text = block["text"]["text"].as_str().unwrap_or_default();
                out.push_str(&format!("  {}\n", paint.bold(text)));
            }
            Some("context") => {
                let elements = block["elements"].as_array().into_iter().flatten();
                let texts: Vec<&str> = elements.map(small).collect();
                out.push_str(&format!("    {}\n", paint.dim(&texts.join(" · "))));
            }
            Some("rich_text") => {
                for element in block["elements"].as_array().into_iter().flatten() {
                    rich_text(element, &paint, &mut out);
                }
            }
            _ => {}
        }
    }
    out.push('\n');
    out
}

/// An element of a context. A date there is markup of our own, which ends in the text that we want.
fn small(element: &Value) -> &str {
    let text = element["text"].as_str().unwrap_or_default();
    if element["type"] != "mrkdwn" {
        return text;
    }
    let date = text
        .strip_prefix("<!date^")
        .and_then(|rest| rest.strip_suffix('>'));
    date.and_then(|rest| rest.split_once('|'))
        .map_or(text, |(_, fallback)| fallback)
}

fn rich_text(element: &Value, paint: &Paint, out: &mut String) {
    let parts = element["elements"]
        .as_array()
        .map_or(&[] as &[Value], Vec::as_slice);
    if element["type"] == "rich_text_list" {
        for row in parts {
            let row = row["elements"]
                .as_array()
                .map_or(&[] as &[Value], Vec::as_slice);
            out.push_str(&format!("  • {}\n", styled(row, paint)));
        }
    } else if element["type"] == "rich_text_preformatted" {
        for line in styled(parts, &Paint(false)).lines() {
            out.push_str(&format!("  │ {}\n", paint.code(line)));
        }
    } else {
        out.push_str(&format!("  {}\n", styled(parts, paint)));
    }
}

fn styled(parts: &[Value], paint: &Paint) -> String {
    let one = |part: &Value| {
        let text = part["text"].as_str().unwrap_or_default();
        if part["type"] == "date" {
            return part["fallback"].as_str().unwrap_or_default().to_owned();
        }
        if let Some(url) = part["url"].as_str() {
            return format!("{text} ({url})");
        }
        if part["style"]["bold"] == true {
            paint.bold(text)
        } else if part["style"]["code"] == true {
            paint.code(text)
        } else {
            text.to_owned()
        }
    };
    parts.iter().map(one).collect()
}

struct Paint(bool);

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.with("2", text)
    }

    fn code(&self, text: &str) -> String {
        self.with("33", text)
    }

    fn channel(&self, text: &str) -> String {
        self.with("1;36", text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_are_shown_as_text() {
        let section = |text: &str| {
            json!({"type": "rich_text_section", "elements": [
            {"type": "text", "text": text, "style": {"bold": true}}, {"type": "text", "text": " did"}]})
        };
        let blocks = [
            json!({"type": "header", "text": {"type": "plain_text", "text": "3 events"}}),
            json!({"type": "rich_text", "elements": [section("alice"), {"type": "rich_text_list", "elements": [section("bob")]}]}),
            json!({"type": "context", "elements": [{"type": "plain_text", "text": "prod"}]}),
        ];
        assert_eq!(
            show("ops", &blocks, false),
            "#ops\n  3 events\n  alice did\n  • bob did\n    prod\n\n"
        );
        assert!(show("ops", &blocks, true).contains("\u{1b}[1malice\u{1b}[0m did"));
    }

    #[test]
    fn every_kind_of_element_is_shown() {
        let elements = json!([
            {"type": "text", "text": "ls -l", "style": {"code": true}},
            {"type": "text", "text": " at "},
            {"type": "date", "timestamp": 1, "format": "{time_secs}", "fallback": "03:15:29 UTC"},
            {"type": "text", "text": " "},
            {"type": "link", "url": "https://w.example/", "text": "runbook"},
        ]);
        let blocks = [
            json!({"type": "rich_text", "elements": [
                {"type": "rich_text_section", "elements": elements},
                {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "a = 1\nb = 2"}]},
            ]}),
            json!({"type": "context", "elements": [
                {"type": "plain_text", "text": "prod"},
                {"type": "mrkdwn", "text": "<!date^1^{time_secs}|1970-01-01 00:00:01 UTC>"},
            ]}),
        ];
        assert_eq!(
            show("ops", &blocks, false),
            "#ops\n  ls -l at 03:15:29 UTC runbook (https://w.example/)\n  │ a = 1\n  │ b = 2\n    \
             prod · 1970-01-01 00:00:01 UTC\n\n"
        );
    }
}
