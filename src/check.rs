//! `auditrelay check`: the configuration and the files of certificates, keys, tokens and passwords that
//! it names, and nothing else. Opens no port and no queue.

use std::{collections::BTreeSet, io::Write, path::Path, process::ExitCode};

use auditrelay_config::{ClientConfig, ClusterName, Config, Destination, Loaded, Overrides, load};
use auditrelay_dispatch::Templates;

use crate::{Failure, cli::environment, relay::keyring};

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
    text.push_str(&door(&config)?);
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
        let channels: Vec<&str> = route.channel.iter().map(AsRef::as_ref).collect();
        text.push_str(&match channels.as_slice() {
            [] => format!("route {}: to no channel\n", route.name),
            some => format!("route {}: {severity}, to {}\n", route.name, some.join(", ")),
        });
    }
    text.push_str("the configuration is valid\n");
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::Other(format!("cannot write: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Who may come in and how, a line each, with warnings about the files behind it.
///
/// # Errors
/// A file cannot be used.
pub(crate) fn door(config: &Config) -> Result<String, Failure> {
    let keyring = keyring(config)?;
    let encrypted = keyring.not_after_unix_s().map(|second| {
        let end = jiff::Timestamp::from_second(second);
        end.map_or_else(
            |_| "https, with a certificate without an end".to_owned(),
            |end| format!("https, with a certificate until {end}"),
        )
    });
    let how = encrypted.unwrap_or_else(|| "plain http".to_owned());
    let mut text = format!("webhook on {}: {how}\n", config.listen);
    if config.clients.is_empty() {
        text.push_str("clients: everybody who can connect\n");
    }
    for client in &config.clients {
        text.push_str(&line(client, config));
    }
    let warnings = keyring.warnings().into_iter();
    for warning in warnings.chain(must_name_a_cluster(config)) {
        text.push_str(&format!("warning: {warning}\n"));
    }
    Ok(text)
}

/// Clusters that clients have as their own, each once.
fn owned(config: &Config) -> BTreeSet<&str> {
    let own = config.clients.iter();
    own.filter_map(|client| client.cluster.as_ref())
        .map(ClusterName::as_str)
        .collect()
}

/// Clients whose path has to name a cluster, as the relay's own is another client's.
fn must_name_a_cluster(config: &Config) -> Vec<String> {
    let cluster = config.cluster.as_str();
    if !owned(config).contains(cluster) {
        return Vec::new();
    }
    let without = config
        .clients
        .iter()
        .filter(|client| client.cluster.is_none());
    let warning = |client: &ClientConfig| {
        format!(
            "client {} has no cluster, and {cluster}, which is meant by a path that names none, is another \
             client's: such a path is refused; set clients[].cluster for it",
            client.name
        )
    };
    without.map(warning).collect()
}

fn line(client: &ClientConfig, config: &Config) -> String {
    let certificate = (!client.certificate_names.is_empty()).then(|| {
        let names = client.certificate_names.join(" or ");
        format!("a certificate of {names}")
    });
    let token = client.token_file.as_ref().map(|_| "a token".to_owned());
    let user = client.username.as_ref();
    let password = user.map(|user| format!("the password of {user}"));
    let shows: Vec<String> = [certificate, token, password]
        .into_iter()
        .flatten()
        .collect();
    let cluster = match &client.cluster {
        Some(cluster) => format!("for cluster {cluster}"),
        None => {
            let own: Vec<&str> = owned(config).into_iter().collect();
            let save = match own.as_slice() {
                [] => String::new(),
                own => format!(" (not {}: another client's own)", own.join(", ")),
            };
            format!("for the cluster that its path names{save}")
        }
    };
    format!(
        "client {}: {}; {cluster}\n",
        client.name,
        shows.join(" and ")
    )
}
