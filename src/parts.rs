//! The parts of a running relay that another configuration reaches, and how each takes it on.
//!
//! Contract: [`Parts::prepare`] makes everything that can fail and changes nothing; [`Parts::exchange`] cannot fail but
//! by the queue's storage, which ends the relay anyway. Where it ends only a term ([`crate::term`]), the configuration
//! counts all the same: the next term opens its queue with it.
//!
//! The order of an exchange: limits of the queue, the router's table, lanes, the door, what commands see, and last
//! everybody who follows [`Current`]. The router has the new table before the door has, so nothing that the door judged by
//! the new one is decided by the old one. What the door judged before and is not decided yet is read again by the
//! router, as hints are worth something only to the table that gave them; what nobody wanted then was not stored.

use std::{collections::BTreeMap, sync::Arc};

use auditrelay_audit::HashKey;
use auditrelay_config::Config;
use auditrelay_dispatch::{Routes, Table, Templates};
use auditrelay_ingest::{InForce, Ingest, OwnDoor, Preparation, log_file::InUse};
use auditrelay_store::{Engine, Queue, QueueError};
use tokio::sync::{Mutex, MutexGuard, watch};

use crate::{
    Failure,
    current::Current,
    door_queue::DoorQueue,
    lanes::{Https, Plan},
    limits::limits,
    logs,
    preparation::{for_nobody, preparation},
    term::Leading,
};

/// What a configuration is made into before it counts.
pub(crate) struct Next {
    config: Arc<Config>,
    table: Table,
    plan: Arc<Plan>,
    prepared: Preparation,
    quiet: Preparation,
    filter: Option<logs::Filter>,
}

/// The parts.
pub(crate) struct Parts {
    pub(crate) current: Current,
    pub(crate) hash_key: HashKey,
    pub(crate) tables: watch::Sender<Table>,
    pub(crate) plans: watch::Sender<Arc<Plan>>,
    https: Https,
    /// How events are prepared at every door.
    pub(crate) prepared: InForce,
    /// The same of those that nobody is told of.
    pub(crate) quiet: InForce,
    /// None where log files are the only door.
    pub(crate) ingest: Option<Arc<Ingest<DoorQueue>>>,
    /// How the relay's own events come in, where there is a webhook.
    pub(crate) own_door: Option<Arc<OwnDoor>>,
    /// Which log files are read.
    pub(crate) in_use: InUse,
    /// The term that runs in this process, if one does.
    pub(crate) leading: watch::Sender<Option<Arc<Leading>>>,
    /// The relay ends with its queue; otherwise its term does.
    is_alone: bool,
    /// Whoever exchanges the configuration, or begins a term. One that ends does not wait for it: what it would be told by then
    /// is nothing to it.
    turn: Mutex<()>,
}

impl Parts {
    /// Those of a relay that begins.
    ///
    /// # Errors
    /// As of [`Plan::new`].
    pub(crate) fn new(
        config: Config,
        routes: &Arc<Routes>,
        templates: &BTreeMap<String, Arc<Templates>>,
        hash_key: HashKey,
        is_alone: bool,
    ) -> Result<Self, Failure> {
        let https = Https::default();
        let config = Arc::new(config);
        let plan = Plan::new(&config, templates, &https).map_err(Failure::Other)?;
        Ok(Self {
            tables: watch::Sender::new(table(&config, routes)),
            plans: watch::Sender::new(Arc::new(plan)),
            https,
            prepared: preparation(&config, &hash_key, routes).into(),
            quiet: for_nobody(&config, &hash_key, routes).into(),
            ingest: None,
            own_door: None,
            in_use: InUse::default(),
            leading: watch::Sender::new(None),
            is_alone,
            turn: Mutex::default(),
            current: Current::new(config),
            hash_key,
        })
    }

    /// The configuration stays as it is, and no term begins, while this is held.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Makes what a configuration needs.
    ///
    /// # Errors
    /// One line that names the key.
    pub(crate) fn prepare(&self, config: Config) -> Result<Next, String> {
        let templates = Templates::all(&config)?;
        let filter = logs::configured(&config).map_err(|error| error.to_string())?;
        let routes = Arc::new(Routes::of_relay(&config, &self.hash_key));
        let config = Arc::new(config);
        Ok(Next {
            table: table(&config, &routes),
            plan: Arc::new(Plan::new(&config, &templates, &self.https)?),
            prepared: preparation(&config, &self.hash_key, &routes),
            quiet: for_nobody(&config, &self.hash_key, &routes),
            config,
            filter,
        })
    }

    /// From now on it counts.
    ///
    /// # Errors
    /// The queue's storage failed.
    pub(crate) async fn exchange(&self, next: Next) -> Result<(), QueueError> {
        let Next {
            config,
            table,
            plan,
            prepared,
            quiet,
            filter,
        } = next;
        let _turn = self.turn().await;
        let leading = self.leading.borrow().clone();
        if let Some(leading) = &leading {
            match leading.queue.set_limits(limits(&config.queue)).await {
                Err(error) if self.is_alone => return Err(error),
                // Its term ends; the next one has these limits.
                Ok(()) | Err(_) => {}
            }
        }
        let routes = Arc::clone(&table.routes);
        self.tables.send_replace(table);
        self.plans.send_replace(plan);
        self.prepared.exchange(prepared);
        self.quiet.exchange(quiet);
        if let Some(ingest) = &self.ingest {
            ingest.set_limits(&config.ingest);
        }
        logs::use_configured(filter);
        if let Some(leading) = &leading {
            leading.context.exchange(&config, routes);
            warn_of_orphans(&config, &leading.queue);
        }
        self.current.replace(config);
        Ok(())
    }
}

fn table(config: &Config, routes: &Arc<Routes>) -> Table {
    Table {
        routes: Arc::clone(routes),
        window: config.dedup.window(),
    }
}

/// The backlog of a channel that is not configured any more stays; somebody has to know.
pub(crate) fn warn_of_orphans(config: &Config, queue: &Engine) {
    for (name, counts) in queue.ledger().channels {
        if counts.waiting > 0
            && !config
                .channels
                .keys()
                .any(|channel| channel.as_str() == name)
        {
            tracing::warn!(
                channel = name,
                waiting = counts.waiting,
                "events wait for a channel that is not configured any more; they stay until it is again, and take room in \
                 the queue: configure it for as long as it takes to post them"
            );
        }
    }
}
