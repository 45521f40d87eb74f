//! The inventory as it is used: hosts with their settings, groups with their members, variables resolved.
//!
//! Whatever file format was read, this is what comes out, checked and immutable. Hosts keep the order of the files. What
//! many hosts share (names of groups, variables, settings of a range) is stored once. It knows nothing of YAML.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::error::Error;
use crate::input::Input;
use crate::place::{Place, Position};
use crate::value::Value;
use crate::vars::Vars;

/// The port of an agent whose entry names none.
pub const DEFAULT_PORT: u16 = 7400;

/// How a controller reaches the agent of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// gRPC over mutually authenticated TLS.
    #[default]
    Grpc,
    /// The same gRPC inside one SSH connection; [`Host::ssh`] says how it is made.
    Ssh,
}

impl Transport {
    /// The name in inventories.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Grpc => "grpc",
            Transport::Ssh => "ssh",
        }
    }

    /// The transport of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Transport> {
        [Transport::Grpc, Transport::Ssh]
            .into_iter()
            .find(|transport| transport.as_str() == name)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the SSH connection to a host is made. What is not set here is for `ssh_config` and its defaults to say.
///
/// The host to connect to is [`Host::address`], which is meant as an alias of `ssh_config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Ssh {
    /// The user to log in as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The TCP port of the SSH server, 1 to 65535; not that of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// A private key, or the public half of one that the ssh-agent holds. A `~` in front is not yet replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_file: Option<PathBuf>,
    /// Further arguments as after `ssh` on a command line, already split into words as a shell would.
    #[serde(rename = "args", skip_serializing_if = "Vec::is_empty")]
    pub common_args: Vec<String>,
}

/// The groups of a host and their variables; shared by all hosts in the same groups.
#[derive(Debug)]
pub(crate) struct Membership {
    /// Groups that contain the host, directly or through children, outermost first.
    pub groups: Vec<Arc<str>>,
    /// Variables, in the order in which later ones override earlier ones.
    pub layers: Vec<Arc<Vars>>,
}

/// One node that patches can go to.
#[derive(Clone, Debug)]
pub struct Host {
    pub(crate) name: Arc<str>,
    pub(crate) address: Arc<str>,
    pub(crate) zone: Option<Arc<str>>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) vars: Option<Arc<Vars>>,
    pub(crate) port: u16,
    /// Present if and only if the transport is SSH; shared by hosts with the same settings.
    pub(crate) ssh: Option<Arc<Ssh>>,
    pub(crate) elsewhere: Option<Arc<Elsewhere>>,
}

/// What Ansible would reach a host by, where that is not SSH.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    pub at: Position,
    /// As an error says it after "is".
    pub connection: String,
}

/// A variable whose value `ansible-vault` has encrypted: it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedVariable {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is set.
    pub at: Position,
}

impl Host {
    /// The name, unique in the inventory.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A DNS name or an IP address (IPv6 without brackets); the name if the entry gives no address. With
    /// [`Transport::Ssh`] this is what `ssh` would be given as the host, so that `ssh_config` applies to it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The TCP port of the agent; [`DEFAULT_PORT`] if the entry gives none. With [`Transport::Ssh`] it is the port that
    /// the agent listens on at the node itself; the port of the SSH server is in [`ssh`](Self::ssh).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How the agent is reached.
    #[must_use]
    pub fn transport(&self) -> Transport {
        match self.ssh {
            Some(_) => Transport::Ssh,
            None => Transport::Grpc,
        }
    }

    /// How the SSH connection is made; `None` unless the transport is [`Transport::Ssh`].
    #[must_use]
    pub fn ssh(&self) -> Option<&Ssh> {
        self.ssh.as_deref()
    }

    /// Refuses a host that Ansible would not reach by SSH, as `ansible_connection` says, and that nothing says another
    /// transport of. Such a host is in the inventory like any other; whoever wants to connect to one asks this first.
    ///
    /// # Errors
    ///
    /// [`Error::NotBySsh`].
    pub fn reachable(&self) -> Result<(), Error> {
        match &self.elsewhere {
            None => Ok(()),
            Some(elsewhere) => Err(Error::NotBySsh {
                at: elsewhere.at.clone(),
                host: self.name.to_string(),
                connection: elsewhere.connection.clone(),
            }),
        }
    }

