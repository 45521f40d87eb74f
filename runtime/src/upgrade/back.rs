//! An actor goes back after a rollback, in the way that the machine says, and is counted in the report. The states for it
//! were made before: no code is called here but that which converts events.

use super::{
    machine::{Back, Part, Route, WayBack},
    settle::{
        Settled, Side, convert, end, name_issuers, redeliver_first, restore_holdings,
        switch_version,
    },
    txn::{Change, Kind, Pinned, Shadow, Staged, Txn, Way},
};
use crate::{
    actor::{Body, Pause},
    error::ActorFailure,
    instance::Instances,
    node::Shared,
    table::{Pid, Slot},
};

/// After a rollback. `shadow` is the part that the actor had.
pub(super) fn go_back(
    shared: &Shared,
    instances: &mut Instances,
    (pid, slot, body): (Pid, &Slot, &mut Body),
    change: &Change,
    shadow: &mut Shadow,
    way: Back,
) -> Settled {
    let txn = shadow.txn.clone();
    let (prepared, pinned) = (shadow.way_back.take(), shadow.pinned.take());
    let state = match (way, prepared, pinned) {
        // It never left the older code, or switches without a change of its state. Newer code may have written to it.
        (Back::Stay, ..) => {
            if shadow.staged.is_some() {
                txn.undone.lock().pinned += 1;
            }
            convert(shared, instances, slot, &txn, change, Side::From);
            return Settled::Go;
        }
        (Back::AsItIs, ..) => {
            switch_version(shared, instances, slot, body, &txn, change);
            return Settled::Go;
        }
        (Back::Stopped, prepared, _) => {
            txn.undone.lock().stopped += 1;
            let reason = match prepared {
                Some(Way::Stop(reason)) => reason,
                _ => "shutdown".into(),
            };
            return end(shared, instances, pid, body, reason, Some(&txn));
        }
        (Back::Migrated, Some(Way::Migrate(staged)), _) => {
            txn.undone.lock().migrated += 1;
            staged
        }
        (Back::Pinned, _, Some(pinned)) => {
            txn.undone.lock().pinned += 1;
            pinned.into()
        }
        (Back::Restored, _, Some(pinned)) => {
            let mut undone = txn.undone.lock();
            undone.restored += 1;
            undone.events_discarded += body.events - pinned.events;
            drop(undone);
            restore_holdings(shared, pid, slot, body, &pinned);
            pinned.into()
        }
        (_, Some(Way::Hold(reason)), _) => {
            return hold(&txn, pid, slot, body, change, reason);
        }
        (Back::HeldNewborn, ..) => {
            let reason = "it was born on the newer code and has no older state";
            return hold(&txn, pid, slot, body, change, reason.into());
        }
        (
            Back::HeldUnprepared | Back::Held | Back::Migrated | Back::Pinned | Back::Restored,
            ..,
        ) => {
            return hold(
                &txn,
                pid,
                slot,
                body,
                change,
                "no way back was prepared".into(),
            );
        }
    };
    body.state = state.state;
    body.version = change.from;
    name_issuers(shared, slot, change.to, change.from);
    convert(shared, instances, slot, &txn, change, Side::From);
    redeliver_first(shared, slot, state.redeliver);
    Settled::Go
}

/// It waits on the newer code, and the report says so.
fn hold(txn: &Txn, pid: Pid, slot: &Slot, body: &Body, change: &Change, reason: String) -> Settled {
    tracing::warn!(actor = %crate::pid_text(pid), reason, "held on the newer code");
    slot.mail.lock().pause.add(Pause::Held);
    let name = body.name().map_or_else(String::new, ToString::to_string);
    txn.undone.lock().hold(ActorFailure {
        pid,
        name,
        module: change.name.to_string(),
        reason,
    });
    Settled::Go
}

impl From<Pinned> for Staged {
    fn from(pinned: Pinned) -> Self {
        Staged {
            state: pinned.state,
            redeliver: Vec::new(),
        }
    }
}

impl Shadow {
    /// What the machine has to know of it.
    pub(super) fn part(&self, change: &Change, version: u32) -> Part {
        Part {
            staged: self.staged.is_some(),
            pinned: self.pinned.is_some(),
            touched: self.touched,
            failed: self.failed.is_some(),
            way: self.way_back.as_ref().map(|way| match way {
                Way::Migrate(_) => WayBack::Migrated,
                Way::Restore => WayBack::Restore,
                Way::Hold(_) => WayBack::Hold,
                Way::Stop(_) => WayBack::Stop,
            }),
            on_from: version == change.from,
            route: match change.kind {
                Kind::Add => Route::Added,
                Kind::Load => Route::AsItIs,
                Kind::Update | Kind::Drain { .. } | Kind::Delete { .. } => Route::Migrate,
            },
        }
    }
}
