//! The last step of a [`Builder`]: groups are related, hosts get their groups, variables and connections.
//!
//! Groups are checked first: that costs little, and hosts can be very many. What hosts in the same groups have in common
//! is worked out once for all of them.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use super::adjacent::Files;
use super::hosts::{self, Hosts};
use super::{Builder, VarsDraft, sealed};
use crate::ansible::connection::Connection;
use crate::error::Error;
use crate::limits;
use crate::model::{DEFAULT_PORT, Elsewhere, Group, Host, Inventory, Membership, Ssh};
use crate::place::Spot;
use crate::reach::Reach;
use crate::relations::{Relations, Tangle};
use crate::suggest;
use crate::vars::Vars;

pub(super) fn finish(mut builder: Builder) -> Result<Inventory, Error> {
    let children = children(&builder)?;
    let mut relations =
        Relations::new(&children).map_err(|tangle| refused(&builder, tangle, &children))?;
    let mut hosts = hosts::expand(&mut builder)?;
    let mut members = hosts::distinct(&builder, &mut hosts)?;
    check_clashes(&builder, &hosts)?;
    let files = super::adjacent::read(&mut builder, &hosts)?;

    let mut groups = Vec::with_capacity(builder.groups.len());
    for (draft, children) in builder.groups.iter_mut().zip(&children) {
        groups.push(Group {
            name: Arc::clone(&draft.name),
            children: children.clone(),
            hosts: Vec::new(),
            vars: std::mem::take(&mut draft.vars).take(),
        });
    }
    let mut resolver = Resolver {
        top: std::mem::take(&mut builder.vars).take(),
        builder: &builder,
        children: &children,
        relations: &mut relations,
        groups: &groups,
        files: &files,
        memberships: HashMap::new(),
        last: None,
        shared: Shared::default(),
    };
    let mut of_hosts = Vec::with_capacity(hosts.drafts.len());
    let mut listed = hosts.listed.iter().peekable();
    let mut direct: Vec<u32> = Vec::new();
    for index in 0..hosts.drafts.len() as u32 {
        direct.clear();
        while let Some((_, group, _)) = listed.next_if(|(host, ..)| *host == index) {
            direct.push(*group);
        }
        if let Some(ungrouped) = builder.ungrouped {
            reconcile(ungrouped, index, &mut direct, &mut members);
        }
        of_hosts.push(resolver.host(index, &hosts, &direct)?);
    }
    let commons = std::mem::take(&mut resolver.memberships);
    if let Some(ungrouped) = builder.ungrouped {
        let name = &groups[ungrouped as usize].name;
        let stays = |host: &u32| of_hosts[*host as usize].membership.groups.first() == Some(name);
        members[ungrouped as usize].retain(stays);
    }
    for (index, (group, members)) in groups.iter_mut().zip(members).enumerate() {
        group.hosts = members;
        group.vars = files.of_group(index as u32, &group.vars);
    }
    let roots = roots(&builder, &children);
    let sets = { groups.iter().map(|group| &group.vars) }
        .chain(
            commons
                .values()
                .flat_map(|common| &common.membership.layers),
        )
        .chain(of_hosts.iter().filter_map(|host| host.vars.as_ref()));
    let sealed_variables = sealed::variables(&builder.files, sets);
    let policy = builder.policy.take();
    Ok(Inventory {
        hosts: of_hosts,
        roots,
        groups,
        host_index: hosts.index,
        group_index: std::mem::take(&mut builder.group_index),
        sealed: files.sealed,
        sealed_variables,
        policy: policy.map(|(value, spot)| (value, builder.files.place(spot))),
        refuses_lists: false,
    })
}

/// A host that no group lists is in Ansible's `ungrouped`, and one that another group lists is not.
fn reconcile(ungrouped: u32, host: u32, direct: &mut Vec<u32>, members: &mut [Vec<u32>]) {
    if direct.is_empty() {
        direct.push(ungrouped);
        members[ungrouped as usize].push(host);
    } else if direct.len() > 1 {
        direct.retain(|group| *group != ungrouped);
    }
}

