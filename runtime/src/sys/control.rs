//! Suspend, resume and terminate, of one actor or of all actors of a module that are alive when it is asked. An actor may
//! be suspended whatever else holds it: one that is parked or held as well runs again when neither is so any more.

use std::time::{Duration, Instant};

use super::{ActorRef, ActorStatus, Visit, status::status_of};
use crate::{
    Error, Node,
    actor::{Pause, Run, id_base},
    bindings::Cx,
    effects,
    instance::Instances,
    last_words::last_words,
    node::Shared,
    table::Pid,
};

/// Bytes of a reason given to `terminate`.
const REASON_BYTES: usize = 4_096;

/// What an order to a whole module came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Affected {
    /// Actors that it was done to.
    pub actors: u64,
    /// Actors that had ended by themselves when their turn came.
    pub gone: u64,
}

const UPGRADING: &str = "its module is suspended for an upgrade; ask again";

impl Node {
    /// Stops the actor at a message boundary (OTP's `sys:suspend`); its mailbox keeps filling, in order.
    pub fn suspend(&self, actor: &ActorRef, timeout: Duration) -> Result<ActorStatus, Error> {
        self.at_boundary(actor, timeout, |pid, slot, body| {
            slot.mail.lock().pause.add(Pause::Sys);
            status_of(&self.shared, pid, slot, body)
        })
    }

    /// Lets a suspended actor run again (OTP's `sys:resume`).
    pub fn resume(&self, actor: &ActorRef, timeout: Duration) -> Result<ActorStatus, Error> {
        let status = self.at_boundary(actor, timeout, |pid, slot, body| {
            slot.mail.lock().pause.lift(Pause::Sys);
            status_of(&self.shared, pid, slot, body)
        })?;
        self.shared.wake(status.pid);
        Ok(status)
    }

    /// Suspends all actors of a module. All are told to stop before any is waited for; those that are late stop at the end
    /// of their handler.
    pub fn suspend_module(&self, module: &str, timeout: Duration) -> Result<Affected, Error> {
        let deadline = Instant::now() + timeout;
        let of = self.module_of(module)?;
        let mut pids = self.pids_of(&of);
        pids.retain(|&pid| self.set_pause(pid, of.index, |pause| pause.add(Pause::Sys)));
        let mut instances = Instances::new(&self.shared);
        let visit = |pid| match self.visit(pid, deadline, &mut instances, |_, _, _| ()) {
            Visit::Done(()) => Outcome::Done,
            Visit::Gone => Outcome::Gone,
            Visit::Late => Outcome::Late,
        };
        all_of("suspend", module, timeout, pids, visit)
    }

    /// Lets all actors of a module run again, whichever way they were suspended.
    pub fn resume_module(&self, module: &str) -> Result<Affected, Error> {
        let module = self.module_of(module)?;
        let mut affected = Affected::default();
        for pid in self.pids_of(&module) {
            if self.set_pause(pid, module.index, |pause| {
                pause.lift(Pause::Sys);
            }) {
                affected.actors += 1;
                self.shared.wake(pid);
            } else {
                affected.gone += 1;
            }
        }
        Ok(affected)
    }

    fn set_pause(&self, pid: Pid, module: u32, change: impl FnOnce(&mut Pause)) -> bool {
        let Some(slot) = self.shared.table.get(pid) else {
            return false;
        };
        let mut mail = slot.mail.lock();
        let alive =
            mail.run != Run::Free && mail.module == module && self.shared.table.get(pid).is_some();
        if alive {
            change(&mut mail.pause);
        }
        alive
    }

    /// Ends the actor at a message boundary (OTP's `sys:terminate`): its `terminate` runs, whoever watches it hears the
    /// reason, and its supervisor acts on it. It ends also when it is suspended, parked or held.
    pub fn terminate(
        &self,
        actor: &ActorRef,
        reason: &str,
        timeout: Duration,
    ) -> Result<ActorStatus, Error> {
        check_reason(reason)?;
        let pid = self.find(actor)?;
        let deadline = Instant::now() + timeout;
        let mut instances = Instances::new(&self.shared);
        match self.end(pid, reason, deadline, &mut instances) {
            Visit::Done(Some(status)) => Ok(status),
            Visit::Done(None) => Err(Error::Sys {
                call: "terminate",
                actor: actor.to_string(),
                reason: UPGRADING.into(),
            }),
            Visit::Gone => Err(Error::NoActor(actor.to_string())),
            Visit::Late => Err(Error::SysTimeout {
                actor: actor.to_string(),
                timeout,
            }),
        }
    }

