//! A real Prometheus scrapes a relay on its bad day, and every query of every panel gets an answer.
//!
//! What a panel shows as 0 where its metric has no series yet is asked for without that: a name of a label's value that
//! does not exist must not hide behind it. `AUDITRELAY_DASHBOARD_ANSWERS` names a file that all answers are written to,
//! for a picture of them, and `AUDITRELAY_STORM_SECONDS` says how long the day is (docs/dashboards/shoot.sh).

use std::{collections::BTreeMap, fs, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::{
    boards::{NAMES, Panel, board, panels},
    prometheus::{Prometheus, Series, scraping},
    storm::{CHANNELS, Storm},
};

/// Longest wait for the last of the answers; only a query without one ever takes it.
const PATIENCE: Duration = Duration::from_secs(90);
/// Half a second of the day.
const STEP: Duration = Duration::from_millis(500);
/// How much of a day is calm before the storm, where a picture is to show how it began.
const CALM: f64 = 0.25;
/// What the picture of a single channel's page is about.
const PICTURED: &str = "everything";

/// Panels whose queries are rightly without an answer on this day, and why.
const EMPTY: [(&str, &str); 1] = [("Certificate ends in", "its door has no TLS")];

/// A query as Grafana sends it, with its variables filled in.
pub(crate) fn filled(expr: &str, channel: &str) -> String {
    expr.replace("$__rate_interval", "15s")
        .replace("channel=\"$channel\"", &format!("channel=\"{channel}\""))
        .replace("$channel", ".*")
        .replace("$cluster", ".*")
        .replace("$job", "auditrelay")
}

/// Without the 0 that stands in for a series that is not there yet.
fn without_comfort(expr: &str) -> String {
    let mut text = expr.to_owned();
    for comfort in [
        " or on () label_replace(0 * max(auditrelay_build_info{job=~\"$job\"}), \"reason\", \"none\", \"\", \"\")",
        " or 0 * max(auditrelay_build_info{job=~\"$job\"})",
        " or 0 * max(auditrelay_leader{job=~\"$job\"} == 1)",
    ] {
        text = text.replace(comfort, "");
    }
    assert!(!text.contains("build_info{job=~\"$job\"})"), "{text}");
    assert!(
        !text.contains("0 * max(auditrelay_leader{job=~\"$job\"} "),
        "{text}"
    );
    text
}

fn has_data(found: &[Series]) -> bool {
    let samples = found.iter().flat_map(|series| &series.samples);
    samples.into_iter().any(|(_, value)| value.is_finite())
}

fn now() -> f64 {
    Timestamp::now().as_duration().as_secs_f64()
}

/// A question of a panel that is still without an answer.
struct Question {
    place: String,
    expr: String,
}

impl Question {
    async fn is_answered(&self, prometheus: &Prometheus, since: f64) -> bool {
        for channel in CHANNELS {
            // Two steps of a subquery are longer than this day has to be.
            let query =
                filled(&without_comfort(&self.expr), channel).replace("[1h:15s]", "[1h:1s]");
            let found = prometheus.query_range(&query, since, now(), 1.0).await;
            let found = found.unwrap_or_else(|error| panic!("{}: {error}\n{query}", self.place));
            if has_data(&found) {
                return true;
            }
            if !self.expr.contains("\"$channel\"") {
                break;
            }
        }
        false
    }
}

fn questions() -> Vec<Question> {
    let is_empty = |panel: &Panel| {
        EMPTY
            .iter()
            .any(|(title, _)| *title == panel.string("/title"))
    };
    let asks = |panel: &Panel| {
        let place = panel.place.clone();
        let question = move |(letter, expr)| Question {
            place: format!("{place}, {letter}"),
            expr,
        };
        panel
            .queries()
            .into_iter()
            .map(question)
            .collect::<Vec<_>>()
    };
    let panels = panels();
    let asked = panels.iter().filter(|panel| !is_empty(panel));
    let mut questions: Vec<Question> = asked.flat_map(asks).collect();
    for name in NAMES {
        let board = board(name);
        for mark in board["annotations"]["list"].as_array().expect("a list") {
            questions.push(Question {
                place: format!("{name}.json, annotation {}", mark["name"]),
                expr: mark["expr"].as_str().expect("text").to_owned(),
            });
        }
    }
    questions
}

fn storm_seconds() -> Option<f64> {
    let text = std::env::var("AUDITRELAY_STORM_SECONDS").ok()?;
    Some(text.parse().expect("a number of seconds"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_every_panel_has_an_answer_on_a_bad_day() {
    let mut storm = Storm::start().await;
    let config = scraping(&[("auditrelay", storm.relay.admin)]);
    let Some(prometheus) = Prometheus::start(storm.folder.path(), &config).await else {
        return;
    };
    prometheus.until("up{job=\"auditrelay\"} == 1").await;
    // A little before, so that the relay's start is on the picture.
    let (since, start) = (now() - 6.0, Instant::now());
    let day = storm_seconds().map(Duration::from_secs_f64);
    let calm = day.unwrap_or_default().mul_f64(CALM);
    let mut open = questions();
    let mut has_dropped = false;
    let mut pictures = std::env::var("AUDITRELAY_DASHBOARD_ANSWERS").ok();
    for step in 1.. {
        storm.step(start.elapsed() >= calm).await;
        if step % 8 == 0 {
            has_dropped = has_dropped || storm.drop_a_dead_letter();
            let mut still = Vec::new();
            for question in open {
                if !question.is_answered(&prometheus, since).await {
                    still.push(question);
                }
            }
            open = still;
        }
        let is_over = day.is_none_or(|day| start.elapsed() >= day);
        if let Some(file) = pictures.take_if(|_| is_over) {
            let answers = answers(&prometheus, since).await;
            fs::write(file, answers.to_string()).expect("written");
        }
        if is_over && open.is_empty() {
            break;
        }
        let waited = start.elapsed().saturating_sub(day.unwrap_or_default());
        let missing = open
            .iter()
            .map(|one| format!("{}\n    {}", one.place, one.expr));
        let missing = missing.collect::<Vec<_>>().join("\n");
        assert!(waited < PATIENCE, "no answer to\n{missing}");
        sleep_until(start + STEP * step).await;
    }
    variables_have_values(&prometheus).await;
}

/// What the lists above a dashboard offer.
async fn variables_have_values(prometheus: &Prometheus) {
    for name in NAMES {
        let board = board(name);
        for variable in board["templating"]["list"].as_array().expect("a list") {
            let Some(query) = variable["query"]["query"].as_str() else {
                continue;
            };
            let inner = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')'))
                .expect("label_values");
            let (selector, label) = inner.rsplit_once(", ").expect("a label");
            let found = prometheus.query(&filled(selector, "")).await;
            let found = found.expect("a query");
            let values = found.iter().filter(|one| one.labels[label].is_string());
            assert!(values.count() > 0, "{name}: no values for {query}");
        }
    }
}

/// Every panel's answers from `since` to now, by dashboard, panel and query.
async fn answers(prometheus: &Prometheus, since: f64) -> Value {
    let until = now();
    let step = ((until - since) / 240.0).max(1.0).floor();
    let mut boards: BTreeMap<&str, BTreeMap<String, BTreeMap<String, Value>>> = BTreeMap::new();
    for panel in panels() {
        let mut own = BTreeMap::new();
        for (letter, expr) in panel.queries() {
            let query = filled(&expr, PICTURED);
            let found = prometheus.query_range(&query, since, until, step).await;
            let found = found.expect("a query");
            let series = found
                .iter()
                .map(|one| json!({"labels": one.labels, "samples": one.samples}));
            own.insert(letter, series.collect());
        }
        let id = panel.json["id"].to_string();
        boards.entry(panel.board).or_default().insert(id, own);
    }
    let marks = marks(prometheus, since, until).await;
    json!({"since": since, "until": until, "channel": PICTURED, "boards": boards, "marks": marks})
}

/// The moments that annotations mark: their queries' values, in milliseconds.
async fn marks(prometheus: &Prometheus, since: f64, until: f64) -> Value {
    let mut found = BTreeMap::new();
    for name in NAMES {
        let board = board(name);
        let mut own = BTreeMap::new();
        for mark in board["annotations"]["list"].as_array().expect("a list") {
            let query = filled(mark["expr"].as_str().expect("text"), PICTURED);
            let series = prometheus.query_range(&query, since, until, 1.0).await;
            let series = series.expect("a query");
            let samples = series.iter().flat_map(|one| &one.samples);
            let mut moments: Vec<f64> = samples.map(|(_, value)| value / 1000.0).collect();
            moments.dedup();
            own.insert(mark["name"].as_str().expect("a name").to_owned(), moments);
        }
        found.insert(name, own);
    }
    json!(found)
}