impl VarsDraft {
    fn take(self) -> Arc<Vars> {
        Vars::new(self.vars).unwrap_or_default()
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

/// What hosts in the same groups have in common.
struct Common {
    membership: Arc<Membership>,
    /// The native settings.
    reach: Reach,
    ssh: Option<Arc<Ssh>>,
    /// Ansible's connection variables.
    connection: Connection,
    /// What follows from both for hosts that set none of these themselves.
    connected: OnceCell<Reached>,
}

/// How a host is reached.
#[derive(Clone)]
struct Reached {
    ssh: Option<Arc<Ssh>>,
    elsewhere: Option<Arc<Elsewhere>>,
}

struct Resolver<'b> {
    builder: &'b Builder,
    children: &'b [Vec<u32>],
    relations: &'b mut Relations,
    groups: &'b [Group],
    files: &'b Files,
    top: Arc<Vars>,
    memberships: HashMap<Vec<u32>, Rc<Common>>,
    /// What the host before had: the next one is mostly in the same groups.
    last: Option<(Vec<u32>, Rc<Common>)>,
    shared: Shared,
}

impl Resolver<'_> {
    fn host(&mut self, index: u32, hosts: &Hosts, direct: &[u32]) -> Result<Host, Error> {
        let common = match &self.last {
            Some((groups, common)) if groups == direct => Rc::clone(common),
            _ => {
                let common = self.common(direct)?;
                self.last = Some((direct.to_vec(), Rc::clone(&common)));
                common
            }
        };
        let draft = &hosts.drafts[index as usize];
        let settings = hosts::settings(self.builder, draft.settings);
        let vars = self.files.of_host(index, draft.vars.as_ref());
        let mut host = Host {
            name: Arc::clone(&draft.name),
            address: Arc::clone(&draft.name),
            zone: None,
            membership: Arc::clone(&common.membership),
            vars,
            port: DEFAULT_PORT,
            ssh: common.ssh.clone(),
            elsewhere: None,
        };
        let own = settings.map(|settings| &settings.reach);
        let own = own.filter(|(own, _)| own.transport.is_some() || own.has_ssh());
        if draft.ansible {
            let own = own.map(|(own, _)| own);
            self.connect(&common, own, draft.first, &mut host)?;
        } else if let Some((own, spot)) = own {
            let mut reach = common.reach.clone();
            reach.overlay(own);
            if let (Some(spot), None) = (spot, reach.transport) {
                return Err(no_transport(self.builder, *spot));
            }
            host.ssh = reach.ssh().map(|ssh| self.shared.intern(ssh));
        }
        if let Some(address) = &draft.address {
            host.address = Arc::clone(address);
        }
        if let Some(settings) = settings {
            host.port = settings.port.unwrap_or(host.port);
            host.zone = settings.zone.clone().or(host.zone);
        }
        Ok(host)
    }

    /// Applies Ansible's connection variables, and over them what native sources say.
    fn connect(
        &mut self,
        common: &Common,
        own: Option<&Reach>,
        first: u32,
        host: &mut Host,
    ) -> Result<(), Error> {
        let files = &self.builder.files;
        let source = self.builder.entries[first as usize].spot.source;
        let values = common.connection.of_host(host, source, files);
        let (address, port, zone) = (values.address()?, values.agent_port()?, values.zone()?);
        let known = common.connected.get();
        let reached = match known.filter(|_| own.is_none() && values.shared()) {
            Some(known) => known.clone(),
            None => {
                let mut reach = values.reach()?;
                reach.overlay(&common.reach);
                if let Some(own) = own {
                    reach.overlay(own);
                }
                // What native sources say of the transport counts before any variable.
                let is_told = |reach: &Reach| reach.transport.is_some();
                let reached = Reached {
                    ssh: reach.ssh().map(|ssh| self.shared.intern(ssh)),
                    elsewhere: match is_told(&common.reach) || own.is_some_and(is_told) {
                        true => None,
                        false => values.elsewhere(),
                    },
                };
                if own.is_none() && values.shared() {
                    common.connected.get_or_init(|| reached.clone());
                }
                reached
            }
        };
        host.address = address.unwrap_or_else(|| Arc::clone(&host.address));
        host.port = port.unwrap_or(host.port);
        host.zone = zone.or_else(|| host.zone.take());
        host.ssh = reached.ssh;
        host.elsewhere = reached.elsewhere;
        Ok(())
    }

