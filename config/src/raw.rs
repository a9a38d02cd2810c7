//! The configuration as it is written, before what depends on several keys is known.
//!
//! Contract: [`RawConfig::read`] reads a merged tree strictly: no type stands in for another, each
//! value is within its own bounds, and a refusal names the key and the source of the value.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use crate::channel::ChannelConfig;
use crate::door::{ClientConfig, TlsConfig};
use crate::error::ConfigError;
use crate::inputs::InputsConfig;
use crate::model::{DedupConfig, IngestConfig, SlackConfig};
use crate::names::{ChannelName, ClusterName};
use crate::observe::{LogConfig, MetricsConfig, WatchdogConfig};
use crate::queue::QueueConfig;
use crate::redaction::RedactionConfig;
use crate::route::RouteConfig;
use crate::route_tests::RouteTest;
use crate::text::{self, FromText};
use crate::tree::Tree;

/// [`crate::Config`] with the secrets still in their files and the default channel not yet found.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawConfig {
    #[serde(deserialize_with = "text::read")]
    pub(crate) listen: SocketAddr,
    pub(crate) allow_plain_http: bool,
    pub(crate) tls: TlsConfig,
    pub(crate) clients: Vec<ClientConfig>,
    pub(crate) allow_anonymous: bool,
    #[serde(deserialize_with = "text::read")]
    pub(crate) admin_listen: SocketAddr,
    #[serde(deserialize_with = "text::read_option")]
    pub(crate) admin_token_file: Option<PathBuf>,
    #[serde(deserialize_with = "text::read")]
    pub(crate) data_dir: PathBuf,
    pub(crate) cluster: ClusterName,
    pub(crate) default_channel: Option<ChannelName>,
    pub(crate) ingest: IngestConfig,
    pub(crate) inputs: InputsConfig,
    pub(crate) redaction: RedactionConfig,
    pub(crate) queue: QueueConfig,
    pub(crate) dedup: DedupConfig,
    pub(crate) slack: SlackConfig,
    pub(crate) channels: BTreeMap<ChannelName, ChannelConfig>,
    pub(crate) routes: Vec<RouteConfig>,
    pub(crate) starter_routes: Option<ChannelName>,
    pub(crate) tests: Vec<RouteTest>,
    pub(crate) metrics: MetricsConfig,
    pub(crate) watchdog: WatchdogConfig,
    pub(crate) log: LogConfig,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            allow_plain_http: false,
            tls: TlsConfig::default(),
            clients: Vec::new(),
            allow_anonymous: false,
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)),
            admin_token_file: None,
            data_dir: PathBuf::from("./auditrelay-data"),
            cluster: ClusterName::from_text("default").expect("the literal is a name"),
            default_channel: None,
            ingest: IngestConfig::default(),
            inputs: InputsConfig::default(),
            redaction: RedactionConfig::default(),
            queue: QueueConfig::default(),
            dedup: DedupConfig::default(),
            slack: SlackConfig::default(),
            channels: BTreeMap::new(),
            routes: Vec::new(),
            starter_routes: None,
            tests: Vec::new(),
            metrics: MetricsConfig::default(),
            watchdog: WatchdogConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl RawConfig {
    /// Reads the merged settings.
    pub(crate) fn read(tree: &Tree) -> Result<Self, ConfigError> {
        serde_path_to_error::deserialize(tree.to_json()).map_err(|error| {
            let path = error.path().to_string();
            let path = if path == "." { "" } else { &path };
            let message = error.inner().to_string();
            match message
                .strip_prefix("missing field `")
                .and_then(|rest| rest.strip_suffix('`'))
            {
                Some(field) => tree.refusal(&format!("{path}.{field}"), "is missing"),
                None => tree.refusal(path, &in_words(&message)),
            }
        })
    }
}

/// serde's message in the words of this crate's own.
pub(crate) fn in_words(message: &str) -> String {
    let of_type = message.strip_prefix("invalid type: ");
    let mismatch = of_type.or_else(|| message.strip_prefix("invalid value: "));
    let Some((found, expected)) = mismatch.and_then(|rest| rest.rsplit_once(", expected ")) else {
        return message.to_owned();
    };
    let found = match found {
        "sequence" => "a list",
        "map" => "a map",
        scalar => scalar,
    };
    let expected = if expected == "a boolean" {
        "true or false"
    } else {
        expected
    };
    let is_scalar = ["integer ", "floating ", "boolean "]
        .iter()
        .any(|kind| found.starts_with(kind));
    let takes_text = !expected.starts_with("an integer") && expected != "true or false";
    let advice = if of_type.is_some() && is_scalar && takes_text {
        " (if it is meant as text, put it in quotes)"
    } else {
        ""
    };
    format!("found {found}, expected {expected}{advice}")
}
