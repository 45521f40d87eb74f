//! Every decision of the upgrade transaction, as functions of values: what an order does to the node in each stage, and
//! what an actor's part in an upgrade makes it do. The runtime carries these decisions out and takes none of its own, so
//! that a model checker can call the very same functions. Nothing here locks, waits, or touches an actor.

use super::OnDownFailure;

/// Where an upgrade stands, as every worker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Prepare to migrate: old code runs, or waits.
    Open,
    /// Given up before resume: old code, old states.
    Aborted,
    /// Resumed: new code. A failing handler parks its actor.
    Probation,
    /// New code for good; old code and pinned states are kept for a rollback.
    Confirmed,
    /// New code for good; the old is gone.
    Finished,
    /// Rolled back after resume.
    Undone,
}

impl Phase {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Phase::Open => "open",
            Phase::Aborted => "aborted",
            Phase::Probation => "in probation",
            Phase::Confirmed => "confirmed and not finished",
            Phase::Finished => "finished",
            Phase::Undone => "rolled back",
        }
    }
}

/// How far the node has come. A stage counts from the moment at which its acts begin, so that giving up in the middle of
/// them takes back what they may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Checked, nothing copied.
    Opened,
    /// Copies are migrated; changes are listed.
    Prepared,
    /// Affected actors stop.
    Suspended,
    /// The new code is current.
    Loaded,
    /// What changed since prepare is migrated.
    Migrated,
    /// New code runs, the way back is open.
    Probation,
    /// New code for good, the way back is still open.
    Confirmed,
    /// Over: new code.
    Finished,
    /// Over: given up before resume.
    Aborted,
    /// Over: rolled back after resume.
    Undone,
}

/// What is asked of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// Migrate copies.
    Prepare,
    /// Migrate again what changed since.
    Refresh,
    /// Stop the affected actors.
    Suspend,
    /// Make the new code current.
    Load,
    /// Migrate what changed before they stopped.
    Migrate,
    /// Let them run on the new code.
    Resume,
    /// End probation.
    Confirm,
    /// Drop the way back.
    Finish,
    /// Go back after resume.
    Rollback,
    /// A step failed, or was dropped.
    GiveUp,
}

impl Input {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Input::Prepare => "prepare",
            Input::Refresh => "refresh",
            Input::Suspend => "suspend",
            Input::Load => "load",
            Input::Migrate => "migrate",
            Input::Resume => "resume",
            Input::Confirm => "confirm",
            Input::Finish => "finish",
            Input::Rollback => "rollback",
            Input::GiveUp => "abort",
        }
    }
}

/// One thing that the node does, in the order in which [`next`] gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// From now on, who is born in an affected module takes part.
    Track,
    /// Migrate copies of all affected states.
    CopyAll,
    /// Migrate copies of what is listed, until little is left.
    CopyListed,
    /// From now on nobody starts to run a handler of an affected module.
    CloseGates,
    /// Wait until nobody is inside such a handler.
    AwaitHandlers,
    /// The new versions are current, the former ones old.
    MakeCurrent,
    /// The former versions are current again.
    RestoreCurrent,
    /// Migrate copies of what is listed, until nothing is left.
    DrainList,
    /// Change the phase behind closed gates, then open them and let those run who waited.
    Switch(Phase),
    /// Do what the order says is to be done afterwards. When that fails, a rollback is ordered at once.
    FollowUp,
    /// Take that back, the last first.
    UndoFollowUp,
    /// Change the phase while actors run.
    Enter(Phase),
    /// Parked actors go on as the phase says.
    Unpark,
    /// Every actor takes its part in the end of the upgrade and forgets it.
    Close,
    /// The former versions are no longer old.
    ForgetOld,
    /// Forget the code that ran before.
    PurgeFrom,
    /// Forget the code that was to run, unless an actor is held on it.
    PurgeTo,
    /// Another upgrade may be opened.
    Free,
}

