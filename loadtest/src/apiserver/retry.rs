//! One batch until it is accepted or lost.
//!
//! Contract:
//! * at most five tries; after each but the last a pause of `initial_backoff × 1.5ⁿ` and up to a fifth
//!   more (at the default about 0, 11, 28, 52 and 90 s after the start when answers come at once);
//! * within a try, while the answer is [`Answer::Later`], the same request again after the time that
//!   the sink asked for, ten times at most. A time that ends after the try's end is waited for until
//!   that end, and fails the try: so the sink's wish can lengthen a try, never the whole beyond five
//!   of them;
//! * there is no permanent refusal: every answer that does not accept is tried again.
//!
//! Kubernetes: `webhook.WithExponentialBackoff` around `rest.Request.Do` (its `maxRetries` is 10).

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::Options;

pub(super) const TRIES: u32 = 5;
const FACTOR: f64 = 1.5;
const JITTER: f64 = 0.2;
const INNER_RETRIES_MAX: u32 = 10;

/// What a request came to, redirects followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The client takes the batch for stored.
    Accepted {
        /// False if it was the answer to a GET, after a redirect: the sink never had the events.
        with_body: bool,
    },
    /// 429 or 5xx with a time that the client understands.
    Later(Duration),
    /// Anything else, no answer included.
    Refused,
}

/// The end of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Accepted { with_body: bool },
    Lost,
}

/// Sends until accepted or lost. `post` is one request that is over by the given time; `on_try` is
/// told of each try as it begins.
pub(super) async fn deliver<P: Future<Output = Answer>>(
    options: &Options,
    post: impl Fn(Instant) -> P,
    on_try: impl Fn(),
) -> Outcome {
    let mut pause = options.initial_backoff;
    for number in 1..=TRIES {
        on_try();
        if let Some(with_body) = one_try(options.try_timeout, &post).await {
            return Outcome::Accepted { with_body };
        }
        if number < TRIES {
            sleep(pause.mul_f64(1.0 + JITTER * fastrand::f64())).await;
            pause = pause.mul_f64(FACTOR);
        }
    }
    Outcome::Lost
}

/// One try with its inner retries; `None` if it failed.
async fn one_try<P: Future<Output = Answer>>(
    limit: Duration,
    post: impl Fn(Instant) -> P,
) -> Option<bool> {
    let deadline = Instant::now() + limit;
    for _ in 0..INNER_RETRIES_MAX {
        match post(deadline).await {
            Answer::Accepted { with_body } => return Some(with_body),
            Answer::Refused => return None,
            Answer::Later(wait) if wait < deadline.saturating_duration_since(Instant::now()) => {
                sleep(wait).await;
            }
            Answer::Later(_) => {
                sleep_until(deadline).await;
                return None;
            }
        }
    }
    match post(deadline).await {
        Answer::Accepted { with_body } => Some(with_body),
        Answer::Later(_) | Answer::Refused => None,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Seconds after the start at which requests and tries began, and how it ended when.
    struct Told {
        requests: Vec<f64>,
        tries: Vec<f64>,
        outcome: Outcome,
        ended: f64,
    }

    async fn told<P: Future<Output = Answer>>(post: impl Fn(usize, Instant) -> P) -> Told {
        let options = Options::new("http://127.0.0.1:1".parse().expect("loopback"));
        let started = Instant::now();
        let now = || started.elapsed().as_secs_f64();
        let (requests, tries) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let outcome = deliver(
            &options,
            |deadline| {
                requests.borrow_mut().push(now());
                post(requests.borrow().len(), deadline)
            },
            || tries.borrow_mut().push(now()),
        )
        .await;
        let (ended, requests, tries) = (now(), requests.into_inner(), tries.into_inner());
        Told {
            requests,
            tries,
            outcome,
            ended,
        }
    }

    async fn asked_to_wait(seconds: u64) -> Told {
        let answer = Answer::Later(Duration::from_secs(seconds));
        told(|_, _| std::future::ready(answer)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_batch_is_tried_five_times_and_lost_after_90_seconds() {
        // More than once: the pauses have a random part.
        for _ in 0..50 {
            let told = told(|_, _| std::future::ready(Answer::Refused)).await;
            assert_eq!(told.outcome, Outcome::Lost);
            assert_eq!((told.tries.len(), told.requests.len()), (5, 5));
            for (place, least) in [10.0, 15.0, 22.5, 33.75].into_iter().enumerate() {
                let pause = told.tries[place + 1] - told.tries[place];
                let most = least * 1.2 + 0.002;
                assert!((least..=most).contains(&pause), "{place}: {pause}");
            }
            assert!((81.25..=97.6).contains(&told.ended), "{}", told.ended);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_accepting_answer_ends_it() {
        for accepted_at in 1..=5 {
            let told = told(async |number, _| match number {
                number if number < accepted_at => Answer::Refused,
                _ => Answer::Accepted { with_body: true },
            })
            .await;
            assert_eq!(told.outcome, Outcome::Accepted { with_body: true });
            assert_eq!(told.requests.len(), accepted_at);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_hangs_loses_the_batch_after_240_seconds() {
        let told = told(async |_, deadline| {
            sleep_until(deadline).await;
            Answer::Refused
        })
        .await;
        assert_eq!((told.outcome, told.tries.len()), (Outcome::Lost, 5));
        assert!((231.0..=248.0).contains(&told.ended), "{}", told.ended);
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_to_wait_makes_an_inner_loop_within_each_try() {
        // What was measured with a real API server: requests, and about when it gives up.
        for (seconds, requests, gives_up) in [
            (0, 55, 90.0),
            (1, 55, 140.0),
            (5, 30, 240.0),
            (20, 10, 240.0),
            (60, 5, 240.0),
        ] {
            let told = asked_to_wait(seconds).await;
            assert_eq!(told.outcome, Outcome::Lost);
            assert_eq!(told.tries.len(), 5);
            assert_eq!(told.requests.len(), requests, "Retry-After: {seconds}");
            assert!((told.ended - gives_up).abs() < 10.0, "{}", told.ended);
        }
        let told = asked_to_wait(20).await;
        let inner = told.requests[1] - told.requests[0];
        assert!((20.0..20.01).contains(&inner), "{inner}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_inner_retry_that_is_refused_for_good_ends_the_try() {
        let told = told(async |number, _| match number % 2 {
            1 => Answer::Later(Duration::from_secs(1)),
            _ => Answer::Refused,
        })
        .await;
        assert_eq!((told.tries.len(), told.requests.len()), (5, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_inner_retry_that_is_accepted_ends_it_all() {
        let told = told(async |number, _| match number {
            11 => Answer::Accepted { with_body: true },
            _ => Answer::Later(Duration::from_secs(2)),
        })
        .await;
        assert_eq!(told.outcome, Outcome::Accepted { with_body: true });
        assert_eq!((told.tries.len(), told.requests.len()), (1, 11));
        assert!((20.0..20.1).contains(&told.ended), "{}", told.ended);
    }
}
