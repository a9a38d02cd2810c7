//! Which lanes there are to be: one for each channel of a configuration, with the destination that it is configured
//! for. [`running`] runs them.

mod running;
#[cfg(test)]
mod term_tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use auditrelay_config::{
    ChannelConfig, ChannelName, Config, Destination, LinkConfig, Proxy, RouteName, SlackConfig,
};
use auditrelay_dispatch::{
    slack::{Http, WebApi},
    template::Templates,
};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

pub(crate) use running::{Lanes, Shared};

/// The lanes that a configuration asks for. Making one needs nothing that could fail later.
pub(crate) struct Plan {
    config: Arc<Config>,
    lanes: BTreeMap<ChannelName, Arc<Wanted>>,
    messages_per_minute: u64,
    lookups_per_minute: u64,
    http: Http,
}

/// One of them.
struct Wanted {
    same: Same,
    templates: Arc<Templates>,
    http: Http,
    /// Of the Web API, where the lane posts through it.
    api: Option<WebApi>,
}

/// What a lane was made of: where all of it is the same, the lane is left alone.
#[derive(PartialEq)]
struct Same {
    config: ChannelConfig,
    to: To,
    /// What routes have to say in messages.
    routes: Arc<Vec<Said>>,
    keeps_members: bool,
}

type Said = (RouteName, Vec<LinkConfig>, Option<String>);

/// The way to where messages go.
#[derive(Clone, PartialEq)]
enum To {
    Api {
        channel: String,
        token: Secret,
        url: Url,
        http: HttpKey,
    },
    Webhook {
        url: Secret,
        http: HttpKey,
    },
    Switch {
        url: Secret,
        http: HttpKey,
    },
    Preview,
}

#[derive(Clone)]
struct Secret(SecretString);

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

/// What clients for HTTP differ in.
type HttpKey = (Duration, Option<Proxy>);

/// The client for HTTP; it stays, with its connections, while nothing that it is made of changes.
#[derive(Default)]
pub(crate) struct Https(Mutex<Option<(HttpKey, Http)>>);

impl Https {
    fn of(&self, slack: &SlackConfig) -> (HttpKey, Http) {
        let key = (slack.timeout(), slack.proxy.clone());
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, http) = last
            .take()
            .filter(|(known, _)| *known == key)
            .unwrap_or_else(|| {
                let http = Http::new(key.0, key.1.as_ref());
                (key, http)
            });
        *last = Some((key.clone(), http.clone()));
        (key, http)
    }
}

impl Plan {
    /// What a configuration asks for.
    ///
    /// # Errors
    /// A token cannot stand in a header.
    pub(crate) fn new(
        config: &Arc<Config>,
        templates: &BTreeMap<String, Arc<Templates>>,
        https: &Https,
    ) -> Result<Self, String> {
        let slack = &config.slack;
        let (http_key, http) = https.of(slack);
        let routes = config.routes.iter();
        let said = routes.filter(|route| !route.links.is_empty() || route.command.is_some());
        let said = said.map(|route| {
            (
                route.name.clone(),
                route.links.clone(),
                route.command.clone(),
            )
        });
        let routes = Arc::new(said.collect::<Vec<Said>>());
        let mut lanes = BTreeMap::new();
        for (name, channel) in &config.channels {
            let to = To::new(channel, slack, &http_key);
            let api = match &to {
                To::Api { token, url, .. } => Some(
                    WebApi::new(http.clone(), url, &token.0)
                        .map_err(|problem| format!("channels.{name}: {problem}"))?,
                ),
                To::Webhook { .. } | To::Switch { .. } | To::Preview => None,
            };
            let templates = templates.get(name.as_str()).map(Arc::clone);
            let wanted = Wanted {
                same: Same {
                    config: settings(channel),
                    to,
                    routes: Arc::clone(&routes),
                    keeps_members: keeps_members(config),
                },
                templates: templates.unwrap_or_default(),
                http: http.clone(),
                api,
            };
            lanes.insert(name.clone(), Arc::new(wanted));
        }
        Ok(Self {
            config: Arc::clone(config),
            lanes,
            messages_per_minute: slack.messages_per_minute.get(),
            lookups_per_minute: slack.lookups_per_minute.get(),
            http,
        })
    }
}

impl Plan {
    /// What Slack counts its calls by.
    fn workspaces(&self) -> BTreeSet<String> {
        let lanes = self.lanes.values();
        lanes.filter_map(|one| one.same.to.workspace()).collect()
    }
}

