//! What every verb that reaches nodes has in common: the inventory, the certificates, the policy, and reading a signed patch
//! before any node is asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use midflight_inventory::{Input, Inventory, Named};
use midflight_patch::{AllowedSigners, Bundle};
use midflight_ssh::{Account, config::Alias};

use crate::command::tell;
use crate::error::Error;
use crate::launch::wanted::{check_count, check_patch};
use crate::policy::{self, Policy};
use crate::transport::by_host::ByHost;
use crate::transport::{Credentials, Transport};

/// Which nodes there are, and how they are reached.
#[derive(Clone, Debug, Args)]
pub struct FleetArgs {
    #[command(flatten)]
    /// The inventory.
    pub inventory: InventoryArgs,
    #[command(flatten)]
    /// The certificates.
    pub pki: PkiArgs,
}

/// Which nodes there are.
#[derive(Clone, Debug, Args)]
pub struct InventoryArgs {
    /// Where nodes are listed: a file, a folder or a program, a node set such as 'node[001-500,600]' or web1, , or ssh_config=FILE; may
    /// be given several times. In the environment, separated by colons.
    #[arg(
        short = 'i',
        long = "inventory",
        value_name = "SOURCE",
        env = "MIDFLIGHT_INVENTORY",
        value_delimiter = ':'
    )]
    pub files: Vec<PathBuf>,
}

/// Who the controller is.
#[derive(Clone, Debug, Args)]
pub struct PkiArgs {
    /// A folder with ca.pem, controller.pem and controller.key.
    #[arg(long, value_name = "DIR", env = "MIDFLIGHT_PKI")]
    pub pki: Option<PathBuf>,
    /// Who issues the certificates of nodes, instead of ca.pem in --pki.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The controller's certificate, instead of controller.pem in --pki.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Its private key, instead of controller.key in --pki.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

/// The policy of a rollout.
#[derive(Clone, Debug, Args)]
pub struct PolicyArgs {
    /// The policy; default the one in the inventory, or else the built-in one.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
}

impl InventoryArgs {
    /// Reads the sources.
    ///
    /// # Errors
    /// [`Error::NoInventory`], [`Error::Inventory`], [`Error::Ssh`].
    pub fn load(&self) -> Result<Inventory, Error> {
        if self.files.is_empty() {
            return Err(Error::NoInventory);
        }
        let inputs = self.files.iter().map(|file| input(file));
        Ok(Inventory::read(&inputs.collect::<Result<Vec<_>, _>>()?)?)
    }
}

/// What one `-i` names.
fn input(argument: &Path) -> Result<Input, Error> {
    let Some(file) = argument
        .to_str()
        .and_then(|text| text.strip_prefix("ssh_config="))
    else {
        return Ok(Input::from_argument(argument));
    };
    // No shell expands a tilde there.
    let file = match (file, file.strip_prefix("~/")) {
        ("", _) => Account::current().home.join(".ssh/config"),
        (_, Some(below)) => Account::current().home.join(below),
        (file, None) => PathBuf::from(file),
    };
    // SSH reads its usual file without being told.
    let arguments = (argument.as_os_str() != "ssh_config=").then(|| {
        let file = std::path::absolute(&file).unwrap_or_else(|_| file.clone());
        format!("-F '{}'", file.to_string_lossy().replace('\'', "'\\''"))
    });
    let aliases = midflight_ssh::config::aliases(&file)?;
    let named = aliases.into_iter().map(|Alias { name, file, line }| Named {
        name,
        file,
        line,
        arguments: arguments.clone(),
    });
    Ok(Input::Names(named.collect()))
}

impl PkiArgs {
    /// The files.
    ///
    /// # Errors
    /// [`Error::NoCredentials`].
    pub fn credentials(&self) -> Result<Credentials, Error> {
        let folder = self.pki.as_deref().map(Credentials::in_folder);
        let pick = |file: &Option<PathBuf>, of: fn(&Credentials) -> &PathBuf| {
            file.clone()
                .or_else(|| folder.as_ref().map(|folder| of(folder).clone()))
                .ok_or(Error::NoCredentials)
        };
        Ok(Credentials {
            ca: pick(&self.ca, |files| &files.ca)?,
            cert: pick(&self.cert, |files| &files.cert)?,
            key: pick(&self.key, |files| &files.key)?,
        })
    }