/// What may not be asked in this stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// What an order does in a stage: the stage that begins, and what is to be done for it, in order.
pub fn next(stage: Stage, input: Input) -> Result<(Stage, &'static [Act]), Refused> {
    use Act::*;
    let (stage, acts): (Stage, &'static [Act]) = match (stage, input) {
        (Stage::Opened, Input::Prepare) => (Stage::Prepared, &[Track, CopyAll, CopyListed]),
        (Stage::Prepared, Input::Refresh) => (Stage::Prepared, &[CopyListed]),
        (Stage::Prepared, Input::Suspend) if mutant!(gate_not_closed) => {
            (Stage::Suspended, &[CopyListed, AwaitHandlers])
        }
        (Stage::Prepared, Input::Suspend) => {
            (Stage::Suspended, &[CopyListed, CloseGates, AwaitHandlers])
        }
        (Stage::Suspended, Input::Load) => (Stage::Loaded, &[MakeCurrent]),
        (Stage::Loaded, Input::Migrate) => (Stage::Migrated, &[DrainList]),
        (Stage::Migrated, Input::Resume) => {
            (Stage::Probation, &[Switch(Phase::Probation), FollowUp])
        }
        (Stage::Probation, Input::Confirm) if mutant!(confirm_leaves_parked) => {
            (Stage::Confirmed, &[Enter(Phase::Confirmed)])
        }
        (Stage::Probation, Input::Confirm) if mutant!(purge_at_confirm) => (
            Stage::Confirmed,
            &[Enter(Phase::Confirmed), Unpark, PurgeFrom],
        ),
        (Stage::Probation, Input::Confirm) => {
            (Stage::Confirmed, &[Enter(Phase::Confirmed), Unpark])
        }
        (Stage::Confirmed, Input::Finish) => (
            Stage::Finished,
            &[Enter(Phase::Finished), Close, ForgetOld, PurgeFrom, Free],
        ),
        (Stage::Probation | Stage::Confirmed, Input::Rollback) => (
            Stage::Undone,
            &[
                UndoFollowUp,
                CopyListed,
                CloseGates,
                AwaitHandlers,
                DrainList,
                RestoreCurrent,
                Switch(Phase::Undone),
                Unpark,
                Close,
                PurgeTo,
                Free,
            ],
        ),
        (Stage::Opened | Stage::Prepared | Stage::Suspended, Input::GiveUp) => (
            Stage::Aborted,
            &[Switch(Phase::Aborted), Close, PurgeTo, Free],
        ),
        (Stage::Loaded | Stage::Migrated, Input::GiveUp) if mutant!(abort_keeps_new_current) => (
            Stage::Aborted,
            &[Switch(Phase::Aborted), Close, PurgeTo, Free],
        ),
        (Stage::Loaded | Stage::Migrated, Input::GiveUp) => (
            Stage::Aborted,
            &[RestoreCurrent, Switch(Phase::Aborted), Close, PurgeTo, Free],
        ),
        _ => return Err(Refused),
    };
    Ok((stage, acts))
}

/// How an actor's module takes part in an upgrade, and on which side of it the actor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Part {
    /// A migrated copy of its state waits to be installed.
    pub staged: bool,
    /// The state from before the switch is kept.
    pub pinned: bool,
    /// It did something since resume, or was born since.
    pub touched: bool,
    /// A handler failed in probation, and its actor was parked.
    pub failed: bool,
    /// What a rollback prepared for it.
    pub way: Option<WayBack>,
    /// It stands on the code from before the upgrade.
    pub on_from: bool,
    /// How its module takes part.
    pub route: Route,
}

/// How a module takes part in an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Route {
    /// Its states are migrated.
    #[default]
    Migrate,
    /// Its actors switch with their states as they are.
    AsItIs,
    /// There is no such module below.
    Added,
}

/// What a rollback prepared for an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WayBack {
    /// Its state was migrated down, on a copy.
    Migrated,
    /// It takes its pinned state, and loses what came since.
    Restore,
    /// It stays on the newer code and waits.
    Hold,
    /// It ends.
    Stop,
}

/// What an actor does when it is next looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settle {
    /// Its staged state takes the place of its state, which is pinned.
    pub install: bool,
    /// It goes back.
    pub back: Option<Back>,
    /// Its part in the upgrade is over.
    pub forget: bool,
    /// It was parked, and its failure is an ordinary crash now.
    pub crash: bool,
}

/// How an actor goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    /// It never left: state and code are the old ones.
    Stay,
    /// To the former code, with the state as it is.
    AsItIs,
    /// It takes the state that was migrated down.
    Migrated,
    /// It takes its pinned state, exactly the one it would have anyway.
    Pinned,
    /// It takes its pinned state; what it did since is undone as far as that can be, and reported.
    Restored,
    /// It waits on the newer code.
    Held,
    /// It waits on the newer code: it was born there, and has no older state.
    HeldNewborn,
    /// It waits on the newer code: nobody prepared a way.
    HeldUnprepared,
    /// It ends.
    Stopped,
}

