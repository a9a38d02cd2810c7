//! The report for people: what needs a person first, then one line a subject and a table of channels.
//!
//! Invariant: somebody else's words (errors, mutes, names of a store) are cleaned; they cannot act on a terminal.

use auditrelay_dispatch::board::{LaneState, LaneView};

use super::report::{ActiveMute, Channel, Disk, Inbox, LogFile, Rates, Report};
use crate::{
    health::bytes,
    output::{self, count},
};

/// Channels that are shown; those with trouble or a backlog first.
const CHANNELS_SHOWN_MAX: usize = 30;
const ERRORS_SHOWN_MAX: usize = 5;
const MUTES_SHOWN_MAX: usize = 5;
const WIDTH: usize = 110;

/// One screen.
pub(super) fn table(report: &Report) -> String {
    let mut text = head(report);
    for one in &report.attention {
        let about = one.channel.as_ref();
        let about = about.map(|name| format!("{}: ", output::line(name, 60)));
        let what = format!(
            "{}{}",
            about.unwrap_or_default(),
            output::line(&one.what, 400)
        );
        indented(&mut text, "  ! ", &what);
        indented(&mut text, "    ", &format!("-> {}", one.todo));
    }
    text.push('\n');
    text.push_str(&subjects(report));
    text.push('\n');
    text.push_str(&channels(report));
    let shown = report.errors.iter().take(ERRORS_SHOWN_MAX);
    if !report.errors.is_empty() {
        text.push_str("\nlast errors\n");
    }
    for error in shown {
        let about = error.channel.as_deref().unwrap_or(&error.part);
        let times = match error.times {
            1 => String::new(),
            times => format!(" ({} times)", number(times)),
        };
        let ago = ago(report.now_unix_ms, error.at_unix_ms);
        let line = format!(
            "{ago}  {}: {}{times}",
            output::line(about, 60),
            output::line(&error.text, 300)
        );
        indented(&mut text, "  ", &line);
    }
    text
}

fn indented(text: &mut String, start: &str, line: &str) {
    let mut start = start.to_owned();
    for part in output::wrap(line, WIDTH - start.len()) {
        text.push_str(&format!("{start}{part}\n"));
        start = " ".repeat(start.len());
    }
}

fn head(report: &Report) -> String {
    let version = output::line(&report.version, 30);
    let state = match (report.running, report.attention.len() as u64) {
        (false, _) => {
            return "the relay is not running: nothing is received and nothing is posted; this is what its queue holds\n"
                .to_owned();
        }
        (true, 0) => "healthy".to_owned(),
        (true, 1) => "1 thing needs a person".to_owned(),
        (true, more) => format!("{more} things need a person"),
    };
    let since = report.started_unix_ms.unwrap_or(report.now_unix_ms);
    let up = output::duration(report.now_unix_ms - since);
    format!(
        "auditrelay {version}{}: {state}; running for {up}\n",
        replica(report)
    )
}

/// Of several relays: which one this is, and who leads.
pub(crate) fn replica(report: &Report) -> String {
    let Some(name) = &report.replica else {
        return String::new();
    };
    let name = output::line(name, 63);
    match &report.leader {
        _ if report.leads => format!(" on {name}, which leads"),
        Some(leader) => format!(" on {name} ({} leads)", output::line(leader, 63)),
        None => format!(" on {name} (nobody leads)"),
    }
}

/// `12,345`.
fn number(number: u64) -> String {
    count(number, "").trim_end_matches([' ', 's']).to_owned()
}

