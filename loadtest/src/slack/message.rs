//! What a message must contain, the same for both doors.
//!
//! Contract: [`check`] answers with the text Slack keeps, or with the one error Slack
//! would give. "Characters" are Unicode scalar values: Slack documents no unit. The
//! limits Slack does not publish come from [`ContentLimits`].

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::blocks;
use super::options::ContentLimits;

/// Slack silently truncates a longer `text` and still answers `ok: true`.
const TEXT_MAX_CHARS: usize = 40_000;
/// More are refused with `too_many_attachments`.
const ATTACHMENTS_MAX: usize = 100;
const MARKDOWN_MAX_CHARS: usize = 12_000;

/// An application error: Slack's code, and what it says besides about blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Slack's code, as chat.postMessage names it.
    pub(super) code: Cow<'static, str>,
    /// For `invalid_blocks`: the message and JSON pointer of each broken rule.
    pub(super) details: Vec<String>,
    /// For `missing_scope`.
    pub(super) scopes: Option<MissingScope>,
}

/// What Slack says besides `missing_scope`, both as lists with commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MissingScope {
    pub(super) needed: String,
    pub(super) provided: String,
}

impl Refusal {
    /// A code that is known only at run time, such as a fault's.
    pub(super) fn with(code: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: code.into(),
            details: Vec::new(),
            scopes: None,
        }
    }
}

impl From<&'static str> for Refusal {
    fn from(code: &'static str) -> Self {
        Self::with(code)
    }
}

/// Judges a whole message as `chat.postMessage` does (arguments besides the content,
/// such as `channel`, are not looked at): Slack's code, or for `invalid_blocks` the
/// message and JSON pointer of each broken rule.
pub fn validate(message: &Value) -> Result<(), Vec<String>> {
    let Value::Object(fields) = message else {
        return Err(vec!["json_not_object".to_owned()]);
    };
    match check(&mut fields.clone(), &ContentLimits::default()) {
        Ok(_text) => Ok(()),
        Err(refusal) if refusal.details.is_empty() => Err(vec![refusal.code.into_owned()]),
        Err(refusal) => Err(refusal.details),
    }
}

/// A channel's name without the `#` a caller may put before it.
pub(super) fn channel_name(channel: &str) -> &str {
    channel.strip_prefix('#').unwrap_or(channel)
}

/// The message's text as sent, for the record of a refused attempt.
pub(super) fn raw_text(fields: &Map<String, Value>) -> &str {
    ["text", "markdown_text"]
        .into_iter()
        .find_map(|name| {
            fields
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        })
        .unwrap_or_default()
}

/// Decodes what a form carries as JSON strings, checks every rule and returns the
/// text as Slack keeps it.
pub(super) fn check(
    fields: &mut Map<String, Value>,
    limits: &ContentLimits,
) -> Result<String, Refusal> {
    decode_embedded(fields)?;
    let fields = &*fields;
    let text = string(fields, "text")?;
    let markdown = string(fields, "markdown_text")?;
    let blocks = list(fields, "blocks").map_err(|()| "invalid_blocks_format")?;
    let attachments = list(fields, "attachments").map_err(|()| "invalid_attachments")?;
    if markdown.chars().count() > MARKDOWN_MAX_CHARS {
        return Err("msg_too_long".into());
    }
    let plain = !text.is_empty() || !blocks.is_empty();
    if plain && !markdown.is_empty() {
        return Err("markdown_text_conflict".into());
    }
    if !plain && markdown.is_empty() && attachments.is_empty() {
        return Err("no_text".into());
    }
    if attachments.len() > ATTACHMENTS_MAX {
        return Err("too_many_attachments".into());
    }
    blocks::check(blocks, limits.blocks_text_bytes)?;
    metadata(fields, limits)?;
    Ok(raw_text(fields).chars().take(TEXT_MAX_CHARS).collect())
}

