//! What every reader of inventories feeds: entries with their places go in, a checked [`Inventory`] comes out.
//!
//! Here stand the rules that do not depend on a file format: unique hosts, settings in one place, known groups, no
//! cycles, limits, and which variable overrides which. Every refusal names the places involved.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::error::Error;
use crate::limits;
use crate::model::{DEFAULT_PORT, Group, Host, Inventory, Membership, Reach, Ssh, Vars};
use crate::place::{Place, Source, Spot};
use crate::range::Template;
use crate::relations::{Relations, Tangle};
use crate::suggest;
use crate::value::Value;

/// What an entry says about its hosts; all of it optional.
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

/// A host name or a range of them, under one group.
struct Entry {
    group: u32,
    spot: Spot,
    names: Template,
    settings: Option<Settings>,
}

struct GroupDraft {
    name: Arc<str>,
    spot: Spot,
    children: Vec<(String, Spot)>,
    vars: BTreeMap<String, (Value, Spot)>,
    reach: ReachDraft,
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
        let spot = |name| self.set.get(name).copied();
        if self.reach.has_ssh() {
            spot("ssh")
        } else {
            None
        }
    }
}

/// Settings that many hosts have alike, each kept once.
#[derive(Default)]
struct Shared(HashSet<Arc<Ssh>>);

impl Shared {
    fn intern(&mut self, ssh: Arc<Ssh>) -> Arc<Ssh> {
        match self.0.get(&ssh) {
            Some(known) => Arc::clone(known),
            None => {
                self.0.insert(Arc::clone(&ssh));
                ssh
            }
        }
    }
}

struct HostDraft {
    name: Arc<str>,
    address: Option<Arc<str>>,
    /// The entry that carries the host's settings.
    settings: Option<u32>,
}

/// An inventory under construction.
pub(crate) struct Builder<'s> {
    sources: &'s [Source],
    groups: Vec<GroupDraft>,
    group_index: HashMap<Arc<str>, u32>,
    hosts: Vec<HostDraft>,
    host_index: HashMap<Arc<str>, u32>,
    entries: Vec<Entry>,
    /// How many hosts the entries list.
    count: u64,
    vars: BTreeMap<String, (Value, Spot)>,
    reach: ReachDraft,
    policy: Option<(Value, Spot)>,
}

impl<'s> Builder<'s> {
    pub(crate) fn new(sources: &'s [Source]) -> Self {
        Builder {
            sources,
            groups: Vec::new(),
            group_index: HashMap::new(),
            hosts: Vec::new(),
            host_index: HashMap::new(),
            entries: Vec::new(),
            count: 0,
            vars: BTreeMap::new(),
            reach: ReachDraft::default(),
            policy: None,
        }
    }

    fn place(&self, spot: Spot) -> Box<Place> {
        self.sources[spot.source as usize].place(spot.pos)
    }

    /// Begins a group, or continues the one of that name.
    pub(crate) fn group(&mut self, name: &str, spot: Spot) -> u32 {
        if let Some(&group) = self.group_index.get(name) {
            return group;
        }
        let group = self.groups.len() as u32;
        let name: Arc<str> = name.into();
        let draft = GroupDraft {
            name: Arc::clone(&name),
            spot,
            children: Vec::new(),
            vars: BTreeMap::new(),
            reach: ReachDraft::default(),
        };
        self.groups.push(draft);
        self.group_index.insert(name, group);
        group
    }

    /// Makes room for that many children, and no more: there can be very many groups with one child.
    pub(crate) fn expect_children(&mut self, group: u32, count: usize) {
        self.groups[group as usize].children.reserve_exact(count);
    }

    pub(crate) fn child(&mut self, group: u32, name: &str, spot: Spot) {
        self.groups[group as usize]
            .children
            .push((name.to_owned(), spot));
    }

