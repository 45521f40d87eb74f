//! Registered names: one actor a name, found by handlers and by `sys`.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;

use crate::table::Pid;

#[derive(Default)]
pub(crate) struct Names(RwLock<HashMap<Arc<str>, Pid>>);

impl Names {
    pub(crate) fn whereis(&self, name: &str) -> Option<Pid> {
        self.0.read().get(name).copied()
    }

    /// The holder of the name now: the given pid, or whoever had it before.
    pub(crate) fn register(&self, name: &Arc<str>, pid: Pid) -> Pid {
        *self.0.write().entry(name.clone()).or_insert(pid)
    }

    /// Only the holder gives a name up.
    pub(crate) fn unregister(&self, name: &str, pid: Pid) {
        let mut names = self.0.write();
        if names.get(name) == Some(&pid) {
            names.remove(name);
        }
    }
}
