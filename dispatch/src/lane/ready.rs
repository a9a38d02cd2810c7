//! Waiting: until there is something to post, the channel nearly takes it, and it is this lane's turn.
//!
//! Contract: may be dropped at any moment; a turn that is lost so costs nothing but that turn. While the channel is
//! parked its critical events go to its fallback as well, every [`FALLBACK_EVERY`], whether the lane waits for its channel
//! or for its turn.

use std::time::Duration;

use auditrelay_store::{Queue, QueueError};
use tokio::time::sleep;

use super::Lane;
use crate::{
    Destination, Term,
    board::{LaneState, WaitsFor},
    pace::Pace,
};

const FALLBACK_EVERY: Duration = Duration::from_secs(1);

impl<Q: Queue, D: Destination> Lane<Q, D> {
    pub(super) async fn ready(&mut self) -> Result<(), QueueError> {
        self.board.waits_for(WaitsFor::Work);
        tokio::select! {
            waiting = self.queue.wait_waiting(&self.channel) => waiting?,
            () = self.details.wait() => {}
        }
        let Self {
            queue,
            channel,
            settings,
            state,
            pace,
            workspace,
            fallback_is_full,
            board,
            term,
            ..
        } = self;
        board.waits_for(match state {
            LaneState::Open => WaitsFor::Pace,
            LaneState::Holding => WaitsFor::Hold,
            LaneState::Parked => WaitsFor::Park,
        });
        let may_post = async {
            pace.nearly_ready().await;
            // Otherwise lanes that had their turns leave together when the lease is renewed.
            term.until_it_may_post().await;
            if let Some(workspace) = workspace {
                board.waits_for(WaitsFor::Budget);
                workspace.turn_to_post().await;
            }
        };
        let Some(fallback) = settings
            .fallback
            .as_deref()
            .filter(|_| *state == LaneState::Parked)
        else {
            may_post.await;
            return Ok(());
        };
        tokio::pin!(may_post);
        loop {
            // A piece at a time: a turn that this lane has meanwhile is one that others wait for.
            let more = fall_back(queue, channel, fallback, fallback_is_full).await?;
            let pause = if more { Duration::ZERO } else { FALLBACK_EVERY };
            tokio::select! {
                biased;
                () = &mut may_post => return Ok(()),
                () = sleep(pause) => {}
            }
        }
    }

    /// Waits until the message that is ready may go.
    pub(super) async fn may_post(&mut self) {
        self.board.waits_for(WaitsFor::Pace);
        if let Some(workspace) = &self.workspace {
            // A hold may have come since this lane had its turn.
            workspace.until_not_held().await;
        }
        turn(&self.term, &mut self.pace).await;
    }
}

/// Waits for the channel's pace, within the term.
pub(super) async fn turn(term: &Term, pace: &mut Pace) {
    // Before the pace, which counts a message when it lets it pass.
    term.until_it_may_post().await;
    pace.ready().await;
}

/// Copies critical events to the fallback; whether there is more to copy at once.
async fn fall_back<Q: Queue>(
    queue: &Q,
    channel: &str,
    fallback: &str,
    is_full: &mut bool,
) -> Result<bool, QueueError> {
    let copied = queue.fall_back(channel, fallback).await?;
    match &copied.full {
        Some(reason) if !*is_full => tracing::error!(
            channel,
            fallback,
            %reason,
            "critical events are not told in the fallback for now, as there is no room for copies: they wait in \
             their own channel and are copied when there is; mend that channel or make room"
        ),
        None if *is_full => {
            tracing::info!(
                channel,
                fallback,
                "critical events are told in the fallback again"
            );
        }
        _ => {}
    }
    *is_full = copied.full.is_some();
    if copied.events > 0 {
        // The channel's park was told, with its fallback.
        tracing::debug!(
            channel,
            fallback,
            events = copied.events,
            "critical events of the parked channel are told in its fallback"
        );
    }
    Ok(copied.more && copied.full.is_none())
}
