//! What the agent drives: something that runs the modules of a release and can change them in one transaction.
//! The runtime of this project is one target (`runtime_target.rs`); the agent knows nothing of it but this trait.
//! All calls block for as long as the work takes; the agent calls them from threads that may block.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use midflight_patch::{Digest, ModuleName, Plan, Release, Vsn};
use midflight_proto::agent::v1::{self as pb, sys_request::Op};

/// Why a target did not do it. `changed` is false while nothing on the node is different from before the call.
#[derive(Debug, Clone)]
pub struct TargetError {
    /// Stable code, `MF03xx`.
    pub code: &'static str,
    /// What failed and why.
    pub what: String,
    /// Module, actor or blob; may be empty.
    pub subject: String,
    /// What to do next.
    pub hint: String,
    /// The node said no before it did anything.
    pub refused: bool,
    /// Actors that fail, at most 100.
    pub actors: Vec<pb::ActorFailure>,
}

/// What to do with an actor whose `code_change(down)` fails while the node rolls back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDownFailure {
    /// It stays on the newer code, held, its mailbox kept.
    #[default]
    Hold,
    /// It goes back to its pinned state and loses what came since. Without one, it is held.
    Restore,
    /// It is stopped.
    Stop,
}

/// One upgrade, all of its modules together or none.
#[derive(Debug, Clone)]
pub struct UpgradeOrder {
    /// What is done, as `midflight patch inspect` prints it. `stage` has accepted its components.
    pub plan: Plan,
    /// The release that results; its trees say which children end.
    pub to: Release,
    /// From the start of suspend until the last affected actor may run.
    pub pause_budget: Duration,
    pub prepare_timeout: Duration,
    pub on_down_failure: OnDownFailure,
}

/// What `prepare` found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prepared {
    pub actors: u64,
    pub rounds: u64,
    pub dirty: u64,
    pub estimated_pause: Duration,
}

/// What `resume` did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resumed {
    pub actors: u64,
    pub migrated_in_pause: u64,
    pub pause: Duration,
}

/// What a rollback did.
#[derive(Debug, Clone, Default)]
pub struct RolledBack {
    pub pinned: u64,
    pub migrated: u64,
    pub restored: u64,
    pub events_discarded: u64,
    pub stopped: u64,
    pub held: Vec<pb::ActorFailure>,
    pub redelivered: u64,
    pub pause: Duration,
}

/// Of the patched modules, since resume.
#[derive(Debug, Clone, Copy, Default)]
pub struct Health {
    pub events: u64,
    pub traps: u64,
    pub errors: u64,
    pub restarts: u64,
    pub parked: u64,
    /// Applications of the node that ended by themselves.
    pub ended: u64,
    pub since_resume: Duration,
    /// Of actors that had events waiting: from the start of suspend until each ran again.
    pub pauses: Pauses,
}

/// One transaction. The order of calls is prepare, suspend, load, migrate, resume, then confirm and finish, or rollback;
/// any other order is refused. A call before `resume` that fails has aborted the transaction: old code, old states.
/// Dropped before `resume`, it aborts; dropped after, nothing happens.
pub trait Upgrade: Send {
    fn prepare(&mut self) -> Result<Prepared, TargetError>;
    fn suspend(&mut self) -> Result<(), TargetError>;
    fn load(&mut self) -> Result<(), TargetError>;
    fn migrate(&mut self) -> Result<(), TargetError>;
    fn resume(&mut self) -> Result<Resumed, TargetError>;
    /// Ends probation for good: parked actors become ordinary crashes. Gives their number.
    fn confirm(&mut self) -> Result<u64, TargetError>;
    /// Drops the pinned states and purges the old code.
    fn finish(&mut self) -> Result<(), TargetError>;
    /// After `resume` and before `finish`: back to the old code, per actor.
    fn rollback(
        &mut self,
        pause_budget: Duration,
        on_failure: OnDownFailure,
    ) -> Result<RolledBack, TargetError>;
    /// Before `resume`: the same as dropping it.
    fn abort(&mut self);
    /// After `resume`.
    fn health(&self) -> Health;
    /// How long the actors have been suspended; none: they are not.
    fn suspended_for(&self) -> Option<Duration>;
}

/// One module as it runs.
#[derive(Debug, Clone)]
pub struct ModuleStatus {
    pub name: ModuleName,
    pub vsn: Vsn,
    pub blob: Digest,
    pub actors: u64,
    pub old_vsn: Option<Vsn>,
    pub actors_on_old: u64,
    /// Since when the old version is old; none: nobody runs it.
    pub old_since: Option<SystemTime>,
    pub events: u64,
    pub traps: u64,
    pub errors: u64,
    pub restarts: u64,
}

