//! What notices say of mutes.
//!
//! Authors, reasons and names of channels are somebody's words; whoever shows a notice makes them harmless.

use crate::{Mute, NewMute};

/// Channels that a notice names with what was held back from them.
const CHANNELS_TOLD_MAX: usize = 8;

/// A mute, whose it is and why.
pub(super) fn named(mute: &Mute) -> String {
    let NewMute { author, reason, .. } = &mute.asked;
    format!(
        "mute {} by {} ({})",
        mute.id,
        quoted(author),
        quoted(reason)
    )
}

/// Somebody's words within ours: they end where the quotes do.
fn quoted(text: &str) -> String {
    format!("“{}”", text.replace(['“', '”'], "\""))
}

/// What a channel is told; with what was held back from others, if it is told of all.
pub(super) fn told_at_the_end(mute: &Mute, channel: &str, with_others: bool) -> String {
    let end = mute.ended.as_ref();
    let ended = match end.and_then(|end| end.by.as_ref().map(|by| (by, &end.reason))) {
        None => "ended".to_owned(),
        Some((by, reason)) if reason.is_empty() => format!("was ended by {}", quoted(by)),
        Some((by, reason)) => format!("was ended by {} ({})", quoted(by), quoted(reason)),
    };
    let at_ms = end.map_or(mute.asked.until_unix_ms, |end| end.at_unix_ms);
    let lasted = span(at_ms.saturating_sub(mute.asked.begun_unix_ms));
    let own = mute.held.get(channel).copied().unwrap_or_default();
    let mut text = format!(
        "{} {ended}: {} held back from this channel in {lasted}",
        named(mute),
        were(own)
    );
    let others = mute.held.iter().filter(|(name, _)| *name != channel);
    let others: Vec<_> = others.collect();
    if with_others && !others.is_empty() {
        let part = |(name, events): &(&String, &u64)| format!("{} from {name}", grouped(**events));
        let parts: Vec<_> = others.iter().take(CHANNELS_TOLD_MAX).map(part).collect();
        text.push_str(&format!("; {}", parts.join(", ")));
        let rest = &others[parts.len()..];
        if !rest.is_empty() {
            let events = rest.iter().map(|(_, events)| **events).sum();
            text.push_str(&format!(
                ", {} from {} more channels",
                grouped(events),
                rest.len()
            ));
        }
    }
    text
}

/// `1 event was`.
pub(super) fn were(events: u64) -> String {
    let verb = if events == 1 { "was" } else { "were" };
    format!("{} {verb}", count(events))
}

/// `1,234 events`.
pub(super) fn count(events: u64) -> String {
    let noun = if events == 1 { "event" } else { "events" };
    format!("{} {noun}", grouped(events))
}

/// `1,234`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `2 h 5 min`: the two largest units that are not 0.
fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (size, unit) in units {
        if left >= size && parts.len() < 2 {
            parts.push(format!("{} {unit}", left / size));
        }
        left %= size;
    }
    if parts.is_empty() {
        return "less than 1 s".to_owned();
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MuteEnd;

    fn mute(held: &[(&str, u64)], end: MuteEnd) -> Mute {
        Mute {
            id: 7,
            asked: NewMute {
                author: "alice".into(),
                reason: "deploy of “payments”".into(),
                matches: "{}".into(),
                words: "everything".into(),
                channels: Vec::new(),
                routes: Vec::new(),
                begun_unix_ms: 0,
                until_unix_ms: 7_200_000,
            },
            ended: Some(end),
            held: held
                .iter()
                .map(|(name, n)| ((*name).to_owned(), *n))
                .collect(),
        }
    }

    #[test]
    fn an_end_says_who_why_how_long_and_how_many() {
        let by_itself = MuteEnd {
            at_unix_ms: 7_200_000,
            by: None,
            reason: String::new(),
        };
        let ended = mute(&[("ops", 1_234), ("sec", 1)], by_itself);
        assert_eq!(
            told_at_the_end(&ended, "ops", false),
            "mute 7 by “alice” (“deploy of \"payments\"”) ended: 1,234 events were held back from this \
             channel in 2 h"
        );
        assert_eq!(
            told_at_the_end(&ended, "dev", true),
            "mute 7 by “alice” (“deploy of \"payments\"”) ended: 0 events were held back from this \
             channel in 2 h; 1,234 from ops, 1 from sec"
        );
        let by_bob = MuteEnd {
            at_unix_ms: 61_000,
            by: Some("bob".into()),
            reason: "too ”wide“".into(),
        };
        assert_eq!(
            told_at_the_end(&mute(&[("sec", 1)], by_bob), "sec", true),
            "mute 7 by “alice” (“deploy of \"payments\"”) was ended by “bob” (“too \"wide\"”): 1 event was \
             held back from this channel in 1 min 1 s"
        );
    }

    #[test]
    fn many_channels_are_told_in_sum() {
        let names: Vec<String> = (0..11).map(|n| format!("c{n:02}")).collect();
        let held: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 10)).collect();
        let end = MuteEnd {
            at_unix_ms: 1,
            by: None,
            reason: String::new(),
        };
        let text = told_at_the_end(&mute(&held, end), "c00", true);
        assert!(
            text.contains("10 from c08, 20 from 2 more channels"),
            "{text}"
        );
    }

    #[test]
    fn spans_are_said_in_two_units() {
        for (ms, text) in [
            (-5, "less than 1 s"),
            (999, "less than 1 s"),
            (59_000, "59 s"),
            (7_500_000, "2 h 5 min"),
            (86_400_000 * 30, "30 d"),
            (90_061_000, "1 d 1 h"),
            (86_460_000, "1 d 1 min"),
        ] {
            assert_eq!(span(ms), text, "{ms}");
        }
    }
}
