//! What each of Slack's answers means for the lane: one table, from the reference pages of
//! `chat.postMessage` and incoming webhooks.
//!
//! `Later`: certainly not posted, will pass by itself. `Park`: a person has to mend the channel or
//! the token. `Never`: this message is what is wrong. `Unknown`: Slack itself says that "some aspect of
//! the operation" may have succeeded. A code that is not in the table parks: it harms one channel, loses
//! nothing, and somebody is told.

use std::time::Duration;

use crate::destination::SendError;

/// The answer `{"ok":false,"error":code}` of a Web API method.
pub fn of_error(code: &str) -> SendError {
    let reason = format!("Slack answered {}", crate::escape::clean(code, 80));
    match code {
        // Rate limits and maintenance: nothing was posted.
        "ratelimited"
        | "rate_limited"
        | "message_limit_exceeded"
        | "service_unavailable"
        | "team_added_to_org"
        | "org_login_required"
        | "request_timeout" => SendError::Later {
            after: None,
            reason,
        },
        // "It's possible some aspect of the operation succeeded before the error was raised."
        "internal_error" | "fatal_error" => SendError::Unknown { reason },
        // The message's content.
        "invalid_blocks"
        | "invalid_blocks_format"
        | "msg_blocks_too_long"
        | "msg_too_long"
        | "no_text"
        | "too_many_attachments"
        | "attachment_payload_limit_exceeded"
        | "invalid_attachments"
        | "invalid_json"
        | "json_not_object" => SendError::Never { reason },
        _ => SendError::Park { reason },
    }
}

/// A rate limit by status 429; without a usable header the lane backs off by itself.
pub fn of_rate_limit(retry_after: Option<&str>) -> SendError {
    let seconds = retry_after.and_then(|header| header.trim().parse::<u64>().ok());
    let reason = match seconds {
        Some(seconds) => format!("Slack asks to wait for {seconds} s"),
        None => "Slack asks to wait and does not say how long".to_owned(),
    };
    SendError::Later {
        after: seconds.map(Duration::from_secs),
        reason,
    }
}

/// Any other status than 200 and 429 of the Web API. Slack documents none but 5xx.
pub fn of_api_status(status: u16) -> SendError {
    let reason = format!("Slack answered with HTTP status {status}");
    match status {
        500..=599 => SendError::Unknown { reason },
        408 | 425 => SendError::Later {
            after: None,
            reason,
        },
        _ => SendError::Park { reason },
    }
}

/// An incoming webhook's status and body.
pub fn of_webhook(status: u16, body: &str) -> SendError {
    let reason = format!(
        "the webhook answered {status} {}",
        crate::escape::clean(body.trim(), 80)
    );
    match (status, body.trim()) {
        (500..=599, _) => SendError::Unknown { reason },
        (408 | 425, _) => SendError::Later {
            after: None,
            reason,
        },
        (400, "invalid_payload" | "invalid_blocks" | "no_text" | "too_many_attachments") => {
            SendError::Never { reason }
        }
        // 403, 404, 410 and whatever else: the URL or its channel is what is wrong.
        _ => SendError::Park { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_action() {
        for (code, action) in [
            ("ratelimited", "later"),
            ("internal_error", "unknown"),
            ("invalid_blocks", "never"),
            ("channel_not_found", "park"),
            ("token_revoked", "park"),
            ("an_error_of_next_year", "park"),
        ] {
            assert_eq!(of_error(code).as_str(), action, "{code}");
        }
        for (status, body, action) in [
            (500, "rollup_error", "unknown"),
            (400, "invalid_payload", "never"),
            (400, "user_not_found", "park"),
            (404, "no_service", "park"),
            (410, "channel_is_archived", "park"),
        ] {
            assert_eq!(of_webhook(status, body).as_str(), action, "{status} {body}");
        }
        assert_eq!(of_api_status(503).as_str(), "unknown");
        assert_eq!(of_api_status(302).as_str(), "park");
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        let after = |header| match of_rate_limit(header) {
            SendError::Later { after, .. } => after,
            other => panic!("{other}"),
        };
        assert_eq!(after(Some("7")), Some(Duration::from_secs(7)));
        assert_eq!(after(Some("soon")), None);
        assert_eq!(after(None), None);
    }
}
