//! The tasks of a relay, from an opened one. None of them ends by itself before the shutdown.

use std::sync::Arc;

use auditrelay_dispatch::{HoldBook, Term};
use auditrelay_ingest::{
    Ingest, OwnDoor, RELOAD_INTERVAL,
    log_file::{InUse, LogFileMetrics},
};
use auditrelay_store::QueueError;
use tokio::{sync::watch, task::JoinSet};

use super::{Relay, Webhook, other};
use crate::{
    Failure, admin,
    clusters::Clusters,
    commands_port::Commands,
    current::Current,
    import::Importer,
    lanes::Lanes,
    online,
    parts::Parts,
    preparation::follow_files,
    reload::{ReloadMetrics, Reloader},
    status::Vitals,
    trace::{Means, Running},
    watchdog::Watchdog,
};

type Tasks = JoinSet<Result<(), QueueError>>;

impl Relay {
    pub(super) fn start(
        mut self,
        stopped: &watch::Receiver<bool>,
    ) -> Result<(Tasks, Current), Failure> {
        let mut tasks = JoinSet::new();
        let mut parts = Parts::new(
            self.config.clone(),
            &self.routes,
            &self.templates,
            self.queue.clone(),
            self.hash_key.clone(),
        )?;
        let importer = self.doors(&mut parts, &mut tasks, stopped)?;
        let board = self.dispatch_metrics.board.clone();
        let running = Running::new(self.router.duplicates(), board.clone());
        let lanes = Lanes::new(
            self.queue.clone(),
            self.dispatch_metrics,
            self.hash_key,
            (Term::alone(), HoldBook::default()),
            &parts.plans.borrow(),
        );
        let (now, key) = (parts.current.clone(), parts.hash_key.clone());
        let means = Means::of_relay(now, key, running, lanes.shared());
        parts.context.set_means(means);
        tasks.spawn(until(stopped.clone(), online::follow(lanes.shared())));
        tasks.spawn(lanes.run(parts.plans.subscribe(), stopped.clone()));
        let router = self.router.following(parts.tables.subscribe());
        tasks.spawn(router.run(stopped.clone()));
        let current = parts.current.clone();
        let reload_metrics = ReloadMetrics::new(&self.registry).map_err(other)?;
        let commands = Commands::new(Arc::clone(&parts.context), importer, self.token);
        let parts = Arc::new(parts);
        let reloader = self.source.map(|(source, hangups)| {
            let reloader = Arc::new(Reloader::new(source, parts, reload_metrics, board.clone()));
            let watching = Arc::clone(&reloader).watch(hangups);
            tasks.spawn(until(stopped.clone(), watching));
            reloader
        });
        let admin = admin::Admin {
            queue: self.queue,
            current: current.clone(),
            metrics: self.ledger_metrics,
            commands,
            vitals: Vitals::new(board),
            reloader,
        };
        tasks.spawn(until(stopped.clone(), self.admin.serve(admin)));
        Ok((tasks, current))
    }

    /// Where events come in: log files, imports, and the webhook.
    fn doors(
        &mut self,
        parts: &mut Parts,
        tasks: &mut Tasks,
        stopped: &watch::Receiver<bool>,
    ) -> Result<Importer, Failure> {
        let config = parts.current.load();
        let ingest_metrics = auditrelay_ingest::Metrics::new(&self.registry).map_err(other)?;
        let clusters = Clusters {
            ingest: ingest_metrics.clone(),
            dispatch: self.dispatch_metrics.clone(),
        };
        clusters.tell_apart(&config);
        let following = clusters.follow(parts.current.changes());
        tasks.spawn(until(stopped.clone(), following));
        let in_use = InUse::default();
        let log_files = LogFileMetrics::new(&self.registry).map_err(other)?;
        follow_files(
            parts,
            (&log_files, &ingest_metrics),
            &in_use,
            self.ledger_metrics.store_moved_aside.get() == 1,
            stopped,
            tasks,
        );
        let importer = Importer::new(
            self.queue.clone(),
            (parts.prepared.clone(), parts.quiet.clone()),
            self.hash_key.clone(),
            in_use,
            config.cluster.to_string(),
        );
        if let Some(Webhook { listener, keyring }) = self.webhook.take() {
            keyring.register(&self.registry).map_err(other)?;
            let listening = listener.local_addr().map_err(other)?;
            let door = OwnDoor::new(listening, Arc::clone(&keyring)).map_err(other)?;
            let (metrics, board) = (
                &self.dispatch_metrics.watchdog,
                &self.dispatch_metrics.board,
            );
            let watchdog = Watchdog::new(door, parts, metrics.clone(), board.clone());
            tasks.spawn(until(stopped.clone(), watchdog.run()));
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
        } else {
            Watchdog::warn_without_door(&config);
        }
        Ok(importer)
    }
}

/// What goes on for as long as the relay does.
async fn until(
    mut stopped: watch::Receiver<bool>,
    work: impl Future<Output = ()>,
) -> Result<(), QueueError> {
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    Ok(())
}
