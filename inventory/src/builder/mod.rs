//! What every reader of inventories feeds: entries with their places go in, a checked [`Inventory`] comes out.
//!
//! Here stand the rules that do not depend on a file format: unique hosts, settings in one place, known groups, no
//! cycles, limits, and which variable overrides which. Every refusal names the places involved. The native format says
//! each thing once; Ansible's sources may say it again, and the last one counts.

mod adjacent;
mod finish;
mod hosts;
mod sealed;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::Error;
use crate::files::Files;
use crate::limits;
use crate::model::Inventory;
use crate::place::{Place, Spot};
use crate::range::Template;
use crate::reach::Reach;
use crate::value::Value;
use crate::vars::{Var, Vars};

pub(crate) use adjacent::Adjacent;

/// What a native entry says about its hosts; all of it optional.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Parsed address and where it stands.
    pub address: Option<(Template, Spot)>,
    pub port: Option<u16>,
    /// How the hosts are reached, and where the settings of SSH stand.
    pub reach: (Reach, Option<Spot>),
    pub zone: Option<Arc<str>>,
    pub vars: Option<Arc<Vars>>,
}

/// The names of an entry. One name is by far the most frequent, and is stored as the host will have it.
#[derive(Clone, Debug)]
pub(crate) enum Names {
    One(Arc<str>),
    Range(Template),
}

impl Names {
    fn count(&self) -> u64 {
        match self {
            Names::One(_) => 1,
            Names::Range(template) => template.count(),
        }
    }
}

/// A host name or a range of them, under one group or directly under all.
struct Entry {
    group: Option<u32>,
    spot: Spot,
    names: Names,
    said: Said,
}

/// What an entry says about its hosts, and in which kind of source.
enum Said {
    Native(Option<Box<Settings>>),
    /// The port counts for hosts that no source has named before.
    Ansible {
        vars: Option<Arc<Vars>>,
        port: Option<u16>,
    },
}

struct GroupDraft {
    name: Arc<str>,
    spot: Spot,
    children: Vec<(Arc<str>, Spot)>,
    vars: VarsDraft,
    reach: ReachDraft,
    /// Of groups at the same depth, those of higher priority override; Ansible's `ansible_group_priority`.
    priority: i64,
}

/// Variables of a group while it is read, in the order in which they are set.
#[derive(Default)]
struct VarsDraft {
    index: HashMap<Arc<str>, usize>,
    vars: Vec<Var>,
}

/// How hosts are reached, as one or several files say it, with the place of each setting.
#[derive(Default)]
struct ReachDraft {
    reach: Reach,
    set: HashMap<&'static str, Spot>,
}

impl ReachDraft {
    /// Where something is said about SSH itself.
    fn ssh(&self) -> Option<Spot> {
        let spot = self.set.get("ssh").copied();
        spot.filter(|_| self.reach.has_ssh())
    }
}

/// An inventory under construction.
#[derive(Default)]
pub(crate) struct Builder {
    pub(crate) files: Files,
    /// Names of variables, each kept once.
    words: HashSet<Arc<str>>,
    groups: Vec<GroupDraft>,
    group_index: HashMap<Arc<str>, u32>,
    entries: Vec<Entry>,
    /// How many hosts the entries list.
    count: u64,
    vars: VarsDraft,
    reach: ReachDraft,
    policy: Option<(Value, Spot)>,
    /// Groups that a source lists under `all`.
    roots: Vec<u32>,
    is_root: HashSet<u32>,
    /// Ansible's group of hosts without a group, once there is an Ansible source.
    ungrouped: Option<u32>,
    /// The folders beside Ansible's sources, in their order.
    adjacent: Vec<Adjacent>,
}

impl Builder {
    pub(crate) fn place(&self, spot: Spot) -> Box<Place> {
        self.files.place(spot)
    }

    /// The one copy of a variable's name.
    pub(crate) fn word(&mut self, name: &str) -> Arc<str> {
        if let Some(word) = self.words.get(name) {
            return Arc::clone(word);
        }
        let word: Arc<str> = name.into();
        self.words.insert(Arc::clone(&word));
        word
    }

    /// The group of that name, if there is one yet.
    pub(crate) fn known(&self, name: &str) -> Option<u32> {
        self.group_index.get(name).copied()
    }

    /// Groups with a name close to one that there is not.
    pub(crate) fn close_groups(&self, name: &str) -> Vec<String> {
        let others = self.groups.iter().map(|group| &*group.name);
        crate::suggest::close(name, others.filter(|other| *other != name))
    }

    /// Begins a group, or continues the one of that name.
    pub(crate) fn group(&mut self, name: &str, spot: Spot) -> u32 {
        if let Some(group) = self.known(name) {
            return group;
        }
        let group = self.groups.len() as u32;
        let name: Arc<str> = name.into();
        self.groups.push(GroupDraft {
            name: Arc::clone(&name),
            spot,
            children: Vec::new(),
            vars: VarsDraft::default(),
            reach: ReachDraft::default(),
            priority: 1,
        });
        self.group_index.insert(name, group);
        group
    }

    /// Ansible's group of hosts without a group, which is there from the first of its sources on.
    pub(crate) fn ungrouped(&mut self, spot: Spot) -> u32 {
        let group = self.group("ungrouped", spot);
        if self.ungrouped.is_none() {
            self.ungrouped = Some(group);
            self.root(group);
        }
        group
    }

