//! The dashboards of `dashboards/`, with a real Prometheus that scrapes a real relay.

#[path = "../support/prometheus.rs"]
mod prometheus;
#[path = "../support/mod.rs"]
mod support;

use prometheus::{Prometheus, scraping};
use support::{Running, drop_in};

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_scrapes_a_relay() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = Running::start(folder.path(), &drop_in("http://127.0.0.1:1"), &[]);
    let config = scraping(&[("auditrelay", relay.admin)]);
    let Some(prometheus) = Prometheus::start(folder.path(), &config).await else {
        return;
    };
    prometheus.until("up{job=\"auditrelay\"} == 1").await;
    let version = prometheus.query("auditrelay_build_info").await;
    assert_eq!(version.expect("a query")[0].labels["job"], "auditrelay");
    assert!(prometheus.query("sum(").await.is_err());
    assert!(prometheus.is_healthy().await);
}
