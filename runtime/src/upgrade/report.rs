//! What the phases of an upgrade tell: how much there was to do, how long it took, and how the new code fares.

use std::time::Duration;

use super::PauseHistogram;

/// What `prepare` found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Actors whose states were migrated as copies.
    pub actors: u64,
    /// Walks over the states that had changed meanwhile.
    pub rounds: u64,
    /// States that changed after the last walk: the pause migrates these.
    pub dirty: u64,
    /// What the pause will take for them.
    pub estimated_pause: Duration,
}

/// What `resume` did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resumed {
    /// Actors that run, or will run, the new code.
    pub actors: u64,
    /// Of these, migrated inside the pause.
    pub migrated_in_pause: u64,
    /// Actors that had events waiting when the pause ended: `Probation::pauses` measures them, each when it runs again.
    pub waited: u64,
    /// From the start of suspend until the last affected actor could run.
    pub pause: Duration,
}

/// How the patched modules fare since resume.
#[derive(Debug, Clone, Copy, Default)]
pub struct Health {
    /// Events handled well.
    pub events: u64,
    /// Handlers that trapped or broke a bound.
    pub traps: u64,
    /// Handlers that returned an error.
    pub errors: u64,
    /// Actors of the release that were started again.
    pub restarts: u64,
    /// Actors parked with an event that failed.
    pub parked: u64,
    /// Applications of the node that ended by themselves: their top supervisors gave up.
    pub ended: u64,
    /// Time since resume.
    pub since_resume: Duration,
    /// Actors that had events waiting: from the start of suspend until each ran again.
    pub pauses: PauseHistogram,
}
