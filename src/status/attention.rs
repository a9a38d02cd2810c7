//! What needs a person, and what that person can do: the judgement behind `auditrelay status`'s exit code.
//!
//! Contract: what mends itself needs nobody. A channel that holds for a while, a backlog, a queue that is half full, a batch that
//! is refused once and comes again are seen in the table and watched by the alert rules; they are not said here. What is said
//! here has a command, a key of the configuration or something outside the relay that mends it.

mod door;

use auditrelay_dispatch::board::LaneState;
use auditrelay_store::QueueError;

use super::report::{Attention, Report};
use crate::output::{count, duration};

/// How long a channel may hold while something waits.
const HELD_MS_MAX: i64 = 15 * 60 * 1_000;
/// Watchdog messages that may be missing.
const WATCHDOG_MISSES: i64 = 3;

/// Fills in what needs a person, and whether the relay is ready and healthy.
pub(super) fn judge(report: &mut Report, storage: Option<QueueError>) {
    let mut attention = Vec::new();
    let mut say = |kind: &str, channel: Option<&str>, what: String, todo: &str| {
        attention.push(Attention {
            kind: kind.to_owned(),
            channel: channel.map(str::to_owned),
            what,
            todo: todo.to_owned(),
        });
    };
    report.ready = report.running && storage.is_none();
    match storage {
        None => {}
        Some(QueueError::Unavailable(why)) => say(
            "storage",
            None,
            format!("new batches are refused (503): {why}"),
            "look at the NATS servers and the way to them; batches are taken again by themselves, and what was acknowledged is kept there",
        ),
        Some(error) => say(
            "storage",
            None,
            format!("nothing can be committed: {error}"),
            "look at the disk; what was acknowledged is in the queue and is read again at the next start",
        ),
    }
    if let Some(why) = &report.no_leader {
        say(
            "no_leader",
            None,
            format!("nothing is routed or posted, or this replica cannot see it: {why}"),
            "mostly one of the relays leads within seconds; where none does, their logs say why: look there, and at NATS. What was acknowledged is kept",
        );
    }
    if let Some(why) = &report.refusing {
        say(
            "refusing",
            None,
            format!("new batches are refused (429): {why}"),
            "free disk space or raise the limit (queue.bytes_max); batches are taken again by themselves then",
        );
    }
    let ledger = report.ledger.as_ref();
    if ledger.is_some_and(|ledger| !ledger.balanced) {
        say(
            "unbalanced",
            None,
            "an event is unaccounted for: the ledger does not add up".to_owned(),
            "`auditrelay ledger` shows where; please report it",
        );
    }
    if let Some(lost) = ledger.map(|ledger| ledger.lost).filter(|lost| *lost > 0) {
        let events = count(lost, "event");
        say(
            "lost",
            None,
            format!("{events} waited in a damaged store that was moved aside"),
            "look at the disk; `auditrelay salvage` brings back what is whole",
        );
    }
    door::judge(report, &mut say);
    of_configuration(report, &mut say);
    of_channels(report, &mut say);
    report.healthy = report.running && attention.is_empty();
    report.attention = attention;
}

fn of_configuration(report: &Report, say: &mut impl FnMut(&str, Option<&str>, String, &str)) {
    if let Some(reload) = &report.reload {
        if !reload.last_successful {
            let why = reload.last_failure.as_ref();
            let why = why.map_or(String::new(), |why| format!(": {why}"));
            say(
                "reload",
                None,
                format!("the new configuration cannot be used; the one before is in use{why}"),
                "`auditrelay reload` says what is wrong with it; correct it and it is loaded by itself",
            );
        }
        if reload.restart_pending > 0 {
            let keys = count(reload.restart_pending, "changed key");
            say(
                "restart",
                None,
                format!("{keys} of the configuration will count only after a restart"),
                "restart the relay; `auditrelay reload` names the keys",
            );
        }
    }
    if let Some(watchdog) = &report.watchdog {
        // One that was delivered when the relay led before says nothing of now.
        let since = watchdog.last_delivered_unix_ms;
        let since = since.max(watchdog.leads_since_unix_ms);
        let since = since.or(report.started_unix_ms);
        let late_ms = report.now_unix_ms - since.unwrap_or(report.now_unix_ms);
        let interval_ms =
            i64::try_from(watchdog.interval_seconds).unwrap_or(i64::MAX / 1_000) * 1_000;
        if late_ms > interval_ms.saturating_mul(WATCHDOG_MISSES) {
            say(
                "watchdog",
                None,
                format!(
                    "no watchdog message was delivered for {}",
                    duration(late_ms)
                ),
                "look at the channel of the watchdog below, or at what its URL answers: the way to it is broken",
            );
        }
    }
}

fn of_channels(report: &Report, say: &mut impl FnMut(&str, Option<&str>, String, &str)) {
    for (name, channel) in &report.channels {
        let lane = channel.lane.as_ref();
        if let Some(lane) = lane.filter(|lane| lane.state == LaneState::Parked) {
            let why = lane.last_error.as_ref().map(|error| error.reason.as_str());
            let why = why.unwrap_or("for a reason that was not noted");
            say(
                "parked",
                Some(name),
                format!("the channel is parked: {why}"),
                "mend it at Slack or in the configuration; the relay tries again by itself, and nothing is lost",
            );
        }
        if let Some(lane) = lane.filter(|lane| lane.state == LaneState::Holding) {
            let held_ms = report.now_unix_ms - lane.since_unix_ms;
            if held_ms > HELD_MS_MAX && channel.waiting > 0 {
                let waiting = count(channel.waiting, "delivery");
                let why = lane.last_error.as_ref().map(|error| error.reason.as_str());
                say(
                    "holding",
                    Some(name),
                    format!(
                        "nothing was posted for {} and {waiting} wait: {}",
                        duration(held_ms),
                        why.unwrap_or("for a reason that was not noted")
                    ),
                    "look at what the reason names: the network, a proxy, Slack itself; the relay goes on trying, and nothing is lost",
                );
            }
        }
        if report.running && !channel.configured && channel.waiting > 0 {
            let waiting = count(channel.waiting, "delivery");
            say(
                "orphaned",
                Some(name),
                format!("{waiting} wait for a channel that is not configured any more"),
                "configure the channel again, for as long as it takes to post what waits; until then it takes room in the queue",
            );
        }
        if channel.dead > 0 {
            let dead = count(channel.dead, "delivery");
            say(
                "dead",
                Some(name),
                format!("{dead} could never be posted (dead letters)"),
                "`auditrelay dead list` says why; `dead redrive` lets them go again, `dead drop` gives them up",
            );
        }
    }
}

#[cfg(test)]
mod tests;
