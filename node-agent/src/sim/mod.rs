//! `midflight-agent sim`: a fleet of agents in one process, for benchmarks, to rehearse a policy, and to have something to
//! look at. The agents are real: their service, TLS, verification of signatures, claims and journals are the ones of this
//! crate. Only what they drive is simulated ([`target`]), and where they store ([`memory`]). Read [`scenario`] for how
//! nodes behave, [`script`] for how one node does, [`serve`] for how they are reached.

mod chance;
pub mod cli;
mod files;
pub mod memory;
mod scenario;
mod script;
mod serve;
mod target;

use std::{
    io::{BufWriter, Write as _},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use midflight_proto::peer::Locals;
use rustls::ServerConfig;
use serde_json::json;

use self::{
    chance::Dice,
    files::{Folder, Place},
    memory::{MemoryBlobs, MemoryStorage, Pool},
    scenario::Scenario,
    script::{InTime, OneClock, Script},
    target::SimTarget,
};
use crate::{
    agent::{Agent, Boot, Parts, Verified},
    config::Sys,
    error::Error,
    trust::{Signers, Trust},
};

/// The first node's address; the others follow.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 1);
/// Most nodes: a process may open so many files, each connection being one, and a little more.
pub const MOST: u32 = 50_000;

/// What a fleet is made of.
pub struct Options {
    /// How many nodes.
    pub nodes: usize,
    /// The port of all of them.
    pub port: u16,
    /// Where the files for controllers go.
    pub folder: PathBuf,
    /// Where their Unix sockets are, if they have any.
    pub sockets: Option<Sockets>,
    /// How nodes behave.
    pub scenario: Scenario,
    /// A release of one's own, and who may sign; otherwise both are made.
    pub release: Option<(PathBuf, PathBuf)>,
    /// Vsns of the release that is made: patches lead up to the last.
    pub vsns: u32,
    /// Bytes of the component in each patch.
    pub patch_bytes: usize,
}

/// Unix sockets, one a node.
pub struct Sockets {
    /// An absolute path.
    pub folder: PathBuf,
    /// Who may use them.
    pub locals: Locals,
}

impl Sockets {
    fn path(&self, node: &str) -> PathBuf {
        self.folder.join(format!("{node}.sock"))
    }
}

/// One node.
pub struct Node {
    name: String,
    script: Arc<Script>,
    tls: Arc<ServerConfig>,
    agent: Arc<Agent>,
}

/// A fleet that has booted.
pub struct Fleet {
    nodes: Vec<Arc<Node>>,
    folder: PathBuf,
}

impl Fleet {
    /// Boots all nodes, and writes the files. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Patch`], [`Error::Simulation`], and what the release is refused for.
    pub fn boot(options: &Options) -> Result<Self, Error> {
        let folder = Folder::new(&options.folder)?;
        let (release, allowed_signers) = match &options.release {
            Some(own) => own.clone(),
            None => folder.bundles(options.vsns, options.patch_bytes)?,
        };
        let trust = Trust {
            signers: Signers::read(&allowed_signers)?,
            required: 1,
        };
        let release = Arc::new(Verified::read(&release, &trust, SystemTime::now())?);
        let tls = serve::tls(folder.ca.clone())?;
        let zones: Vec<_> = options
            .scenario
            .zones
            .iter()
            .cloned()
            .map(Arc::new)
            .collect();
        let pool = Arc::new(Pool::default());
        let clock = Arc::new(OneClock::default());
        let digits = options.nodes.to_string().len().max(2);
        let mut nodes = Vec::with_capacity(options.nodes);
        for (number, zone) in (0u64..).zip(options.scenario.places(options.nodes)) {
            let name = format!("n{:0digits$}", number + 1);
            let script = Script::new(
                zones[zone].clone(),
                Dice::new(options.scenario.seed, number),
            );
            let agent = Agent::from_parts(Parts {
                node: name.clone(),
                sys: Sys::Off,
                target: SimTarget::new(script.clone()),
                storage: Box::new(MemoryStorage::default()),
                store: Arc::new(MemoryBlobs::new(pool.clone())),
                trust: trust.clone(),
                worker: Arc::new(InTime(script.clone())),
                boot: Boot::Read(release.clone()),
                clock: clock.clone(),
                data: None,
            })?;
            nodes.push(Arc::new(Node {
                tls: tls(folder.node(&name)?)?,
                name,
                script,
                agent,
            }));
        }
        let places = nodes.iter().zip(0u32..).map(|(node, number)| Place {
            name: &node.name,
            address: address(number),
            zone: &node.script.zone.name,
        });
        folder.inventories(options.port, places, options.sockets.as_ref())?;
        Ok(Self {
            nodes,
            folder: options.folder.clone(),
        })
    }

    /// The node at an address.
    fn find(&self, address: IpAddr) -> Option<Arc<Node>> {
        let IpAddr::V4(address) = address else {
            return None;
        };
        let number = address.to_bits().checked_sub(FIRST.to_bits())?;
        self.nodes.get(usize::try_from(number).ok()?).cloned()
    }

    /// Writes what happened on each node, one JSON object a line: `node`, `clock_ns`, `kind`, `text`.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn write_events(&self, path: &Path) -> Result<(), Error> {
        let write = || {
            let mut out = BufWriter::new(std::fs::File::create(path)?);
            for node in &self.nodes {
                for event in node.agent.events.all() {
                    let line = json!({"node": node.name, "clock_ns": event.clock_ns, "kind": event.kind, "text": event.text});
                    writeln!(out, "{line}")?;
                }
            }
            out.flush()
        };
        write().map_err(Error::io("write", path))
    }
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST.to_bits() + number)
}
