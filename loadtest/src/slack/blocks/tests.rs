//! Every rule at its limit and one beyond it.

use serde_json::json;

use super::*;

/// More than any block's own limits allow together.
const TEXT_BYTES: usize = 100_000;

fn text(kind: &str, chars: usize) -> Value {
    json!({"type": kind, "text": "ä".repeat(chars)})
}

fn button() -> Value {
    json!({"type": "button", "text": text("plain_text", 75), "action_id": "a", "value": "b"})
}

/// A rich-text block whose one section holds these.
fn rich(leaves: &[Value]) -> Value {
    json!({"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": leaves}]})
}

fn section(chars: usize) -> Value {
    json!({"type": "section", "text": text("mrkdwn", chars)})
}

fn details(blocks: &[Value]) -> Vec<String> {
    let refusal = check(blocks, TEXT_BYTES).unwrap_err();
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

#[test]
fn rich_text_as_slack_documents_it_passes() {
    let leaves = [
        json!({"type": "text", "text": "a", "style": {"bold": true, "code": false}}),
        json!({"type": "link", "url": "https://example.com", "text": "b"}),
        json!({"type": "date", "timestamp": 1_720_710_212, "format": "{date_num}", "fallback": "c"}),
        json!({"type": "emoji", "name": "tada"}),
        json!({"type": "user", "user_id": "U1"}),
        json!({"type": "usergroup", "usergroup_id": "S1"}),
        json!({"type": "channel", "channel_id": "C1"}),
        json!({"type": "broadcast", "range": "here"}),
        json!({"type": "color", "value": "#fff"}),
    ];
    let item = json!({"type": "rich_text_section", "elements": leaves});
    let pre = [leaves[0].clone(), leaves[1].clone()];
    let block = json!({"type": "rich_text", "block_id": "x", "elements": [
        item,
        {"type": "rich_text_list", "style": "bullet", "indent": 8, "border": 1, "elements": [item]},
        {"type": "rich_text_preformatted", "border": 0, "elements": pre},
        {"type": "rich_text_quote", "elements": leaves},
    ]});
    assert_eq!(check(&[block], TEXT_BYTES), Ok(()));
}

#[test]
fn broken_rich_text_is_named_with_its_pointer() {
    let leaf = "/blocks/0/elements/0/elements/0";
    for (element, expected) in [
        (
            json!({"type": "text", "text": ""}),
            format!("must be more than 0 characters [json-pointer:{leaf}/text]"),
        ),
        (
            json!({"type": "text"}),
            format!("missing required field: text [json-pointer:{leaf}]"),
        ),
        (
            json!({"type": "text", "text": 1}),
            format!("must be a string [json-pointer:{leaf}/text]"),
        ),
        (
            json!({"type": "mrkdwn", "text": "a"}),
            format!("unsupported type: mrkdwn [json-pointer:{leaf}/type]"),
        ),
        (
            json!({"type": "link", "text": "a"}),
            format!("missing required field: url [json-pointer:{leaf}]"),
        ),
        (
            json!({"type": "date", "timestamp": 1.5, "format": "{x}"}),
            format!("must be an integer [json-pointer:{leaf}/timestamp]"),
        ),
        (
            json!({"type": "date", "timestamp": 1}),
            format!("missing required field: format [json-pointer:{leaf}]"),
        ),
        (
            json!({"type": "date", "timestamp": 1, "format": "x"}),
            format!("must hold a date token [json-pointer:{leaf}/format]"),
        ),
        (
            json!({"type": "emoji"}),
            format!("missing required field: name [json-pointer:{leaf}]"),
        ),
        (
            json!({"type": "broadcast", "range": "all"}),
            format!("must be a valid enum value [json-pointer:{leaf}/range]"),
        ),
        (
            json!({"type": "text", "text": "a", "style": {"bald": true}}),
            format!("additional property: bald [json-pointer:{leaf}/style]"),
        ),
        (
            json!({"type": "text", "text": "a", "style": {"bold": 1}}),
            format!("must be a boolean [json-pointer:{leaf}/style/bold]"),
        ),
        (
            json!("a"),
            format!("must be an object [json-pointer:{leaf}]"),
        ),
    ] {
        assert_eq!(details(&[rich(&[element])]), [expected]);
    }
    let part = "/blocks/0/elements/0";
    let emoji = json!({"type": "emoji", "name": "a"});
    for (element, expected) in [
        (
            json!({"type": "rich_text_section", "elements": []}),
            format!("no less than 1 items allowed [json-pointer:{part}/elements]"),
        ),
        (
            json!({"type": "rich_text_section"}),
            format!("missing required field: elements [json-pointer:{part}]"),
        ),
        (
            json!({"type": "rich_text_preformatted", "elements": [emoji]}),
            format!("unsupported type: emoji [json-pointer:{leaf}/type]"),
        ),
        (
            json!({"type": "rich_text_list", "elements": [{"type": "rich_text_section", "elements": [emoji]}]}),
            format!("must be a valid enum value [json-pointer:{part}/style]"),
        ),
        (
            json!({"type": "rich_text_list", "style": "bullet", "elements": [emoji]}),
            format!("unsupported type: emoji [json-pointer:{leaf}/type]"),
        ),
        (
            json!({"type": "rich_text_list", "style": "bullet", "indent": 9, "elements": [{"type": "rich_text_section", "elements": [emoji]}]}),
            format!("must be a whole number from 0 to 8 [json-pointer:{part}/indent]"),
        ),
        (
            json!({"type": "rich_text_quote", "border": 2, "elements": [emoji]}),
            format!("must be a whole number from 0 to 1 [json-pointer:{part}/border]"),
        ),
        (
            json!({"type": "section"}),
            format!("unsupported type: section [json-pointer:{part}/type]"),
        ),
    ] {
        let block = json!({"type": "rich_text", "elements": [element]});
        assert_eq!(details(&[block]), [expected]);
    }
}

#[test]
fn images_buttons_and_other_elements_have_limits() {
    let long = |chars: usize| "a".repeat(chars);
    let at = "json-pointer:/blocks/0";
    let act = |element: Value| json!({"type": "actions", "elements": [element]});
    let with = |name: &str, value: Value| {
        let mut button = button();
        button[name] = value;
        act(button)
    };
    let option = |chars: usize| json!({"text": text("plain_text", 75), "value": long(chars)});
    let image =
        |alt: usize| json!({"type": "image", "image_url": "https://a", "alt_text": long(alt)});
    let menu = |count: usize| json!({"type": "overflow", "options": vec![option(150); count]});
    let passing = [
        act(menu(5)),
        with("url", json!(long(3_000))),
        with("value", json!(long(2_000))),
        image(2_000),
        json!({"type": "context", "elements": [image(1)]}),
        json!({"type": "section", "text": text("mrkdwn", 1), "accessory": image(1)}),
        json!({"type": "divider", "block_id": long(255)}),
        act(json!({"type": "datepicker"})),
    ];
    assert_eq!(check(&passing, TEXT_BYTES), Ok(()));
    for (block, expected) in [
        (
            with("text", text("plain_text", 76)),
            format!("must be less than 76 characters [{at}/elements/0/text/text]"),
        ),
        (
            with("text", text("mrkdwn", 1)),
            format!("unsupported type: mrkdwn [{at}/elements/0/text/type]"),
        ),
        (
            with("text", Value::Null),
            format!("missing required field: text [{at}/elements/0]"),
        ),
        (
            with("url", json!(long(3_001))),
            format!("must be less than 3001 characters [{at}/elements/0/url]"),
        ),
        (
            with("value", json!(long(2_001))),
            format!("must be less than 2001 characters [{at}/elements/0/value]"),
        ),
        (
            with("action_id", json!(long(256))),
            format!("must be less than 256 characters [{at}/elements/0/action_id]"),
        ),
        (
            with("style", json!("red")),
            format!("must be a valid enum value [{at}/elements/0/style]"),
        ),
        (
            act(menu(6)),
            format!("no more than 5 items allowed [{at}/elements/0/options]"),
        ),
        (
            act(json!({"type": "overflow", "options": [option(151)]})),
            format!("must be less than 151 characters [{at}/elements/0/options/0/value]"),
        ),
        (
            act(json!({"type": "knob"})),
            format!("unsupported type: knob [{at}/elements/0/type]"),
        ),
        (
            image(2_001),
            format!("must be less than 2001 characters [{at}/alt_text]"),
        ),
        (
            json!({"type": "image", "alt_text": "a"}),
            format!("missing required field: image_url [{at}]"),
        ),
        (
            json!({"type": "image", "image_url": "a"}),
            format!("missing required field: alt_text [{at}]"),
        ),
        (
            json!({"type": "context", "elements": [button()]}),
            format!("unsupported type: button [{at}/elements/0/type]"),
        ),
        (
            json!({"type": "section", "text": text("mrkdwn", 1), "accessory": {"type": "mrkdwn"}}),
            format!("unsupported type: mrkdwn [{at}/accessory/type]"),
        ),
        (
            json!({"type": "divider", "block_id": long(256)}),
            format!("must be less than 256 characters [{at}/block_id]"),
        ),
    ] {
        assert_eq!(details(&[block]).last().unwrap(), &expected);
    }
}

#[test]
fn block_ids_are_unique_and_flags_belong_to_their_kind_of_text() {
    let twice = vec![json!({"type": "divider", "block_id": "a"}); 2];
    let expected = "block_id must be unique [json-pointer:/blocks/1/block_id]";
    assert_eq!(details(&twice), [expected]);
    let flagged = |kind: &str, flag: &str, value: Value| json!([{"type": "section", "text": {"type": kind, "text": "a", flag: value}}]);
    let passes = |blocks: &Value| check(blocks.as_array().unwrap(), TEXT_BYTES).is_ok();
    assert!(passes(&flagged("mrkdwn", "verbatim", json!(true))));
    assert!(passes(&flagged("plain_text", "emoji", json!(false))));
    for (kind, flag, value) in [
        ("mrkdwn", "emoji", json!(true)),
        ("plain_text", "verbatim", json!(true)),
        ("mrkdwn", "verbatim", json!("true")),
    ] {
        assert!(!passes(&flagged(kind, flag, value)), "{kind} {flag}");
    }
}

#[test]
fn tables_and_markdown_have_limits() {
    let cell = json!({"type": "raw_text", "text": "a"});
    let table = |rows: usize, cells: usize| json!({"type": "table", "rows": vec![vec![cell.clone(); cells]; rows]});
    assert_eq!(check(&[table(100, 20)], TEXT_BYTES), Ok(()));
    let two = check(&[table(1, 1), table(1, 1)], TEXT_BYTES).unwrap_err();
    assert_eq!(
        (two.code.as_ref(), two.details),
        (
            "invalid_attachments",
            vec!["only_one_table_allowed".to_owned()]
        )
    );
    let markdown = |chars: usize| json!({"type": "markdown", "text": "a".repeat(chars)});
    assert_eq!(
        check(&[markdown(6_000), markdown(6_000)], TEXT_BYTES),
        Ok(())
    );
    for (blocks, expected) in [
        (
            vec![table(101, 1)],
            "no more than 100 items allowed [json-pointer:/blocks/0/rows]",
        ),
        (
            vec![table(1, 21)],
            "no more than 20 items allowed [json-pointer:/blocks/0/rows/0]",
        ),
        (
            vec![json!({"type": "table", "rows": [[{"type": "text"}]]})],
            "unsupported type: text [json-pointer:/blocks/0/rows/0/0/type]",
        ),
        (
            vec![markdown(6_000), markdown(6_001)],
            "must be less than 12001 characters [json-pointer:/blocks]",
        ),
    ] {
        assert_eq!(details(&blocks), [expected]);
    }
}
