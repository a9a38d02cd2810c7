//! `auditrelay render FILE…`: the messages that events would make in a channel, as the relay would post them
//! if all of them waited at once. Posts nothing, and opens neither port nor queue.

mod input;
mod page;
mod rich;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use auditrelay_audit::{Envelope, Severity};
use auditrelay_config::{ChannelConfig, ChannelName, Config, Overrides, load};
use auditrelay_dispatch::{
    Message, Routes, Templates, preview,
    render::{Style, render},
    slack,
};
use auditrelay_store::{Delivery, EventDelivery, Lease, LeaseId};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    Failure,
    cli::{RenderArgs, RenderFormat, environment},
    data_dir::hash_key_to_look,
    lanes::keeps_members,
    output::{count, say, say_json_line},
    preparation::redactor,
};
use input::{Found, Reader};

/// A message, and when the last of its events happened.
struct Rendered {
    message: Message,
    last: Option<Timestamp>,
}

pub(crate) fn run(args: &RenderArgs) -> Result<ExitCode, Failure> {
    let config = load(args.config.as_deref(), environment(), Overrides::default())?.config;
    let mut templates = Templates::all(&config).map_err(Failure::Template)?;
    let (name, channel) = channel(&config, args.channel.as_deref())?;
    let routes = Routes::new(&config);
    let key = hash_key_to_look(&config.dedup_key_file())?;
    let redactor = redactor(&config, key);
    let reader = Reader {
        routes: &routes,
        redactor: &redactor,
        channel: name.as_str(),
        cluster: args.cluster.as_ref().unwrap_or(&config.cluster).as_str(),
    };
    let mut found = Found::default();
    for file in &args.files {
        reader.file(file, &mut found)?;
    }
    let members = std::mem::take(&mut found.members);
    let events = members.len();
    let templates = templates.remove(name.as_str()).unwrap_or_default();
    let style = Style::of(channel, keeps_members(&config), templates);
    let mut messages = messages(name.as_str(), channel, &style, members);
    let total = messages.len();
    if let Some(number) = args.message {
        if number.get() > total {
            let text = format!(
                "there is no message {number}, only {}",
                count(total as u64, "message")
            );
            return Err(Failure::No(text));
        }
        messages = vec![messages.swap_remove(number.get() - 1)];
    }
    print(args.format, name.as_str(), channel, &messages)?;
    report(&found, name.as_str(), events, total);
    Ok(if total == 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn channel<'a>(
    config: &'a Config,
    name: Option<&str>,
) -> Result<(&'a ChannelName, &'a ChannelConfig), Failure> {
    let name = name.unwrap_or(config.default_channel.as_str());
    let found = config
        .channels
        .iter()
        .find(|(channel, _)| channel.as_str() == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = config.channels.keys().map(ChannelName::as_str).collect();
        Failure::Usage(format!(
            "there is no channel {name:?}, only {}",
            known.join(", ")
        ))
    })
}

/// Groups events as leases would, and renders each group.
fn messages(
    name: &str,
    channel: &ChannelConfig,
    style: &Style,
    mut members: Vec<(Severity, EventDelivery)>,
) -> Vec<Rendered> {
    // Stable: within a severity the order stays.
    members.sort_by_key(|(severity, _)| *severity);
    let (events_max, bytes_max) = (
        channel.message_events_max.as_usize(),
        channel.message_bytes_max.as_usize(),
    );
    let mut groups: Vec<Vec<(Severity, Delivery)>> = Vec::new();
    let mut bytes = 0;
    for (severity, event) in members {
        let size = event.json.len();
        let fits = groups.last().is_some_and(|group| group.len() < events_max);
        if !fits || bytes + size > bytes_max {
            groups.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(group) = groups.last_mut() {
            group.push((severity, Delivery::Event(event)));
        }
    }
    let rendered = |(index, members): (usize, Vec<_>)| {
        let last = members
            .iter()
            .filter_map(|(_, delivery)| time(delivery))
            .max();
        let lease = Lease {
            id: LeaseId {
                channel: name.to_owned(),
                id: index as u64 + 1,
            },
            members,
            resumed: false,
            sealed_unix_ms: 0,
        };
        let message = render(&lease, style, 0);
        Rendered { message, last }
    };
    groups.into_iter().enumerate().map(rendered).collect()
}

fn time(delivery: &Delivery) -> Option<Timestamp> {
    let Delivery::Event(event) = delivery else {
        return None;
    };
    Envelope::parse(&event.json)
        .ok()?
        .stage_timestamp
        .parse()
        .ok()
}

fn print(
    format: RenderFormat,
    name: &str,
    channel: &ChannelConfig,
    messages: &[Rendered],
) -> Result<(), Failure> {
    match format {
        RenderFormat::Terminal => {
            let colour = io::stdout().is_terminal();
            for Rendered { message, .. } in messages {
                say(&preview::show(name, &message.blocks, colour))?;
            }
        }
        RenderFormat::Json => {
            for Rendered { message, .. } in messages {
                say_json_line(&body(channel, message))?;
            }
        }
        RenderFormat::Html => {
            let posted = messages
                .iter()
                .map(|Rendered { message, last }| page::Posted {
                    body: body(channel, message),
                    time: *last,
                });
            say(&page::page(name, &posted.collect::<Vec<_>>()))?;
        }
    }
    Ok(())
}

/// What is posted.
fn body(channel: &ChannelConfig, message: &Message) -> Value {
    match &channel.slack_channel {
        Some(slack_channel) => slack::api_content(slack_channel.as_str(), message),
        None => slack::content(message),
    }
}

/// Says on standard error what became of the input.
fn report(found: &Found, name: &str, events: usize, messages: usize) {
    let read = count(found.events, "event");
    let told = count(events as u64, "event");
    let messages = count(messages as u64, "message");
    let mut text = format!(
        "{read} read, {} unreadable; {told} for channel {name} in {messages}",
        found.unreadable
    );
    let others = [
        (found.elsewhere, "for other channels"),
        (found.unwanted, "for nobody"),
    ];
    for (events, whose) in others.into_iter().filter(|(events, _)| *events > 0) {
        text.push_str(&format!(", {} {whose}", count(events, "event")));
    }
    // Standard error may be closed; there is nobody left to tell then.
    let _ = writeln!(io::stderr(), "{text}");
}