    fn common(&mut self, direct: &[u32]) -> Result<Rc<Common>, Error> {
        if let Some(common) = self.memberships.get(direct) {
            return Ok(Rc::clone(common));
        }
        let builder = self.builder;
        let rank = |group: u32| {
            let draft = &builder.groups[group as usize];
            (draft.priority, Arc::clone(&draft.name))
        };
        let all = self
            .relations
            .with_ancestors(direct, rank)
            .map_err(|tangle| refused(builder, tangle, self.children))?;
        let of_groups = all.iter().map(|group| &self.groups[*group as usize].vars);
        let written = std::iter::once(&self.top).chain(of_groups).cloned();
        let layers: Vec<Arc<Vars>> = written
            .chain(self.files.of_groups(&all))
            .filter(|vars| vars.iter().len() > 0)
            .collect();
        let reach = self.reached(&all)?;
        let names = all
            .iter()
            .map(|group| Arc::clone(&self.groups[*group as usize].name));
        let common = Rc::new(Common {
            ssh: reach.ssh().map(|ssh| self.shared.intern(ssh)),
            connection: Connection::of_layers(&layers),
            connected: OnceCell::new(),
            membership: Arc::new(Membership {
                groups: names.collect(),
                layers,
            }),
            reach,
        });
        self.memberships.insert(direct.to_vec(), Rc::clone(&common));
        Ok(common)
    }

    /// How hosts in these groups are reached; `groups` are outermost first.
    fn reached(&self, groups: &[u32]) -> Result<Reach, Error> {
        let drafts = groups
            .iter()
            .map(|group| &self.builder.groups[*group as usize].reach);
        let mut reach = self.builder.reach.reach.clone();
        let mut ssh = self.builder.reach.ssh();
        for draft in drafts {
            reach.overlay(&draft.reach);
            ssh = draft.ssh().or(ssh);
        }
        match ssh {
            Some(spot) if reach.transport.is_none() => Err(no_transport(self.builder, spot)),
            _ => Ok(reach),
        }
    }
}

/// Settings of SSH that nothing would ever use are a slip.
fn no_transport(builder: &Builder, spot: Spot) -> Error {
    Error::BadValue {
        at: builder.place(spot),
        what: "the transport of hosts with ssh settings".to_owned(),
        expected: "given, with transport: ssh",
        found: "left out".to_owned(),
    }
}

fn check_clashes(builder: &Builder, hosts: &Hosts) -> Result<(), Error> {
    for group in &builder.groups {
        let Some(&host) = hosts.index.get(&group.name) else {
            continue;
        };
        let first = hosts.drafts[host as usize].first;
        return Err(Error::NameClash {
            at: builder.place(builder.entries[first as usize].spot),
            name: group.name.to_string(),
            group: builder.place(group.spot),
        });
    }
    Ok(())
}

/// The children of each group as numbers, each once.
fn children(builder: &Builder) -> Result<Vec<Vec<u32>>, Error> {
    let mut all = Vec::with_capacity(builder.groups.len());
    for group in &builder.groups {
        let mut children = Vec::with_capacity(group.children.len());
        for (name, spot) in &group.children {
            let Some(child) = builder.known(name) else {
                let names = builder.groups.iter().map(|group| &*group.name);
                return Err(Error::UnknownGroup {
                    at: builder.place(*spot),
                    group: name.to_string(),
                    close: suggest::close(name, names),
                });
            };
            children.push(child);
        }
        let mut seen = HashSet::new();
        children.retain(|child| seen.insert(*child));
        all.push(children);
    }
    Ok(all)
}

/// The groups directly under `all`: those listed there, then those that no group contains.
fn roots(builder: &Builder, children: &[Vec<u32>]) -> Vec<u32> {
    let mut below = vec![false; children.len()];
    let linked = children.iter().flatten().chain(&builder.roots);
    linked.for_each(|group| below[*group as usize] = true);
    let free = (0..children.len() as u32).filter(|group| !below[*group as usize]);
    builder.roots.iter().copied().chain(free).collect()
}

fn refused(builder: &Builder, tangle: Tangle, children: &[Vec<u32>]) -> Error {
    let name = |group: u32| builder.groups[group as usize].name.to_string();
    let place = |group: u32| builder.place(builder.groups[group as usize].spot);
    match tangle {
        Tangle::Cycle(path) => {
            // The path is never empty: a group that is its own child is a cycle of one.
            let (closing, child) = path.last().copied().unwrap_or_default();
            let mut names: Vec<String> = path.iter().map(|(group, _)| name(*group)).collect();
            names.extend(path.first().map(|(group, _)| name(*group)));
            let wanted = &builder.groups[children[closing as usize][child] as usize].name;
            let mut written = builder.groups[closing as usize].children.iter();
            let at = written
                .find(|(name, _)| **name == **wanted)
                .map(|(_, spot)| builder.place(*spot));
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
