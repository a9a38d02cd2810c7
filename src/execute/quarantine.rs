//! Reading the quarantine, page by page.

use auditrelay_store::{Engine, Queue};
use tokio::sync::mpsc;

use super::{Stop, tell};
use crate::request::{Aside, Line, Outcome};

/// Items that are read at a time, of 6 KiB at the most.
const PAGE: usize = 256;

pub(super) async fn quarantine_list(
    queue: &Engine,
    out: &mpsc::Sender<Line>,
) -> Result<Outcome, Stop> {
    let mut after = 0;
    loop {
        let page = queue.quarantined(after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(Outcome::Listed);
        };
        after = last.id;
        for item in page {
            tell(out, Line::Aside(Box::new(Aside::new(item, false)))).await?;
        }
    }
}

pub(super) async fn quarantine_show(
    queue: &Engine,
    id: u64,
    out: &mpsc::Sender<Line>,
) -> Result<Outcome, Stop> {
    let found = queue.quarantined(id.saturating_sub(1), 1).await?;
    let Some(item) = found.into_iter().find(|item| item.id == id) else {
        return Ok(Outcome::Unknown);
    };
    tell(out, Line::Aside(Box::new(Aside::new(item, true)))).await?;
    Ok(Outcome::Listed)
}
