//! What a simulation came to: figures by channel, what was filtered, and in words whether it will do.

use auditrelay_config::Config;
use serde::Serialize;

use super::{
    super::args::SimulateArgs,
    chart,
    figures::Figures,
    lanes::{Lanes, Shared},
    replay::Replayed,
};
use crate::output::{clock, count, table, time};

/// All of it; printed as it is by `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    files: u64,
    events: u64,
    unreadable: u64,
    duplicates: u64,
    #[serde(rename = "auditIDsReused")]
    reused: u64,
    told: u64,
    filtered: Vec<Count>,
    routes: Vec<Count>,
    from: Option<String>,
    to: Option<String>,
    pub(super) channels: Vec<ChannelReport>,
    verdicts: Vec<String>,
    assumed: Vec<String>,
    #[serde(skip)]
    notes: String,
    /// First and last minute of the charts, Unix time.
    #[serde(skip)]
    pub(super) minutes: (i64, i64),
    #[serde(skip)]
    charts: String,
}

#[derive(Debug, Serialize)]
struct Count {
    /// Nothing: no route took it.
    route: Option<String>,
    events: u64,
}

/// One channel.
#[derive(Debug, Serialize)]
pub(super) struct ChannelReport {
    pub(super) channel: String,
    events: u64,
    messages: u64,
    digests: u64,
    events_in_digests: u64,
    critical: u64,
    warning: u64,
    info: u64,
    messages_per_minute: f64,
    pub(super) worst_minute_messages: u64,
    /// What its interval lets through.
    pub(super) budget_per_minute: u64,
    digest_minutes_percent: u64,
    delay_p99_seconds: f64,
    delay_worst_seconds: f64,
    backlog_peak: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shares_place_with: Vec<String>,
    pub(super) minutes: Vec<MinuteReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct MinuteReport {
    pub(super) unix_minute: i64,
    pub(super) messages: u64,
    pub(super) digests: u64,
    events: u64,
}

impl Report {
    pub(super) fn new(
        args: &SimulateArgs,
        config: &Config,
        replayed: &Replayed,
        lanes: &Lanes,
        shared: &Shared,
    ) -> Self {
        let span = replayed.span_ms.unwrap_or((0, 0));
        let posted = lanes
            .figures
            .iter()
            .filter_map(|one| one.minutes.keys().next_back());
        let last = posted.copied().max().unwrap_or(span.1.div_euclid(60_000));
        let minutes = (
            span.0.div_euclid(60_000),
            last.max(span.1.div_euclid(60_000)),
        );
        let names: Vec<&str> = config.channels.keys().map(AsRef::as_ref).collect();
        let mut channels = Vec::new();
        let (mut charts, mut verdicts) = (String::new(), Vec::new());
        for (number, (channel, figures)) in config.channels.values().zip(&lanes.figures).enumerate()
        {
            let name = names[number];
            let budget = 60_000 / channel.message_interval_milliseconds.get().max(1);
            let shares =
                |other: &usize| *other != number && shared.places[*other] == shared.places[number];
            let shares = (0..names.len())
                .filter(shares)
                .map(|one| names[one].to_owned());
            let mut report = ChannelReport::new(name, figures, minutes, budget.max(1));
            report.shares_place_with = shares.collect();
            verdicts.push(report.verdict(figures, args.warn_digests));
            if figures.messages > 0 {
                let most = report.worst_minute_messages;
                let line = chart::line(&figures.minutes, minutes.0, minutes.1, most);
                charts.push_str(&format!("  {name:<16} {line}| {most} at most\n"));
            }
            channels.push(report);
        }
        verdicts.extend(tokens(config, lanes, shared, &names));
        let batch = args.batch_wait;
        Self {
            files: replayed.totals.files,
            events: replayed.totals.events,
            unreadable: replayed.totals.unreadable,
            duplicates: replayed.duplicates,
            reused: replayed.reused,
            told: replayed.told,
            filtered: counts(replayed.filtered.iter().map(|(name, events)| (name.clone(), *events))),
            routes: counts(
                replayed
                    .by_route
                    .iter()
                    .map(|(name, events)| ((!name.is_empty()).then(|| name.clone()), *events)),
            ),
            from: replayed.span_ms.map(|(from, _)| time(from)),
            to: replayed.span_ms.map(|(_, to)| time(to)),
            channels,
            verdicts,
            assumed: vec![
                format!(
                    "the API server posts a batch {batch} s after its first event, or when it has 400 (--batch-wait)"
                ),
                "Slack takes each message at once and refuses none; no mute is in force".to_owned(),
                "replies in the threads of digests are not counted, nor sentences too long for a message".to_owned(),
            ],
            notes: replayed.totals.told(),
            minutes,
            charts,
        }
    }

