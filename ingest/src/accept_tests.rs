//! What a batch says of requests counts once it is durable.

use std::time::Duration;

use auditrelay_audit::{HashKey, redact::Redactor};
use auditrelay_config::TlsConfig;
use auditrelay_store::{Engine, SledOptions};
use prometheus::Registry;
use tokio::time::advance;

use super::*;
use crate::{Advisor, Preparation};

fn ingest(queue: Engine, registry: &Registry) -> Arc<Ingest<Engine>> {
    let key = || HashKey::new([1; 32]);
    let preparation = Preparation {
        hash_key: key(),
        redactor: Redactor::new(key()),
        quarantine_raw: None,
        events_per_list_max: 10,
        advisor: Advisor::none(),
    };
    Arc::new(Ingest::new(
        queue,
        preparation,
        &IngestConfig::default(),
        "home".parse().expect("a name"),
        Arc::new(Keyring::open(&TlsConfig::default(), &[]).expect("empty")),
        Metrics::new(registry).expect("registered"),
    ))
}

/// Stores a list of one event.
async fn store(ingest: &Arc<Ingest<Engine>>, stage: &str, id: &str) -> Result<Stored, Refusal> {
    let body = format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{{"level":"Metadata","stage":"{stage}","auditID":"{id}"}}]}}"#
    );
    let reservation = ingest.budget.try_reserve(body.len())?;
    let received = Received {
        bytes: body.into_bytes(),
        reservation,
    };
    let asked = Asked {
        cluster: "home".parse().expect("a name"),
        encoding: Encoding::Identity,
    };
    Arc::clone(ingest)
        .store(asked, received, ingest.admit(0)?)
        .await
}

fn unfinished(registry: &Registry) -> f64 {
    let families = registry.gather();
    let mut found = families.iter();
    let family = found.find(|family| family.name() == "auditrelay_requests_unfinished_total");
    let series = family.expect("it is registered").get_metric();
    series.iter().map(|one| one.get_counter().get_value()).sum()
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_end_was_never_durable_is_counted_and_one_that_ended_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = Engine::open(&SledOptions::new(folder.path(), 7)).expect("opens");
    let (queue, registry) = (opened.queue, Registry::new());
    let ingest = ingest(queue.clone(), &registry);
    let stored = async |stage, id| assert!(store(&ingest, stage, id).await.is_ok(), "{stage} {id}");
    stored("RequestReceived", "first").await;
    advance(Duration::from_secs(251)).await;
    for id in ["whole", "cut"] {
        stored("RequestReceived", id).await;
    }
    stored("ResponseComplete", "whole").await;
    // From here on nothing is durable any more: the end of it is refused, and is not here.
    queue.finish().await.expect("it ended");
    let refused = store(&ingest, "ResponseComplete", "cut").await;
    assert!(refused.is_err_and(|refusal| refusal.reason == Reason::Queue));
    assert_eq!(unfinished(&registry), 0.0);
    advance(Duration::from_secs(651)).await;
    assert_eq!(unfinished(&registry), 1.0);
}
