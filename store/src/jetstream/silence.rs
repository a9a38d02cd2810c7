//! Servers that do not answer on a connection that is there, and the way to others.
//!
//! A server that is cut off from the others of its cluster keeps its clients' connections. It answers questions about
//! streams from its memory, for as long as it runs, and stores nothing. Where a majority is gone all are like that.
//!
//! Contract:
//! * an answer is one of a stream's leader that heard a majority just now, or an acknowledgement;
//! * what was asked is without one for [`SILENT`]: nothing is promised until there is one;
//! * for [`LEAVE`]: the connection is exchanged for one to the next of all known servers, and again every [`TRY`]. The
//!   library would go on with the one that failed least, which is the one to leave.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use async_nats::{ReconnectToServer, Server, jetstream::stream::Info};
use tokio::time::Instant;

/// From when on servers count as silent.
pub(super) const SILENT: Duration = Duration::from_secs(5);
/// From when on others are tried. Pings end a connection that is dead before that; closing it by hand would wait, with
/// TLS, until its server takes what is on its way.
const LEAVE: Duration = Duration::from_secs(8);
/// How long the next one has.
const TRY: Duration = Duration::from_secs(4);

/// How long a leader has not heard a majority of those who hold its stream; `MAX` where nobody leads.
pub(super) fn majority_unheard(info: &Info) -> Duration {
    let Some(cluster) = &info.cluster else {
        return Duration::ZERO;
    };
    if cluster.leader.as_ref().is_none_or(String::is_empty) {
        return Duration::MAX;
    }
    let others = cluster.replicas.iter();
    let mut unheard: Vec<Duration> = others
        .map(|other| match other.active.is_zero() && !other.current {
            // Never since it leads.
            true => Duration::MAX,
            false => other.active,
        })
        .collect();
    unheard.sort_unstable();
    // The leader is one of them.
    let others_needed = unheard.len().div_ceil(2);
    others_needed
        .checked_sub(1)
        .map_or(Duration::ZERO, |last| unheard[last])
}

/// How long servers have been silent, and whether another one is looked for.
#[derive(Debug, Default)]
pub(super) struct Silence {
    times: Mutex<Times>,
    is_leaving: AtomicBool,
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
struct Times {
    /// Since when something is without an answer.
    since: Option<Instant>,
    /// When a server was left last.
    left: Option<Instant>,
}

impl Silence {
    fn times(&self) -> MutexGuard<'_, Times> {
        // Nothing panics while it holds this.
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is asked, or went without an answer.
    pub(super) fn unanswered(&self) {
        self.times().since.get_or_insert_with(Instant::now);
    }

    /// What was said of a stream; whether it is an answer.
    pub(super) fn answered(&self, info: &Info) -> bool {
        let unheard = majority_unheard(info);
        if unheard < SILENT {
            self.acknowledged();
            return true;
        }
        let heard = Instant::now().checked_sub(unheard);
        let mut times = self.times();
        let since = times.since.get_or_insert_with(Instant::now);
        *since = heard.unwrap_or(*since).min(*since);
        false
    }

    /// Servers took something.
    pub(super) fn acknowledged(&self) {
        let since = self.times().since.take();
        if since.is_some_and(|since| since.elapsed() >= SILENT) {
            tracing::info!("NATS answers again; batches are taken");
        }
    }

    /// Whether nothing is to be expected of the server that there is a connection to.
    pub(super) fn is_silent(&self) -> bool {
        let since = self.times().since;
        since.is_some_and(|since| since.elapsed() >= SILENT)
    }

    /// Whether to look for another server now; who is told so does.
    pub(super) fn is_to_leave(&self) -> bool {
        let now = Instant::now();
        let mut times = self.times();
        let Some(since) = times.since.filter(|since| now - *since >= LEAVE) else {
            return false;
        };
        if times.left.is_some_and(|left| now - left < TRY) {
            return false;
        }
        if times.left.is_none_or(|left| left < since) {
            tracing::warn!(
                "NATS does not answer although there is a connection: its server is cut off from the others, or most of \
                 them are gone; another one is tried every few seconds, batches are refused until one answers"
            );
        }
        times.left = Some(now);
        self.is_leaving.store(true, Relaxed);
        true
    }

    /// Whether a server was left, and there is no other connection yet.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Relaxed)
    }

    /// There is a connection; whether it was made because a server was left, of which nothing is known yet.
    pub(super) fn connected(&self) -> bool {
        let was_leaving = self.is_leaving.swap(false, Relaxed);
        if !was_leaving {
            self.times().since = None;
        }
        was_leaving
    }

