//! Promise P6: what is wrong with one channel harms no other.

use std::{collections::BTreeMap, time::Duration};

use auditrelay_loadtest::slack::{Effect, Fault, Limits, Options};

use crate::{
    SECOND, from_env, measured, relay, started,
    support::{ids, list},
};

/// One token may post 100 messages a second at the most, so 200 channels at full pace need several.
const TOKENS: usize = 4;

/// The whole size is 200 (`AUDITRELAY_CHANNELS=200`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_channel_and_a_slow_one_leave_all_others_at_full_pace() {
    let channels = from_env("AUDITRELAY_CHANNELS", 60);
    let folder = tempfile::tempdir().expect("a folder");
    let slack = started(Options {
        limits: Limits::none(),
        ..Options::default()
    })
    .await;
    let mut config = String::from(
        "slack: { api_url: API_URL, messages_per_minute: 6000 }\ndefault_channel: n0\nchannels:\n",
    );
    let mut routes = String::from("routes:\n");
    for n in 0..channels {
        config.push_str(&format!(
            "  n{n}: {{ slack_channel: CN{n:04}, token: xoxb-test-{}, message_events_max: 1 }}\n",
            n % TOKENS
        ));
        routes.push_str(&format!(
            "  - {{ name: n{n}, channel: n{n}, users: [user{n}] }}\n"
        ));
    }
    slack.change_channel("CN0000", |channel| channel.archived = true);
    // An answer takes 8 s.
    slack.inject(
        Fault::new(Effect::Delay {
            milliseconds: 8_000,
        })
        .on("CN0001")
        .times(1_000),
    );
    let relay = relay(folder.path(), &slack, &(config + &routes));
    let messages = 8;
    for n in 0..channels {
        let body = list(
            &format!("user{n}"),
            "delete",
            ids(&format!("n{n}"), messages),
        );
        assert_eq!(relay.post("/webhook", body).await.0, 200);
    }
    let wanted = (channels - 2) * messages;
    let counts = || {
        let mut counts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for post in slack.posts() {
            counts
                .entry(post.channel)
                .or_default()
                .push(post.elapsed_ms);
        }
        counts.remove("CN0001");
        counts
    };
    let deadline = tokio::time::Instant::now() + SECOND * 40;
    while counts().values().map(Vec::len).sum::<usize>() < wanted {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", counts());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let counts = counts();
    assert_eq!(counts.len(), channels - 2, "the dead one took something");
    let slowest = counts
        .values()
        .map(|at| (at[messages - 1] - at[0]) as f64 / (messages as f64 - 1.0))
        .fold(0.0, f64::max);
    measured(&format!(
        "{} channels: the slowest took {slowest:.0} ms a message",
        counts.len()
    ));
    assert!(
        slowest < 1_500.0,
        "full pace is 1,000 ms a message, the slowest took {slowest:.0}"
    );
}
