//! Hosts are made of their entries: each once, with the groups that list it and the variables that entries give it.
//!
//! This is where an entry for a host that is there already is told from one that must not be there.

use std::collections::{HashMap, HashSet, hash_map};
use std::sync::Arc;

use super::{Builder, Entry, Names, Said, Settings};
use crate::error::Error;
use crate::place::Spot;
use crate::value::Value;
use crate::vars::{Var, Vars};

/// A host as its entries have it.
pub(super) struct HostDraft {
    pub name: Arc<str>,
    pub address: Option<Arc<str>>,
    /// The native entry that carries the host's settings.
    pub settings: Option<u32>,
    /// The variables that entries set.
    pub vars: Option<Arc<Vars>>,
    /// The first entry that lists the host.
    pub first: u32,
    /// Whether a source of Ansible's lists it, so that connection variables count.
    pub ansible: bool,
}

/// (host, group, entry).
pub(super) type Listed = (u32, u32, u32);

/// All hosts, and which entry lists which host under which group.
#[derive(Default)]
pub(super) struct Hosts {
    pub drafts: Vec<HostDraft>,
    pub index: HashMap<Arc<str>, u32>,
    /// In the order of the entries, then, once [`distinct`], in that of hosts and groups.
    pub listed: Vec<Listed>,
}

impl Hosts {
    fn host(&mut self, name: Arc<str>, entry: u32) -> (u32, bool) {
        let host = self.drafts.len() as u32;
        match self.index.entry(name) {
            hash_map::Entry::Occupied(known) => (*known.get(), false),
            hash_map::Entry::Vacant(free) => {
                self.drafts.push(HostDraft {
                    name: Arc::clone(free.key()),
                    address: None,
                    settings: None,
                    vars: None,
                    first: entry,
                    ansible: false,
                });
                free.insert(host);
                (host, true)
            }
        }
    }
}

/// Two sets of variables are merged once for a whole range of hosts that have them.
#[derive(Default)]
struct Merge(Option<(Arc<Vars>, Arc<Vars>, Arc<Vars>)>);

impl Merge {
    fn over(&mut self, first: &mut Option<Arc<Vars>>, over: Arc<Vars>) {
        let Some(under) = first else {
            *first = Some(over);
            return;
        };
        if let Some((a, b, both)) = &self.0
            && Arc::ptr_eq(a, under)
            && Arc::ptr_eq(b, &over)
        {
            *first = Some(Arc::clone(both));
            return;
        }
        let both = under.overlaid(&over);
        self.0 = Some((Arc::clone(under), over, Arc::clone(&both)));
        *first = Some(both);
    }
}

/// Makes the hosts of all entries.
pub(super) fn expand(builder: &mut Builder) -> Result<Hosts, Error> {
    let mut hosts = Hosts::default();
    let count = usize::try_from(builder.count).unwrap_or(0);
    hosts.listed.reserve_exact(count);
    hosts.index.reserve(count.min(builder.entries.len()));
    let port_name = builder.word("ansible_port");
    let mut merge = Merge::default();
    for number in 0..builder.entries.len() {
        let entry = &mut builder.entries[number];
        // Only the hosts need them from here on; a host of its own takes them over without being counted.
        let mut vars = match &mut entry.said {
            Said::Native(_) => None,
            Said::Ansible { vars, .. } => vars.take(),
        };
        let is_one = matches!(entry.names, Names::One(_));
        let builder = &*builder;
        let entry = &builder.entries[number];
        let number = number as u32;
        let (settings, port) = match &entry.said {
            Said::Native(settings) => (settings.as_deref(), None),
            Said::Ansible { port, .. } => (None, *port),
        };
        let port = port.and_then(|port| port_var(&port_name, port, entry.spot));
        let mut addresses = settings
            .and_then(|settings| settings.address.as_ref())
            .map(|(addresses, _)| addresses.names());
        each(&entry.names, |name| {
            if &*name == "all" {
                return Err(named_all(builder, entry.spot, &name));
            }
            let (host, new) = hosts.host(name, number);
            if let Some(group) = entry.group {
                hosts.listed.push((host, group, number));
            }
            let draft = &mut hosts.drafts[host as usize];
            draft.ansible |= matches!(entry.said, Said::Ansible { .. });
            if let Some(settings) = settings {
                draft.address = addresses.as_mut().and_then(Iterator::next).map(Into::into);
                if let Some(first) = draft.settings.replace(number) {
                    let name = Arc::clone(&draft.name);
                    return Err(settings_twice(builder, &name, first, number));
                }
                if let Some(vars) = &settings.vars {
                    merge.over(&mut draft.vars, Arc::clone(vars));
                }
            }
            if let Some(port) = port.as_ref().filter(|_| new) {
                merge.over(&mut draft.vars, Arc::clone(port));
            }
            let vars = if is_one { vars.take() } else { vars.clone() };
            if let Some(vars) = vars {
                merge.over(&mut draft.vars, vars);
            }
            Ok(())
        })?;
    }
    Ok(hosts)
}

