//! Who is worked on: so many at a time, in their order, until all are or somebody stops it. Work that has begun is told of the
//! stop and ends by itself; what has not begun is given back. Every task is awaited before this ends.

use std::future::Future;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

/// Whether to stop; cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// What says stop, and what hears it.
    #[must_use]
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (say, hear) = watch::channel(false);
        (say, Self(hear))
    }

    /// Whether it was said.
    #[must_use]
    pub fn is_said(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is said; never when it cannot be any more.
    pub async fn said(&self) {
        let mut hear = self.0.clone();
        if hear.wait_for(|said| *said).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Does `work` on all of `items`, on at most `at_once` at a time. Gives the items on which it did not begin.
///
/// # Errors
/// A panic of the work on one of them; the others are awaited first.
pub async fn drive<T, F>(
    items: impl IntoIterator<Item = T>,
    at_once: usize,
    stop: &Stop,
    work: impl Fn(T) -> F,
) -> Result<Vec<T>, JoinError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut waiting = items.into_iter();
    let (mut running, mut failed) = (JoinSet::new(), None);
    loop {
        while running.len() < at_once.max(1) && !stop.is_said() {
            let Some(item) = waiting.next() else { break };
            running.spawn(work(item));
        }
        match running.join_next().await {
            Some(Err(panicked)) => failed = failed.or(Some(panicked)),
            Some(Ok(())) => {}
            None => break,
        }
    }
    match failed {
        Some(panicked) => Err(panicked),
        None => Ok(waiting.collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use tokio::sync::Mutex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_are_worked_on_at_a_time_than_allowed_and_a_slow_one_holds_nobody() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let done = Arc::new(Mutex::new(Vec::new()));
        let (_say, stop) = Stop::new();
        let left = drive(0..20_u64, 3, &stop, |item| {
            let (now, most, done) = (now.clone(), most.clone(), done.clone());
            async move {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                let takes = if item == 0 { 3_600 } else { 1 };
                tokio::time::sleep(Duration::from_secs(takes)).await;
                now.fetch_sub(1, SeqCst);
                done.lock().await.push(item);
            }
        });
        assert_eq!(left.await.unwrap(), Vec::<u64>::new());
        assert_eq!(most.load(SeqCst), 3);
        let done = done.lock().await;
        assert_eq!((done.len(), done.last()), (20, Some(&0)));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_stop_nothing_new_begins_and_what_runs_is_awaited() {
        let ended = Arc::new(AtomicUsize::new(0));
        let (say, stop) = Stop::new();
        let left = drive(0..10, 4, &stop, |item| {
            let (ended, stop) = (ended.clone(), stop.clone());
            let say = (item == 3).then(|| say.clone());
            async move {
                match say {
                    Some(say) => drop(say.send(true)),
                    None => stop.said().await,
                }
                ended.fetch_add(1, SeqCst);
            }
        });
        assert_eq!(left.await.unwrap(), [4, 5, 6, 7, 8, 9]);
        assert_eq!(ended.load(SeqCst), 4);
    }

    #[tokio::test]
    async fn a_panic_is_told_after_the_others_have_ended() {
        let ended = Arc::new(AtomicUsize::new(0));
        let (_say, stop) = Stop::new();
        let result = drive(0..5, 2, &stop, |item| {
            let ended = ended.clone();
            async move {
                assert!(item != 1, "this one");
                ended.fetch_add(1, SeqCst);
            }
        });
        assert!(result.await.unwrap_err().is_panic());
        assert_eq!(ended.load(SeqCst), 4);
    }
}
