//! Logs: for people on a terminal, JSON lines otherwise; always to standard error.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts logging at level `info`, or as `RUST_LOG` says.
pub fn start() {
    // hyper and rustls would log request heads, tokens included, at lower levels.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info"))
        .add_directive("hyper=warn".parse().expect("a constant"))
        .add_directive("hyper_util=warn".parse().expect("a constant"))
        .add_directive("rustls=warn".parse().expect("a constant"))
        // What fails there is told by the queue, in one line; sled's threads would speak after the last word.
        .add_directive("sled=off".parse().expect("a constant"));
    let registry = tracing_subscriber::registry().with(filter);
    if stderr().is_terminal() {
        registry
            .with(fmt::layer().with_writer(stderr).with_target(false))
            .init();
    } else {
        registry
            .with(fmt::layer().json().flatten_event(true).with_writer(stderr))
            .init();
    }
}
