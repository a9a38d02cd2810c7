//! Every rule at its limit and one beyond it.

use serde_json::json;

use super::*;

/// More than any block's own limits allow together.
const TEXT_BYTES: usize = 100_000;

pub(super) fn text(kind: &str, chars: usize) -> Value {
    json!({"type": kind, "text": "ä".repeat(chars)})
}

pub(super) fn button() -> Value {
    json!({"type": "button", "text": text("plain_text", 75), "action_id": "a", "value": "b"})
}

/// A rich-text block whose one section holds these.
pub(super) fn rich(leaves: &[Value]) -> Value {
    json!({"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": leaves}]})
}

fn section(chars: usize) -> Value {
    json!({"type": "section", "text": text("mrkdwn", chars)})
}

pub(super) fn passes(blocks: &[Value]) {
    assert_eq!(check(blocks, TEXT_BYTES), Ok(()));
}

pub(super) fn details(blocks: &[Value]) -> Vec<String> {
    let refusal = check(blocks, TEXT_BYTES).unwrap_err();
    assert_eq!(refusal.code, "invalid_blocks");
    refusal.details
}

/// The last finding about a message of this one block, whose pointer is relative to it.
pub(super) fn broken(block: Value, message: &str, pointer: &str) {
    let expected = format!("{message} [json-pointer:/blocks/0{pointer}]");
    assert_eq!(details(&[block]).last(), Some(&expected));
}

#[test]
fn blocks_at_every_limit_pass() {
    let mut blocks = vec![
        section(3_000),
        json!({"type": "section", "fields": vec![text("plain_text", 200); 10]}),
        json!({"type": "header", "text": text("plain_text", 150)}),
        json!({"type": "context", "elements": vec![text("mrkdwn", 10); 10]}),
        json!({"type": "actions", "elements": vec![button(); 25]}),
        json!({"type": "section", "fields": [text("mrkdwn", 2_000)]}),
    ];
    blocks.resize(50, json!({"type": "divider"}));
    assert_eq!(check(&blocks, TEXT_BYTES), Ok(()));
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
            json!({"type": "actions", "elements": vec![button(); 26]}),
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
fn the_text_of_all_blocks_together_is_limited_in_escaped_bytes() {
    let plain = |text: &str| rich(&[json!({"type": "text", "text": text})]);
    let mrkdwn = json!({"type": "section", "text": {"type": "mrkdwn", "text": "a&amp;ä"}});
    // 8 bytes as sent, and 3 characters that are escaped to 13.
    let blocks = [mrkdwn, plain("<&>")];
    assert_eq!(check(&blocks, 21), Ok(()));
    assert_eq!(check(&blocks, 20), Err("msg_blocks_too_long".into()));
    let blocks = vec![section(1_500); 4];
    assert_eq!(check(&blocks, 12_000), Ok(()));
    let blocks = [blocks, vec![plain("a")]].concat();
    assert_eq!(check(&blocks, 12_000), Err("msg_blocks_too_long".into()));
}
