//! Shows a rollout on a thread of its own, so that a terminal that stands still (Ctrl-S, a connection that hangs, a pipe that nobody
//! reads) never holds up the rollout. Everything is shown in order, as long as the reader is less than 200,000 events
//! behind; then nothing more is shown, and that is said at the end.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::engine::Reporter;
use crate::engine::event::Event;
use crate::engine::view::View;
use crate::error::Error;

/// Events that may wait to be shown: some 60 MB.
const MOST: usize = 200_000;

/// Hands events to the thread.
pub struct Aside {
    queue: Arc<Queue>,
}

/// The thread that shows; it ends when the [`Aside`] is dropped and everything is shown.
pub struct Shown {
    thread: JoinHandle<()>,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    /// No more will come.
    ended: bool,
    /// Events that came when too many waited already, and all after them.
    missed: u64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every step with what waits leaves it whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has a reporter show what happens after `before`.
///
/// # Errors
/// [`Error::Output`]: there can be no more threads.
pub fn aside(mut reporter: Box<dyn Reporter>, before: View) -> Result<(Aside, Shown), Error> {
    let queue = Arc::new(Queue::default());
    let (mut view, shown) = (before, queue.clone());
    let show = move || {
        let mut batch = VecDeque::new();
        loop {
            let mut waiting = shown.lock();
            while waiting.events.is_empty() && !waiting.ended {
                let woken = shown.more.wait(waiting);
                waiting = woken.unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut waiting.events, &mut batch);
            drop(waiting);
            if batch.is_empty() {
                return;
            }
            for event in batch.drain(..) {
                view.apply(&event);
                reporter.event(&event, &view);
            }
            reporter.flush();
        }
    };
    let thread = std::thread::Builder::new().name("shown".to_owned());
    let thread = thread
        .spawn(show)
        .map_err(|source| Error::Output { source })?;
    let aside = Aside {
        queue: queue.clone(),
    };
    Ok((aside, Shown { thread, queue }))
}

impl Reporter for Aside {
    fn event(&mut self, event: &Event, _: &View) {
        let mut waiting = self.queue.lock();
        match waiting.events.len() < MOST && waiting.missed == 0 {
            true => waiting.events.push_back(event.clone()),
            false => waiting.missed += 1,
        }
    }

    fn flush(&mut self) {
        self.queue.more.notify_one();
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.queue.lock().ended = true;
        self.queue.more.notify_one();
    }
}

impl Shown {
    /// Waits until everything is shown, or until Ctrl-C. Gives how many events were not shown because the reader was too far
    /// behind.
    pub async fn wait(self) -> u64 {
        let Self { thread, queue } = self;
        let joined = tokio::task::spawn_blocking(move || thread.join());
        tokio::select! {
            // A reporter that panicked has said so.
            _ = joined => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        queue.lock().missed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::journal::testing::event;

    /// Shows one event for each that it is let.
    struct Slow(Receiver<()>, Sender<u64>);

    impl Reporter for Slow {
        fn event(&mut self, event: &Event, _: &View) {
            self.0.recv().unwrap();
            self.1.send(event.seq).unwrap();
        }
    }

    #[tokio::test]
    async fn a_reader_that_stands_still_holds_up_nobody_and_misses_nothing() {
        let ((let_one, letting), (to, shown)) = (channel(), channel());
        let (mut aside, thread) = aside(Box::new(Slow(letting, to)), View::default()).unwrap();
        // Nobody reads, and all of them are taken.
        for seq in 1..=1_000 {
            aside.event(&event("r-1", seq), &View::default());
            aside.flush();
        }
        drop(aside);
        assert!(shown.try_recv().is_err());
        (0..1_000).for_each(|_| let_one.send(()).unwrap());
        assert_eq!(thread.wait().await, 0);
        assert_eq!(
            shown.iter().collect::<Vec<u64>>(),
            (1..=1_000).collect::<Vec<u64>>()
        );
    }
}
