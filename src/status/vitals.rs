//! How the running relay is, gathered when somebody asks, and how its counts grew in the last minute.
//!
//! Contract: a report is made of counts that are in memory; it reads no disk but asks how much of it is free. What is
//! remembered is a sample every [`SAMPLE_EVERY`] over a minute, whatever the load, and fewer over some minutes
//! ([`super::lately`]). What began or ended between two samples and has no other place on the board is noted there.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use auditrelay_config::{Config, Destination};
use auditrelay_dispatch::{Board, board::LaneView};
use auditrelay_store::{Engine, Ledger, Mute, Queue, QueueError, Space};
use secrecy::ExposeSecret;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    attention,
    lately::{Counts, Window},
    readings,
    report::{ActiveMute, Backlog, Budget, Disk, Rates, Report, Totals},
    troubles::Troubles,
};
use crate::{
    lanes::workspace_of,
    metrics::{LedgerMetrics, Readings},
    term::Leading,
    when::now_unix_ms,
};

const SAMPLE_EVERY: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);

/// What is needed to say how the relay is, beside its queue.
pub(crate) struct Vitals {
    board: Board,
    started_unix_ms: i64,
    samples: Mutex<VecDeque<Sample>>,
    window: Mutex<Window>,
    troubles: Mutex<Troubles>,
}

/// What the process says of itself.
pub(crate) struct Own {
    pub(crate) readings: Readings,
    /// Why the configuration that was loaded last cannot be used, if it cannot.
    pub(crate) not_loaded: Option<String>,
}

/// Counts at one time.
#[derive(Debug, Clone)]
struct Sample {
    at: Instant,
    received: u64,
    delivered: u64,
    /// Calls by channel.
    posts: BTreeMap<String, u64>,
    messages: u64,
}

impl Vitals {
    /// From now on.
    pub(crate) fn new(board: Board) -> Self {
        Self {
            board,
            started_unix_ms: now_unix_ms(),
            samples: Mutex::default(),
            window: Mutex::new(Window::new(Instant::now())),
            troubles: Mutex::default(),
        }
    }

    /// Notes counts now and then, and at once when a term begins or ends, until it is dropped.
    pub(crate) async fn look_on(
        &self,
        mut leading: watch::Receiver<Option<Arc<Leading>>>,
        metrics: &LedgerMetrics,
    ) {
        loop {
            let queue = leading
                .borrow_and_update()
                .as_ref()
                .map(|one| one.queue.clone());
            let readings = metrics.readings();
            locked(&self.window).note(Counts::of(Instant::now(), &readings));
            if let Some(queue) = queue {
                self.note(Sample::of(&queue.ledger(), &self.board.lanes()));
                let storage = queue.check().err();
                self.note_troubles(Troubles::of(&queue.space(), storage.as_ref(), &readings));
            } else {
                // The next term's counts are not this one's.
                locked(&self.samples).clear();
            }
            tokio::select! {
                () = sleep(SAMPLE_EVERY) => {}
                Ok(()) = leading.changed() => {}
            }
        }
    }

    /// What began or ended since the last look.
    fn note_troubles(&self, now: Troubles) {
        let mut before = locked(&self.troubles);
        for (part, text) in now.changes_since(&before) {
            self.board.incident(part, None, &text);
        }
        *before = now;
    }

