//! Metrics as text: which form a scraper asks for, and OpenMetrics 1.0.
//!
//! Contract: what is asked for in `Accept` is what comes, as far as it is known here; who asks for nothing, or for
//! nothing that is known, gets Prometheus' text format. Both forms say the same samples. In OpenMetrics a counter's family
//! has no `_total`, a family that ends with its unit names it, and `le` is written as a float (`1.0`), as every
//! other client library does.

use std::fmt::Write as _;

use prometheus::{
    Encoder, TextEncoder,
    proto::{Histogram, LabelPair, MetricFamily, MetricType},
};

/// A form of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' own.
    Text,
    OpenMetrics1,
    /// What the draft was called; the same text.
    OpenMetrics001,
}

impl Format {
    /// The one that is liked best, of `Accept` headers in their order.
    pub(crate) fn asked_for<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let ranges = accept.into_iter().flat_map(|value| value.split(','));
        let mut best = (0, Self::Text);
        for range in ranges {
            if let Some((weight, format)) = asked(range)
                && weight > best.0
            {
                best = (weight, format);
            }
        }
        best.1
    }

    /// What `Content-Type` says.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics1 => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::OpenMetrics001 => "application/openmetrics-text; version=0.0.1; charset=utf-8",
        }
    }

    /// All families in this form.
    pub(crate) fn encode(self, families: &[MetricFamily]) -> Result<Vec<u8>, prometheus::Error> {
        match self {
            Self::Text => {
                let mut text = Vec::new();
                TextEncoder::new().encode(families, &mut text)?;
                Ok(text)
            }
            Self::OpenMetrics1 | Self::OpenMetrics001 => Ok(open_metrics(families).into_bytes()),
        }
    }
}

/// The weight in thousandths, and the form, of one range of `Accept`; `None` where nothing of it is known here.
fn asked(range: &str) -> Option<(u32, Format)> {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    let (mut weight, mut version) = (1_000, None);
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => weight = weight_of(value)?,
            "version" => version = Some(value.to_owned()),
            _ => {}
        }
    }
    let format = match (kind.as_str(), version.as_deref()) {
        ("application/openmetrics-text", None | Some("1.0.0")) => Format::OpenMetrics1,
        ("application/openmetrics-text", Some("0.0.1")) => Format::OpenMetrics001,
        ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Format::Text,
        _ => return None,
    };
    Some((weight, format))
}

fn weight_of(text: &str) -> Option<u32> {
    let weight: f64 = text.parse().ok()?;
    (0.0..=1.0)
        .contains(&weight)
        .then(|| (weight * 1_000.0).round() as u32)
}

const UNITS: [&str; 2] = ["seconds", "bytes"];

fn open_metrics(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        let kind = family.get_field_type();
        let name = match kind {
            MetricType::COUNTER => family.name().trim_end_matches("_total"),
            _ => family.name(),
        };
        let word = match kind {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY => "summary",
            MetricType::UNTYPED => "unknown",
        };
        // A String takes everything.
        let _ = writeln!(text, "# TYPE {name} {word}");
        let ends_with = |unit: &&&str| name.rsplit_once('_').is_some_and(|(_, end)| end == **unit);
        if let Some(unit) = UNITS.iter().find(ends_with) {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(text, "# HELP {name} {}", escaped(family.help()));
        for metric in family.get_metric() {
            let labels = metric.get_label();
            match kind {
                MetricType::COUNTER => {
                    let value = metric.get_counter().get_value();
                    sample(&mut text, (name, "_total"), labels, None, value);
                }
                MetricType::GAUGE => {
                    let value = metric.get_gauge().get_value();
                    sample(&mut text, (name, ""), labels, None, value);
                }
                MetricType::HISTOGRAM => {
                    histogram(&mut text, name, labels, metric.get_histogram());
                }
                // Nothing here makes one.
                MetricType::SUMMARY | MetricType::UNTYPED => {}
            }
        }
    }
    text.push_str("# EOF\n");
    text
}

fn histogram(text: &mut String, name: &str, labels: &[LabelPair], histogram: &Histogram) {
    let count = histogram.get_sample_count() as f64;
    for bucket in histogram.get_bucket() {
        let bound = bucket.upper_bound();
        if bound.is_finite() {
            let value = bucket.cumulative_count() as f64;
            sample(text, (name, "_bucket"), labels, Some(bound), value);
        }
    }
    sample(text, (name, "_bucket"), labels, Some(f64::INFINITY), count);
    sample(text, (name, "_count"), labels, None, count);
    let sum = histogram.get_sample_sum();
    sample(text, (name, "_sum"), labels, None, sum);
}

/// One line; `le` is the bound of a bucket.
fn sample(
    text: &mut String,
    (name, suffix): (&str, &str),
    labels: &[LabelPair],
    le: Option<f64>,
    value: f64,
) {
    text.push_str(name);
    text.push_str(suffix);
    let mut before = '{';
    for label in labels {
        let _ = write!(
            text,
            "{before}{}=\"{}\"",
            label.name(),
            escaped(label.value())
        );
        before = ',';
    }
    if let Some(le) = le {
        let _ = write!(text, "{before}le=\"{}\"", float(le));
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    let _ = writeln!(text, " {}", float(value));
}

fn float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        let sign = if value > 0.0 { '+' } else { '-' };
        format!("{sign}Inf")
    } else {
        format!("{value:?}")
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '"' => escaped.push_str("\\\""),
            one => escaped.push(one),
        }
    }
    escaped
}

#[cfg(test)]
#[path = "openmetrics_tests.rs"]
mod tests;
