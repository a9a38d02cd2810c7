//! What depends on several keys: secrets in files, the default channel, and rules between keys.
//!
//! Contract: [`resolve`] is the only maker of a [`Config`], so what it checks holds for each.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use crate::bounded::Bounded;
use crate::channel::{self, ChannelConfig};
use crate::door;
use crate::error::ConfigError;
use crate::file;
use crate::jetstream;
use crate::model::Config;
use crate::names::ChannelName;
use crate::observe::WATCHDOG;
use crate::raw::RawConfig;
use crate::route::{self, RouteConfig};
use crate::route_tests::{self, TESTS_MAX};
use crate::starter;
use crate::text::FromText;
use crate::tree::Tree;

/// The default channel unless another is named, and the channel that is made if there is none.
pub(crate) const DEFAULT_CHANNEL: &str = "default";

/// Completes and checks what was read from `tree`.
pub(crate) fn resolve(mut raw: RawConfig, tree: &Tree) -> Result<Config, ConfigError> {
    check_addresses(&raw, tree)?;
    fit_quotas(&mut raw, tree)?;
    check_sizes(&raw, tree)?;
    read_secrets(&mut raw, tree)?;
    jetstream::resolve(&mut raw, tree)?;
    for (name, channel) in &raw.channels {
        if let Some((key, problem)) = channel::fault(channel) {
            let path = format!("channels.{name}.{key}");
            return Err(tree.refusal(path.trim_end_matches('.'), &problem));
        }
        check_fallback(&raw, name, channel.fallback.as_ref())
            .map_err(|problem| tree.refusal(&format!("channels.{name}.fallback"), &problem))?;
    }
    check_routes(&raw, tree)?;
    add_starter_routes(&mut raw, tree)?;
    if let Some(problem) = route::open::fault(&raw.routes) {
        return Err(tree.refusal("routes", &problem));
    }
    check_tests(&raw, tree)?;
    check_redaction(&raw, tree)?;
    check_watchdog(&raw, tree)?;
    // Before there is one more channel, which nobody means by default.
    let default_channel = default_channel(&raw, tree)?;
    add_watchdog(&mut raw, tree)?;
    Ok(Config {
        default_channel,
        listen: raw.listen,
        allow_plain_http: raw.allow_plain_http,
        tls: raw.tls,
        clients: raw.clients,
        allow_anonymous: raw.allow_anonymous,
        admin_listen: raw.admin_listen,
        admin_token_file: raw.admin_token_file,
        data_dir: raw.data_dir,
        cluster: raw.cluster,
        ingest: raw.ingest,
        inputs: raw.inputs,
        redaction: raw.redaction,
        queue: raw.queue,
        dedup: raw.dedup,
        slack: raw.slack,
        channels: raw.channels,
        routes: raw.routes,
        starter_routes: raw.starter_routes,
        tests: raw.tests,
        metrics: raw.metrics,
        watchdog: raw.watchdog,
        log: raw.log,
    })
}

fn check_addresses(raw: &RawConfig, tree: &Tree) -> Result<(), ConfigError> {
    let is_loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
    door::check(raw, tree, is_loopback(raw.listen))?;
    if !is_loopback(raw.admin_listen) && raw.admin_token_file.is_none() {
        let problem = format!(
            "found {}, which other machines can reach: expected a loopback address, or admin_token_file with the \
             bearer tokens that are asked for there",
            raw.admin_listen
        );
        return Err(tree.refusal("admin_listen", &problem));
    }
    let same_port = raw.listen.port() != 0 && raw.listen.port() == raw.admin_listen.port();
    let (a, b) = (
        raw.listen.ip().to_canonical(),
        raw.admin_listen.ip().to_canonical(),
    );
    if same_port && (a == b || a.is_unspecified()) {
        let problem = format!("found {}, which listen takes already", raw.admin_listen);
        return Err(tree.refusal("admin_listen", &problem));
    }
    Ok(())
}

fn check_sizes(raw: &RawConfig, tree: &Tree) -> Result<(), ConfigError> {
    let (body, in_flight) = (raw.ingest.body_bytes_max, raw.ingest.bytes_in_flight_max);
    if in_flight.get() >= body.get() {
        return Ok(());
    }
    // Blame the key that was set; if both were, the one that has to be raised.
    let (in_flight_key, body_key) = ("ingest.bytes_in_flight_max", "ingest.body_bytes_max");
    if tree.has(body_key) && !tree.has(in_flight_key) {
        let problem = format!("found {body}, expected at most bytes_in_flight_max ({in_flight})");
        return Err(tree.refusal(body_key, &problem));
    }
    let problem = format!("found {in_flight}, expected at least body_bytes_max ({body})");
    Err(tree.refusal(in_flight_key, &problem))
}

