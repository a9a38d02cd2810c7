//! The time now, and times as operators give them: RFC 3339, or an age.

use jiff::{Span, SpanRelativeTo, Timestamp};

/// Unix time in milliseconds.
pub(crate) type UnixMs = i64;

/// The wall clock: where it enters commands and what they ask of a queue.
pub(crate) fn now_unix_ms() -> UnixMs {
    Timestamp::now().as_millisecond()
}

/// Reads a time of the command line.
///
/// # Errors
/// In words for the operator.
pub(crate) fn parse(text: &str) -> Result<UnixMs, String> {
    parse_at(text, Timestamp::now())
}

fn parse_at(text: &str, now: Timestamp) -> Result<UnixMs, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let age = text.parse::<Span>().ok().filter(|age| !age.is_negative());
    let age = age.and_then(|age| age.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let then = age.and_then(|age| now.checked_sub(age).ok());
    then.map(Timestamp::as_millisecond).ok_or_else(|| {
        "expected a time such as 2026-11-21T03:15:00Z, or an age such as 30m, 2h or 1d".to_owned()
    })
}

/// How long, in milliseconds.
pub(crate) fn ahead(text: &str) -> Result<i64, String> {
    let span = text.parse::<Span>().ok().filter(|span| span.is_positive());
    let lasts = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let lasts = lasts.and_then(|lasts| i64::try_from(lasts.as_millis()).ok());
    lasts.ok_or_else(|| "expected a time such as 30m, 2h or 1d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_itself_and_an_age_is_before_now() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a time");
        for (text, time) in [
            ("2026-11-21T03:15:00Z", "2026-11-21T03:15:00Z"),
            ("2026-11-21T05:15:00+02:00", "2026-11-21T03:15:00Z"),
            ("30m", "2026-11-21T11:30:00Z"),
            ("2h", "2026-11-21T10:00:00Z"),
            ("1d", "2026-11-20T12:00:00Z"),
            ("1h30m", "2026-11-21T10:30:00Z"),
        ] {
            let expected: Timestamp = time.parse().expect("a time");
            assert_eq!(parse_at(text, now), Ok(expected.as_millisecond()), "{text}");
        }
        for text in ["", "yesterday", "-2h", "5", "2026-11-21", "1mo"] {
            assert!(parse_at(text, now).is_err(), "{text}");
        }
    }
}
