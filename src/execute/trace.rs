//! One event, looked for in everything that is stored, a page at a time.
//!
//! The order matters on a relay that runs: an event goes from the log of appended events to that of deliveries, so
//! they are read in this order and none is missed that moves on meanwhile; keys come last, as every cluster is known
//! then. Where a delivery is is asked after all of it was found.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use auditrelay_config::Config;
use auditrelay_dispatch::Routes;
use auditrelay_store::{Cursor, Posted, Queue};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{Context, Stop, tell};
use crate::{
    request::{Line, Outcome},
    trace::{AUDIT_ID_BYTES_MAX, Content, Gathered, Judge, Means, Searched, State, Traced},
    when::now_unix_ms,
};

/// Slack is asked for the addresses of so many messages, and for so long.
const LINKS_MAX: usize = 10;
const LINKS_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn trace(
    context: &Context,
    audit_id: String,
    cluster: Option<String>,
    out: &mpsc::Sender<Line>,
) -> Result<Outcome, Stop> {
    let because = |text: &str| Stop::Because(text.to_owned());
    let means = context.means.get();
    let means = means.ok_or_else(|| because("the configuration is not known here"))?;
    if audit_id.is_empty() || audit_id.len() > AUDIT_ID_BYTES_MAX {
        return Err(because("an audit ID has 1 to 1,024 bytes"));
    }
    let config = means.current.load();
    let begun_unix_ms = now_unix_ms();
    let mut gathered = Gathered::new(audit_id, cluster, means.key.clone());
    for name in clusters(&config) {
        gathered.cluster(&name);
    }
    look(context, &mut gathered, out).await?;
    let (places, kept) = context.queue.whereabouts(gathered.known()).await?;
    // After it was looked for: nothing that is counted as told by then can have been missed.
    let (mutes, ledger) = (context.queue.mutes(), context.queue.ledger());
    let searched = Searched {
        running: means.running.is_some(),
        keys_known: means.key.is_some(),
        clusters: gathered.clusters.iter().cloned().collect(),
        window_from_unix_ms: gathered.window_from_unix_ms,
        window_seconds: config.dedup.window().as_secs(),
        detail_hours: config.queue.digest_detail_hours.get(),
        retain_hours: config.queue.retain_hours.get(),
        not_shown: gathered.left_out(),
    };
    let routes = Routes::new(&config);
    let judge = Judge {
        means,
        config: &config,
        routes: &routes,
        mutes: &mutes,
        ledger: &ledger,
        kept,
        begun_unix_ms,
    };
    let mut told = told(&judge, &gathered.contents(places));
    link(means, &config, &mut told).await;
    for traced in told {
        tell(out, Line::Traced(Box::new(traced))).await?;
    }
    Ok(Outcome::Traced { searched })
}

/// Those that the configuration names.
fn clusters(config: &Config) -> impl Iterator<Item = String> {
    let clients = config.clients.iter().filter_map(|one| one.cluster.as_ref());
    let files = config.inputs.log_file.iter();
    let files = files.filter_map(|one| one.cluster.as_ref());
    std::iter::once(&config.cluster)
        .chain(clients)
        .chain(files)
        .chain(&config.metrics.clusters)
        .map(ToString::to_string)
}

/// Reads the three logs.
async fn look(
    context: &Context,
    gathered: &mut Gathered,
    out: &mpsc::Sender<Line>,
) -> Result<(), Stop> {
    let queue = &context.queue;
    let mut from = Some(Cursor::default());
    let mut total = 0;
    while let Some(at) = from {
        let page = queue.appended(at).await?;
        for block in &page.blocks {
            gathered.block(block, page.first_unrouted);
        }
        from = page.next;
        progress(&mut total, page.bytes_left, out).await?;
    }
    (from, total) = (Some(Cursor::default()), 0);
    while let Some(at) = from {
        let audit_id = gathered.audit_id.clone();
        let known = gathered.known().into_iter().collect();
        let page = queue.queued(audit_id, known, at).await?;
        gathered.deliveries(page.found, page.notes);
        from = page.next;
        progress(&mut total, page.bytes_left, out).await?;
    }
    (from, total) = (Some(Cursor::default()), 0);
    while let Some(at) = from {
        let page = queue.seen_keys(gathered.identities(), at).await?;
        gathered.seen(page.found, page.oldest_unix_ms);
        from = page.next;
        progress(&mut total, page.bytes_left, out).await?;
    }
    Ok(())
}

async fn progress(total: &mut u64, left: u64, out: &mpsc::Sender<Line>) -> Result<(), Stop> {
    // The first page says how much there is but for itself; what comes meanwhile makes it grow.
    *total = left.max(*total);
    let done = *total - left;
    let total = *total;
    tell(out, Line::Progress { done, total }).await
}

/// What became of each.
fn told(judge: &Judge<'_>, contents: &[Content]) -> Vec<Traced> {
    let mut told = Vec::with_capacity(contents.len());
    for content in contents {
        let stage = (&content.cluster, content.stage);
        let own = contents.iter();
        let own: Vec<&Content> = own
            .filter(|one| (&one.cluster, one.stage) == stage)
            .collect();
        told.push(judge.tell(content, &own));
    }
    told
}

/// Asks for the addresses of the messages.
async fn link(means: &Means, config: &Arc<Config>, told: &mut [Traced]) {
    let deadline = Instant::now() + LINKS_TIMEOUT;
    let mut known: BTreeMap<u64, Result<String, String>> = BTreeMap::new();
    for delivery in told.iter_mut().flat_map(|one| &mut one.deliveries) {
        let State::Posted {
            message,
            slack_channel,
            ts,
            permalink,
            no_permalink,
            ..
        } = &mut delivery.state
        else {
            continue;
        };
        if !known.contains_key(message) {
            let posted = slack_channel.clone().zip(ts.clone());
            let posted = posted.map(|(place, ts)| Posted { place, ts });
            let link = if known.len() < LINKS_MAX {
                let asked = means.permalink(config, &delivery.channel, posted.as_ref());
                timeout_at(deadline, asked).await.unwrap_or_else(|_| {
                    let seconds = LINKS_TIMEOUT.as_secs();
                    Err(format!("Slack did not tell its address within {seconds} s"))
                })
            } else {
                Err(format!("Slack is asked for {LINKS_MAX} addresses at most"))
            };
            known.insert(*message, link);
        }
        match known.get(message) {
            Some(Ok(link)) => *permalink = Some(link.clone()),
            Some(Err(why)) => *no_permalink = Some(why.clone()),
            None => {}
        }
    }
}
