//! Leading whenever the lease falls to this replica: term after term, until the relay stops.
//!
//! Contract:
//! * a term begins when this replica holds the lease: the ledger stream is opened, which ends whatever a leader before could
//!   still have written, and what the inbox holds is taken from where it was taken to;
//! * a term ends with the lease, with its queue (NATS cannot be reached, another one leads), or with the relay, also while
//!   it begins. Only the last ends the process. Whatever ended it, the lease is given up, so that another replica can begin at once;
//! * at a shutdown: lanes first, which finish the post that is under way, then what Slack asked to wait for, the queue, and the
//!   lease; each has its part of `ingest.shutdown_seconds` and what is left of those before it (`ending.rs`), so that the
//!   lease is given up and does not have to run out;
//! * a term that could not begin, or failed, is followed by a pause, which grows: meanwhile another replica may be better.

use std::{sync::Arc, time::Duration};

use auditrelay_dispatch::{self as dispatch, HoldBook, Metrics};
use auditrelay_store::{
    Engine, OpenError, QueueError, StreamOptions, Tenure,
    jetstream::{Inbox, JetStream, Leadership, Requests},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    ending::{Ending, Step},
    holds::{self, Keeping},
};
use crate::{
    admin::Admin,
    far,
    leader_metrics::LeaderMetrics,
    limits::limits,
    parts::{Parts, warn_of_orphans},
    term::{self, Loaded, Term},
    when::now_unix_ms,
};

/// After a term that failed; it doubles up to the other one.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A term that lasted so long was no failure to begin.
const WELL: Duration = Duration::from_secs(60);
/// What a term whose lease has ended has to come to its end: nothing that it does counts any more.
const OVER_GRACE: Duration = Duration::from_secs(1);
/// How long closing the queue may take: another one may have it already.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long giving the lease up may take; it runs out by itself then.
const RESIGN_TIMEOUT: Duration = Duration::from_secs(3);

/// Under what the holds of lanes are kept.
const HOLDS: &str = "holds";

/// What a replica needs to lead.
pub(super) struct Leader {
    pub(super) queue: JetStream,
    pub(super) inbox: Inbox,
    /// What this replica is called.
    pub(super) replica: String,
    /// How long a post has to be able to take before the lease runs out.
    pub(super) margin: Duration,
    pub(super) parts: Arc<Parts>,
    pub(super) dispatch_metrics: Metrics,
    pub(super) metrics: LeaderMetrics,
    pub(super) admin: Arc<Admin>,
    pub(super) ending: Ending,
}

/// Why a term ended.
enum Ended {
    /// The relay stops.
    Stopped,
    /// The lease of one that led ran out, or another replica has it.
    Over,
    /// It could not begin, also in time, or its queue failed.
    Failed(String),
    /// What the stream holds is of no use to this version, and does not get better by itself.
    Unusable(String),
}

