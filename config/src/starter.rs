//! The starter routes: those of [`STARTER_ROUTES`], to a channel that the configuration names.
//!
//! Contract: they are read by the same code, and held to the same rules, as routes that somebody wrote. They come
//! after those.

use config::Map;

use crate::error::ConfigError;
use crate::file;
use crate::names::ChannelName;
use crate::raw::RawConfig;
use crate::route::RouteConfig;
use crate::tree::{Layer, Tree};

/// The starter routes as they can be written into a configuration, once a channel's name stands in place of
/// [`STARTER_CHANNEL`]. Their names begin with `starter-`.
pub const STARTER_ROUTES: &str = include_str!("../starter-routes.yaml");
/// What stands in [`STARTER_ROUTES`] for the name of a channel, which it cannot be.
pub const STARTER_CHANNEL: &str = "CHANNEL";

const ORIGIN: &str = "starter routes";

/// The starter routes, to this channel.
pub(crate) fn routes(channel: &ChannelName) -> Result<Vec<RouteConfig>, ConfigError> {
    let key = format!("channel: {STARTER_CHANNEL}");
    let text = STARTER_ROUTES.replace(&key, &format!("channel: \"{channel}\""));
    let table =
        file::parse_yaml(&text).map_err(|problem| ConfigError::new(ORIGIN, "", &problem))?;
    let only: Map<_, _> = table
        .into_iter()
        .filter(|(key, _)| key == "routes")
        .collect();
    let tree = Tree::merge(&[Layer::adopt(only, ORIGIN)?], ORIGIN)?;
    Ok(RawConfig::read(&tree)?.routes)
}
