//! Text of Block Kit as HTML: `rich_text`, `plain_text` and `mrkdwn`, as Slack reads them.
//!
//! Invariant: whatever stands in a message becomes text of the page, and never markup: text enters through
//! [`html`] only, and a link's address only if it is http or https. What Slack would bring to life, a mention
//! above all, is shown alive, so that it is seen.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

/// Text for HTML, in elements and in quoted attributes.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

pub(super) fn text_of<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// A text object.
pub(super) fn object(value: &Value) -> String {
    match text_of(value, "type") {
        "mrkdwn" => mrkdwn(text_of(value, "text")),
        _ => html(text_of(value, "text")),
    }
}

/// An element of a `rich_text` block.
pub(super) fn element(value: &Value) -> String {
    let inner = || list(value, "elements").iter().map(leaf).collect::<String>();
    match text_of(value, "type") {
        "rich_text_section" => format!("<p>{}</p>\n", inner()),
        "rich_text_preformatted" => format!("<pre>{}</pre>\n", inner()),
        "rich_text_quote" => format!("<blockquote>{}</blockquote>\n", inner()),
        "rich_text_list" => {
            let tag = if value["style"] == "ordered" {
                "ol"
            } else {
                "ul"
            };
            let indent = value["indent"].as_u64().unwrap_or_default().min(8);
            let rows = list(value, "elements").iter().map(|row| {
                let row = list(row, "elements").iter().map(leaf).collect::<String>();
                format!("<li>{row}</li>\n")
            });
            let rows: String = rows.collect();
            format!("<{tag} class=\"indent-{indent}\">\n{rows}</{tag}>\n")
        }
        other => unknown(other),
    }
}

/// What this page cannot show is said, not left out.
pub(super) fn unknown(kind: &str) -> String {
    format!(
        "<p class=\"unknown\">{}</p>\n",
        html(&format!("not shown here: {kind}"))
    )
}

fn leaf(value: &Value) -> String {
    let text = match text_of(value, "type") {
        "text" => html(text_of(value, "text")),
        "link" => {
            let url = text_of(value, "url");
            let text = Some(text_of(value, "text")).filter(|text| !text.is_empty());
            link(url, &html(text.unwrap_or(url)))
        }
        "date" => {
            let shown = value["timestamp"]
                .as_i64()
                .and_then(|at| date(at, text_of(value, "format")));
            let fallback = text_of(value, "fallback");
            let shown = shown.unwrap_or_else(|| fallback.to_owned());
            let shown = format!("<time title=\"{}\">{}</time>", html(fallback), html(&shown));
            match text_of(value, "url") {
                "" => shown,
                url => link(url, &shown),
            }
        }
        "emoji" => emoji(value),
        kind @ ("broadcast" | "user" | "usergroup" | "channel") => {
            let name = ["range", "user_id", "usergroup_id", "channel_id"]
                .iter()
                .find_map(|key| value[*key].as_str());
            mention(name.unwrap_or(kind))
        }
        other => format!("<span class=\"unknown\">{}</span>", html(other)),
    };
    styled(&value["style"], text)
}

fn emoji(value: &Value) -> String {
    let points = text_of(value, "unicode").split('-');
    let points = points.map(|point| u32::from_str_radix(point, 16).ok().and_then(char::from_u32));
    match points.collect::<Option<String>>() {
        Some(emoji) if !emoji.is_empty() => html(&emoji),
        _ => html(&format!(":{}:", text_of(value, "name"))),
    }
}

fn styled(style: &Value, mut text: String) -> String {
    for (name, tag) in [
        ("code", "code"),
        ("bold", "b"),
        ("italic", "i"),
        ("strike", "s"),
    ] {
        if style[name] == true {
            text = format!("<{tag}>{text}</{tag}>");
        }
    }
    text
}

fn link(url: &str, shown: &str) -> String {
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return format!("<span class=\"unknown\">{shown}</span>");
    }
    format!(
        "<a href=\"{}\" rel=\"noreferrer noopener nofollow\">{shown}</a>",
        html(url)
    )
}

fn mention(name: &str) -> String {
    format!("<span class=\"mention\">@{}</span>", html(name))
}

