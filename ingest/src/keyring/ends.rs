//! When the certificates of clients end, as far as they were shown.
//!
//! Invariants:
//! * one value for each client, however many API servers it has: the first end of what they showed;
//! * a certificate that is not shown any more is forgotten after two windows in which others were, so a
//!   renewal is seen; of who falls silent the last stays known.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use auditrelay_config::ClientName;

use super::warnings::EXPIRES_SOON_SECONDS;

/// How long what was shown counts at least, in seconds: API servers post far more often.
const WINDOW_SECONDS: i64 = 600;

/// Of every client that has shown a certificate.
#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<BTreeMap<ClientName, End>>);

/// Unix times, in seconds.
#[derive(Debug, Clone, Copy)]
struct End {
    /// When the window began.
    since: i64,
    /// The first end that was shown in it.
    current: i64,
    /// The first that was shown in the window before.
    before: i64,
}

impl End {
    fn first(self) -> i64 {
        self.current.min(self.before)
    }
}

impl Ends {
    /// A client showed a certificate that ends then. Returns the first end of what it shows.
    pub(super) fn saw(&self, client: &ClientName, not_after: i64, now_unix_s: i64) -> i64 {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = End {
            since: now_unix_s,
            current: not_after,
            before: i64::MAX,
        };
        let Some(end) = ends.get_mut(client) else {
            ends.insert(client.clone(), new);
            return not_after;
        };
        let window = end.since..end.since.saturating_add(WINDOW_SECONDS);
        *end = if window.contains(&now_unix_s) {
            End {
                current: end.current.min(not_after),
                ..*end
            }
        } else {
            End {
                before: end.current,
                ..new
            }
        };
        end.first()
    }

    /// Of those that end soon, a text each, which stays the same as long as it holds.
    pub(super) fn warnings(&self, now_unix_s: i64) -> Vec<String> {
        let ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let warning = |(client, end): (&ClientName, &End)| {
            let left = end.first().saturating_sub(now_unix_s);
            let what = match left {
                ..0 => "has expired, and no other was shown since; what it posts is refused",
                0..=EXPIRES_SOON_SECONDS => "expires within 14 days",
                _ => return None,
            };
            Some(format!(
                "client {client}: the certificate that it shows, or one between that and its CA, {what}; renew \
                 it where the API server has it"
            ))
        };
        ends.iter().filter_map(warning).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_counts_until_it_is_not_shown_any_more() {
        let ends = Ends::default();
        let name: ClientName = "prod".parse().unwrap();
        let saw = |not_after, now| ends.saw(&name, not_after, now);
        assert_eq!(saw(9_000, 0), 9_000);
        // Another API server of the same cluster, with an older certificate.
        assert_eq!(saw(5_000, 10), 5_000);
        assert_eq!(saw(9_000, 20), 5_000);
        // It is renewed; what is remembered of it ends with the second window.
        assert_eq!(saw(9_000, 600), 5_000);
        assert_eq!(saw(8_000, 1_199), 5_000);
        assert_eq!(saw(9_000, 1_200), 8_000);
        // A clock that is set back begins a window.
        assert_eq!(saw(9_500, 100), 9_000);
        assert_eq!(saw(9_500, 700), 9_500);
    }

    #[test]
    fn what_ends_soon_is_told_in_words_that_stay() {
        let ends = Ends::default();
        let soon = EXPIRES_SOON_SECONDS;
        ends.saw(&"late".parse().unwrap(), soon + 101, 0);
        ends.saw(&"soon".parse().unwrap(), soon + 99, 0);
        assert_eq!(ends.warnings(0), [""; 0]);
        let told = ends.warnings(100);
        assert!(
            told.len() == 1 && told[0].starts_with("client soon: "),
            "{told:?}"
        );
        assert!(told[0].contains("within 14 days"), "{told:?}");
        assert_eq!(ends.warnings(100), told);
        let told = ends.warnings(soon + 100);
        assert!(told[1].contains("has expired"), "{told:?}");
        assert!(told[0].contains("within 14 days"), "{told:?}");
    }
}
