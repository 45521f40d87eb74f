//! `midflight demo`: a fleet of real agents on this machine, patched by real rollouts while clients are connected. Read
//! `acts` first (what is played), then `traffic` (who watches), `lines` and `counts` (how they judge). Every figure comes
//! from what clients sent and read. It leaves no process behind, and no file unless it is asked to or something went wrong.

mod acts;
pub(crate) mod agents;
mod client;
mod counts;
mod lines;
mod place;
mod report;
mod setup;
mod traffic;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;

use crate::demo::acts::Stage;
use crate::demo::agents::Agents;
use crate::demo::place::{Block, Folder};
use crate::demo::report::{Report, Told};
use crate::demo::setup::{Node, Setup};
use crate::demo::traffic::Traffic;
use crate::engine::link::Link;
use crate::engine::survey;
use crate::error::{self, Error};
use crate::exit::Exit;
use crate::output::Format;
use crate::policy::Policy;
use crate::transport::grpc::Grpc;
use crate::transport::{Credentials, Target, Transport};

pub use place::MAX_NODES;

/// How many acts there are.
const ACTS: usize = 4;
/// How long an agent may take to boot.
const BOOT: Duration = Duration::from_secs(120);
/// How often it is asked whether it did.
const LOOK: Duration = Duration::from_millis(50);
/// How long the last answers may take.
const LAST_ANSWERS: Duration = Duration::from_secs(30);

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes, at most [`MAX_NODES`].
    pub nodes: u32,
    /// Counters on each node.
    pub counters: u32,
    /// The folder to use instead of a temporary one.
    pub dir: Option<PathBuf>,
    /// Where the built modules are.
    pub modules: PathBuf,
    /// The agent's program, instead of the one beside this program.
    pub agent: Option<PathBuf>,
    /// Leave the folder.
    pub keep: bool,
    /// How output is written.
    pub format: Format,
}

/// Plays the demo, until its end or until `stop` says which signal came. Every agent has ended when it returns.
///
/// # Errors
/// What keeps the demo from being played; its verdict is in the exit code.
pub async fn run(
    options: Options,
    stop: impl Future<Output = &'static str>,
) -> Result<Exit, Error> {
    let told = Told::new(options.format);
    // In this order, so that after a panic agents go first, then files, then addresses.
    let nodes = options.nodes as usize;
    let block = Block::claim(nodes)?;
    let mut folder = Folder::make(options.dir.as_deref(), options.keep)?;
    let agents = Agents::new(options.agent.clone())?;
    let mut outcome = tokio::select! {
        outcome = show(&options, &folder, &block, &agents, told) => outcome,
        signal = stop => {
            agents.kill().await;
            told.line(&format!("\n{signal}: the demo is over, and its agents are gone"));
            return Ok(Exit::ABORTED);
        }
    };
    let stopped = match &outcome {
        Ok(report) if report.is_ok() => agents.stop().await,
        _ => {
            agents.kill().await;
            Ok(())
        }
    };
    if let (Ok(report), Err(error)) = (&mut outcome, &stopped) {
        report.spoil(error::chain(error));
    }
    let is_good = outcome.as_ref().is_ok_and(Report::is_ok);
    if !is_good && agents.were_started() {
        folder.keep();
    }
    let shown = outcome.and_then(|report| report.show(options.format));
    if folder.is_kept() {
        left(told, &folder, agents.program(), &setup::node_name(0, nodes));
    }
    shown.and(stopped)?;
    Ok(if is_good { Exit::OK } else { Exit::USAGE })
}

