//! What is counted as unfinished, and what must not be.

use auditrelay_audit::Envelope;
use tokio::time::advance;

use super::*;

fn gaps() -> Gaps {
    let labels = ClusterLabels::default();
    labels.set(["home", "prod"].map(str::to_owned));
    Gaps::new(labels).expect("made")
}

fn event(stage: &str, id: &str, rest: &str) -> String {
    format!(r#"{{"level":"Metadata","stage":"{stage}","auditID":"{id}"{rest}}}"#)
}

/// Notes a batch of these events of a cluster, as if it were durable.
fn batch(gaps: &Gaps, cluster: &str, events: &[String]) {
    let mut stages = gaps.stages(cluster);
    for event in events {
        let envelope = Envelope::parse(event).expect("an event");
        stages.note(cluster, &envelope);
    }
    gaps.durable(cluster, &stages);
}

fn begin(gaps: &Gaps, id: &str) {
    batch(gaps, "prod", &[event("RequestReceived", id, "")]);
}

fn end(gaps: &Gaps, id: &str) {
    batch(gaps, "prod", &[event("ResponseComplete", id, "")]);
}

fn unfinished(gaps: &Gaps, cluster: &str) -> u64 {
    drop(gaps.collect());
    gaps.unfinished.with_label_values(&[cluster]).get()
}

/// A relay that has seen the cluster's beginnings for long enough.
async fn at_work() -> Gaps {
    let gaps = gaps();
    begin(&gaps, "first");
    advance(ENDS_KEPT).await;
    gaps
}

const WELL_OVER: Duration = Duration::from_secs(651);

#[tokio::test(start_paused = true)]
async fn what_began_and_never_ended_is_counted_after_ten_minutes() {
    let gaps = at_work().await;
    begin(&gaps, "a");
    begin(&gaps, "b");
    for stage in ["ResponseStarted", "ResponseComplete", "Panic", "Unheard"] {
        begin(&gaps, stage);
        batch(&gaps, "prod", &[event(stage, stage, "")]);
    }
    advance(Duration::from_secs(5)).await;
    end(&gaps, "b");
    advance(Duration::from_secs(594)).await;
    assert_eq!(unfinished(&gaps, "prod"), 0);
    advance(WELL_OVER - Duration::from_secs(599)).await;
    assert_eq!(unfinished(&gaps, "prod"), 1);
    assert_eq!(unfinished(&gaps, "home"), 0);
    // Once.
    end(&gaps, "a");
    advance(WELL_OVER).await;
    assert_eq!(unfinished(&gaps, "prod"), 1);
    assert_eq!(gaps.untracked.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_end_may_come_before_its_beginning_and_a_batch_again() {
    let gaps = at_work().await;
    end(&gaps, "late");
    advance(Duration::from_secs(245)).await;
    begin(&gaps, "late");
    begin(&gaps, "again");
    end(&gaps, "again");
    advance(Duration::from_secs(245)).await;
    begin(&gaps, "again");
    // The same batch holds both, in whatever order.
    let both = ["ResponseComplete", "RequestReceived"].map(|stage| event(stage, "both", ""));
    batch(&gaps, "prod", &both);
    batch(&gaps, "prod", &both);
    advance(WELL_OVER).await;
    assert_eq!(unfinished(&gaps, "prod"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_beginning_that_comes_again_counts_once() {
    let gaps = at_work().await;
    begin(&gaps, "a");
    advance(Duration::from_secs(200)).await;
    begin(&gaps, "a");
    advance(WELL_OVER).await;
    assert_eq!(unfinished(&gaps, "prod"), 1);
}

#[tokio::test(start_paused = true)]
async fn before_all_ends_are_known_nothing_is_counted() {
    let gaps = gaps();
    // Its end was durable before the relay started.
    begin(&gaps, "a");
    advance(ENDS_KEPT - Duration::from_secs(1)).await;
    begin(&gaps, "b");
    advance(WELL_OVER).await;
    assert_eq!(unfinished(&gaps, "prod"), 0);
    assert_eq!(gaps.untracked.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn long_running_requests_and_those_without_an_id_are_left_out() {
    let gaps = at_work().await;
    let sub = |name| format!(r#","objectRef":{{"resource":"pods","subresource":"{name}"}}"#);
    let mut long = vec![
        r#","verb":"watch""#.to_owned(),
        r#","verb":"proxy""#.to_owned(),
        r#","verb":"get","requestURI":"/debug/pprof/profile""#.to_owned(),
    ];
    long.extend(["exec", "attach", "portforward", "proxy", "log"].map(sub));
    for (number, rest) in long.iter().enumerate() {
        let id = format!("{number}");
        batch(&gaps, "prod", &[event("RequestReceived", &id, rest)]);
    }
    begin(&gaps, "");
    // Others of them are none.
    let status = event("RequestReceived", "s", &sub("status"));
    batch(&gaps, "prod", &[status]);
    advance(WELL_OVER).await;
    assert_eq!(unfinished(&gaps, "prod"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_audit_id_that_a_client_chose_makes_no_gap() {
    let gaps = at_work().await;
    for _ in 0..100 {
        begin(&gaps, "mine");
        begin(&gaps, "mine");
        advance(Duration::from_secs(7)).await;
        end(&gaps, "mine");
        end(&gaps, "mine");
    }
    // Long after its last end it is a new one.
    advance(WELL_OVER).await;
    begin(&gaps, "other");
    assert_eq!(unfinished(&gaps, "prod"), 0);
}

#[tokio::test(start_paused = true)]
async fn clusters_are_apart_and_unknown_ones_share_a_label() {
    let gaps = at_work().await;
    let cluster = |name: &str, stage| batch(&gaps, name, &[event(stage, "same", "")]);
    for name in ["home", "x1", "x2"] {
        cluster(name, "RequestReceived");
    }
    advance(ENDS_KEPT).await;
    for name in ["home", "x1", "x2", "prod"] {
        batch(&gaps, name, &[event("RequestReceived", "later", "")]);
    }
    batch(&gaps, "x1", &[event("ResponseComplete", "later", "")]);
    batch(&gaps, "prod", &[event("ResponseComplete", "later", "")]);
    advance(WELL_OVER).await;
    let counted = ["home", "other", "prod"].map(|label| unfinished(&gaps, label));
    assert_eq!(counted, [1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_the_stage_costs_no_memory() {
    let gaps = gaps();
    let mut stages = gaps.stages("prod");
    let ended = event("ResponseComplete", "a", "");
    stages.note("prod", &Envelope::parse(&ended).expect("an event"));
    assert_eq!((stages.begun.capacity(), stages.ended.capacity()), (0, 0));
    gaps.durable("prod", &stages);
    assert!(gaps.state().tables.is_empty());
    // One that changed its policy does not, after a while.
    begin(&gaps, "b");
    assert!(gaps.stages("prod").watch.expect("on").keeps_ends);
    advance(WELL_OVER + 2 * SLICE).await;
    assert_eq!(unfinished(&gaps, "prod"), 0);
    assert!(gaps.state().tables.is_empty());
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_and_what_is_given_up_is_counted() {
    let gaps = at_work().await;
    begin(&gaps, "victim's cluster is small");
    batch(&gaps, "home", &[event("RequestReceived", "first", "")]);
    advance(ENDS_KEPT).await;
    gaps.state().requests_max = 100;
    let many: Vec<String> = (0..150)
        .map(|number| event("RequestReceived", &format!("{number}"), ""))
        .collect();
    batch(&gaps, "home", &many);
    let all: usize = gaps.state().tables.values().map(Table::len).sum();
    assert_eq!((all, gaps.untracked.get()), (100, 51));
    advance(WELL_OVER).await;
    // The one that was not of the flood is still known.
    assert_eq!(unfinished(&gaps, "prod"), 1);
    assert_eq!(unfinished(&gaps, "home"), 99);
}

#[tokio::test(start_paused = true)]
async fn where_ends_are_too_many_nothing_is_counted_until_they_are_known_again() {
    let gaps = at_work().await;
    gaps.state().requests_max = 100;
    for number in 0..150 {
        end(&gaps, &format!("{number}"));
    }
    // The end of 3 was forgotten.
    begin(&gaps, "3");
    begin(&gaps, "new");
    assert_eq!(gaps.untracked.get(), 2);
    advance(ENDS_KEPT).await;
    begin(&gaps, "watched again");
    assert_eq!(gaps.untracked.get(), 2);
    advance(WELL_OVER).await;
    assert_eq!(unfinished(&gaps, "prod"), 1);
}

#[tokio::test(start_paused = true)]
async fn other_labels_forget_what_was_under_the_old_ones() {
    let gaps = at_work().await;
    begin(&gaps, "a");
    let gone = gaps.labels.set([]);
    assert_eq!(gone, ["home", "prod"]);
    gaps.show(&gone);
    advance(WELL_OVER).await;
    assert_eq!(unfinished(&gaps, "other"), 0);
    let families = gaps.collect();
    let series = families[0].get_metric().len();
    assert_eq!(series, gaps.labels.all().len(), "{families:?}");
}

#[tokio::test(start_paused = true)]
async fn where_ends_may_come_to_another_relay_nothing_is_counted() {
    let gaps = at_work().await;
    gaps.show(&[]);
    let series = || gaps.collect()[0].get_metric().len();
    assert_eq!(series(), 3, "home, prod and other");
    gaps.sees_a_part();
    gaps.show(&[]);
    begin(&gaps, "a");
    advance(WELL_OVER).await;
    assert_eq!(series(), 0);
}

#[test]
fn several_relays_are_those_on_jetstream() {
    let parts = "queue: {jetstream: {replicas: 1, servers: ['nats://n:4222'], monitoring: ['http://n:8222']}}";
    let whole = "{}";
    for (text, is_part) in [(whole, false), (parts, true)] {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        std::io::Write::write_all(&mut file, text.as_bytes()).expect("written");
        let overrides = auditrelay_config::Overrides::default();
        let loaded = auditrelay_config::load(Some(file.path()), [], overrides).expect("valid");
        let metrics = crate::clusters::ClusterMetrics::new(&prometheus::Registry::new());
        let metrics = metrics.expect("registered");
        metrics.tell_apart(&loaded.config);
        assert_eq!(metrics.gaps.state().is_part, is_part);
    }
}
