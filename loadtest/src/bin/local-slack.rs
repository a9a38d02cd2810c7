//! `local-slack`: a Slack on the loopback interface, for trying auditrelay out.
//!
//! Contract: it prints where it listens, then one line per accepted message
//! (`#channel  12:00:01  text…`), in order; `--quiet` leaves out the messages. It
//! refuses to listen anywhere but on loopback: it trusts every caller. SIGINT and
//! SIGTERM end it with status 0, even while the reader of its standard output stalls,
//! as does a reader that closes it.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use auditrelay_loadtest::slack::{BlockScope, Channel, Limits, LocalSlack, Options, Post};
use clap::{Parser, ValueEnum};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How much of a message's text fits the line that announces it.
const TEXT_MAX_CHARS: usize = 200;
/// How long the last lines may take to be written.
const PRINT_GRACE: Duration = Duration::from_secs(1);

/// A local Slack: messages, threads, updates, history, files, channels and incoming
/// webhooks, at Slack's pace and with Slack's answers.
///
/// Other processes read what happened with GET /recorded, inject faults with POST
/// /inject, forget everything with POST /reset, and change what there is with POST
/// /control/channel, /control/token and /control/webhook. A fault is JSON, such as
/// {"method":"conversations.history","channel":"C1","count":2,"effect":{"kind":"error","code":"missing_scope"}}.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The loopback address to listen on; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:9099", value_parser = loopback)]
    listen: SocketAddr,
    /// One message per channel in this time; 0 for no limit.
    #[arg(long, default_value_t = 1000)]
    interval_milliseconds: u64,
    /// chat.postMessage per minute and workspace; 0 for no limit.
    #[arg(long, default_value_t = 300)]
    messages_per_minute: u32,
    /// No limits per minute on the other methods.
    #[arg(long)]
    no_tiers: bool,
    /// So much faster do the interval and minutes pass; Retry-After stays in real seconds.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    time_scale: u32,
    /// What a 429 on chat.postMessage blocks: its channel or the method.
    #[arg(long, value_enum, default_value = "channel")]
    block_scope: Scope,
    /// After a 429, refuse for the whole Retry-After, not only while it is too early.
    #[arg(long)]
    strict_blocks: bool,
    /// A channel that exists, ID or ID:NAME; may be given again. Without it all exist.
    #[arg(long, value_name = "ID[:NAME]")]
    channel: Vec<String>,
    /// A bot token that is accepted; may be given again. Without it every xoxb-… is.
    #[arg(long)]
    token: Vec<String>,
    /// Do not print the accepted messages.
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scope {
    Channel,
    Method,
}

impl Arguments {
    fn options(&self) -> Options {
        let tiers = if self.no_tiers {
            Limits::none()
        } else {
            Limits::default()
        };
        let channel = |given: &String| match given.split_once(':') {
            Some((id, name)) => Channel::new(id, name),
            None => given.as_str().into(),
        };
        let channels: Vec<_> = self.channel.iter().map(channel).collect();
        Options {
            message_interval: Duration::from_millis(self.interval_milliseconds),
            limits: Limits {
                messages: self.messages_per_minute,
                ..tiers
            },
            time_scale: self.time_scale,
            block_scope: match self.block_scope {
                Scope::Channel => BlockScope::Channel,
                Scope::Method => BlockScope::Method,
            },
            strict_blocks: self.strict_blocks,
            channels: (!channels.is_empty()).then_some(channels),
            tokens: self
                .token
                .iter()
                .map(|token| token.as_str().into())
                .collect(),
            ..Options::default()
        }
    }
}

