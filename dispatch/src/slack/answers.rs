//! What each of Slack's answers means for the lane, by the table in [`super::table`].
//!
//! A code that is not in the table parks: it harms one channel, loses nothing, and somebody is told
//! (docs/decisions/0007).

use std::time::Duration;

use super::{
    http::Broken,
    table::{Action, TABLE, WAIT, WEBHOOK_TABLE},
};
use crate::{destination::SendError, escape::clean};
use Action::{Later, Limited, Never, Park, Unknown};

/// An answer `{"ok":false,"error":code}` of a Web API method. `needed` is the scope that a
/// `missing_scope` names.
pub fn of_code(code: &str, needed: Option<&str>, retry_after: Option<&str>) -> SendError {
    let found = TABLE.iter().find(|row| row.code == code);
    let needed = needed.map_or(String::new(), |scope| format!(" ({})", clean(scope, 80)));
    let reason = format!("Slack answered {}{needed}", clean(code, 80));
    let after = seconds(retry_after);
    error(found.map(|row| (row.action, row.advice)), after, reason)
}

/// What a person can do about a code; `None` where it passes by itself.
pub fn advice(code: &str) -> Option<&'static str> {
    match TABLE.iter().find(|row| row.code == code) {
        Some(row) if row.advice == WAIT => None,
        Some(row) => Some(row.advice),
        None => Some("look it up in Slack's documentation"),
    }
}

/// Status 429; without a usable header the lane backs off by itself.
pub fn of_rate_limit(retry_after: Option<&str>) -> SendError {
    let after = seconds(retry_after);
    let reason = match after {
        Some(after) => format!("Slack asks to wait for {} s", after.as_secs()),
        None => "Slack asks to wait and does not say how long".to_owned(),
    };
    SendError::Later {
        after,
        limited: true,
        reason,
    }
}

/// Any other status than 200 and 429 of the Web API. Slack documents none but 5xx, which come when the
/// request's body is at Slack: whether it was posted is not known.
pub fn of_status(status: u16, retry_after: Option<&str>) -> SendError {
    let reason = format!("Slack answered with HTTP status {status}");
    let action = match status {
        500..=599 => (Unknown, WAIT),
        408 | 425 => (Later, WAIT),
        // The message is too large for something between here and Slack.
        413 => (Never, WAIT),
        300..=399 => (
            Park,
            "redirects are not followed; correct slack.api_url or the proxy",
        ),
        _ => (Park, "correct slack.api_url or the proxy"),
    };
    error(Some(action), seconds(retry_after), reason)
}

/// An incoming webhook's status and body, where it is not the 200 `ok` that says that the message is there.
pub fn of_webhook(status: u16, body: &str, retry_after: Option<&str>) -> SendError {
    let body = body.trim();
    let reason = format!("the webhook answered {status} {}", clean(body, 80));
    let found = WEBHOOK_TABLE
        .iter()
        .find(|(of, row)| row.code == body && (*of == status || *of == 0));
    let action = match (status, found) {
        // A 200 that is not Slack's own is a page of somebody in between.
        (200 | 500..=599, _) => Some((Unknown, WAIT)),
        (408 | 425, _) => Some((Later, WAIT)),
        (413, _) => Some((Never, WAIT)),
        (300..=399, _) => Some((
            Park,
            "redirects are not followed; correct webhook_url or the proxy",
        )),
        (_, found) => found.map(|(_, row)| (row.action, row.advice)),
    };
    error(action, seconds(retry_after), reason)
}

/// No whole answer.
pub fn of_broken(broken: Broken) -> SendError {
    let Broken {
        sent,
        withheld,
        reason,
    } = broken;
    if withheld {
        return SendError::Withheld;
    }
    let action = if sent { Unknown } else { Later };
    error(Some((action, WAIT)), None, reason)
}

fn seconds(retry_after: Option<&str>) -> Option<Duration> {
    let seconds = retry_after?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn error(action: Option<(Action, &str)>, after: Option<Duration>, reason: String) -> SendError {
    let (action, advice) = action.unwrap_or((Park, "the relay does not know this answer"));
    match action {
        Limited | Later => SendError::Later {
            after,
            limited: action == Limited,
            reason,
        },
        Park => SendError::Park {
            reason: format!("{reason}: {advice}"),
        },
        Never => SendError::Never { reason },
        Unknown => SendError::Unknown { after, reason },
    }
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