    /// Ends all actors of a module that are alive now; those that their supervisors start again meanwhile stay.
    pub fn terminate_module(
        &self,
        module: &str,
        reason: &str,
        timeout: Duration,
    ) -> Result<Affected, Error> {
        check_reason(reason)?;
        let deadline = Instant::now() + timeout;
        let of = self.module_of(module)?;
        let pids = self.pids_of(&of);
        let mut instances = Instances::new(&self.shared);
        let end = |pid| match self.end(pid, reason, deadline, &mut instances) {
            Visit::Done(Some(_)) => Outcome::Done,
            Visit::Gone => Outcome::Gone,
            Visit::Done(None) | Visit::Late => Outcome::Late,
        };
        all_of("terminate", module, timeout, pids, end)
    }

    /// None: its module is suspended for an upgrade.
    fn end(
        &self,
        pid: Pid,
        reason: &str,
        deadline: Instant,
        instances: &mut Instances,
    ) -> Visit<Option<ActorStatus>> {
        let shared = &self.shared;
        // The actor takes its part in an upgrade first: `terminate` belongs to the code that its state stands on.
        match self.visit(pid, deadline, instances, |_, _, _| ()) {
            Visit::Done(()) => {}
            Visit::Gone => return Visit::Gone,
            Visit::Late => return Visit::Late,
        }
        let Some(slot) = shared.table.get(pid) else {
            return Visit::Gone;
        };
        let Some(guard) = slot.body.try_lock_until(deadline) else {
            return Visit::Late;
        };
        let Some(mut guard) = shared.table.still(pid, guard) else {
            return Visit::Gone;
        };
        let Some(body) = guard.as_mut() else {
            return Visit::Gone;
        };
        {
            // A suspending upgrade waits for this lock, as it waits for a running handler.
            let _replacing = shared.replacing.read();
            if shared.code.module(body.module).is_some_and(|m| m.gated()) {
                return Visit::Done(None);
            }
            let status = status_of(shared, pid, slot, body);
            if body.birth.is_none() {
                let cx = Cx {
                    me: pid,
                    wall: Shared::wall(),
                    mono: shared.mono(),
                    // Without random numbers from the machine there are still different ones for each call.
                    seed: getrandom::u64().unwrap_or_else(|_| Shared::wall()),
                    id_base: id_base(body.events),
                };
                last_words(shared, instances, cx, body, reason, None);
            }
            let Some(body) = guard.take() else {
                return Visit::Gone;
            };
            drop(guard);
            tracing::info!(actor = %body.label(pid), reason, "terminated by sys");
            effects::bury(shared, pid, body, reason);
            Visit::Done(Some(status))
        }
    }
}

/// What became of one actor of a module.
enum Outcome {
    Done,
    Gone,
    Late,
}

/// Does this to each; late ones are counted, and make it an error.
fn all_of(
    call: &'static str,
    module: &str,
    timeout: Duration,
    pids: Vec<Pid>,
    mut act: impl FnMut(Pid) -> Outcome,
) -> Result<Affected, Error> {
    let (mut affected, mut late) = (Affected::default(), 0);
    for pid in pids {
        match act(pid) {
            Outcome::Done => affected.actors += 1,
            Outcome::Gone => affected.gone += 1,
            Outcome::Late => late += 1,
        }
    }
    if late == 0 {
        return Ok(affected);
    }
    Err(Error::SysLate {
        call,
        module: module.to_owned(),
        done: affected.actors,
        late,
        timeout,
    })
}

fn check_reason(reason: &str) -> Result<(), Error> {
    match reason.len() {
        1..=REASON_BYTES => Ok(()),
        bytes => Err(Error::SysArgument(format!(
            "the reason has {bytes} bytes; it must have 1 to {REASON_BYTES}"
        ))),
    }
}