/// The target as a whole.
#[derive(Debug, Clone, Default)]
pub struct TargetStatus {
    pub modules: Vec<ModuleStatus>,
    pub actors: u64,
    pub dead_letters: u64,
}

/// One module, measured.
#[derive(Debug, Clone, Default)]
pub struct ModuleMeasures {
    pub module: String,
    /// Of the current version, then of the old one while it is kept.
    pub versions: Vec<VersionMeasures>,
    pub restarts: u64,
    /// Events that wait, in all mailboxes of its actors and in the longest.
    pub mailbox: u64,
    pub mailbox_max: u64,
}

/// What the handlers of one version did since it was loaded, and how long some of the events took. Distributions are as the
/// protocol has them: bucket and number of values.
#[derive(Debug, Clone, Default)]
pub struct VersionMeasures {
    pub vsn: String,
    pub events: u64,
    pub traps: u64,
    pub errors: u64,
    /// In units of 64 ns.
    pub latency: Vec<(u32, u64)>,
    pub depth: Vec<(u32, u64)>,
}

/// What a `sys` request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    Pid(u64),
    Name(String),
    /// All actors of a module.
    Module(String),
    Node,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "pid {pid}"),
            Self::Name(name) => write!(f, "{name:?}"),
            Self::Module(module) => write!(f, "module {module:?}"),
            Self::Node => f.write_str("the node"),
        }
    }
}

/// What the handlers of one version did since it was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionCounts {
    pub module: String,
    pub vsn: String,
    pub events: u64,
    pub traps: u64,
    pub errors: u64,
}

/// The target in numbers. What counts only grows while it lives.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Alive, by status.
    pub actors: Vec<(&'static str, u64)>,
    /// Alive, and started again, by module.
    pub modules: Vec<(String, u64, u64)>,
    pub versions: Vec<VersionCounts>,
    pub old_code: Vec<pb::OldCode>,
    /// Events that wait, in all mailboxes and in the longest.
    pub mailbox: u64,
    pub mailbox_max: u64,
    /// Bytes that wait, by module.
    pub mailbox_bytes: Vec<(String, u64)>,
    pub dead_letters: u64,
    pub overflows: u64,
    pub unconverted: u64,
    /// What actors asked of sockets that were not theirs any more.
    pub not_owned: u64,
    /// Applications that ended by themselves.
    pub ended: u64,
    /// Traces that are kept.
    pub traces: u64,
    /// Times that a bound was hit, by the name of the limit.
    pub bounds: Vec<(&'static str, u64)>,
    pub actor_pauses: Pauses,
    pub node_pauses: Pauses,
}

/// Durations by powers of two: the nth bucket, from 0, counts those below 2ⁿ µs that none before it counts; the last also
/// counts all longer ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pauses {
    pub count: u64,
    pub sum_us: u64,
    pub max_us: u64,
    pub buckets: [u64; 32],
}

/// Runs modules, and changes them.
pub trait Target: Send + Sync + 'static {
    /// Checks and compiles a component, so that nothing of it is left to do later. The same digest again is free.
    fn stage(
        &self,
        module: &ModuleName,
        blob: &Digest,
        component: &[u8],
    ) -> Result<(), TargetError>;
    /// Starts a release on an empty target; every blob is given.
    fn boot(
        &self,
        release: &Release,
        blobs: &BTreeMap<Digest, Arc<[u8]>>,
    ) -> Result<(), TargetError>;
    /// Opens the one upgrade that may be open: between this and the end of `finish` or of a rollback, others are refused.
    fn begin(&self, order: UpgradeOrder) -> Result<Box<dyn Upgrade>, TargetError>;
    fn status(&self) -> TargetStatus;
    /// What the modules measured, by name. None: this target measures nothing, and gates that need it have no verdict.
    fn measures(&self) -> Vec<ModuleMeasures> {
        Vec::new()
    }
    /// OTP's `sys`. The operation is one that fits `who`.
    fn sys(&self, who: &Who, op: &Op, timeout: Duration) -> Result<pb::SysResponse, TargetError>;
    fn metrics(&self) -> Metrics;
    /// Stops taking connections, lets mailboxes run empty, then stops everything, within the deadline.
    /// False: the deadline came first.
    fn drain(&self, deadline: Duration) -> bool;
}