/// Metadata is an `event_type` and an `event_payload`; Slack publishes no size.
fn metadata(fields: &Map<String, Value>, limits: &ContentLimits) -> Result<(), Refusal> {
    let Some(metadata) = fields.get("metadata").filter(|value| !value.is_null()) else {
        return Ok(());
    };
    let named = metadata["event_type"]
        .as_str()
        .is_some_and(|name| !name.is_empty());
    if !named || !metadata["event_payload"].is_object() {
        return Err("invalid_metadata_format".into());
    }
    if metadata.to_string().len() > limits.metadata_bytes {
        return Err("metadata_too_large".into());
    }
    Ok(())
}

/// In a form these three are JSON in a string; undecodable ones are refused.
pub(super) fn decode_embedded(fields: &mut Map<String, Value>) -> Result<(), Refusal> {
    for (name, error) in [
        ("blocks", "invalid_blocks_format"),
        ("attachments", "invalid_attachments"),
        ("metadata", "invalid_metadata_format"),
    ] {
        if let Some(Value::String(encoded)) = fields.get(name) {
            let decoded = if encoded.is_empty() {
                Value::Null
            } else {
                serde_json::from_str(encoded).map_err(|_| Refusal::from(error))?
            };
            fields.insert(name.to_owned(), decoded);
        }
    }
    Ok(())
}

/// A string argument; absent and `null` mean the default.
pub(super) fn string<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err("invalid_arguments".into()),
    }
}

/// A flag: a form says it in words, JSON as it is.
pub(super) fn flag(fields: &Map<String, Value>, name: &str) -> bool {
    match fields.get(name) {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(text)) => matches!(text.as_str(), "true" | "1"),
        Some(Value::Number(number)) => number.as_u64() == Some(1),
        _ => false,
    }
}

/// A whole number: a form says it in digits, JSON as it is.
pub(super) fn number(fields: &Map<String, Value>, name: &str) -> Result<Option<u64>, ()> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(drop),
        Some(value) => value.as_u64().map(Some).ok_or(()),
    }
}

/// A list argument; absent and `null` mean the default.
pub(super) fn list<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], ()> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(message: Value) -> Result<String, String> {
        let mut fields = message.as_object().unwrap().clone();
        check(&mut fields, &ContentLimits::default()).map_err(|refusal| refusal.code.into_owned())
    }

    #[test]
    fn a_message_needs_text_blocks_or_attachments() {
        let nothing = Err("no_text".to_owned());
        assert_eq!(verdict(json!({})), nothing);
        assert_eq!(
            verdict(json!({"text": "", "blocks": [], "attachments": null})),
            nothing
        );
        assert_eq!(verdict(json!({"text": "a"})), Ok("a".to_owned()));
        assert_eq!(
            verdict(json!({"blocks": [{"type": "divider"}]})),
            Ok(String::new())
        );
        assert_eq!(
            verdict(json!({"attachments": [{"text": "a"}]})),
            Ok(String::new())
        );
        assert_eq!(
            verdict(json!({"markdown_text": "*a*"})),
            Ok("*a*".to_owned())
        );
    }

    #[test]
    fn arguments_of_the_wrong_kind_are_refused() {
        let many = vec![json!({}); ATTACHMENTS_MAX + 1];
        for (message, code) in [
            (json!({"text": 1}), "invalid_arguments"),
            (json!({"text": "a", "blocks": {}}), "invalid_blocks_format"),
            (
                json!({"text": "a", "blocks": "[{"}),
                "invalid_blocks_format",
            ),
            (
                json!({"text": "a", "attachments": 1}),
                "invalid_attachments",
            ),
            (
                json!({"text": "a", "metadata": "{"}),
                "invalid_metadata_format",
            ),
            (
                json!({"text": "a", "attachments": many}),
                "too_many_attachments",
            ),
            (
                json!({"text": "a", "markdown_text": "b"}),
                "markdown_text_conflict",
            ),
        ] {
            assert_eq!(verdict(message), Err(code.to_owned()));
        }
        let allowed = vec![json!({}); ATTACHMENTS_MAX];
        assert_eq!(verdict(json!({"attachments": allowed})), Ok(String::new()));
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let text = "ä".repeat(TEXT_MAX_CHARS + 1);
        let kept = verdict(json!({"text": text})).unwrap();
        assert_eq!(kept.chars().count(), TEXT_MAX_CHARS);
    }
}
