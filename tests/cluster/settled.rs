//! What has to be so once it is quiet, whatever happened before.

use std::{collections::BTreeMap, time::Duration};

use auditrelay_loadtest::slack::{Attempt, Outcome, Post};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    bench::{ApiServers, Bench, MESSAGE_INTERVAL_MILLISECONDS, RELAYS, ask, command},
    say,
    support::{PATIENCE, ids_in, told},
};

/// Messages of a channel that may arrive together with the next ones: one that is under way, and one of whoever led before.
const LATE: usize = 2;
/// A backlog of a whole run is told at ten messages a second.
const QUIET_WITHIN: Duration = Duration::from_secs(180);

impl Bench {
    /// Ends the API servers, waits until it is quiet, and checks everything. `what` is said with the figures.
    pub async fn settled(&mut self, api_servers: ApiServers, what: &str) {
        let report = api_servers.end().await;
        let ledger = self.until_quiet().await;
        let (leader, _) = self.until_one_leads(PATIENCE).await;
        self.nobody_ended();
        let complete = report.events_made
            == report.events_accepted + report.events_lost + report.events_dropped;
        assert!(complete && report.events_dropped == 0, "{report}");
        self.all_told_once(&ledger);
        self.same_ledger_everywhere().await;
        self.within_the_rate();
        let (changes, terms) = (self.posts.changes(), self.terms());
        assert!(
            changes < terms,
            "the relay that posts changed {changes} times in {terms} terms: two posted in turns"
        );
        let (plain, marked) = told(&self.slack);
        say(&format!(
            "{what}: {} events made, {} promised, {} given up by API servers, {} told in {} messages, {} in messages \
             marked as possibly repeated, {terms} terms, {changes} changes of who posts, r{leader} leads; answers {:?}",
            report.events_made,
            self.service.promised().len(),
            report.events_lost,
            plain.len(),
            self.slack.posts().len(),
            marked.len(),
            self.service.answers(),
        ));
    }