/// One line a subject.
fn subjects(report: &Report) -> String {
    let unknown = || "not known, as no relay that leads says".to_owned();
    let mut lines = vec![
        ("events", events(report).unwrap_or_else(unknown)),
        (
            "queue",
            report
                .disk
                .as_ref()
                .map_or_else(unknown, |disk| queue(disk, report.replica.is_some())),
        ),
    ];
    lines.extend(report.inbox.iter().map(|one| ("inbox", inbox(one))));
    for budget in &report.slack {
        let names = named(&budget.channels);
        let (posts, most) = (budget.posts_last_minute, budget.messages_per_minute_max);
        let text = format!("{posts} of {most} messages in the last minute ({names})");
        lines.push(("slack", text));
    }
    for mute in report.mutes.iter().take(MUTES_SHOWN_MAX) {
        lines.push(("mute", one_mute(mute)));
    }
    if let Some(more @ 1..) = report.mutes.len().checked_sub(MUTES_SHOWN_MAX) {
        let text = format!("{} (auditrelay mute list)", count(more as u64, "other"));
        lines.push(("mute", text));
    }
    lines.extend(refused(report).map(|text| ("refused", text)));
    lines.extend(
        report
            .log_files
            .iter()
            .map(|(path, one)| ("log file", log_file(report, path, one))),
    );
    let lines = lines.into_iter();
    lines
        .map(|(name, text)| format!("{name:<10}{text}\n"))
        .collect()
}

fn queue(disk: &Disk, is_in_nats: bool) -> String {
    let most = disk.queue_bytes_max;
    let most = most.map_or(String::new(), |most| format!(" of at most {}", bytes(most)));
    let used = bytes(disk.queue_bytes);
    if is_in_nats {
        return format!("{used}{most}, in NATS");
    }
    let free = disk
        .free_bytes
        .map_or("an unknown amount".to_owned(), bytes);
    format!("{used}{most}, {free} free on its disk")
}

/// What was acknowledged, and is not among the events above yet.
fn inbox(inbox: &Inbox) -> String {
    let (holds, most) = (bytes(inbox.bytes), bytes(inbox.bytes_max));
    let oldest = match inbox.messages {
        0 => String::new(),
        _ => format!(", oldest {:.1} s", inbox.oldest_age_seconds),
    };
    format!("{holds} of at most {most} not taken over yet{oldest}")
}

fn events(report: &Report) -> Option<String> {
    let ledger = report.ledger.as_ref()?;
    let rate = |of: fn(&Rates) -> f64| {
        let rate = report.rates.as_ref().map(of);
        rate.map_or(String::new(), |rate| format!(" ({rate:.1}/s)"))
    };
    let received = rate(|rates| rates.received_per_second);
    let delivered = rate(|rates| rates.delivered_per_second);
    let mut parts = vec![
        format!("{} received{received}", number(ledger.received)),
        format!("{} delivered{delivered}", number(ledger.delivered)),
    ];
    for (value, words) in [
        (ledger.duplicates, "duplicates"),
        (ledger.filtered, "filtered"),
        (ledger.muted, "muted"),
        (ledger.quarantined, "quarantined"),
        (ledger.waiting, "not routed yet"),
        (ledger.dead, "dead"),
        (ledger.dropped, "dropped"),
        (ledger.lost, "lost"),
    ] {
        if value > 0 {
            parts.push(format!("{} {words}", number(value)));
        }
    }
    let balance = match ledger.balanced {
        true => "balanced",
        false => "NOT BALANCED",
    };
    parts.push(balance.to_owned());
    Some(parts.join(", "))
}

/// What was refused lately, for whatever reason.
fn refused(report: &Report) -> Option<String> {
    let lately = report.lately.as_ref()?;
    let reasons = lately.refused.iter();
    let reasons = reasons.map(|(reason, one)| format!("{} {reason}", number(one.times)));
    let reasons: Vec<String> = reasons.collect();
    let over = output::duration((lately.over_seconds * 1_000.0) as i64);
    (!reasons.is_empty()).then(|| format!("{} in the last {over}", reasons.join(", ")))
}

fn log_file(report: &Report, path: &str, one: &LogFile) -> String {
    let read = one.last_read_unix_ms;
    let read = read.map_or("nothing read yet".to_owned(), |read| {
        format!("read {}", ago(report.now_unix_ms, read))
    });
    let (path, lag) = (output::line(path, 60), bytes(one.lag_bytes));
    format!("{path}: {lag} not read, {read}")
}

