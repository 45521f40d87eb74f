//! What one upgrade is to do, module by module: the order that `Node::begin` takes. It says nothing of how; all of it
//! happens in one transaction or not at all.

use std::time::Duration;

pub use midflight_patch::plan::{AfterDraining, Policy, Purge};
use midflight_patch::{Application, ConnectTarget, Digest, ModuleName, Update, Vsn};

use super::{Apply, Direction, OnDownFailure};

/// A version between the running one and the wanted one, for states only: it is never current and never old.
#[derive(Debug, Clone)]
pub struct Hop {
    /// Its vsn.
    pub vsn: Vsn,
    /// A staged component.
    pub blob: Digest,
    /// How states become states of this vsn.
    pub update: Update,
    /// For that `code_change`, as JSON.
    pub extra: Vec<u8>,
}

/// One module that changes.
#[derive(Debug, Clone)]
pub struct ModuleOrder {
    /// A module that runs.
    pub name: ModuleName,
    /// What must run now.
    pub from: Vsn,
    /// What is to run.
    pub to: Vsn,
    /// A staged component.
    pub blob: Digest,
    /// How states become states of `to`; with hops, from those of the last hop.
    pub update: Update,
    /// For that `code_change`, as JSON.
    pub extra: Vec<u8>,
    /// For `on_load`, as JSON.
    pub config: Vec<u8>,
    /// How running actors come to the new code. The time of those that drain counts from resume; what follows it happens
    /// when the upgrade is finished, not before.
    pub policy: Policy,
    /// What to do about actors on code that is still old from before (OTP's PrePurge). Brutal: they end at resume, with
    /// the reason `killed` and without `terminate`.
    pub pre_purge: Purge,
    /// What to do about actors on the code that becomes old (OTP's PostPurge). Soft: it is purged in the background, once
    /// the last of them has ended or switched.
    pub post_purge: Purge,
    /// Versions in between, in the order in which states pass through them.
    pub hops: Vec<Hop>,
}

impl ModuleOrder {
    /// An advanced update at once, without extra and configuration, with soft purges.
    pub fn new(name: ModuleName, from: Vsn, to: Vsn, blob: Digest) -> Self {
        Self {
            name,
            from,
            to,
            blob,
            update: Update::Advanced,
            extra: b"null".to_vec(),
            config: b"null".to_vec(),
            policy: Policy::Update,
            pre_purge: Purge::Soft,
            post_purge: Purge::Soft,
            hops: Vec::new(),
        }
    }
}

/// A module that the node does not run yet (OTP's `add_module`).
#[derive(Debug, Clone)]
pub struct AddModule {
    /// Its name.
    pub name: ModuleName,
    /// What is to run.
    pub vsn: Vsn,
    /// A staged component.
    pub blob: Digest,
    /// For `on_load`, as JSON.
    pub config: Vec<u8>,
}

/// A module that is to go (OTP's `delete_module`).
#[derive(Debug, Clone)]
pub struct DeleteModule {
    /// A module that runs.
    pub name: ModuleName,
    /// What must run now.
    pub from: Vsn,
    /// What to do with actors that run it: soft refuses, brutal stops them at resume.
    pub purge: Purge,
}

/// What is done behind the switch, while the way back is open: a failure takes it.
#[derive(Debug, Clone)]
pub enum Action {
    /// A module's `apply` is called. What it asks for is done.
    Apply(Apply),
    /// An application ends, its children in reverse, and is forgotten.
    StopApplication(String),
    /// An application becomes known and starts.
    StartApplication(Application),
    /// A child of an application's tree ends, wherever it stands in it.
    StopChild {
        /// Whose tree.
        application: String,
        /// Its name.
        child: String,
    },
    /// It starts again.
    StartChild {
        /// Whose tree.
        application: String,
        /// Its name.
        child: String,
    },
    /// An application's supervisors take over this tree. Children that run are left alone.
    UpdateSupervisors(Application),
}

/// One upgrade: all of it or nothing.
#[derive(Debug, Clone)]
pub struct Order {
    /// Which of the two codes knows the other.
    pub direction: Direction,
    /// The modules that change. They are suspended in this order.
    pub modules: Vec<ModuleOrder>,
    /// They are resumed in this order; those that it does not name follow, in the reverse order of their suspension.
    pub resume: Vec<ModuleName>,
    /// Modules that come.
    pub add: Vec<AddModule>,
    /// Modules that go.
    pub delete: Vec<DeleteModule>,
    /// Checks, made by prepare: one that fails refuses the upgrade.
    pub before: Vec<Apply>,
    /// Done by resume, in this order, as soon as the actors run the new code.
    pub after: Vec<Action>,
    /// Ports that actors may listen on from resume on.
    pub listen: Vec<u16>,
    /// Where actors may connect to from resume on.
    pub connect: Vec<ConnectTarget>,
    /// From the start of suspend until the last affected actor may run.
    pub pause_budget: Duration,
    /// Of that, for the handlers that run when suspend starts; none: all of it.
    pub suspend_timeout: Option<Duration>,
    /// For all of prepare.
    pub prepare_timeout: Duration,
    /// For actors that cannot go back when the node has to.
    pub on_down_failure: OnDownFailure,
}

impl Order {
    /// An upgrade of these modules, with a pause budget of 5 s and 30 s for prepare.
    pub fn new(direction: Direction, modules: Vec<ModuleOrder>) -> Self {
        Self {
            direction,
            modules,
            resume: Vec::new(),
            add: Vec::new(),
            delete: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            listen: Vec::new(),
            connect: Vec::new(),
            pause_budget: Duration::from_secs(5),
            suspend_timeout: None,
            prepare_timeout: Duration::from_secs(30),
            on_down_failure: OnDownFailure::Hold,
        }
    }
}
