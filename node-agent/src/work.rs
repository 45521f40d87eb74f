//! Where work that blocks is done: on threads of their own for a real node. Somebody who runs many agents on few threads,
//! or on a clock of his own, brings another place. It promises that work which was given to it runs to its end, whether
//! or not somebody waits for it; it says nothing of what the work is.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::error::Error;

/// Work that blocks.
pub type Work = Box<dyn FnOnce() + Send>;

/// Runs work that blocks.
pub trait Worker: Send + Sync + 'static {
    /// Starts the work at once or soon, in the order of calls; the future ends no earlier than the work. `what` names it.
    fn start(&self, what: &'static str, work: Work) -> BoxFuture<'static, ()>;
}

/// Runs work, and gives what came of it.
///
/// # Errors
/// [`Error::Panicked`].
pub fn run<T: Send + 'static>(
    worker: &Arc<dyn Worker>,
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, Error>> + Send + 'static {
    let (to, from) = oneshot::channel();
    let done = worker.start(
        what,
        Box::new(move || {
            // What a panic leaves behind is behind locks, which `parking_lot` opens again, as after a thread that panicked.
            let result = catch_unwind(AssertUnwindSafe(work));
            let _ = to.send(result.map_err(|panic| Error::panic(what, &*panic))); // nobody waits any more
        }),
    );
    async move {
        done.await;
        from.await.unwrap_or_else(|_| {
            let message = "it was never done".to_owned();
            Err(Error::Panicked { what, message })
        })
    }
}

/// Tokio's threads for work that blocks.
pub struct Threads;

impl Worker for Threads {
    fn start(&self, _what: &'static str, work: Work) -> BoxFuture<'static, ()> {
        let task = tokio::task::spawn_blocking(work);
        Box::pin(async move {
            let _ = task.await; // a panic is caught in the work; a runtime that shuts down needs no answer
        })
    }
}

/// Whoever asks does the work, at once. For agents whose target and storage do not block, on one thread.
pub struct Inline;

impl Worker for Inline {
    fn start(&self, _what: &'static str, work: Work) -> BoxFuture<'static, ()> {
        work();
        Box::pin(std::future::ready(()))
    }
}