/// A body needs room for itself twice when it is admitted ([`QueueConfig`](crate::QueueConfig)); a queue that is half full
/// still has to take one.
const BODIES_IN_QUEUE: u64 = 4;

fn fit_quotas(raw: &mut RawConfig, tree: &Tree) -> Result<(), ConfigError> {
    let is_set = |key: &str| tree.has(&format!("queue.{key}"));
    raw.queue.fit(is_set);
    let (body, body_key) = (&mut raw.ingest.body_bytes_max, "ingest.body_bytes_max");
    let allowed = raw.queue.bytes_max.get() / BODIES_IN_QUEUE;
    if !tree.has(body_key) {
        *body = Bounded::clamped(body.get().min(allowed));
    } else if body.get() > allowed {
        let problem =
            format!("found {body}, expected at most a quarter of queue.bytes_max ({allowed})");
        return Err(tree.refusal(body_key, &problem));
    }
    match raw.queue.fault(is_set) {
        Some((key, problem)) => Err(tree.refusal(&format!("queue.{key}"), &problem)),
        None => Ok(()),
    }
}

fn read_secrets(raw: &mut RawConfig, tree: &Tree) -> Result<(), ConfigError> {
    let slack = &mut raw.slack;
    fill(
        &mut slack.token,
        slack.token_file.as_deref(),
        "slack.token",
        tree,
    )?;
    let watchdog = &mut raw.watchdog;
    fill(
        &mut watchdog.url,
        watchdog.url_file.as_deref(),
        "watchdog.url",
        tree,
    )?;
    if let Some(jetstream) = &mut raw.queue.jetstream {
        fill(
            &mut jetstream.password,
            jetstream.password_file.as_deref(),
            "queue.jetstream.password",
            tree,
        )?;
        fill(
            &mut jetstream.token,
            jetstream.token_file.as_deref(),
            "queue.jetstream.token",
            tree,
        )?;
    }
    for (name, channel) in &mut raw.channels {
        let key = format!("channels.{name}.token");
        fill(
            &mut channel.token,
            channel.token_file.as_deref(),
            &key,
            tree,
        )?;
        let key = format!("channels.{name}.webhook_url");
        fill(
            &mut channel.webhook_url,
            channel.webhook_url_file.as_deref(),
            &key,
            tree,
        )?;
    }
    Ok(())
}

/// Reads the secret of `key` from its file, if one is set.
fn fill<T: FromText>(
    secret: &mut Option<T>,
    file: Option<&Path>,
    key: &str,
    tree: &Tree,
) -> Result<(), ConfigError> {
    let Some(path) = file else { return Ok(()) };
    let file_key = format!("{key}_file");
    if secret.is_some() {
        let name = key.rsplit_once('.').map_or(key, |(_, name)| name);
        let other = tree.origin(key);
        let problem = format!("{name} is set too (by {other}), expected only one of the two");
        return Err(tree.refusal(&file_key, &problem));
    }
    let read = file::read_secret(path).map_err(|problem| tree.refusal(&file_key, &problem))?;
    *secret = Some(read);
    Ok(())
}

fn check_routes(raw: &RawConfig, tree: &Tree) -> Result<(), ConfigError> {
    let mut names = BTreeSet::new();
    for (index, route) in raw.routes.iter().enumerate() {
        let refuse = |key: &str, problem: &str| {
            Err(tree.refusal(&format!("routes[{index}].{key}"), problem))
        };
        if !names.insert(&route.name) {
            let problem = format!("found {:?}, which another route has", route.name.as_str());
            return refuse("name", &problem);
        }
        if let Some((key, problem)) = route::fault::of_route(route) {
            return refuse(&key, &problem);
        }
        for channel in route.channel.iter() {
            check_known(raw, channel).or_else(|problem| refuse("channel", &problem))?;
        }
    }
    Ok(())
}

fn add_starter_routes(raw: &mut RawConfig, tree: &Tree) -> Result<(), ConfigError> {
    let Some(channel) = raw.starter_routes.clone() else {
        return Ok(());
    };
    check_known(raw, &channel).map_err(|problem| tree.refusal("starter_routes", &problem))?;
    let starters = starter::routes(&channel)?;
    for (index, route) in raw.routes.iter().enumerate() {
        if starters.iter().any(|starter| starter.name == route.name) {
            let problem = format!(
                "found {:?}, which a starter route has (starter_routes is set)",
                route.name.as_str()
            );
            return Err(tree.refusal(&format!("routes[{index}].name"), &problem));
        }
    }
    raw.routes.extend(starters);
    Ok(())
}