/// `mrkdwn` as far as messages use it: what stands in angle brackets. Its styles are shown as they are written.
fn mrkdwn(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        out.push_str(&html(&unescaped(before)));
        let Some((token, after)) = after.split_once('>') else {
            rest = &rest[before.len()..];
            break;
        };
        out.push_str(&control(token));
        rest = after;
    }
    out.push_str(&html(&unescaped(rest)));
    out
}

fn control(token: &str) -> String {
    let (what, label) = match token.split_once('|') {
        Some((what, label)) => (what, Some(unescaped(label))),
        None => (token, None),
    };
    if let Some(parts) = what.strip_prefix("!date^") {
        let mut parts = parts.split('^');
        let at = parts.next().and_then(|at| at.parse().ok());
        let shown = at
            .zip(parts.next())
            .and_then(|(at, format)| date(at, format));
        let fallback = label.unwrap_or_default();
        let shown = shown.unwrap_or_else(|| fallback.clone());
        return format!(
            "<time title=\"{}\">{}</time>",
            html(&fallback),
            html(&shown)
        );
    }
    match what.chars().next() {
        Some('!' | '@' | '#') => mention(label.as_deref().unwrap_or(&what[1..])),
        _ => link(
            &unescaped(what),
            &html(&label.unwrap_or_else(|| unescaped(what))),
        ),
    }
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

/// A time in Slack's format, as a reader in UTC sees it. `None` where there is a token that is not known
/// here, or no such time: Slack shows the fallback then.
fn date(unix_seconds: i64, format: &str) -> Option<String> {
    let time = Timestamp::from_second(unix_seconds)
        .ok()?
        .to_zoned(TimeZone::UTC);
    let mut out = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('{') {
        let (token, after) = after.split_once('}')?;
        let strftime = match token {
            "date_num" => "%Y-%m-%d",
            "date" | "date_pretty" => "%B %-d, %Y",
            "date_short" | "date_short_pretty" => "%b %-d, %Y",
            "date_long" | "date_long_pretty" => "%A, %B %-d, %Y",
            "time" => "%-I:%M %p",
            "time_secs" => "%-I:%M:%S %p",
            _ => return None,
        };
        out.push_str(before);
        out.push_str(&time.strftime(strftime).to_string());
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leaves_are_shown_in_their_style() {
        let section = json!({"type": "rich_text_section", "elements": [
            {"type": "text", "text": "a<b", "style": {"bold": true, "code": true}},
            {"type": "link", "url": "https://x.example/?a=1&b=\"", "text": "go"},
            {"type": "link", "url": "javascript:alert(1)", "text": "bad"},
            {"type": "date", "timestamp": 1_795_228_529, "format": "{date_num} {time_secs}", "fallback": "then"},
            {"type": "date", "timestamp": 1, "format": "{ago}", "fallback": "then"},
            {"type": "emoji", "name": "red_circle", "unicode": "1f534"},
            {"type": "broadcast", "range": "channel"},
            {"type": "color", "value": "#fff"},
        ]});
        let shown = element(&section);
        for part in [
            "<b><code>a&lt;b</code></b>",
            "<a href=\"https://x.example/?a=1&amp;b=&quot;\" rel=\"noreferrer noopener nofollow\">go</a>",
            "<span class=\"unknown\">bad</span>",
            "<time title=\"then\">2026-11-21 2:35:29 AM</time>",
            "<time title=\"then\">then</time>",
            "🔴",
            "<span class=\"mention\">@channel</span>",
            "<span class=\"unknown\">color</span>",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }

    #[test]
    fn mrkdwn_is_read_as_slack_reads_it() {
        assert_eq!(
            mrkdwn("&lt;!channel&gt; &amp;lt; *b*"),
            "&lt;!channel&gt; &amp;lt; *b*"
        );
        assert_eq!(
            mrkdwn("<!here> x"),
            "<span class=\"mention\">@here</span> x"
        );
        assert_eq!(
            mrkdwn("at <!date^1795228529^{date_num}|2026 &amp; later> <b"),
            "at <time title=\"2026 &amp; later\">2026-11-21</time> &lt;b"
        );
        assert_eq!(
            mrkdwn("<javascript:x|<b>y"),
            "<span class=\"unknown\">&lt;b</span>y"
        );
    }
}
