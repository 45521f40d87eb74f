//! How many dials run at once, and what becomes of one that a full server drops.
//!
//! It promises that a bastion sees a bounded number of new connections at a time, that a slow host gives its place to
//! others and goes on without one, and that a server which drops connections because it has too many (`MaxStartups`) is
//! asked again, later each time, for as long as the caller's patience lasts.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// After so long a dial gives its place to another.
const SLOW: Duration = Duration::from_secs(2);
/// Dials through a bastion begin up to so much later, so that they do not fall on it in one instant.
const SPREAD: Duration = Duration::from_millis(10);
/// The first wait after a drop; each next one is twice as long, and each is varied by half of itself.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// Places for dials.
#[derive(Clone)]
pub(crate) struct Lanes(Arc<Semaphore>);

impl Lanes {
    pub(crate) fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places.max(1))))
    }

    /// A place, when there is one.
    pub(crate) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes the semaphore.
        self.0.clone().acquire_owned().await.ok()
    }

    /// Runs a dial, the place held for its first two seconds.
    pub(crate) async fn run<T>(
        place: Option<OwnedSemaphorePermit>,
        dial: impl Future<Output = T>,
    ) -> T {
        let mut dial = std::pin::pin!(dial);
        tokio::select! {
            biased;
            done = &mut dial => return done,
            () = tokio::time::sleep(SLOW) => drop(place),
        }
        dial.await
    }
}

/// A little time, at random.
pub(crate) async fn spread() {
    tokio::time::sleep(SPREAD.mul_f64(fraction())).await;
}

/// How long to wait after that many drops.
pub(crate) fn backoff(drops: u32) -> Duration {
    let wait = FIRST_WAIT
        .saturating_mul(1 << drops.saturating_sub(1).min(10))
        .min(LONGEST_WAIT);
    wait.mul_f64(0.5 + fraction())
}

/// From 0 to 1.
fn fraction() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness all wait equally long, which harms nobody.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// How long a dial may take. Time in which a person is waited for does not count.
#[derive(Default)]
pub(crate) struct Patience(Arc<Mutex<Waits>>);

/// The waits that are over, and since when one runs.
#[derive(Default)]
struct Waits {
    past: Duration,
    since: Option<Instant>,
}

impl Waits {
    fn running(&self) -> Duration {
        self.since
            .map_or(Duration::ZERO, |since| since.elapsed().min(PERSON))
    }
}

/// Most that one wait for a person is worth.
const PERSON: Duration = Duration::from_secs(120);

impl Patience {
    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time until this is dropped does not count, up to two minutes.
    pub(crate) fn hold(&self) -> Held {
        self.waits().since = Some(Instant::now());
        Held(self.0.clone())
    }

    /// What comes of a dial within the time; `None` when the time is over.
    pub(crate) async fn limit<T>(
        &self,
        time: Duration,
        dial: impl Future<Output = T>,
    ) -> Option<T> {
        const AGAIN: Duration = Duration::from_millis(50);
        let began = Instant::now();
        let mut dial = std::pin::pin!(dial);
        loop {
            let held = {
                let waits = self.waits();
                waits.past + waits.running()
            };
            let left = (time + held).saturating_sub(began.elapsed());
            if left.is_zero() {
                return None;
            }
            let until = if held.is_zero() {
                left
            } else {
                left.max(AGAIN)
            };
            if let Ok(done) = tokio::time::timeout(until, &mut dial).await {
                return Some(done);
            }
        }
    }
}

/// Somebody is waited for.
pub(crate) struct Held(Arc<Mutex<Waits>>);

impl Drop for Held {
    fn drop(&mut self) {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = waits.running();
        waits.past += running;
        waits.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_in_which_a_person_is_waited_for_does_not_count() {
        let patience = Patience::default();
        let dial = async {
            let held = patience.hold();
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(held);
            tokio::time::sleep(Duration::from_secs(1)).await;
            true
        };
        assert_eq!(
            patience.limit(Duration::from_secs(2), dial).await,
            Some(true)
        );
        let hangs = std::future::pending::<()>();
        assert_eq!(
            Patience::default()
                .limit(Duration::from_secs(2), hangs)
                .await,
            None
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_dial_gives_its_place_to_the_next() {
        let lanes = Lanes::new(1);
        let slow = Lanes::run(lanes.place().await, std::future::pending::<()>());
        let next = async { Lanes::run(lanes.place().await, async { 7 }).await };
        let began = Instant::now();
        tokio::select! {
            () = slow => unreachable!("it never ends"),
            seven = next => assert_eq!(seven, 7),
        }
        assert!(began.elapsed() >= SLOW);
    }

    #[test]
    fn waits_grow_and_differ_and_stay_bounded() {
        assert!(backoff(1) >= FIRST_WAIT / 2 && backoff(1) <= FIRST_WAIT * 3 / 2);
        assert!(backoff(60) <= LONGEST_WAIT * 3 / 2);
        assert_ne!(backoff(60), backoff(60));
    }
}