fn check_tests(raw: &RawConfig, tree: &Tree) -> Result<(), ConfigError> {
    if raw.tests.len() > TESTS_MAX {
        let problem = format!(
            "found {} tests, expected at most {TESTS_MAX}",
            raw.tests.len()
        );
        return Err(tree.refusal("tests", &problem));
    }
    let mut names = BTreeSet::new();
    for (index, test) in raw.tests.iter().enumerate() {
        let refuse =
            |key: &str, problem: &str| Err(tree.refusal(&format!("tests[{index}].{key}"), problem));
        if !names.insert(&test.name) {
            let problem = format!("found {:?}, which another test has", test.name.as_str());
            return refuse("name", &problem);
        }
        if let Some((key, problem)) = route_tests::fault(test) {
            return refuse(key, &problem);
        }
        for (number, expected) in test.expect.iter().enumerate() {
            check_known(raw, &expected.channel)
                .or_else(|problem| refuse(&format!("expect[{number}].channel"), &problem))?;
        }
    }
    Ok(())
}

fn check_watchdog(raw: &RawConfig, tree: &Tree) -> Result<(), ConfigError> {
    let watchdog = &raw.watchdog;
    let is_taken = |route: &RouteConfig| route.name.as_str() == WATCHDOG;
    if let (Some(_), Some(index)) = (watchdog.channel(), raw.routes.iter().position(is_taken)) {
        let problem = format!(
            "found {WATCHDOG:?}, which is the name of the watchdog's own route: give this one another"
        );
        return Err(tree.refusal(&format!("routes[{index}].name"), &problem));
    }
    let Some(channel) = &watchdog.channel else {
        return Ok(());
    };
    if watchdog.url.is_some() {
        let problem = "found a channel beside url or url_file, expected only one of them";
        return Err(tree.refusal("watchdog.channel", problem));
    }
    check_known(raw, channel).map_err(|problem| tree.refusal("watchdog.channel", &problem))
}

/// A URL is a channel like any other, but for its form.
fn add_watchdog(raw: &mut RawConfig, tree: &Tree) -> Result<(), ConfigError> {
    let Some(url) = &raw.watchdog.url else {
        return Ok(());
    };
    let problem = format!(
        "found a channel named {WATCHDOG:?}, which is the name of the one that the URL makes: give the other one \
         another, or set watchdog.channel"
    );
    let refusal = |_| tree.refusal("watchdog.url", &problem);
    let name: ChannelName = WATCHDOG.parse().map_err(refusal)?;
    if raw.channels.contains_key(&name) {
        return Err(tree.refusal("watchdog.url", &problem));
    }
    let channel = ChannelConfig::of_switch(url.clone());
    raw.channels.insert(name, channel);
    Ok(())
}

fn check_redaction(raw: &RawConfig, tree: &Tree) -> Result<(), ConfigError> {
    match route::fault::of_resources(&raw.redaction.resources) {
        Some((key, problem)) => Err(tree.refusal(&format!("redaction.{key}"), &problem)),
        None => Ok(()),
    }
}

fn default_channel(raw: &RawConfig, tree: &Tree) -> Result<ChannelName, ConfigError> {
    if let Some(name) = &raw.default_channel {
        return match check_known(raw, name) {
            Ok(()) => Ok(name.clone()),
            Err(problem) => Err(tree.refusal("default_channel", &problem)),
        };
    }
    let mut names = raw.channels.keys();
    let only = names.next().filter(|_| names.next().is_none());
    let named = raw
        .channels
        .keys()
        .find(|name| name.as_str() == DEFAULT_CHANNEL);
    named.or(only).cloned().ok_or_else(|| {
        let problem = format!(
            "is not set, expected one of the channels ({})",
            channel_list(raw)
        );
        tree.refusal("default_channel", &problem)
    })
}

fn check_fallback(
    raw: &RawConfig,
    name: &ChannelName,
    fallback: Option<&ChannelName>,
) -> Result<(), String> {
    match fallback {
        Some(fallback) if fallback == name => {
            Err("expected another channel than itself".to_owned())
        }
        Some(fallback) => {
            check_known(raw, fallback)?;
            let place = |name| raw.channels.get(name).and_then(ChannelConfig::place);
            match place(name) == place(fallback) && place(name).is_some() {
                true => Err(format!(
                    "found {:?}, which is the same place at Slack: where this channel cannot be reached, it cannot \
                     either",
                    fallback.as_str()
                )),
                false => Ok(()),
            }
        }
        None => Ok(()),
    }
}

fn check_known(raw: &RawConfig, name: &ChannelName) -> Result<(), String> {
    if raw.channels.contains_key(name) {
        return Ok(());
    }
    Err(format!(
        "found {:?}, expected one of the channels ({})",
        name.as_str(),
        channel_list(raw)
    ))
}

fn channel_list(raw: &RawConfig) -> String {
    raw.channels
        .keys()
        .map(ChannelName::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}