    /// Sets a variable of a group, or of the whole inventory.
    pub(crate) fn var(
        &mut self,
        group: Option<u32>,
        name: &str,
        value: Value,
        spot: Spot,
    ) -> Result<(), Error> {
        let vars = match group {
            Some(group) => &mut self.groups[group as usize].vars,
            None => &mut self.vars,
        };
        let first = vars.get(name).map(|(_, first)| *first);
        match first {
            None => {
                vars.insert(name.to_owned(), (value, spot));
                Ok(())
            }
            Some(first) => Err(Error::DuplicateKey {
                at: self.place(spot),
                what: format!("the variable {}", crate::place::quoted(name)),
                first: self.place(first),
            }),
        }
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

    /// Lists hosts under a group. The template's names have been found valid. No host is made yet: limits come first.
    pub(crate) fn hosts(
        &mut self,
        group: u32,
        names: Template,
        spot: Spot,
        settings: Option<Settings>,
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
        if let Some((addresses, at)) = settings
            .as_ref()
            .and_then(|settings| settings.address.as_ref())
            && addresses.count() != count
        {
            return Err(Error::AddressLength {
                at: self.place(*at),
                addresses: addresses.count(),
                hosts: count,
            });
        }
        self.entries.push(Entry {
            group,
            spot,
            names,
            settings,
        });
        Ok(())
    }

    /// Makes the hosts of all entries: every (host, group, entry).
    fn expand(&mut self) -> Result<Vec<(u32, u32, u32)>, Error> {
        let mut listed = Vec::with_capacity(usize::try_from(self.count).unwrap_or(0));
        for index in 0..self.entries.len() {
            let entry = &self.entries[index];
            let (group, spot, names) = (entry.group, entry.spot, entry.names.clone());
            let has_settings = entry.settings.is_some();
            let addresses = entry
                .settings
                .as_ref()
                .and_then(|settings| settings.address.clone());
            let mut addresses = addresses.as_ref().map(|(addresses, _)| addresses.names());
            for name in names.names() {
                if name == "all" {
                    return Err(Error::BadName {
                        at: self.place(spot),
                        what: "host name",
                        name,
                        reason: "'all' means every host",
                        next: "rename the host",
                    });
                }
                let host = self.host(&name);
                listed.push((host, group, index as u32));
                if has_settings {
                    let draft = &mut self.hosts[host as usize];
                    draft.address = addresses.as_mut().and_then(Iterator::next).map(Into::into);
                    if let Some(first) = draft.settings.replace(index as u32) {
                        return Err(self.settings_twice(host, first, index as u32));
                    }
                }
            }
        }
        Ok(listed)
    }

    fn host(&mut self, name: &str) -> u32 {
        if let Some(&host) = self.host_index.get(name) {
            return host;
        }
        let host = self.hosts.len() as u32;
        let name: Arc<str> = name.into();
        self.hosts.push(HostDraft {
            name: Arc::clone(&name),
            address: None,
            settings: None,
        });
        self.host_index.insert(name, host);
        host
    }

    fn settings_twice(&self, host: u32, first: u32, second: u32) -> Error {
        if self.entries[first as usize].group == self.entries[second as usize].group {
            return self.listed_twice(host, first, second);
        }
        Error::ConflictingSettings {
            at: self.place(self.entries[second as usize].spot),
            host: self.hosts[host as usize].name.to_string(),
            first: self.place(self.entries[first as usize].spot),
        }
    }

    fn listed_twice(&self, host: u32, first: u32, second: u32) -> Error {
        let second = &self.entries[second as usize];
        Error::DuplicateHost {
            at: self.place(second.spot),
            host: self.hosts[host as usize].name.to_string(),
            group: self.groups[second.group as usize].name.to_string(),
            first: self.place(self.entries[first as usize].spot),
        }
    }

    /// Checks what needs all entries, and resolves.
    pub(crate) fn finish(mut self) -> Result<Inventory, Error> {
        // Groups first: they cost little to check, and hosts can be very many.
        let children = self.children()?;
        let mut relations =
            Relations::new(&children).map_err(|tangle| self.tangle(tangle, &children))?;
        // Sorted by host, then group: hosts' groups lie together, and so do duplicates.
        let mut listed = self.expand()?;
        listed.sort_unstable();
        let twice = listed
            .windows(2)
            .filter(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1));
        if let Some(pair) = twice.min_by_key(|pair| (pair[1].2, pair[1].0)) {
            return Err(self.listed_twice(pair[0].0, pair[0].2, pair[1].2));
        }
        self.check_clashes(&listed)?;

        let vars = std::mem::take(&mut self.vars);
        let top = Arc::new(plain(vars));
        let mut groups: Vec<Group> = Vec::with_capacity(self.groups.len());
        for (draft, children) in self.groups.iter_mut().zip(&children) {
            let vars = Arc::new(plain(std::mem::take(&mut draft.vars)));
            groups.push(Group {
                name: Arc::clone(&draft.name),
                children: children.clone(),
                hosts: Vec::new(),
                vars,
            });
        }
        let mut memberships: HashMap<Vec<u32>, Arc<Membership>> = HashMap::new();
        let mut shared = Shared::default();
        let mut hosts = Vec::with_capacity(self.hosts.len());
        for of_host in listed.chunk_by(|a, b| a.0 == b.0) {
            let index = of_host[0].0;
            let direct: Vec<u32> = of_host.iter().map(|(_, group, _)| *group).collect();
            for group in &direct {
                groups[*group as usize].hosts.push(index);
            }
            let membership = match memberships.get(&direct) {
                Some(membership) => Arc::clone(membership),
                None => {
                    let all = relations
                        .with_ancestors(&direct, |group| Arc::clone(&groups[group as usize].name))
                        .map_err(|tangle| self.tangle(tangle, &children))?;
                    let of_groups = all.iter().map(|group| &groups[*group as usize].vars);
                    let layers = std::iter::once(&top)
                        .chain(of_groups)
                        .filter(|vars| !vars.is_empty());
                    let reach = self.reached(&all)?;
                    let membership = Arc::new(Membership {
                        ssh: reach.ssh().map(|ssh| shared.intern(ssh)),
                        reach,
                        layers: layers.cloned().collect(),
                        groups: all
                            .iter()
                            .map(|group| Arc::clone(&groups[*group as usize].name))
                            .collect(),
                    });
                    memberships.insert(direct, Arc::clone(&membership));
                    membership
                }
            };
            hosts.push(self.resolve(index, membership, &mut shared)?);
        }
        let policy = self
            .policy
            .take()
            .map(|(value, spot)| (value, self.place(spot)));
        Ok(Inventory {
            hosts,
            groups,
            host_index: self.host_index,
            group_index: self.group_index,
            policy,
        })
    }

