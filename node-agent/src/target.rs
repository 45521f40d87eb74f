//! What the agent drives: something that runs the modules of a release and can change them in one transaction.
//! The runtime of this project is one target (`runtime_target.rs`); the agent knows nothing of it but this trait.
//! All calls block for as long as the work takes; the agent calls them from threads that may block.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use midflight_patch::{Digest, ModuleName, Plan, Release, Vsn};
use midflight_proto::agent::v1 as pb;

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
    pub since_resume: Duration,
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

/// Names an actor.
#[derive(Debug, Clone)]
pub enum ActorRef {
    Pid(u64),
    Name(String),
}

/// What may be asked of one actor (OTP's `sys`).
#[derive(Debug, Clone)]
pub enum SysOp {
    Status,
    GetState,
    Suspend,
    Resume,
    /// JSON. A replacement that fails keeps the state.
    ReplaceState(String),
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
    fn sys(
        &self,
        actor: &ActorRef,
        op: SysOp,
        timeout: Duration,
    ) -> Result<(pb::ActorStatus, Option<String>), TargetError>;
    /// Stops taking connections, lets mailboxes run empty, then stops everything, within the deadline.
    /// False: the deadline came first.
    fn drain(&self, deadline: Duration) -> bool;
}