fn each(names: &Names, mut of: impl FnMut(Arc<str>) -> Result<(), Error>) -> Result<(), Error> {
    match names {
        Names::One(name) => of(Arc::clone(name)),
        Names::Range(template) => template.names().try_for_each(|name| of(name.into())),
    }
}

fn port_var(name: &Arc<str>, port: u16, spot: Spot) -> Option<Arc<Vars>> {
    Vars::new(vec![Var {
        name: Arc::clone(name),
        value: Value::Int(port.into()),
        spot,
    }])
}

/// Puts the list in order of host and group, leaves out what Ansible lets a source repeat, and refuses what it does not.
/// The hosts of each group come out in the order of the entries.
pub(super) fn distinct(builder: &Builder, hosts: &mut Hosts) -> Result<Vec<Vec<u32>>, Error> {
    let mut members = vec![Vec::new(); builder.groups.len()];
    for (host, group, _) in &hosts.listed {
        members[*group as usize].push(*host);
    }
    let listed = &mut hosts.listed;
    listed.sort_unstable();
    let strict = |entry: u32| matches!(builder.entries[entry as usize].said, Said::Native(_));
    let same = |a: &Listed, b: &Listed| (a.0, a.1) == (b.0, b.1);
    let twice = listed.windows(2).filter(|pair| same(&pair[0], &pair[1]));
    let refused = twice.clone().filter(|pair| strict(pair[1].2));
    if let Some(pair) = refused.min_by_key(|pair| (pair[1].2, pair[1].0)) {
        let name = &hosts.drafts[pair[0].0 as usize].name;
        return Err(listed_twice(builder, name, pair[0].2, pair[1].2));
    }
    let repeated: HashSet<u32> = twice.map(|pair| pair[0].1).collect();
    for group in repeated {
        let mut seen = HashSet::new();
        members[group as usize].retain(|host| seen.insert(*host));
    }
    listed.dedup_by(|later, kept| same(later, kept));
    Ok(members)
}

fn settings_twice(builder: &Builder, host: &str, first: u32, second: u32) -> Error {
    let entry = |number: u32| -> &Entry { &builder.entries[number as usize] };
    if entry(first).group == entry(second).group {
        return listed_twice(builder, host, first, second);
    }
    Error::ConflictingSettings {
        at: builder.place(entry(second).spot),
        host: host.to_owned(),
        first: builder.place(entry(first).spot),
    }
}

fn listed_twice(builder: &Builder, host: &str, first: u32, second: u32) -> Error {
    let second = &builder.entries[second as usize];
    let group = second.group.map(|group| &builder.groups[group as usize]);
    Error::DuplicateHost {
        at: builder.place(second.spot),
        host: host.to_owned(),
        group: group.map_or("all", |group| &*group.name).to_owned(),
        first: builder.place(builder.entries[first as usize].spot),
    }
}

fn named_all(builder: &Builder, spot: Spot, name: &str) -> Error {
    Error::BadName {
        at: builder.place(spot),
        what: "host name",
        name: name.to_owned(),
        reason: "'all' means every host",
        next: "rename the host",
    }
}

/// The settings of the native entry that has them.
pub(super) fn settings(builder: &Builder, entry: Option<u32>) -> Option<&Settings> {
    match &builder.entries[entry? as usize].said {
        Said::Native(settings) => settings.as_deref(),
        Said::Ansible { .. } => None,
    }
}
