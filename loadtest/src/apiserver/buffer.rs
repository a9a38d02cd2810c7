//! The buffer between the requests of a cluster and its webhook: who fills it, and how batches come
//! out.
//!
//! Contract:
//! * [`make`] makes exactly `events_per_second × duration` events unless it is stopped; it never
//!   waits for room in the buffer: an event that finds none is dropped and counted;
//! * [`next_batch`] returns a batch when it is full or `max_wait` has passed since the call, whichever
//!   comes first, and what is left at once when the maker has ended.
//!
//! Kubernetes: `bufferedBackend.ProcessEvents` and `collectEvents`.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::Options;
use crate::events::EventSource;

/// One event as JSON.
pub(super) type Event = Vec<u8>;

/// How often the maker looks what is due. Short against the 100 ms between two batches.
const TICK: Duration = Duration::from_millis(5);
/// After so many events the maker lets others run, so that a tick that came late does not overflow
/// a buffer which nobody had a chance to empty.
const EVENTS_AT_ONCE: u64 = 100;

/// What a maker has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Made {
    /// Events made, the dropped ones included.
    pub events: u64,
    /// Events that found the buffer full.
    pub dropped: u64,
    /// For how long events were made.
    pub elapsed: Duration,
}

/// Fills the buffer for the time that `options` give it, or until it is stopped.
pub(super) async fn make(
    options: &Options,
    buffer: mpsc::Sender<Event>,
    mut stopped: watch::Receiver<bool>,
) -> Made {
    let mut source = EventSource::new(options.shape);
    let started = Instant::now();
    let mut made = Made::default();
    let mut ticks = interval(TICK);
    // How many are due is counted from the start: catching up tick by tick would gain nothing.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while made.elapsed < options.duration {
        tokio::select! {
            biased;
            // An error says that nobody is left who could stop it: that is a stop as well.
            _ = stopped.wait_for(|stop| *stop) => break,
            _ = ticks.tick() => {}
        }
        made.elapsed = started.elapsed().min(options.duration);
        let due = events_due(options.events_per_second, made.elapsed);
        while made.events < due {
            made.events += 1;
            match buffer.try_reserve() {
                Ok(room) => {
                    let mut event = Event::new();
                    source.event(&mut event);
                    room.send(event);
                }
                Err(_full) => made.dropped += 1,
            }
            if made.events.is_multiple_of(EVENTS_AT_ONCE) {
                tokio::task::yield_now().await;
            }
        }
    }
    made
}

fn events_due(per_second: NonZeroU32, elapsed: Duration) -> u64 {
    let due = elapsed.as_nanos() * u128::from(per_second.get()) / 1_000_000_000;
    u64::try_from(due).unwrap_or(u64::MAX)
}

/// The next batch, empty when nothing came in time; `None` when nothing will ever come again.
pub(super) async fn next_batch(
    buffer: &mut mpsc::Receiver<Event>,
    size_max: NonZeroU32,
    max_wait: Duration,
) -> Option<Vec<Event>> {
    let size_max = usize::try_from(size_max.get()).unwrap_or(usize::MAX);
    let closes = sleep_until(Instant::now() + max_wait);
    let mut closes = std::pin::pin!(closes);
    let mut batch = Vec::new();
    while batch.len() < size_max {
        let room = size_max - batch.len();
        tokio::select! {
            received = buffer.recv_many(&mut batch, room) => if received == 0 {
                return (!batch.is_empty()).then_some(batch);
            },
            () = &mut closes => break,
        }
    }
    Some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    fn count(value: u32) -> NonZeroU32 {
        NonZeroU32::new(value).expect("not zero")
    }

    fn options(events_per_second: u32, seconds: u64) -> Options {
        Options {
            events_per_second: count(events_per_second),
            duration: Duration::from_secs(seconds),
            ..Options::new("http://127.0.0.1:1".parse().expect("loopback"))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_does_not_wait() {
        let (sender, mut buffer) = mpsc::channel(1000);
        for number in 0..900_u32 {
            sender
                .try_send(number.to_be_bytes().to_vec())
                .expect("room");
        }
        let begun = Instant::now();
        for size in [400, 400] {
            let batch = next_batch(&mut buffer, count(400), WAIT).await;
            assert_eq!(batch.expect("open").len(), size);
            assert_eq!(begun.elapsed(), Duration::ZERO);
        }
        let rest = next_batch(&mut buffer, count(400), WAIT)
            .await
            .expect("open");
        assert_eq!((rest.len(), begun.elapsed()), (100, WAIT));
        assert_eq!(rest.last().expect("the newest"), &899_u32.to_be_bytes());
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_buffer_gives_an_empty_batch_and_a_closed_one_none() {
        let (sender, mut buffer) = mpsc::channel(10);
        let begun = Instant::now();
        let batch = next_batch(&mut buffer, count(400), WAIT).await;
        assert_eq!((batch, begun.elapsed()), (Some(Vec::new()), WAIT));
        sender.try_send(vec![1]).expect("room");
        drop(sender);
        let batch = next_batch(&mut buffer, count(400), WAIT).await;
        assert_eq!(batch, Some(vec![vec![1]]), "what is left is flushed");
        assert_eq!(begun.elapsed(), WAIT, "and at once");
        assert_eq!(next_batch(&mut buffer, count(400), WAIT).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn exactly_the_events_that_are_due_are_made() {
        let (sender, buffer) = mpsc::channel(100_000);
        let (_stop, stopped) = watch::channel(false);
        let made = make(&options(3_333, 7), sender, stopped).await;
        assert_eq!((made.events, made.dropped), (23_331, 0));
        assert_eq!(made.elapsed, Duration::from_secs(7));
        assert_eq!(buffer.len(), 23_331);
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_events_are_dropped_when_the_buffer_is_full() {
        let (sender, mut buffer) = mpsc::channel(100);
        let (_stop, stopped) = watch::channel(false);
        sender.try_send(b"the oldest".to_vec()).expect("room");
        let made = make(&options(1_000, 1), sender, stopped).await;
        assert_eq!((made.events, made.dropped), (1_000, 901));
        assert_eq!(buffer.recv().await, Some(b"the oldest".to_vec()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_maker_ends_at_once() {
        let (sender, buffer) = mpsc::channel(100_000);
        let (stop, stopped) = watch::channel(false);
        let begun = Instant::now();
        let options = options(1_000, 3600);
        let making = make(&options, sender, stopped);
        let (made, ()) = tokio::join!(making, async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            stop.send_replace(true);
        });
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
        assert!((1_990..=2_000).contains(&made.events), "{made:?}");
        assert_eq!(u64::try_from(buffer.len()), Ok(made.events));
    }
}
