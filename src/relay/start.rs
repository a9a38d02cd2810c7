//! The tasks of a relay, from an opened one. None of them ends by itself before the shutdown.

use std::{sync::Arc, time::Duration};

use auditrelay_dispatch::{self as dispatch, HoldBook, Metrics};
use auditrelay_ingest::{Ingest, OwnDoor, RELOAD_INTERVAL, log_file::LogFileMetrics};
use auditrelay_store::{
    Engine, QueueError, Tenure,
    jetstream::{Inbox, JetStream},
};
use tokio::{sync::watch, task::JoinSet};

use super::{
    Only, Place, Relay, Webhook,
    ending::Ending,
    lead::{Leader, tell_who_leads},
    other,
};
use crate::{
    Failure, admin,
    clusters::Clusters,
    commands_port::Commands,
    current::Current,
    door_queue::{DoorQueue, ask_after_each_connection},
    far::Replica,
    jetstream_options::{queue_name, relay_name},
    leader_metrics::LeaderMetrics,
    parts::Parts,
    preparation::follow_files,
    reload::{ReloadMetrics, Reloader},
    status::Vitals,
    term::{Loaded, Term, until},
    watchdog::Watchdog,
};

type Tasks = JoinSet<Result<(), QueueError>>;

/// What terms need of what lives as long as the process.
struct Front {
    parts: Arc<Parts>,
    dispatch_metrics: Metrics,
    leader_metrics: LeaderMetrics,
    admin: Arc<admin::Admin>,
}

impl Front {
    /// Leads from now on until the end.
    fn lead(
        self,
        queue: Engine,
        loaded: Loaded,
        tasks: &mut Tasks,
        stopped: &watch::Receiver<bool>,
    ) {
        let posting = (dispatch::Term::alone(), HoldBook::default());
        let term = Term::new(loaded, &self.parts, &self.dispatch_metrics, posting);
        let leading = Some(Arc::clone(&term.leading));
        self.parts.leading.send_replace(leading);
        self.leader_metrics.begins();
        let stop = stopped.clone();
        tasks.spawn(async move {
            // The relay's own grace ends it, and takes everything along.
            let ended = term.run(&Tenure::always(), stop, || Duration::MAX).await;
            own_reason(ended, queue.check())
        });
    }

    /// Leads whenever it is this replica's turn.
    fn lead_in_turn(
        self,
        (queue, inbox): (JetStream, Inbox),
        only: Only,
        tasks: &mut Tasks,
        stopped: &watch::Receiver<bool>,
    ) {
        let replica = relay_name(&self.parts.current.load());
        let telling = tell_who_leads(queue.clone(), replica.clone());
        tasks.spawn(until(stopped.clone(), telling));
        let asking = ask_after_each_connection(queue.clone());
        tasks.spawn(until(stopped.clone(), asking));
        let leader = Leader {
            inbox,
            replica,
            margin: queue.lease_lasts() / 3,
            queue,
            parts: self.parts,
            dispatch_metrics: self.dispatch_metrics,
            metrics: self.leader_metrics,
            admin: self.admin,
            ending: Ending::default(),
        };
        let stop = stopped.clone();
        tasks.spawn(async move {
            let ended = leader.run(stop).await;
            drop(only);
            ended
        });
    }
}

