//! Calls per minute and blocks of a whole method, per workspace.
//!
//! Contract: a window begins with the first call in it and ends a (scaled) minute
//! later; a call that is refused is not counted. Asking inside a block does not
//! extend it.
//!
//! Pure: it is told the time and never looks at a clock.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// The time until a method takes a call, if it does not now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Too many calls in this minute.
    Counted(Duration),
    /// A 429 keeps it blocked.
    Blocked(Duration),
}

#[derive(Debug, Default)]
struct Method {
    window: Option<(Instant, u32)>,
    blocked_until: Option<Instant>,
}

/// All methods of all workspaces.
#[derive(Debug)]
pub(super) struct Rates {
    minute: Duration,
    /// Finite: methods are those the local Slack has, workspaces those its tokens have.
    methods: HashMap<(String, &'static str), Method>,
}

impl Rates {
    pub(super) fn new(minute: Duration) -> Self {
        Self {
            minute,
            methods: HashMap::new(),
        }
    }

    /// Whether a call must wait; `limit` calls a minute are allowed, any number if 0.
    pub(super) fn wait(
        &self,
        team: &str,
        method: &'static str,
        limit: u32,
        now: Instant,
    ) -> Option<Wait> {
        let known = self.methods.get(&(team.to_owned(), method))?;
        let left = |end: Instant| end.checked_duration_since(now).filter(|d| !d.is_zero());
        if let Some(wait) = known.blocked_until.and_then(left) {
            return Some(Wait::Blocked(wait));
        }
        let (start, calls) = known.window?;
        if limit == 0 || calls < limit {
            return None;
        }
        left(start + self.minute).map(Wait::Counted)
    }

    pub(super) fn count(&mut self, team: &str, method: &'static str, now: Instant) {
        let minute = self.minute;
        let known = self.entry(team, method);
        match &mut known.window {
            Some((start, calls)) if now < *start + minute => *calls = calls.saturating_add(1),
            window => *window = Some((now, 1)),
        }
    }

    pub(super) fn block(
        &mut self,
        team: &str,
        method: &'static str,
        now: Instant,
        length: Duration,
    ) {
        self.entry(team, method).blocked_until = Some(now + length);
    }

    fn entry(&mut self, team: &str, method: &'static str) -> &mut Method {
        self.methods.entry((team.to_owned(), method)).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_minute_takes_so_many_calls_per_method_and_workspace() {
        let start = Instant::now();
        let mut rates = Rates::new(MINUTE);
        for second in 0..2 {
            let now = start + SECOND * second;
            assert_eq!(rates.wait("T1", "a", 2, now), None);
            rates.count("T1", "a", now);
        }
        let now = start + SECOND * 10;
        let left = Wait::Counted(SECOND * 50);
        assert_eq!(rates.wait("T1", "a", 2, now), Some(left));
        assert_eq!(rates.wait("T1", "a", 0, now), None);
        assert_eq!(rates.wait("T1", "b", 2, now), None);
        assert_eq!(rates.wait("T2", "a", 2, now), None);
        let now = start + MINUTE;
        assert_eq!(rates.wait("T1", "a", 2, now), None);
        rates.count("T1", "a", now);
        rates.count("T1", "a", now);
        assert_eq!(rates.wait("T1", "a", 2, now), Some(Wait::Counted(MINUTE)));
    }

    #[tokio::test]
    async fn a_block_lasts_its_length_whatever_the_limit() {
        let start = Instant::now();
        let mut rates = Rates::new(MINUTE);
        rates.block("T1", "a", start, SECOND * 3);
        let left = Wait::Blocked(SECOND);
        assert_eq!(rates.wait("T1", "a", 0, start + SECOND * 2), Some(left));
        assert_eq!(rates.wait("T1", "a", 0, start + SECOND * 3), None);
        assert_eq!(rates.wait("T1", "b", 0, start), None);
    }
}
