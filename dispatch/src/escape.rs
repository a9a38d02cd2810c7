//! The one way in which text of an event may enter a message (promise P9).
//!
//! Names, user agents and messages are chosen by whoever sends a request. [`clean`] makes such text
//! unable to hide or reorder: control, bidirectional and zero-width characters are *shown*, never
//! passed on and never silently removed. [`escape`] also makes it unable to speak where Slack reads
//! control sequences: `& < >` are the three characters that Slack decodes (Slack: "Formatting message
//! text"), and without `<` there is no mention and no link.
//!
//! In `rich_text` and `plain_text` Slack parses nothing, so [`clean`] is enough there.

/// Cleans text and shortens it to `chars_max` characters, from the middle, where names differ least.
pub fn clean(text: &str, chars_max: usize) -> String {
    let visible: String = text
        .chars()
        .take(8 * chars_max.max(1))
        .map(visible)
        .collect();
    let cut = text.chars().nth(8 * chars_max.max(1)).is_some();
    let length = visible.chars().count();
    if length <= chars_max && !cut {
        return visible;
    }
    let kept = chars_max.saturating_sub(1);
    let tail = if cut { 0 } else { kept / 3 };
    let start: String = visible.chars().take(kept - tail).collect();
    let end: String = visible.chars().skip(length - tail).collect();
    format!("{start}…{end}")
}

/// Escapes clean text for Slack's `mrkdwn` and for the fallback text of a message.
pub fn escape(clean: &str) -> String {
    let mut out = String::with_capacity(clean.len());
    for character in clean.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            other => out.push(other),
        }
    }
    out
}

fn visible(character: char) -> char {
    match character {
        // Unicode's pictures of control characters.
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + character as u32).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        other if is_hidden(other) => '\u{fffd}',
        other => other,
    }
}

/// Characters that show nothing, or change how others are shown; ASCII is not among them.
pub fn is_hidden(character: char) -> bool {
    matches!(character,
        '\u{80}'..='\u{9f}'         // C1 controls
        | '\u{ad}'                  // soft hyphen
        | '\u{34f}'                 // grapheme joiner
        | '\u{61c}'                 // Arabic letter mark
        | '\u{115f}'..='\u{1160}'   // Hangul fillers
        | '\u{17b4}'..='\u{17b5}'   // invisible Khmer vowels
        | '\u{180b}'..='\u{180f}'   // Mongolian selectors
        | '\u{200b}'..='\u{200f}'   // zero-width, direction marks
        | '\u{2028}'..='\u{202e}'   // separators, embeddings, overrides
        | '\u{2060}'..='\u{206f}'   // joiners, isolates, deprecated format characters
        | '\u{3164}'                // Hangul filler
        | '\u{fe00}'..='\u{fe0f}'   // variation selectors
        | '\u{feff}'                // byte order mark
        | '\u{ffa0}'                // half-width Hangul filler
        | '\u{fff0}'..='\u{fffb}'   // interlinear annotation
        | '\u{e0000}'..='\u{e0fff}' // tags, more selectors
        | '\u{e000}'..='\u{f8ff}'   // private use: whatever the reader's font makes of it
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_slack_decodes_is_left() {
        assert_eq!(
            escape(&clean("<!channel> & <@U1|x>", 100)),
            "&lt;!channel&gt; &amp; &lt;@U1|x&gt;"
        );
        assert_eq!(escape("&lt;!here&gt;"), "&amp;lt;!here&amp;gt;");
    }

    #[test]
    fn what_hides_or_reorders_is_shown() {
        assert_eq!(
            clean("a\u{202e}b\u{200b}c\nd\u{0}\u{1b}[2J", 100),
            "a\u{fffd}b\u{fffd}c␊d␀␛[2J"
        );
    }

    #[test]
    fn long_text_keeps_both_ends() {
        assert_eq!(clean("abcdefghijklmnop", 10), "abcdef…nop");
        assert_eq!(clean("abc", 3), "abc");
        assert_eq!(clean(&"x".repeat(1_000_000), 5), "xxxx…");
    }

    proptest! {
        #[test]
        fn any_text_becomes_harmless_and_short(text in any::<String>(), chars_max in 1usize..40) {
            let cleaned = clean(&text, chars_max);
            prop_assert!(cleaned.chars().count() <= chars_max);
            prop_assert!(!cleaned.chars().any(|one| one.is_control() || is_hidden(one)));
            let escaped = escape(&cleaned);
            prop_assert!(!escaped.contains(['<', '>']));
            prop_assert_eq!(escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"), cleaned);
        }
    }
}
