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
use auditrelay_loadtest::slack::{LocalSlack, Options, Post};
use clap::Parser;
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

/// A local Slack: chat.postMessage, auth.test and incoming webhooks at Slack's pace.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The loopback address to listen on; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:9099", value_parser = loopback)]
    listen: SocketAddr,
    /// One message per channel in this time; 0 for no limit.
    #[arg(long, default_value_t = 1000)]
    interval_milliseconds: u64,
    /// Do not print the accepted messages.
    #[arg(long)]
    quiet: bool,
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
    let interval = Duration::from_millis(arguments.interval_milliseconds);
    let options = Options {
        message_interval: interval,
        ..Options::default()
    };
    let slack = LocalSlack::start(arguments.listen, options)
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
    fn only_loopback_is_listened_on() {
        assert!(loopback("127.0.0.1:9099").is_ok());
        assert!(loopback("[::1]:0").is_ok());
        for refused in ["0.0.0.0:9099", "192.0.2.1:9099", "[::]:9099", "localhost"] {
            assert!(loopback(refused).is_err(), "{refused}");
        }
    }
}
