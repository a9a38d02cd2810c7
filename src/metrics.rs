//! The ledger as metrics, and what the process says of itself.
//!
//! The counters live in the store, so that they survive a restart; they are copied here at each scrape.

use std::{collections::BTreeMap, sync::Mutex, time::SystemTime};

use auditrelay_store::{Ledger, OtherCounts, Space};
use prometheus::{
    GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    process_collector::ProcessCollector, proto::MetricType,
};

pub(crate) use openmetrics::Format;

use crate::{backlog_metrics::BacklogMetrics, logs, space_metrics::SpaceMetrics};

/// Values of gauges and counters that have one label at the most: by name, then by the label's value (`""` without one).
pub(crate) type Readings = BTreeMap<String, BTreeMap<String, f64>>;

/// The relay's registry and what is filled at scrape time.
pub(crate) struct LedgerMetrics {
    /// What this process does.
    registry: Registry,
    /// What the queue holds: of several relays on one, only the one that leads tells.
    of_queue: Registry,
    events: IntCounterVec,
    filtered: IntCounterVec,
    waiting: IntGauge,
    lost: IntGauge,
    channel_events: IntCounterVec,
    channel_dropped: IntCounterVec,
    channel_waiting: IntGaugeVec,
    channel_dead: IntGaugeVec,
    pub(crate) mutes: MuteMetrics,
    notices: OtherMetrics,
    copies: OtherMetrics,
    space: SpaceMetrics,
    pub(crate) backlog: BacklogMetrics,
    pub(crate) store_moved_aside: IntGauge,
    // Two scrapes at once would copy the counters twice.
    scrape: Mutex<()>,
}

/// Makes metrics and registers them.
pub(crate) struct Register<'a>(pub(crate) &'a Registry);

impl Register<'_> {
    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(vec.clone()))?;
        Ok(vec)
    }

    pub(crate) fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let vec = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(vec.clone()))?;
        Ok(vec)
    }

    pub(crate) fn float_gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        let vec = GaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(vec.clone()))?;
        Ok(vec)
    }

    pub(crate) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let gauge = IntGauge::new(name, help)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }
}

/// A count as a gauge has it.
pub(crate) fn gauge_value(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn set(vec: &IntCounterVec, labels: &[&str], value: u64) {
    let counter = vec.with_label_values(labels);
    counter.reset();
    counter.inc_by(value);
}

/// Deliveries that are no routed events.
struct OtherMetrics {
    total: IntCounterVec,
    waiting: IntGaugeVec,
    dead: IntGaugeVec,
}

impl OtherMetrics {
    fn notices(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            total: register.counters(
                "auditrelay_notices_total",
                "The relay's own notices, which are no events, by fate.",
                &["channel", "fate"],
            )?,
            waiting: register.gauges(
                "auditrelay_waiting_notices",
                "The relay's own notices that wait in a channel.",
                &["channel"],
            )?,
            dead: register.gauges(
                "auditrelay_dead_notices",
                "The relay's own notices that are dead letters.",
                &["channel"],
            )?,
        })
    }

    fn copies(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            total: register.counters(
                "auditrelay_copies_total",
                "Copies of events that were routed before, by fate.",
                &["channel", "fate"],
            )?,
            waiting: register.gauges(
                "auditrelay_waiting_copies",
                "Copies that wait in a channel.",
                &["channel"],
            )?,
            dead: register.gauges(
                "auditrelay_dead_copies",
                "Copies that are dead letters.",
                &["channel"],
            )?,
        })
    }

    fn copy(&self, channels: &BTreeMap<String, OtherCounts>) {
        for (name, counts) in channels {
            for (fate, value) in [
                ("queued", counts.queued),
                ("delivered", counts.delivered),
                ("dropped", counts.dropped),
            ] {
                set(&self.total, &[name, fate], value);
            }
            for (gauge, value) in [(&self.waiting, counts.waiting), (&self.dead, counts.dead)] {
                gauge.with_label_values(&[name]).set(gauge_value(value));
            }
        }
    }
}

/// What is held back, and by how many mutes.
pub(crate) struct MuteMetrics {
    held: IntCounterVec,
    pub(crate) active: IntGauge,
}

impl MuteMetrics {
    fn new(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            held: register.counters(
                "auditrelay_events_muted_total",
                "Deliveries of a channel that a mute held back.",
                &["channel"],
            )?,
            active: register.gauge(
                "auditrelay_mutes_active",
                "Mutes that hold something back now.",
            )?,
        })
    }
}

/// Counts of 0 for channels of the configuration to which nothing was routed yet: a series that began with 1 would hide
/// the first dead letter, and the first drop, from whoever asks how much it grew.
pub(crate) fn with_channels<'a>(
    mut ledger: Ledger,
    configured: impl Iterator<Item = &'a str>,
) -> Ledger {
    for name in configured {
        ledger.channels.entry(name.to_owned()).or_default();
        ledger.notices.entry(name.to_owned()).or_default();
        ledger.copies.entry(name.to_owned()).or_default();
    }
    ledger
}