fn loopback(argument: &str) -> Result<SocketAddr, String> {
    let addr: SocketAddr = argument
        .parse()
        .map_err(|_| "expected ADDRESS:PORT".to_owned())?;
    if addr.ip().is_loopback() {
        Ok(addr)
    } else {
        Err("not a loopback address".to_owned())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let slack = LocalSlack::start(arguments.listen, arguments.options())
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let mut printed = spawn_printer(&slack, arguments.quiet);
    let result = tokio::select! {
        result = &mut printed => Some(result),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    // With the local Slack gone the printer ends after the last message.
    slack.stop().await;
    let result = match result {
        Some(result) => result,
        // A reader that has stalled does not keep the process alive.
        None => timeout(PRINT_GRACE, printed).await.unwrap_or(Ok(Ok(()))),
    };
    match result.context("the printing thread died")? {
        // `local-slack | head` is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Prints in a thread of its own: a reader that stalls blocks the thread that writes,
/// and that must not be the one that answers requests and signals.
fn spawn_printer(slack: &LocalSlack, quiet: bool) -> oneshot::Receiver<io::Result<()>> {
    let accepted = slack.subscribe();
    let greeting = format!(
        "listening on {}  webhooks at {}",
        slack.api_url(),
        slack.webhook_url("CHANNEL")
    );
    let (done, printed) = oneshot::channel();
    std::thread::spawn(move || {
        // Nobody listens any more if main gave up waiting.
        let _unheard = done.send(print(&greeting, accepted, quiet));
    });
    printed
}

/// Prints until the local Slack is gone or standard output fails.
fn print(greeting: &str, mut accepted: Receiver<Post>, quiet: bool) -> io::Result<()> {
    // Told even when quiet: with port 0 nobody else knows the port.
    say(greeting)?;
    loop {
        match accepted.blocking_recv() {
            Ok(post) if !quiet => say(&line(&post, &TimeZone::system()))?,
            Err(RecvError::Lagged(count)) if !quiet => {
                say(&format!("({count} messages not shown: output too slow)"))?;
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// One line, whatever the text holds: control characters would break the line or, as
/// escape sequences, play tricks on the terminal.
fn line(post: &Post, zone: &TimeZone) -> String {
    let printable = |text: &str, max_chars: usize| -> String {
        let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        let mut shown: String = clean.take(max_chars).collect();
        if text.chars().nth(max_chars).is_some() {
            shown.push('…');
        }
        shown
    };
    let unix_ms = i64::try_from(post.received_unix_ms).unwrap_or_default();
    let time = Timestamp::from_millisecond(unix_ms)
        .unwrap_or_default()
        .to_zoned(zone.clone());
    let channel = printable(&post.channel, TEXT_MAX_CHARS);
    let text = printable(&post.text, TEXT_MAX_CHARS);
    format!("#{channel}  {}  {text}", time.strftime("%H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use auditrelay_loadtest::slack::Via;
    use serde_json::Value;

    use super::*;

    fn post(text: &str) -> Post {
        Post {
            team: "T000".to_owned(),
            channel: "audit".to_owned(),
            ts: "43201.000000".to_owned(),
            text: text.to_owned(),
            body: Value::Null,
            received_unix_ms: 43_201_000,
            elapsed_ms: 0,
            via: Via::Webhook,
            thread_ts: None,
            late: None,
            audit: Vec::new(),
            updates: Vec::new(),
        }
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(
            line(&post("two\nlines\x1b[2J"), &TimeZone::UTC),
            "#audit  12:00:01  two lines [2J"
        );
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let shown = line(&post(&"a".repeat(TEXT_MAX_CHARS)), &TimeZone::UTC);
        assert!(shown.ends_with('a'));
        let shown = line(&post(&"a".repeat(TEXT_MAX_CHARS + 1)), &TimeZone::UTC);
        assert!(shown.ends_with("a…"));
    }

    #[test]
    fn the_command_line_becomes_options() {
        let defaults = Arguments::parse_from(["local-slack"]).options();
        assert_eq!(format!("{defaults:?}"), format!("{:?}", Options::default()));
        let options = Arguments::parse_from([
            "local-slack",
            "--no-tiers",
            "--messages-per-minute=7",
            "--time-scale=50",
            "--block-scope=method",
            "--strict-blocks",
            "--channel=C1:audit",
            "--channel=other",
            "--token=xoxb-1",
            "--interval-milliseconds=20",
        ])
        .options();
        let limits = &options.limits;
        assert_eq!((limits.messages, limits.tier_2, limits.special), (7, 0, 0));
        assert_eq!((options.time_scale, options.strict_blocks), (50, true));
        assert_eq!(options.block_scope, BlockScope::Method);
        assert_eq!(options.message_interval, Duration::from_millis(20));
        let channels = vec![Channel::new("C1", "audit"), Channel::from("other")];
        assert_eq!(options.channels, Some(channels));
        assert_eq!(options.tokens, ["xoxb-1".into()]);
    }

    #[test]
    fn only_loopback_is_listened_on() {
        assert!(loopback("127.0.0.1:9099").is_ok());
        assert!(loopback("[::1]:0").is_ok());
        for refused in ["0.0.0.0:9099", "192.0.2.1:9099", "[::]:9099", "localhost"] {
            assert!(loopback(refused).is_err(), "{refused}");
        }
    }
}
