//! What the lane of a channel does for which something waits, as the board has it.

use auditrelay_dispatch::board::{LaneState, LaneView};
use serde::{Deserialize, Serialize};

use super::tell::REASON_CHARS_MAX;
use crate::output::{line, time};

/// What a lane does; nothing is known where no relay runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaneNow {
    /// `open`, `holding`, `parked` or `not configured`.
    pub(crate) lane: Option<String>,
    /// While it does not post: what was wrong.
    pub(crate) lane_error: Option<String>,
    /// While it does not post: when it tries again.
    pub(crate) lane_next_try_unix_ms: Option<i64>,
}

impl LaneNow {
    pub(super) fn not_configured() -> Self {
        Self {
            lane: Some("not configured".to_owned()),
            ..Self::default()
        }
    }

    pub(super) fn of(view: &LaneView) -> Self {
        let error = view.last_error.as_ref();
        // An error stays on the board after the channel took messages again.
        let error = error.filter(|_| view.state != LaneState::Open);
        Self {
            lane: Some(view.state.as_str().to_owned()),
            lane_error: error.map(|error| line(&error.reason, REASON_CHARS_MAX)),
            lane_next_try_unix_ms: view.next_try_unix_ms,
        }
    }

    /// What follows that something waits for it.
    pub(super) fn words(&self, running: bool) -> String {
        let does = match (self.lane.as_deref(), running) {
            (_, false) => "; the relay is stopped",
            (Some("parked"), _) => "; the channel is parked until a person mends it",
            (Some("holding"), _) => {
                "; the channel holds, as it was asked to wait or cannot be reached"
            }
            (Some("not configured"), _) => "; the channel is not configured",
            (_, true) => "",
        };
        let error = self.lane_error.as_ref();
        let error = error.map_or_else(String::new, |error| format!(": {}", line(error, 300)));
        let next = self.lane_next_try_unix_ms;
        let next = next.map_or_else(String::new, |at| format!("; next try at {}", time(at)));
        format!("{does}{error}{next}")
    }
}
