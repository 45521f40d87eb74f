//! Exit codes, and which one a rollout ends with: the worst that applies, in the order 4, 3, 6, 5, 7, 0; 2 only when no node
//! was changed. They are part of the interface: scripts and on-call runbooks rely on them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::words::{Outcome, RolloutState};

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Exit(u8);

impl Exit {
    /// 0: all nodes are confirmed; of a rollback: no node runs what the rollout brought; of other verbs: done.
    pub const OK: Exit = Exit(0);
    /// 1: the command line is wrong, or something failed on this machine.
    pub const USAGE: Exit = Exit(1);
    /// 2: refused; no node was changed.
    pub const REFUSED: Exit = Exit(2);
    /// 3: failed, and every changed node is back on the old code.
    pub const ROLLED_BACK: Exit = Exit(3);
    /// 4: failed, and some nodes are neither confirmed nor rolled back.
    pub const UNRESOLVED: Exit = Exit(4);
    /// 5: paused or still running.
    pub const RUNNING: Exit = Exit(5);
    /// 6: aborted by a person.
    pub const ABORTED: Exit = Exit(6);
    /// 7: succeeded within the budget, but not every node is confirmed.
    pub const PARTIAL: Exit = Exit(7);

    /// Of a number; [`Exit::USAGE`] for one that means nothing.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        if code <= Self::PARTIAL.0 {
            Self(code)
        } else {
            Self::USAGE
        }
    }

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self.0
    }

    /// What the number means, for a summary.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self.0 {
            0 => "done",
            1 => "usage or internal error",
            2 => "refused, no node was changed",
            3 => "failed, every changed node is back on the old code",
            4 => "some nodes are neither confirmed nor rolled back",
            5 => "paused or still running",
            6 => "aborted",
            7 => "succeeded within the failure budget, but not every node is confirmed",
            _ => "unknown",
        }
    }

    /// Of a rollout in `state` with so many nodes by outcome. `requested` says that a person asked for the rollback.
    #[must_use]
    pub fn of(state: RolloutState, outcomes: &BTreeMap<Outcome, u64>, requested: bool) -> Exit {
        let count = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
        let unresolved = outcomes
            .iter()
            .any(|(outcome, nodes)| outcome.is_unresolved() && *nodes > 0);
        match state {
            RolloutState::Planned
            | RolloutState::Running
            | RolloutState::Paused
            | RolloutState::RollingBack
            | RolloutState::Unrecognised => Exit::RUNNING,
            _ if unresolved => Exit::UNRESOLVED,
            RolloutState::RolledBack | RolloutState::Failed if requested => Exit::OK,
            RolloutState::RolledBack | RolloutState::Failed if count(Outcome::RolledBack) == 0 => {
                Exit::REFUSED
            }
            RolloutState::RolledBack | RolloutState::Failed => Exit::ROLLED_BACK,
            RolloutState::Aborted => Exit::ABORTED,
            RolloutState::Succeeded => {
                let fine = count(Outcome::Confirmed) + count(Outcome::AlreadyCurrent);
                if fine == outcomes.values().sum::<u64>() {
                    Exit::OK
                } else {
                    Exit::PARTIAL
                }
            }
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::*;

    fn exit(state: RolloutState, outcomes: &[Outcome]) -> u8 {
        let mut counts = BTreeMap::new();
        for outcome in outcomes {
            *counts.entry(*outcome).or_insert(0) += 1;
        }
        Exit::of(state, &counts, false).code()
    }

    #[test]
    fn the_worst_that_applies_wins() {
        use RolloutState as S;
        let table: &[(S, &[Outcome], u8)] = &[
            (S::Succeeded, &[Confirmed, Confirmed], 0),
            (S::Succeeded, &[Confirmed, AlreadyCurrent], 0),
            (S::Succeeded, &[AlreadyCurrent], 0),
            (S::Succeeded, &[Confirmed, Unreachable], 7),
            (S::Succeeded, &[Confirmed, RolledBack], 7),
            (S::Succeeded, &[Confirmed, Untouched], 7),
            (S::Succeeded, &[Confirmed, Unknown], 4),
            (S::RolledBack, &[RolledBack, Pending], 3),
            (S::RolledBack, &[RolledBack, Held], 4),
            (S::Failed, &[RolledBack, RollbackFailed], 4),
            (S::Failed, &[RolledBack, Superseded], 4),
            (S::Failed, &[Untouched, Pending], 2),
            (S::Failed, &[Refused, Unreachable], 2),
            (S::Aborted, &[Confirmed, RolledBack, Pending], 6),
            (S::Aborted, &[Confirmed, Unknown], 4),
            (S::Running, &[Confirmed, Pending], 5),
            (S::Running, &[InProbation, Pending], 5),
        ];
        for (state, outcomes, want) in table {
            assert_eq!(exit(*state, outcomes), *want, "{state} {outcomes:?}");
        }
    }

    #[test]
    fn a_rollback_that_was_asked_for_and_worked_is_a_success() {
        let counts = BTreeMap::from([(RolledBack, 3), (Unreachable, 1)]);
        assert_eq!(Exit::of(RolloutState::RolledBack, &counts, true), Exit::OK);
        let counts = BTreeMap::from([(RolledBack, 3), (RollbackFailed, 1)]);
        assert_eq!(
            Exit::of(RolloutState::Failed, &counts, true),
            Exit::UNRESOLVED
        );
    }
}
