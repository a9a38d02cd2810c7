//! How events are prepared for the queue, whichever door they come through; and the doors that are log files.

use std::sync::Arc;

use auditrelay_audit::{
    HashKey,
    redact::{Bodies, Redactor},
};
use auditrelay_config::{Config, RouteResources};
use auditrelay_dispatch::Routes;
use auditrelay_ingest::{
    Advisor, Preparation, SealTo,
    log_file::{Follow, LogFileMetrics},
};
use auditrelay_store::QueueError;
use tokio::{sync::watch, task::JoinSet};

use crate::{door_queue::DoorQueue, parts::Parts};

/// As the configuration says.
pub(crate) fn preparation(config: &Config, key: &HashKey, routes: &Arc<Routes>) -> Preparation {
    // A replay may go through other routes, which want other events.
    let keeps_all = config.queue.retain_hours.get() > 0;
    let routes = Arc::clone(routes);
    Preparation {
        redactor: redactor(config, key.clone()),
        hash_key: key.clone(),
        quarantine_raw: config
            .queue
            .quarantine_raw
            .map(|key| SealTo::new(key.bytes())),
        events_per_list_max: config.ingest.events_per_list_max.as_usize(),
        advisor: Advisor::naming(routes.id(), move |event| {
            let advice = routes.at_the_door(event);
            advice.or_else(|hint| match keeps_all {
                true => Ok((hint.unwrap_or(Routes::NOBODY), Bodies::Keep)),
                false => Err(hint),
            })
        }),
    }
}

/// What a configuration wants taken out of events.
pub(crate) fn redactor(config: &Config, key: HashKey) -> Redactor {
    let listed = config.redaction.resources.iter();
    Redactor::new(key)
        .resources(listed.map(RouteResources::matched).collect())
        .environment(config.redaction.environment)
}

/// The same for events that nobody is told of: they are counted and recognised, and kept only for a replay.
pub(crate) fn for_nobody(config: &Config, key: &HashKey, routes: &Arc<Routes>) -> Preparation {
    let keeps_all = config.queue.retain_hours.get() > 0;
    let for_nobody = keeps_all.then_some((Routes::NOBODY, Bodies::Keep));
    Preparation {
        advisor: Advisor::new(Routes::FOR_NOBODY, move |_| for_nobody),
        ..preparation(config, key, routes)
    }
}

/// Follows every configured path.
pub(crate) fn follow_files(
    parts: &Parts,
    queue: &DoorQueue,
    (metrics, ingest_metrics): (&LogFileMetrics, &auditrelay_ingest::Metrics),
    nothing_is_old: bool,
    stopped: &watch::Receiver<bool>,
    tasks: &mut JoinSet<Result<(), QueueError>>,
) {
    let config = parts.current.load();
    for input in &config.inputs.log_file {
        let cluster = input.cluster.as_ref().unwrap_or(&config.cluster);
        let follow = Follow {
            queue: queue.clone(),
            preparation: parts.prepared.clone(),
            hash_key: parts.hash_key.clone(),
            path: input.path.clone(),
            cluster: cluster.to_string(),
            metrics: metrics.clone(),
            in_use: parts.in_use.clone(),
            nothing_is_old,
            ingest_metrics: ingest_metrics.clone(),
        };
        tasks.spawn(follow.run(stopped.clone()));
    }
}
