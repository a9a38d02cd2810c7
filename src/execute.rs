//! Does what an operator asks, on an open queue: the running relay for its admin port, and a command on a
//! relay that is stopped.
//!
//! Work goes piece by piece. Nobody listening any more ends it after the piece under way; what was done
//! until then stays done, and every request may be made again: it then does the rest. A salvage is one
//! piece.

mod dead;
mod mute;
mod quarantine;
mod salvage;
mod trace;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use auditrelay_config::Config;
use auditrelay_dispatch::{Replay, Replayed, Routes, replay::Selection};
use auditrelay_store::{
    Block, BlockItem, Cursor, DeliveryBlock, Engine, ItemKind, Queue, QueueError,
};
use tokio::sync::mpsc;

use crate::{
    failure::cut_short,
    logs,
    request::{Line, Member, Outcome, Request},
    trace::Means,
    when::now_unix_ms,
};
use dead::Settle;
use mute::Places;
use quarantine::{quarantine_list, quarantine_show};
use salvage::salvage;

pub(crate) use salvage::MOVED_ASIDE;

/// What is said where no term runs.
pub(crate) const NOBODY_LEADS: &str =
    "no relay leads now: another one begins to within seconds; try again";

/// What a request works on.
pub(crate) struct Context {
    queue: Engine,
    data_dir: PathBuf,
    /// What the configuration says; only a replay and mutes need it.
    today: Mutex<Option<Today>>,
    /// Only a trace needs it.
    means: OnceLock<Means>,
}

#[derive(Clone)]
struct Today {
    routes: Arc<Routes>,
    places: Arc<Places>,
    /// Whether routed batches are kept. If not, some may still lie there, and are nothing to rely on.
    retains: bool,
}

impl Today {
    fn new(config: &Config, routes: Arc<Routes>) -> Self {
        Self {
            routes,
            places: Arc::new(Places::new(config)),
            retains: config.queue.retain_hours.get() > 0,
        }
    }
}

impl Context {
    /// With today's routes.
    pub(crate) fn new(queue: Engine, config: &Config, routes: Arc<Routes>) -> Self {
        Self {
            queue,
            data_dir: config.data_dir.clone(),
            today: Mutex::new(Some(Today::new(config, routes))),
            means: OnceLock::new(),
        }
    }

    /// With what a trace needs; the first counts.
    pub(crate) fn set_means(&self, means: Means) {
        self.means.get_or_init(|| means);
    }

    /// The configuration is another one from now on.
    pub(crate) fn exchange(&self, config: &Config, routes: Arc<Routes>) {
        *self.lock() = Some(Today::new(config, routes));
    }

