//! Why the runtime did not do something: each variant says what failed, in which module or actor, and what to do next.
#![allow(missing_docs)] // the fields are named for what the messages say of them

use std::time::Duration;

use midflight_patch::{ModuleName, Vsn};

/// An actor that would not migrate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorFailure {
    /// The actor.
    pub pid: u64,
    /// Its registered name, or empty.
    pub name: String,
    /// Its module.
    pub module: String,
    /// What `code_change` said, or how it trapped.
    pub reason: String,
}

/// What the runtime refuses or fails to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A component does not compile or does not fit the contract.
    #[error("module {module} cannot be loaded: {reason}")]
    Component { module: ModuleName, reason: String },
    /// `on_load` said no, or trapped.
    #[error("on_load of module {module} {vsn} refused: {reason}")]
    OnLoad {
        module: ModuleName,
        vsn: Vsn,
        reason: String,
    },
    /// An actor of the release did not start.
    #[error("{name} (module {module}) did not start: {reason}")]
    Start {
        name: String,
        module: ModuleName,
        reason: String,
    },
    /// The order names a module that is not loaded.
    #[error("module {0} is not loaded on this node")]
    NoModule(ModuleName),
    /// The order is for another version than the one that runs.
    #[error("module {module} runs {running}; the patch is for {wanted}")]
    WrongVsn {
        module: ModuleName,
        running: Vsn,
        wanted: Vsn,
    },
    /// Another upgrade is open, in probation, or confirmed and not finished.
    #[error("another upgrade is {state} on this node")]
    Busy { state: &'static str },
    /// Calls out of order.
    #[error("{call} is not possible while the upgrade is {state}")]
    Order {
        call: &'static str,
        state: &'static str,
    },
    /// Some actors would fail.
    #[error("code_change fails for {}{} actor{}, first {}", .0.len(), if .0.len() >= MAX_FAILING { " or more" } else { "" }, if .0.len() == 1 { "" } else { "s" }, first(.0))]
    CodeChange(Vec<ActorFailure>),
    /// State changes faster than it can be migrated.
    #[error(
        "{dirty} actors change faster than they migrate: the pause would take {estimate:?}, the budget is {budget:?}"
    )]
    NotConverging {
        dirty: usize,
        estimate: Duration,
        budget: Duration,
    },
    /// Prepare took too long.
    #[error("prepare took longer than {0:?}")]
    PrepareTimeout(Duration),
    /// The pause took too long; old code runs again.
    #[error("the pause exceeded its budget of {budget:?} in {phase}")]
    PauseBudget {
        phase: &'static str,
        budget: Duration,
    },
    /// A mailbox came close to its bound during the pause; old code runs again.
    #[error(
        "the mailbox of actor {actor} passed 80 % of its bound of {bound} events during the pause, or those of its application \
         their bound in bytes"
    )]
    MailboxPressure { actor: String, bound: usize },
    /// Nobody has this pid or name.
    #[error("no actor {0}")]
    NoActor(String),
    /// An actor did not come to a message boundary in time.
    #[error("actor {actor} did not answer within {timeout:?}")]
    SysTimeout { actor: String, timeout: Duration },
    /// `describe` or `parse` failed.
    #[error("{call} of actor {actor}: {reason}")]
    Sys {
        call: &'static str,
        actor: String,
        reason: String,
    },
    /// A value given to a `sys` function is out of its bounds.
    #[error("{0}")]
    SysArgument(String),
    /// Some actors of a module did not come to a message boundary in time.
    #[error(
        "{call} of module {module}: {late} actors did not come to a message boundary within {timeout:?}; {done} did"
    )]
    SysLate {
        call: &'static str,
        module: String,
        done: u64,
        late: u64,
        timeout: Duration,
    },
    /// The node keeps as many traces as it may.
    #[error("the node keeps {} traces already", crate::MAX_TRACES)]
    TooManyTraces,
    /// A call from outside got no answer.
    #[error("actor {actor} gave no answer: {reason}")]
    Call { actor: String, reason: String },
    /// A record cannot be run again.
    #[error("the record cannot be replayed: {0}")]
    Replay(String),
    /// No supervisor of this name runs.
    #[error("no supervisor {0}")]
    NoSupervisor(String),
    /// A supervisor has no such child.
    #[error("{supervisor} has no child {child}")]
    NoChild { supervisor: String, child: String },
    /// The child is not in the state that the order needs.
    #[error("child {child} of supervisor {supervisor} is {state}")]
    ChildState {
        supervisor: String,
        child: String,
        state: &'static str,
    },
    /// The node has no such application.
    #[error("no application {0}")]
    NoApplication(String),
    /// The application is not in the state that the order needs.
    #[error("application {application} is {state}")]
    ApplicationState {
        application: String,
        state: &'static str,
    },
    /// The tree that runs cannot become the new one.
    #[error("the tree of application {application} cannot be changed: {reason}")]
    Tree { application: String, reason: String },
    /// OTP's `not_purged`: a third version, while somebody runs the old one.
    #[error("not_purged: {actors} actor{} of module {module} still run{} {vsn}, which is old", if *.actors == 1 { "" } else { "s" }, if *.actors == 1 { "s" } else { "" })]
    NotPurged {
        module: ModuleName,
        vsn: String,
        actors: u64,
    },
    /// A module that is to be added runs already.
    #[error("module {0} is part of the release already")]
    ModuleExists(ModuleName),
    /// A module that is to be deleted is run.
    #[error("{actors} actor{} run{} module {module}, which is to be deleted", if *.actors == 1 { "" } else { "s" }, if *.actors == 1 { "s" } else { "" })]
    ModuleInUse { module: ModuleName, actors: u64 },
    /// An action of the order failed. `held` is none while nothing had changed; else the node went back to the old code, and
    /// so many actors could not.
    #[error("{what} failed{}: {reason}", went_back(.held))]
    Action {
        what: String,
        reason: String,
        held: Option<usize>,
    },
    /// The machine said no: threads, memory, files.
    #[error("{what}: {reason}")]
    System { what: &'static str, reason: String },
}

