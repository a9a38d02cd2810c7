//! What a trace needs beside the queue: the configuration in use, the key of the hashes, what only a running relay
//! knows, and Slack.

use std::{collections::HashMap, fs, sync::Arc};

use auditrelay_audit::HashKey;
use auditrelay_config::{Config, Destination};
use auditrelay_dispatch::{
    Board, Duplicates, Workspace,
    slack::{CallError, Http, WebApi, permalink::permalink},
};
use auditrelay_store::Posted;
use secrecy::ExposeSecret;
use tokio::sync::watch;

use super::lane::LaneNow;
use crate::{current::Current, lanes::Shared, when::now_unix_ms};

/// What it needs.
pub(crate) struct Means {
    pub(crate) current: Current,
    /// None where it cannot be read.
    pub(crate) key: Option<HashKey>,
    /// What a running relay knows.
    pub(crate) running: Option<Running>,
    /// How Slack is asked.
    slack: watch::Receiver<Shared>,
}

/// What only a running relay knows.
pub(crate) struct Running {
    /// Since when it notes duplicates, Unix time in milliseconds.
    pub(crate) since_unix_ms: i64,
    pub(crate) duplicates: Duplicates,
    /// What lanes do.
    pub(crate) board: Board,
}

impl Running {
    pub(crate) fn new(duplicates: Duplicates, board: Board) -> Self {
        Self {
            since_unix_ms: now_unix_ms(),
            duplicates,
            board,
        }
    }
}

impl Means {
    /// Of a running relay, whose budgets are kept.
    pub(crate) fn of_relay(
        current: Current,
        key: HashKey,
        running: Running,
        slack: watch::Receiver<Shared>,
    ) -> Self {
        Self {
            current,
            key: Some(key),
            running: Some(running),
            slack,
        }
    }

    /// Of a relay that is stopped.
    pub(crate) fn of_stopped(config: &Config) -> Self {
        let config = Arc::new(config.clone());
        let key = fs::read(config.dedup_key_file()).ok();
        let key = key.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        Self {
            slack: watch::Sender::new(Shared {
                config: Arc::clone(&config),
                http: Http::new(config.slack.timeout(), config.slack.proxy.as_ref()),
                workspaces: HashMap::new(),
            })
            .subscribe(),
            current: Current::new(config),
            key: key.map(HashKey::new),
            running: None,
        }
    }

    /// What a channel's lane does.
    pub(crate) fn lane(&self, config: &Config, channel: &str) -> LaneNow {
        let Some(running) = &self.running else {
            return LaneNow::default();
        };
        if !config.channels.keys().any(|name| name.as_str() == channel) {
            return LaneNow::not_configured();
        }
        let lanes = running.board.lanes();
        lanes
            .get(channel)
            .map_or_else(LaneNow::default, LaneNow::of)
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
            Destination::PlainWebhook { .. } => {
                return Err("a webhook that is not Slack's has no address of messages".to_owned());
            }
            Destination::Preview => return Err("a preview prints, and posts nothing".to_owned()),
        };
        let Some(posted) = posted else {
            let why = "where Slack has it was not noted when it was posted: by an earlier version, or otherwise than \
                       with a token";
            return Err(why.to_owned());
        };
        let Shared {
            http, workspaces, ..
        } = self.slack.borrow().clone();
        let api = WebApi::new(http, &config.slack.api_url, token)?;
        let known = workspaces.get(token.expose_secret()).cloned();
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
