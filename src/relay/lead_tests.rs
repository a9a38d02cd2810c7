//! A term that cannot begin yet, on a real server: it does not keep the relay from ending, nor another one from leading.

use std::fs;

use auditrelay_audit::HashKey;
use auditrelay_config::{Overrides, load};
use auditrelay_dispatch::{Routes, Templates};
use auditrelay_loadtest::nats::{NatsOptions, NatsServer};
use prometheus::Registry;

use super::*;
use crate::{
    commands_port::{Commands, Token},
    door_queue::DoorQueue,
    jetstream_options::jetstream_options,
    metrics::LedgerMetrics,
    status::Vitals,
};

/// Only a broken relay is waited for as long.
const PATIENCE: Duration = Duration::from_secs(60);

async fn leader(server: &NatsServer) -> Leader {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("c.yaml");
    let text = format!(
        "queue: {{jetstream: {{servers: ['{}'], monitoring: ['{}'], replicas: 1, relay_name: r0, lease_seconds: 3}}}}\n\
         channels: {{a: {{preview: true}}}}\n\
         default_channel: a\n",
        server.address(),
        server.monitoring()
    );
    fs::write(&file, text).expect("written");
    let config = load(Some(&file), [], Overrides::default());
    let config = config.expect("valid").config;
    let options = jetstream_options(&config).expect("on JetStream");
    let options = options.map_err(|error| error.to_string());
    let queue = JetStream::connect(&options.expect("complete")).await;
    let (queue, key) = (queue.expect("connects"), HashKey::new([2; 32]));
    let routes = Arc::new(Routes::of_relay(&config, &key));
    let templates = Templates::all(&config).expect("they work");
    let parts = Parts::new(config, &routes, &templates, key, false);
    let parts = Arc::new(parts.map_err(|error| error.to_string()).expect("tokens"));
    let registry = Registry::new();
    let dispatch_metrics = Metrics::new(&registry).expect("registered");
    let metrics = LeaderMetrics::new(&registry, "auditrelay").expect("registered");
    let (inbox, leading) = (queue.inbox(), parts.leading.subscribe());
    let admin = Admin {
        leading: leading.clone(),
        door: DoorQueue::Inbox(inbox.clone(), queue.clone()),
        replica: None,
        leader_metrics: metrics.clone(),
        current: parts.current.clone(),
        metrics: LedgerMetrics::new(&registry).expect("registered"),
        commands: Commands::new(leading, None, Token::new().expect("random")),
        vitals: Vitals::new(dispatch_metrics.board.clone()),
        reloader: None,
    };
    Leader {
        margin: queue.lease_lasts() / 3,
        queue,
        inbox,
        replica: "r0".to_owned(),
        parts,
        dispatch_metrics,
        metrics,
        admin: Arc::new(admin),
        ending: Ending::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_term_that_cannot_begin_yet_ends_with_the_relay_and_with_its_lease() {
    let server = NatsServer::start(&NatsOptions::default()).expect("starts");
    let Some(mut server) = server else { return };
    let leader = leader(&server).await;
    let leadership = leader.queue.lead_with("r0", leader.requests()).await;
    let leadership = leadership.expect("nobody else leads");
    let queue = leader.open(&leadership.tenure()).await;
    let queue = queue.ok().expect("opens");
    // A reload is under way, and takes long.
    let turn = leader.parts.turn().await;
    let (stop, stopped) = watch::channel(false);
    let loaded = || term::load(queue.clone(), &leader.parts, &leader.dispatch_metrics);
    let begun = |loaded: Result<Loaded, QueueError>, stopped: watch::Receiver<bool>| {
        let (leader, queue, leadership) = (&leader, &queue, &leadership);
        async move {
            let (loaded, holds) = (loaded.expect("it is empty"), HoldBook::default());
            let term = leader.term_of(queue, loaded, leadership, holds, &stopped);
            timeout(PATIENCE, term).await.expect("it ends")
        }
    };
    let term = begun(loaded().await, stopped);
    let (ended, _) = tokio::join!(term, async { stop.send_replace(true) });
    assert!(matches!(ended, Ended::Stopped));
    let (_stop, stopped) = watch::channel(false);
    let term = begun(loaded().await, stopped);
    let (ended, ()) = tokio::join!(term, async { server.kill() });
    assert!(matches!(ended, Ended::Failed(reason) if reason.contains("its lease ran out")));
    assert!(leader.parts.leading.borrow().is_none());
    drop(turn);
}
