//! The tasks of a relay, from an opened one. None of them ends by itself before the shutdown.

use std::{sync::Arc, time::Duration};

use auditrelay_ingest::{Ingest, OwnDoor, RELOAD_INTERVAL, log_file::LogFileMetrics};
use auditrelay_store::{QueueError, Tenure};
use tokio::{sync::watch, task::JoinSet};

use super::{Relay, Webhook, other};
use crate::{
    Failure, admin,
    clusters::Clusters,
    commands_port::Commands,
    current::Current,
    preparation::follow_files,
    reload::{ReloadMetrics, Reloader},
    status::Vitals,
    term::{Term, until},
    watchdog::Watchdog,
};

type Tasks = JoinSet<Result<(), QueueError>>;

impl Relay {
    pub(super) fn start(
        mut self,
        stopped: &watch::Receiver<bool>,
    ) -> Result<(Tasks, Current), Failure> {
        let mut tasks = JoinSet::new();
        self.doors(&mut tasks, stopped)?;
        let board = self.dispatch_metrics.board.clone();
        let parts = Arc::new(self.parts);
        let current = parts.current.clone();
        let term = Term::new(self.loaded, &parts, &self.dispatch_metrics);
        parts.leading.send_replace(Some(Arc::clone(&term.leading)));
        let (queue, stop) = (self.queue, stopped.clone());
        tasks.spawn(async move {
            // The relay's own grace ends it, and takes everything along.
            let ended = term.run(&Tenure::always(), stop, || Duration::MAX).await;
            // Whoever watches the queue tells.
            ended.or_else(|error| queue.check().map_err(|_| error))
        });
        let reload_metrics = ReloadMetrics::new(&self.registry).map_err(other)?;
        let commands = Commands::new(parts.leading.subscribe(), self.token);
        let reloader = self.source.map(|(source, hangups)| {
            let parts = Arc::clone(&parts);
            let reloader = Arc::new(Reloader::new(source, parts, reload_metrics, board.clone()));
            let watching = Arc::clone(&reloader).watch(hangups);
            tasks.spawn(until(stopped.clone(), watching));
            reloader
        });
        let admin = admin::Admin {
            leading: parts.leading.subscribe(),
            current: current.clone(),
            metrics: self.ledger_metrics,
            commands,
            vitals: Vitals::new(board),
            reloader,
        };
        tasks.spawn(until(stopped.clone(), self.admin.serve(admin)));
        Ok((tasks, current))
    }

    /// Where events come in: log files, and the webhook.
    fn doors(&mut self, tasks: &mut Tasks, stopped: &watch::Receiver<bool>) -> Result<(), Failure> {
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
            &self.queue,
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
            self.queue.clone(),
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
