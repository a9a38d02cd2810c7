//! `auditrelay serve`: the relay, until a signal.

use std::process::ExitCode;

use auditrelay_config::Loaded;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::{
    Failure,
    cli::{ServeArgs, environment},
    logs,
    relay::Relay,
    reload::Source,
};

/// What a shell reports for a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

pub(crate) async fn run(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let file = args.config.clone();
    let (source, loaded) = Source::first(file, environment(), args.overrides(), |_| {})?;
    serve(source, loaded, false).await
}

/// Runs the relay of a configuration until a signal; `only_files` without its webhook.
pub(crate) async fn serve(
    source: Source,
    loaded: Loaded,
    only_files: bool,
) -> Result<ExitCode, Failure> {
    // Before anything that takes time: it must not end the process at any moment.
    let hangups = hangups()?;
    let Loaded { config, notes } = loaded;
    logs::use_configured(logs::configured(&config)?);
    for note in notes {
        tracing::info!("{note}");
    }
    leave_no_core();
    raise_open_files_limit(config.ingest.connections_max.as_usize());
    let _listened = outlive_file_size_limit()?;
    let mut shutdown = Shutdown::new()?;
    let scheme = match config.tls.certificate_file {
        Some(_) => "https",
        None => "http",
    };
    // Recovering a large queue takes its time; nothing was accepted yet that would have to be finished.
    let opening = async {
        match only_files {
            true => Relay::open_for_files(config).await,
            false => Relay::open(config).await,
        }
    };
    let relay = tokio::select! {
        relay = opening => relay?,
        () = shutdown.one() => return Ok(ExitCode::SUCCESS),
    };
    let unknown = |error: std::io::Error| Failure::Other(error.to_string());
    let admin = format!("http://{}", relay.admin_address());
    match relay.webhook_address().map_err(unknown)? {
        Some(address) => {
            tracing::info!(webhook = %format_args!("{scheme}://{address}/webhook"), admin, "ready");
        }
        None => tracing::info!(admin, "ready"),
    }
    let relay = relay.reloading(source, hangups);
    let telling = tokio::spawn(logs::keep_telling());
    let ended = relay.run(shutdown.asked()).await;
    telling.abort();
    logs::tell_left_out();
    ended?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// A core file would hold what the relay has in memory: requests that are not redacted yet, and tokens.
fn leave_no_core() {
    if let Err(error) = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0) {
        tracing::warn!(
            %error,
            "core files cannot be turned off; if the relay crashes, one may hold secrets that clients sent"
        );
    }
}

/// The queue opens files while it runs, and must find descriptors however many clients connect. Shells
/// and service managers set a soft limit of 1,024, far below the hard one.
fn raise_open_files_limit(connections_max: usize) {
    // Connections that are leaving or being turned away, and the queue's own.
    const RESERVE: u64 = 1_024;
    let wanted = connections_max as u64 + RESERVE;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit >= wanted => {}
        Ok(limit) => tracing::warn!(
            "this process may open {limit} files, ingest.connections_max asks for {wanted}; raise the hard \
             limit (ulimit -Hn, LimitNOFILE) or lower ingest.connections_max"
        ),
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised: with many connections the queue may not find any; raise it \
             (LimitNOFILE)")
        }
    }
}

/// A write beyond the limit of a file's size (RLIMIT_FSIZE, `ulimit -f`) kills a process that does not
/// listen for SIGXFSZ. To one that does, the write fails, and that is handled as any failed write.
fn outlive_file_size_limit() -> Result<Signal, Failure> {
    /// Linux: the same on all architectures but MIPS.
    const SIGXFSZ: i32 = 25;
    signal(SignalKind::from_raw(SIGXFSZ))
        .map_err(|error| Failure::Other(format!("cannot listen for signals: {error}")))
}

/// SIGHUP: asks for a reload. One that comes before the relay is open, or while it reloads, is done afterwards; more
/// than one of those are one.
fn hangups() -> Result<mpsc::Receiver<()>, Failure> {
    let mut signals = signal(SignalKind::hangup())
        .map_err(|error| Failure::Other(format!("cannot listen for signals: {error}")))?;
    let (asked, hangups) = mpsc::channel(1);
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            // Full: one waits already.
            let _ = asked.try_send(());
        }
    });
    Ok(hangups)
}

/// SIGTERM and SIGINT: the first asks to stop, a second ends the process at once.
struct Shutdown {
    terminate: Signal,
    interrupt: Signal,
}

impl Shutdown {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::Other(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn asked(mut self) {
        self.one().await;
        tracing::info!("stopping: finishing what is under way; a second signal ends at once");
        tokio::spawn(async move {
            self.one().await;
            std::process::exit(EXIT_INTERRUPTED);
        });
    }

    async fn one(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
