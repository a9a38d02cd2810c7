//! The ledger as metrics, and what the process says of itself.
//!
//! The counters live in the store, so that they survive a restart; they are copied here at each scrape.

use std::{collections::BTreeMap, sync::Mutex, time::SystemTime};

use auditrelay_store::{Ledger, OtherCounts, Space};
use prometheus::{Encoder, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::space_metrics::SpaceMetrics;

/// The relay's registry and what is filled at scrape time.
pub(crate) struct LedgerMetrics {
    registry: Registry,
    events: IntCounterVec,
    waiting: IntGauge,
    lost: IntGauge,
    channel_events: IntCounterVec,
    channel_dropped: IntCounterVec,
    channel_waiting: IntGaugeVec,
    muted: IntCounterVec,
    pub(crate) mutes_active: IntGauge,
    notices: OtherMetrics,
    copies: OtherMetrics,
    space: SpaceMetrics,
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
}

impl OtherMetrics {
    fn copy(&self, channels: &BTreeMap<String, OtherCounts>) {
        for (name, counts) in channels {
            for (fate, value) in [
                ("queued", counts.queued),
                ("delivered", counts.delivered),
                ("dead", counts.dead),
                ("dropped", counts.dropped),
            ] {
                set(&self.total, &[name, fate], value);
            }
            let waiting = self.waiting.with_label_values(&[name]);
            waiting.set(gauge_value(counts.waiting));
        }
    }
}

impl LedgerMetrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let register = Register(registry);
        tell_of_the_process(&register)?;
        Ok(Self {
            registry: registry.clone(),
            events: register.counters(
                "auditrelay_ledger_events_total",
                "Events by fate; received is the sum of the others and of those waiting.",
                &["fate"],
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
            muted: register.counters(
                "auditrelay_events_muted_total",
                "Deliveries of a channel that a mute held back.",
                &["channel"],
            )?,
            mutes_active: register.gauge(
                "auditrelay_mutes_active",
                "Mutes that hold something back now.",
            )?,
            notices: OtherMetrics {
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
            },
            copies: OtherMetrics {
                total: register.counters(
                    "auditrelay_copies_total",
                    "Copies that a replay made of events that were routed before, by fate.",
                    &["channel", "fate"],
                )?,
                waiting: register.gauges(
                    "auditrelay_waiting_copies",
                    "Copies of a replay that wait in a channel.",
                    &["channel"],
                )?,
            },
            space: SpaceMetrics::new(&register)?,
            store_moved_aside: register.gauge(
                "auditrelay_store_moved_aside",
                "1 if the store was damaged at this start and was moved aside.",
            )?,
            scrape: Mutex::new(()),
        })
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn text(
        &self,
        ledger: &Ledger,
        space: &Space,
    ) -> Result<Vec<u8>, prometheus::Error> {
        let _one_at_a_time = self
            .scrape
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        self.copy(ledger);
        self.space.copy(space, ledger.channels.keys());
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
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
        self.waiting.set(gauge_value(ledger.waiting));
        self.lost.set(gauge_value(ledger.lost));
        for (name, channel) in &ledger.channels {
            for (fate, value) in [
                ("routed", channel.routed),
                ("delivered", channel.delivered),
                ("dead", channel.dead),
            ] {
                set(&self.channel_events, &[name, fate], value);
            }
            for (reason, value) in channel.dropped.by_reason() {
                set(&self.channel_dropped, &[name, reason], value);
            }
            let waiting = self.channel_waiting.with_label_values(&[name]);
            waiting.set(gauge_value(channel.waiting));
            // So that a 0 can be told from an absence.
            self.muted.with_label_values(&[name]);
        }
        for (name, events) in &ledger.muted_deliveries {
            set(&self.muted, &[name], *events);
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use auditrelay_store::{ChannelCounts, Dropped};

    use super::*;

    /// The value of a series in what a scrape reads; `None` if there is no such series.
    fn value(text: &str, series: &str) -> Option<f64> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|number| number.parse().expect("a number"))
    }

    fn scrape(metrics: &LedgerMetrics, ledger: &Ledger, space: &Space) -> String {
        let text = metrics.text(ledger, space).expect("encoded");
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn what_was_muted_stands_by_channel_and_a_0_is_told_from_an_absence() {
        let metrics = LedgerMetrics::new(&Registry::new()).expect("registered");
        let mut ledger = Ledger::default();
        ledger.channels.insert("ops".into(), Default::default());
        ledger.channels.insert("sec".into(), Default::default());
        ledger.muted_deliveries.insert("sec".into(), 4);
        metrics.mutes_active.set(2);
        for _ in 0..2 {
            let text = scrape(&metrics, &ledger, &Space::default());
            for (series, expected) in [
                (r#"auditrelay_events_muted_total{channel="ops"}"#, Some(0.0)),
                (r#"auditrelay_events_muted_total{channel="sec"}"#, Some(4.0)),
                (r#"auditrelay_events_muted_total{channel="dev"}"#, None),
                ("auditrelay_mutes_active", Some(2.0)),
            ] {
                assert_eq!(value(&text, series), expected, "{series}\n{text}");
            }
        }
    }

    #[test]
    fn what_was_dropped_stands_by_reason_and_once() {
        let metrics = LedgerMetrics::new(&Registry::new()).expect("registered");
        let mut ledger = Ledger {
            lost: 4,
            ..Ledger::default()
        };
        let counts = ChannelCounts {
            routed: 9,
            delivered: 1,
            waiting: 2,
            dead: 1,
            dropped: Dropped {
                quota: 3,
                command: 2,
            },
        };
        ledger.channels.insert("ops".into(), counts);
        let others = OtherCounts {
            queued: 15,
            delivered: 1,
            waiting: 2,
            dead: 4,
            dropped: 8,
        };
        ledger.notices.insert("ops".into(), others);
        ledger.copies.insert("dev".into(), others);
        // Twice, as counters that are copied must not add up.
        scrape(&metrics, &ledger, &Space::default());
        let text = scrape(&metrics, &ledger, &Space::default());
        for (series, expected) in [
            ("auditrelay_ledger_lost_events", 4.0),
            (
                r#"auditrelay_channel_events_total{channel="ops",fate="routed"}"#,
                9.0,
            ),
            (
                r#"auditrelay_channel_dropped_events_total{channel="ops",reason="quota"}"#,
                3.0,
            ),
            (
                r#"auditrelay_channel_dropped_events_total{channel="ops",reason="command"}"#,
                2.0,
            ),
            (
                r#"auditrelay_notices_total{channel="ops",fate="queued"}"#,
                15.0,
            ),
            (
                r#"auditrelay_notices_total{channel="ops",fate="dropped"}"#,
                8.0,
            ),
            (r#"auditrelay_waiting_notices{channel="ops"}"#, 2.0),
            (r#"auditrelay_copies_total{channel="dev",fate="dead"}"#, 4.0),
            (r#"auditrelay_waiting_copies{channel="dev"}"#, 2.0),
        ] {
            assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
        }
        let sum = r#"auditrelay_channel_events_total{channel="ops",fate="dropped"}"#;
        assert_eq!(value(&text, sum), None);
    }

    #[test]
    fn space_is_told_by_who_has_it_and_nothing_stays_that_is_gone() {
        let metrics = LedgerMetrics::new(&Registry::new()).expect("registered");
        let mut ledger = Ledger::default();
        for name in ["ops", "dev"] {
            ledger
                .channels
                .insert(name.into(), ChannelCounts::default());
        }
        let mut space = Space {
            used_bytes: 1,
            bytes_max: 2,
            disk_free_bytes: Some(3),
            disk_free_bytes_min: 4,
            refusing: Some("full".into()),
            waiting_bytes: [("ops".to_owned(), 5), ("gone".to_owned(), 6)].into(),
            channel_bytes_max: 7,
            dead_bytes: 8,
            quarantine_bytes: 9,
            detail_bytes: 10,
            retained_bytes: 11,
        };
        let text = scrape(&metrics, &ledger, &space);
        for (series, expected) in [
            ("auditrelay_queue_bytes", 1.0),
            ("auditrelay_queue_bytes_max", 2.0),
            ("auditrelay_disk_free_bytes", 3.0),
            ("auditrelay_disk_free_bytes_min", 4.0),
            ("auditrelay_queue_refusing", 1.0),
            (r#"auditrelay_channel_waiting_bytes{channel="ops"}"#, 5.0),
            (r#"auditrelay_channel_waiting_bytes{channel="dev"}"#, 0.0),
            (r#"auditrelay_channel_waiting_bytes{channel="gone"}"#, 6.0),
            ("auditrelay_channel_bytes_max", 7.0),
            ("auditrelay_dead_bytes", 8.0),
            ("auditrelay_quarantine_bytes", 9.0),
            ("auditrelay_detail_bytes", 10.0),
            ("auditrelay_retained_bytes", 11.0),
        ] {
            assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
        }
        space.refusing = None;
        space.disk_free_bytes = None;
        space.waiting_bytes.clear();
        let text = scrape(&metrics, &ledger, &space);
        for (series, expected) in [
            ("auditrelay_queue_refusing", Some(0.0)),
            ("auditrelay_disk_free_bytes", None),
            (
                r#"auditrelay_channel_waiting_bytes{channel="ops"}"#,
                Some(0.0),
            ),
            (r#"auditrelay_channel_waiting_bytes{channel="gone"}"#, None),
        ] {
            assert_eq!(value(&text, series), expected, "{series}\n{text}");
        }
    }
}
