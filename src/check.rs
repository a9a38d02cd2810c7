//! `auditrelay check`: the configuration, the files of certificates, keys, tokens and passwords that it names, and
//! the tests of its routes; nothing else. Opens no port and no queue.

use std::{collections::BTreeSet, path::Path, process::ExitCode};

use auditrelay_config::{
    ClientConfig, ClusterName, Config, Destination, Loaded, Overrides, RouteConfig, load,
};
use auditrelay_dispatch::Templates;
use serde::Serialize;

use crate::{
    Failure,
    cli::{CheckArgs, environment},
    jetstream_options, logs,
    output::{count, say, say_json},
    relay::keyring,
    routes::{Explanation, Outcome, run_tests},
};

/// The configuration, templates included: whatever asks for more begins with this.
pub(crate) fn loaded(file: Option<&Path>) -> Result<Loaded, Failure> {
    let loaded = load(file, environment(), Overrides::default())?;
    Templates::all(&loaded.config).map_err(Failure::Template)?;
    logs::configured(&loaded.config)?;
    Ok(loaded)
}

/// Says that the configuration is fine and what it amounts to, and runs the tests of its routes.
///
/// # Errors
/// What is wrong with it, or that a test does not hold.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let Loaded { config, mut notes } = loaded(args.config.as_deref())?;
    notes.extend(notes_of_routes(&config));
    let door = door(&config)? + &jetstream_options::told(&config)?;
    let tests = run_tests(&config);
    if args.json {
        say_json(&Answer::new(&config, &notes, &tests))?;
    } else {
        let notes: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
        let (channels, routes) = (channels(&config), routes(&config));
        let (watchdog, tests) = (watchdog(&config), told(&tests));
        say(&format!(
            "{notes}{door}{channels}{routes}{watchdog}{tests}the configuration is valid\n"
        ))?;
    }
    holds(&tests)?;
    Ok(ExitCode::SUCCESS)
}

/// That tests do not hold, if so.
pub(crate) fn holds(tests: &[Outcome]) -> Result<(), Failure> {
    match tests.iter().filter(|test| !test.holds).count() {
        0 => Ok(()),
        failed => Err(Failure::No(format!(
            "{failed} of {} of the routes: what is expected does not hold; change the routes or what is expected",
            count(tests.len() as u64, "test")
        ))),
    }
}

/// What `check --json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    notes: &'a [String],
    channels: Vec<&'a str>,
    routes: Vec<&'a str>,
    tests: &'a [Outcome],
}

impl<'a> Answer<'a> {
    fn new(config: &'a Config, notes: &'a [String], tests: &'a [Outcome]) -> Self {
        Self {
            notes,
            channels: config.channels.keys().map(AsRef::as_ref).collect(),
            routes: config
                .routes
                .iter()
                .map(|route| route.name.as_ref())
                .collect(),
            tests,
        }
    }
}

fn channels(config: &Config) -> String {
    let mut text = String::new();
    for name in config.channels.keys() {
        let to = match config.destination(name) {
            Some(Destination::SlackApi { channel, .. }) => format!("Slack channel {channel}"),
            Some(Destination::Webhook { .. }) => "a Slack incoming webhook".to_owned(),
            Some(Destination::PlainWebhook { .. }) => {
                "the dead man's switch at watchdog.url".to_owned()
            }
            Some(Destination::Preview) | None => "this terminal".to_owned(),
        };
        let default = if *name == config.default_channel {
            " (default)"
        } else {
            ""
        };
        text.push_str(&format!("channel {name}{default}: {to}\n"));
    }
    text
}

fn watchdog(config: &Config) -> String {
    let every = config.watchdog.interval_seconds.get();
    match config.watchdog.channel() {
        Some(channel) => {
            format!("watchdog: an event of its own to channel {channel} every {every} s\n")
        }
        None => String::new(),
    }
}

fn routes(config: &Config) -> String {
    let line = |route: &RouteConfig| {
        let mut says = Vec::new();
        let channels: Vec<&str> = route.channel.iter().map(AsRef::as_ref).collect();
        match channels.as_slice() {
            [] => says.push("to no channel (level None)".to_owned()),
            some => {
                says.push(route.severity.as_str().to_owned());
                says.push(format!("to {}", some.join(" and ")));
            }
        }
        if let Some(rate) = &route.rate {
            let (more_than, seconds) = (rate.more_than, rate.within_seconds);
            says.push(format!("only beyond {more_than} within {seconds} s"));
        }
        if route.audit_id_reused {
            says.push("only where an audit ID is used again".to_owned());
        }
        if route.continues {
            says.push("then the next".to_owned());
        }
        format!("route {}: {}\n", route.name, says.join(", "))
    };
    config.routes.iter().map(line).collect()
}

/// What routes say that may not be meant.
fn notes_of_routes(config: &Config) -> Vec<String> {
    let routes = &config.routes;
    let note = |(number, route): (usize, &RouteConfig)| {
        let RouteConfig { name, .. } = route;
        let keeps = route.rate.is_some() && !route.continues && number + 1 < routes.len();
        let rate = keeps.then(|| {
            format!(
                "route {name}: what is beyond its rate is told by it alone and not by the routes behind it, which may \
                 be more urgent; add `continue: true` to have them asked, too"
            )
        });
        let by_agent = route.channel.is_empty()
            && !route.user_agents.is_empty()
            && route.users.is_empty()
            && route.user_groups.is_empty()
            && route.source_ips.is_empty();
        let agent = by_agent.then(|| {
            format!(
                "route {name}: it silences whoever calls itself so, and a client chooses its user agent; add users, \
                 userGroups or sourceIPs"
            )
        });
        rate.into_iter().chain(agent)
    };
    routes.iter().enumerate().flat_map(note).collect()
}

/// What came of the tests, for people; nothing where there are none.
pub(crate) fn told(tests: &[Outcome]) -> String {
    if tests.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    for test in tests {
        let Some(problem) = &test.problem else {
            continue;
        };
        text.push_str(&format!("test {} does not hold: {problem}\n", test.name));
        let explained = test.explanation.as_ref().map(Explanation::text);
        for line in explained.unwrap_or_default().lines() {
            text.push_str(&format!("    {line}\n"));
        }
    }
    let held = tests.iter().filter(|test| test.holds).count();
    text.push_str(&match held == tests.len() {
        true => format!("{} of the routes: all hold\n", count(held as u64, "test")),
        false => format!(
            "{} of the routes: {held} hold\n",
            count(tests.len() as u64, "test")
        ),
    });
    text
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

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