impl Relay {
    pub(super) fn start(
        mut self,
        stopped: &watch::Receiver<bool>,
    ) -> Result<(Tasks, Current), Failure> {
        let mut tasks = JoinSet::new();
        let door = match &self.place {
            Place::Disk(queue, _) => DoorQueue::Engine(queue.clone()),
            Place::JetStream(queue, inbox, _) => DoorQueue::Inbox(inbox.clone(), queue.clone()),
        };
        self.doors(&door, &mut tasks, stopped)?;
        let board = self.dispatch_metrics.board.clone();
        let name = queue_name(&self.parts.current.load());
        let leader_metrics = LeaderMetrics::new(&self.registry, &name).map_err(other)?;
        let reload_metrics = ReloadMetrics::new(&self.registry).map_err(other)?;
        let parts = Arc::new(self.parts);
        let current = parts.current.clone();
        let reloader = self.source.map(|(source, hangups)| {
            let parts = Arc::clone(&parts);
            let reloader = Arc::new(Reloader::new(source, parts, reload_metrics, board.clone()));
            let watching = Arc::clone(&reloader).watch(hangups);
            tasks.spawn(until(stopped.clone(), watching));
            reloader
        });
        let replica = match &self.place {
            Place::Disk(..) => None,
            Place::JetStream(queue, ..) => Some(Replica {
                queue: queue.clone(),
                name: relay_name(&current.load()),
            }),
        };
        let far = replica.as_ref().map(|replica| replica.queue.clone());
        let admin = Arc::new(admin::Admin {
            leading: parts.leading.subscribe(),
            door,
            replica,
            leader_metrics: leader_metrics.clone(),
            current: current.clone(),
            metrics: self.ledger_metrics,
            commands: Commands::new(parts.leading.subscribe(), far, self.token),
            vitals: Vitals::new(board),
            reloader,
        });
        let front = Front {
            parts,
            dispatch_metrics: self.dispatch_metrics,
            leader_metrics,
            admin: Arc::clone(&admin),
        };
        match self.place {
            Place::Disk(queue, loaded) => front.lead(queue, *loaded, &mut tasks, stopped),
            Place::JetStream(queue, inbox, only) => {
                front.lead_in_turn((queue, inbox), only, &mut tasks, stopped);
            }
        }
        tasks.spawn(until(stopped.clone(), self.admin.serve(admin)));
        Ok((tasks, current))
    }

    /// Where events come in: log files, and the webhook.
    fn doors(
        &mut self,
        queue: &DoorQueue,
        tasks: &mut Tasks,
        stopped: &watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        tasks.spawn(until(stopped.clone(), queue.clone().look_on()));
        let parts = &mut self.parts;
        let config = parts.current.load();
        let ingest_metrics = auditrelay_ingest::Metrics::new(&self.registry).map_err(other)?;
        let clusters = Clusters {
            ingest: ingest_metrics.clone(),
            dispatch: self.dispatch_metrics.clone(),
        };
        clusters.tell_apart(&config);
        let following = clusters.follow(parts.current.changes());
        tasks.spawn(until(stopped.clone(), following));
        let log_files = LogFileMetrics::new(&self.registry).map_err(other)?;
        follow_files(
            parts,
            queue,
            (&log_files, &ingest_metrics),
            self.ledger_metrics.store_moved_aside.get() == 1,
            stopped,
            tasks,
        );
        let Some(Webhook { listener, keyring }) = self.webhook.take() else {
            Watchdog::warn_without_door(&config);
            return Ok(());
        };
        keyring.register(&self.registry).map_err(other)?;
        let listening = listener.local_addr().map_err(other)?;
        let own_door = OwnDoor::new(listening, Arc::clone(&keyring)).map_err(other)?;
        parts.own_door = Some(Arc::new(own_door));
        let watching = Arc::clone(&keyring).watch(RELOAD_INTERVAL);
        tasks.spawn(until(stopped.clone(), watching));
        let ingest = Arc::new(Ingest::new(
            queue.clone(),
            parts.prepared.clone(),
            &config.ingest,
            config.cluster.clone(),
            keyring,
            ingest_metrics,
        ));
        parts.ingest = Some(Arc::clone(&ingest));
        let mut stop = stopped.clone();
        tasks.spawn(async move {
            let stopping = async move { drop(stop.wait_for(|stop| *stop).await) };
            auditrelay_ingest::serve(listener, ingest, stopping).await;
            Ok(())
        });
        Ok(())
    }
}

/// Why a term on a disk ended, if that was no failure of its queue: of that whoever watches the queue tells.
fn own_reason(
    ended: Result<(), QueueError>,
    queue: Result<(), QueueError>,
) -> Result<(), QueueError> {
    match queue {
        Ok(()) => ended,
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_failed_is_told_where_the_queue_is_well() {
        let of_part = || Err(QueueError::Storage("a part".into()));
        let of_queue = || Err(QueueError::Storage("the queue".into()));
        let told = own_reason(of_part(), Ok(()));
        assert!(matches!(told, Err(QueueError::Storage(why)) if &*why == "a part"));
        assert!(own_reason(of_part(), of_queue()).is_ok());
        assert!(own_reason(Ok(()), Ok(())).is_ok());
        assert!(own_reason(Ok(()), of_queue()).is_ok());
    }
}
