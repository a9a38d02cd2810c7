//! Logs: for people on a terminal, JSON lines otherwise; always to standard error.
//!
//! Invariants:
//! * what libraries of the network say of what passes through them is told from level warn on, whatever
//!   is asked for, as it may be the head or the body of a request; sled says nothing: what fails there is told by the queue, in one line;
//! * a panic is told by its place alone. Its words may quote what was being worked on (slicing
//!   a string within a character quotes the string), and that may be secret;
//! * no place of the code writes more lines a minute than [`limit`] lets it, and a line stays one ([`line`]);
//! * which lines are written can be changed while the relay runs ([`filter`]): by a reload, and by a command.

mod args;
mod command;
mod filter;
mod limit;
mod line;

use std::{
    io::{IsTerminal, stderr},
    panic,
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use auditrelay_config::Config;
use prometheus::Registry;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, filter::filter_fn, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::{Failure, when::now_unix_ms};
pub(crate) use args::LogFilterArgs;
pub(crate) use command::run;
pub(crate) use filter::Filter;
use filter::Voices;
use limit::{Limited, Limiter, MINUTE};

/// The log of this process.
static LOG: LazyLock<Log> = LazyLock::new(|| Log {
    limiter: Arc::new(Limiter::new().expect("names of metrics that are constants")),
    voices: Mutex::default(),
    in_use: OnceLock::new(),
});

type InUse = reload::Handle<EnvFilter, tracing_subscriber::Registry>;

struct Log {
    limiter: Arc<Limiter>,
    voices: Mutex<Voices>,
    /// Once it has started.
    in_use: OnceLock<InUse>,
}

/// Which lines of the log are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogFilter {
    pub(crate) filter: String,
    /// Who says so: `command`, `log.filter`, `RUST_LOG` or `default`.
    pub(crate) source: String,
    /// Where a command says so for a while.
    pub(crate) until_unix_ms: Option<i64>,
    /// What counts where no command has the say.
    pub(crate) back_to: String,
    pub(crate) back_to_source: String,
}

/// Starts logging at level `info`, or as `RUST_LOG` says.
pub(crate) fn start() {
    let environment = std::env::var("RUST_LOG").ok();
    let environment = environment.filter(|text| !text.trim().is_empty());
    let read = environment.as_deref().map(Filter::parse);
    let filter = match &read {
        Some(Ok(filter)) => filter.clone(),
        _ => Filter::default(),
    };
    let (filter, in_use) = reload::Layer::new(filter.build());
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(is_told))
        .with(Limited(Arc::clone(&LOG.limiter)));
    if stderr().is_terminal() {
        let layer = fmt::layer().with_ansi(false).with_target(false);
        registry.with(layer.with_writer(line::to_terminal)).init();
    } else {
        let layer = fmt::layer().json().flatten_event(true);
        registry.with(layer.with_writer(line::to_file)).init();
    }
    // Nobody starts it twice: `init` would have panicked.
    let _ = LOG.in_use.set(in_use);
    match read {
        Some(Ok(filter)) => voices().environment = Some(filter),
        Some(Err(problem)) => {
            tracing::warn!(
                problem,
                "RUST_LOG is no filter and is left alone: lines of level info and above are written"
            );
        }
        None => {}
    }
    panic::set_hook(Box::new(tell_panic));
}

/// A directive for one of their modules would win over one for the library, so this is no directive.
fn is_told(metadata: &Metadata<'_>) -> bool {
    const QUIET: [&str; 7] = [
        "async_nats",
        "h2",
        "hyper",
        "hyper_rustls",
        "hyper_util",
        "rustls",
        "tokio_rustls",
    ];
    let library = metadata.target().split("::").next().unwrap_or_default();
    match library {
        // Its threads would speak after the last word.
        "sled" => false,
        library => *metadata.level() <= Level::WARN || !QUIET.contains(&library),
    }
}

fn tell_panic(panicked: &panic::PanicHookInfo<'_>) {
    let place = panicked.location();
    tracing::error!(
        file = place.map(panic::Location::file),
        line = place.map(panic::Location::line),
        "a part of the relay panicked; please report this with the place (its words are not logged, as they \
         may quote what was sent)"
    );
}

fn voices() -> std::sync::MutexGuard<'static, Voices> {
    LOG.voices.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `log.filter` of a configuration, or what is wrong with it. Changes nothing.
///
/// # Errors
/// It is no filter; the text names the key.
pub(crate) fn configured(config: &Config) -> Result<Option<Filter>, Failure> {
    let filter = config.log.filter.as_deref().map(Filter::parse);
    filter
        .transpose()
        .map_err(|problem| Failure::Key(format!("log.filter: found {problem}")))
}

/// Uses what [`configured`] gave. A command's word stays where this is what was configured before.
pub(crate) fn use_configured(filter: Option<Filter>) {
    let mut voices = voices();
    voices.configure(filter);
    apply(&voices);
}

fn apply(voices: &Voices) {
    if let Some(in_use) = LOG.in_use.get() {
        // It fails only where there is no log any more.
        let _ = in_use.reload(voices.loudest().0.build());
    }
}

/// The counters of lines, in the metrics of a relay.
pub(crate) fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    LOG.limiter.register(registry)
}

/// Tells once a minute what was left out of the log.
pub(crate) async fn keep_telling() {
    loop {
        tokio::time::sleep(MINUTE).await;
        tell_left_out();
    }
}

/// Tells what was left out since it was told last.
pub(crate) fn tell_left_out() {
    LOG.limiter.tell_left_out();
}

/// Which lines are written now.
pub(crate) fn shown() -> LogFilter {
    let voices = voices();
    let (filter, source) = voices.loudest();
    let (back_to, back_to_source) = voices.without_command();
    let left = voices.until().map(|until| until - Instant::now());
    let left_ms = left.map(|left| i64::try_from(left.as_millis()).unwrap_or(i64::MAX));
    LogFilter {
        filter: filter.to_string(),
        source: source.as_str().to_owned(),
        until_unix_ms: left_ms.map(|left| now_unix_ms().saturating_add(left)),
        back_to: back_to.to_string(),
        back_to_source: back_to_source.as_str().to_owned(),
    }
}

/// Does what a command asks of the log: another filter, for a while or until the next restart, or none of a command.
///
/// # Errors
/// In words for the operator: it is no filter, or this process is no relay that runs.
pub(crate) fn asked(filter: Option<&str>, lasts: Option<Duration>) -> Result<LogFilter, String> {
    if LOG.in_use.get().is_none() {
        return Err("there is no relay that runs".to_owned());
    }
    let filter = filter.map(Filter::parse).transpose();
    let filter = filter.map_err(|problem| format!("found {problem}; nothing was changed"))?;
    // Told by the filter that is in use until now: the next may leave it out.
    tracing::warn!(
        filter = filter.as_ref().map(ToString::to_string),
        seconds = lasts.map(|lasts| lasts.as_secs()),
        "a command changes which lines of the log are written"
    );
    let mut voices = voices();
    let command = voices.ask(filter, lasts.map(|lasts| Instant::now() + lasts));
    apply(&voices);
    drop(voices);
    if let Some(lasts) = lasts {
        tokio::spawn(async move {
            tokio::time::sleep(lasts).await;
            let mut voices = self::voices();
            if voices.end(command) {
                apply(&voices);
                drop(voices);
                tracing::warn!(
                    "the time of a command is over: lines of the log are written as they were before it"
                );
            }
        });
    }
    Ok(shown())
}

#[cfg(test)]
#[path = "logs/tests.rs"]
pub(crate) mod tests;
