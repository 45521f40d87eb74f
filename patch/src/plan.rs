//! The low-level plan: what a node runs for a patch, one instruction after the other, under the names of OTP's relup(5). It is a
//! value that prints and serialises; `midflight patch inspect` shows the same plan that a node executes. How it comes about is
//! in `expand`; it promises to be consistent in itself (see `check`), and says nothing of whether the node has the components.

mod assume;
pub(crate) mod check;
mod compose;
mod display;
mod expand;
pub(crate) mod order;
mod path;
mod rule;

pub use path::{MAX_PATCHES, path};
pub use rule::PlanRule;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::manifest::Update;
use crate::names::{ModuleName, Vsn};

/// One upgrade of one node: all of it or nothing. Made by [`Plan::new`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The name of the release.
    pub name: String,
    /// The release that runs.
    pub from: Vsn,
    /// The release that results.
    pub to: Vsn,
    /// Which of the two is newer, and so knows how to convert states.
    pub direction: Direction,
    /// The modules that come, change or go, each once, sorted by name.
    pub modules: Vec<ModulePlan>,
    /// What is done, in order.
    pub steps: Vec<Instruction>,
}

/// Whether states are converted to a newer or to an older vsn. The newer code converts in both cases: up, it is told the vsn
/// that the state comes from; down, the one that it goes to (OTP: `code_change(Vsn | {down, Vsn}, …)`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the newer.
    #[default]
    Up,
    /// To the older.
    Down,
}

/// What becomes of one module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModulePlan {
    /// The module.
    pub name: ModuleName,
    /// The vsn that must run; `None`: the module is added.
    pub from: Option<Vsn>,
    /// The vsn that results; `None`: the module is deleted.
    pub to: Option<Vsn>,
    /// How its actors get there.
    pub policy: Policy,
    /// The vsns on the way, the last of them is `to`. One, unless several patches are one upgrade; none for a module that is
    /// deleted. All but the last are transient: they convert states, are never current, and no actor runs them.
    pub hops: Vec<Hop>,
    /// What is done about actors on the old vsn, if there still is one, before this vsn is loaded.
    pub pre_purge: Purge,
    /// What is done about actors that remain on the vsn that ran, when the upgrade is finished.
    pub post_purge: Purge,
}

/// How the actors of a module come to a vsn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// They are suspended, their states are converted, and all of them resume on the new vsn (OTP: `update`).
    #[default]
    Update,
    /// The state has the same shape in both vsns: all of them are on the new vsn at once, and nobody is suspended for it
    /// (OTP: `load_module`).
    LoadModule,
    /// Those that live stay on the vsn that they run until they end; new ones start on the new vsn.
    Draining {
        /// How long they may stay, in milliseconds since the new vsn was loaded.
        deadline_ms: u64,
        /// What happens to those that are left then.
        then: AfterDraining,
    },
}

/// What happens to actors that still drain at their deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterDraining {
    /// They are updated.
    Update,
    /// They are stopped.
    Stop,
}

/// What is done about actors that still run a vsn that is to be purged, as in OTP's `PrePurge` and `PostPurge`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purge {
    /// The vsn stays while anybody runs it: before, the upgrade is refused; after, it is purged once they have ended.
    Soft,
    /// They are stopped.
    #[default]
    Brutal,
}

/// One step of a module on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hop {
    /// The vsn after this hop.
    pub vsn: Vsn,
    /// Its component.
    pub blob: Digest,
    /// Whether `code_change` is called. Up, that of `blob`; down, that of the vsn before this hop.
    pub update: Update,
    /// What `code_change` gets as its extra argument.
    pub extra: Value,
    /// What `on_load` of this vsn gets.
    pub config: Value,
}