    /// The channels.
    fn table(&self) -> String {
        let seconds = |seconds: f64| format!("{seconds:.1} s");
        let row = |one: &ChannelReport| {
            vec![
                one.channel.clone(),
                one.events.to_string(),
                one.messages.to_string(),
                one.digests.to_string(),
                format!("{:.1}", one.messages_per_minute),
                one.worst_minute_messages.to_string(),
                one.budget_per_minute.to_string(),
                seconds(one.delay_p99_seconds),
                seconds(one.delay_worst_seconds),
                one.backlog_peak.to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = self.channels.iter().map(row).collect();
        let headers = [
            "channel",
            ">events",
            ">messages",
            ">digests",
            ">a minute",
            ">worst",
            ">room for",
            ">delay p99",
            ">worst delay",
            ">most waiting",
        ];
        table(&headers, &rows)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let (from, to) = (
            self.from.as_deref().unwrap_or("-"),
            self.to.as_deref().unwrap_or("-"),
        );
        let mut text = format!(
            "{} of {}, {from} to {to}\n{} told, {} filtered, {} more than once\n{}\n",
            count(self.events, "event"),
            count(self.files, "file"),
            count(self.told, "event"),
            self.filtered.iter().map(|one| one.events).sum::<u64>(),
            self.duplicates,
            self.notes,
        );
        text.push_str(&self.table());
        for (title, counts, none) in [
            ("told by route", &self.routes, "(the default channel)"),
            ("filtered by route", &self.filtered, "(no route took it)"),
        ] {
            let row = |one: &Count| {
                let route = one.route.clone().unwrap_or_else(|| none.to_owned());
                vec![route, one.events.to_string()]
            };
            let rows: Vec<Vec<String>> = counts.iter().map(row).collect();
            if !rows.is_empty() {
                text.push_str(&format!("\n{}", table(&[title, ">events"], &rows)));
            }
        }
        if !self.charts.is_empty() {
            let (first, last) = self.minutes;
            let each = chart::minutes_per_column(first, last);
            text.push_str(&format!(
                "\nmessages per minute, {} to {}, a column is {}\n{}",
                clock(first * 60_000),
                clock(last * 60_000),
                count(each as u64, "minute"),
                self.charts
            ));
        }
        text.push('\n');
        for verdict in &self.verdicts {
            text.push_str(&format!("{verdict}\n"));
        }
        text.push_str("\nassumed:\n");
        for one in &self.assumed {
            text.push_str(&format!("- {one}\n"));
        }
        text
    }
}

impl ChannelReport {
    fn new(name: &str, figures: &Figures, (first, last): (i64, i64), budget: u64) -> Self {
        let [critical, warning, info] = figures.by_severity;
        Self {
            channel: name.to_owned(),
            events: figures.events,
            messages: figures.messages,
            digests: figures.digests,
            events_in_digests: figures.events_in_digests,
            critical,
            warning,
            info,
            messages_per_minute: figures.messages as f64 / (last - first + 1).max(1) as f64,
            worst_minute_messages: figures.worst_minute().map_or(0, |(_, one)| one.messages),
            budget_per_minute: budget,
            digest_minutes_percent: figures.digest_minutes_percent(),
            delay_p99_seconds: figures.delays.percentile_ms(99) as f64 / 1_000.0,
            delay_worst_seconds: figures.delays.worst_ms() as f64 / 1_000.0,
            backlog_peak: figures.backlog_peak,
            shares_place_with: Vec::new(),
            minutes: figures
                .minutes
                .iter()
                .map(|(at, minute)| MinuteReport {
                    unix_minute: *at,
                    messages: minute.messages,
                    digests: minute.digests,
                    events: minute.events,
                })
                .collect(),
        }
    }

    /// Whether it will do, in a line.
    fn verdict(&self, figures: &Figures, warn_percent: u64) -> String {
        let Self {
            channel,
            budget_per_minute: budget,
            worst_minute_messages: worst,
            digest_minutes_percent: percent,
            ..
        } = self;
        let worst_words = count(*worst, "message");
        let shares = match self.shares_place_with.as_slice() {
            [] => String::new(),
            some => format!(" (shared with {})", some.join(" and ")),
        };
        if self.messages == 0 {
            return format!("{channel}: hears of nothing");
        }
        let Some(storm) = figures.storm() else {
            return format!(
                "{channel}: {worst_words} a minute at most, room for {budget}{shares}: fine"
            );
        };
        let storm = format!(
            "{} in {}-{} become {}, worst delay {}",
            count(storm.events, "event"),
            clock(storm.first * 60_000),
            clock((storm.last + 1) * 60_000),
            count(storm.messages, "message"),
            lasting(self.delay_worst_seconds)
        );
        if *percent > warn_percent {
            return format!(
                "warning: {channel}: digests in {percent} % of the minutes in which it posts: {storm}; narrow its \
                 routes, or send some of it elsewhere{shares}"
            );
        }
        format!("{channel}: {worst_words} a minute at most, room for {budget}{shares}; {storm}")
    }
}

/// What channels of one token post together.
fn tokens(config: &Config, lanes: &Lanes, shared: &Shared, names: &[&str]) -> Vec<String> {
    let room = config.slack.messages_per_minute.get();
    let numbers = shared
        .workspaces
        .iter()
        .flatten()
        .max()
        .map_or(0, |most| most + 1);
    let together = |token: usize| {
        let of_it = |number: &usize| shared.workspaces[*number] == Some(token);
        let channels: Vec<usize> = (0..names.len()).filter(of_it).collect();
        if channels.len() < 2 {
            return None;
        }
        let mut minutes = std::collections::BTreeMap::<i64, u64>::new();
        for number in &channels {
            for (at, minute) in &lanes.figures[*number].minutes {
                *minutes.entry(*at).or_default() += minute.messages;
            }
        }
        let worst = count(minutes.values().copied().max().unwrap_or(0), "message");
        let names: Vec<&str> = channels.iter().map(|one| names[*one]).collect();
        Some(format!(
            "{} together: {worst} a minute at most, their token has room for {room}",
            names.join(" and ")
        ))
    };
    (0..numbers).filter_map(together).collect()
}

/// What waits and was posted, now.
pub(super) fn live(config: &Config, lanes: &Lanes) -> String {
    let mut text = time(lanes.now().div_euclid(1_000));
    for (number, name) in config.channels.keys().enumerate() {
        let figures = &lanes.figures[number];
        let (posted, waiting) = (count(figures.messages, "message"), lanes.waiting(number));
        text.push_str(&format!(
            "  {name}: {posted}, {}, {waiting} waiting",
            count(figures.digests, "digest")
        ));
    }
    text.push('\n');
    text
}

fn counts(of: impl Iterator<Item = (Option<String>, u64)>) -> Vec<Count> {
    let mut counts: Vec<Count> = of.map(|(route, events)| Count { route, events }).collect();
    counts.sort_by(|one, other| {
        other
            .events
            .cmp(&one.events)
            .then(one.route.cmp(&other.route))
    });
    counts
}

/// `18 min`, `42 s`.
fn lasting(seconds: f64) -> String {
    match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        ..7_200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3_600.0),
    }
}
