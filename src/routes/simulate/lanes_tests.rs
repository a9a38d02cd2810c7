//! Lanes in simulated time: how many messages, of which form, when.

use std::io::Write;

use auditrelay_config::{Overrides, load};

use super::*;

fn config(channels: &str) -> Config {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let text = format!("slack: {{token: xoxb-test}}\ndefault_channel: a\nchannels: {channels}\n");
    file.write_all(text.as_bytes()).expect("written");
    let loaded = load(Some(file.path()), [], Overrides::default());
    loaded.expect("valid").config
}

fn deliveries(count: usize, at_ms: i64, lane: u16, severity: u8) -> Vec<Delivery> {
    let one = Delivery {
        at_ms,
        arrives_ms: at_ms,
        bytes: 1_000,
        lane,
        severity,
    };
    vec![one; count]
}

fn run(config: &Config, batches: &[Vec<Delivery>]) -> Lanes {
    let (mut lanes, _) = Lanes::new(config);
    for batch in batches {
        lanes.arrive(batch);
    }
    lanes.run_out();
    let all: u64 = lanes.figures.iter().map(|one| one.events).sum();
    let sent: usize = batches.iter().map(Vec::len).sum();
    assert_eq!(all, sent as u64, "each event is posted once");
    assert!((0..lanes.figures.len()).all(|lane| lanes.waiting(lane) == 0));
    lanes
}

#[test]
fn what_gathers_while_the_pace_is_waited_for_becomes_a_digest() {
    let config = config("{a: {slack_channel: C1}}");
    // One alone goes at once; nine come within the second that follows.
    let batches = [0, 100, 200].map(|at| deliveries(if at == 0 { 1 } else { 5 }, at, 0, 2));
    let figures = &run(&config, &batches).figures[0];
    assert_eq!(
        (figures.messages, figures.digests, figures.events_in_digests),
        (2, 1, 10)
    );
    assert_eq!(figures.delays.worst_ms(), 900);
    assert_eq!(figures.backlog_peak, 10);
}

#[test]
fn limits_of_a_message_are_kept_and_the_most_severe_go_first() {
    let config = config("{a: {slack_channel: C1, message_events_max: 10}}");
    let mut batch = deliveries(25, 0, 0, 2);
    batch.extend(deliveries(5, 0, 0, 0));
    let figures = &run(&config, &[batch]).figures[0];
    // 5 critical and 5 others, 10, 10.
    assert_eq!((figures.messages, figures.digests), (3, 3));
    assert_eq!(figures.delays.worst_ms(), 2_000);
    assert_eq!(figures.by_severity, [5, 0, 25]);
}

#[test]
fn channels_of_one_place_share_its_pace_and_those_of_one_token_its_turns() {
    let shared = config("{a: {slack_channel: C1}, b: {slack_channel: \"#C1\"}}");
    let apart = config("{a: {slack_channel: C1}, b: {slack_channel: C2}}");
    let mut batch = deliveries(1, 0, 0, 2);
    batch.extend(deliveries(1, 0, 1, 2));
    let last = |config: &Config| {
        let lanes = run(config, std::slice::from_ref(&batch));
        lanes.figures.iter().map(|one| one.delays.worst_ms()).max()
    };
    assert_eq!(last(&shared), Some(1_000));
    // 240 a minute, of which four may come at once.
    assert_eq!(last(&apart), Some(0));
    let (_, same) = Lanes::new(&shared);
    assert_eq!(same.places, [0, 0]);
    let (_, other) = Lanes::new(&apart);
    assert_eq!(
        (other.places, other.workspaces),
        (vec![0, 1], vec![Some(0); 2])
    );
}
