//! `apiserver-sim`: API servers that send audit events to a sink on this machine.
//!
//! Contract: it sends to loopback only. SIGINT and SIGTERM end the making of events; what has been
//! made is still sent, retries included, and a second signal gives that up without a report.
//! Status 0: every event reached the sink. 1: events were lost or dropped, or the sending was given
//! up. 2: the command line is wrong.

use std::io::{self, ErrorKind, Write};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use auditrelay_loadtest::apiserver::{self, KubeconfigError, Options, Report, Target};
use auditrelay_loadtest::events::Shape;
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Simulated API servers: audit events in batches, sent and retried as kube-apiserver does.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to send: an http:// URL on loopback.
    #[arg(
        long,
        required_unless_present = "kubeconfig",
        conflicts_with = "kubeconfig"
    )]
    url: Option<Target>,
    /// Where to send, whom to trust and what to show: the file that an API server is given as
    /// --audit-webhook-config-file. Its server is on loopback.
    #[arg(long, value_name = "FILE", value_parser = kubeconfig)]
    kubeconfig: Option<Target>,
    /// Events that each API server makes a second, whether the sink keeps up or not.
    #[arg(long, default_value = "4000")]
    events_per_second: NonZeroU32,
    /// For how long events are made; what has been made is sent after that as well.
    #[arg(long, default_value = "10")]
    seconds: u32,
    /// What the events look like.
    #[arg(long, value_enum, default_value_t = Shape::Metadata)]
    shape: Shape,
    /// How many API servers send at the same time.
    #[arg(long, default_value = "1")]
    api_servers: NonZeroU32,
    /// Events that an API server holds before it drops the newest.
    #[arg(long, default_value = "10000")]
    buffer_size: NonZeroU32,
    /// Events in a batch, at most.
    #[arg(long, default_value = "400")]
    batch_size: NonZeroU32,
    /// How long a batch that is not full is waited for.
    #[arg(long, default_value = "30000")]
    max_wait_milliseconds: u32,
    /// Batches that an API server sends a second, at most.
    #[arg(long, default_value = "10")]
    qps: NonZeroU32,
    /// Batches that it sends at once after a pause, at most.
    #[arg(long, default_value = "15")]
    burst: NonZeroU32,
    /// The pause before the second try; each after it is half as long again.
    #[arg(long, default_value = "10000")]
    initial_backoff_milliseconds: u32,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn options(&self) -> Options {
        let milliseconds = |value: u32| Duration::from_millis(value.into());
        Options {
            events_per_second: self.events_per_second,
            duration: Duration::from_secs(self.seconds.into()),
            shape: self.shape,
            api_servers: self.api_servers,
            buffer_events: self.buffer_size,
            batch_events: self.batch_size,
            max_wait: milliseconds(self.max_wait_milliseconds),
            qps: self.qps,
            burst: self.burst,
            initial_backoff: milliseconds(self.initial_backoff_milliseconds),
            ..Options::new(self.target().clone())
        }
    }

    fn target(&self) -> &Target {
        let target = self.kubeconfig.as_ref().or(self.url.as_ref());
        target.expect("one of the two is required")
    }
}

fn kubeconfig(path: &str) -> Result<Target, KubeconfigError> {
    Target::from_kubeconfig(Path::new(path))
}

/// SIGINT or SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn watch() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut signals = Signals::watch()?;
    let (stop, stopped) = oneshot::channel();
    let running = apiserver::run(arguments.options(), async {
        // A sender that is gone means that this run is over anyway.
        let _told = stopped.await;
    });
    let twice = async {
        signals.next().await;
        // Nobody listens any more if the run has just ended.
        let _unheard = stop.send(());
        // A reader of standard error that is gone is no reason to stop.
        let _unread = writeln!(
            io::stderr(),
            "no more events; sending what has been made (a second signal gives that up)"
        );
        signals.next().await;
    };
    tokio::select! {
        report = running => {
            print(&report, arguments.json).context("cannot write to standard output")?;
            Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        () = twice => Ok(ExitCode::FAILURE),
    }
}

fn print(report: &Report, json: bool) -> io::Result<()> {
    let text = if json {
        serde_json::to_string_pretty(report)? + "\n"
    } else {
        report.to_string()
    };
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `apiserver-sim | head` is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