    /// The server to connect to, where one was left; otherwise the library chooses.
    pub(super) fn next(&self, known: &[Server]) -> Option<ReconnectToServer> {
        if !self.is_leaving() || known.is_empty() {
            return None;
        }
        let addr = known[self.turn.fetch_add(1, Relaxed) % known.len()]
            .addr
            .clone();
        Some(ReconnectToServer { addr, delay: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a leader and others that it heard so many milliseconds ago, and whether they are current.
    fn info(leader: Option<&str>, others: &[(u64, bool)]) -> Info {
        let replicas: Vec<_> = others
            .iter()
            .map(|(active, current)| {
                serde_json::json!({"name": "n", "current": current, "active": active * 1_000_000})
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "config": {"name": "inbox", "retention": "limits", "storage": "file", "discard": "new",
                "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "num_replicas": 3},
            "created": "2026-01-01T00:00:00Z",
            "state": {"messages": 0, "bytes": 0, "first_seq": 0, "first_ts": "2026-01-01T00:00:00Z",
                "last_seq": 0, "last_ts": "2026-01-01T00:00:00Z", "consumer_count": 0},
            "cluster": {"leader": leader, "replicas": replicas},
        }))
        .unwrap()
    }

    #[test]
    fn a_majority_is_as_far_as_the_last_one_that_it_needs() {
        let of = |others: &[(u64, bool)]| majority_unheard(&info(Some("n0"), others));
        let ms = Duration::from_millis;
        assert_eq!(of(&[]), ms(0));
        assert_eq!(of(&[(7, true)]), ms(7));
        assert_eq!(of(&[(9_000, true), (7, true)]), ms(7));
        assert_eq!(of(&[(9_000, true), (8_000, true)]), ms(8_000));
        // Zero is a moment ago, or never.
        assert_eq!(of(&[(0, true), (8_000, true)]), ms(0));
        assert_eq!(of(&[(0, false), (8_000, true)]), ms(8_000));
        assert_eq!(of(&[(1, true), (2, true), (3, true), (4, true)]), ms(2));
        let leaderless = info(None, &[(1, true), (2, true)]);
        assert_eq!(majority_unheard(&leaderless), Duration::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_lasts_until_there_is_an_answer_and_servers_are_left_one_after_the_other() {
        let whole = info(Some("n0"), &[(1, true), (2, true)]);
        let cut_off = info(Some("n0"), &[(4_999, true), (6_000, true)]);
        let silence = Silence::default();
        silence.unanswered();
        tokio::time::advance(SILENT - Duration::from_millis(1)).await;
        assert!(!silence.is_silent());
        assert!(silence.answered(&cut_off), "4,999 ms ago");
        tokio::time::advance(SILENT).await;
        assert!(!silence.is_silent(), "nothing is asked");
        silence.unanswered();
        tokio::time::advance(SILENT).await;
        assert!(silence.is_silent() && !silence.is_to_leave());
        assert!(!silence.answered(&info(None, &[])) && silence.is_silent());
        tokio::time::advance(LEAVE - SILENT).await;
        assert!(silence.is_to_leave() && !silence.is_to_leave());
        // What is known of the next one is nothing.
        assert!(silence.connected() && silence.is_silent());
        tokio::time::advance(TRY).await;
        assert!(silence.is_to_leave());
        assert!(silence.answered(&whole) && !silence.is_silent());
        // A connection that was lost and made is another one.
        silence.connected();
        silence.unanswered();
        tokio::time::advance(SILENT).await;
        assert!(!silence.connected() && !silence.is_silent());

        // A leader says itself since when it is alone.
        let alone = info(Some("n0"), &[(6_000, true), (7_000, true)]);
        tokio::time::advance(LEAVE).await;
        assert!(!silence.answered(&alone) && silence.is_silent() && !silence.is_to_leave());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(silence.is_to_leave());
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_server_is_another_one_however_often_others_failed() {
        let server = |failed_attempts| Server {
            addr: format!("nats://n{failed_attempts}:4222").parse().unwrap(),
            failed_attempts,
            did_connect: true,
            is_discovered: false,
            last_error: None,
        };
        let known = [0, 7, 9].map(server);
        let silence = Silence::default();
        assert!(silence.next(&known).is_none());
        silence.unanswered();
        tokio::time::advance(LEAVE).await;
        assert!(silence.is_to_leave());
        let next = || silence.next(&known).unwrap().addr;
        let mut hosts = [next(), next(), next()].map(|addr| addr.host().to_owned());
        hosts.sort_unstable();
        assert_eq!(hosts, ["n0", "n7", "n9"]);
        silence.connected();
        assert!(silence.next(&known).is_none());
    }
}
