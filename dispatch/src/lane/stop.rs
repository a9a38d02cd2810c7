//! What a lane stops waiting for when it is to end.
//!
//! Contract: only waits before a post end so, and looks, which change nothing. A post is waited for.

use std::future::Future;

use tokio::sync::watch;

/// Whether the lane is to end.
pub(super) type Stop = watch::Receiver<bool>;

/// What comes of it; `None` if the lane is to end and it is not there yet.
pub(super) async fn unless_stopped<T>(stop: &mut Stop, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        _ = stop.wait_for(|stop| *stop) => None,
    }
}
