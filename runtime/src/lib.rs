//! The runtime of one node: actors whose state is a value that the runtime owns, and modules that are pure functions
//! over it, as WebAssembly components. It upgrades the code of running actors in one transaction, and takes it back.
//! It knows nothing of peers, controllers or rollouts.
//!
//! To read it: `actor` and `table` (what an actor is), `turn` (what happens to an event), `effects` (what a handler can
//! ask for), `code` (versions), then `upgrade` (the transaction), and `node`, which holds it all together.

#[macro_use]
mod mutants;

mod actor;
mod bindings;
mod boot;
mod bounds;
mod cache;
mod client;
mod code;
mod door;
mod effects;
mod error;
mod exits;
mod groups;
mod guest;
mod instance;
mod last_words;
mod limits;
mod log;
mod measure;
mod monitors;
mod names;
mod net;
mod node;
mod record;
mod requests;
mod sched;
mod supervise;
mod sys;
mod table;
mod timers;
mod turn;
pub mod upgrade;
mod weights;
mod work;

pub use error::{ActorFailure, Error, MAX_FAILING};
pub use limits::Limits;
pub use log::{LogLevel, LogLine};
pub use measure::{Distribution, ONE_IN, UNIT_NS};
pub use node::{Config, Node};
pub use record::{Crash, Outcome, Record, Replayer};
pub use supervise::{
    ApplicationState, ApplicationStatus, ChildCounts, ChildKind, ChildRef, ChildStatus,
};
pub use sys::{
    ActorRef, ActorStatus, Affected, EventCounts, Filter, MAX_PAGE, MAX_TOP, MAX_TRACES, Metrics,
    ModuleActors, ModuleMeasures, ModuleStatistics, ModuleStatus, Page, Statistics, Switch, Top,
    TopBy, TopRow, TraceEntry, TraceOrder, TraceReport, Traced, VersionMeasures, VersionNumbers,
};
pub use upgrade::{Direction, OnDownFailure, Order, PauseHistogram, Purge};

/// A pid as people read it: slot and generation.
pub fn pid_text(pid: u64) -> String {
    format!("<{}.{}>", pid as u32, pid >> 32)
}
