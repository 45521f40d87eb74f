//! On the node itself: `midflight-agent status`, and break-glass, `midflight-agent rollback` and `midflight-agent confirm`, for
//! the day the controller is gone. They ask the living agent through a socket in its data directory that only its own user and root can open, so that
//! the order is checked, written down and carried out as any other. Without a living agent there is nothing to ask: the next
//! start boots the permanent release.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use hyper_util::rt::TokioIo;
use midflight_proto::agent::v1::{self as pb, node_agent_client::NodeAgentClient};
use tokio::net::UnixStream;
use tonic::{
    Status,
    transport::{Channel, Endpoint, Uri},
};

use crate::{
    config::{Config, DEFAULT_PATH},
    error::Error,
};

/// The socket of a data directory.
#[must_use]
pub fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("local.sock")
}

/// Roll back the rollout that holds this node, or the last one that finished; for when no controller can.
#[derive(Args, Debug)]
pub struct RollbackArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// What becomes of an actor whose way back fails.
    #[arg(long, value_enum, default_value_t = OnDownFailure::Hold)]
    on_down_failure: OnDownFailure,
}

/// Make the release of the rollout in probation permanent on this node; for when no controller can.
#[derive(Args, Debug)]
pub struct ConfirmArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Also purge the old code and end the rollout's claim, so that another rollout may change the node.
    #[arg(long)]
    finish: bool,
}

/// Say what runs on this node: release, actors, the rollout that is open. Exit 2 when no agent answers.
#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    agent: AgentArgs,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Which agent.
#[derive(Args, Debug)]
pub struct AgentArgs {
    /// The configuration file of the agent (YAML).
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

/// What both orders need.
#[derive(Args, Debug)]
pub struct CommonArgs {
    #[command(flatten)]
    agent: AgentArgs,
    /// Why, for the journal.
    #[arg(long)]
    reason: String,
    /// Do it only if it is this rollout.
    #[arg(long, value_name = "ID")]
    rollout: Option<String>,
}

/// What becomes of an actor whose `code_change(down)` fails.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum OnDownFailure {
    /// It stays on the newer code, suspended.
    Hold,
    /// It goes back to its pinned state, and loses what it did since.
    Restore,
    /// It is stopped.
    Stop,
}

/// Says what runs.
///
/// # Errors
/// [`Error::NoAgent`], and those of the configuration.
pub async fn status(args: &StatusArgs) -> Result<String, Error> {
    let (_, described) = ask(&args.agent).await?;
    let vsn = |release: &Option<pb::Release>| {
        let release = release.as_ref();
        release.map_or_else(String::new, |release| release.vsn.clone())
    };
    let (current, permanent) = (vsn(&described.current), vsn(&described.permanent));
    let upgrade = described.upgrade.as_ref();
    if args.json {
        let rollout = upgrade.and_then(|upgrade| upgrade.key.as_ref());
        let status = serde_json::json!({
            "node": described.node, "version": described.agent_version, "current": current,
            "permanent": permanent, "actors": described.actors, "uptime_ms": described.uptime_ms,
            "rollout": rollout.map(|key| &key.rollout_id),
        });
        return Ok(format!("{status}\n"));
    }
    let mut text = format!(
        "node {}: {current} runs, {permanent} is permanent, {} actors; up for {} s, agent {}\n",
        described.node,
        described.actors,
        described.uptime_ms / 1_000,
        described.agent_version
    );
    if let Some(upgrade) = upgrade {
        text.push_str(&before(&described, upgrade));
    }
    Ok(text)
}

/// Rolls back, and says what happened.
///
/// # Errors
/// [`Error::NoAgent`], [`Error::NothingOpen`], [`Error::LocalOrder`], and those of the configuration.
pub async fn rollback(args: &RollbackArgs) -> Result<String, Error> {
    let (mut agent, described) = ask(&args.common.agent).await?;
    let open = described.upgrade.as_ref().or(described.undoable.as_ref());
    let upgrade = wanted(&described, open, &args.common)?;
    let request = pb::RollbackRequest {
        key: upgrade.key.clone(),
        on_down_failure: match args.on_down_failure {
            OnDownFailure::Hold => pb::OnDownFailure::Hold,
            OnDownFailure::Restore => pb::OnDownFailure::Restore,
            OnDownFailure::Stop => pb::OnDownFailure::Stop,
        }
        .into(),
        pause_budget_ms: 0,
        reason: args.common.reason.clone(),
        epoch: upgrade.epoch,
    };
    let answer = agent
        .rollback(request)
        .await
        .map_err(refused("roll back"))?;
    let answer = answer.into_inner();
    let mut text = before(&described, upgrade);
    let runs = answer
        .current
        .as_ref()
        .map_or("nothing", |current| &current.vsn);
    let report = answer.report.clone().unwrap_or_default();
    let _ = match answer.outcome() {
        pb::RollbackOutcome::RolledBack => writeln!(
            text,
            "rolled back: {runs} runs and is permanent. {} actors went back to their pinned states, {} through code_change, \
             {} with {} events discarded, {} were stopped",
            report.pinned,
            report.migrated,
            report.restored,
            report.events_discarded,
            report.stopped
        ),
        pb::RollbackOutcome::Held => writeln!(
            text,
            "rolled back: {runs} runs and is permanent; {} actors could not go back and are held on the newer code",
            report.held.len()
        ),
        pb::RollbackOutcome::Untouched => writeln!(text, "it had changed nothing: {runs} runs"),
        pb::RollbackOutcome::Superseded => {
            writeln!(text, "left as it is: {runs} came after this rollout")
        }
        pb::RollbackOutcome::Unspecified => writeln!(
            text,
            "the agent gave no outcome that this version knows; {runs} runs"
        ),
    };
    for actor in &report.held {
        let _ = writeln!(
            text,
            "  held: pid {} {} ({}): {}",
            actor.pid, actor.name, actor.module, actor.reason
        );
    }
    Ok(text)
}

