//! The relay beside the limits of this machine: the same load on each, one after the other.
//!
//! Contract:
//! * each subject is a process of its own with an empty folder on the same file system, and takes the
//!   same load from this process;
//! * subjects take turns for several rounds, so that a machine that slows down slows all of them; a
//!   subject's figure is the median of its rounds;
//! * what could not be measured is told, never guessed.

pub mod bare;
pub mod checks;
pub mod report;
mod subject;
mod svg;

pub use subject::{Kind, Programs, Setup, Subject};

use std::{path::Path, time::Duration};

use serde::Serialize;

use crate::storm::{self, Load, Outcome};

/// One subject's figures in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Acknowledged events in a second.
    pub events_per_second: f64,
    /// Median latency of an acknowledgement, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, in milliseconds.
    pub p99_ms: f64,
    /// The slowest, in milliseconds.
    pub max_ms: f64,
    /// Processor seconds of the subject per million events.
    pub cpu_seconds_per_million: f64,
    /// Bytes it wrote per byte it was sent.
    pub written_per_received: f64,
    /// Its resident memory at the most, in bytes.
    pub resident_bytes_max: u64,
    /// Batches that were not acknowledged.
    pub refused: u64,
    /// Events acknowledged and not yet routed at the end; only the relay has such.
    pub unrouted: Option<u64>,
}

/// Runs one load on one subject.
///
/// # Errors
/// The subject does not start, breaks a connection, or ends.
pub async fn measure(
    kind: Kind,
    programs: &Programs,
    folder: &Path,
    load: Load,
) -> anyhow::Result<Figures> {
    let mut subject = Subject::start(kind, programs, folder).await?;
    let figures = put_under_load(&subject, load).await?;
    subject.stop().await?;
    Ok(figures)
}

/// The same for a subject that runs.
///
/// # Errors
/// It breaks a connection, or ends.
pub async fn put_under_load(subject: &Subject, load: Load) -> anyhow::Result<Figures> {
    // The first allocations, page faults and connections are not what is measured.
    let warm_up = Load {
        duration: Duration::from_millis(500),
        ..load
    };
    storm::run(warm_up, &subject.target).await?;
    let before = subject.usage()?;
    let outcome = storm::run(load, &subject.target).await?;
    let after = subject.usage()?;
    let unrouted = subject.unrouted().await?;
    Ok(figures(&outcome, before, after, unrouted))
}

fn figures(
    outcome: &Outcome,
    before: crate::process::Usage,
    after: crate::process::Usage,
    unrouted: Option<u64>,
) -> Figures {
    let millions = (outcome.events as f64 / 1e6).max(f64::MIN_POSITIVE);
    let received = (outcome.bytes as f64).max(1.0);
    Figures {
        events_per_second: outcome.events_per_second(),
        p50_ms: outcome.latency_ms(50.0),
        p99_ms: outcome.latency_ms(99.0),
        max_ms: outcome.latency_ms(100.0),
        cpu_seconds_per_million: (after.cpu_seconds - before.cpu_seconds) / millions,
        written_per_received: (after.written_bytes - before.written_bytes) as f64 / received,
        resident_bytes_max: after.resident_bytes_max,
        refused: outcome.refused.values().sum(),
        unrouted,
    }
}
