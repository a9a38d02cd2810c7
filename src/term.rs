//! A term: the time in which this process leads its queue. It routes, runs every lane and answers commands.
//!
//! On a disk there is one, from before the doors open until the relay ends. Of several relays on one queue one leads at
//! a time, and each time that it does is a term.
//!
//! Invariants:
//! * [`load`] fills the dedup window and what rates counted from the queue; nothing is routed or posted before
//!   [`Term::run`];
//! * a configuration that comes into use after `load` counts: what follows it is subscribed to before it is read;
//! * a term ends when it is told to, when its tenure does, or with its queue; a post under way has a bounded time to end then,
//!   and what is left of it is the next term's to look for, as after a restart;
//! * it leaves the queue open: whoever opened it closes it, when nobody appends to it any more.

use std::{sync::Arc, time::Duration};

use auditrelay_config::Config;
use auditrelay_dispatch::{self as dispatch, HoldBook, Metrics, Router, Table};
use auditrelay_store::{Engine, Queue, QueueError, Tenure};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    execute::Context,
    import::Importer,
    lanes::{Lanes, Plan},
    online,
    parts::Parts,
    trace::{Means, Running},
    watchdog::Watchdog,
};

/// What a running term is asked for.
pub(crate) struct Leading {
    pub(crate) queue: Engine,
    /// What commands work on.
    pub(crate) context: Arc<Context>,
    /// What imports are taken by.
    pub(crate) importer: Importer,
}

/// A queue that was opened, and a router that knows what it has seen.
pub(crate) struct Loaded {
    queue: Engine,
    router: Router<Engine>,
}

/// Reads what was received lately.
///
/// # Errors
/// The queue's.
pub(crate) async fn load(
    queue: Engine,
    parts: &Parts,
    metrics: &Metrics,
) -> Result<Loaded, QueueError> {
    let mut tables = parts.tables.subscribe();
    let Table { routes, window } = tables.borrow_and_update().clone();
    let entries_max = dedup_entries(&parts.current.load());
    let router = Router::load(queue.clone(), routes, window, entries_max, metrics.clone()).await?;
    let router = router.following(tables);
    Ok(Loaded { queue, router })
}

/// How many events dedup remembers: their keys have an eighth of the queue at the most.
fn dedup_entries(config: &Config) -> usize {
    const KEY_BYTES: u64 = 24;
    let fit = config.queue.bytes_max.get() / 8 / KEY_BYTES;
    let wanted = config.dedup.entries_max.get();
    if fit < wanted {
        tracing::info!(
            "dedup remembers {fit} events at the most, not dedup.entries_max ({wanted}): their keys have an \
             eighth of queue.bytes_max"
        );
    }
    usize::try_from(wanted.min(fit)).unwrap_or(usize::MAX)
}

/// One term.
pub(crate) struct Term {
    pub(crate) leading: Arc<Leading>,
    router: Router<Engine>,
    lanes: Lanes,
    plans: watch::Receiver<Arc<Plan>>,
    /// None where there is no webhook that an event of the relay's own could come through.
    watchdog: Option<Watchdog>,
}

impl Term {
    /// Makes its parts; none of them runs yet. `posting` is for how long lanes may post, and what they begin with.
    pub(crate) fn new(
        loaded: Loaded,
        parts: &Parts,
        metrics: &Metrics,
        posting: (dispatch::Term, HoldBook),
    ) -> Self {
        let Loaded { queue, router } = loaded;
        let board = metrics.board.clone();
        let running = Running::new(router.duplicates(), board);
        let mut plans = parts.plans.subscribe();
        let plan = Arc::clone(&plans.borrow_and_update());
        let key = parts.hash_key.clone();
        let lanes = Lanes::new(queue.clone(), metrics.clone(), key.clone(), posting, &plan);
        let config = parts.current.load();
        let routes = Arc::clone(&parts.tables.borrow().routes);
        let context = Context::new(queue.clone(), &config, routes);
        let means = Means::of_relay(parts.current.clone(), key.clone(), running, lanes.shared());
        context.set_means(means);
        let importer = Importer::new(
            queue.clone(),
            (parts.prepared.clone(), parts.quiet.clone()),
            key,
            parts.in_use.clone(),
            config.cluster.to_string(),
        );
        let context = Arc::new(context);
        let leading = Arc::new(Leading {
            queue,
            context,
            importer,
        });
        let watchdog = parts.own_door.as_ref();
        let watchdog = watchdog.map(|door| Watchdog::new(Arc::clone(door), parts, metrics));
        Self {
            leading,
            router,
            lanes,
            plans,
            watchdog,
        }
    }

