//! Counting and settling dead letters, page by page.

use auditrelay_store::{DeadFilter, DeadLetter, Engine, Queue};
use tokio::sync::mpsc;

use super::{Stop, tell};
use crate::request::{Line, Outcome, Which};

/// Dead letters that are read at a time.
const PAGE: usize = 256;
/// Dead letters that are settled at a time: each may stand for a message's worth of events.
const SETTLED_AT_ONCE: usize = 32;

/// The next dead letters behind `after`, which moves to the last of them.
pub(super) async fn page(
    queue: &Engine,
    filter: &DeadFilter,
    after: &mut u64,
) -> Result<Option<Vec<DeadLetter>>, Stop> {
    let page = queue.dead(filter.clone(), *after, PAGE).await?;
    let last = page.last().map(|letter| letter.id);
    Ok(last.map(|last| {
        *after = last;
        page
    }))
}

pub(super) async fn count(queue: &Engine, filter: &DeadFilter) -> Result<Outcome, Stop> {
    let (mut letters, mut events, mut last_id) = (0, 0, 0);
    while let Some(page) = page(queue, filter, &mut last_id).await? {
        letters += page.len() as u64;
        events += page.iter().map(|letter| letter.events).sum::<u64>();
    }
    Ok(Outcome::Counted {
        letters,
        events,
        last_id,
    })
}

pub(super) async fn letter(queue: &Engine, id: u64) -> Result<Option<DeadLetter>, Stop> {
    let after = id.saturating_sub(1);
    let found = queue.dead(DeadFilter::default(), after, 1).await?;
    Ok(found.into_iter().find(|letter| letter.id == id))
}

#[derive(Clone, Copy)]
pub(super) enum Settle {
    Redrive,
    Drop,
}

/// Settled so far.
#[derive(Default)]
struct Settled {
    letters: u64,
    events: u64,
    gone: Vec<u64>,
}

impl Settled {
    /// Settles some letters, of which each is told by its ID and how many events it stands for.
    async fn some(
        &mut self,
        queue: &Engine,
        settle: Settle,
        some: &[(u64, u64)],
    ) -> Result<(), Stop> {
        let ids: Vec<u64> = some.iter().map(|(id, _)| *id).collect();
        let there = match settle {
            Settle::Redrive => queue.redrive(ids).await?,
            Settle::Drop => queue.drop_dead(ids).await?,
        };
        for (id, events) in some {
            if there.contains(id) {
                self.letters += 1;
                self.events += events;
            } else {
                self.gone.push(*id);
            }
        }
        Ok(())
    }
}

pub(super) async fn settle(
    queue: &Engine,
    which: Which,
    settle: Settle,
    out: &mpsc::Sender<Line>,
) -> Result<Outcome, Stop> {
    let mut settled = Settled::default();
    match which {
        Which::Ids(mut ids) => {
            ids.sort_unstable();
            ids.dedup();
            let total = ids.len() as u64;
            for (some, done) in ids.chunks(SETTLED_AT_ONCE).zip(1u64..) {
                let mut known = Vec::with_capacity(some.len());
                for id in some {
                    let events = letter(queue, *id).await?.map_or(0, |letter| letter.events);
                    known.push((*id, events));
                }
                settled.some(queue, settle, &known).await?;
                let done = total.min(done * SETTLED_AT_ONCE as u64);
                tell(out, Line::Progress { done, total }).await?;
            }
        }
        Which::Matching { filter, last_id } => {
            let mut after = 0;
            while let Some(page) = page(queue, &filter, &mut after).await? {
                let wanted = page.iter().filter(|letter| letter.id <= last_id);
                let wanted: Vec<_> = wanted.map(|letter| (letter.id, letter.events)).collect();
                for some in wanted.chunks(SETTLED_AT_ONCE) {
                    settled.some(queue, settle, some).await?;
                    let (done, total) = (some.last().map_or(0, |(id, _)| *id), last_id);
                    tell(out, Line::Progress { done, total }).await?;
                }
                if after >= last_id {
                    break;
                }
            }
            // Somebody else settled them between the page and the deed; nobody named them.
            settled.gone.clear();
        }
    }
    let Settled {
        letters,
        events,
        gone,
    } = settled;
    Ok(Outcome::Settled {
        letters,
        events,
        gone,
    })
}

#[cfg(test)]
mod tests {
    use auditrelay_audit::Severity;
    use auditrelay_store::{
        Burial, DeliveriesEncoder, DeliveryBlock, EventToDeliver, LeaseLimit, Marks, SledOptions,
    };

    use super::*;

    /// Buries messages of one event each.
    async fn bury(queue: &Engine, letters: usize) {
        let mut deliveries = DeliveriesEncoder::default();
        for _ in 0..letters {
            deliveries.push(&EventToDeliver {
                cluster: "prod",
                route: "",
                json: "{}",
                marks: Marks::default(),
            });
        }
        let block = DeliveryBlock {
            channel: "ops".to_owned(),
            severity: Severity::Info,
            deliveries: deliveries.finish(),
        };
        queue.deliver_copies(vec![block]).await.expect("queued");
        let limit = LeaseLimit {
            events_max: 1,
            bytes_max: 1,
        };
        for _ in 0..letters {
            let lease = queue.lease("ops", limit, 5).await.expect("a lease");
            let burial = Burial {
                reason: "invalid_blocks".to_owned(),
                attempts: 1,
                first_unix_ms: 0,
                last_unix_ms: 0,
            };
            let id = lease.expect("something waits").id;
            queue.bury(&id, burial).await.expect("buried");
        }
    }

    async fn counted(queue: &Engine) -> (u64, u64) {
        match count(queue, &DeadFilter::default()).await {
            Ok(Outcome::Counted {
                letters, last_id, ..
            }) => (letters, last_id),
            _ => panic!("not counted"),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nobody_listening_ends_it_after_a_piece_and_the_next_request_does_the_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = SledOptions::new(folder.path(), 0);
        let queue = Engine::open(&options).expect("opens").queue;
        bury(&queue, 70).await;
        let (letters, last_id) = counted(&queue).await;
        assert_eq!(letters, 70);
        // What dies after it was counted was not meant.
        bury(&queue, 1).await;
        let which = || Which::Matching {
            filter: DeadFilter::default(),
            last_id,
        };
        let (gone, lines) = mpsc::channel(1);
        drop(lines);
        let stopped = settle(&queue, which(), Settle::Redrive, &gone).await;
        assert!(matches!(stopped, Err(Stop::Gone)));
        assert_eq!(counted(&queue).await.0, 71 - SETTLED_AT_ONCE as u64);
        let (out, mut lines) = mpsc::channel(100);
        let rest = settle(&queue, which(), Settle::Drop, &out).await;
        let Ok(Outcome::Settled { letters, gone, .. }) = rest else {
            panic!("not settled");
        };
        assert_eq!((letters, gone.len()), (70 - SETTLED_AT_ONCE as u64, 0));
        assert!(matches!(lines.recv().await, Some(Line::Progress { .. })));
        assert_eq!(counted(&queue).await.0, 1);
    }
}