    fn today(&self) -> Option<Today> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Today>> {
        self.today.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For everything but a replay and mutes.
    pub(crate) fn without_routes(queue: Engine, data_dir: PathBuf) -> Self {
        Self {
            queue,
            data_dir,
            today: Mutex::default(),
            means: OnceLock::new(),
        }
    }
}

/// Why a request ended early.
enum Stop {
    /// Nobody listens any more.
    Gone,
    /// In words for the operator.
    Because(String),
}

impl From<QueueError> for Stop {
    fn from(error: QueueError) -> Self {
        Self::Because(error.to_string())
    }
}

/// Does it; the last line says what it came to.
pub(crate) async fn execute(context: &Context, request: Request, out: &mpsc::Sender<Line>) {
    let last = match outcome(context, request, out).await {
        Ok(outcome) => Line::Result(outcome),
        Err(Stop::Because(reason)) => Line::Error(reason),
        Err(Stop::Gone) => return,
    };
    // Whoever asked may have gone.
    let _ = out.send(last).await;
}

/// The same where no term runs: what is asked of the process alone can be done.
pub(crate) async fn execute_nowhere(request: Request, out: &mpsc::Sender<Line>) {
    let last = match of_process(&request) {
        Ok(outcome) => Line::Result(outcome),
        Err(reason) => Line::Error(reason),
    };
    // Whoever asked may have gone.
    let _ = out.send(last).await;
}

/// Whether it is about the process that is asked, whoever leads.
pub(crate) fn is_of_process(request: &Request) -> bool {
    matches!(
        request,
        Request::LogFilterShow {} | Request::LogFilterSet { .. }
    )
}

/// What is asked of this process, whoever leads.
fn of_process(request: &Request) -> Result<Outcome, String> {
    match request {
        Request::LogFilterShow {} => Ok(Outcome::LogFilter(logs::shown())),
        Request::LogFilterSet { filter, lasts_ms } => {
            let lasts = lasts_ms.and_then(|ms| u64::try_from(ms).ok());
            let lasts = lasts.map(Duration::from_millis);
            logs::asked(filter.as_deref(), lasts).map(Outcome::LogFilter)
        }
        _ => Err(NOBODY_LEADS.to_owned()),
    }
}

async fn outcome(
    context: &Context,
    request: Request,
    out: &mpsc::Sender<Line>,
) -> Result<Outcome, Stop> {
    let queue = &context.queue;
    match request {
        Request::DeadList { filter } => {
            let mut after = 0;
            while let Some(page) = dead::page(queue, &filter, &mut after).await? {
                for letter in page {
                    tell(out, Line::Letter(letter)).await?;
                }
            }
            Ok(Outcome::Listed)
        }
        Request::DeadCount { filter } => dead::count(queue, &filter).await,
        Request::DeadShow { id } => show(queue, id, out).await,
        Request::Redrive { which } => dead::settle(queue, which, Settle::Redrive, out).await,
        Request::DropDead { which } => dead::settle(queue, which, Settle::Drop, out).await,
        Request::QuarantineList {} => quarantine_list(queue, out).await,
        Request::QuarantineShow { id } => quarantine_show(queue, id, out).await,
        Request::MuteAdd { mute } => mute::add(context, mute, out).await,
        Request::MuteList {} => mute::list(queue, out).await,
        Request::MuteExpire { id, author, reason } => {
            mute::expire(context, id, author, reason, out).await
        }
        Request::Events { message } => events(queue, message, out).await,
        Request::Trace { audit_id, cluster } => trace::trace(context, audit_id, cluster, out).await,
        Request::Replay {
            since_unix_ms,
            until_unix_ms,
            route,
            dry_run,
        } => {
            let selection = Selection {
                received_unix_ms: since_unix_ms..until_unix_ms.min(now_unix_ms()),
                route,
            };
            replay(context, selection, dry_run, out).await
        }
        request @ (Request::LogFilterShow {} | Request::LogFilterSet { .. }) => {
            of_process(&request).map_err(Stop::Because)
        }
        Request::Salvage { folder } => salvage(context, &folder, out).await,
    }
}

async fn tell(out: &mpsc::Sender<Line>, line: Line) -> Result<(), Stop> {
    out.send(line).await.map_err(|_| Stop::Gone)
}

async fn show(queue: &Engine, id: u64, out: &mpsc::Sender<Line>) -> Result<Outcome, Stop> {
    let Some(letter) = dead::letter(queue, id).await? else {
        return Ok(Outcome::Unknown);
    };
    let Some(members) = queue.dead_members(id).await? else {
        return Ok(Outcome::Unknown);
    };
    tell(out, Line::Letter(letter)).await?;
    for (severity, delivery) in members {
        let member = Box::new(Member::new(severity, delivery));
        tell(out, Line::Member(member)).await?;
    }
    Ok(Outcome::Listed)
}

async fn events(queue: &Engine, id: u64, out: &mpsc::Sender<Line>) -> Result<Outcome, Stop> {
    let Some(told) = queue.told(id).await? else {
        return Ok(Outcome::Unknown);
    };
    for (severity, delivery) in told.members {
        let member = Box::new(Member::new(severity, delivery));
        tell(out, Line::Member(member)).await?;
    }
    Ok(Outcome::Told {
        channel: told.channel,
        told_unix_ms: told.told_unix_ms,
        posted: told.posted,
    })
}

/// Today's routes, the one that is asked for among them.
fn today(context: &Context, asked: Option<&str>) -> Result<Today, Stop> {
    let because = |text: &str| Stop::Because(text.to_owned());
    let today = context.today();
    let today = today.ok_or_else(|| because("the routes are not known here"))?;
    let routes = &today.routes;
    if let Some(asked) = asked
        && !routes.names().any(|name| name == asked)
    {
        let names: Vec<&str> = routes.names().collect();
        return Err(Stop::Because(if names.is_empty() {
            "there are no routes; leave --route out".to_owned()
        } else {
            format!(
                "there is no route {asked:?}; there are: {}",
                names.join(", ")
            )
        }));
    }
    Ok(today)
}

async fn replay(
    context: &Context,
    selection: Selection,
    dry_run: bool,
    out: &mpsc::Sender<Line>,
) -> Result<Outcome, Stop> {
    let Today {
        routes, retains, ..
    } = today(context, selection.route.as_deref())?;
    if !retains {
        return Ok(Outcome::Replayed(Replayed::default()));
    }
    let asked_unix_ms = selection.received_unix_ms.clone();
    let mut replay = Replay::new(routes, selection);
    let (mut from, mut total) = (Cursor::default(), 0);
    loop {
        let piece = context.queue.retained(from).await?;
        // What is routed meanwhile is retained too, and makes the total grow.
        total = piece.bytes_left.max(total);
        let left = piece.bytes_left;
        let asked = |block: &&Block| asked_unix_ms.contains(&block.received_unix_ms);
        let text_bytes = piece.blocks.iter().filter(asked).map(text_bytes).sum();
        tell(
            out,
            Line::Progress {
                done: total - left,
                total,
            },
        )
        .await?;
        let decided = tokio::task::spawn_blocking(move || {
            let deliveries = replay.piece(&piece.blocks);
            (replay, deliveries, piece.next)
        });
        let (deliveries, next);
        (replay, deliveries, next) = decided
            .await
            .map_err(|error| Stop::Because(format!("replaying failed: {}", cut_short(&error))))?;
        if !dry_run && !deliveries.is_empty() {
            deliver_copies(&context.queue, deliveries, text_bytes).await?;
        }
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    Ok(Outcome::Replayed(replay.finish()))
}

/// Queues the copies of a piece where there is room for all of it.
async fn deliver_copies(
    queue: &Engine,
    deliveries: Vec<DeliveryBlock>,
    text_bytes: u64,
) -> Result<(), Stop> {
    // Twice what is asked for is reserved, since routing writes a batch again; copies are written once.
    let admitted = queue.admit(text_bytes.div_ceil(2)).map_err(|full| {
        Stop::Because(format!(
            "no room in the queue: {full}; what was sent until here stays sent"
        ))
    })?;
    let now = now_unix_ms();
    let asked_for_now = |block: DeliveryBlock| DeliveryBlock {
        deliveries: block.deliveries.waiting_since(now),
        ..block
    };
    let deliveries = deliveries.into_iter().map(asked_for_now).collect();
    queue.deliver_copies(deliveries).await?;
    drop(admitted);
    Ok(())
}

/// The text of a block's events, which takes less as it is stored.
fn text_bytes(block: &Block) -> u64 {
    let bytes = |item: &BlockItem| match item.kind {
        ItemKind::Event { json_bytes, .. } => u64::from(json_bytes),
        ItemKind::Unwanted { .. } | ItemKind::Unreadable(_) => 0,
    };
    block.items.iter().map(bytes).sum()
}
