//! A lane for each channel, with the destination that it is configured for.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    sync::Arc,
};

use auditrelay_config::{Config, Destination};
use auditrelay_dispatch::{
    Budget, Lane, Metrics, Templates,
    preview::Preview,
    slack::{Http, SlackApi, SlackWebhook},
};
use auditrelay_store::{QueueError, SledQueue};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::Failure;

/// Lanes that may hold the text of a lease in memory at a time.
const RENDERING_MAX: usize = 2;

/// What lanes share.
pub(crate) struct Lanes<'a> {
    config: &'a Config,
    queue: &'a SledQueue,
    metrics: &'a Metrics,
    templates: &'a BTreeMap<String, Arc<Templates>>,
    http: Http,
    budget: Budget,
    rendering: Arc<Semaphore>,
}

impl<'a> Lanes<'a> {
    pub(crate) fn new(
        config: &'a Config,
        queue: &'a SledQueue,
        metrics: &'a Metrics,
        templates: &'a BTreeMap<String, Arc<Templates>>,
    ) -> Self {
        Self {
            config,
            queue,
            metrics,
            templates,
            http: Http::new(config.slack.timeout()),
            budget: Budget::new(config.slack.messages_per_minute.get()),
            rendering: Arc::new(Semaphore::new(RENDERING_MAX)),
        }
    }

    /// Starts a lane for each channel.
    pub(crate) fn start(
        &self,
        tasks: &mut JoinSet<Result<(), QueueError>>,
        stopped: &watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        for name in self.config.channels.keys() {
            match self.config.destination(name) {
                Some(Destination::SlackApi { channel, token }) => {
                    let api_url = &self.config.slack.api_url;
                    let slack = SlackApi::new(self.http.clone(), api_url, token, channel)
                        .map_err(Failure::Other)?;
                    tasks.spawn(self.lane(name.as_str(), slack, true).run(stopped.clone()));
                }
                Some(Destination::Webhook { url }) => {
                    let webhook = SlackWebhook::new(self.http.clone(), url);
                    tasks.spawn(self.lane(name.as_str(), webhook, true).run(stopped.clone()));
                }
                Some(Destination::Preview) | None => {
                    let preview = Preview::new(name.as_str(), io::stdout().is_terminal());
                    tasks.spawn(
                        self.lane(name.as_str(), preview, false)
                            .run(stopped.clone()),
                    );
                }
            }
        }
        Ok(())
    }

    fn lane<D: auditrelay_dispatch::Destination>(
        &self,
        name: &str,
        destination: D,
        in_workspace: bool,
    ) -> Lane<SledQueue, D> {
        let config = self
            .config
            .channels
            .iter()
            .find(|(channel, _)| channel.as_str() == name);
        let (_, config) = config.expect("the name comes from the same map");
        let lane = Lane::new(
            self.queue.clone(),
            destination,
            name,
            config,
            in_workspace.then(|| self.budget.clone()),
            self.metrics.clone(),
            Arc::clone(&self.rendering),
        );
        let lane = lane.speaking(self.templates.get(name).map(Arc::clone).unwrap_or_default());
        if keeps_members(self.config) {
            lane
        } else {
            lane.forgetting()
        }
    }
}

/// Whether what a message stood for can be listed afterwards.
pub(crate) fn keeps_members(config: &Config) -> bool {
    let kept = &config.queue;
    kept.digest_detail_hours.get() > 0 && kept.digest_detail_bytes_max.get() > 0
}