    /// How hosts in these groups are reached; `groups` are outermost first.
    fn reached(&self, groups: &[u32]) -> Result<Reach, Error> {
        let drafts = groups
            .iter()
            .map(|group| &self.groups[*group as usize].reach);
        let mut reach = self.reach.reach.clone();
        let mut ssh = self.reach.ssh();
        for draft in drafts {
            reach.overlay(&draft.reach);
            ssh = draft.ssh().or(ssh);
        }
        match ssh {
            Some(spot) if reach.transport.is_none() => Err(self.no_transport(spot)),
            _ => Ok(reach),
        }
    }

    /// Settings of SSH that nothing would ever use are a slip.
    fn no_transport(&self, spot: Spot) -> Error {
        Error::BadValue {
            at: self.place(spot),
            what: "the transport of hosts with ssh settings".to_owned(),
            expected: "given, with transport: ssh",
            found: "left out".to_owned(),
        }
    }

    fn resolve(
        &self,
        host: u32,
        membership: Arc<Membership>,
        shared: &mut Shared,
    ) -> Result<Host, Error> {
        let draft = &self.hosts[host as usize];
        let settings = draft
            .settings
            .and_then(|entry| self.entries[entry as usize].settings.as_ref());
        let ssh = match settings.map(|settings| &settings.reach) {
            Some((own, spot)) if own.transport.is_some() || own.has_ssh() => {
                let mut reach = membership.reach.clone();
                reach.overlay(own);
                if let (Some(spot), None) = (spot, reach.transport) {
                    return Err(self.no_transport(*spot));
                }
                reach.ssh().map(|ssh| shared.intern(ssh))
            }
            _ => membership.ssh.clone(),
        };
        Ok(Host {
            name: Arc::clone(&draft.name),
            address: Arc::clone(draft.address.as_ref().unwrap_or(&draft.name)),
            zone: settings.and_then(|settings| settings.zone.clone()),
            membership,
            vars: settings.and_then(|settings| settings.vars.clone()),
            port: settings
                .and_then(|settings| settings.port)
                .unwrap_or(DEFAULT_PORT),
            ssh,
        })
    }

