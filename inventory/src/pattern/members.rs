//! The hosts of groups in the order in which a subscript such as `web[0]` counts them: as Ansible's `get_hosts` does.
//!
//! First the hosts listed at the group itself, in the order of the files, then those of its children, then those of their
//! children; each host once. What is listed at no group of its own stands first in `all`.

use crate::model::{Group, Inventory};

/// Hosts in the order in which they were taken, each once.
pub(super) struct Members<'a> {
    inventory: &'a Inventory,
    has: Vec<bool>,
    walked: Vec<bool>,
    hosts: Vec<u32>,
}

impl<'a> Members<'a> {
    pub(super) fn none(inventory: &'a Inventory) -> Self {
        Members {
            inventory,
            has: vec![false; inventory.hosts.len()],
            walked: vec![false; inventory.groups.len()],
            hosts: Vec::new(),
        }
    }

    /// The members of a group, level by level.
    pub(super) fn of(inventory: &'a Inventory, group: u32) -> Vec<u32> {
        let mut members = Members::none(inventory);
        members.levels(vec![group]);
        members.hosts
    }

    /// Every host, level by level from the groups that no other contains.
    pub(super) fn of_all(inventory: &'a Inventory) -> Vec<u32> {
        let mut is_listed = vec![false; inventory.hosts.len()];
        for host in inventory.groups.iter().flat_map(|group| &group.hosts) {
            is_listed[*host as usize] = true;
        }
        let mut members = Members::none(inventory);
        let listed = (0u32..).zip(&is_listed);
        for host in listed.filter_map(|(host, listed)| (!listed).then_some(host)) {
            members.host(host);
        }
        // Ansible always has its group of hosts without a group, and has it first.
        let ungrouped = inventory.group_index.get("ungrouped").copied();
        members.levels(
            ungrouped
                .into_iter()
                .chain(inventory.roots.iter().copied())
                .collect(),
        );
        members.hosts
    }

    /// Takes a host, unless it was taken before.
    pub(super) fn host(&mut self, host: u32) {
        if !std::mem::replace(&mut self.has[host as usize], true) {
            self.hosts.push(host);
        }
    }

    /// Takes the groups of a level and all below them. What was walked before has no host that is not taken yet.
    pub(super) fn levels(&mut self, mut level: Vec<u32>) {
        while !level.is_empty() {
            level.retain(|group| !std::mem::replace(&mut self.walked[*group as usize], true));
            let mut next = Vec::new();
            for group in &level {
                let group: &Group = &self.inventory.groups[*group as usize];
                group.hosts.iter().for_each(|host| self.host(*host));
                next.extend(&group.children);
            }
            level = next;
        }
    }

    pub(super) fn into_hosts(self) -> Vec<u32> {
        self.hosts
    }
}
