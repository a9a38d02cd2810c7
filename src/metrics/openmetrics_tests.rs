//! Which form is chosen, and how one looks. Whether others can read it: tests/metrics.

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounterVec, Opts, Registry};

use super::*;

#[test]
fn what_a_scraper_asks_for_is_what_comes() {
    let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                        text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                        application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,\
                        text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    let older =
        "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, expected) in [
        (prometheus_2, Format::OpenMetrics1),
        (prometheus_3, Format::OpenMetrics1),
        (older, Format::OpenMetrics001),
        ("", Format::Text),
        ("*/*", Format::Text),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
        ("text/plain", Format::Text),
        (
            "APPLICATION/OpenMetrics-Text ; Version=\"1.0.0\"",
            Format::OpenMetrics1,
        ),
        (
            "application/openmetrics-text;q=0, text/plain;q=0.1",
            Format::Text,
        ),
        ("application/openmetrics-text;q=0", Format::Text),
        (
            "application/openmetrics-text;q=0.2,text/plain;q=0.3",
            Format::Text,
        ),
        ("application/openmetrics-text;version=2.0.0", Format::Text),
        (
            "application/openmetrics-text;q=much,text/plain;q=0.1",
            Format::Text,
        ),
        (
            "application/vnd.google.protobuf;encoding=delimited",
            Format::Text,
        ),
        (";;;,=,q", Format::Text),
    ] {
        assert_eq!(Format::asked_for([accept]), expected, "{accept}");
    }
    // Several headers are one list.
    let two = ["text/plain;q=0.4", "application/openmetrics-text;q=0.5"];
    assert_eq!(Format::asked_for(two), Format::OpenMetrics1);
    assert_eq!(Format::asked_for([]), Format::Text);
}

#[test]
fn families_have_their_names_units_and_escapes() {
    let registry = Registry::new();
    let posts = IntCounterVec::new(
        Opts::new("a_posts_total", "A \"help\"\nwith \\."),
        &["channel"],
    );
    let posts = posts.expect("made");
    posts.with_label_values(&["o\"p\\s\n"]).inc_by(3);
    let age = Gauge::new("b_age_seconds", "An age.").expect("made");
    age.set(f64::INFINITY);
    let seconds_max = Gauge::new("c_seconds_max", "A limit.").expect("made");
    seconds_max.set(2.5);
    let waits = HistogramOpts::new("d_wait_seconds", "Waits.").buckets(vec![0.5, 1.0, 3600.0]);
    let waits = Histogram::with_opts(waits).expect("made");
    waits.observe(0.75);
    waits.observe(4000.0);
    registry.register(Box::new(posts)).expect("new");
    registry.register(Box::new(age)).expect("new");
    registry.register(Box::new(seconds_max)).expect("new");
    registry.register(Box::new(waits)).expect("new");
    let expected = r#"# TYPE a_posts counter
# HELP a_posts A \"help\"\nwith \\.
a_posts_total{channel="o\"p\\s\n"} 3.0
# TYPE b_age_seconds gauge
# UNIT b_age_seconds seconds
# HELP b_age_seconds An age.
b_age_seconds +Inf
# TYPE c_seconds_max gauge
# HELP c_seconds_max A limit.
c_seconds_max 2.5
# TYPE d_wait_seconds histogram
# UNIT d_wait_seconds seconds
# HELP d_wait_seconds Waits.
d_wait_seconds_bucket{le="0.5"} 0.0
d_wait_seconds_bucket{le="1.0"} 1.0
d_wait_seconds_bucket{le="3600.0"} 1.0
d_wait_seconds_bucket{le="+Inf"} 2.0
d_wait_seconds_count 2.0
d_wait_seconds_sum 4000.75
# EOF
"#;
    let text = Format::OpenMetrics1.encode(&registry.gather());
    assert_eq!(
        String::from_utf8(text.expect("encoded")).expect("text"),
        expected
    );
}