fn went_back(held: &Option<usize>) -> String {
    match held {
        None => String::new(),
        Some(0) => ", and the node went back to the old code".into(),
        Some(held) => {
            format!(", and the node went back to the old code, {held} actors held on the new")
        }
    }
}

/// Prepare stops after this many actors that fail.
pub const MAX_FAILING: usize = 100;

fn first(failing: &[ActorFailure]) -> String {
    failing.first().map_or_else(String::new, |f| {
        let who = if f.name.is_empty() {
            crate::pid_text(f.pid)
        } else {
            f.name.clone()
        };
        format!("{who} ({}): {}", f.module, f.reason)
    })
}

impl Error {
    /// Stable; `docs/errors/runtime.md` explains each.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Component { .. } => "MF0301",
            Error::OnLoad { .. } => "MF0302",
            Error::Start { .. } => "MF0303",
            Error::NoModule(_) => "MF0304",
            Error::WrongVsn { .. } => "MF0305",
            Error::Busy { .. } => "MF0306",
            Error::Order { .. } => "MF0307",
            Error::CodeChange(_) => "MF0308",
            Error::NotConverging { .. } => "MF0309",
            Error::PrepareTimeout(_) => "MF0310",
            Error::PauseBudget { .. } => "MF0311",
            Error::MailboxPressure { .. } => "MF0312",
            Error::NoActor(_) => "MF0313",
            Error::SysTimeout { .. } => "MF0314",
            Error::Sys { .. } => "MF0315",
            Error::System { .. } => "MF0316",
            Error::Call { .. } => "MF0317",
            Error::Replay(_) => "MF0330",
            Error::NoSupervisor(_) => "MF0340",
            Error::NoChild { .. } => "MF0341",
            Error::ChildState { .. } => "MF0342",
            Error::NoApplication(_) => "MF0343",
            Error::ApplicationState { .. } => "MF0344",
            Error::Tree { .. } => "MF0345",
            Error::SysArgument(_) => "MF0360",
            Error::SysLate { .. } => "MF0361",
            Error::TooManyTraces => "MF0362",
            Error::NotPurged { .. } => "MF0334",
            Error::ModuleExists(_) => "MF0331",
            Error::ModuleInUse { .. } => "MF0332",
            Error::Action { .. } => "MF0333",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::Component { .. } => {
                "build the module against this runtime's WIT world and sign the patch again"
            }
            Error::OnLoad { .. } => {
                "the module's own check refused this node: see its configuration"
            }
            Error::Start { .. } => "see the module's init and the args of the release",
            Error::NoModule(_) => {
                "name a module of the running release, or boot a release that has it"
            }
            Error::WrongVsn { .. } => {
                "build the patch for what runs, or bring the node to that version first"
            }
            Error::Busy { .. } => {
                "confirm and finish the other upgrade, or roll it back, then try again"
            }
            Error::Order { .. } => "see the phases of a node transaction in docs/architecture.md",
            Error::CodeChange(_) => {
                "nothing was changed; correct code_change for these states and try again"
            }
            Error::NotConverging { .. } => {
                "raise the pause budget, make code_change cheaper, or patch at a quieter hour"
            }
            Error::PrepareTimeout(_) => "raise timeouts.prepare, or make code_change cheaper",
            Error::PauseBudget { .. } => {
                "old code runs again with its states; raise timeouts.pause or lower handler_ms"
            }
            Error::MailboxPressure { .. } => {
                "old code runs again; patch at a quieter hour, or raise limits.mailbox and limits.application_mailbox_mb"
            }
            Error::NoSupervisor(_) => "it may have ended; list the applications and their children",
            Error::NoChild { .. } => "list the supervisor's children",
            Error::ChildState { .. } => "end the child first, or leave it as it is",
            Error::NoApplication(_) => "list the applications of the node",
            Error::ApplicationState { .. } => {
                "start or stop it, or the application that it depends on, first"
            }
            Error::Tree { .. } => {
                "give the child another name, or restart the application instead of changing its tree"
            }
            Error::NoActor(_) => "it may have ended; list the actors",
            Error::SysTimeout { .. } => "its handler is still running: ask again",
            Error::Sys { .. } => "the actor keeps its state",
            Error::Call { .. } => "see the actor's log",
            Error::SysArgument(_) => "docs/sys.md has the bounds",
            Error::SysLate { .. } => {
                "suspended, they stop at the end of their handlers; ask again for what is left"
            }
            Error::TooManyTraces => "turn a trace off first",
            Error::Replay(_) => {
                "replay it on the component whose digest it names, with the runtime that recorded it"
            }
            Error::System { .. } => "see the limits of the machine",
            Error::NotPurged { .. } => {
                "wait until they end, bring them to the current code, or order a brutal purge, which stops them"
            }
            Error::ModuleExists(_) => "update it instead, or delete it first",
            Error::Action { .. } => "see the reason, and the log of the node",
            Error::ModuleInUse { .. } => "stop them first, or order a brutal purge, which does",
        }
    }

    /// True when the node said no before it did anything.
    pub fn refused(&self) -> bool {
        !matches!(
            self,
            Error::PauseBudget { .. }
                | Error::MailboxPressure { .. }
                | Error::System { .. }
                | Error::SysLate { .. }
                | Error::Action { held: Some(_), .. }
        )
    }
}
