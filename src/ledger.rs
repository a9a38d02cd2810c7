//! `auditrelay ledger`: what was received, and where it is.
//!
//! Asks a running relay through its admin port; where none runs, reads the store itself and then also
//! counts every record, so that a counter that lies is found. Exit code 1 if anything is unaccounted
//! for.

mod muted;

use std::{path::Path, process::ExitCode};

use auditrelay_store::{Ledger, Mute, Queue};
use serde_json::{Value, json};

use crate::{
    Failure,
    cli::LedgerArgs,
    output::{say, say_json},
    reach::{Found, command_options, reach},
};

/// More routes, or channels, are shown in a sum.
const PARTS_SHOWN_MAX: usize = 20;

pub(crate) async fn run(args: &LedgerArgs) -> Result<ExitCode, Failure> {
    let data_dir = args.place.data_dir()?;
    let ledger = read_ledger(&data_dir).await?;
    if args.json {
        say_json(&ledger)?;
    } else {
        say(&table(&ledger))?;
    }
    Ok(if ledger["balanced"] == true {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The store's own ledger, checked by a full count; the running relay's where one has it.
async fn read_ledger(data_dir: &Path) -> Result<Value, Failure> {
    match reach(data_dir, &command_options(data_dir)).await? {
        Found::Store(queue) => {
            let verified = queue.verify().await;
            Ok(json(&queue.ledger(), &queue.mutes(), verified.err()))
        }
        Found::Relay { page, .. } => Ok(page),
    }
}

/// The ledger for scripts. `fault` is what a full count found wrong.
pub(crate) fn json(ledger: &Ledger, mutes: &[Mute], fault: Option<String>) -> Value {
    let mut value = json!({
        "received": ledger.received,
        "duplicates": ledger.counts.duplicates,
        "filtered": ledger.counts.filtered,
        "muted": ledger.counts.muted,
        "quarantined": ledger.counts.quarantined,
        "routed": ledger.counts.routed,
        "waiting": ledger.waiting,
        "lost": ledger.lost,
        "balanced": ledger.is_balanced() && fault.is_none(),
        "channels": ledger.channels,
        "notices": ledger.notices,
        "copies": ledger.copies,
        "filtered_by": ledger.filtered_by,
        "muted_deliveries": ledger.muted_deliveries,
        "mutes": muted::json(mutes),
    });
    if let Some(fault) = fault {
        value["fault"] = fault.into();
    }
    value
}

/// The ledger for people. What is a matter of bad days only is shown when there is some of it.
pub(crate) fn table(ledger: &Value) -> String {
    let mut text = String::from("events\n");
    for (name, meaning) in [
        ("received", "acknowledged to an API server"),
        ("duplicates", "seen before, not told again"),
        ("filtered", "no route wanted them"),
        ("muted", "muted on purpose"),
        ("quarantined", "could not be read"),
        ("routed", "went to a channel"),
        ("waiting", "not routed yet"),
        (
            "lost",
            "in a damaged store that was moved aside, beside the others; see auditrelay salvage",
        ),
    ] {
        let events = total(&ledger[name]);
        if name != "lost" || events > 0 {
            text.push_str(&format!("  {name:<12}{events:>12}   {meaning}\n"));
        }
        match name {
            "filtered" => parts("by route", "", &ledger["filtered_by"], &mut text),
            "muted" => {
                let muted = &ledger["muted_deliveries"];
                parts("deliveries", "to channel ", muted, &mut text);
            }
            _ => {}
        }
    }
    deliveries("channel", "routed", &ledger["channels"], &mut text);
    for (title, name) in [("notices to", "notices"), ("copies to", "copies")] {
        let channels = ledger[name].as_object();
        if channels.is_some_and(|channels| channels.values().any(|one| total(one) > 0)) {
            deliveries(title, "queued", &ledger[name], &mut text);
        }
    }
    text.push_str(&muted::table(ledger));
    text.push_str(match (&ledger["balanced"], ledger["fault"].as_str()) {
        (Value::Bool(true), _) => "\nbalanced: every event is accounted for\n",
        (_, None) => "\nNOT BALANCED: the numbers above do not add up\n",
        (_, Some(fault)) => return format!("{text}\nNOT BALANCED: {fault}\n"),
    });
    text
}

/// The parts of a count by name, the largest first.
fn parts(what: &str, unit: &str, by_name: &Value, text: &mut String) {
    let parts = by_name.as_object().into_iter().flatten();
    let mut parts: Vec<(&String, u64)> = parts.map(|(name, part)| (name, total(part))).collect();
    parts.sort_by_key(|(_, events)| std::cmp::Reverse(*events));
    let more = parts.split_off(parts.len().min(PARTS_SHOWN_MAX));
    for (name, events) in parts {
        text.push_str(&format!("    {what:<12}{events:>10}   {unit}{name}\n"));
    }
    if !more.is_empty() {
        let events: u64 = more.iter().map(|(_, events)| events).sum();
        let line = format!(
            "    {what:<12}{events:>10}   {unit}{} others (--json)\n",
            more.len()
        );
        text.push_str(&line);
    }
}

/// What became of deliveries, channel by channel.
fn deliveries(title: &str, first: &str, channels: &Value, text: &mut String) {
    let columns = [first, "delivered", "waiting", "dead", "dropped"];
    let channels = || channels.as_object().into_iter().flatten();
    let names = channels().map(|(name, _)| name.len());
    let width = names.max().unwrap_or(0).max(title.len());
    text.push_str(&format!("\n{title:<width$}"));
    text.extend(columns.map(|column| format!("{column:>12}")));
    text.push('\n');
    for (name, counts) in channels() {
        text.push_str(&format!("{name:<width$}"));
        text.extend(columns.map(|column| format!("{:>12}", total(&counts[column]))));
        text.push('\n');
        for (reason, events) in counts["dropped"].as_object().into_iter().flatten() {
            if total(events) > 0 {
                let meaning = match reason.as_str() {
                    "quota" => "to keep within queue.channel_bytes_max or queue.dead_bytes_max",
                    "command" => "because a command said so",
                    _ => "",
                };
                let line = format!("  dropped ({reason}) {:>12}   {meaning}", total(events));
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
    }
}

/// A number, or the sum of those in a map of them.
fn total(value: &Value) -> u64 {
    match value {
        Value::Object(parts) => parts.values().map(total).sum(),
        number => number.as_u64().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use auditrelay_store::{ChannelCounts, Dropped, OtherCounts};

    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger {
            received: 5,
            waiting: 2,
            ..Ledger::default()
        };
        ledger.counts.routed = 3;
        let counts = ChannelCounts {
            routed: 3,
            delivered: 1,
            waiting: 1,
            dead: 1,
            dropped: Dropped::default(),
        };
        ledger.channels.insert("ops".into(), counts);
        ledger
    }

    #[test]
    fn the_json_has_the_documented_keys_and_says_whether_it_balances() {
        let mut ledger = ledger();
        let notices = OtherCounts {
            queued: 2,
            dropped: 2,
            ..OtherCounts::default()
        };
        ledger.notices.insert("ops".into(), notices);
        ledger.lost = 9;
        ledger.counts.filtered = 1;
        ledger.received += 1;
        ledger.filtered_by.insert("noise".into(), 1);
        assert_eq!(
            json(&ledger, &[], None),
            json!({"received": 6, "duplicates": 0, "filtered": 1, "muted": 0, "quarantined": 0,
                "routed": 3, "waiting": 2, "lost": 9, "balanced": true,
                "channels": {"ops": {"routed": 3, "delivered": 1, "waiting": 1, "dead": 1,
                    "dropped": {"quota": 0, "command": 0}}},
                "notices": {"ops": {"queued": 2, "delivered": 0, "waiting": 0, "dead": 0, "dropped": 2}},
                "copies": {}, "filtered_by": {"noise": 1}, "muted_deliveries": {}, "mutes": []})
        );
        assert_eq!(json(&ledger, &[], Some("x".into()))["balanced"], false);
        ledger.received = 7;
        assert_eq!(json(&ledger, &[], None)["balanced"], false);
        assert!(table(&json(&ledger, &[], None)).contains("NOT BALANCED"));
        ledger.received = 6;
        // A copy that is nowhere.
        let copies = OtherCounts {
            queued: 1,
            ..OtherCounts::default()
        };
        ledger.copies.insert("ops".into(), copies);
        assert_eq!(json(&ledger, &[], None)["balanced"], false);
    }

    #[test]
    fn the_table_shows_which_routes_filtered_and_what_channels_did_not_hear() {
        let mut ledger = ledger();
        ledger.counts.filtered = 900;
        ledger.received += 900;
        ledger.filtered_by.insert("probes".into(), 7);
        ledger.filtered_by.insert("leases".into(), 500);
        ledger.muted_deliveries.insert("ops".into(), 3);
        let text = table(&json(&ledger, &[], None));
        let rows = "  filtered             900   no route wanted them
    by route           500   leases
    by route             7   probes
  muted                  0   muted on purpose
    deliveries           3   to channel ops
";
        assert!(text.contains(rows), "{text}");
        for number in 0..30 {
            ledger.filtered_by.insert(format!("r{number}"), 1);
        }
        let text = table(&json(&ledger, &[], None));
        assert!(
            text.contains("    by route            12   12 others (--json)\n"),
            "{text}"
        );
        // More by name than at all.
        ledger.filtered_by.insert("probes".into(), 901);
        assert_eq!(json(&ledger, &[], None)["balanced"], false);
    }

    #[test]
    fn the_table_shows_why_events_were_dropped_and_what_is_lost_if_any_are() {
        let mut ledger = ledger();
        let quiet = table(&json(&ledger, &[], None));
        for absent in ["lost", "(quota)", "(command)", "notices", "copies"] {
            assert!(!quiet.contains(absent), "{absent} in\n{quiet}");
        }
        ledger.lost = 7;
        let ops = ledger.channels.entry("ops".into()).or_default();
        ops.routed += 12;
        ops.dropped.quota = 12;
        ledger.received += 12;
        ledger.counts.routed += 12;
        let notices = OtherCounts {
            queued: 1,
            delivered: 1,
            ..OtherCounts::default()
        };
        ledger.notices.insert("ops".into(), notices);
        let text = table(&json(&ledger, &[], None));
        for line in [
            "  lost                   7   in a damaged store",
            "ops              15           1           1           1          12\n",
            "  dropped (quota)           12   to keep within",
            "notices to      queued   delivered     waiting        dead     dropped\n",
            "ops                  1           1           0           0           0\n",
            "balanced: every event",
        ] {
            assert!(text.contains(line), "no {line:?} in\n{text}");
        }
        assert!(!text.contains("(command)"), "{text}");
    }
}
