//! What a trace needs beside the queue: the configuration in use, the key of the hashes, what only a running relay
//! knows, and Slack.

use std::{collections::HashMap, fs, sync::Arc};

use auditrelay_audit::HashKey;
use auditrelay_config::{Config, Destination};
use auditrelay_dispatch::{
    Duplicates, Metrics, Workspace,
    slack::{CallError, Http, WebApi, permalink::permalink},
};
use auditrelay_store::Posted;
use secrecy::ExposeSecret;

use crate::{current::Current, lanes::Shared};

/// What it needs.
pub(crate) struct Means {
    pub(crate) current: Current,
    /// None where it cannot be read.
    pub(crate) key: Option<HashKey>,
    /// What a running relay knows.
    pub(crate) running: Option<Running>,
    slack: Slack,
}

/// What only a running relay knows.
pub(crate) struct Running {
    pub(crate) duplicates: Duplicates,
    pub(crate) metrics: Metrics,
}

/// How Slack is asked.
struct Slack {
    http: Http,
    /// By token.
    workspaces: HashMap<String, Workspace>,
}

impl Means {
    /// Of a running relay, whose budgets are kept.
    pub(crate) fn of_relay(
        current: Current,
        key: HashKey,
        running: Running,
        shared: &Shared,
    ) -> Self {
        Self {
            current,
            key: Some(key),
            running: Some(running),
            slack: Slack {
                http: shared.http.clone(),
                workspaces: shared.workspaces.clone(),
            },
        }
    }

    /// Of a relay that is stopped.
    pub(crate) fn of_stopped(config: &Config) -> Self {
        let key = fs::read(config.dedup_key_file()).ok();
        let key = key.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        Self {
            current: Current::new(Arc::new(config.clone())),
            key: key.map(HashKey::new),
            running: None,
            slack: Slack {
                http: Http::new(config.slack.timeout(), config.slack.proxy.as_ref()),
                workspaces: HashMap::new(),
            },
        }
    }

    /// The state of a channel's lane.
    pub(crate) fn lane(&self, config: &Config, channel: &str) -> Option<String> {
        let metrics = &self.running.as_ref()?.metrics;
        if !config.channels.keys().any(|name| name.as_str() == channel) {
            return Some("not configured".to_owned());
        }
        let is_in = |state: &&&str| {
            metrics
                .lane_state
                .with_label_values(&[channel, state])
                .get()
                == 1
        };
        let state = ["open", "holding", "parked"].iter().find(is_in);
        state.map(|state| (*state).to_owned())
    }

    /// The address of a message of a channel, or why there is none.
    pub(crate) async fn permalink(
        &self,
        config: &Arc<Config>,
        channel: &str,
        posted: Option<&Posted>,
    ) -> Result<String, String> {
        let configured = config.channels.iter();
        let mut found = configured.filter(|(name, _)| name.as_str() == channel);
        let Some((_, channel)) = found.next() else {
            return Err(
                "its channel is not configured any more, so there is no token to ask Slack with"
                    .to_owned(),
            );
        };
        let token = match channel.destination(&config.slack) {
            Destination::SlackApi { token, .. } => token,
            Destination::Webhook { .. } => {
                return Err("an incoming webhook does not say where it put a message".to_owned());
            }
            Destination::Preview => return Err("a preview prints, and posts nothing".to_owned()),
        };
        let Some(posted) = posted else {
            let why = "where Slack has it was not noted when it was posted: by an earlier version, or otherwise than \
                       with a token";
            return Err(why.to_owned());
        };
        let api = WebApi::new(self.slack.http.clone(), &config.slack.api_url, token)?;
        let known = self.slack.workspaces.get(token.expose_secret()).cloned();
        let workspace = known.unwrap_or_else(|| {
            Workspace::new(
                config.slack.messages_per_minute.get(),
                config.slack.lookups_per_minute.get(),
            )
        });
        let link = permalink(&api, &workspace, &posted.place, &posted.ts).await;
        link.map_err(|error| match error {
            CallError::Refused { code, .. } if code == "message_not_found" => {
                "Slack does not have it any more (message_not_found)".to_owned()
            }
            CallError::Refused { code, .. } => format!("Slack did not tell its address: {code}"),
            other => format!(
                "Slack did not tell its address: {}",
                other.into_send_error()
            ),
        })
    }
}
