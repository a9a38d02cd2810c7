//! What a lane stops waiting for when it is to end: when it is told to, and when its term is over.
//!
//! Contract: only waits before a post end so, and looks, which change nothing. A post is waited for, unless the term is
//! over: then nobody may act on its answer any more, and it is as if it had been lost.

use std::future::Future;

use tokio::sync::watch;

use super::Lane;
use crate::{Destination, SendError, Term};
use auditrelay_store::Queue;

/// When the lane is to end.
pub(super) struct Stop {
    told: watch::Receiver<bool>,
    term: Term,
}

impl Stop {
    pub(super) fn new(told: watch::Receiver<bool>, term: Term) -> Self {
        Self { told, term }
    }

    /// Waits until the lane is to end.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            () = self.term.over() => {}
            // Whoever could tell it is gone.
            _ = self.told.wait_for(|stop| *stop) => {}
        }
    }
}

/// What comes of it; `None` if the lane is to end and it is not there yet.
pub(super) async fn unless_stopped<T>(stop: &mut Stop, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = stop.wait() => None,
    }
}

impl<Q: Queue, D: Destination> Lane<Q, D> {
    /// The answer to a post; `None` if it came after the term, or not within it: then it is counted as unknown.
    pub(super) async fn within_term<T>(
        &self,
        post: impl Future<Output = Result<T, SendError>>,
    ) -> Option<Result<T, SendError>> {
        let answer = tokio::select! {
            biased;
            () = self.term.over() => None,
            answer = post => Some(answer),
        };
        let answer = answer.filter(|answer| {
            let was_sent = !matches!(answer, Err(SendError::Withheld));
            !(was_sent && self.term.is_over())
        });
        if answer.is_none() {
            self.count("unknown");
            tracing::info!(
                channel = self.channel,
                "a message was under way when this relay's lease ended: it may have been posted, and whoever leads next \
                 looks for it before it is repeated"
            );
            let text = "a message was under way when this relay's lease ended; whoever leads next looks for it";
            self.board.incident(text);
        }
        answer
    }
}
