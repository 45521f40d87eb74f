//! Showing a rollout that another process runs, from its events, as if it ran here: the same bars, lines and JSON, and the same
//! exit code. A stream that ends before the rollout does is exit 5: it goes on, or waits.

use futures::StreamExt as _;
use futures::stream::BoxStream;

use crate::client::Client;
use crate::command::steer::{self, Steered};
use crate::command::{print, tell};
use crate::engine::event::Event;
use crate::engine::id::RolloutId;
use crate::engine::view::View;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::{self, Format, summary};

/// What signals do to the rollout that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signals {
    /// They end the showing.
    Leave,
    /// They ask what is to be done with the rollout, as where it runs.
    Ask,
}

/// Follows a rollout at a client, and shows the events after `from`, until nobody there runs it.
///
/// # Errors
/// What the stream gives.
pub async fn follow(
    client: &Client,
    rollout: &RolloutId,
    from: u64,
    signals: Signals,
    format: Format,
) -> Result<Exit, Error> {
    let events = client.watch(rollout, 0).await?;
    let (mut view, steered) = (
        View::default(),
        Steered::There(Box::new(client.clone()), rollout.clone()),
    );
    let shown = show(events, &mut view, from, format);
    let left = tokio::select! {
        shown = shown => shown.map(|()| false)?,
        left = steer::signals(steered, signals == Signals::Ask) => { left?; true }
    };
    conclude(rollout, &view, left, format)
}

/// Shows the events after `from`, and folds all.
///
/// # Errors
/// What the stream gives.
pub async fn show(
    mut events: BoxStream<'static, Result<Event, Error>>,
    view: &mut View,
    from: u64,
    format: Format,
) -> Result<(), Error> {
    let mut reporter = output::reporter(format);
    while let Some(event) = events.next().await {
        let event = event?;
        view.apply(&event);
        if event.seq > from {
            reporter.event(&event, view);
            reporter.flush();
        }
    }
    Ok(())
}

/// Shows what it came to so far.
///
/// # Errors
/// [`Error::Output`].
pub fn conclude(id: &RolloutId, view: &View, left: bool, format: Format) -> Result<Exit, Error> {
    if left {
        tell(&format!(
            "rollout {id} goes on; midflight watch {id} shows it again"
        ));
        return Ok(Exit::RUNNING);
    }
    match format {
        Format::Text => print(&summary(id, view))?,
        // The last event says it.
        Format::Json => {}
    }
    Ok(view.exit())
}
