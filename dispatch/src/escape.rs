//! The one way in which text of an event may enter a message (promise P9).
//!
//! Names, user agents and messages are chosen by whoever sends a request. [`clean`] makes such text
//! unable to hide or reorder: control, bidirectional and zero-width characters are *shown*, never
//! passed on and never silently removed. [`escape`] also makes it unable to speak where Slack reads
//! control sequences: `& < >` are the three characters that Slack decodes (Slack: "Formatting message
//! text"), and without `<` there is no mention and no link.
//!
//! In `rich_text` and `plain_text` Slack parses nothing, so [`clean`] is enough there.

/// Marks that are drawn onto the character before them: more than a few climb over the lines around.
const COMBINING_MAX: usize = 2;

/// Cleans text and shortens it to `chars_max` characters, from the middle, where names differ least.
pub fn clean(text: &str, chars_max: usize) -> String {
    let mut combining = 0;
    let visible: String = text
        .chars()
        .take(8 * chars_max.max(1))
        .map(|character| {
            combining = if is_combining(character) {
                combining + 1
            } else {
                0
            };
            if combining > COMBINING_MAX {
                '\u{fffd}'
            } else {
                visible(character)
            }
        })
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

/// A name as it stands within a sentence: what could be taken for words of ours is quoted.
pub fn quoted(text: &str, chars_max: usize) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:@/+=~$%".contains(&byte);
    if text.bytes().all(is_plain) {
        return clean(text, chars_max);
    }
    let cleaned = clean(text, chars_max.saturating_sub(2).max(1));
    format!("“{}”", cleaned.replace(['“', '”'], "\""))
}

/// How many bytes [`escape`] makes of it.
pub fn escaped_len(clean: &str) -> usize {
    let more = |byte| match byte {
        b'&' => 4,
        b'<' | b'>' => 3,
        _ => 0,
    };
    clean.len() + clean.bytes().map(more).sum::<usize>()
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
        // A space of another width pads as well as it hides.
        ' ' => ' ',
        '\u{2800}' => '\u{2423}',
        other if other.is_whitespace() => '\u{2423}',
        other => other,
    }
}

fn is_combining(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
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

    #[test]
    fn names_cannot_pass_for_words_of_ours() {
        assert_eq!(
            quoted("system:serviceaccount:a:b", 40),
            "system:serviceaccount:a:b"
        );
        assert_eq!(quoted("bob — allowed — 200", 40), "“bob — allowed — 200”");
        assert_eq!(quoted("a” tried “b", 40), "“a\" tried \"b”");
        assert_eq!(quoted(&"x".repeat(50), 10), "xxxxxx…xxx");
        assert_eq!(
            quoted("аdmin", 40),
            "“аdmin”",
            "the first letter is Cyrillic"
        );
        assert_eq!(quoted("", 40), "");
    }

    #[test]
    fn padding_and_towers_of_accents_are_shown() {
        assert_eq!(clean("a\u{2003}\u{a0}b\u{3000}", 40), "a␣␣b␣");
        assert_eq!(
            clean("e\u{301}\u{301}\u{301}\u{301}x", 40),
            "e\u{301}\u{301}\u{fffd}\u{fffd}x"
        );
    }

    proptest! {
        #[test]
        fn any_text_becomes_harmless_and_short(text in any::<String>(), chars_max in 1usize..40) {
            let cleaned = clean(&text, chars_max);
            prop_assert!(cleaned.chars().count() <= chars_max);
            prop_assert!(!cleaned.chars().any(|one| one.is_control() || is_hidden(one)));
            let escaped = escape(&cleaned);
            prop_assert_eq!(escaped.len(), escaped_len(&cleaned));
            prop_assert!(quoted(&text, chars_max.max(3)).chars().count() <= chars_max.max(3));
            prop_assert!(!escaped.contains(['<', '>']));
            prop_assert_eq!(escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"), cleaned);
        }
    }
}
