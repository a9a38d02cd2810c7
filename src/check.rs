//! `auditrelay check`: the configuration, and nothing else. Opens no port and no queue.

use std::{io::Write, path::Path, process::ExitCode};

use auditrelay_config::{Destination, Loaded, Overrides, load};
use auditrelay_dispatch::Templates;

use crate::{Failure, cli::environment};

/// The configuration, templates included: whatever asks for more begins with this.
pub(crate) fn loaded(file: Option<&Path>) -> Result<Loaded, Failure> {
    let loaded = load(file, environment(), Overrides::default())?;
    Templates::all(&loaded.config).map_err(Failure::Template)?;
    Ok(loaded)
}

/// Says that the configuration is fine and what it amounts to.
///
/// # Errors
/// What is wrong with it.
pub fn run(file: Option<&Path>) -> Result<ExitCode, Failure> {
    let Loaded { config, notes } = loaded(file)?;
    let mut text = String::new();
    for note in notes {
        text.push_str(&format!("note: {note}\n"));
    }
    for name in config.channels.keys() {
        let to = match config.destination(name) {
            Some(Destination::SlackApi { channel, .. }) => format!("Slack channel {channel}"),
            Some(Destination::Webhook { .. }) => "a Slack incoming webhook".to_owned(),
            Some(Destination::Preview) | None => "this terminal".to_owned(),
        };
        let default = if *name == config.default_channel {
            " (default)"
        } else {
            ""
        };
        text.push_str(&format!("channel {name}{default}: {to}\n"));
    }
    for route in &config.routes {
        let severity = route.severity.as_str();
        text.push_str(&format!(
            "route {}: {severity}, to {}\n",
            route.name, route.channel
        ));
    }
    text.push_str("the configuration is valid\n");
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::Other(format!("cannot write: {error}")))?;
    Ok(ExitCode::SUCCESS)
}