fn one_mute(mute: &ActiveMute) -> String {
    let (id, until) = (mute.id, output::time(mute.until_unix_ms));
    let author = output::line(&mute.author, 30);
    let reason = output::line(&mute.reason, 60);
    let held = count(mute.held, "delivery");
    format!("{id} by {author} until {until}: {reason} ({held} held back)")
}

/// The first few names.
fn named(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| output::line(name, 40))
        .collect();
    if let Some(more @ 1..) = names.len().checked_sub(SHOWN) {
        shown.push(format!("{more} more"));
    }
    shown.join(", ")
}

/// Trouble first, then who has most to wait for.
pub(crate) fn order(report: &Report) -> Vec<(&String, &Channel)> {
    let mut channels: Vec<_> = report.channels.iter().collect();
    channels
        .retain(|(_, one)| one.configured || one.waiting > 0 || one.dead > 0 || !report.running);
    let key = |one: &Channel| {
        let state = one.lane.as_ref().map(|lane| lane.state);
        let trouble = match state {
            Some(LaneState::Parked) => 0,
            _ if !one.configured => 1,
            Some(LaneState::Holding) => 2,
            _ => 3,
        };
        (trouble, std::cmp::Reverse(one.waiting))
    };
    channels.sort_by_key(|(_, one)| key(one));
    channels
}

fn channels(report: &Report) -> String {
    let mut channels = order(report);
    let more = channels.split_off(channels.len().min(CHANNELS_SHOWN_MAX));
    let headers = [
        "channel",
        "state",
        ">waiting",
        ">oldest",
        ">delivered",
        ">dead",
        "last delivery",
        "next",
    ];
    let rows: Vec<Vec<String>> = channels
        .into_iter()
        .map(|(name, one)| {
            let lane = one.lane.as_ref();
            vec![
                output::line(name, 40),
                state(report, one).to_owned(),
                one.waiting.to_string(),
                oldest(one),
                one.delivered.to_string(),
                one.dead.to_string(),
                last_delivery(report.now_unix_ms, lane),
                lane.map(|lane| next(report.now_unix_ms, lane))
                    .unwrap_or_default(),
            ]
        })
        .collect();
    let mut text = output::table(&headers, &rows);
    if !more.is_empty() {
        let more = count(more.len() as u64, "more channel");
        text.push_str(&format!(
            "{more}, all open, with less that waits (--json)\n"
        ));
    }
    text
}

/// A channel's state in a word.
pub(crate) fn state(report: &Report, channel: &Channel) -> &'static str {
    match &channel.lane {
        Some(lane) => lane.state.as_str(),
        None if !report.running => "stopped",
        None if channel.configured => "starting",
        None => "unknown",
    }
}

/// How long the oldest waits.
pub(crate) fn oldest(channel: &Channel) -> String {
    match channel.oldest_age_seconds {
        Some(seconds) if channel.waiting > 0 => short(seconds),
        _ => "-".to_owned(),
    }
}

pub(crate) fn last_delivery(now_unix_ms: i64, lane: Option<&LaneView>) -> String {
    let last = lane.and_then(|lane| lane.last_delivered_unix_ms);
    last.map_or("-".to_owned(), |last| ago(now_unix_ms, last))
}

/// What a lane waits for, in words, with the time of its next try.
pub(crate) fn next(now_unix_ms: i64, lane: &LaneView) -> String {
    let wait = lane
        .next_try_unix_ms
        .map(|next| (next - now_unix_ms).max(0) / 1_000);
    let wait = wait
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0);
    match (lane.state, wait) {
        (LaneState::Open, _) | (_, None) => lane.waits_for.words().to_owned(),
        (_, Some(seconds)) => format!("tries in {}", short(seconds)),
    }
}

/// `2h 5m` in few characters.
pub(crate) fn short(seconds: u64) -> String {
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{}h {:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// How long ago.
pub(crate) fn ago(now_unix_ms: i64, then_unix_ms: i64) -> String {
    let seconds = (now_unix_ms - then_unix_ms).max(0) / 1_000;
    format!("{} ago", short(u64::try_from(seconds).unwrap_or_default()))
}

#[cfg(test)]
mod tests;
