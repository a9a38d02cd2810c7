//! What delivery tells Prometheus, and the board beside it. Labels come from the configuration or from closed sets.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector,
};

use crate::{Board, clusters::ClusterCounts, watchdog::Heartbeats};

/// What a lane can be in.
const STATES: [&str; 3] = ["open", "holding", "parked"];

/// Every metric of this crate; clones share them.
#[derive(Clone)]
pub struct Metrics {
    /// What lanes last did, for people: it goes wherever their numbers go.
    pub board: Board,
    /// Attempts to post, by channel and outcome (`accepted`, `later`, `park`, `never`, `unknown`).
    pub posts: IntCounterVec,
    /// Look-ups for a message that may have been posted, by channel and outcome (`found`, `absent`,
    /// `unknowable`, `failed`).
    pub lookups: IntCounterVec,
    /// How often a channel's lane was parked.
    pub parked: IntCounterVec,
    /// Digests whose details were not all posted, by channel.
    pub details_given_up: IntCounterVec,
    /// Messages accepted, by channel and form (`sentences`, `digest`, `details`).
    pub messages: IntCounterVec,
    /// 1 for the state a channel's lane is in (`open`, `holding`, `parked`), else 0.
    pub lane_state: IntGaugeVec,
    /// The last `Retry-After` of a channel, in seconds.
    pub retry_after_seconds: IntGaugeVec,
    /// From an event's stage time to its delivery in a channel, in seconds.
    pub delivery_delay_seconds: HistogramVec,
    /// When a channel's last message was accepted, Unix time in seconds; 0 before the first.
    pub last_delivered: IntGaugeVec,
    /// How long requests to Slack took, by method.
    pub slack_requests: HistogramVec,
    /// Messages of all channels of a token, by the name of the first of them.
    workspace_messages: IntCounterVec,
    workspace_messages_max: IntGaugeVec,
    /// What became of the watchdog's events.
    pub watchdog: Heartbeats,
    /// Events whose audit ID and stage were seen with other content.
    pub audit_id_reuse: IntCounter,
    /// New events and duplicates, by cluster.
    pub clusters: ClusterCounts,
    /// Events that the dedup window remembers.
    pub dedup_entries: IntGauge,
    /// How far back the dedup window reaches, in seconds.
    pub dedup_window_seconds: IntGauge,
    /// Events that the dedup window had to forget before it had passed.
    pub dedup_forgotten_early: IntCounter,
    /// Keys that rates had to forget before their time had passed.
    pub rate_forgotten: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// A name is taken.
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name, help, labels: &[&str]| {
            add(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let gauges = |name, help, labels: &[&str]| {
            add(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let gauge = |name, help| add(registry, IntGauge::new(name, help)?);
        let counter = |name, help| add(registry, IntCounter::new(name, help)?);
        Ok(Self {
            board: Board::default(),
            posts: counters(
                "auditrelay_posts_total",
                "Attempts to post a message, by outcome.",
                &["channel", "outcome"],
            )?,
            lookups: counters(
                "auditrelay_lookups_total",
                "Look-ups for a message that may have been posted, by outcome.",
                &["channel", "outcome"],
            )?,
            parked: counters(
                "auditrelay_parked_total",
                "How often a channel's lane was parked.",
                &["channel"],
            )?,
            details_given_up: counters(
                "auditrelay_details_given_up_total",
                "Digests whose details were not all posted.",
                &["channel"],
            )?,
            messages: counters(
                "auditrelay_messages_total",
                "Messages accepted by the destination, by form.",
                &["channel", "form"],
            )?,
            lane_state: gauges(
                "auditrelay_lane_state",
                "1 for the state that a channel's lane is in.",
                &["channel", "state"],
            )?,
            retry_after_seconds: gauges(
                "auditrelay_retry_after_seconds",
                "The last Retry-After that a channel was given.",
                &["channel"],
            )?,
            delivery_delay_seconds: delivery_delay(registry)?,
            last_delivered: gauges(
                "auditrelay_channel_last_delivered_timestamp_seconds",
                "When a channel's last message was accepted; 0 before the first.",
                &["channel"],
            )?,
            slack_requests: slack_requests(registry)?,
            watchdog: Heartbeats::new(registry)?,
            workspace_messages: counters(
                "auditrelay_workspace_messages_total",
                "Calls that post a message, of all channels of one token.",
                &["workspace"],
            )?,
            workspace_messages_max: gauges(
                "auditrelay_workspace_messages_per_minute_max",
                "Messages a minute that the channels of one token post at the most.",
                &["workspace"],
            )?,
            clusters: ClusterCounts::new(registry)?,
            audit_id_reuse: counter(
                "auditrelay_audit_id_reuse_total",
                "Events whose audit ID and stage were seen with other content.",
            )?,
            dedup_entries: gauge(
                "auditrelay_dedup_entries",
                "Events that the dedup window remembers.",
            )?,
            dedup_window_seconds: gauge(
                "auditrelay_dedup_window_seconds",
                "How far back the dedup window reaches.",
            )?,
            dedup_forgotten_early: counter(
                "auditrelay_dedup_forgotten_early_total",
                "Events that had to be forgotten before the dedup window had passed.",
            )?,
            rate_forgotten: counter(
                "auditrelay_rate_forgotten_total",
                "Keys of rates that had to be forgotten before their time had passed.",
            )?,
        })
    }

    /// Makes a channel's series exist, so that a zero can be told from an absence.
    pub fn start_channel(&self, channel: &str) {
        for outcome in ["accepted", "later", "park", "never", "unknown"] {
            self.posts.with_label_values(&[channel, outcome]);
        }
        for outcome in ["found", "absent", "unknowable", "failed"] {
            self.lookups.with_label_values(&[channel, outcome]);
        }
        self.parked.with_label_values(&[channel]);
        self.details_given_up.with_label_values(&[channel]);
        for form in ["sentences", "digest", "details"] {
            self.messages.with_label_values(&[channel, form]);
        }
        self.retry_after_seconds.with_label_values(&[channel]);
        self.delivery_delay_seconds.with_label_values(&[channel]);
        self.last_delivered.with_label_values(&[channel]);
        self.set_lane(channel, "open");
    }

    /// A channel has no lane any more: what its series say of now is not so any more. Counters stay, as
    /// what they count has happened.
    pub fn stop_channel(&self, channel: &str) {
        for state in STATES {
            // One that was never set is gone already.
            let _ = self.lane_state.remove_label_values(&[channel, state]);
        }
        for gauge in [&self.retry_after_seconds, &self.last_delivered] {
            let _ = gauge.remove_label_values(&[channel]);
        }
    }

    /// This relay has no lanes any more, as another one leads now: what its series and its board say of now is not so any
    /// more. Counters stay.
    pub fn no_lanes(&self) {
        let of_now = [
            &self.lane_state,
            &self.retry_after_seconds,
            &self.last_delivered,
            &self.workspace_messages_max,
        ];
        for gauge in of_now {
            gauge.reset();
        }
        self.dedup_entries.set(0);
        self.dedup_window_seconds.set(0);
        self.board.no_lanes();
    }

    /// The counter of a token's messages, of which there may be so many a minute. `workspace` is the name of
    /// the first channel that uses the token: nothing of the token itself is ever told.
    pub fn workspace(&self, workspace: &str, messages_per_minute_max: u64) -> IntCounter {
        let max = i64::try_from(messages_per_minute_max).unwrap_or(i64::MAX);
        let gauge = self.workspace_messages_max.with_label_values(&[workspace]);
        gauge.set(max);
        self.workspace_messages.with_label_values(&[workspace])
    }

    /// No channel has the token any more, or another one is the first of its channels.
    pub fn stop_workspace(&self, workspace: &str) {
        let _ = self
            .workspace_messages_max
            .remove_label_values(&[workspace]);
    }

    /// Notes a lane's state.
    pub fn set_lane(&self, channel: &str, state: &str) {
        for one in STATES {
            self.lane_state
                .with_label_values(&[channel, one])
                .set(i64::from(one == state));
        }
    }
}

pub(crate) fn add<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// By method of the Web API, and `webhook`: the callers name it by constants alone.
fn slack_requests(registry: &Registry) -> Result<HistogramVec, prometheus::Error> {
    let duration = HistogramOpts::new(
        "auditrelay_slack_request_duration_seconds",
        "Time that an HTTP request to Slack took, whatever came of it.",
    )
    .buckets(vec![0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]);
    add(registry, HistogramVec::new(duration, &["method"])?)
}

fn delivery_delay(registry: &Registry) -> Result<HistogramVec, prometheus::Error> {
    let delay = HistogramOpts::new(
        "auditrelay_delivery_delay_seconds",
        "Time from an event's stage to its delivery in a channel.",
    )
    .buckets(vec![
        0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0,
    ]);
    add(registry, HistogramVec::new(delay, &["channel"])?)
}
