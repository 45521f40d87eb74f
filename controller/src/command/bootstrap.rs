//! `midflight bootstrap`: agents for hosts that have an SSH server and nothing else. Everything that is sent is read and verified
//! before the first host is asked; what became of each host is told, the same once for all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use midflight_inventory::{Value as Variable, fold_to_string};
use midflight_patch::Bundle;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::bootstrap::agents::Programs;
use crate::bootstrap::place::{Place, PlainPath};
use crate::bootstrap::steps::Service;
use crate::bootstrap::template;
use crate::bootstrap::trouble::Trouble;
use crate::bootstrap::work::{Done, Host, Work};
use crate::command::fleet::{InventoryArgs, TargetArgs, check_signature, read_signers};
use crate::command::{print, print_json, tell};
use crate::error::Error;
use crate::exit::Exit;
use crate::fanout::drive::{Stop, drive};
use crate::fanout::ssh::{Ssh, SshArgs};
use crate::output::{Format, count};
use crate::plan;
use crate::policy::Span;

/// Install, configure and start agents on hosts, over SSH. A second run changes nothing.
///
/// Exit codes: 0 every host has its agent; 7 some have not; 2 none has; 6 interrupted.
#[derive(Debug, Args)]
pub struct BootstrapArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// A folder with midflight-agent-x86_64 and the like, each with the signature that
    /// `ssh-keygen -Y sign -n agent@midflight` makes beside it (.sig).
    #[arg(long, value_name = "DIR")]
    agents: PathBuf,
    /// Who may sign agents, in the format of ssh-keygen(1), ALLOWED SIGNERS.
    #[arg(long, value_name = "FILE")]
    agent_signers: PathBuf,
    /// The signed release that the agents boot.
    #[arg(long, value_name = "BUNDLE")]
    release: PathBuf,
    /// Who may sign patches on the hosts. A host that has such a file keeps it.
    #[arg(long, value_name = "FILE", env = "MIDFLIGHT_ALLOWED_SIGNERS")]
    allowed_signers: PathBuf,
    /// The configuration, with {{node}}, {{etc}}, {{data}}, {{run}}, {{socket}}, {{user}}, {{machine}}, {{address}}, {{port}} and
    /// variables of the inventory; default one with a Unix socket, and with TCP where there are certificates.
    #[arg(long, value_name = "TEMPLATE")]
    config: Option<PathBuf>,
    /// A folder with ca.pem and each node's NODE.pem and NODE.key, as `midflight pki issue` writes them.
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    /// Put everything below this folder of the hosts, and run the agent as the user who logs in, without a service.
    #[arg(long, value_name = "DIR", conflicts_with = "sudo")]
    prefix: Option<PlainPath>,
    /// Run everything on the hosts by `sudo -n`.
    #[arg(long)]
    sudo: bool,
    /// Look, and say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Start agents again where that is needed although they hold actors, whose state is lost.
    #[arg(long)]
    lose_state: bool,
    /// How long copying one file to a host may take.
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = str::parse::<Span>)]
    timeout: Span,
    #[command(flatten)]
    ssh: SshArgs,
    #[command(flatten)]
    inventory: InventoryArgs,
}

/// Runs the verb.
///
/// # Errors
/// What keeps anything from being sent at all; what happens on hosts is told, and is no error.
pub async fn run(args: BootstrapArgs, format: Format) -> Result<Exit, Error> {
    let inventory = args.inventory.load()?;
    let all = args.targets.all || inventory.hosts().len() == 1;
    let hosts = plan::hosts(&inventory, &args.targets.pattern(), all)?;
    let programs = Programs::read(&args.agents, &read_signers(&args.agent_signers)?)?;
    let release = release(&args.release, &args.allowed_signers)?;
    let config = match (&args.config, &args.certificates) {
        (Some(path), _) => String::from_utf8_lossy(&read(path)?).into_owned(),
        (None, Some(_)) => format!("{}{}", template::DEFAULT, template::DEFAULT_TCP),
        (None, None) => template::DEFAULT.to_owned(),
    };
    let work = Arc::new(Work {
        shell: Arc::new(Ssh::new(&hosts, &args.ssh)?.keeping()),
        hosts: hosts.iter().map(|host| to_host(host)).collect(),
        programs,
        place: args
            .prefix
            .as_ref()
            .map_or_else(Place::system, Place::below),
        template: config,
        release,
        allowed_signers: read(&args.allowed_signers)?.into(),
        certificates: args.certificates.clone(),
        sudo: args.sudo,
        dry_run: args.dry_run,
        lose_state: args.lose_state,
        patience: args.timeout.get(),
    });
    let (say, stop) = Stop::new();
    let (results, mut read) = mpsc::channel(64);
    let (nodes, at_once) = (work.hosts.len(), args.ssh.fan_out());
    let (working, stopping) = (work.clone(), stop.clone());
    let running = tokio::spawn(async move {
        let left = drive(0..nodes, at_once, &stopping, |node| {
            let (work, stop, results) = (working.clone(), stopping.clone(), results.clone());
            async move {
                let done = work.on(node, &stop).await;
                let _ = results.send((node, done)).await; // the reader goes last
            }
        });
        for node in left.await? {
            let _ = results.send((node, Err(Trouble::Interrupted))).await;
        }
        Ok::<_, tokio::task::JoinError>(())
    });
    let failed = |source| Error::Output { source };
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut report = Report::new(&work, format);
    loop {
        tokio::select! {
            result = read.recv() => match result {
                Some((node, done)) => report.add(node, done)?,
                None => break,
            },
            _ = interrupts.recv() => if say.send_replace(true) {
                return Ok(Exit::ABORTED);
            },
        }
    }
    let ended = running.await.and_then(|ended| ended);
    ended.map_err(|source| Error::Panicked { source })?;
    report.end(*say.borrow())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(Error::io("read", path))
}

