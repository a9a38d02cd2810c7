//! Every knob of auditrelay: what it is for, its unit, its default, its bounds.
//!
//! [`load`] merges the sources (defaults, `SLACK_TOKEN` and its like, the YAML file,
//! `AUDITRELAY__…`, the command line) and gives a [`Config`] or one line that says what is wrong.
//! What holds for everything in here:
//! * a [`Config`] is valid: every number within its bounds, every reference resolved, secrets read;
//! * nothing is guessed: no value is coerced to another type, no unknown key is passed over;
//! * a secret shows itself in no error, note, `Debug` form or serialization;
//! * [`REFERENCE`] documents every knob, and a test holds it against the code.

mod bounded;
mod channel;
mod clusters;
mod door;
mod environment;
mod error;
mod file;
mod inputs;
mod jetstream;
mod json;
mod json_schema;
mod load;
mod model;
mod mutes;
mod names;
mod nats_urls;
mod observe;
mod proxy;
mod queue;
mod raw;
mod redaction;
mod resolve;
mod route;
mod route_tests;
mod schema;
mod seal_key;
mod secret;
mod starter;
mod text;
mod tree;
mod watched;

pub use auditrelay_audit::{AuthorizerDecision, Level, Risk, Severity, Stage, redact::Bodies};
pub use bounded::Bounded;
pub use channel::{ChannelConfig, Destination, DigestDetails, FieldConfig};
pub use clusters::ClusterLabels;
pub use door::{ClientConfig, TlsConfig};
pub use error::{ConfigError, EX_CONFIG};
pub use inputs::{InputsConfig, LogFileConfig};
pub use jetstream::{JetStreamConfig, JetStreamTls};
pub use json_schema::json_schema;
pub use load::{Loaded, Overrides, data_dir_of, load};
pub use model::{Config, DedupConfig, IngestConfig, SlackConfig};
pub use names::{
    ChannelName, ClientName, ClusterName, InvalidName, RelayName, RouteName, SlackChannel,
    StreamName,
};
pub use nats_urls::{MonitoringUrl, ServerUrl};
pub use observe::{LogConfig, MetricsConfig, WATCHDOG, WatchdogConfig};
pub use proxy::Proxy;
pub use queue::QueueConfig;
pub use redaction::RedactionConfig;
pub use route::{
    CodesConfig, GlobConfig, ImpersonatedConfig, LinkConfig, MatchConfig, NetworkConfig, OneOrMore,
    RateBy, RateConfig, RouteConfig, RouteLevel, RouteResources,
};
pub use route_tests::{Expected, RouteTest, SampleEvent};
pub use seal_key::SealKey;
pub use secret::{MASK, NatsSecret, SlackToken, WebhookUrl};
pub use starter::{STARTER_CHANNEL, STARTER_ROUTES};
pub use watched::fingerprint;

/// The reference configuration file: every knob with its default, unit and bounds, and examples of
/// channels and routes. It can be loaded as it is; its secrets are samples.
pub const REFERENCE: &str = include_str!("../reference.yaml");
