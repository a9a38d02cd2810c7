//! What needs a person, and what that person can do: the judgement behind `auditrelay status`'s exit code.
//!
//! Contract: what mends itself needs nobody. A channel that holds, a backlog, a queue that is half full are seen in the
//! table and watched by the alert rules; they are not said here. What is said here has a command, a key of the configuration or
//! something outside the relay that mends it.

use auditrelay_dispatch::board::LaneState;
use auditrelay_store::QueueError;

use super::report::{Attention, Report};
use crate::output::{count, duration};

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
    if let Some(error) = storage {
        say(
            "storage",
            None,
            format!("nothing can be committed: {error}"),
            "look at the disk; what was acknowledged is in the queue and is read again at the next start",
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
    if !report.ledger.balanced {
        say(
            "unbalanced",
            None,
            "an event is unaccounted for: the ledger does not add up".to_owned(),
            "`auditrelay ledger` shows where; please report it",
        );
    }
    if report.ledger.lost > 0 {
        let events = count(report.ledger.lost, "event");
        say(
            "lost",
            None,
            format!("{events} waited in a damaged store that was moved aside"),
            "look at the disk; `auditrelay salvage` brings back what is whole",
        );
    }
    of_configuration(report, &mut say);
    of_channels(report, &mut say);
    report.healthy = report.running && attention.is_empty();
    report.attention = attention;
}

fn of_configuration(report: &Report, say: &mut impl FnMut(&str, Option<&str>, String, &str)) {
    if let Some(reload) = &report.reload {
        if !reload.last_successful {
            say(
                "reload",
                None,
                "the new configuration cannot be used; the one before is in use".to_owned(),
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
        let since = watchdog.last_delivered_unix_ms.or(report.started_unix_ms);
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
        if report.running && !channel.configured && channel.waiting > 0 {
            let waiting = count(channel.waiting, "delivery");
            say(
                "orphaned",
                Some(name),
                format!("{waiting} wait for a channel that is not configured any more"),
                "configure the channel again, or export what waits",
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
mod tests {
    use auditrelay_dispatch::board::{LaneError, LaneView};

    use super::*;
    use crate::status::report::{Channel, Reload, Watchdog};

    fn report() -> Report {
        let mut report = Report {
            running: true,
            ..Report::default()
        };
        report.ledger.balanced = true;
        let channel = Channel {
            configured: true,
            ..Channel::default()
        };
        report.channels.insert("ops".into(), channel);
        report
    }

    fn kinds(mut report: Report, storage: Option<QueueError>) -> Vec<String> {
        judge(&mut report, storage);
        assert_eq!(
            report.healthy,
            report.running && report.attention.is_empty()
        );
        assert!(report.attention.iter().all(|one| !one.todo.is_empty()));
        report.attention.into_iter().map(|one| one.kind).collect()
    }

    fn ops(change: impl FnOnce(&mut Channel)) -> Report {
        let mut report = report();
        change(report.channels.get_mut("ops").expect("it is there"));
        report
    }

    #[test]
    fn what_mends_itself_needs_nobody() {
        assert!(kinds(report(), None).is_empty());
        let holding = ops(|channel| {
            channel.waiting = 1_000_000;
            channel.lane = Some(LaneView {
                state: LaneState::Holding,
                ..LaneView::default()
            });
        });
        assert!(kinds(holding, None).is_empty());
    }

    #[test]
    fn each_thing_that_needs_a_person_is_said_with_what_to_do() {
        let failed = QueueError::Storage("the disk is gone".into());
        assert_eq!(kinds(report(), Some(failed)), ["storage"]);
        let mut bad = report();
        bad.refusing = Some("it is full".into());
        bad.ledger.balanced = false;
        bad.ledger.lost = 3;
        assert_eq!(kinds(bad, None), ["refusing", "unbalanced", "lost"]);
        let parked = ops(|channel| {
            channel.dead = 2;
            channel.lane = Some(LaneView {
                state: LaneState::Parked,
                last_error: Some(LaneError {
                    at_unix_ms: 1,
                    outcome: "park".into(),
                    code: Some("not_in_channel".into()),
                    reason: "Slack answered not_in_channel: invite the bot".into(),
                }),
                ..LaneView::default()
            });
        });
        let mut judged = parked.clone();
        judge(&mut judged, None);
        assert!(judged.attention[0].what.contains("not_in_channel"));
        assert_eq!(kinds(parked, None), ["parked", "dead"]);
        let orphaned = ops(|channel| {
            channel.configured = false;
            channel.waiting = 1;
        });
        assert_eq!(kinds(orphaned, None), ["orphaned"]);
    }

    #[test]
    fn a_configuration_that_does_not_count_and_a_silent_watchdog_are_said() {
        let mut changed = report();
        changed.now_unix_ms = 1_000_000;
        changed.started_unix_ms = Some(0);
        changed.reload = Some(Reload {
            last_successful: true,
            ..Reload::default()
        });
        changed.watchdog = Some(Watchdog {
            interval_seconds: 300,
            last_delivered_unix_ms: Some(150_000),
        });
        assert!(kinds(changed.clone(), None).is_empty());
        changed.reload = Some(Reload {
            restart_pending: 2,
            ..Reload::default()
        });
        changed.watchdog = Some(Watchdog {
            interval_seconds: 300,
            last_delivered_unix_ms: None,
        });
        assert_eq!(kinds(changed, None), ["reload", "restart", "watchdog"]);
    }

    #[test]
    fn a_relay_that_is_stopped_is_not_healthy_and_not_ready() {
        let mut stopped = report();
        stopped.running = false;
        judge(&mut stopped, None);
        assert!(!stopped.healthy && !stopped.ready);
        assert!(stopped.attention.is_empty());
    }
}
