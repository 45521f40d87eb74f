//! The way back after resume: the same transaction, per actor. Who did nothing since gets its pinned state, exact and
//! without a call; who did something is migrated back by the newer code, on a copy; where that fails, the order says
//! what to do, and nobody else waits for it. Events that failed in probation are given to the older code.

use std::time::{Duration, Instant};

use super::{Core, Goal, Phase, Probation, Which, migrate};
use crate::{
    Error,
    error::{ActorFailure, MAX_FAILING},
};

/// What to do with an actor whose `code_change(down)` fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDownFailure {
    /// It stays on the newer code and waits, its mailbox kept.
    #[default]
    Hold,
    /// It goes back to its pinned state and loses what came since; one without a pinned state is held.
    Restore,
    /// It ends.
    Stop,
}

/// What a rollback did.
#[derive(Debug, Clone, Default)]
pub struct RolledBack {
    /// Put back exactly, without a call.
    pub pinned: u64,
    /// Through `code_change` of the newer code.
    pub migrated: u64,
    /// Put back to the pinned state although they had gone on.
    pub restored: u64,
    /// Events that those had handled since.
    pub events_discarded: u64,
    /// Actors that ended.
    pub stopped: u64,
    /// Actors that stay on the newer code; at most 100 are listed.
    pub held: Vec<ActorFailure>,
    /// Events that had failed and are handled by the older code.
    pub redelivered: u64,
    /// From the start of suspend until the last affected actor could run.
    pub pause: Duration,
}

/// Rounds over the actors that go on meanwhile, before the pause.
const ROUNDS: usize = 5;

impl Probation {
    /// Goes back. The pause budget bounds how many rounds are tried before the pause, never the rollback itself.
    pub fn rollback(
        mut self,
        pause_budget: Duration,
        policy: OnDownFailure,
    ) -> Result<RolledBack, (Probation, Error)> {
        let state = self.0.txn.phase();
        if !matches!(state, Phase::Probation | Phase::Confirmed) {
            let error = Error::Order {
                call: "rollback",
                state: state.text(),
            };
            return Err((self, error));
        }
        Ok(self.0.rollback(pause_budget, policy))
    }
}

impl Core {
    pub(super) fn rollback(&mut self, pause_budget: Duration, policy: OnDownFailure) -> RolledBack {
        let (shared, txn) = (self.shared.clone(), self.txn.clone());
        self.undo_actions();
        let for_ever = Instant::now() + Duration::from_secs(3_600);
        let mut touched = Vec::new();
        for _ in 0..ROUNDS {
            let list = std::mem::take(&mut *txn.list.lock());
            let (count, start) = (list.len(), Instant::now());
            touched.extend_from_slice(&list);
            migrate(
                &shared,
                &txn,
                &mut self.instances,
                Which::Listed(list),
                Goal::Back(policy),
                for_ever,
            );
            if count == 0 || start.elapsed() < pause_budget / 4 {
                break;
            }
        }

        let start = Instant::now();
        shared.close_gates(&txn, true);
        while shared.someone_runs(&txn, true) {
            std::thread::yield_now();
        }
        loop {
            let list = std::mem::take(&mut *txn.list.lock());
            if list.is_empty() {
                break;
            }
            touched.extend_from_slice(&list);
            migrate(
                &shared,
                &txn,
                &mut self.instances,
                Which::Listed(list),
                Goal::Back(policy),
                for_ever,
            );
        }
        self.unload();
        if let Some((ports, targets)) = self.reach.take() {
            *shared.ports.write() = ports;
            *shared.targets.write() = targets;
        }
        let waiting = shared.switch(&txn, Phase::Undone);
        let pause = start.elapsed();
        shared.run_again(waiting);
        shared.move_deadlines(pause);
        shared.pauses.node.add(pause);

        let redelivered = self.unpark();
        self.close();
        // Whoever has events from its migration runs now, also if nobody writes to it.
        touched.iter().for_each(|&pid| shared.wake(pid));
        let mut report = std::mem::take(&mut *txn.undone.lock());
        report.redelivered = redelivered;
        report.pause = pause;
        // Those that are held keep the newer code, as their old version.
        self.purge(|c| c.to);
        *shared.upgrade.lock() = None;
        report
    }
}

impl RolledBack {
    pub(crate) fn hold(&mut self, failure: ActorFailure) {
        if self.held.len() < MAX_FAILING {
            self.held.push(failure);
        }
    }
}
