//! The events of a rollout as a stream: those that the journal has, from a cursor on, then those that happen. Every event is
//! read from the journal when the watcher asks for it, so that nothing is buffered beyond a page, and a watcher that is slow,
//! or gone, holds nobody.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::Stream;
use futures::stream::try_unfold;

use crate::engine::event::Event;
use crate::engine::id::RolloutId;
use crate::error::Error;
use crate::journal::Journal;
use crate::server::lives::{Live, Lives};

/// Events read at a time.
const PAGE: usize = 256;

struct Watcher {
    journal: Arc<dyn Journal>,
    rollout: RolloutId,
    after: u64,
    page: VecDeque<Event>,
    live: Option<Live>,
}

/// The events after `after`. Ends after the last one that there is when the rollout does not live in this process, or no
/// longer does.
pub fn events(
    journal: Arc<dyn Journal>,
    lives: &Lives,
    rollout: RolloutId,
    after: u64,
) -> impl Stream<Item = Result<Event, Error>> + Send + use<> {
    let watcher = Watcher {
        journal,
        live: lives.get(&rollout),
        rollout,
        after,
        page: VecDeque::new(),
    };
    try_unfold(watcher, |mut watcher| async move {
        let next = watcher.next().await?;
        Ok(next.map(|event| (event, watcher)))
    })
}

impl Watcher {
    async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.page.pop_front() {
                self.after = event.seq;
                return Ok(Some(event));
            }
            if let Some(live) = &mut self.live {
                // Seen before the journal is read: what comes after that is a change.
                live.seq.mark_unchanged();
            }
            let read = self.journal.events(&self.rollout, self.after, PAGE);
            self.page = read.await?.into();
            if !self.page.is_empty() {
                continue;
            }
            match &mut self.live {
                None => return Ok(None),
                // An engine that ended may have written more before: one last look.
                Some(live) => {
                    if live.seq.changed().await.is_err() {
                        self.live = None;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, TryStreamExt as _};

    use super::*;
    use crate::engine::Reporter as _;
    use crate::engine::view::View;
    use crate::journal::Memory;
    use crate::journal::testing::event;
    use crate::output::Silent;
    use crate::server::lives::Told;

    async fn write(journal: &Memory, told: &mut Told<'_>, seq: u64) {
        journal.append(&[event("r-1", seq)]).await.unwrap();
        told.event(&event("r-1", seq), &View::default());
    }

    #[tokio::test]
    async fn a_watcher_replays_from_its_cursor_then_follows_and_ends_with_the_engine() {
        let (journal, lives) = (Memory::default(), Lives::default());
        let id: RolloutId = "r-1".parse().unwrap();
        let (alive, _asked) = lives.enter(&id).unwrap();
        let mut told = Told {
            alive,
            shown: Box::new(Silent),
            answer: None,
        };
        for seq in 1..=600 {
            write(&journal, &mut told, seq).await;
        }
        let stream = events(Arc::new(journal.clone()), &lives, id.clone(), 2);
        let mut stream = Box::pin(stream.map_ok(|event| event.seq));
        for want in 3..=600 {
            assert_eq!(stream.next().await.unwrap().unwrap(), want);
        }
        assert!(futures::poll!(stream.next()).is_pending());
        write(&journal, &mut told, 601).await;
        assert_eq!(stream.next().await.unwrap().unwrap(), 601);
        // A watcher that does not read holds nobody, and misses nothing.
        for seq in 602..=900 {
            write(&journal, &mut told, seq).await;
        }
        drop(told);
        let rest: Vec<u64> = stream.try_collect().await.unwrap();
        assert_eq!(rest, (602..=900).collect::<Vec<_>>());
        let again = events(Arc::new(journal), &lives, id, 899);
        assert_eq!(again.count().await, 1, "nobody runs it: it ends");
    }
}
