//! Messages as one page for a browser that looks about as Slack does: a second reader of what is posted,
//! which knows nothing of events.
//!
//! Invariants: the page needs nothing but itself and runs no script; text of a message is text of the page
//! ([`rich`]); a block that it cannot show is named.

use jiff::Timestamp;
use serde_json::Value;

use super::rich::{self, html, list, text_of};

const STYLE: &str = include_str!("page.css");

/// A message as it is posted.
pub(super) struct Posted {
    pub(super) body: Value,
    pub(super) time: Option<Timestamp>,
}

/// The page of a channel.
pub(super) fn page(channel: &str, messages: &[Posted]) -> String {
    let channel = html(channel);
    let messages: String = messages.iter().map(message).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>#{channel} · auditrelay render</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header class=\"channel\"># {channel}</header>\n<main>\n{messages}</main>\n</body>\n</html>\n"
    )
}

fn message(posted: &Posted) -> String {
    let time = posted.time.map_or_else(String::new, |time| {
        let title = time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        let shown = time.strftime("%-I:%M %p").to_string();
        format!(" <time title=\"{title}\">{shown}</time>")
    });
    let blocks = list(&posted.body, "blocks");
    let content: String = if blocks.is_empty() {
        // As text alone, without markup: what is escaped in it is shown as what it stands for.
        let text = text_of(&posted.body, "text");
        let text = text
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&");
        format!("<p>{}</p>\n", html(&text))
    } else {
        blocks.iter().map(block).collect()
    };
    format!(
        "<article>\n<div class=\"avatar\" aria-hidden=\"true\"><i></i></div>\n<div class=\"message\">\n\
         <div class=\"by\"><b>auditrelay</b> <span class=\"app\">APP</span>{time}</div>\n{content}</div>\n</article>\n"
    )
}

fn block(value: &Value) -> String {
    match text_of(value, "type") {
        "header" => format!("<h2>{}</h2>\n", rich::object(&value["text"])),
        "divider" => "<hr>\n".to_owned(),
        "rich_text" => {
            let inner: String = list(value, "elements").iter().map(rich::element).collect();
            format!("<div class=\"rich\">\n{inner}</div>\n")
        }
        "context" => {
            let part = |element: &Value| match text_of(element, "type") {
                "plain_text" | "mrkdwn" => format!("<span>{}</span>", rich::object(element)),
                other => rich::unknown(other),
            };
            let parts: Vec<String> = list(value, "elements").iter().map(part).collect();
            format!("<div class=\"context\">{}</div>\n", parts.join(" "))
        }
        "section" => section(value),
        other => rich::unknown(other),
    }
}

fn section(value: &Value) -> String {
    let mut out = String::new();
    if value["text"].is_object() {
        out.push_str(&format!("<p>{}</p>\n", rich::object(&value["text"])));
    }
    let fields = list(value, "fields");
    if !fields.is_empty() {
        let fields: String = fields
            .iter()
            .map(|field| format!("<div>{}</div>\n", rich::object(field)))
            .collect();
        out.push_str(&format!("<div class=\"fields\">\n{fields}</div>\n"));
    }
    if !value["accessory"].is_null() {
        out.push_str(&rich::unknown("accessory"));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ATTACKS: [&str; 6] = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</pre></div></article><h1>gone</h1>",
        "<!-- <style>*{display:none}</style>",
        "&lt;script&gt;&amp;lt;b&amp;gt;",
    ];

    /// A message that holds a text wherever one may stand.
    fn everywhere(text: &str) -> Value {
        let plain = json!({"type": "plain_text", "text": text});
        let marked = json!({"type": "mrkdwn", "text": text});
        let leaves = json!([
            {"type": "text", "text": text, "style": {"bold": true, "italic": true, "strike": true, "code": true}},
            {"type": "link", "url": format!("https://x.example/{text}"), "text": text},
            {"type": "link", "url": text},
            {"type": "date", "timestamp": 1, "format": text, "fallback": text, "url": text},
            {"type": "emoji", "name": text}, {"type": "user", "user_id": text}, {"type": text},
        ]);
        let element = |kind: &str| json!({"type": kind, "elements": leaves});
        json!({"text": text, "blocks": [
            {"type": "header", "text": plain},
            {"type": "context", "elements": [plain, marked, {"type": "mrkdwn", "text": format!("<!date^1^{text}|{text}> <{text}|{text}> <!{text}>")}, {"type": text}]},
            {"type": "rich_text", "elements": [element("rich_text_section"), element("rich_text_preformatted"),
                element("rich_text_quote"), {"type": "rich_text_list", "style": text, "elements": [element("rich_text_section")]}, element(text)]},
            {"type": "section", "text": marked, "fields": [plain, marked], "accessory": {"type": text}},
            {"type": "divider"},
            {"type": text},
        ]})
    }

    /// The names of all tags, and all attributes, of a page.
    fn markup(page: &str) -> Vec<String> {
        let body = page.split_once("</head>").expect("a head").1;
        let mut found = Vec::new();
        for tag in body.split('<').skip(1) {
            let tag = tag.split_once('>').expect("closed").0;
            let outside = tag.split('"').step_by(2);
            let outside: Vec<&str> = outside.collect();
            found.push(outside.join("\"\""));
        }
        found
    }

    #[test]
    fn text_never_becomes_markup() {
        let of = |text: &str| {
            let text_alone = json!({"text": text});
            let posted = [everywhere(text), text_alone].map(|body| Posted { body, time: None });
            page(text, &posted)
        };
        // The same elements and attributes as of a text without any meaning, but for what Slack itself takes
        // for a link.
        let plain = markup(&of("plain"));
        assert!(plain.len() > 60, "{plain:?}");
        let allowed: std::collections::BTreeSet<_> = plain.iter().cloned().collect();
        for attack in ATTACKS {
            let page = of(attack);
            for tag in markup(&page) {
                assert!(allowed.contains(&tag), "{tag} by {attack}");
            }
            for bad in [
                "<script",
                "<img",
                "<h1",
                "<!--",
                "onerror=alert(1)>",
                "href=\"javascript",
            ] {
                assert!(!page.contains(bad), "{bad} by {attack}");
            }
        }
    }

    #[test]
    fn a_page_needs_nothing_but_itself() {
        let page = page(
            "ops",
            &[Posted {
                body: everywhere("x"),
                time: Timestamp::from_second(1_795_228_529).ok(),
            }],
        );
        for bad in ["<script", "src=", "@import", "url(", "<link"] {
            assert!(!page.contains(bad), "{bad}");
        }
        assert!(page.contains("<time title=\"2026-11-21 02:35:29 UTC\">2:35 AM</time>"));
        assert!(page.contains("default-src 'none'"));
        assert!(page.contains("not shown here: x"));
    }

    #[test]
    fn a_message_of_text_alone_is_shown() {
        let body = json!({"text": "a &lt;!channel&gt; b"});
        assert!(
            page("ops", &[Posted { body, time: None }]).contains("<p>a &lt;!channel&gt; b</p>")
        );
    }
}