    /// Lists a group under `all`.
    pub(crate) fn root(&mut self, group: u32) {
        if self.is_root.insert(group) {
            self.roots.push(group);
        }
    }

    /// Makes room for that many children, and no more: there can be very many groups with one child.
    pub(crate) fn expect_children(&mut self, group: u32, count: usize) {
        self.groups[group as usize].children.reserve_exact(count);
    }

    pub(crate) fn child(&mut self, group: u32, name: &str, spot: Spot) {
        let name = match self.group_index.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => name.into(),
        };
        self.groups[group as usize].children.push((name, spot));
    }

    fn vars_of(&mut self, group: Option<u32>) -> &mut VarsDraft {
        match group {
            Some(group) => &mut self.groups[group as usize].vars,
            None => &mut self.vars,
        }
    }

    /// Sets a variable of a group, or of the whole inventory, that must not be set yet.
    pub(crate) fn var(
        &mut self,
        group: Option<u32>,
        name: &str,
        value: Value,
        spot: Spot,
    ) -> Result<(), Error> {
        let vars = self.vars_of(group);
        if let Some(&first) = vars.index.get(name) {
            let first = vars.vars[first].spot;
            return Err(Error::DuplicateKey {
                at: self.place(spot),
                what: format!("the variable {}", crate::place::quoted(name)),
                first: self.place(first),
            });
        }
        self.set(group, name, value, spot);
        Ok(())
    }

    /// Sets a variable of a group, or of all hosts, whatever it was before.
    pub(crate) fn set(&mut self, group: Option<u32>, name: &str, value: Value, spot: Spot) {
        let name = self.word(name);
        let vars = self.vars_of(group);
        let var = Var {
            name: Arc::clone(&name),
            value,
            spot,
        };
        match vars.index.get(&name) {
            Some(&index) => vars.vars[index] = var,
            None => {
                vars.index.insert(name, vars.vars.len());
                vars.vars.push(var);
            }
        }
    }

    pub(crate) fn priority(&mut self, group: u32, priority: i64) {
        self.groups[group as usize].priority = priority;
    }

    /// Sets how the hosts of a group, or of the whole inventory, are reached; `set` names each setting and its place.
    pub(crate) fn reach(
        &mut self,
        group: Option<u32>,
        reach: &Reach,
        set: &[(&'static str, Spot)],
    ) -> Result<(), Error> {
        for (name, spot) in set {
            let draft = self.reach_of(group);
            if let Some(first) = draft.set.insert(name, *spot) {
                return Err(Error::DuplicateKey {
                    at: self.place(*spot),
                    what: format!("the setting {name}"),
                    first: self.place(first),
                });
            }
        }
        self.reach_of(group).reach.overlay(reach);
        Ok(())
    }

    fn reach_of(&mut self, group: Option<u32>) -> &mut ReachDraft {
        match group {
            Some(group) => &mut self.groups[group as usize].reach,
            None => &mut self.reach,
        }
    }

    pub(crate) fn policy(&mut self, value: Value, spot: Spot) -> Result<(), Error> {
        match &self.policy {
            None => {
                self.policy = Some((value, spot));
                Ok(())
            }
            Some((_, first)) => Err(Error::DuplicateKey {
                at: self.place(spot),
                what: "the policy".to_owned(),
                first: self.place(*first),
            }),
        }
    }

    /// Takes in the folders of variables beside a source.
    pub(crate) fn adjacent(&mut self, adjacent: Adjacent) {
        self.adjacent.push(adjacent);
    }

    /// Lists hosts under a group, as the native format does. The names have been found valid.
    pub(crate) fn hosts(
        &mut self,
        group: u32,
        names: Template,
        spot: Spot,
        settings: Option<Settings>,
    ) -> Result<(), Error> {
        if let Some((addresses, at)) = settings
            .as_ref()
            .and_then(|settings| settings.address.as_ref())
            && names.count() <= limits::RANGE_HOSTS
            && addresses.count() != names.count()
        {
            return Err(Error::AddressLength {
                at: self.place(*at),
                addresses: addresses.count(),
                hosts: names.count(),
            });
        }
        let said = Said::Native(settings.map(Box::new));
        self.list(Some(group), Names::Range(names), spot, said)
    }

    /// Lists hosts under a group, or directly under all, as Ansible's sources do.
    pub(crate) fn listed(
        &mut self,
        group: Option<u32>,
        names: Names,
        spot: Spot,
        vars: Option<Arc<Vars>>,
        port: Option<u16>,
    ) -> Result<(), Error> {
        self.list(group, names, spot, Said::Ansible { vars, port })
    }

    /// No host is made yet: limits come first.
    fn list(
        &mut self,
        group: Option<u32>,
        names: Names,
        spot: Spot,
        said: Said,
    ) -> Result<(), Error> {
        let count = names.count();
        self.count = self.count.saturating_add(count);
        let over = |count, limit, within| {
            Err(Error::TooManyHosts {
                at: self.place(spot),
                count,
                limit,
                within,
            })
        };
        if count > limits::RANGE_HOSTS {
            return over(count, limits::RANGE_HOSTS, "a range");
        }
        if self.count > limits::LISTED_HOSTS {
            return over(self.count, limits::LISTED_HOSTS, "an inventory");
        }
        self.entries.push(Entry {
            group,
            spot,
            names,
            said,
        });
        Ok(())
    }

    /// Checks what needs all entries, and resolves.
    pub(crate) fn finish(self) -> Result<Inventory, Error> {
        finish::finish(self)
    }
}