/// Without what only says where it posts, which is known better from [`To`].
fn settings(channel: &ChannelConfig) -> ChannelConfig {
    ChannelConfig {
        token: None,
        token_file: None,
        webhook_url: None,
        webhook_url_file: None,
        plain_url: None,
        ..channel.clone()
    }
}

impl To {
    fn new(channel: &ChannelConfig, slack: &SlackConfig, http: &HttpKey) -> Self {
        let http = http.clone();
        match channel.destination(slack) {
            Destination::SlackApi { channel, token } => Self::Api {
                channel: channel.to_owned(),
                token: Secret(token.clone()),
                url: slack.api_url.clone(),
                http,
            },
            Destination::Webhook { url } => Self::Webhook {
                url: Secret(url.clone()),
                http,
            },
            Destination::PlainWebhook { url } => Self::Switch {
                url: Secret(url.clone()),
                http,
            },
            Destination::Preview => Self::Preview,
        }
    }

    /// What Slack counts calls by: the token, and for webhooks the workspace.
    fn workspace(&self) -> Option<String> {
        match self {
            Self::Api { token, .. } => Some(token.0.expose_secret().to_owned()),
            Self::Webhook { url, .. } => Some(workspace_of(&url.0)),
            Self::Switch { .. } | Self::Preview => None,
        }
    }

    /// The place that the messages of a channel go to.
    fn place(&self, name: &ChannelName) -> (String, String) {
        match self {
            Self::Api { token, channel, .. } => place_of(token.0.expose_secret(), channel),
            Self::Webhook { url, .. } => place_of(url.0.expose_secret(), "webhook"),
            Self::Switch { url, .. } => place_of(url.0.expose_secret(), name.as_str()),
            Self::Preview => place_of("preview", name.as_str()),
        }
    }

    /// What stays the same when a token is exchanged: Slack's channel.
    fn end(&self) -> &str {
        match self {
            Self::Api { channel, .. } => channel.trim_start_matches('#'),
            Self::Webhook { url, .. } | Self::Switch { url, .. } => url.0.expose_secret(),
            Self::Preview => "preview",
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

#[cfg(test)]
mod tests {
    use auditrelay_config::{Overrides, load};

    use super::*;

    fn plan(text: &str, https: &Https) -> Plan {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, text).expect("written");
        let loaded = load(Some(&file), [], Overrides::default());
        let config = Arc::new(loaded.expect("valid").config);
        let templates = Templates::all(&config).expect("they work");
        Plan::new(&config, &templates, https).expect("tokens that can be sent")
    }

    /// Channels whose lane is exchanged when the first text becomes the second.
    fn exchanged(before: &str, after: &str) -> Vec<String> {
        let https = Https::default();
        let (before, after) = (plan(before, &https), plan(after, &https));
        let lanes = before.lanes.iter();
        let other = lanes.filter(|(name, wanted)| {
            let now = after.lanes.get(*name);
            now.is_none_or(|now| now.same != wanted.same)
        });
        other.map(|(name, _)| name.to_string()).collect()
    }

    const BASE: &str = "slack: {token: xoxb-1}\n\
        channels:\n  a: {slack_channel: C1}\n  b: {slack_channel: C2, token: xoxb-2}\n  \
        c: {webhook_url: 'https://hooks.slack.com/services/T/B/1'}\n  d: {preview: true}\n\
        default_channel: a\n";

    #[test]
    fn only_lanes_of_which_something_changed_are_exchanged() {
        let with = |from: &str, to: &str| BASE.replace(from, to);
        let more = |text: &str| format!("{BASE}{text}");
        for (after, expected) in [
            (BASE.to_owned(), &[][..]),
            (with("xoxb-1", "xoxb-3"), &["a"]),
            (with("xoxb-2", "xoxb-3"), &["b"]),
            (with("B/1", "B/2"), &["c"]),
            (with("C2", "C2, sentences_max: 3"), &["b"]),
            (with("slack: {", "slack: {messages_per_minute: 60, "), &[]),
            (
                with("slack: {", "slack: {timeout_seconds: 9, "),
                &["a", "b", "c"],
            ),
            (
                with(
                    "slack: {",
                    "slack: {api_url: 'https://slack.example/api/', ",
                ),
                &["a", "b"],
            ),
            (more("routes: [{name: x, channel: b}]\n"), &[]),
            (
                more("routes: [{name: x, channel: b, command: 'kubectl get pods'}]\n"),
                &["a", "b", "c", "d"],
            ),
            (
                more("queue: {digest_detail_hours: 0}\n"),
                &["a", "b", "c", "d"],
            ),
        ] {
            assert_eq!(exchanged(BASE, &after), expected, "{after}");
        }
    }
}
