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
/// At once: less than what is left of a lease that is renewed every quarter of it, so it did not run out.
const AT_ONCE: Duration = Duration::from_secs(4);
/// The default.
const LEASE_SECONDS: u32 = 6;
/// How long Slack holds an answer: less than the relay waits for it, which is 3 s.
const HELD_MILLISECONDS: u32 = 2_500;

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

/// Waits until a relay has posted so many more messages.
async fn posts_more(bench: &mut Bench, relay: usize, posts: usize) {
    let wanted = bench.posts.of(relay) + posts;
    let posting = async {
        while bench.posts.of(relay) < wanted {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(PATIENCE, posting).await.is_err() {
        panic!("r{relay} does not post\n{}", bench.told_by_relays());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leader_stopped_past_its_lease_posts_nothing_more_and_follows() {
    let Some(mut bench) = Bench::start(LEASE_SECONDS).await else {
        return;
    };
    let (first, _) = bench.until_one_leads(PATIENCE).await;
    let api_servers = ApiServers::start(&bench.service);
    posts_more(&mut bench, first, 5).await;
    // A message is there and its answer under way when it is stopped; so is one that is not there, and never will be.
    let held = Effect::Delay {
        milliseconds: HELD_MILLISECONDS,
    };
    bench.slack.inject(Fault::new(held).on("CREADS"));
    let hung = Effect::HangBeforeStoring {
        milliseconds: HELD_MILLISECONDS,
    };
    bench.slack.inject(Fault::new(hung).on("CWRITES"));
    posts_more(&mut bench, first, 2).await;
    bench.stop_relay(first);
    let stopped = Instant::now();
    let (second, _) = bench.until_one_leads(CRASH).await;
    let took = stopped.elapsed();
    assert!(
        took <= CRASH && second != first,
        "r{second} led after {took:?}"
    );
    // The one that leads now is known to post before the other one comes back, with a backlog to post.
    posts_more(&mut bench, second, 5).await;
    let (posts, terms) = (bench.posts.of(first), bench.terms());
    bench.cont_relay(first);
    posts_more(&mut bench, second, 15).await;
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
    assert_eq!(bench.terms(), terms, "it follows");
}
