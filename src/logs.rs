//! Logs: for people on a terminal, JSON lines otherwise; always to standard error.
//!
//! Invariants: what libraries of the network say of what passes through them is told from level warn on, whatever
//! `RUST_LOG` asks for, as it may be the head or the body of a request. A panic is told by its place alone. Its words may quote what was being worked on (slicing
//! a string within a character quotes the string), and that may be secret.

use std::{
    io::{IsTerminal, stderr},
    panic,
};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

/// Starts logging at level `info`, or as `RUST_LOG` says.
pub fn start() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info"))
        // What fails there is told by the queue, in one line; sled's threads would speak after the last word.
        .add_directive("sled=off".parse().expect("a constant"));
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(is_told));
    if stderr().is_terminal() {
        registry
            .with(fmt::layer().with_writer(stderr).with_target(false))
            .init();
    } else {
        registry
            .with(fmt::layer().json().flatten_event(true).with_writer(stderr))
            .init();
    }
    panic::set_hook(Box::new(tell_panic));
}

/// A directive for one of their modules would win over one for the library, so this is no directive.
fn is_told(metadata: &Metadata<'_>) -> bool {
    const QUIET: [&str; 6] = [
        "h2",
        "hyper",
        "hyper_rustls",
        "hyper_util",
        "rustls",
        "tokio_rustls",
    ];
    let library = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::WARN || !QUIET.contains(&library)
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

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_told_by_its_place_and_not_by_its_words() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = fmt().json().with_writer(move || writer.clone()).finish();
        let before = panic::take_hook();
        panic::set_hook(Box::new(tell_panic));
        let text = "password-é".to_owned();
        let ended = tracing::subscriber::with_default(subscriber, || {
            // Within the last letter: the panic's own words quote the string.
            panic::catch_unwind(|| text[..10].len())
        });
        panic::set_hook(before);
        let words = ended.expect_err("it panicked");
        let words = words.downcast_ref::<String>().expect("words");
        assert!(words.contains("password"), "{words}");
        let told = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(
            told.contains("logs.rs") && told.contains("panicked"),
            "{told}"
        );
        assert!(!told.contains("password"), "{told}");
    }
}