/// Everything between the first agent and the verdict.
async fn show(
    options: &Options,
    folder: &Folder,
    block: &Block,
    agents: &Agents,
    told: Told,
) -> Result<Report, Error> {
    let start = Instant::now();
    let count = options.nodes as usize;
    told.line(&format!(
        "{count} nodes with {} counters each, in {}",
        options.counters,
        folder.path().display()
    ));
    let setup = Setup::write(folder, block, count, options.counters, &options.modules)?;
    told.line(&environment(&setup));
    let links = links(&setup)?;
    tokio::select! {
        booted = boot(&setup.nodes, &links, agents) => booted?,
        error = agents.ended() => return Err(error),
    }
    let (first, last) = (&setup.nodes[0], &setup.nodes[count - 1]);
    let seconds = start.elapsed().as_secs_f64();
    told.good(&format!(
        "{count} agents run at {} to {}, after {seconds:.1} s",
        first.address, last.address
    ));
    let traffic = Traffic::start(&setup.nodes, options.counters).await?;
    told.good(&format!(
        "{} connections are open and send",
        traffic.figures().connections
    ));
    let mut played = Vec::new();
    let stage = Stage {
        setup: &setup,
        links: &links,
        traffic: &traffic,
        told: &told,
    };
    let broken = tokio::select! {
        ended = stage.play(&mut played) => ended.err(),
        error = agents.ended() => Some(error),
    };
    if let Some(error) = broken {
        // The clients' verdict is wanted all the more.
        told.bad(&format!(
            "{}: {}\n       {}",
            error.code(),
            error::chain(&error),
            error.hint()
        ));
    }
    traffic.finish(LAST_ANSWERS).await;
    // Once more, now that nothing is under way.
    let (counters, _) = traffic.audit(LAST_ANSWERS).await;
    let figures = traffic.figures();
    for index in traffic.troubled().into_iter().take(3) {
        let node = &setup.nodes[index];
        let log = node.dir.join("agent.log");
        told.bad(&format!(
            "on {}; the end of {}:\n{}",
            node.name,
            log.display(),
            agents::tail(&log)
        ));
    }
    Ok(Report::new(
        count,
        counters,
        start.elapsed().as_secs_f64(),
        played,
        ACTS,
        figures,
    ))
}

fn links(setup: &Setup) -> Result<Vec<Arc<Link>>, Error> {
    let transport: Arc<dyn Transport> =
        Arc::new(Grpc::new(&Credentials::in_folder(&setup.file("pki")))?);
    let target = |node: &Node| Target {
        name: node.name.clone(),
        address: node.address.to_string(),
        port: place::AGENT_PORT,
        ssh: None,
    };
    let targets: Vec<Target> = setup.nodes.iter().map(target).collect();
    Ok(survey::links(&targets, &transport, &Policy::default()))
}

/// Starts the first agent, which compiles the modules for all, then the others, and waits until each answers.
async fn boot(nodes: &[Node], links: &[Arc<Link>], agents: &Agents) -> Result<(), Error> {
    agents.start(&nodes[0])?;
    answers(&links[0]).await?;
    nodes[1..].iter().try_for_each(|node| agents.start(node))?;
    try_join_all(links.iter().map(|link| answers(link)))
        .await
        .map(drop)
}

async fn answers(link: &Link) -> Result<(), Error> {
    let deadline = Instant::now() + BOOT;
    loop {
        match link
            .once(BOOT, |agent| async move { agent.describe().await })
            .await
        {
            Ok(_) => return Ok(()),
            Err(error) if error.is_silence() && Instant::now() < deadline => {
                tokio::time::sleep(LOOK).await
            }
            Err(source) => {
                return Err(Error::Node {
                    node: link.target().name.clone(),
                    source,
                });
            }
        }
    }
}

/// What the printed command lines leave out.
fn environment(setup: &Setup) -> String {
    let line =
        |(name, file): &(&str, &str)| format!("  export {name}={}", setup.file(file).display());
    let names = [
        ("MIDFLIGHT_INVENTORY", "fleet.yaml"),
        ("MIDFLIGHT_PKI", "pki"),
        ("MIDFLIGHT_ALLOWED_SIGNERS", "allowed_signers"),
        ("MIDFLIGHT_JOURNAL", "journal.db"),
    ];
    let lines: Vec<String> = names.iter().map(line).collect();
    format!(
        "the commands below are run in that folder, as if with\n{}",
        lines.join("\n")
    )
}

/// What is in a folder that stays, and how to go on with it.
fn left(told: Told, folder: &Folder, agent: &Path, first: &str) {
    let (dir, agent) = (folder.path().display(), agent.display());
    told.line(&format!(
        "
left in {dir}:
  fleet.yaml               the inventory, with the policy
  pki/                     the CA, and the certificates of nodes and controller
  signer, allowed_signers  who signs, and who may
  *.yaml, *.bundle         descriptions, and the signed bundles built from them
  journal.db               the rollouts
  nodes/NAME/agent.log     what the agents said
the agents have ended. With the lines above in the environment, in that folder:
  midflight history
  {agent} --config nodes/{first}/agent.yaml &
  midflight nodes {first}
  midflight patch inspect good.bundle"
    ));
}