/// One low-level instruction. The names are those of relup(5), in snake case; each variant says where it differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Instruction {
    /// The components are read, compiled and checked by their `on_load`. Everything that is loaded later is named here.
    LoadObjectCode {
        /// Which.
        modules: Vec<ModuleName>,
    },
    /// Before it, only fetching and checks; after it, the node changes.
    PointOfNoReturn,
    /// The actors of these modules stop at a message boundary, in this order.
    Suspend {
        /// Which.
        modules: Vec<ModuleName>,
        /// How long this may take, in milliseconds; `None`: as long as the order's pause budget allows.
        #[serde(default)]
        timeout_ms: Option<u64>,
    },
    /// The new vsn becomes current, the one that ran old.
    Load {
        /// Which.
        module: ModuleName,
        /// Before loading.
        #[serde(default)]
        pre_purge: Purge,
        /// When the upgrade is finished.
        #[serde(default)]
        post_purge: Purge,
    },
    /// The current vsn becomes old, and there is no current one.
    Remove {
        /// Which.
        module: ModuleName,
        /// Before removing.
        #[serde(default)]
        pre_purge: Purge,
        /// When the upgrade is finished.
        #[serde(default)]
        post_purge: Purge,
    },
    /// The old vsn of these modules is dropped, each as its `post_purge` says.
    Purge {
        /// Which.
        modules: Vec<ModuleName>,
    },
    /// The states of all actors of these modules are converted. A module that makes several hops is named once for each of
    /// them that calls `code_change`, in order.
    CodeChange {
        /// Up or down.
        #[serde(default)]
        direction: Direction,
        /// Which, and what they get.
        modules: Vec<Change>,
    },
    /// The actors of these modules run again, in this order.
    Resume {
        /// Which.
        modules: Vec<ModuleName>,
    },
    /// A supervision tree, or a part of it, is stopped, in reverse order of its start.
    Stop {
        /// What.
        what: Subject,
    },
    /// A supervision tree, or a part of it, is started.
    Start {
        /// What.
        what: Subject,
    },
    /// The supervisors of an application take over the child lists of the release that results; children that run are left
    /// alone (OTP: `{update, Module, supervisor}`).
    UpdateSupervisors {
        /// Which.
        application: String,
    },
    /// A module gets to know what its configuration becomes, by `apply` of `config_change` (OTP: `config_change/3` of an
    /// application's callback module).
    Configure {
        /// Of the application that the module belongs to.
        application: String,
        /// Whose configuration it is.
        module: ModuleName,
        /// Keys that had another value, with the new one.
        #[serde(default)]
        changed: serde_json::Map<String, Value>,
        /// Keys that there were not, with their value.
        #[serde(default)]
        new: serde_json::Map<String, Value>,
        /// Keys that are gone.
        #[serde(default)]
        removed: Vec<String>,
    },
    /// Waits until every node of the batch has come to the same instruction.
    SyncNodes {
        /// Names the instruction, once in a plan.
        id: String,
    },
    /// A module's `apply` is called once on the node, outside any actor.
    Apply {
        /// Whose. Before the point of no return it is the vsn that runs, unless this plan adds the module; after it, the vsn
        /// that results.
        module: ModuleName,
        /// The `name` that `apply` gets.
        function: String,
        /// The `args` that `apply` gets.
        #[serde(default)]
        args: Value,
        /// On which side of the point of no return this stands.
        when: When,
    },
    /// Replaces the agent's program itself (OTP: `restart_new_emulator`). No node runs this: a manifest that has it is refused.
    RestartRuntime,
}

/// One conversion of a module's states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The module.
    pub name: ModuleName,
    /// What `code_change` gets as its extra argument.
    #[serde(default)]
    pub extra: Value,
}

/// What `stop` and `start` are about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Subject {
    /// A whole application.
    Application(String),
    /// One child of a supervisor.
    Child {
        /// The application.
        application: String,
        /// The child's name in its supervisor.
        child: String,
    },
}

/// The side of the point of no return on which an `apply` stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// It is a check: an error refuses the patch, and what it asks for is not done.
    Before,
    /// It runs once the new code does, and what it asks for is done when it ends well.
    #[default]
    After,
}

impl Plan {
    /// The components that it needs besides those that run, with the module of each.
    pub fn components(&self) -> impl Iterator<Item = (&ModuleName, &Digest)> {
        self.modules
            .iter()
            .flat_map(|module| module.hops.iter().map(|hop| (&module.name, &hop.blob)))
    }

    /// The plan of a module.
    pub fn module(&self, name: &str) -> Option<&ModulePlan> {
        self.modules
            .iter()
            .find(|module| module.name.as_str() == name)
    }
}
