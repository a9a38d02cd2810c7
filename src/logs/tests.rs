//! What is written, as tests read it; and what a panic says.

use std::{
    io,
    sync::{Arc, Mutex},
};

use super::*;

/// Keeps what is written.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).expect("text")
    }

    /// How many lines have this in them.
    pub(crate) fn with(&self, words: &str) -> usize {
        self.text()
            .lines()
            .filter(|line| line.contains(words))
            .count()
    }
}

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
    let told = lines.text();
    assert!(
        told.contains("tests.rs") && told.contains("panicked"),
        "{told}"
    );
    assert!(!told.contains("password"), "{told}");
}

#[test]
fn what_passes_through_libraries_is_not_told_whatever_is_asked_for() {
    let lines = Lines::default();
    let writer = lines.clone();
    let filter =
        Filter::parse("trace,hyper=trace,hyper::proto=trace,sled=trace").expect("a filter");
    let subscriber = tracing_subscriber::registry()
        .with(filter.build())
        .with(filter_fn(is_told))
        .with(fmt::layer().with_writer(move || writer.clone()));
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(target: "hyper::proto", "the head of a request");
        tracing::warn!(target: "hyper::proto", "something is wrong");
        tracing::error!(target: "sled::pagecache", "sled's words");
        tracing::trace!("our own");
    });
    assert_eq!(lines.with("the head of a request"), 0);
    assert_eq!(lines.with("something is wrong"), 1);
    assert_eq!(lines.with("sled's words"), 0);
    assert_eq!(lines.with("our own"), 1);
}
