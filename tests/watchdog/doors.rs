//! Doors that ask for something: the watchdog comes in as its own client, and tells of a certificate that is over.

use std::{fs, path::Path};

use super::{
    ACCEPTED, DELIVERED, FAILED,
    pki::{Authority, server},
    started,
    support::{metric, slack},
    switch::Switch,
    until_logged, until_metric,
};

const TLS: &str = "
cluster: prod
tls: {certificate_file: server.crt, key_file: server.key, client_ca_file: ca.crt}
clients:
- {name: prod-apiserver, cluster: prod, certificate_names: [audit-of-prod]}
- {name: dev-apiserver, token_file: tokens}
";

fn write(folder: &Path, file: &str, text: &str) {
    fs::write(folder.join(file), text).expect("written");
}

/// The files of [`TLS`]; the server's certificate ends so many seconds from now.
fn files(folder: &Path, seconds: i64) {
    let ca = Authority::new("ca");
    let mut wish = server("relay");
    wish.seconds = seconds;
    let pair = ca.signs(&wish);
    write(folder, "server.crt", &pair.certificate);
    write(folder, "server.key", &pair.key);
    write(folder, "ca.crt", &ca.pem());
    write(folder, "tokens", "a-token-of-somebody-else-1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_tokens_that_others_need_do_not_keep_it_out_and_slack_hears_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let (slack, switch) = (
        slack(std::time::Duration::ZERO).await,
        Switch::start().await,
    );
    files(folder.path(), 3_600);
    let config = format!(
        "{TLS}\nslack: {{token: xoxb-1, api_url: '{}'}}\nchannels: {{alive: {{slack_channel: C0ALIVE}}}}\n\
         watchdog: {{channel: alive}}\n",
        slack.api_url()
    );
    let running = started(folder.path(), &switch, &config);
    until_metric(&running, DELIVERED, |at| at > 0.0).await;
    // Who sent it may hear later that it was taken.
    let metrics = until_metric(&running, ACCEPTED, |sent| sent > 0.0).await;
    assert_eq!(
        (metric(&metrics, ACCEPTED), metric(&metrics, FAILED)),
        (1.0, 0.0)
    );
    // It is none of the clients.
    for client in ["prod-apiserver", "dev-apiserver"] {
        let seen = format!("{{client=\"{client}\"}} 1");
        assert!(!metrics.contains(&seen), "{metrics}");
    }
    let posts = slack.posts();
    assert_eq!(posts.len(), 1);
    let (text, blocks) = (&posts[0].body["text"], posts[0].body["blocks"].as_array());
    let text = text.as_str().expect("a text");
    assert!(text.starts_with("auditrelay of prod is alive"), "{text}");
    assert_eq!(blocks.expect("blocks").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired_is_told_once_and_there_is_no_sign_of_life() {
    let folder = tempfile::tempdir().expect("a folder");
    let switch = Switch::start().await;
    files(folder.path(), -60);
    let config = format!(
        "{TLS}\nchannels: {{ops: {{preview: true}}}}\nwatchdog: {{interval_seconds: 10, url_file: switch}}\n"
    );
    let mut running = started(folder.path(), &switch, &config);
    let metrics = until_metric(&running, FAILED, |failed| failed >= 1.0).await;
    assert_eq!(
        (metric(&metrics, ACCEPTED), metric(&metrics, DELIVERED)),
        (0.0, 0.0)
    );
    let told = "the certificate of tls.certificate_file has expired, so API servers are refusing it: renew it";
    let logs = until_logged(&mut running, told).await;
    assert_eq!(logs.matches(told).count(), 1, "{logs}");
    assert!(switch.taken().is_empty());

    // Mended while it runs.
    files(folder.path(), 3_600);
    until_metric(&running, DELIVERED, |at| at > 0.0).await;
    let logs = until_logged(&mut running, "accepted again by the relay's own webhook").await;
    assert_eq!(logs.matches(told).count(), 1, "{logs}");
    assert_eq!(switch.taken().len(), 1);
}