/// What an actor's part makes it do in a phase.
pub fn settle(phase: Phase, part: Part) -> Settle {
    let none = Settle::default();
    match phase {
        Phase::Open => none,
        Phase::Aborted => Settle {
            forget: true,
            ..none
        },
        Phase::Probation => Settle {
            install: part.staged && !mutant!(install_forgotten),
            ..none
        },
        Phase::Confirmed | Phase::Finished => Settle {
            install: part.staged,
            forget: phase == Phase::Finished && !mutant!(finish_keeps_pinned),
            crash: part.failed,
            ..none
        },
        Phase::Undone => Settle {
            back: Some(back(part)),
            forget: true,
            ..none
        },
    }
}

fn back(part: Part) -> Back {
    if part.on_from {
        return Back::Stay;
    }
    match part.route {
        Route::Added => return Back::Stopped,
        Route::AsItIs => return Back::AsItIs,
        Route::Migrate => {}
    }
    match part.way {
        _ if mutant!(rollback_ignores_touched) && part.pinned => Back::Pinned,
        Some(WayBack::Migrated) => Back::Migrated,
        Some(WayBack::Hold) => Back::Held,
        Some(WayBack::Stop) => Back::Stopped,
        None if part.touched => Back::HeldUnprepared,
        Some(WayBack::Restore) | None if !part.pinned => Back::HeldNewborn,
        Some(WayBack::Restore) if part.touched => Back::Restored,
        Some(WayBack::Restore) | None => Back::Pinned,
    }
}

/// What an actor that commits does to its part in an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// The copy of its state is stale.
    pub drop_staged: bool,
    /// From now on its pinned state is not the one it would have.
    pub touch: bool,
    /// It has to be looked at again.
    pub list: bool,
}

/// What a commit means in a phase.
pub fn mark(phase: Phase) -> Mark {
    match phase {
        Phase::Open if mutant!(no_dirty_list) => Mark::default(),
        Phase::Open => Mark {
            drop_staged: true,
            touch: false,
            list: true,
        },
        Phase::Probation | Phase::Confirmed => Mark {
            drop_staged: false,
            touch: true,
            list: true,
        },
        _ => Mark::default(),
    }
}

/// A copy of a state was migrated. `listed`: meanwhile the actor committed again. True: the copy is good.
pub fn keep_copy(listed: bool) -> bool {
    !listed
}

/// The newer code could not migrate a state down. `pinned`: there is one from before.
pub fn down_failed(policy: OnDownFailure, pinned: bool) -> WayBack {
    match policy {
        OnDownFailure::Restore if pinned => WayBack::Restore,
        OnDownFailure::Stop => WayBack::Stop,
        OnDownFailure::Restore | OnDownFailure::Hold => WayBack::Hold,
    }
}

/// A handler failed. `on_new`: its actor stands on the new code of the upgrade. True: the actor is parked with its event;
/// else it ends.
pub fn parks(phase: Phase, on_new: bool) -> bool {
    (phase == Phase::Probation || mutant!(parks_after_confirm)) && on_new
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGES: [Stage; 10] = [
        Stage::Opened,
        Stage::Prepared,
        Stage::Suspended,
        Stage::Loaded,
        Stage::Migrated,
        Stage::Probation,
        Stage::Confirmed,
        Stage::Finished,
        Stage::Aborted,
        Stage::Undone,
    ];

    #[test]
    fn before_resume_everything_can_be_given_up_and_after_it_rolled_back() {
        for stage in STAGES {
            let over = matches!(stage, Stage::Finished | Stage::Aborted | Stage::Undone);
            let back = matches!(stage, Stage::Probation | Stage::Confirmed);
            assert_eq!(
                next(stage, Input::GiveUp).is_ok(),
                !over && !back,
                "{stage:?}"
            );
            assert_eq!(next(stage, Input::Rollback).is_ok(), back, "{stage:?}");
        }
    }

    #[test]
    fn what_ends_an_upgrade_closes_it_and_makes_room_for_the_next() {
        let ends = [
            (Stage::Confirmed, Input::Finish),
            (Stage::Probation, Input::Rollback),
            (Stage::Loaded, Input::GiveUp),
            (Stage::Opened, Input::GiveUp),
        ];
        for (stage, input) in ends {
            let Ok((_, acts)) = next(stage, input) else {
                panic!("{stage:?} takes {input:?}")
            };
            assert!(acts.contains(&Act::Close));
            assert_eq!(acts.last(), Some(&Act::Free));
        }
    }

    #[test]
    fn who_was_born_on_the_newer_code_is_never_given_a_state_it_did_not_have() {
        for way in [None, Some(WayBack::Restore)] {
            let part = Part {
                way,
                touched: true,
                ..Part::default()
            };
            let held = matches!(
                settle(Phase::Undone, part).back,
                Some(Back::HeldNewborn | Back::HeldUnprepared)
            );
            assert!(held, "{way:?}");
        }
    }
}