    /// How a server of `midflight.controller.v1` is known and whom it lets in: by default with `server.pem` and `server.key` of the
    /// folder, and those whom the CA of the nodes has certified too.
    ///
    /// # Errors
    /// [`Error::NoCredentials`], [`Error::Credentials`].
    pub fn server_config(
        &self,
        cert: Option<PathBuf>,
        key: Option<PathBuf>,
        client_ca: Option<PathBuf>,
    ) -> Result<Arc<rustls::ServerConfig>, Error> {
        let in_folder = |name| self.pki.as_ref().map(|folder| folder.join(name));
        let files = Credentials {
            ca: match client_ca {
                Some(file) => file,
                None => self.credentials()?.ca,
            },
            cert: cert
                .or_else(|| in_folder("server.pem"))
                .ok_or(Error::NoCredentials)?,
            key: key
                .or_else(|| in_folder("server.key"))
                .ok_or(Error::NoCredentials)?,
        };
        files.server_config()
    }

    /// The transport that these files open. Without any, nodes are reached over SSH alone.
    ///
    /// # Errors
    /// [`Error::NoCredentials`] when some are named and others are not, [`Error::Credentials`].
    pub fn transport(&self) -> Result<Arc<dyn Transport>, Error> {
        let named = [&self.pki, &self.ca, &self.cert]
            .iter()
            .any(|path| path.is_some());
        let credentials = named.then(|| self.credentials()).transpose()?;
        Ok(Arc::new(ByHost::new(credentials.as_ref())?))
    }
}

impl PolicyArgs {
    /// The policy that is in force.
    ///
    /// # Errors
    /// [`Error::Policy`], [`Error::Io`].
    pub fn load(&self, inventory: Option<&Inventory>) -> Result<Policy, Error> {
        match (&self.policy, inventory) {
            (Some(path), _) => policy::load(path),
            (None, Some(inventory)) => Ok(policy::from_inventory(inventory)?.unwrap_or_default()),
            (None, None) => Ok(Policy::default()),
        }
    }
}

/// A patch, and who may sign it.
#[derive(Clone, Debug, Args)]
pub struct BundleArgs {
    /// The signed patch.
    pub bundle: PathBuf,
    /// A signed patch that may stand on the way, for nodes that do not run what the patch starts from; may be given several
    /// times. A node makes one upgrade of the shortest chain.
    #[arg(long, value_name = "BUNDLE")]
    pub through: Vec<PathBuf>,
    /// Check the signature here too, before any node is asked; the nodes check it by their own files in any case.
    #[arg(long, value_name = "FILE", env = "MIDFLIGHT_ALLOWED_SIGNERS")]
    pub allowed_signers: Option<PathBuf>,
}

impl BundleArgs {
    /// Reads the bundle, and refuses what no node would accept.
    ///
    /// # Errors
    /// [`Error::Patch`], [`Error::Io`].
    pub fn read(&self) -> Result<Bundle, Error> {
        self.read_patch(&self.bundle)
    }

    /// Reads the patches that may stand on the way.
    ///
    /// # Errors
    /// As [`BundleArgs::read`], and for more patches than an order may name.
    pub fn read_through(&self) -> Result<Vec<Bundle>, Error> {
        check_count(self.through.len())?;
        self.through
            .iter()
            .map(|path| self.read_patch(path))
            .collect()
    }