    fn note(&self, sample: Sample) {
        let mut samples = locked(&self.samples);
        while samples
            .get(1)
            .is_some_and(|second| sample.at - second.at >= MINUTE)
        {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// The oldest sample of the last minute, or a little older.
    fn before(&self) -> Option<Sample> {
        locked(&self.samples).front().cloned()
    }

    /// How the relay is now.
    pub(crate) fn report(&self, queue: &Engine, config: &Config, own: &Own) -> Report {
        let (ledger, space, lanes) = (queue.ledger(), queue.space(), self.board.lanes());
        let now = Sample::of(&ledger, &lanes);
        let before = self.before();
        let rates = before.as_ref().map(|before| now.since(before));
        let slack = budgets(config, &now, before.as_ref());
        let mut report = Report {
            rates,
            slack,
            ..of_queue(queue)
        };
        if let Some(disk) = &mut report.disk {
            disk.queue_bytes_max = Some(space.bytes_max);
        }
        for name in config.channels.keys() {
            let channel = report.channels.entry(name.to_string()).or_default();
            channel.configured = true;
            channel.lane = lanes.get(name.as_str()).cloned();
        }
        self.fill_in(&mut report, own);
        attention::judge(&mut report, queue.check().err());
        report
    }

    /// How a replica is that does not lead: of the queue, the channels and the watchdog what the one that leads says, and
    /// the rest of its own. `storage` is why batches cannot be taken here, if they cannot.
    pub(crate) fn of_replica(
        &self,
        theirs: Result<Report, String>,
        own: &Own,
        storage: Option<QueueError>,
    ) -> Report {
        let no_leader = theirs.as_ref().err().cloned();
        let mut report = theirs.unwrap_or_else(|_| Report {
            now_unix_ms: now_unix_ms(),
            ..Report::default()
        });
        env!("CARGO_PKG_VERSION").clone_into(&mut report.version);
        let watchdog = report.watchdog.take();
        self.fill_in(&mut report, own);
        report.watchdog = watchdog;
        report.leads = false;
        report.no_leader = no_leader;
        attention::judge(&mut report, storage);
        report
    }

    /// What is the process's own.
    fn fill_in(&self, report: &mut Report, own: &Own) {
        let now = Counts::of(Instant::now(), &own.readings);
        report.running = true;
        report.started_unix_ms = Some(self.started_unix_ms);
        report.errors = self.board.incidents();
        report.lately = Some(locked(&self.window).until(&now));
        report.log_files.clear();
        readings::fill(report, &own.readings, own.not_loaded.clone());
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the queue alone tells, of a relay that runs or is stopped.
pub(super) fn of_queue(queue: &Engine) -> Report {
    let (ledger, space) = (&queue.ledger(), &queue.space());
    let report = of_counts(ledger, &queue.mutes(), space);
    with_backlog(report, queue.backlog())
}

fn with_backlog(mut report: Report, backlog: Vec<auditrelay_store::Backlog>) -> Report {
    let now = report.now_unix_ms;
    for one in backlog.into_iter().filter(|one| one.events > 0) {
        let age_ms = one.oldest_unix_ms.map_or(0, |oldest| (now - oldest).max(0));
        let oldest_age_seconds = u64::try_from(age_ms / 1_000).unwrap_or_default();
        let channel = report.channels.entry(one.channel).or_default();
        let oldest = channel.oldest_age_seconds.get_or_insert(0);
        *oldest = (*oldest).max(oldest_age_seconds);
        let waiting = Backlog {
            events: one.events,
            bytes: one.bytes,
            oldest_age_seconds,
        };
        let severity = one.severity.as_str().to_owned();
        channel.backlog.insert(severity, waiting);
    }
    report
}

fn of_counts(ledger: &Ledger, mutes: &[Mute], space: &Space) -> Report {
    let counts = &ledger.counts;
    let channels = ledger.channels.values();
    let report = Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now_unix_ms: now_unix_ms(),
        refusing: space.refusing.clone(),
        ledger: Some(Totals {
            received: ledger.received,
            duplicates: counts.duplicates,
            filtered: counts.filtered,
            muted: counts.muted,
            quarantined: counts.quarantined,
            routed: counts.routed,
            waiting: ledger.waiting,
            lost: ledger.lost,
            balanced: ledger.is_balanced(),
            delivered: channels.clone().map(|one| one.delivered).sum(),
            dead: channels.clone().map(|one| one.dead).sum(),
            dropped: channels.map(|one| one.dropped.total()).sum(),
        }),
        disk: Some(Disk {
            queue_bytes: space.used_bytes,
            queue_bytes_max: None,
            free_bytes: space.disk_free_bytes,
            free_bytes_min: space.disk_free_bytes_min,
            dead_bytes: space.dead_bytes,
            quarantine_bytes: space.quarantine_bytes,
            detail_bytes: space.detail_bytes,
            retained_bytes: space.retained_bytes,
        }),
        mutes: mutes
            .iter()
            .filter(|one| one.is_active())
            .map(active)
            .collect(),
        ..Report::default()
    };
    with_channels(report, ledger, space)
}

fn with_channels(mut report: Report, ledger: &Ledger, space: &Space) -> Report {
    for (name, counts) in &ledger.channels {
        let channel = report.channels.entry(name.clone()).or_default();
        channel.waiting += counts.waiting;
        channel.delivered = counts.delivered;
        channel.dead += counts.dead;
        channel.dropped = counts.dropped.total();
    }
    for (name, counts) in ledger.notices.iter().chain(&ledger.copies) {
        let channel = report.channels.entry(name.clone()).or_default();
        channel.waiting += counts.waiting;
        channel.dead += counts.dead;
    }
    for (name, channel) in &mut report.channels {
        channel.waiting_bytes = space.waiting_bytes.get(name).copied().unwrap_or_default();
        channel.muted = ledger
            .muted_deliveries
            .get(name)
            .copied()
            .unwrap_or_default();
    }
    report
}

fn active(mute: &Mute) -> ActiveMute {
    ActiveMute {
        id: mute.id,
        until_unix_ms: mute.asked.until_unix_ms,
        author: mute.asked.author.clone(),
        reason: mute.asked.reason.clone(),
        held: mute.held_total(),
    }
}

/// What each token posted in the last minute, whose names nobody hears.
fn budgets(config: &Config, now: &Sample, before: Option<&Sample>) -> Vec<Budget> {
    let mut of_tokens: BTreeMap<String, Budget> = BTreeMap::new();
    for (name, channel) in &config.channels {
        let who = match channel.destination(&config.slack) {
            Destination::SlackApi { token, .. } => token.expose_secret().to_owned(),
            Destination::Webhook { url } => workspace_of(url),
            Destination::PlainWebhook { .. } | Destination::Preview => continue,
        };
        let posts = |sample: &Sample| sample.posts.get(name.as_str()).copied();
        let earlier = before.and_then(posts).unwrap_or_default();
        let budget = of_tokens.entry(who).or_default();
        budget.channels.push(name.to_string());
        budget.posts_last_minute += posts(now).unwrap_or_default().saturating_sub(earlier);
        budget.messages_per_minute_max = config.slack.messages_per_minute.get();
    }
    let mut budgets: Vec<Budget> = of_tokens.into_values().collect();
    budgets.sort_by(|one, other| one.channels.cmp(&other.channels));
    budgets
}

impl Sample {
    fn of(ledger: &Ledger, lanes: &BTreeMap<String, LaneView>) -> Self {
        Self {
            at: Instant::now(),
            received: ledger.received,
            delivered: ledger.channels.values().map(|one| one.delivered).sum(),
            posts: lanes
                .iter()
                .map(|(name, lane)| (name.clone(), lane.posts))
                .collect(),
            messages: lanes.values().map(|lane| lane.messages).sum(),
        }
    }

    fn since(&self, before: &Self) -> Rates {
        let seconds = (self.at - before.at).as_secs_f64();
        // A moment after the start a count is no rate yet.
        let per_second = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds.max(1.0);
        Rates {
            over_seconds: seconds,
            received_per_second: per_second(self.received, before.received),
            delivered_per_second: per_second(self.delivered, before.delivered),
            messages_per_minute: 60.0 * per_second(self.messages, before.messages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant, received: u64) -> Sample {
        Sample {
            at,
            received,
            delivered: received / 2,
            posts: BTreeMap::new(),
            messages: received / 10,
        }
    }

    #[test]
    fn rates_are_of_the_last_minute_and_the_samples_are_few() {
        let vitals = Vitals::new(Board::default());
        let start = Instant::now();
        // A quiet hour, then ten events a second.
        let mut received = 0;
        for n in 0..800_u32 {
            let at = start + SAMPLE_EVERY * n;
            received += if n > 720 { 50 } else { 0 };
            vitals.note(sample(at, received));
            let kept = vitals.samples.lock().expect("no panic").len();
            assert!(kept <= 14, "{kept}");
        }
        let now = sample(start + SAMPLE_EVERY * 800, received + 50);
        let rates = now.since(&vitals.before().expect("one"));
        assert!((60.0..=66.0).contains(&rates.over_seconds), "{rates:?}");
        assert!((rates.received_per_second - 10.0).abs() < 0.01, "{rates:?}");
        assert!((rates.delivered_per_second - 5.0).abs() < 0.1, "{rates:?}");
        assert!((rates.messages_per_minute - 60.0).abs() < 1.0, "{rates:?}");
    }

    #[test]
    fn a_moment_after_the_start_nothing_is_blown_up() {
        let start = Instant::now();
        let now = sample(start + Duration::from_millis(1), 5);
        let rates = now.since(&sample(start, 0));
        assert!(rates.received_per_second <= 5.0, "{rates:?}");
    }
}
