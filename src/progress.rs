//! A bar on a terminal's standard error; nothing where there is no terminal.

use std::io::Read;

use indicatif::{ProgressBar, ProgressStyle};

/// How far something is.
#[derive(Clone)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Shown from the first step on.
    pub(crate) fn new(what: &'static str) -> Self {
        let bar = ProgressBar::no_length().with_message(what);
        let style = ProgressStyle::with_template("{msg} [{wide_bar}] {percent:>3}% {eta:>4}");
        // The template is constant; a bar of the default style is as good.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    pub(crate) fn set(&self, done: u64, total: u64) {
        if total > 0 {
            self.0.set_length(total);
            self.0.set_position(done.min(total));
        }
    }

    /// A reader that counts what is read of `total` bytes.
    pub(crate) fn reading<R: Read>(&self, total: u64, reader: R) -> impl Read + use<R> {
        self.set(0, total);
        self.0.wrap_read(reader)
    }

    /// A reader that counts what is read of a total that is set already.
    pub(crate) fn passing<R: Read>(&self, reader: R) -> impl Read + use<R> {
        self.0.wrap_read(reader)
    }

    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
