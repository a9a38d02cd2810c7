//! What is whole in a store that was moved aside, brought back. It is one piece of work.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

use super::{Context, Stop};
use crate::request::{Line, Outcome};

/// What a store that was moved aside is called, before its time.
pub(crate) const MOVED_ASIDE: &str = "queue.corrupt-";
/// Between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

pub(super) async fn salvage(
    context: &Context,
    folder: &str,
    out: &mpsc::Sender<Line>,
) -> Result<Outcome, Stop> {
    let dir = moved_aside(&context.data_dir, folder).map_err(Stop::Because)?;
    let (out, last) = (out.clone(), Mutex::new(None::<Instant>));
    let progress = move |done, total| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= PROGRESS_INTERVAL) {
            *last = Some(Instant::now());
            // Who is slow misses some of it.
            let _ = out.try_send(Line::Progress { done, total });
        }
    };
    let salvaged = context.queue.salvage(&dir, progress).await;
    salvaged
        .map(Outcome::Salvaged)
        .map_err(|error| Stop::Because(error.to_string()))
}

/// The folder of a moved-aside store, directly inside the data directory; nothing else may be named.
fn moved_aside(data_dir: &Path, folder: &str) -> Result<PathBuf, String> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_ours = folder
        .strip_prefix(MOVED_ASIDE)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_name));
    let dir = data_dir.join(folder);
    // Not through a link: it may lead anywhere.
    let is_dir = || std::fs::symlink_metadata(&dir).is_ok_and(|found| found.is_dir());
    if is_ours && is_dir() {
        Ok(dir)
    } else {
        Err(format!(
            "only a folder {MOVED_ASIDE}… directly inside the relay's data directory can be salvaged"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_store_that_was_moved_aside_may_be_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("data");
        for name in ["queue", "queue.corrupt-1", "queue.corrupt-2/inner"] {
            std::fs::create_dir_all(data_dir.join(name)).expect("made");
        }
        std::fs::create_dir(folder.path().join("queue.corrupt-9")).expect("made");
        std::fs::write(data_dir.join("queue.corrupt-3"), "").expect("written");
        let link = data_dir.join("queue.corrupt-4");
        std::os::unix::fs::symlink(folder.path(), link).expect("linked");
        assert!(moved_aside(&data_dir, "queue.corrupt-1").is_ok());
        for name in [
            "",
            "queue",
            "queue.corrupt-",
            "queue.corrupt-2/inner",
            "queue.corrupt-1/../queue",
            "../queue.corrupt-9",
            "queue.corrupt-3",
            "queue.corrupt-4",
            "queue.corrupt-5",
            "/etc",
        ] {
            assert!(moved_aside(&data_dir, name).is_err(), "{name}");
        }
    }
}
