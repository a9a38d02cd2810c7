//! What metrics say of Slack's budget: whose calls it is spent on, and how long they take.

use std::fs;

use super::{deletions, metrics_once, names, relay, started};
use crate::support::metric;

const CONFIG: &str = "
slack: {api_url: API_URL, token_file: token}
queue: {digest_detail_hours: 1}
channels:
  zebra: {slack_channel: C0ZEBRA, message_interval_milliseconds: 100}
  apes: {slack_channel: C0APES, message_interval_milliseconds: 100}
  hook: {webhook_url_file: hook, message_interval_milliseconds: 100}
  own: {slack_channel: C0OWN, token_file: own, message_interval_milliseconds: 100}
default_channel: apes
routes:
  - {name: z, channel: [zebra, apes, hook], users: [alice]}
";

#[tokio::test(flavor = "multi_thread")]
async fn calls_count_by_the_first_channel_of_their_token_and_nothing_names_the_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = started(Default::default()).await;
    let hook = slack.webhook_url("CHOOK");
    for (file, secret) in [
        ("token", "xoxb-shared-canary"),
        ("own", "xoxb-own-canary"),
        ("hook", hook.as_str()),
    ] {
        fs::write(folder.path().join(file), secret).expect("written");
    }
    let running = relay(folder.path(), &slack, CONFIG);
    let (status, _) = running.post("/webhook", deletions(&names("pod", 2))).await;
    assert_eq!(status, 200);
    running.drained().await;
    let delays = "auditrelay_delivery_delay_seconds_count{channel=\"zebra\"}";
    let metrics = metrics_once(&running, delays, 2.0).await;
    let of = |name: &str, workspace: &str| {
        metric(
            &metrics,
            &format!("auditrelay_workspace_{name}{{workspace=\"{workspace}\"}}"),
        )
    };
    let posted = |channel: &str| {
        slack
            .posts()
            .iter()
            .filter(|one| one.channel == channel)
            .count()
    };
    let shared = posted("C0APES") + posted("C0ZEBRA");
    assert!(shared >= 2, "{shared}");
    assert_eq!(of("messages_total", "apes"), shared as f64);
    assert!(of("messages_total", "hook") >= 1.0);
    assert_eq!(of("messages_total", "own"), 0.0);
    for workspace in ["apes", "hook", "own"] {
        assert!(of("messages_per_minute_max", workspace) > 0.0);
    }
    assert!(!metrics.contains("workspace=\"zebra\""), "{metrics}");
    let took = |method: &str| {
        let of_method = format!("_count{{method=\"{method}\"}}");
        metric(
            &metrics,
            &format!("auditrelay_slack_request_duration_seconds{of_method}"),
        )
    };
    assert_eq!(took("chat.postMessage"), shared as f64);
    assert!(took("webhook") >= 1.0);
    assert_eq!(
        metric(
            &metrics,
            "auditrelay_channel_last_delivered_timestamp_seconds{channel=\"own\"}"
        ),
        0.0
    );
    for secret in ["canary", "CHOOK", "services"] {
        assert!(!metrics.contains(secret), "{secret}");
    }
}
