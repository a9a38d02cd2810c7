//! What the ledger says of mutes: how much each of them held back.

use auditrelay_store::Mute;
use serde_json::{Value, json};

use super::total;
use crate::output;

const AUTHOR_CHARS_MAX: usize = 30;
const REASON_CHARS_MAX: usize = 60;

/// Mutes that are active, or held something back, for scripts.
pub(super) fn json(mutes: &[Mute]) -> Value {
    let telling = mutes
        .iter()
        .filter(|mute| mute.is_active() || mute.held_total() > 0);
    let row = |mute: &Mute| {
        json!({
            "id": mute.id,
            "author": mute.asked.author,
            "reason": mute.asked.reason,
            "until_unix_ms": mute.asked.until_unix_ms,
            "active": mute.is_active(),
            "held": mute.held,
        })
    };
    telling.map(row).collect()
}

/// The same for people; nothing where there is nothing to say.
pub(super) fn table(ledger: &Value) -> String {
    let mutes = ledger["mutes"].as_array();
    let mutes: Vec<_> = mutes.into_iter().flatten().collect();
    let mut text = String::new();
    if !mutes.is_empty() {
        let rows: Vec<_> = mutes.iter().map(|mute| row(mute)).collect();
        let headers = ["by mute", ">deliveries", "until", "author", "reason"];
        text.push('\n');
        text.push_str(&output::table(&headers, &rows));
    }
    text
}

fn row(mute: &Value) -> Vec<String> {
    let words = |key: &str, chars_max| {
        let text = mute[key].as_str().unwrap_or_default();
        output::line(text, chars_max)
    };
    vec![
        total(&mute["id"]).to_string(),
        total(&mute["held"]).to_string(),
        match mute["active"].as_bool() {
            Some(true) => output::time(mute["until_unix_ms"].as_i64().unwrap_or_default()),
            _ => "ended".to_owned(),
        },
        words("author", AUTHOR_CHARS_MAX),
        words("reason", REASON_CHARS_MAX),
    ]
}

#[cfg(test)]
mod tests {
    use auditrelay_store::{Ledger, MuteEnd, NewMute};

    use super::*;

    fn mute(id: u64, held: u64, is_active: bool) -> Mute {
        let end = MuteEnd {
            at_unix_ms: 1_000,
            by: None,
            reason: String::new(),
        };
        let held = (held > 0).then(|| ("ops".to_owned(), held));
        Mute {
            id,
            asked: NewMute {
                author: "alice".into(),
                reason: "a \u{1b}[2J deploy".into(),
                matches: "{}".into(),
                words: "every event".into(),
                channels: Vec::new(),
                routes: Vec::new(),
                begun_unix_ms: 0,
                until_unix_ms: 3_600_000,
            },
            ended: (!is_active).then_some(end),
            held: held.into_iter().collect(),
        }
    }

    #[test]
    fn it_says_what_each_mute_held_back_and_nothing_where_none_did() {
        let ledger = Ledger::default();
        let quiet = super::super::json(&ledger, &[], None);
        assert_eq!(table(&quiet), "");
        let mutes = [mute(3, 9, false), mute(4, 0, false), mute(5, 0, true)];
        let value = super::super::json(&ledger, &mutes, None);
        let ids: Vec<_> = value["mutes"].as_array().expect("a list").iter().collect();
        assert_eq!(
            ids.len(),
            2,
            "one that ended and held nothing back says nothing"
        );
        assert_eq!(
            table(&value),
            "
by mute  deliveries  until                    author  reason
3                 9  ended                    alice   a ␛[2J deploy
5                 0  1970-01-01 01:00:00 UTC  alice   a ␛[2J deploy
"
        );
    }
}