    /// Waits until nothing is in the inbox and nothing waits; the ledger then.
    async fn until_quiet(&mut self) -> Value {
        let begun = Instant::now();
        let mut last = String::new();
        loop {
            // In this order: what leaves the inbox is in the ledger before.
            let inbox = self.inbox_messages();
            if inbox == Some(0)
                && let Some(ledger) = self.ledger().await
            {
                let channels = ledger["channels"].as_object().into_iter().flatten();
                let waits = channels.filter(|(_, one)| one["waiting"] != 0).count();
                if ledger["waiting"] == 0 && waits == 0 {
                    return ledger;
                }
                last = ledger.to_string();
            }
            if begun.elapsed() > QUIET_WITHIN {
                let logs = self.told_by_relays();
                panic!("not quiet: {inbox:?} in the inbox, {last}\n{logs}");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Batches in the inbox, as a nats-server that is not behind tells.
    fn inbox_messages(&self) -> Option<u64> {
        let leader = self.nats.stream_leader("auditrelay-inbox")?;
        let jsz = self.nats.servers[leader]
            .monitor("/jsz?streams=true")
            .ok()?;
        let accounts = jsz["account_details"].as_array()?;
        let streams = accounts
            .iter()
            .filter_map(|one| one["stream_detail"].as_array());
        let inbox = streams
            .flatten()
            .find(|one| one["name"] == "auditrelay-inbox")?;
        inbox["state"]["messages"].as_u64()
    }

    async fn ledger(&self) -> Option<Value> {
        let relay = self.relays[0].running.as_ref()?;
        let (status, text) = ask(relay.admin, "/ledger").await?;
        let ledger = serde_json::from_str(&text).ok()?;
        (status == 200).then_some(ledger)
    }

    fn all_told_once(&mut self, ledger: &Value) {
        let (plain, marked) = told(&self.slack);
        let is_told = |id: &String| plain.contains_key(id) || marked.contains_key(id);
        let (promised, sent) = (self.service.promised(), self.service.sent());
        let lost: Vec<_> = promised.iter().filter(|id| !is_told(id)).collect();
        let (few, logs) = (&lost[..lost.len().min(5)], self.told_by_relays());
        assert!(
            lost.is_empty(),
            "{} events are promised and not told: {few:?} {ledger}\n{logs}",
            lost.len()
        );
        let twice: Vec<_> = plain.iter().filter(|(_, times)| **times > 1).collect();
        let where_told = |id: &str| {
            let posts = self
                .slack
                .posts()
                .into_iter()
                .filter(|post| ids_in(&post.body).iter().any(|one| one == id));
            posts
                .map(|post| (post.ts, name(&post.body).map(str::to_owned)))
                .collect::<Vec<_>>()
        };
        let first = twice.first().map(|(id, _)| where_told(id));
        assert!(
            twice.is_empty(),
            "{} events are told twice: {first:?} {ledger}\n{logs}",
            twice.len()
        );
        let invented = plain
            .keys()
            .chain(marked.keys())
            .filter(|id| !sent.contains(*id))
            .count();
        assert_eq!(invented, 0, "nobody sent what is told");
        // Messages as such: a copy that does not say so must be the only one.
        let mut copies: BTreeMap<String, usize> = BTreeMap::new();
        for post in self.slack.posts().iter().filter(|post| !is_marked(post)) {
            if let Some(name) = name(&post.body) {
                *copies.entry(name.to_owned()).or_default() += 1;
            }
        }
        let repeated: Vec<_> = copies.iter().filter(|(_, copies)| **copies > 1).collect();
        assert!(
            repeated.is_empty(),
            "messages are there twice: {repeated:?}"
        );
        // What was told is what the ledger counts.
        let all = plain
            .keys()
            .chain(marked.keys().filter(|id| !plain.contains_key(*id)))
            .count() as u64;
        let count = |name: &str| {
            ledger[name]
                .as_u64()
                .unwrap_or_else(|| panic!("{name}: {ledger}"))
        };
        assert_eq!(ledger["balanced"], true, "{ledger}");
        assert_eq!(
            (count("lost"), count("quarantined"), count("filtered")),
            (0, 0, 0),
            "{ledger}"
        );
        assert_eq!(count("received") - count("duplicates"), all, "{ledger}");
        let delivered = ledger["channels"].as_object().expect("channels").values();
        let delivered: u64 = delivered.filter_map(|one| one["delivered"].as_u64()).sum();
        assert_eq!(delivered, all, "{ledger}");
    }

    /// As commands print it.
    async fn same_ledger_everywhere(&mut self) {
        let mut told = Vec::new();
        for relay in 0..RELAYS {
            let (code, ledger, why) = command(&self.folder(relay), &["ledger", "--json"]);
            assert_eq!(code, 0, "r{relay}: {ledger}{why}");
            told.push(ledger);
        }
        told.dedup();
        assert_eq!(told.len(), 1, "relays tell different ledgers: {told:?}");
        let leaders = self.leaders().await;
        assert_eq!(leaders.len(), 1, "{leaders:?} lead");
    }

    fn within_the_rate(&mut self) {
        let recorded = self.slack.recorded();
        assert_eq!(
            (recorded.posts_dropped, recorded.attempts_dropped),
            (0, 0),
            "Slack forgot"
        );
        let is_refused = |one: &&Attempt| matches!(one.outcome, Outcome::RateLimited { .. });
        let refused: Vec<_> = recorded.attempts.iter().filter(is_refused).collect();
        let logs = self.told_by_relays();
        assert!(
            refused.is_empty(),
            "Slack refused for its rate: {refused:?}\n{logs}"
        );
        // Messages leave an interval apart, also where another one begins to lead, and each is answered before the next one
        // of the same leader leaves.
        let mut channels: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for post in &recorded.posts {
            channels
                .entry(&post.channel)
                .or_default()
                .push(post.elapsed_ms);
        }
        for (channel, times) in channels {
            for first in 0..times.len() {
                let since = &times[first..];
                for last in LATE..since.len() {
                    let least = (last - LATE) as u64 * MESSAGE_INTERVAL_MILLISECONDS;
                    assert!(
                        since[last] - since[0] >= least,
                        "{channel} got more than its pace: {:?}\n{logs}",
                        &since[..=last]
                    );
                }
            }
        }
    }
}

fn is_marked(post: &Post) -> bool {
    post.body.to_string().contains("Possibly repeated")
}

/// What a message is called in its metadata.
fn name(body: &Value) -> Option<&str> {
    body["metadata"]["event_payload"]["id"].as_str()
}
