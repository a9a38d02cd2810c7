//! How much one place of the code may write: so many lines a minute, and then none until the next minute.
//!
//! Invariants:
//! * it holds for the whole process and for every line, whoever's code writes it and whoever made it write: a storm, a
//!   client that sends nonsense, a disk that fails a thousand times a second;
//! * a line costs a look at a table and one atomic step, and no lock: who receives events is not held up by who writes lines;
//! * what is remembered is a few words for each place of the code that has ever written, and their number is that of
//!   the binary's places;
//! * what is left out is counted, and told once a minute with its places.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use tokio::time::Instant;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::{Layer, layer::Context};

/// Lines of level error, warn and info that one place may write in a minute.
pub(crate) const LINES_MAX: u32 = 60;
/// The same of debug and trace, which somebody asked for and waits for.
pub(crate) const ASKED_LINES_MAX: u32 = 6_000;
/// How long one measure lasts.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
/// Places that the line about what was left out names, those with most first.
const PLACES_MAX: usize = 10;

/// A place of the code by the address of its description, which is static.
type Place = usize;

/// Counts lines, and says which may be written.
pub(crate) struct Limiter {
    sites: ArcSwap<HashMap<Place, Arc<Site>>>,
    /// Held while a place is added; who only looks needs it not.
    adding: Mutex<()>,
    since: Instant,
    written: IntCounterVec,
    left_out: IntCounter,
}

/// One place of the code.
struct Site {
    /// Module and line.
    name: String,
    lines_max: u32,
    /// The minute in the upper half, what was written in it in the lower.
    window: AtomicU64,
    /// Not told yet.
    left_out: AtomicU64,
}

impl Limiter {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let written = IntCounterVec::new(
            Opts::new(
                "auditrelay_log_lines_total",
                "Lines written to the log, by level.",
            ),
            &["level"],
        )?;
        for level in ["error", "warn", "info", "debug", "trace"] {
            written.with_label_values(&[level]);
        }
        let left_out = IntCounter::new(
            "auditrelay_log_lines_suppressed_total",
            "Lines left out of the log, as their place in the code had written too many within the minute.",
        )?;
        Ok(Self {
            sites: ArcSwap::default(),
            adding: Mutex::default(),
            since: Instant::now(),
            written,
            left_out,
        })
    }

    /// Shows its counters in a registry.
    pub(crate) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.written.clone()))?;
        registry.register(Box::new(self.left_out.clone()))
    }

    /// Whether a line of this place may be written now. It counts as written then.
    fn pass(&self, metadata: &'static Metadata<'static>) -> bool {
        let passed = self.site(metadata).pass(self.minute());
        if passed {
            self.written
                .with_label_values(&[label(metadata.level())])
                .inc();
        } else {
            self.left_out.inc();
        }
        passed
    }

    fn minute(&self) -> u32 {
        let minutes = self.since.elapsed().as_secs() / MINUTE.as_secs();
        // After eight thousand years it begins anew.
        (minutes & u64::from(u32::MAX)) as u32
    }

    fn site(&self, metadata: &'static Metadata<'static>) -> Arc<Site> {
        let place = std::ptr::from_ref(metadata).addr();
        if let Some(site) = self.sites.load().get(&place) {
            return Arc::clone(site);
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sites = HashMap::clone(&self.sites.load());
        let site = sites
            .entry(place)
            .or_insert_with(|| Arc::new(Site::new(metadata)));
        let site = Arc::clone(site);
        self.sites.store(Arc::new(sites));
        site
    }

    /// Tells what was left out since it was told last, if anything was.
    pub(crate) fn tell_left_out(&self) {
        let mut places: Vec<(u64, Arc<Site>)> = self
            .sites
            .load()
            .values()
            .map(|site| (site.left_out.swap(0, Ordering::Relaxed), Arc::clone(site)))
            .filter(|(lines, _)| *lines > 0)
            .collect();
        if places.is_empty() {
            return;
        }
        places.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.name.cmp(&b.1.name)));
        let lines: u64 = places.iter().map(|(lines, _)| lines).sum();
        let named: Vec<String> = places
            .iter()
            .take(PLACES_MAX)
            .map(|(lines, site)| format!("{} ({lines})", site.name))
            .collect();
        tracing::warn!(
            lines,
            places = named.join(", "),
            "lines were left out of the log: a place of the code writes {LINES_MAX} a minute at most, \
             {ASKED_LINES_MAX} of debug and trace; metrics have counted what they would have told, and the first of \
             them say what to do"
        );
    }
}

impl Site {
    fn new(metadata: &Metadata<'_>) -> Self {
        let place = metadata.module_path().unwrap_or(metadata.target());
        Self {
            name: match metadata.line() {
                Some(line) => format!("{place}:{line}"),
                None => place.to_owned(),
            },
            lines_max: match *metadata.level() {
                Level::DEBUG | Level::TRACE => ASKED_LINES_MAX,
                _ => LINES_MAX,
            },
            window: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    fn pass(&self, minute: u32) -> bool {
        let pack = |lines: u32| u64::from(minute) << 32 | u64::from(lines);
        let counted = self
            .window
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |window| {
                if window >> 32 != u64::from(minute) {
                    return Some(pack(1));
                }
                let lines = (window & u64::from(u32::MAX)) as u32;
                (lines < self.lines_max).then(|| pack(lines + 1))
            });
        if counted.is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        counted.is_ok()
    }
}

fn label(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// The limiter in the way of every line.
pub(crate) struct Limited(pub(crate) Arc<Limiter>);

impl<S: Subscriber> Layer<S> for Limited {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.pass(event.metadata())
    }
}

#[cfg(test)]
#[path = "limit_tests.rs"]
mod tests;
