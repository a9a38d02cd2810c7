//! For how long lanes may post, and since when nobody else can be at it.
//!
//! Of several relays one leads, for as long as its [`Tenure`] lasts. A lane of it asks before it prepares a message,
//! and hyper asks again when it takes the body ([`crate::slack::http`]): whatever came between (a connection that took
//! seconds to open, a process that was stopped) a request begins only while the tenure lasts for `margin` more. When
//! the tenure ends, a lane ends with it: it acks nothing, gives nothing back and buries nothing any more, and a post
//! without an answer counts as `unknown`. (The queue's own fence would refuse all of that; so nothing rests on this
//! process noticing in time but what Slack sees.)
//!
//! Who leads next finds what was leased (a lease is durable before it is handed out), looks for it in the channel, and
//! posts it only if it is not there. That look counts only once a request of the one before cannot be under way any more:
//! * the last of its requests begun `margin` before its tenure ended, which was before this term began;
//! * a request is given up after `slack.timeout_seconds`, and the kernel gives up bytes that nobody confirms as soon;
//! * so a look counts that begins `slack.timeout_seconds - margin` after the term began ([`Term::settled`]). One before
//!   that may find the message, which is an answer; where it does not, the lane looks again then;
//! * whoever led before may have been configured otherwise, so the lease says how long its requests take beyond its
//!   tenure, and the longer one counts ([`Term::after`]). A `slack.timeout_seconds` that is made longer by a reload is said
//!   with the next renewal.
//!
//! The same holds on a disk, where a term begins with the process: the one before was killed, and what it had sent may
//! not be at Slack yet.
//!
//! What can still be in a channel twice, and what is said of it:
//! * Slack stores a message later than `slack.timeout_seconds` after it was sent, and after it was looked for. It has no
//!   key that would make a repetition harmless. Where the lane that sent it lives it has counted it as `unknown`, and
//!   who leads next counts a look-up without success;
//! * the process is stopped in the very moment between the question and the system call that follows it, for longer than
//!   the next one waits. The answer comes after its tenure, so that it counts as `unknown`;
//! * a machine whose monotonic clock stood still (a suspended virtual machine) believes in its tenure for as long
//!   again, unless its wall clock tells it better, which the tenure looks at too: until its next renewal fails. It counts
//!   as accepted there;
//! * where the history cannot be read (webhooks, a missing scope), the message is repeated and says so.

use std::time::Duration;

use auditrelay_store::Tenure;
use tokio::time::Instant;

/// For how long lanes may post; clones are of the same term.
#[derive(Debug, Clone)]
pub struct Term {
    tenure: Tenure,
    margin: Duration,
    begun: Instant,
    /// How long from then on requests of others may last, as they said.
    others_last: Duration,
}

impl Term {
    /// Begins now. Nothing is posted when the tenure does not last for `margin` more.
    pub fn begin(tenure: Tenure, margin: Duration) -> Self {
        Self {
            tenure,
            margin,
            begun: Instant::now(),
            others_last: Duration::ZERO,
        }
    }

    /// The same, after others whose requests may last so long from its beginning on, as they said.
    pub fn after(mut self, others_last: Duration) -> Self {
        self.others_last = others_last;
        self
    }

    /// That of a relay which is alone; it begins now.
    pub fn alone() -> Self {
        Self::begin(Tenure::always(), Duration::ZERO)
    }

    /// Whether a request may begin.
    pub fn may_post(&self) -> bool {
        self.tenure.lasts(self.margin)
    }

    /// Waits until a request may begin: for ever, where none may any more.
    pub async fn until_it_may_post(&self) {
        self.tenure.lasting(self.margin).await;
    }

    /// Whether it has ended. It does not begin again.
    pub fn is_over(&self) -> bool {
        self.tenure.has_ended()
    }

    /// Waits until it has ended.
    pub async fn over(&self) {
        self.tenure.ended().await;
    }

    /// From when on no request of whoever posted before it is under way, where they take so long at the most.
    pub fn settled(&self, request_max: Duration) -> Instant {
        let left = request_max.saturating_sub(self.margin);
        let left = left.max(self.others_last);
        self.begun.checked_add(left).unwrap_or(self.begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wall clock goes on where tokio's is paused: so long no test takes.
    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_request_begins_only_while_the_tenure_lasts_the_margin() {
        let (holder, tenure) = Tenure::until(Instant::now() + 6 * MINUTE);
        let term = Term::begin(tenure, 3 * MINUTE);
        assert!(term.may_post() && !term.is_over());
        tokio::time::advance(4 * MINUTE).await;
        assert!(!term.may_post() && !term.is_over());
        holder.extend(Instant::now() + 6 * MINUTE);
        term.until_it_may_post().await;
        assert!(term.may_post());
        drop(holder);
        term.over().await;
        let waiting = term.until_it_may_post();
        assert!(tokio::time::timeout(MINUTE, waiting).await.is_err());
        assert!(!term.may_post() && term.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn who_follows_waits_until_the_last_request_of_the_one_before_was_given_up() {
        let begun = Instant::now();
        let (_holder, tenure) = Tenure::until(begun + 6 * MINUTE);
        let term = Term::begin(tenure, 3 * MINUTE);
        tokio::time::advance(MINUTE).await;
        assert_eq!(term.settled(10 * MINUTE), begun + 7 * MINUTE);
        assert_eq!(term.settled(MINUTE), begun);
        // Those of the one before take longer, as it said.
        let term = term.after(40 * MINUTE);
        assert_eq!(term.settled(10 * MINUTE), begun + 40 * MINUTE);
        assert_eq!(term.settled(60 * MINUTE), begun + 57 * MINUTE);
        let alone = Term::alone();
        assert_eq!(alone.settled(10 * MINUTE), Instant::now() + 10 * MINUTE);
    }
}