/// Confirms, and says what happened.
///
/// # Errors
/// As [`rollback`].
pub async fn confirm(args: &ConfirmArgs) -> Result<String, Error> {
    let (mut agent, described) = ask(&args.common.agent).await?;
    let upgrade = wanted(&described, described.upgrade.as_ref(), &args.common)?;
    let request = pb::ConfirmRequest {
        key: upgrade.key.clone(),
        finish: args.finish,
        epoch: upgrade.epoch,
        reason: args.common.reason.clone(),
    };
    let answer = agent.confirm(request).await.map_err(refused("confirm"))?;
    let answer = answer.into_inner();
    let mut text = before(&described, upgrade);
    let vsn = answer
        .permanent
        .as_ref()
        .map_or("nothing", |release| &release.vsn);
    let _ = writeln!(
        text,
        "confirmed: {vsn} is permanent; {} parked actors crashed",
        answer.crashed
    );
    let _ = match answer.state() {
        pb::UpgradeState::Finished => writeln!(
            text,
            "finished: the old code is purged, and the claim has ended"
        ),
        _ => writeln!(
            text,
            "the rollout still has its claim on this node; `midflight-agent confirm --finish` ends it"
        ),
    };
    Ok(text)
}

async fn ask(args: &AgentArgs) -> Result<(NodeAgentClient<Channel>, pb::DescribeResponse), Error> {
    let config = Config::read(&args.config)?;
    let path = socket(&config.data_dir);
    let no_agent = |source: Box<dyn std::error::Error + Send + Sync>| Error::NoAgent {
        path: path.clone(),
        source,
    };
    let to = path.clone();
    let connect = tower::service_fn(move |_: Uri| {
        let to = to.clone();
        async move { UnixStream::connect(to).await.map(TokioIo::new) }
    });
    // A Unix socket has no address; the client wants one for its requests.
    let endpoint = Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(connect).await;
    let channel = channel.map_err(|error| no_agent(error.into()))?;
    let mut agent = NodeAgentClient::new(channel);
    let described = agent.describe(pb::DescribeRequest::default()).await;
    let described = described.map_err(|status| no_agent(status.into()))?;
    Ok((agent, described.into_inner()))
}

/// The rollout that the order is for.
fn wanted<'a>(
    described: &pb::DescribeResponse,
    found: Option<&'a pb::UpgradeStatus>,
    args: &CommonArgs,
) -> Result<&'a pb::UpgradeStatus, Error> {
    let named = |upgrade: &&pb::UpgradeStatus| {
        let wanted = args.rollout.as_ref();
        wanted.is_none_or(|wanted| {
            upgrade
                .key
                .as_ref()
                .is_some_and(|key| key.rollout_id == *wanted)
        })
    };
    found.filter(named).ok_or_else(|| Error::NothingOpen {
        node: described.node.clone(),
        rollout: match &args.rollout {
            Some(rollout) => format!("rollout {rollout} does not hold"),
            None => "no rollout holds".to_owned(),
        },
        runs: described
            .current
            .as_ref()
            .map_or_else(String::new, |current| current.vsn.clone()),
    })
}

fn before(described: &pb::DescribeResponse, upgrade: &pb::UpgradeStatus) -> String {
    let key = upgrade.key.clone().unwrap_or_default();
    let vsn = |release: &Option<pb::Release>| {
        release
            .as_ref()
            .map_or_else(String::new, |release| release.vsn.clone())
    };
    let state = match upgrade.state() {
        pb::UpgradeState::Open | pb::UpgradeState::Suspended => "had not resumed",
        pb::UpgradeState::Probation => "was in probation",
        pb::UpgradeState::Confirmed => "was confirmed",
        pb::UpgradeState::Finished => "had finished",
        _ => "had ended",
    };
    format!(
        "node {}: rollout {} (attempt {}, epoch {}), {} to {}, {state}\n",
        described.node,
        key.rollout_id,
        key.attempt,
        upgrade.epoch,
        vsn(&upgrade.from),
        vsn(&upgrade.to)
    )
}

fn refused(order: &'static str) -> impl FnOnce(Status) -> Error {
    move |status| {
        let failure = pb::Failure::from_status(&status).unwrap_or_else(|| pb::Failure {
            what: status.message().to_owned(),
            ..pb::Failure::default()
        });
        let failure = Box::new(failure);
        Error::LocalOrder { order, failure }
    }
}
