//! The events of one turn, in the order in which they came, and what a module may give back for them. What is not done
//! goes back to where it came from.

use std::collections::VecDeque;

use crate::{
    actor::{Extras, Item},
    bindings::{Batch, Cx, Event, Next},
    effects,
    node::Shared,
    table::{Pid, Slot},
};

/// The events of one turn; those before `at` are done.
pub(crate) struct Work {
    pub(crate) cx: Vec<Cx>,
    /// In one piece.
    pub(crate) items: VecDeque<Item>,
    pub(crate) at: usize,
}

impl Work {
    /// Those that are not done.
    pub(crate) fn rest(&self) -> &[Item] {
        &self.items.as_slices().0[self.at..]
    }

    /// Events that are not done.
    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.at
    }

    /// The next event as work of its own; here it counts as done.
    pub(crate) fn single(&mut self) -> Work {
        let at = self.at;
        self.at += 1;
        let empty = Item::host(Event::Cast(Vec::new()));
        Work {
            cx: vec![self.cx[at]],
            items: [std::mem::replace(&mut self.items[at], empty)].into(),
            at: 0,
        }
    }

    /// What is not done goes back to the head of the mailbox, in order.
    pub(crate) fn give_back(&mut self, shared: &Shared, slot: &Slot) {
        self.give_back_after(shared, slot, 0);
    }

    /// The same, behind the event that is there already when the actor was parked with it.
    pub(crate) fn give_back_behind(&mut self, shared: &Shared, slot: &Slot, parked: bool) {
        self.give_back_after(shared, slot, usize::from(parked));
    }

    fn give_back_after(&mut self, shared: &Shared, slot: &Slot, keep: usize) {
        let mut mail = slot.mail.lock();
        shared.wait_more(mail.module, self.rest());
        let rest = self.items.drain(self.at..);
        let head: Vec<Item> = mail.queue.drain(..keep).collect();
        for item in head.into_iter().chain(rest).rev() {
            mail.queue.push_front(item);
        }
    }
}

/// Says why a state is too long.
pub(crate) fn check_state(shared: &Shared, bytes: usize) -> Result<(), String> {
    let bound = shared.limits.state_bytes;
    if bytes > bound {
        Err(format!(
            "a state of {bytes} bytes; limits.state_bytes is {bound}"
        ))
    } else {
        Ok(())
    }
}

/// Says why a module's answer to these events cannot be taken.
pub(crate) fn check_batch(
    shared: &Shared,
    pid: Pid,
    extras: Option<&Extras>,
    batch: &Batch,
    events: usize,
    reserved: &[Pid],
) -> Result<(), String> {
    if let Some(state) = &batch.state {
        check_state(shared, state.len())?;
    }
    let steps = batch.steps.len();
    let stopped = batch
        .steps
        .iter()
        .position(|s| matches!(s.next, Next::Stop(_)));
    let complete = match (&batch.error, stopped) {
        (Some(_), Some(_)) => false,
        (Some(_), None) => steps < events,
        (None, Some(at)) => at + 1 == steps && steps <= events,
        (None, None) => steps == events,
    };
    if !complete {
        return Err(format!("handle gave {steps} steps for {events} events"));
    }
    batch
        .steps
        .iter()
        .try_for_each(|step| effects::check(shared, pid, extras, &step.effects, reserved))
}
