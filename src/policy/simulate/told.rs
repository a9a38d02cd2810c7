//! A report as people read it.
//!
//! Contract: what must not be lost stands first where it is lost. Text of events is cleaned here. Numbers are those
//! of the JSON, in units for people.

use std::path::Path;

use super::{
    figures::{bar, bytes, change, grouped, percent, span},
    report::{Effect, Loss, Report, RuleTold},
    told_suggestion::suggested,
    tops::{Counts, Largest},
};
use crate::output::{count, line, table, time, wrap};

pub(super) const NAME_CHARS_MAX: usize = 60;
pub(super) const WAY_CHARS_MAX: usize = 110;

/// The whole of it.
pub(super) fn told(report: &Report) -> String {
    let mut text = head(report);
    let before = match &report.against {
        None => "in the log".to_owned(),
        Some(other) => format!("by {}", name(other)),
    };
    let after = format!("by {}", name(&report.policy));
    text += &totals(&report.effect, &before, &after);
    text += &losses(&report.effect, report.against.is_none());
    text += &rules(report);
    text += &fates(report);
    text += &levels(report, &before, &after);
    for (title, largest) in [
        ("Users", &report.users),
        ("Requests", &report.requests),
        ("Namespaces", &report.namespaces),
        ("Clients", &report.user_agents),
    ] {
        text += &names(title, largest, report.effect.before.counts.bytes);
    }
    text += &notes(report);
    if let Some(suggestion) = &report.suggestion {
        text += &suggested(suggestion, &after);
    }
    text
}

fn moment(text: &str) -> String {
    let read = text.parse::<jiff::Timestamp>();
    read.map_or_else(|_| line(text, 40), |moment| time(moment.as_millisecond()))
}

/// A file's name alone, for the head of a column.
fn name(path: &str) -> String {
    let name = Path::new(path).file_name();
    name.map_or_else(|| shown(path), |name| shown(&name.to_string_lossy()))
}

pub(super) fn shown(path: &str) -> String {
    line(path, NAME_CHARS_MAX)
}

fn head(report: &Report) -> String {
    let log = &report.log;
    let mut text = format!(
        "{} on {}: {}, {}",
        shown(&report.policy),
        count(log.files, "file"),
        count(log.events, "event"),
        bytes(log.bytes)
    );
    if let (Some(from), Some(to), Some(seconds)) = (&log.from, &log.to, log.seconds) {
        text += &format!(
            "\nfrom {} to {}, {}",
            moment(from),
            moment(to),
            span(seconds)
        );
    }
    text += "\n\n";
    text
}

pub(super) fn totals(effect: &Effect, before: &str, after: &str) -> String {
    let (old, new) = (&effect.before, &effect.after);
    let mut rows = vec![
        vec![
            "events".to_owned(),
            grouped(old.counts.events),
            grouped(new.counts.events),
            change(old.counts.events, new.counts.events),
        ],
        vec![
            "size".to_owned(),
            bytes(old.counts.bytes),
            bytes(new.counts.bytes),
            change(old.counts.bytes, new.counts.bytes),
        ],
    ];
    if let (Some(old), Some(new)) = (old.bytes_per_day, new.bytes_per_day) {
        let row = [
            "size a day".to_owned(),
            bytes(old),
            bytes(new),
            String::new(),
        ];
        rows.push(row.to_vec());
    }
    let headers = ["", &format!(">{before}"), &format!(">{after}"), ">change"];
    table(&headers, &rows) + "\n"
}

/// What would be missed first; then all kinds of what matters.
pub(super) fn losses(effect: &Effect, of_log: bool) -> String {
    let mut text = String::new();
    for loss in effect.loud() {
        text += &format!(
            "LOST: {} of {} {}\n",
            grouped(loss.lost),
            grouped(loss.before),
            loss.kind.words()
        );
        text += &ways(loss);
    }
    if !text.is_empty() {
        text.push('\n');
    }
    if effect.losses.is_empty() {
        return text;
    }
    let row = |loss: &Loss| {
        vec![
            loss.kind.words().to_owned(),
            grouped(loss.before),
            grouped(loss.lost),
            grouped(loss.lowered),
        ]
    };
    let rows: Vec<_> = effect.losses.iter().map(row).collect();
    let before = match of_log {
        true => ">in the log",
        false => ">before",
    };
    text += &table(
        &[
            "what matters (requests)",
            before,
            ">lost",
            ">at a lower level",
        ],
        &rows,
    );
    text.push('\n');
    text
}

fn ways(loss: &Loss) -> String {
    let mut text = String::new();
    for way in &loss.ways {
        let what = line(&way.what, WAY_CHARS_MAX);
        text += &format!("  {:>6}  {what}\n", grouped(way.events));
    }
    if loss.other_ways > 0 {
        text += &format!("          and {}\n", count(loss.other_ways, "more way"));
    }
    text
}

