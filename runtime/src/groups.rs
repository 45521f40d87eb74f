//! Process groups (OTP's `pg`, on one node): named sets of actors, in the order in which they joined. An actor may be in
//! many, and many times in one; its end takes it out of all. Who is in is asked through the host's door, so that the
//! answer is recorded.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::RwLock;

use crate::table::Pid;

/// Memberships that one actor may have.
pub(crate) const MEMBERSHIPS: usize = 1_000;

/// One `join`: the group, and its place in it.
pub(crate) type Membership = (Arc<str>, u64);

#[derive(Default)]
pub(crate) struct Groups(RwLock<All>);

#[derive(Default)]
struct All {
    groups: HashMap<Arc<str>, BTreeMap<u64, Pid>>,
    joined: u64,
}

impl Groups {
    pub(crate) fn members(&self, group: &str) -> Vec<Pid> {
        let all = self.0.read();
        all.groups
            .get(group)
            .map_or_else(Vec::new, |members| members.values().copied().collect())
    }

    pub(crate) fn join(&self, group: &str, pid: Pid) -> Membership {
        let mut all = self.0.write();
        all.joined += 1;
        let place = all.joined;
        let name = all
            .groups
            .get_key_value(group)
            .map_or_else(|| Arc::from(group), |(name, _)| name.clone());
        all.groups
            .entry(name.clone())
            .or_default()
            .insert(place, pid);
        (name, place)
    }

    pub(crate) fn leave(&self, (group, place): &Membership) {
        let mut all = self.0.write();
        if let Some(members) = all.groups.get_mut(group) {
            members.remove(place);
            if members.is_empty() {
                all.groups.remove(group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OTP: `pg:join/2` twice is in twice, `pg:leave/2` takes one back.
    #[test]
    fn members_are_listed_as_often_as_they_joined_and_in_that_order() {
        let groups = Groups::default();
        let first = groups.join("g", 7);
        groups.join("g", 8);
        let last = groups.join("g", 7);
        assert_eq!(groups.members("g"), [7, 8, 7]);
        groups.leave(&last);
        assert_eq!(groups.members("g"), [7, 8]);
        groups.leave(&first);
        groups.leave(&first);
        assert_eq!(groups.members("g"), [8]);
        assert!(groups.members("h").is_empty());
    }
}
