//! A lane for each channel, with the destination that it is configured for.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, IsTerminal},
    sync::Arc,
};

use auditrelay_audit::HashKey;
use auditrelay_config::{ChannelConfig, ChannelName, Config, Destination};
use auditrelay_dispatch::{
    Lane, Metrics, Workspace,
    lane::Setup,
    pace::Place,
    preview::Preview,
    render::Style,
    slack::{Http, SlackApi, SlackWebhook, WebApi},
    template::Templates,
};
use auditrelay_store::{QueueError, SledQueue};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};
use url::Url;

use crate::Failure;

/// Lanes that may hold the text of a lease in memory at a time.
const RENDERING_MAX: usize = 2;

/// What lanes share.
pub(crate) struct Lanes<'a> {
    config: &'a Config,
    queue: &'a SledQueue,
    metrics: &'a Metrics,
    key: &'a HashKey,
    templates: &'a BTreeMap<String, Arc<Templates>>,
    http: Http,
    /// By token, and for webhooks by workspace.
    workspaces: HashMap<String, Workspace>,
    /// By token or webhook, and channel.
    places: HashMap<(String, String), Place>,
    rendering: Arc<Semaphore>,
}

/// What lanes that run share.
pub(crate) struct Shared {
    pub(crate) http: Http,
    /// By token.
    pub(crate) workspaces: HashMap<String, Workspace>,
}

impl<'a> Lanes<'a> {
    pub(crate) fn new(
        config: &'a Config,
        queue: &'a SledQueue,
        metrics: &'a Metrics,
        key: &'a HashKey,
        templates: &'a BTreeMap<String, Arc<Templates>>,
    ) -> Self {
        Self {
            config,
            queue,
            metrics,
            key,
            templates,
            http: Http::new(config.slack.timeout(), config.slack.proxy.as_ref())
                .timed(metrics.slack_requests.clone()),
            workspaces: HashMap::new(),
            places: HashMap::new(),
            rendering: Arc::new(Semaphore::new(RENDERING_MAX)),
        }
    }

    /// Starts a lane for each channel; what they share, for who asks Slack beside them.
    pub(crate) fn start(
        mut self,
        tasks: &mut JoinSet<Result<(), QueueError>>,
        stopped: &watch::Receiver<bool>,
    ) -> Result<Shared, Failure> {
        let config = self.config;
        for (name, channel) in &config.channels {
            match channel.destination(&config.slack) {
                Destination::SlackApi { channel: id, token } => {
                    let workspace = self.workspace(token.expose_secret(), name);
                    let api = WebApi::new(self.http.clone(), &config.slack.api_url, token)
                        .map_err(Failure::Other)?;
                    let slack = SlackApi::new(api, id, workspace.clone());
                    let place = self.place(token.expose_secret(), id, channel);
                    let setup = self.setup(name, channel, place, Some(workspace));
                    tasks.spawn(Lane::new(setup, slack).run(stopped.clone()));
                }
                Destination::Webhook { url } => {
                    let workspace = self.workspace(&workspace_of(url), name);
                    let webhook = SlackWebhook::new(self.http.clone(), url);
                    let place = self.place(url.expose_secret(), "webhook", channel);
                    let setup = self.setup(name, channel, place, Some(workspace));
                    tasks.spawn(Lane::new(setup, webhook).run(stopped.clone()));
                }
                Destination::Preview => {
                    let preview = Preview::new(name.as_str(), io::stdout().is_terminal());
                    let place = self.place("preview", name.as_str(), channel);
                    let setup = self.setup(name, channel, place, None);
                    tasks.spawn(Lane::new(setup, preview).run(stopped.clone()));
                }
            }
        }
        Ok(Shared {
            http: self.http,
            workspaces: self.workspaces,
        })
    }

    /// Channels come in the order of their names, and the first of a token is what metrics call it by.
    fn workspace(&mut self, who: &str, first: &ChannelName) -> Workspace {
        let slack = &self.config.slack;
        let per_minute = slack.messages_per_minute.get();
        let new = || {
            let posts = self.metrics.workspace(first.as_str(), per_minute);
            Workspace::counted(per_minute, slack.lookups_per_minute.get(), Some(posts))
        };
        self.workspaces
            .entry(who.to_owned())
            .or_insert_with(new)
            .clone()
    }

    /// Where a channel's messages go: two channels that post to the same place share its pace, that of the first.
    fn place(&mut self, who: &str, to: &str, channel: &ChannelConfig) -> Place {
        let key = place_of(who, to);
        let to = key.1.as_str();
        let number = self.places.len();
        let new = || {
            // A webhook has no name but its secret.
            let name = if to == "webhook" {
                format!("{to} {number}")
            } else {
                to.to_owned()
            };
            Place::new(
                &name,
                channel.message_interval(),
                channel.message_burst.get(),
            )
        };
        let place = self.places.get(&key).cloned().unwrap_or_else(new);
        self.places.entry(key).or_insert(place).clone()
    }

    fn setup<'b>(
        &self,
        name: &'b ChannelName,
        channel: &'b ChannelConfig,
        place: Place,
        workspace: Option<Workspace>,
    ) -> Setup<'b, SledQueue> {
        let templates = self.templates.get(name.as_str()).map(Arc::clone);
        Setup {
            queue: self.queue.clone(),
            channel: name.as_str(),
            config: channel,
            style: Style::of(
                channel,
                keeps_members(self.config),
                templates.unwrap_or_default(),
            ),
            place,
            workspace,
            key: self.key.clone(),
            metrics: self.metrics.clone(),
            rendering: Arc::clone(&self.rendering),
        }
    }
}

/// Whether what a message stood for can be listed afterwards.
pub(crate) fn keeps_members(config: &Config) -> bool {
    let kept = &config.queue;
    kept.digest_detail_hours.get() > 0 && kept.digest_detail_bytes_max.get() > 0
}

/// What tells the place that messages go to from other places: the token or webhook, and the channel.
pub(crate) fn place_of(who: &str, to: &str) -> (String, String) {
    (who.to_owned(), to.trim_start_matches('#').to_owned())
}

/// What Slack counts the calls of a webhook by: the workspace in its path (`/services/T…/B…/…`).
pub(crate) fn workspace_of(webhook: &SecretString) -> String {
    let Ok(url) = Url::parse(webhook.expose_secret()) else {
        return String::new();
    };
    let workspace = url.path_segments().and_then(|mut path| path.nth(1));
    format!(
        "{} {}",
        url.origin().ascii_serialization(),
        workspace.unwrap_or_default()
    )
}