fn rules(report: &Report) -> String {
    let whole = report.log.bytes;
    let row = |rule: &RuleTold| {
        vec![
            match rule.rule {
                Some(number) => format!("rules[{number}]"),
                None => "(no rule)".to_owned(),
            },
            rule.line.map(|line| line.to_string()).unwrap_or_default(),
            rule.level.as_str().to_owned(),
            grouped(rule.in_log.events),
            bytes(rule.in_log.bytes),
            percent(rule.in_log.bytes, whole),
            bar(rule.in_log.bytes, whole),
            grouped(rule.written.events),
            bytes(rule.written.bytes),
        ]
    };
    let rows: Vec<_> = report.rules.iter().map(row).collect();
    let headers = [
        "rule", ">line", "level", ">events", ">size", ">share", "", ">written", ">size",
    ];
    table(&headers, &rows) + "\n"
}

fn fates(report: &Report) -> String {
    let log = &report.log;
    let rows: Vec<_> = report
        .fates
        .iter()
        .filter(|of| of.in_log.events > 0)
        .map(|of| {
            vec![
                of.fate.words().to_owned(),
                grouped(of.in_log.events),
                percent(of.in_log.events, log.events),
                bytes(of.in_log.bytes),
                percent(of.in_log.bytes, log.bytes),
            ]
        })
        .collect();
    let headers = ["of the log", ">events", ">", ">size", ">"];
    table(&headers, &rows) + "\n"
}

fn levels(report: &Report, before: &str, after: &str) -> String {
    let rows: Vec<_> = report
        .levels
        .iter()
        .map(|of| {
            vec![
                of.level.as_str().to_owned(),
                grouped(of.change.before.events),
                bytes(of.change.before.bytes),
                grouped(of.change.after.events),
                bytes(of.change.after.bytes),
            ]
        })
        .collect();
    let headers = [
        "level",
        &format!(">{before}"),
        ">size",
        &format!(">{after}"),
        ">size",
    ];
    table(&headers, &rows) + "\n"
}

fn names(title: &str, largest: &Largest, whole: u64) -> String {
    let mut rows = Vec::new();
    let mut add = |name: String, before: Counts, after: Counts| {
        rows.push(vec![
            name,
            grouped(before.events),
            bytes(before.bytes),
            percent(before.bytes, whole),
            bar(before.bytes, whole),
            grouped(after.events),
            bytes(after.bytes),
            change(before.bytes, after.bytes),
        ]);
    };
    for one in &largest.largest {
        let name = match one.name.as_str() {
            "" => "(none)".to_owned(),
            name => line(name, NAME_CHARS_MAX),
        };
        add(name, one.change.before, one.change.after);
    }
    if largest.others > 0 {
        let name = format!("({})", count(largest.others, "other"));
        add(name, largest.rest.before, largest.rest.after);
    }
    let headers = [
        title, ">events", ">size", ">share", "", ">written", ">size", ">change",
    ];
    let mut text = table(&headers, &rows);
    if largest.short_by_bytes > 0 {
        text += &format!(
            "  There are too many different ones to count them all: each figure may be short by up to {}.\n",
            bytes(largest.short_by_bytes)
        );
    }
    text.push('\n');
    text
}

fn notes(report: &Report) -> String {
    let mut notes = vec![
        "A log shows what its own policy let through. What was never written is not counted here, and a level can only \
         go down."
            .to_owned(),
    ];
    for unmet in &report.unmet {
        notes.push(format!(
            "{}: the policy asks for {}, and the log holds {}; a real log would be larger.",
            count(unmet.events, "event"),
            unmet.wanted.as_str(),
            unmet.held.as_str()
        ));
    }
    let received = report.effect.request_received;
    if received.events > 0 {
        notes.push(format!(
            "{} ({}) of those that are written are of the stage RequestReceived, which says nothing that the end of \
             the request does not, unless the API server dies in between: omitStages: [RequestReceived] at the top of \
             the policy leaves them out.",
            count(received.events, "event"),
            bytes(received.bytes)
        ));
    }
    if report.effect.before.bytes_per_day.is_some() && report.log.seconds < Some(3_600.0) {
        notes.push("A day is extrapolated from less than an hour.".to_owned());
    }
    if report.log.unreadable > 0 {
        let places: Vec<String> = report
            .log
            .first_unreadable
            .iter()
            .map(ToString::to_string)
            .collect();
        notes.push(format!(
            "{} could not be read as events and are not counted: {}.",
            count(report.log.unreadable, "item"),
            places.join(", ")
        ));
    }
    for file in &report.log.passed_over {
        notes.push(format!(
            "{} holds no audit event and was passed over.",
            shown(file)
        ));
    }
    listed("Notes", &notes)
}

pub(super) fn listed(title: &str, notes: &[String]) -> String {
    let mut text = format!("{title}\n");
    for note in notes {
        for (number, part) in wrap(note, 110).iter().enumerate() {
            let mark = match number {
                0 => "- ",
                _ => "  ",
            };
            text += &format!("{mark}{part}\n");
        }
    }
    text
}