    /// The failure domain, for waves that spread over zones.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The groups that contain this host, directly or through children: outermost first, then by priority, then by name.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &str> {
        self.membership.groups.iter().map(|name| &**name)
    }

    /// The variable that is in force: the host's own, else that of the deepest group, else that of the file.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<&Value> {
        let own = self.vars.as_ref().and_then(|vars| vars.get(name));
        own.or_else(|| {
            self.membership
                .layers
                .iter()
                .rev()
                .find_map(|vars| vars.get(name))
        })
    }

    /// All variables in force, by name.
    #[must_use]
    pub fn vars(&self) -> BTreeMap<&str, &Value> {
        let layers = self.membership.layers.iter().chain(&self.vars);
        layers
            .flat_map(|vars| vars.iter().map(|var| (&*var.name, &var.value)))
            .collect()
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut host = serializer.serialize_struct("Host", 8)?;
        host.serialize_field("name", self.name())?;
        host.serialize_field("address", self.address())?;
        host.serialize_field("port", &self.port)?;
        host.serialize_field("transport", self.transport().as_str())?;
        match self.ssh() {
            Some(ssh) => host.serialize_field("ssh", ssh)?,
            None => host.skip_field("ssh")?,
        }
        host.serialize_field("zone", &self.zone())?;
        host.serialize_field("groups", &self.groups().collect::<Vec<_>>())?;
        host.serialize_field("vars", &self.vars())?;
        host.end()
    }
}

/// A named set of hosts and of other groups.
#[derive(Debug)]
pub struct Group {
    pub(crate) name: Arc<str>,
    pub(crate) children: Vec<u32>,
    pub(crate) hosts: Vec<u32>,
    pub(crate) vars: Arc<Vars>,
}

impl Group {
    /// The name, unique among groups and hosts.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The variables set at this group, not those of its parents.
    #[must_use]
    pub fn vars(&self) -> BTreeMap<&str, &Value> {
        let vars = self.vars.iter();
        vars.map(|var| (&*var.name, &var.value)).collect()
    }
}

/// All hosts and groups. Immutable; cheap to share behind an `Arc`.
#[derive(Debug, Default)]
pub struct Inventory {
    pub(crate) hosts: Vec<Host>,
    pub(crate) groups: Vec<Group>,
    pub(crate) host_index: HashMap<Arc<str>, u32>,
    pub(crate) group_index: HashMap<Arc<str>, u32>,
    /// Groups that no other group contains, or that are listed under `all`.
    pub(crate) roots: Vec<u32>,
    /// Files of variables that are encrypted as a whole.
    pub(crate) sealed: Vec<PathBuf>,
    /// Other variables that are.
    pub(crate) sealed_variables: Vec<SealedVariable>,
    pub(crate) policy: Option<(Value, Box<Place>)>,
    /// Whether patterns come from others, who must not have files read.
    pub(crate) refuses_lists: bool,
}

impl Inventory {
    /// Reads files, folders and programs as one inventory, in the order given. A group may be continued in a later one.
    /// `docs/inventory.md` says how the format of each is told.
    ///
    /// # Errors
    ///
    /// The first error in the order of the files; what needs all files (duplicate hosts, unknown groups, cycles) is
    /// checked after the last. Files of more than [`limits::FILE_BYTES`](crate::limits::FILE_BYTES) together are refused.
    pub fn load(paths: &[PathBuf]) -> Result<Inventory, Error> {
        let inputs: Vec<Input> = paths.iter().cloned().map(Input::Path).collect();
        Inventory::read(&inputs)
    }

