//! The relay that leads: stopped past its lease, killed, ended.

use std::time::Duration;

use auditrelay_loadtest::slack::{Effect, Fault};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    bench::{ApiServers, Bench},
    say,
    support::PATIENCE,
};

/// The promise: so soon after a crash another one leads.
const CRASH: Duration = Duration::from_secs(15);
/// At once: less than the lease, so it did not run out.
const AT_ONCE: Duration = Duration::from_secs(3);
/// The default.
const LEASE_SECONDS: u32 = 6;
/// How long a relay that came back is watched.
const WATCHED: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leader_stopped_past_its_lease_posts_nothing_more_and_follows() {
    let Some(mut bench) = Bench::start(LEASE_SECONDS).await else {
        return;
    };
    let (first, _) = bench.until_one_leads(PATIENCE).await;
    let api_servers = ApiServers::start(&bench.service);
    bench.service.goes_on(50).await;
    // Messages are posted, and their answers are under way when it is stopped.
    let held = Fault::new(Effect::Delay {
        milliseconds: 2_500,
    });
    bench.slack.inject(held.times(2));
    let before = bench.slack.posts().len();
    let posted = async {
        while bench.slack.posts().len() < before + 2 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, posted)
        .await
        .expect("something is posted");
    bench.stop_relay(first);
    let stopped = Instant::now();
    let (second, _) = bench.until_one_leads(CRASH).await;
    let took = stopped.elapsed();
    assert_ne!(second, first);
    bench.service.goes_on(50).await;
    // The one that leads now is known to post before the other one comes back.
    let so_far = bench.posts.of(second);
    let posting = async {
        while bench.posts.of(second) < so_far + 5 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, posting)
        .await
        .expect("the new leader posts");
    let posts = bench.posts.of(first);
    bench.cont_relay(first);
    sleep(WATCHED).await;
    assert_eq!(bench.posts.of(first), posts, "it posted after its lease");
    assert_eq!(bench.leaders().await, [second]);
    bench.nobody_ended();
    say(&format!(
        "r{second} led {took:?} after r{first} was stopped"
    ));
    bench
        .settled(api_servers, "a leader stopped past its lease")
        .await;
    assert_eq!(bench.posts.of(first), posts, "it posted after its lease");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_one_leads_soon_after_a_crash_and_at_once_after_a_shutdown() {
    let Some(mut bench) = Bench::start(LEASE_SECONDS).await else {
        return;
    };
    let (first, _) = bench.until_one_leads(PATIENCE).await;
    let api_servers = ApiServers::start(&bench.service);
    bench.service.goes_on(50).await;
    bench.kill_relay(first).await;
    let (second, crash) = bench.until_one_leads(CRASH).await;
    bench.service.goes_on(30).await;
    bench.start_relay(first);
    bench.service.goes_on(30).await;
    let begun = Instant::now();
    bench.end_relay(second).await;
    let ended = begun.elapsed();
    // Counted from the end of the one that led: it finishes what is under way first.
    let (third, shutdown) = bench.until_one_leads(AT_ONCE).await;
    bench.start_relay(second);
    bench.service.goes_on(30).await;
    say(&format!(
        "r{second} led {crash:?} after r{first} was killed; r{third} led {shutdown:?} after r{second} had ended, which \
         took {ended:?}"
    ));
    bench.settled(api_servers, "a crash and a shutdown").await;
}
