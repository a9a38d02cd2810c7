//! Loading: from the sources to a valid [`Config`], or one line that says why not.
//!
//! Contract: the sources are, weakest first, the defaults, the variables of the older tool
//! (`SLACK_TOKEN`, `CHANNEL_ID`, `SLACK_API_URL`), the file, `AUDITRELAY__…`, and the command line.
//! Nothing is coerced, nothing unknown is passed over, and what is ignored is said in a note.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use config::{Map, Value, ValueKind};

use crate::channel::{ChannelConfig, Destination};
use crate::environment::{Environment, origin};
use crate::error::ConfigError;
use crate::file;
use crate::model::Config;
use crate::raw::RawConfig;
use crate::resolve::{DEFAULT_CHANNEL, resolve};
use crate::tree::{Layer, Tree};

/// What the command line sets; it is stronger than any other source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--allow-plain-http`; if not given, weaker sources decide.
    pub allow_plain_http: bool,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--admin-listen`.
    pub admin_listen: Option<SocketAddr>,
}

/// A configuration, and what its owner should know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Things that are allowed but may not be meant, one line each.
    pub notes: Vec<String>,
}

const NO_TOKEN: &str =
    "no Slack token is configured (SLACK_TOKEN, slack.token or slack.token_file)";
const SHOWN: &str = "are shown in this terminal instead of being posted";

/// Loads the configuration from `file` (if given), the variables of the environment and the command
/// line. Files that hold secrets are read here.
///
/// # Errors
///
/// The first thing found wrong, as one line for a person; the process should exit with
/// [`crate::EX_CONFIG`].
pub fn load(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    overrides: Overrides,
) -> Result<Loaded, ConfigError> {
    let fallback = file.map_or_else(
        || "configuration".to_owned(),
        |path| path.display().to_string(),
    );
    let environment = Environment::gather(env)?;
    let from_file = file.map(file::read_layer).transpose()?.unwrap_or_default();
    let routes_count = from_file.routes_count().unwrap_or(0);
    let mut layers = vec![from_file];
    layers.extend(environment.layers(routes_count)?);
    layers.extend(overrides.layers()?);
    let mut notes = Vec::new();
    let weakest = drop_in(&environment, &Tree::merge(&layers, &fallback)?, &mut notes)?;
    layers.splice(0..0, weakest);
    let tree = Tree::merge(&layers, &fallback)?;
    let config = resolve(RawConfig::read(&tree)?, &tree)?;
    notes.extend(preview_note(&config));
    notes.extend(open_note(&config));
    Ok(Loaded { config, notes })
}

impl Overrides {
    fn layers(self) -> Result<Vec<Layer>, ConfigError> {
        let data_dir = match self.data_dir.map(PathBuf::into_os_string) {
            None => None,
            Some(path) => Some(path.into_string().map_err(|path| {
                let problem = format!("found {path:?}, expected a path in UTF-8");
                ConfigError::new("flag --data-dir", "data_dir", &problem)
            })?),
        };
        let address = |address: SocketAddr| ValueKind::from(address.to_string());
        let flags = [
            ("flag --listen", "listen", self.listen.map(address)),
            (
                "flag --admin-listen",
                "admin_listen",
                self.admin_listen.map(address),
            ),
            ("flag --data-dir", "data_dir", data_dir.map(ValueKind::from)),
            (
                "flag --allow-plain-http",
                "allow_plain_http",
                self.allow_plain_http.then(|| ValueKind::from(true)),
            ),
        ];
        flags
            .into_iter()
            .filter_map(|(origin, key, value)| Some((origin, key, value?)))
            .map(|(origin, key, value)| set(&[key], value, origin))
            .collect()
    }
}

/// The folder that a configuration names in its file, its environment or by default, whatever else is wrong with it:
/// for who looks for a relay that runs with the configuration before. Not for who would open what is in there.
#[must_use]
pub fn data_dir_of(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> PathBuf {
    let mut env = env.into_iter();
    let from_env = env.find(|(name, _)| name == "AUDITRELAY__DATA_DIR");
    let named = from_env
        .map(|(_, folder)| folder)
        .filter(|folder| !folder.is_empty())
        .or_else(|| file::read_text(file?, "data_dir"));
    named.map_or_else(|| RawConfig::default().data_dir, PathBuf::from)
}

/// What the variables of the older tool set, given what the stronger sources set.
fn drop_in(
    environment: &Environment,
    set_elsewhere: &Tree,
    notes: &mut Vec<String>,
) -> Result<Vec<Layer>, ConfigError> {
    let mut layers = Vec::new();
    if let Some(url) = &environment.slack_api_url {
        layers.push(set(
            &["slack", "api_url"],
            url.as_str(),
            &origin("SLACK_API_URL"),
        )?);
    }
    let configured = ["slack.token", "slack.token_file"]
        .into_iter()
        .find(|key| set_elsewhere.has(key))
        .map(|key| set_elsewhere.origin(key).to_owned());
    let token_origin = match (configured, &environment.slack_token) {
        (None, Some(token)) => {
            layers.push(set(
                &["slack", "token"],
                token.as_str(),
                &origin("SLACK_TOKEN"),
            )?);
            Some(origin("SLACK_TOKEN"))
        }
        (configured, _) => configured,
    };
    let channel_id = environment.channel_id.as_deref();
    let only_channel = |key| ["channels", DEFAULT_CHANNEL, key];
    match (
        set_elsewhere.has_entries("channels"),
        channel_id,
        token_origin,
    ) {
        (true, Some(_), _) => {
            notes.push("CHANNEL_ID is ignored: channels are configured".to_owned());
        }
        (true, None, _) => {}
        (false, Some(id), _) => {
            layers.push(set(
                &only_channel("slack_channel"),
                id,
                &origin("CHANNEL_ID"),
            )?);
        }
        (false, None, Some(token_origin)) => {
            let problem = "a Slack token is configured, but no channel to post to: set CHANNEL_ID \
                           or configure channels";
            return Err(ConfigError::new(&token_origin, "channels", problem));
        }
        (false, None, None) => {
            notes.push(format!("{NO_TOKEN}: messages {SHOWN}"));
            layers.push(set(&only_channel("preview"), true, "the built-in default")?);
        }
    }
    Ok(layers)
}

/// A layer that sets one key to `value`.
fn set(keys: &[&str], value: impl Into<ValueKind>, origin: &str) -> Result<Layer, ConfigError> {
    let nest =
        |inner: Value, key: &&str| Value::new(None, Map::from_iter([((*key).to_owned(), inner)]));
    match keys.iter().rev().fold(Value::new(None, value), nest).kind {
        ValueKind::Table(table) => Layer::adopt(table, origin),
        _ => Ok(Layer::default()),
    }
}

/// Says that what is queued crosses the network for all to see.
fn open_note(config: &Config) -> Option<String> {
    let jetstream = config.queue.jetstream.as_ref()?;
    let note = "queue.jetstream.servers: events and credentials may cross the network unencrypted: use tls:// or \
                set queue.jetstream.tls.required, unless the network is encrypted by other means";
    jetstream.is_in_the_open().then(|| note.to_owned())
}

/// Says which channels are shown in the terminal for want of a token.
fn preview_note(config: &Config) -> Option<String> {
    let lacks_token = |channel: &ChannelConfig| {
        let previewed = matches!(channel.destination(&config.slack), Destination::Preview);
        previewed && channel.slack_channel.is_some()
    };
    let names: Vec<&str> = config
        .channels
        .iter()
        .filter(|(_, channel)| lacks_token(channel))
        .map(|(name, _)| name.as_str())
        .collect();
    match names.as_slice() {
        [] => None,
        all if all.len() == config.channels.len() => Some(format!("{NO_TOKEN}: messages {SHOWN}")),
        [one] => Some(format!("{NO_TOKEN}: messages of channel {one} {SHOWN}")),
        some => Some(format!(
            "{NO_TOKEN}: messages of channels {} {SHOWN}",
            some.join(", ")
        )),
    }
}
