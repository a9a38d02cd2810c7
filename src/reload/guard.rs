//! Configurations that are valid and surely not meant: what a full disk, a tool that crashed or an emptied ConfigMap
//! leaves. All settings have defaults, so an emptied file can be loaded, and would take every channel out.
//!
//! Contract: what is refused here is said with what to do where it is meant.

use auditrelay_config::{ChannelConfig, Config, Destination, SlackConfig};

/// Whether a file is blank, or has comments alone.
pub(super) fn says_nothing(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    text.split(|byte| *byte == b'\n').all(|line| {
        let line = line.trim_ascii();
        line.starts_with(b"#") || [&b""[..], b"---", b"...", b"{}", b"null", b"~"].contains(&line)
    })
}

/// Whether a file is the beginning of another.
pub(super) fn is_cut(text: &[u8], whole: &[u8]) -> bool {
    text.len() < whole.len() && whole.starts_with(text)
}

/// What is wrong where a channel that posts would be shown in a terminal instead, which counts as delivered.
pub(super) fn silenced(in_use: &Config, next: &Config) -> Option<String> {
    let posted = in_use.channels.iter();
    let mut posted = posted.filter(|(_, channel)| posts(channel, &in_use.slack));
    let has_posted = posted.clone().next().is_some();
    let without_token = posted.find_map(|(name, _)| {
        let channel = next.channels.get(name)?;
        (!channel.preview && !posts(channel, &next.slack)).then_some(name)
    });
    let meant =
        "what is shown in a terminal counts as delivered. If it is meant, restart the relay";
    if let Some(name) = without_token {
        return Some(format!(
            "channels.{name}: it posts, and would be shown in a terminal for want of a Slack token; {meant}"
        ));
    }
    let posts_somewhere = next
        .channels
        .values()
        .any(|channel| posts(channel, &next.slack));
    (has_posted && !posts_somewhere).then(|| {
        format!("channels: none posts anywhere any more, all would be shown in a terminal; {meant}")
    })
}

/// Whether it posts to Slack. The watchdog's own channel is no place for events.
fn posts(channel: &ChannelConfig, slack: &SlackConfig) -> bool {
    let place = channel.destination(slack);
    matches!(
        place,
        Destination::SlackApi { .. } | Destination::Webhook { .. }
    )
}

#[cfg(test)]
mod tests {
    use auditrelay_config::{Overrides, load};

    use super::*;

    fn config(text: &str) -> Config {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, text).expect("written");
        let loaded = load(Some(&file), [], Overrides::default());
        loaded.expect("valid").config
    }

    #[test]
    fn a_file_that_says_nothing_is_known() {
        for text in [
            "",
            "\n\n",
            " \t\r\n",
            "\u{feff}",
            "---\n",
            "# a: 1\n\n  # b\n",
            "{}\n",
        ] {
            assert!(says_nothing(text.as_bytes()), "{text:?}");
            assert_eq!(config(text), config(""), "{text:?} says something");
        }
        assert!(!says_nothing(b"# a\ncluster: b\n"));
    }

    #[test]
    fn a_beginning_is_known() {
        let whole = b"a: 1\nb: 2\n";
        assert!(is_cut(b"a: 1\n", whole) && is_cut(b"", whole));
        assert!(!is_cut(whole, whole) && !is_cut(b"a: 2\n", whole));
        assert!(!is_cut(b"a: 1\nb: 2\nc: 3\n", whole));
    }

    #[test]
    fn channels_that_post_are_not_silenced() {
        let (posts, preview) = ("slack: {token: xoxb-1}\n", "{preview: true}");
        let two =
            "channels: {a: {slack_channel: C1}, b: {slack_channel: C2}}\ndefault_channel: a\n";
        let in_use = config(&format!("{posts}{two}"));
        let problem = |text: &str| silenced(&in_use, &config(text));
        let said = |text: &str, part: &str| {
            let said = problem(text).unwrap_or_else(|| panic!("taken: {text}"));
            assert!(said.starts_with(part), "{said}");
        };
        said("", "channels: none posts");
        said(
            "channels: {a: {preview: true}}\ndefault_channel: a\n",
            "channels: none posts",
        );
        said(two, "channels.a: it posts");
        let some = "channels: {a: {slack_channel: C1, token: xoxb-2}, b: {slack_channel: C2}}\ndefault_channel: a\n";
        said(some, "channels.b: it posts");
        // One that is meant to be shown, one that is taken out, and who never posted.
        let one = two.replace("{slack_channel: C2}", preview);
        assert_eq!(problem(&format!("{posts}{one}")), None);
        let without = two.replace(", b: {slack_channel: C2}", "");
        assert_eq!(problem(&format!("{posts}{without}")), None);
        assert_eq!(silenced(&config(two), &config("")), None);
    }
}