    fn read_patch(&self, path: &Path) -> Result<Bundle, Error> {
        let name = path.display().to_string();
        let failed = Error::patch(format!("the bundle {name} is refused"));
        let bundle = check_patch(Bundle::read(path).map_err(failed)?, &name)?;
        if let Some(names) = check_signature(&bundle, &name, self.allowed_signers.as_deref())? {
            tell(&format!("signed by {names}"));
        }
        Ok(bundle)
    }
}

/// Refuses a bundle without signatures, or, when it is known who may sign, without a good one. Gives the signers then.
///
/// # Errors
/// [`Error::Patch`], [`Error::Io`].
pub fn check_signature(
    bundle: &Bundle,
    name: &str,
    allowed_signers: Option<&Path>,
) -> Result<Option<String>, Error> {
    let failed = Error::patch(format!("the bundle {name} is refused"));
    match allowed_signers {
        Some(file) => {
            let signers = bundle
                .verify(&read_signers(file)?, SystemTime::now())
                .map_err(failed)?;
            let names: Vec<String> = signers.iter().map(ToString::to_string).collect();
            Ok(Some(names.join(", ")))
        }
        None if bundle.signatures.is_empty() => {
            let subject = format!("patch {} {}", bundle.manifest.name, bundle.manifest.to);
            Err(failed(midflight_patch::Error::Unsigned { subject }))
        }
        None => Ok(None),
    }
}

/// Reads an allowed signers file.
///
/// # Errors
/// [`Error::Io`], [`Error::Patch`].
pub fn read_signers(path: &std::path::Path) -> Result<AllowedSigners, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let name = path.display().to_string();
    AllowedSigners::parse(&text, &name).map_err(Error::patch(format!(
        "the allowed signers {name} do not read"
    )))
}

/// Which nodes a verb is about.
#[derive(Clone, Debug, Args)]
pub struct TargetArgs {
    /// Which nodes: web, web:&prod:!canary, 'web[01:50]', 'node[001-500,600]', '~regex', 'web[0:20]', @file.
    pattern: String,
    /// Allow a pattern that names every node of the inventory.
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    narrow: NarrowArgs,
}

impl TargetArgs {
    /// One pattern: what it names, within the limit, less what is excluded.
    #[must_use]
    pub fn pattern(&self) -> String {
        self.narrow.apply(&self.pattern)
    }

    /// The same for a server, which reads no file: what the lists of this machine name stands in it.
    ///
    /// # Errors
    /// [`Error::Inventory`] for a list.
    pub fn pattern_to_send(&self) -> Result<String, Error> {
        Ok(midflight_inventory::with_lists(&self.pattern())?)
    }
}

/// What narrows a pattern.
#[derive(Clone, Debug, Args)]
pub struct NarrowArgs {
    /// Only nodes that this pattern names too; --limit @file reads a file.
    #[arg(short, long, value_name = "PATTERN")]
    limit: Option<String>,
    /// Leave out the nodes that this pattern names; may be given several times.
    #[arg(short = 'x', long, value_name = "PATTERN")]
    exclude: Vec<String>,
}

impl NarrowArgs {
    /// The pattern that is left of `pattern`.
    #[must_use]
    pub fn apply(&self, pattern: &str) -> String {
        midflight_inventory::narrow(pattern, self.limit.as_deref(), &self.exclude)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_of_an_ssh_config_are_reached_as_that_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("it's mine");
        std::fs::write(&file, "Host web1 web2 *.eu\n  User deploy\n").unwrap();
        let args = InventoryArgs {
            files: vec![
                PathBuf::from(format!("ssh_config={}", file.display())),
                "n[1-2]".into(),
            ],
        };
        let inventory = args.load().unwrap();
        let names: Vec<&str> = inventory.hosts().iter().map(|host| host.name()).collect();
        assert_eq!(names, ["web1", "web2", "n1", "n2"]);
        let arguments = |name: &str| {
            inventory
                .host(name)
                .unwrap()
                .ssh()
                .unwrap()
                .common_args
                .clone()
        };
        assert_eq!(
            arguments("web1"),
            ["-F".to_owned(), file.display().to_string()]
        );
        assert!(arguments("n1").is_empty());

        let missing = folder.path().join("missing");
        let args = InventoryArgs {
            files: vec![PathBuf::from(format!("ssh_config={}", missing.display()))],
        };
        assert_eq!(args.load().unwrap_err().code(), "MF0601");
    }
}
