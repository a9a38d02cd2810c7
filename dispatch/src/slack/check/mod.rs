//! Whether Slack will take what the configuration sends there: tokens, scopes, channels, webhooks.
//!
//! Contract: nothing is posted, and nothing is changed at Slack. Calls are made one after another, in the
//! turns of the lanes where there are any, and end at a deadline; what was not checked then is said to be.
//! No token and no webhook URL stands in a [`Report`]: a token is named by where it is configured.

mod calls;
mod channel;
mod findings;
mod token;
mod webhook;

use std::{collections::HashMap, time::Duration};

use auditrelay_config::{ChannelConfig, Config, Destination, DigestDetails, Severity};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use self::{
    calls::Calls,
    channel::{Asked, Names},
    token::{Known, Needs, Useless},
    webhook::Hosts,
};
use super::{channel::is_id, http::Http, web_api::WebApi};
use crate::workspace::Workspace;

pub use findings::{Finding, Level, Report, Subject};

/// How much of Slack's patience the check may use.
pub struct Budget {
    /// How long it may take.
    pub within: Duration,
    /// What lanes share, by token; empty where none run in this process.
    pub workspaces: HashMap<String, Workspace>,
}

/// A distinct token and what came of it.
struct Token {
    /// Where it is configured.
    name: String,
    needs: Needs,
    names: Names,
    /// None, if the token does not fit a header.
    calls: Option<Calls>,
    known: Option<Known>,
}

/// Checks everything, and tells of each token and channel when it is done, with how many of how many are.
pub async fn check(
    config: &Config,
    http: &Http,
    budget: Budget,
    progress: impl Fn(&Subject, usize, usize) + Send + Sync,
) -> Report {
    let deadline = Instant::now() + budget.within;
    let mut tokens = tokens(config, http, &budget, deadline);
    let total = tokens.len() + config.channels.len();
    let mut report = Report::default();
    // In the order of the configuration.
    let mut order: Vec<&mut Token> = tokens.values_mut().collect();
    order.sort_by(|one, other| one.name.cmp(&other.name));
    for token in order {
        let known = match &token.calls {
            Some(calls) => token::check(calls, token.needs).await,
            None => token::unusable(),
        };
        let subject = Subject::new(&token.name, known.place.clone(), known.findings.clone());
        token.known = Some(known);
        progress(&subject, report.tokens.len() + 1, total);
        report.tokens.push(subject);
    }
    let mut hosts = Hosts::new();
    for (name, channel) in &config.channels {
        let (place, mut findings) = match channel.destination(&config.slack) {
            Destination::Preview => {
                let text = "shown in the terminal; nothing to check";
                (
                    "preview".to_owned(),
                    vec![Finding::new(Level::Ok, "preview", text)],
                )
            }
            Destination::PlainWebhook { .. } => {
                let text = "a dead man's switch, which is not asked: it would take that for a sign of life";
                (
                    "watchdog.url".to_owned(),
                    vec![Finding::new(Level::Ok, "plain_webhook", text)],
                )
            }
            Destination::Webhook { url } => webhook::look(http, &mut hosts, url, deadline).await,
            Destination::SlackApi { channel: id, token } => {
                let asked = Asked {
                    configured: id,
                    threads: details(config, channel) != DigestDetails::Command,
                    files: details(config, channel) == DigestDetails::File,
                };
                match tokens.get_mut(token.expose_secret()) {
                    Some(token) => of_token(token, asked).await,
                    None => (String::new(), Vec::new()),
                }
            }
        };
        findings.extend(without_fallback(config, name.as_str(), channel));
        let subject = Subject::new(name.as_str(), place, findings);
        let done = report.tokens.len() + report.channels.len() + 1;
        progress(&subject, done, total);
        report.channels.push(subject);
    }
    report
}

async fn of_token(token: &mut Token, asked: Asked<'_>) -> (String, Vec<Finding>) {
    let (Some(calls), Some(known)) = (&token.calls, &token.known) else {
        return (
            asked.configured.to_owned(),
            vec![useless(&token.name, Useless::Refused)],
        );
    };
    match known.useless {
        Some(why) => (asked.configured.to_owned(), vec![useless(&token.name, why)]),
        None => channel::look(calls, &known.scopes, &mut token.names, asked).await,
    }
}

/// A finding about a channel whose token is of no use.
fn useless(token: &str, why: Useless) -> Finding {
    let finding = match why {
        Useless::Refused => Finding::new(
            Level::Problem,
            "token",
            "nothing is delivered with its token",
        ),
        Useless::NotChecked => Finding::new(
            Level::Warning,
            "not_checked",
            "not checked, as its token was not",
        ),
    };
    finding.todo(format!("see {token}")).following()
}

/// The distinct tokens of the configuration, by the token.
fn tokens(
    config: &Config,
    http: &Http,
    budget: &Budget,
    deadline: Instant,
) -> HashMap<String, Token> {
    let mut tokens: HashMap<String, Token> = HashMap::new();
    for (name, channel) in &config.channels {
        let Destination::SlackApi { channel: id, token } = channel.destination(&config.slack)
        else {
            continue;
        };
        let place = match &channel.token {
            Some(_) => format!("channels.{name}.token"),
            None => "slack.token".to_owned(),
        };
        let known = tokens.entry(token.expose_secret().to_owned());
        let known = known.or_insert_with(|| Token {
            name: String::new(),
            needs: Needs::default(),
            names: Names::default(),
            calls: calls(config, http, budget, deadline, token),
            known: None,
        });
        if !known.name.split(", ").any(|one| one == place) {
            let comma = if known.name.is_empty() { "" } else { ", " };
            known.name.push_str(comma);
            known.name.push_str(&place);
        }
        known.needs.names |= !is_id(id);
        known.needs.files |= details(config, channel) == DigestDetails::File;
    }
    tokens
}

fn calls(
    config: &Config,
    http: &Http,
    budget: &Budget,
    deadline: Instant,
    token: &SecretString,
) -> Option<Calls> {
    let api = WebApi::new(http.clone(), &config.slack.api_url, token).ok()?;
    let lanes = budget.workspaces.get(token.expose_secret()).cloned();
    let per_minute = config.slack.lookups_per_minute.get();
    Some(Calls::new(api, lanes, per_minute, deadline))
}

/// Where digests' lists are: what is not kept cannot be listed.
fn details(config: &Config, channel: &ChannelConfig) -> DigestDetails {
    let kept = &config.queue;
    let is_kept = kept.digest_detail_hours.get() > 0 && kept.digest_detail_bytes_max.get() > 0;
    if is_kept {
        channel.digest_details
    } else {
        DigestDetails::Command
    }
}

/// A hint for a channel of critical events that have nowhere else to go.
fn without_fallback(config: &Config, name: &str, channel: &ChannelConfig) -> Option<Finding> {
    let is_preview = matches!(channel.destination(&config.slack), Destination::Preview);
    let is_critical = config.routes.iter().any(|route| {
        route.severity == Severity::Critical && route.channel.iter().any(|one| one.as_str() == name)
    });
    if is_preview || !is_critical || channel.fallback.is_some() {
        return None;
    }
    let text = "critical events go there, and nowhere else while the channel is parked";
    let finding = Finding::new(Level::Note, "no_fallback", text);
    Some(finding.todo(format!("set channels.{name}.fallback")))
}
