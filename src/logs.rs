//! Logs: for people on a terminal, JSON lines otherwise; always to standard error.
//!
//! Invariant: a panic is told by its place alone. Its words may quote what was being worked on (slicing
//! a string within a character quotes the string), and that may be secret.

use std::{
    io::{IsTerminal, stderr},
    panic,
};

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
    panic::set_hook(Box::new(|panicked| {
        let place = panicked.location();
        tracing::error!(
            file = place.map(panic::Location::file),
            line = place.map(panic::Location::line),
            "a part of the relay panicked; please report this with the place (its words are not logged, as they \
             may quote what was sent)"
        );
    }));
}
