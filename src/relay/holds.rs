//! Keeping what Slack asks to wait for where whoever leads next finds it.
//!
//! Contract: nothing rests on it, but what is asked for is kept soon, also where NATS did not take it at first; and what is asked
//! for while a term ends is kept before the lease is given up, if NATS answers within [`LAST`].

use std::{convert::Infallible, time::Duration};

use serde::Serialize;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// How often at the most.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the last time may take.
pub(super) const LAST: Duration = Duration::from_secs(1);

/// Keeps a value whenever it is another.
pub(super) struct Keeping<T, P> {
    value: watch::Receiver<T>,
    /// Says whether it was kept.
    put: P,
    is_kept: bool,
}

impl<T, P, F> Keeping<T, P>
where
    T: Serialize,
    P: Fn(Vec<u8>) -> F,
    F: Future<Output = bool>,
{
    /// Of a value that is kept as it is.
    pub(super) fn new(value: watch::Receiver<T>, put: P) -> Self {
        Self {
            value,
            put,
            is_kept: true,
        }
    }

    /// For as long as it is polled.
    pub(super) async fn run(&mut self) -> Infallible {
        loop {
            if self.is_kept && self.value.changed().await.is_err() {
                return std::future::pending().await;
            }
            self.keep().await;
            sleep(PAUSE).await;
        }
    }

    /// Once more, if the value is not kept yet.
    pub(super) async fn end(mut self, at_most: Duration) {
        if !self.is_kept || self.value.has_changed().unwrap_or(true) {
            // In vain, where NATS does not answer.
            let _in_time = timeout(at_most, self.keep()).await;
        }
    }

    /// It may be dropped at any point: the value is not kept then.
    async fn keep(&mut self) {
        self.is_kept = false;
        let now = serde_json::to_vec(&*self.value.borrow_and_update());
        self.is_kept = match now {
            Ok(now) => (self.put)(now).await,
            Err(error) => {
                tracing::debug!(%error, "what Slack asks to wait for cannot be written as JSON");
                true
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was put, and whether that is taken.
    type Puts = Arc<Mutex<(Vec<String>, bool)>>;

    fn keeping(
        value: &watch::Sender<u32>,
        puts: &Puts,
    ) -> Keeping<u32, impl Fn(Vec<u8>) -> std::future::Ready<bool>> {
        let puts = Arc::clone(puts);
        Keeping::new(value.subscribe(), move |now| {
            let mut puts = puts.lock().expect("no panic");
            puts.0.push(String::from_utf8(now).expect("JSON"));
            std::future::ready(puts.1)
        })
    }

    fn put(puts: &Puts) -> Vec<String> {
        puts.lock().expect("no panic").0.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_taken_is_tried_again_until_it_is() {
        let (value, puts) = (watch::Sender::new(0), Puts::default());
        let mut keeping = keeping(&value, &puts);
        let some = Duration::from_secs(10);
        let _running = timeout(some, keeping.run()).await;
        assert_eq!(put(&puts), [""; 0]);
        value.send_replace(1);
        let _running = timeout(PAUSE * 3 / 2, keeping.run()).await;
        assert_eq!(put(&puts), ["1", "1"]);
        puts.lock().expect("no panic").1 = true;
        let _running = timeout(some, keeping.run()).await;
        assert_eq!(put(&puts), ["1", "1", "1"]);
        // Nothing is left to do.
        keeping.end(LAST).await;
        assert_eq!(put(&puts).len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_at_the_end_is_kept_too_and_what_was_not_taken_is_tried_once_more() {
        for is_tried_before in [false, true] {
            let (value, puts) = (watch::Sender::new(0), Puts::default());
            let mut keeping = keeping(&value, &puts);
            value.send_replace(7);
            if is_tried_before {
                let _running = timeout(PAUSE / 2, keeping.run()).await;
            }
            let before = put(&puts).len();
            keeping.end(LAST).await;
            assert_eq!(put(&puts)[before..], ["7"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_time_is_bounded() {
        let value = watch::Sender::new(0);
        let keeping = Keeping::new(value.subscribe(), |_| std::future::pending());
        value.send_replace(1);
        keeping.end(LAST).await;
    }
}
