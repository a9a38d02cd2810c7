//! Opening the queue that the ledger stream holds.
//!
//! Contract: whoever opens it takes it over. A queue that another relay had open until then fails with its next commit,
//! and nothing that it does counts any more; what it had leased comes back as resumed, as after a restart. Whoever gave
//! it up, or whose tenure has ended, takes nothing over and reads nothing more: the thread that opens cannot be ended
//! from outside, so it asks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{JetStream, ledger_stream::LedgerStream};
use crate::{Engine, OpenError, StreamOptions};

impl JetStream {
    /// Opens the queue, or begins one. Takes as long as what is open takes to be read: the index, what is not routed, the
    /// keys of the dedup window and a list of everything else.
    ///
    /// # Errors
    /// The servers do not answer, others take over all the time, or what they hold is damaged.
    pub async fn open(&self, options: StreamOptions) -> Result<Engine, OpenError> {
        let (jetstream, stream) = (self.clone(), self.streams().ledger.clone());
        let waiting = Waiting::default();
        let is_given_up = Arc::clone(&waiting.is_given_up);
        let opened = tokio::task::spawn_blocking(move || {
            let tenure = options.tenure.clone();
            let may = move || {
                let is_given_up = is_given_up.load(Ordering::Acquire);
                !is_given_up && tenure.lasts(Duration::ZERO)
            };
            let taken = LedgerStream::take_over_while(&jetstream, may);
            let taken = taken.map_err(|error| OpenError::Unreachable {
                stream: jetstream.streams().ledger.clone(),
                error,
            })?;
            Engine::open_on_stream(taken, &options)
        });
        opened.await.unwrap_or_else(|error| {
            let what = match error.is_panic() {
                true => "opening it panicked, the log says where",
                false => "the process ends",
            };
            let error = std::io::Error::other(what);
            Err(OpenError::Unreachable { stream, error })
        })
    }
}

/// Who waits for an opening; dropped, it is given up.
#[derive(Default)]
struct Waiting {
    is_given_up: Arc<AtomicBool>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.is_given_up.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{atomic::AtomicUsize, mpsc};

    use tokio::{
        runtime::{Builder, Runtime},
        time::timeout,
    };

    use super::*;
    use crate::{
        Tenure,
        jetstream::test_support::{connect, options_of, server},
    };

    /// Whether who leads can still write.
    fn leads(leader: &LedgerStream, offset: u64) -> bool {
        leader.append("events.1", offset, b"x").is_ok()
    }

    #[test]
    fn an_opening_that_was_delayed_takes_nothing_from_who_leads_by_then() {
        let Some(server) = server() else { return };
        let jetstream = connect(&options_of(&server));
        let healthy = LedgerStream::take_over(&jetstream).unwrap();
        assert!(leads(&healthy, 0));

        // Its tenure has ended.
        let runtime = Runtime::new().unwrap();
        let (holder, tenure) = Tenure::until(tokio::time::Instant::now() + Duration::from_secs(60));
        drop(holder);
        let over = StreamOptions {
            tenure,
            ..StreamOptions::new(0)
        };
        let error = runtime.block_on(jetstream.open(over)).err();
        let error = error.expect("it is refused").to_string();
        assert!(error.contains("not to lead any more"), "{error}");
        assert!(leads(&healthy, 1));

        // Another one takes over while it writes its fence.
        let ((fence, fenced), other) = (mpsc::channel(), jetstream.clone());
        let asked = AtomicUsize::new(0);
        let may = move || {
            // The first time is before it asks what to write after.
            let asked = asked.fetch_add(1, Ordering::SeqCst);
            if asked == 1 {
                // On a thread of its own, as this one drives a runtime then.
                let take_over = || LedgerStream::take_over(&other).unwrap();
                let taken = std::thread::scope(|scope| scope.spawn(take_over).join());
                fence.send(taken.unwrap()).unwrap();
            }
            asked < 2
        };
        LedgerStream::take_over_while(&jetstream, may).expect_err("it is refused");
        let healthy = fenced.recv().unwrap();
        assert!(leads(&healthy, 2));

        // Nobody waits for it any more when its thread comes to it: there is one, and it is busy until then.
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (release, busy) = mpsc::channel::<()>();
        let busy = runtime.spawn_blocking(move || busy.recv());
        let opening = jetstream.open(StreamOptions::new(0));
        let given_up =
            runtime.block_on(async { timeout(Duration::from_millis(50), opening).await });
        assert!(given_up.is_err());
        drop(release);
        runtime.block_on(busy).unwrap().unwrap_err();
        let after_it = runtime.spawn_blocking(|| ());
        runtime.block_on(after_it).unwrap();
        assert!(leads(&healthy, 3));

        // One that may does.
        let runtime = Runtime::new().unwrap();
        let opened = runtime.block_on(jetstream.open(StreamOptions::new(0)));
        assert!(!leads(&healthy, 4));
        drop(opened);
    }
}