    fn check_clashes(&self, listed: &[(u32, u32, u32)]) -> Result<(), Error> {
        for group in &self.groups {
            let Some(&host) = self.host_index.get(&group.name) else {
                continue;
            };
            let entry = listed.iter().find(|(listed, ..)| *listed == host);
            let at = entry.map_or(group.spot, |(.., entry)| self.entries[*entry as usize].spot);
            return Err(Error::NameClash {
                at: self.place(at),
                name: group.name.to_string(),
                group: self.place(group.spot),
            });
        }
        Ok(())
    }

    /// The children of each group as numbers, each once.
    fn children(&self) -> Result<Vec<Vec<u32>>, Error> {
        let mut all = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let mut children = Vec::with_capacity(group.children.len());
            for (name, spot) in &group.children {
                let Some(&child) = self.group_index.get(name.as_str()) else {
                    return Err(Error::UnknownGroup {
                        at: self.place(*spot),
                        group: name.clone(),
                        close: suggest::close(name, self.groups.iter().map(|group| &*group.name)),
                    });
                };
                children.push(child);
            }
            let mut seen = std::collections::HashSet::new();
            children.retain(|child| seen.insert(*child));
            all.push(children);
        }
        Ok(all)
    }

    fn tangle(&self, tangle: Tangle, children: &[Vec<u32>]) -> Error {
        let name = |group: u32| self.groups[group as usize].name.to_string();
        let place = |group: u32| self.place(self.groups[group as usize].spot);
        match tangle {
            Tangle::Cycle(path) => {
                // The path is never empty: a group that is its own child is a cycle of one.
                let (closing, child) = path.last().copied().unwrap_or_default();
                let mut names: Vec<String> = path.iter().map(|(group, _)| name(*group)).collect();
                names.extend(path.first().map(|(group, _)| name(*group)));
                let wanted = &self.groups[children[closing as usize][child] as usize].name;
                let mut written = self.groups[closing as usize].children.iter();
                let at = written
                    .find(|(name, _)| **name == **wanted)
                    .map(|(_, spot)| self.place(*spot));
                Error::Cycle {
                    at: at.unwrap_or_else(|| place(closing)),
                    path: names,
                }
            }
            Tangle::Deep(group) => Error::GroupsTooNested {
                at: place(group),
                reason: format!(
                    "{} lies more than {} groups deep",
                    name(group),
                    limits::GROUP_DEPTH
                ),
            },
            Tangle::Links => Error::GroupsTooNested {
                at: place(0),
                reason: format!(
                    "the hosts' groups have more than {} parents in all",
                    limits::GROUP_LINKS
                ),
            },
        }
    }
}

fn plain(vars: BTreeMap<String, (Value, Spot)>) -> Vars {
    vars.into_iter()
        .map(|(name, (value, _))| (name, value))
        .collect()
}
