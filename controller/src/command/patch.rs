//! `midflight patch`: from a description and modules to a signed bundle. It reaches no node.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand};
use midflight_patch::{Bundle, KeyFile, Plan};
use serde_json::json;

use crate::command::fleet::read_signers;
use crate::command::inspect::{self, InspectArgs, release_of};
use crate::command::{print, print_json, tell};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Format;
use crate::signing::{SshAgent, ask_passphrase};

#[derive(Debug, Subcommand)]
pub enum PatchVerb {
    /// Build an unsigned bundle from a description and the modules that it names.
    Build {
        /// The description.
        #[arg(default_value = "patch.yaml")]
        spec: PathBuf,
        /// The bundle to write.
        #[arg(short, long = "out", value_name = "FILE")]
        out: PathBuf,
        /// The bundle of a release: also refuse a patch that does not fit it.
        #[arg(long, value_name = "RELEASE")]
        from: Option<PathBuf>,
    },
    /// Add a signature to a bundle, by a key file or an ssh-agent.
    Sign(SignArgs),
    /// Say who signed a bundle, and refuse it when nobody did who may.
    Verify {
        /// The bundle.
        bundle: PathBuf,
        /// Who may sign, in the format of ssh-keygen(1), ALLOWED SIGNERS.
        #[arg(long, value_name = "FILE", env = "MIDFLIGHT_ALLOWED_SIGNERS")]
        allowed_signers: PathBuf,
    },
    /// Show what bundles hold and the plan that a node makes of them, without verifying who signed them.
    Inspect(InspectArgs),
}

#[derive(Debug, Args)]
pub struct SignArgs {
    /// The bundle; it is replaced by the signed one.
    bundle: PathBuf,
    /// An OpenSSH private key. Its passphrase, if it has one, is asked for on the terminal.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["agent", "signature"], conflicts_with_all = ["agent", "signature"])]
    key: Option<PathBuf>,
    /// Sign in the name of this OpenSSH certificate of the key.
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Sign by way of the ssh-agent at SSH_AUTH_SOCK.
    #[arg(long, conflicts_with = "signature")]
    agent: bool,
    /// Which of the agent's keys; default the only one.
    #[arg(long, value_name = "FILE", requires = "agent")]
    pubkey: Option<PathBuf>,
    /// Add a signature that `ssh-keygen -Y sign -n patch@midflight` made over the manifest.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Write the signed bundle here instead.
    #[arg(short, long = "out", value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(verb: &PatchVerb, format: Format) -> Result<Exit, Error> {
    match verb {
        PatchVerb::Build { spec, out, from } => {
            let refused = || Error::patch(format!("{} does not build", spec.display()));
            let built = Bundle::build(spec).map_err(refused())?;
            if let Some(from) = from {
                let running = release_of(from)?;
                Plan::new(&built.manifest, &running).map_err(refused())?;
            }
            write(&built, out)?;
            show_digest(&built, format)?;
        }
        PatchVerb::Sign(args) => sign(args, format)?,
        PatchVerb::Verify {
            bundle: path,
            allowed_signers,
        } => {
            let signers = read_signers(allowed_signers)?;
            let bundle = read(path)?;
            let principals = bundle
                .verify(&signers, SystemTime::now())
                .map_err(refused(path))?;
            match format {
                Format::Json => {
                    let signer =
                        |by: &midflight_patch::Principal| json!({"name": by.name, "key": by.key});
                    let signers: Vec<_> = principals.iter().map(signer).collect();
                    print_json(&json!({"digest": bundle.digest(), "signers": signers}))?;
                }
                Format::Text => {
                    let line = |by: &midflight_patch::Principal| {
                        format!("good signature by {} ({})\n", by.name, by.key)
                    };
                    print(&format!(
                        "{}{}\n",
                        principals.iter().map(line).collect::<String>(),
                        bundle.digest()
                    ))?;
                }
            }
        }
        PatchVerb::Inspect(args) => return inspect::run(args, format),
    }
    Ok(Exit::OK)
}

fn sign(args: &SignArgs, format: Format) -> Result<(), Error> {
    let mut bundle = read(&args.bundle)?;
    let failed = || Error::patch(format!("{} cannot be signed", args.bundle.display()));
    if let Some(path) = &args.key {
        let mut key = KeyFile::open(path, ask_passphrase).map_err(failed())?;
        if let Some(certificate) = &args.certificate {
            key = key.with_certificate(certificate).map_err(failed())?;
        }
        bundle.sign(&key).map_err(failed())?;
    } else if let Some(path) = &args.signature {
        let armored = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        bundle.add_signature(armored).map_err(failed())?;
    } else {
        let socket = std::env::var_os("SSH_AUTH_SOCK")
            .filter(|socket| !socket.is_empty())
            .ok_or_else(|| Error::SshAgent {
                problem: "SSH_AUTH_SOCK names none".to_owned(),
            })?;
        let agent = SshAgent::connect(Path::new(&socket), args.pubkey.as_deref())?;
        bundle.sign(&agent).map_err(failed())?;
    }
    write(&bundle, args.out.as_deref().unwrap_or(&args.bundle))?;
    tell(&format!("{} signatures", bundle.signatures.len()));
    show_digest(&bundle, format)
}

fn read(path: &Path) -> Result<Bundle, Error> {
    Bundle::read(path).map_err(refused(path))
}

fn write(bundle: &Bundle, path: &Path) -> Result<(), Error> {
    bundle.write(path).map_err(Error::patch(format!(
        "{} cannot be written",
        path.display()
    )))
}

fn refused(path: &Path) -> impl FnOnce(midflight_patch::Error) -> Error {
    Error::patch(format!("the bundle {} is refused", path.display()))
}

fn show_digest(bundle: &Bundle, format: Format) -> Result<(), Error> {
    match format {
        Format::Text => print(&format!("{}\n", bundle.digest())),
        Format::Json => {
            print_json(&json!({"digest": bundle.digest(), "signatures": bundle.signatures.len()}))
        }
    }
}