    /// Leads until `stop` says so, the tenure ends, or the queue fails. What is under way then has `grace` to end.
    ///
    /// # Errors
    /// The queue's, or a part ended by itself.
    pub(crate) async fn run(
        self,
        tenure: &Tenure,
        mut stop: watch::Receiver<bool>,
        grace: impl Fn() -> Duration,
    ) -> Result<(), QueueError> {
        let queue = self.leading.queue.clone();
        let (stopping, stopped) = watch::channel(false);
        // Dropped with what still runs, when the grace has passed.
        let mut tasks = JoinSet::new();
        tasks.spawn(until(stopped.clone(), online::follow(self.lanes.shared())));
        if let Some(watchdog) = self.watchdog {
            tasks.spawn(until(stopped.clone(), watchdog.run()));
        }
        tasks.spawn(self.lanes.run(self.plans, stopped.clone()));
        tasks.spawn(self.router.run(stopped));
        let outcome = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => Ok(()),
            error = queue.failed() => Err(error),
            () = tenure.ended() => Ok(()),
            reason = first_to_end(&mut tasks) => Err(reason),
        };
        // They may have gone already.
        let _ = stopping.send(true);
        let _ = tokio::time::timeout(grace(), drain(&mut tasks)).await;
        outcome
    }
}

/// Waits for the first that ends, and says why it did. Nothing ends by itself before it is told to, so whatever does is a
/// failure, and its own reason is what is told of it.
pub(crate) async fn first_to_end(tasks: &mut JoinSet<Result<(), QueueError>>) -> QueueError {
    let ended = tasks.join_next().await;
    let reason = ended.and_then(Result::ok).and_then(Result::err);
    reason.unwrap_or(QueueError::Closed)
}

/// Waits for what ends; an error of it is said.
pub(crate) async fn drain(tasks: &mut JoinSet<Result<(), QueueError>>) {
    while let Some(ended) = tasks.join_next().await {
        if let Ok(Err(error)) = ended {
            tracing::error!(%error, "a part of the relay ended with an error while it was being stopped: what was acknowledged is in the queue");
        }
    }
}

/// What goes on until it is stopped.
pub(crate) async fn until(
    mut stopped: watch::Receiver<bool>,
    work: impl Future<Output = ()>,
) -> Result<(), QueueError> {
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(work: impl Future<Output = Result<(), QueueError>> + Send + 'static) -> Tasks {
        let mut tasks = JoinSet::new();
        tasks.spawn(std::future::pending());
        tasks.spawn(work);
        tasks
    }

    type Tasks = JoinSet<Result<(), QueueError>>;

    #[tokio::test]
    async fn a_part_that_ends_is_a_failure_and_its_own_reason_is_told() {
        let mut failed = tasks(async { Err(QueueError::Storage("broken".into())) });
        let reason = first_to_end(&mut failed).await;
        assert!(matches!(&reason, QueueError::Storage(why) if &**why == "broken"));
        let mut ended = tasks(async { Ok(()) });
        let reason = first_to_end(&mut ended).await;
        assert!(matches!(reason, QueueError::Closed), "{reason}");
        let mut panicked = tasks(async { panic!("a bug of ours") });
        let reason = first_to_end(&mut panicked).await;
        assert!(matches!(reason, QueueError::Closed), "{reason}");
    }
}
