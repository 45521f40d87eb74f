//! The instructions that a person writes into a patch: the high-level ones of OTP's appup(5), per application and direction,
//! and, in their place, the low-level ones of relup(5). A patch without either updates all of its modules. What they become
//! is in `plan`; `script` checks that they fit the rest of the manifest.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::Update;
use crate::names::ModuleName;
use crate::plan::{AfterDraining, Instruction, Purge, When};

/// Most instructions of one list.
pub const MAX_INSTRUCTIONS: u64 = 4096;

/// The instructions for one application, as in its `.appup` file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appup<I = AppupInstruction> {
    /// An application of the release, or the release's own name for what belongs to none.
    pub application: String,
    /// Towards the newer release. A patch whose direction is up has it.
    #[serde(default = "none")]
    pub up: Option<Vec<I>>,
    /// Towards the older one. A patch whose direction is down has it. The list of the way back may be left out, and is then
    /// this one in reverse.
    #[serde(default = "none")]
    pub down: Option<Vec<I>>,
}

/// The whole plan by hand, instead of [`Appup`]s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relup<I = Instruction> {
    /// As [`Appup::up`].
    #[serde(default = "none")]
    pub up: Option<Vec<I>>,
    /// As [`Appup::down`]; left out on the way back, the plan is made from the modules and applications of the other list.
    #[serde(default = "none")]
    pub down: Option<Vec<I>>,
}

fn none<T>() -> Option<T> {
    None
}

/// One high-level instruction. The names are those of appup(5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppupInstruction {
    /// The actors of a module are suspended, their states converted if the change is advanced, and they resume on the new vsn.
    Update(UpdateModule),
    /// The supervisors of the application take over the child lists that the patch has (OTP: `{update, Module, supervisor}`).
    UpdateSupervisor,
    /// The new vsn of a module is current at once, with the same shape of state; nobody is suspended for it.
    LoadModule(LoadModule),
    /// A module that the release did not have.
    AddModule(AddModule),
    /// A module that the release has no more.
    DeleteModule(DeleteModule),
    /// The application is added with its modules, and started.
    AddApplication,
    /// The application is stopped, and removed with its modules.
    RemoveApplication,
    /// The application is stopped, and started on the code of the new release.
    RestartApplication,
    /// A module's `apply` is called once on each node.
    Apply(Apply),
    /// A module gets to know what became of the configuration of the application.
    Configure(Configure),
    /// The program that runs the node is replaced. No node does this; a patch that asks for it is refused.
    RestartRuntime,
}

/// `{update, Module, Change, PrePurge, PostPurge, DepMods}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateModule {
    /// Which.
    pub module: ModuleName,
    /// `soft` or `advanced`; `None`: as the module's entry says.
    #[serde(default)]
    pub change: Option<Update>,
    /// The extra argument of `code_change`; null: that of the module's entry.
    #[serde(default)]
    pub extra: Value,
    /// Modules of this patch that it depends on.
    #[serde(default)]
    pub depends: Vec<ModuleName>,
    /// About actors on an old vsn, before loading.
    #[serde(default)]
    pub pre_purge: Purge,
    /// About actors that stay on the former vsn, at the end.
    #[serde(default)]
    pub post_purge: Purge,
    /// How long suspending may take, in milliseconds; `None`: as long as the pause budget allows.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Actors stay on the vsn that they run, for a while, instead of being suspended.
    #[serde(default)]
    pub draining: Option<Draining>,
}

/// How long actors may stay on the vsn that they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draining {
    /// Milliseconds since the new vsn was loaded, at least 1.
    pub deadline_ms: u64,
    /// What happens to those that are left then.
    pub then: AfterDraining,
}

/// `{load_module, Module, PrePurge, PostPurge, DepMods}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadModule {
    /// Which.
    pub module: ModuleName,
    /// Modules of this patch that it depends on.
    #[serde(default)]
    pub depends: Vec<ModuleName>,
    /// About actors on an old vsn, before loading.
    #[serde(default)]
    pub pre_purge: Purge,
    /// About actors that stay on the former vsn, at the end.
    #[serde(default)]
    pub post_purge: Purge,
}

/// `{add_module, Module, DepMods}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddModule {
    /// Which.
    pub module: ModuleName,
    /// Modules of this patch that it depends on.
    #[serde(default)]
    pub depends: Vec<ModuleName>,
}

/// `{delete_module, Module, DepMods}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteModule {
    /// Which.
    pub module: ModuleName,
    /// Modules of this patch that it depends on.
    #[serde(default)]
    pub depends: Vec<ModuleName>,
    /// About actors that still run it, at the end.
    #[serde(default)]
    pub post_purge: Purge,
}

/// `{apply, {Module, Function, Arguments}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// Whose `apply`.
    pub module: ModuleName,
    /// The `name` that it gets, 1 to 128 bytes.
    pub function: String,
    /// The `args` that it gets.
    #[serde(default)]
    pub args: Value,
    /// On which side of the point of no return.
    #[serde(default)]
    pub when: When,
}

/// Who is told that the configuration of the application changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configure {
    /// Its `apply` is called with `config_change` and `{"changed", "new", "removed"}` (OTP: the callback module's
    /// `config_change/3`).
    pub module: ModuleName,
}
