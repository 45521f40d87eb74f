//! What a fleet needs before it starts, as files in the demo's folder: a CA and certificates, a signing key, the inventory
//! with its policy, a configuration for each agent, and signed bundles. Keys are readable by their owner alone.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use midflight_patch::ssh_key::private::{Ed25519Keypair, KeypairData};
use midflight_patch::ssh_key::{LineEnding, PrivateKey};
use midflight_patch::{Bundle, KeyFile};

use crate::demo::place::{AGENT_PORT, Block, ECHO_PORT, Folder, GATEWAY_PORT};
use crate::error::Error;
use crate::pki::{self, Role, Subject};

/// Days that the certificates are valid.
const DAYS: u16 = 2;
/// Who signs, in `allowed_signers`.
const SIGNER: &str = "oncall@demo.invalid";
/// The modules that the demo runs, as files in the folder of built guests.
const MODULES: [&str; 12] = [
    "counter_v1",
    "counter_v2",
    "counter_bad_error",
    "counter_bad_trap",
    "counter_bad_first",
    "greeter_v1",
    "greeter_v2",
    "pi_v1",
    "pi_v2",
    "tcp_demo_v1",
    "tcp_demo_v2",
    "gateway",
];

/// A node of the demo.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name in the inventory.
    pub name: String,
    /// Where its agent and its actors listen.
    pub address: Ipv4Addr,
    /// Its folder, with `agent.yaml` and `agent.log`.
    pub dir: PathBuf,
}

/// The files of a fleet.
pub struct Setup {
    /// The nodes, in the order of the inventory.
    pub nodes: Vec<Node>,
    folder: PathBuf,
    key: KeyFile,
}