    /// Reads whatever there is to read as one inventory, in the order given.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn read(inputs: &[Input]) -> Result<Inventory, Error> {
        crate::sources::read(inputs)
    }

    /// Reads the text of one native YAML file; `file_name` is what errors call it.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), but for the reading of files and their size.
    pub fn parse(text: &str, file_name: &str) -> Result<Inventory, Error> {
        crate::sources::parse_native(text, file_name)
    }

    /// Reads the text of one file of any format, told as for [`load`](Self::load) by the end of `file_name` and by its first
    /// words. Nothing is run, and no variables are looked for in files beside it.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), but for the reading of files and their size.
    pub fn parse_any(text: &str, file_name: &str) -> Result<Inventory, Error> {
        crate::sources::parse(text, file_name)
    }

    /// All hosts, in the order of the files.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host of that exact name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.host_index
            .get(name)
            .map(|index| &self.hosts[*index as usize])
    }

    /// All groups, in the order of the files.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The group of that exact name.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.group_index
            .get(name)
            .map(|index| &self.groups[*index as usize])
    }

    /// The groups that a group names as its children, in the order of the files.
    pub fn children<'a>(&'a self, group: &'a Group) -> impl ExactSizeIterator<Item = &'a Group> {
        group
            .children
            .iter()
            .map(|index| &self.groups[*index as usize])
    }

    /// The hosts listed at the group itself, in the order of the files.
    pub fn direct_members<'a>(
        &'a self,
        group: &'a Group,
    ) -> impl ExactSizeIterator<Item = &'a Host> {
        group.hosts.iter().map(|index| &self.hosts[*index as usize])
    }

    /// The hosts of a group and of all groups in it, each once, in the order of the files.
    #[must_use]
    pub fn members(&self, group: &Group) -> Vec<&Host> {
        let mut indices = Vec::new();
        self.visit_members(group, |index| indices.push(index));
        indices.sort_unstable();
        indices.dedup();
        indices
            .into_iter()
            .map(|index| &self.hosts[index as usize])
            .collect()
    }

    /// Calls `found` for the index of every member; more than once for a host under several of the groups.
    pub(crate) fn visit_members(&self, group: &Group, mut found: impl FnMut(u32)) {
        let mut seen = HashSet::new();
        let mut waiting = vec![group];
        while let Some(group) = waiting.pop() {
            group.hosts.iter().copied().for_each(&mut found);
            let new = group.children.iter().filter(|child| seen.insert(**child));
            waiting.extend(new.map(|child| &self.groups[*child as usize]));
        }
    }

    /// Files of variables that `ansible-vault` has encrypted as a whole: what they set is not known.
    #[must_use]
    pub fn sealed(&self) -> &[PathBuf] {
        &self.sealed
    }

    /// Variables that `ansible-vault` has encrypted, wholly or in part, each where it is set, in the order of the sources.
    #[must_use]
    pub fn sealed_variables(&self) -> &[SealedVariable] {
        &self.sealed_variables
    }

    /// The mapping under `policy`, as it was parsed. The inventory reads no meaning into it.
    #[must_use]
    pub fn policy(&self) -> Option<&Value> {
        self.policy.as_ref().map(|(value, _)| value)
    }

    /// Where the policy stands, for errors that the reader of the policy reports.
    #[must_use]
    pub fn policy_place(&self) -> Option<&Place> {
        self.policy.as_ref().map(|(_, place)| &**place)
    }
}

/// The hosts in the order of the files, and the groups by name with their children, own hosts and own variables.
impl Serialize for Inventory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let groups: BTreeMap<&str, GroupView<'_>> = self
            .groups
            .iter()
            .map(|group| (group.name(), GroupView(self, group)))
            .collect();
        let mut inventory = serializer.serialize_struct("Inventory", 2)?;
        inventory.serialize_field("hosts", &self.hosts)?;
        inventory.serialize_field("groups", &groups)?;
        inventory.end()
    }
}

struct GroupView<'a>(&'a Inventory, &'a Group);

impl Serialize for GroupView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let GroupView(inventory, group) = self;
        let mut view = serializer.serialize_struct("Group", 3)?;
        view.serialize_field(
            "children",
            &inventory
                .children(group)
                .map(Group::name)
                .collect::<Vec<_>>(),
        )?;
        view.serialize_field(
            "hosts",
            &inventory
                .direct_members(group)
                .map(Host::name)
                .collect::<Vec<_>>(),
        )?;
        view.serialize_field("vars", &group.vars())?;
        view.end()
    }
}