/// A release that the hosts would boot: signed by somebody who may.
fn release(path: &Path, allowed_signers: &Path) -> Result<Arc<[u8]>, Error> {
    let name = path.display().to_string();
    let refused = || Error::patch(format!("the bundle {name} is refused"));
    let bundle = Bundle::read(path).map_err(refused())?;
    check_signature(&bundle, &name, Some(allowed_signers))?;
    if bundle.manifest.from.is_some() {
        return Err(Error::Usage {
            problem: format!("{name} is a patch, and agents boot a release"),
            hint: "name a bundle whose description has no `from`",
        });
    }
    Ok(read(path)?.into())
}

fn to_host(host: &midflight_inventory::Host) -> Host {
    let mut values = BTreeMap::new();
    for (name, value) in host.vars() {
        let value = match value {
            Variable::Text(text) => text.clone(),
            Variable::Bool(value) => value.to_string(),
            Variable::Int(value) => value.to_string(),
            Variable::Float(value) => value.to_string(),
            _ => continue, // a list or a mapping is no word
        };
        values.insert(name.to_string(), value);
    }
    values.insert("address".to_owned(), host.address().to_owned());
    values.insert("port".to_owned(), host.port().to_string());
    Host {
        name: host.name().to_owned(),
        values,
    }
}

/// What became of the hosts.
struct Report<'a> {
    work: &'a Work,
    format: Format,
    /// What is told, and of which hosts.
    good: BTreeMap<String, Vec<usize>>,
    bad: BTreeMap<(String, String), Vec<usize>>,
    failed: usize,
}

impl<'a> Report<'a> {
    fn new(work: &'a Work, format: Format) -> Self {
        Self {
            work,
            format,
            good: BTreeMap::new(),
            bad: BTreeMap::new(),
            failed: 0,
        }
    }

    fn add(&mut self, node: usize, done: Result<Done, Trouble>) -> Result<(), Error> {
        self.failed += usize::from(done.is_err());
        let name = &self.work.hosts[node].name;
        if self.format == Format::Json {
            return print_json(&match &done {
                Ok(done) => json!({
                    "event": "host", "node": name, "dry_run": self.work.dry_run, "written": done.written,
                    "kept": done.kept, "agent": done.service.as_str(),
                }),
                Err(trouble) => json!({
                    "event": "host", "node": name, "dry_run": self.work.dry_run,
                    "error": {"code": trouble.code(), "what": trouble.to_string(), "hint": trouble.hint()},
                }),
            });
        }
        match done {
            Ok(done) => self.good.entry(self.words(&done)).or_default().push(node),
            Err(trouble) => {
                let what = format!("{}: {trouble}", trouble.code());
                let told = (what, trouble.hint().to_owned());
                self.bad.entry(told).or_default().push(node);
            }
        }
        Ok(())
    }

    fn words(&self, done: &Done) -> String {
        let mut text = match (self.work.dry_run, &done.written[..], done.service) {
            (_, [], Service::Leave) => "nothing to do, the agent runs\n".to_owned(),
            (true, written, service) => {
                let agent = match service {
                    Service::Leave => "leave the agent running",
                    Service::Start => "start the agent",
                    Service::Restart => "restart the agent",
                };
                let files = count(written.len() as u64, "file");
                format!("would write {files} and {agent}\n")
            }
            (false, written, service) => {
                let files = count(written.len() as u64, "file");
                let release = done.status.as_ref().map_or_else(String::new, |status| {
                    let plain = crate::output::plain;
                    format!(
                        ", release {}, agent {}",
                        plain(&status.current),
                        plain(&status.version)
                    )
                });
                format!("{files} written, the agent {}{release}\n", service.as_str())
            }
        };
        for path in &done.written {
            text.push_str(&format!("  {path}\n"));
        }
        for path in &done.kept {
            text.push_str(&format!(
                "  {path} is another one than was given, and stays\n"
            ));
        }
        text
    }

    fn end(self, interrupted: bool) -> Result<Exit, Error> {
        let total = self.work.hosts.len();
        let names = |nodes: &[usize]| {
            let mut nodes = nodes.to_vec();
            nodes.sort_unstable();
            fold_to_string(nodes.iter().map(|&node| &self.work.hosts[node].name))
        };
        for (text, nodes) in &self.good {
            print(&format!("{}: {text}", names(nodes)))?;
        }
        for ((what, hint), nodes) in &self.bad {
            tell(&format!("{}: {what}", names(nodes)));
            if !hint.is_empty() {
                tell(&format!("  hint: {hint}"));
            }
        }
        let exit = match self.failed {
            _ if interrupted => Exit::ABORTED,
            0 => Exit::OK,
            failed if failed == total => Exit::REFUSED,
            _ => Exit::PARTIAL,
        };
        if self.format == Format::Json {
            let good = total - self.failed;
            print_json(&json!({"event": "summary", "nodes": total, "good": good, "exit": exit}))?;
        }
        Ok(exit)
    }
}