impl Setup {
    /// Writes everything that the fleet boots from.
    ///
    /// # Errors
    /// [`Error::Demo`] when a module is not built, [`Error::Io`], and what making keys, certificates and bundles gives.
    pub fn write(
        folder: &Folder,
        block: &Block,
        nodes: usize,
        counters: u32,
        modules: &Path,
    ) -> Result<Self, Error> {
        let dir = folder.path().to_owned();
        copy_modules(modules, &dir.join("modules"))?;
        let key = signing_key(&dir)?;
        let node = |index: usize| {
            let name = node_name(index, nodes);
            Node {
                dir: dir.join("nodes").join(&name),
                address: block.address(index),
                name,
            }
        };
        let setup = Self {
            nodes: (0..nodes).map(node).collect(),
            folder: dir,
            key,
        };
        setup.bundle("release", &release(counters))?;
        setup.certificates()?;
        setup.inventory()?;
        setup.nodes.iter().try_for_each(|node| setup.agent(node))?;
        Ok(setup)
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a description as `NAME.yaml`, and the signed bundle that is built from it as `NAME.bundle`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Patch`].
    pub fn bundle(&self, name: &str, description: &str) -> Result<(), Error> {
        let (spec, out) = (
            self.file(&format!("{name}.yaml")),
            self.file(&format!("{name}.bundle")),
        );
        write(&spec, description)?;
        let failed = || {
            Error::patch(format!(
                "{} does not become a signed bundle",
                spec.display()
            ))
        };
        let mut bundle = Bundle::build(&spec).map_err(failed())?;
        bundle.sign(&self.key).map_err(failed())?;
        bundle.write(&out).map_err(failed())
    }

    fn certificates(&self) -> Result<(), Error> {
        let pki = self.file("pki");
        pki::init(&pki, "demo", false)?;
        for node in &self.nodes {
            let subject = Subject::Node {
                name: node.name.clone(),
                addresses: vec![node.address.into()],
            };
            pki::issue(&pki, &subject, DAYS, false)?;
        }
        let controller = Subject::Client {
            name: "controller".to_owned(),
            role: Role::Operator,
        };
        pki::issue(&pki, &controller, DAYS, false).map(drop)
    }

    fn inventory(&self) -> Result<(), Error> {
        let host = |node: &Node| {
            format!(
                "      {}: {{address: {}, port: {AGENT_PORT}}}\n",
                node.name, node.address
            )
        };
        let hosts: String = self.nodes.iter().map(host).collect();
        let text = format!(
            "groups:\n  demo:\n    hosts:\n{hosts}policy:\n  waves: [1, 25%, 100%]\n  bake: 1s\n"
        );
        write(&self.file("fleet.yaml"), &text)
    }

    fn agent(&self, node: &Node) -> Result<(), Error> {
        let Node { name, address, dir } = node;
        std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        let text = format!(
            "node: {name}
data_dir: data
code_cache: ../../code
boot: ../../release.bundle
listen:
  tcp:
    address: {address}:{AGENT_PORT}
    cert: ../../pki/{name}.pem
    key: ../../pki/{name}.key
    client_ca: ../../pki/ca.pem
allowed_signers: ../../allowed_signers
guest_address: {address}
drain_ms: 2000
limits: {{workers: 1}}
"
        );
        write(&dir.join("agent.yaml"), &text)
    }
}

/// The name of a node, counted from 0; the names of all have one length.
pub fn node_name(index: usize, nodes: usize) -> String {
    let width = nodes.to_string().len().max(2);
    format!("n{:0width$}", index + 1)
}

fn copy_modules(from: &Path, to: &Path) -> Result<(), Error> {
    let file = |name: &str| from.join(format!("{name}.wasm"));
    let missing: Vec<&str> = MODULES
        .into_iter()
        .filter(|name| !file(name).is_file())
        .collect();
    if !missing.is_empty() {
        return Err(Error::Demo {
            problem: format!(
                "{} has no built modules {}",
                from.display(),
                missing.join(", ")
            ),
            hint: "build them with guest/build.sh, and name the folder with --modules DIR"
                .to_owned(),
        });
    }
    std::fs::create_dir_all(to).map_err(Error::io("create", to))?;
    for name in MODULES {
        let path = file(name);
        std::fs::copy(&path, to.join(format!("{name}.wasm"))).map_err(Error::io("copy", &path))?;
    }
    Ok(())
}

/// A new key in `signer`, and who it stands for in `allowed_signers`.
fn signing_key(dir: &Path) -> Result<KeyFile, Error> {
    let path = dir.join("signer");
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Error::Random {
        problem: error.to_string(),
    })?;
    let refuse = |error: midflight_patch::ssh_key::Error| Error::Credentials {
        path: path.clone(),
        problem: error.to_string(),
    };
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
    let key = PrivateKey::new(pair, SIGNER).map_err(refuse)?;
    key.write_openssh_file(&path, LineEnding::LF)
        .map_err(refuse)?;
    let public = key.public_key().to_openssh().map_err(refuse)?;
    write(
        &dir.join("allowed_signers"),
        &format!("{SIGNER} namespaces=\"patch@midflight\" {public}\n"),
    )?;
    KeyFile::open(&path, |_| None).map_err(Error::patch("the demo's own key does not read"))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(Error::io("write", path))
}

fn release(counters: u32) -> String {
    format!(
        "name: demo
to: \"1.0.0\"
modules:
  - {{name: counter, file: modules/counter_v1.wasm}}
  - {{name: greeter, file: modules/greeter_v1.wasm}}
  - {{name: pi, file: modules/pi_v1.wasm}}
  - {{name: tcp_demo, file: modules/tcp_demo_v1.wasm}}
  - {{name: gateway, file: modules/gateway.wasm}}
start:
  - {{name: counter, module: counter, count: {counters}}}
  - {{name: greeter, module: greeter}}
  - {{name: pi, module: pi}}
  - {{name: tcp_demo, module: tcp_demo, args: {{port: {ECHO_PORT}}}}}
  - {{name: gateway, module: gateway, args: {{port: {GATEWAY_PORT}}}}}
listen: [{GATEWAY_PORT}, {ECHO_PORT}]
"
    )
}

/// The good patch.
pub const GOOD: &str = "name: demo
from: \"1.0.0\"
to: \"2.0.0\"
modules:
  - {name: counter, file: modules/counter_v2.wasm, update: advanced}
  - {name: greeter, file: modules/greeter_v2.wasm, update: soft}
  - {name: pi, file: modules/pi_v2.wasm, update: advanced}
  - {name: tcp_demo, file: modules/tcp_demo_v2.wasm, update: advanced}
";

/// A patch with a counter that is bad. The echo server beside it is sound: either both change or none.
pub fn bad(counter: &str, extra: &str) -> String {
    format!(
        "name: demo
from: \"2.0.0\"
to: \"2.1.0\"
modules:
  - {{name: counter, file: modules/{counter}.wasm, update: advanced, extra: {extra}}}
  - {{name: tcp_demo, file: modules/tcp_demo_v2.wasm, update: advanced}}
"
    )
}