impl LedgerMetrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let own = Register(registry);
        tell_of_the_process(&own)?;
        logs::register(registry)?;
        let of_queue = Registry::new();
        let register = Register(&of_queue);
        Ok(Self {
            registry: registry.clone(),
            events: register.counters(
                "auditrelay_ledger_events_total",
                "Events by fate; received is the sum of the others and of those waiting.",
                &["fate"],
            )?,
            filtered: register.counters(
                "auditrelay_events_filtered_total",
                "Filtered events by the route that took them; without one no route matched.",
                &["route"],
            )?,
            waiting: register.gauge(
                "auditrelay_ledger_waiting_events",
                "Events acknowledged and not yet routed.",
            )?,
            lost: register.gauge(
                "auditrelay_ledger_lost_events",
                "Events in damaged stores that were moved aside, as far as it is known.",
            )?,
            channel_events: register.counters(
                "auditrelay_channel_events_total",
                "Deliveries of a channel by fate; those that were dropped have a metric of their own.",
                &["channel", "fate"],
            )?,
            channel_dropped: register.counters(
                "auditrelay_channel_dropped_events_total",
                "Deliveries of a channel that were given up on purpose, by reason.",
                &["channel", "reason"],
            )?,
            channel_waiting: register.gauges(
                "auditrelay_channel_waiting_events",
                "Deliveries that wait in a channel.",
                &["channel"],
            )?,
            channel_dead: register.gauges(
                "auditrelay_channel_dead_events",
                "Deliveries of a channel that are dead letters.",
                &["channel"],
            )?,
            mutes: MuteMetrics::new(&register)?,
            notices: OtherMetrics::notices(&register)?,
            copies: OtherMetrics::copies(&register)?,
            space: SpaceMetrics::new(&register)?,
            backlog: BacklogMetrics::new(&register)?,
            store_moved_aside: own.gauge(
                "auditrelay_store_moved_aside",
                "1 if the store was damaged at this start and was moved aside.",
            )?,
            scrape: Mutex::new(()),
            of_queue,
        })
    }

    /// What the parts of the relay say of themselves; what is copied at a scrape only is as old as the last one.
    pub(crate) fn readings(&self) -> Readings {
        let mut readings = Readings::new();
        for family in self.registry.gather() {
            let kind = family.get_field_type();
            for metric in family.get_metric() {
                let label = match metric.get_label() {
                    [] => "",
                    [one] => one.value(),
                    _ => continue,
                };
                let value = match kind {
                    MetricType::GAUGE => metric.get_gauge().get_value(),
                    MetricType::COUNTER => metric.get_counter().get_value(),
                    _ => continue,
                };
                let values = readings.entry(family.name().to_owned()).or_default();
                values.insert(label.to_owned(), value);
            }
        }
        readings
    }

    /// Everything, in a form that was asked for.
    pub(crate) fn text(
        &self,
        ledger: &Ledger,
        space: &Space,
        format: Format,
    ) -> Result<Vec<u8>, prometheus::Error> {
        let _one_at_a_time = self
            .scrape
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        self.copy(ledger);
        self.space.copy(space, ledger.channels.keys());
        let mut families = self.registry.gather();
        families.extend(self.of_queue.gather());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        format.encode(&families)
    }

    /// What this process does, and nothing of a queue that another one leads.
    pub(crate) fn text_of_door(&self, format: Format) -> Result<Vec<u8>, prometheus::Error> {
        format.encode(&self.registry.gather())
    }

    fn copy(&self, ledger: &Ledger) {
        let counts = &ledger.counts;
        for (fate, value) in [
            ("received", ledger.received),
            ("duplicates", counts.duplicates),
            ("filtered", counts.filtered),
            ("muted", counts.muted),
            ("quarantined", counts.quarantined),
            ("routed", counts.routed),
        ] {
            set(&self.events, &[fate], value);
        }
        // A route that the ledger has forgotten has no series any more.
        self.filtered.reset();
        let by_name: u64 = ledger.filtered_by.values().sum();
        set(
            &self.filtered,
            &[""],
            counts.filtered - by_name.min(counts.filtered),
        );
        for (route, events) in &ledger.filtered_by {
            set(&self.filtered, &[route], *events);
        }
        self.waiting.set(gauge_value(ledger.waiting));
        self.lost.set(gauge_value(ledger.lost));
        for (name, channel) in &ledger.channels {
            for (fate, value) in [("routed", channel.routed), ("delivered", channel.delivered)] {
                set(&self.channel_events, &[name, fate], value);
            }
            for (reason, value) in channel.dropped.by_reason() {
                set(&self.channel_dropped, &[name, reason], value);
            }
            // What is dead falls again when it is redriven or dropped, so it is no counter.
            for (gauge, value) in [
                (&self.channel_waiting, channel.waiting),
                (&self.channel_dead, channel.dead),
            ] {
                gauge.with_label_values(&[name]).set(gauge_value(value));
            }
            // So that a 0 can be told from an absence.
            self.mutes.held.with_label_values(&[name]);
        }
        for (name, events) in &ledger.muted_deliveries {
            set(&self.mutes.held, &[name], *events);
        }
        self.notices.copy(&ledger.notices);
        self.copies.copy(&ledger.copies);
    }
}

fn tell_of_the_process(register: &Register<'_>) -> Result<(), prometheus::Error> {
    let build = register.gauges("auditrelay_build_info", "Always 1.", &["version"])?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    let started = register.gauge(
        "auditrelay_start_time_seconds",
        "When the process started, Unix time.",
    )?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    started.set(gauge_value(now.as_secs()));
    register.0.register(Box::new(ProcessCollector::for_self()))
}

mod openmetrics;
#[cfg(test)]
mod tests;
