//! A value that many tasks wait for a change of, and are told in the order of their nodes. One channel for all of them would wake
//! them in an order of its own choice, and no simulation could be repeated. Decides nothing.

use std::collections::BTreeMap;

use tokio::sync::watch;

/// See the module's text.
pub(super) struct Told<T> {
    now: T,
    tasks: BTreeMap<usize, watch::Sender<T>>,
}

impl<T: Copy> Told<T> {
    /// Nobody waits.
    pub(super) fn new(now: T) -> Self {
        Self {
            now,
            tasks: BTreeMap::new(),
        }
    }

    /// For the task of a node, of which there is one at a time.
    pub(super) fn task(&mut self, node: usize) -> watch::Receiver<T> {
        let (sender, receiver) = watch::channel(self.now);
        self.tasks.insert(node, sender);
        receiver
    }

    /// The task of a node has ended.
    pub(super) fn ended(&mut self, node: usize) {
        self.tasks.remove(&node);
    }

    /// Changes the value, for those that wait and for those to come.
    pub(super) fn tell(&mut self, change: impl FnOnce(&mut T)) {
        change(&mut self.now);
        for task in self.tasks.values() {
            task.send_replace(self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_and_who_comes_later_have_what_was_told_last() {
        let mut told = Told::new(1);
        let before = [told.task(0), told.task(1)];
        told.ended(1);
        told.tell(|now| *now += 1);
        let after = told.task(2);
        let seen = [&before[0], &before[1], &after].map(|task| *task.borrow());
        assert_eq!(seen, [2, 1, 2]);
    }
}
