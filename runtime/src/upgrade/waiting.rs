//! Who waits for whom while an upgrade suspends actors: the deadline of a request stands still as long as its caller, or the
//! one that was asked, is suspended. It costs a request nothing; an upgrade looks once at all requests that are open.

use std::{sync::Arc, time::Duration};

use super::Txn;
use crate::{node::Shared, table::Pid};

/// An upgrade that suspends actors.
pub(crate) struct Suspending {
    txn: Arc<Txn>,
    /// It is a rollback.
    back: bool,
}

impl Suspending {
    fn holds(&self, shared: &Shared, pid: Pid) -> bool {
        let module = shared.table.get(pid).map(|slot| slot.mail.lock().module);
        let change = module.and_then(|module| self.txn.change(module));
        change.is_some_and(|change| change.gated(self.back))
    }
}

impl Shared {
    /// From now on no deadline of those that are suspended passes.
    pub(super) fn stop_deadlines(&self, txn: &Arc<Txn>, back: bool) {
        let txn = txn.clone();
        *self.suspending.lock() = Some(Suspending { txn, back });
    }

    /// They run again: their deadlines are later by the pause.
    pub(super) fn move_deadlines(&self, pause: Duration) {
        let Some(suspending) = self.suspending.lock().take() else {
            return;
        };
        self.timers.extend(pause, |pid| suspending.holds(self, pid));
    }

    /// A request between these two is due, and must not time out now.
    pub(crate) fn waits_for_upgrade(&self, caller: Pid, to: Pid) -> bool {
        let suspending = self.suspending.lock();
        let holds = |s: &Suspending| s.holds(self, caller) || s.holds(self, to);
        suspending.as_ref().is_some_and(holds)
    }
}