impl Leader {
    /// Leads whenever it can, until `stop` says so.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), QueueError> {
        let mut pause = PAUSE;
        loop {
            let leadership = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                leadership = self.queue.lead_with(&self.replica, self.requests()) => leadership,
            };
            let begun = Instant::now();
            let ended = match leadership {
                Ok(leadership) => self.term(leadership, &stop).await,
                Err(error) => Ended::Failed(error.to_string()),
            };
            if begun.elapsed() >= WELL {
                pause = PAUSE;
            }
            let replica = self.replica.as_str();
            match ended {
                Ended::Stopped => return Ok(()),
                Ended::Over => tracing::warn!(
                    replica,
                    "this replica leads no more: its lease ran out before it could be renewed; another one goes on, and \
                     what it was posting is looked for"
                ),
                Ended::Failed(reason) => {
                    tracing::warn!(
                        replica,
                        reason,
                        again_seconds = pause.as_secs(),
                        "this replica does not lead, or no more; batches are taken as long as NATS takes them, and it \
                         tries again by itself"
                    );
                    pause = rest(pause, &mut stop).await;
                }
                Ended::Unusable(reason) => {
                    tracing::error!(
                        replica,
                        reason,
                        again_seconds = pause.as_secs(),
                        "this replica cannot lead with what the ledger stream holds, so that nothing is routed or posted; \
                         batches are taken as long as there is room in the inbox, and it tries again by itself"
                    );
                    pause = rest(pause, &mut stop).await;
                }
            }
        }
    }

    /// What those that are begun here mean to whoever leads next.
    fn requests(&self) -> Requests {
        let current = self.parts.current.clone();
        Requests::new(move || current.load().slack.timeout(), self.margin)
    }

    /// What a step at the end of a term may take: as long as it usually may, and what is left where the relay stops.
    fn at_most(&self, usual: Duration, step: Step, stop: &watch::Receiver<bool>) -> Duration {
        match *stop.borrow() {
            true => usual.min(self.left(step)),
            false => usual,
        }
    }

    fn left(&self, step: Step) -> Duration {
        let shutdown = self.parts.current.load().ingest.shutdown();
        self.ending.left(step, shutdown)
    }

    /// One term; the lease is given up at its end.
    async fn term(&self, leadership: Leadership, stop: &watch::Receiver<bool>) -> Ended {
        let tenure = leadership.tenure();
        let mut stopped = stop.clone();
        let opening = self.open(&tenure);
        let opened = tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => Err(Ended::Stopped),
            () = tenure.ended() => Err(too_late()),
            opened = opening => opened,
        };
        let ended = match opened {
            Ok(queue) => self.lead(queue, &leadership, stop).await,
            Err(ended) => ended,
        };
        let at_most = self.at_most(RESIGN_TIMEOUT, Step::Resign, stop);
        // It goes on for as long as the process does.
        let _in_time = timeout(at_most, leadership.resign()).await;
        ended
    }

    /// Opens the queue, which takes as long as there is much in it; whatever another one still writes fails from then on.
    async fn open(&self, tenure: &Tenure) -> Result<Engine, Ended> {
        let options = StreamOptions {
            tenure: tenure.clone(),
            limits: limits(&self.parts.current.load().queue),
            ..StreamOptions::new(now_unix_ms())
        };
        let opened = self.queue.open(options).await;
        opened.map_err(|error| match error {
            OpenError::DamagedStream { .. } | OpenError::Newer { .. } => {
                Ended::Unusable(error.to_string())
            }
            _ => Ended::Failed(error.to_string()),
        })
    }

    /// Leads with an open queue, which is closed afterwards.
    async fn lead(
        &self,
        queue: Engine,
        leadership: &Leadership,
        stop: &watch::Receiver<bool>,
    ) -> Ended {
        let mut stopped = stop.clone();
        let tenure = leadership.tenure();
        let loading = async {
            let loaded = term::load(queue.clone(), &self.parts, &self.dispatch_metrics).await?;
            Ok((loaded, self.holds().await))
        };
        let loaded = tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => Err(Ended::Stopped),
            () = tenure.ended() => Err(too_late()),
            loaded = loading => loaded.map_err(failed),
        };
        let ended = match loaded {
            Ok(loaded) => self.with_holds(&queue, loaded, leadership, stop).await,
            Err(ended) => ended,
        };
        self.stand_back();
        let at_most = self.at_most(CLOSE_TIMEOUT, Step::Close, stop);
        match timeout(at_most, queue.finish()).await {
            Ok(Ok(())) => {}
            // Another one may have it already, which is why this one leads no more.
            Ok(Err(error)) => tracing::debug!(%error, "the queue of a term that is over"),
            Err(_) => tracing::debug!("the queue of a term that is over did not close in time"),
        }
        ended
    }

    /// Goes on with what Slack asked whoever led before to wait for, and leaves it to whoever leads next.
    async fn with_holds(
        &self,
        queue: &Engine,
        (loaded, holds): (Loaded, HoldBook),
        leadership: &Leadership,
        stop: &watch::Receiver<bool>,
    ) -> Ended {
        let mut keeping = Keeping::new(holds.subscribe(), |now| self.keep_holds(now));
        let ended = tokio::select! {
            ended = self.term_of(queue, loaded, leadership, holds.clone(), stop) => ended,
            never = keeping.run() => match never {},
        };
        // Otherwise it is another one's to say.
        if !leadership.tenure().has_ended() {
            let at_most = self.at_most(holds::LAST, Step::Holds, stop);
            keeping.end(at_most).await;
        }
        ended
    }

    async fn term_of(
        &self,
        queue: &Engine,
        loaded: Loaded,
        leadership: &Leadership,
        holds: HoldBook,
        stop: &watch::Receiver<bool>,
    ) -> Ended {
        let (tenure, mut stopped) = (leadership.tenure(), stop.clone());
        let beginning = async {
            let term = self.begin(queue, loaded, leadership, holds).await;
            let term = term.map_err(|error| error.to_string())?;
            let questions = self.queue.questions(leadership).await;
            questions.map_or_else(|error| Err(error.to_string()), |asked| Ok((term, asked)))
        };
        let begun = tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => return Ended::Stopped,
            () = tenure.ended() => Err("its lease ran out before it led".to_owned()),
            begun = beginning => begun,
        };
        let (term, questions) = match begun {
            Ok(begun) => begun,
            Err(reason) => return Ended::Failed(reason),
        };
        let mut beside = JoinSet::new();
        beside.spawn(far::answer_for(Arc::clone(&self.admin), questions));
        self.metrics.begins();
        tracing::info!(
            replica = self.replica,
            "this replica leads: it routes, posts and answers commands"
        );
        let ((end, ending), (end_pump, pump_ending)) =
            (watch::channel(false), watch::channel(false));
        let grace = || match *stop.borrow() {
            true => self.left(Step::Lanes),
            false => OVER_GRACE,
        };
        let pump = self.inbox.pump(queue.clone(), pump_ending);
        let term = term.run(&tenure, ending, grace);
        tokio::pin!(term, pump);
        let ended = tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => Ended::Stopped,
            ended = &mut term => return ended.map_or_else(failed, |()| Ended::Over),
            pumped = &mut pump => Ended::Failed(pumped.map_or_else(
                |error| error.to_string(),
                |()| "taking batches out of the inbox ended by itself".to_owned(),
            )),
        };
        // The term looks at it until it has ended. What the pump was at is in the queue, or is taken again.
        let _ = (end_pump.send(true), end.send(true));
        match term.await {
            Err(error) if !matches!(ended, Ended::Stopped) => failed(error),
            _ => ended,
        }
    }

    /// Makes a term's parts of the configuration in use, and lets everybody find them.
    async fn begin(
        &self,
        queue: &Engine,
        loaded: Loaded,
        leadership: &Leadership,
        holds: HoldBook,
    ) -> Result<Term, QueueError> {
        let _turn = self.parts.turn().await;
        let config = self.parts.current.load();
        // It may be another one than when the queue was opened.
        queue.set_limits(limits(&config.queue)).await?;
        let posting = dispatch::Term::begin(leadership.tenure(), self.margin);
        let posting = posting.after(leadership.others_requests());
        let posting = (posting, holds);
        let term = Term::new(loaded, &self.parts, &self.dispatch_metrics, posting);
        let leading = Some(Arc::clone(&term.leading));
        self.parts.leading.send_replace(leading);
        warn_of_orphans(&config, queue);
        Ok(term)
    }

    /// What Slack asked whoever led before to wait for.
    async fn holds(&self) -> HoldBook {
        let kept = self.queue.kept(HOLDS).await;
        let kept = kept.inspect_err(|error| {
            // A rate limit is met once more, and heeded.
            tracing::debug!(%error, "what Slack asked the leader before to wait for is not known");
        });
        let holds = kept.ok().flatten();
        let holds = holds.and_then(|kept| serde_json::from_slice(&kept).ok());
        HoldBook::new(holds.unwrap_or_default())
    }

    /// Where whoever leads next finds it; says whether it is there.
    async fn keep_holds(&self, holds: Vec<u8>) -> bool {
        let kept = self.queue.keep(HOLDS, holds).await;
        let kept = kept.inspect_err(|error| {
            tracing::debug!(%error, "what Slack asks to wait for cannot be kept for another leader");
        });
        kept.is_ok()
    }

    /// Nobody finds this replica leading any more, and what its metrics say of now is not so any more.
    fn stand_back(&self) {
        if self.parts.leading.send_replace(None).is_none() {
            return;
        }
        self.metrics.ends();
        self.dispatch_metrics.no_lanes();
        self.dispatch_metrics.watchdog.every(0);
    }
}

/// Says who leads, whenever that is another replica than before.
pub(super) async fn tell_who_leads(queue: JetStream, replica: String) {
    let mut leader = queue.leader();
    let mut said = None;
    loop {
        let now = leader.borrow_and_update().clone();
        // That this one leads is said when it has opened the queue; that nobody does, by whoever led.
        if now.is_some() && now != said {
            if let Some(leader) = now.as_ref().filter(|now| **now != replica) {
                tracing::info!(leader, "another replica leads");
            }
            said = now;
        }
        if leader.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Waits after a term that failed, unless the relay stops; how long after the next one.
async fn rest(pause: Duration, stop: &mut watch::Receiver<bool>) -> Duration {
    tokio::select! {
        () = sleep(pause) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    (2 * pause).min(PAUSE_MAX)
}

/// Without a pause each such opening would be one more load on servers that are too slow for it.
fn too_late() -> Ended {
    Ended::Failed(
        "its lease ran out while it opened the queue, or another replica has it".to_owned(),
    )
}

fn failed(error: QueueError) -> Ended {
    Ended::Failed(error.to_string())
}

#[cfg(test)]
#[path = "lead_tests.rs"]
mod tests;
