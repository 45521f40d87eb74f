//! Process groups (OTP's `pg`, on one node): named sets of actors, in the order in which they joined. An actor may be in
//! many, and many times in one; its end takes it out of all.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;

use crate::table::Pid;

#[derive(Default)]
pub(crate) struct Groups(RwLock<HashMap<Arc<str>, Vec<Pid>>>);

impl Groups {
    pub(crate) fn members(&self, group: &str) -> Vec<Pid> {
        self.0.read().get(group).cloned().unwrap_or_default()
    }

    pub(crate) fn join(&self, group: &str, pid: Pid) {
        let mut all = self.0.write();
        match all.get_mut(group) {
            Some(members) => members.push(pid),
            None => {
                all.insert(group.into(), vec![pid]);
            }
        }
    }

    /// Takes one `join` back. False: it was not in.
    pub(crate) fn leave(&self, group: &str, pid: Pid) -> bool {
        let mut all = self.0.write();
        let Some(members) = all.get_mut(group) else {
            return false;
        };
        let Some(at) = members.iter().rposition(|&m| m == pid) else {
            return false;
        };
        members.remove(at);
        if members.is_empty() {
            all.remove(group);
        }
        true
    }
}
