//! `midflight nodes`: what runs on nodes, as they say it themselves.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use midflight_inventory::Inventory;
use midflight_proto::agent::v1 as pb;
use serde_json::json;

use crate::command::drift::{self, Want};
use crate::command::fleet::{FleetArgs, PolicyArgs, TargetArgs};
use crate::command::reach::ServerArgs;
use crate::command::show;
use crate::engine::survey;
use crate::engine::words::Phase;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::{Format, Rendered, json_lines, table};
use crate::plan;
use crate::policy::Policy;
use crate::transport::{CallError, Transport};

#[derive(Debug, Args)]
pub struct NodesArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Show which nodes run something else than they would boot; nodes that stand alike are one line. The nodes are asked from
    /// here, also when a server is named.
    #[arg(long)]
    drift: bool,
    /// With --drift: what all of them should run, a patch's result or a release.
    #[arg(long, value_name = "BUNDLE", requires = "drift")]
    want: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Reading changes nothing, so that `--all` is not asked for; a node that does not answer, or that drifts, makes it exit 7.
pub async fn run(args: NodesArgs, format: Format) -> Result<Exit, Error> {
    if args.drift {
        let want = args.want.as_deref().map(Want::read).transpose()?;
        let inventory = args.fleet.inventory.load()?;
        let policy = args.policy.load(Some(&inventory))?;
        let targets = plan::targets(&inventory, &args.target.pattern(), true)?;
        let transport = args.fleet.pki.transport()?;
        survey::check(&targets, &transport)?;
        let links = survey::links(&targets, &transport, &policy);
        let answers = survey::survey(&links, &policy).await;
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        return drift::show(&names, &answers, want.as_ref(), format);
    }
    if let Some(server) = args.server.client(&args.fleet.pki).await? {
        return show(server.nodes(&args.target.pattern_to_send()?).await?, format);
    }
    let inventory = args.fleet.inventory.load()?;
    let policy = args.policy.load(Some(&inventory))?;
    let transport = args.fleet.pki.transport()?;
    let answer = look(&inventory, &policy, &args.target.pattern(), &transport).await?;
    show(answer, format)
}

/// Asks the nodes of a pattern what they run.
///
/// # Errors
/// What the pattern gives.
pub async fn look(
    inventory: &Inventory,
    policy: &Policy,
    pattern: &str,
    transport: &Arc<dyn Transport>,
) -> Result<Rendered, Error> {
    let targets = plan::targets(inventory, pattern, true)?;
    survey::check(&targets, transport)?;
    let links = survey::links(&targets, transport, policy);
    let answers = survey::survey(&links, policy).await;
    let silent = answers.iter().any(Result::is_err);
    let titles = [
        "NODE",
        "RELEASE",
        "PERMANENT",
        "UPGRADE",
        "ACTORS",
        "MODULES",
    ];
    let mut rows = vec![titles.map(str::to_owned)];
    let all = || targets.iter().zip(&answers);
    rows.extend(all().map(|(target, answer)| row(&target.name, answer)));
    Ok(Rendered {
        text: table(&rows),
        json: json_lines(all().map(|(target, answer)| as_json(&target.name, answer))),
        exit: if silent { Exit::PARTIAL } else { Exit::OK },
    })
}

fn release(release: Option<&pb::Release>) -> String {
    release.map_or_else(
        || "-".to_owned(),
        |release| format!("{} {}", release.name, release.vsn),
    )
}

fn upgrade_state(state: pb::UpgradeState) -> &'static str {
    match state {
        pb::UpgradeState::Unspecified => "unrecognised",
        pb::UpgradeState::Open => "open",
        pb::UpgradeState::Suspended => "suspended",
        pb::UpgradeState::Probation => "probation",
        pb::UpgradeState::Confirmed => "confirmed",
        pb::UpgradeState::Finished => "finished",
        pb::UpgradeState::RolledBack => "rolled_back",
        pb::UpgradeState::Aborted => "aborted",
    }
}

fn row(name: &str, answer: &Result<pb::DescribeResponse, CallError>) -> [String; 6] {
    let node = match answer {
        Ok(node) => node,
        Err(error) => {
            let what = format!("{}: {}", error.code(), crate::error::chain(error));
            return [
                name.to_owned(),
                "-".into(),
                "-".into(),
                "-".into(),
                "-".into(),
                what,
            ];
        }
    };
    let upgrade = node.upgrade.as_ref().map_or_else(
        || "-".to_owned(),
        |upgrade| {
            let rollout = upgrade
                .key
                .as_ref()
                .map(|key| key.rollout_id.as_str())
                .unwrap_or_default();
            format!("{} by {rollout}", upgrade_state(upgrade.state()))
        },
    );
    let module = |module: &pb::ModuleStatus| {
        let trouble = match (module.traps, module.errors, module.restarts) {
            (0, 0, 0) => String::new(),
            (traps, errors, restarts) => {
                format!(" ({traps} traps, {errors} errors, {restarts} restarts)")
            }
        };
        let old = match module.actors_on_old {
            0 => String::new(),
            actors => format!(
                ", {actors} on {} for {}",
                module.old_vsn,
                crate::output::duration(module.old_since_ms)
            ),
        };
        format!(
            "{} {}: {} actors{old}{trouble}",
            module.name, module.vsn, module.actors
        )
    };
    let modules: Vec<String> = node.modules.iter().map(module).collect();
    [
        name.to_owned(),
        release(node.current.as_ref()),
        release(node.permanent.as_ref()),
        upgrade,
        node.actors.to_string(),
        modules.join("; "),
    ]
}

fn as_json(name: &str, answer: &Result<pb::DescribeResponse, CallError>) -> serde_json::Value {
    let node = match answer {
        Ok(node) => node,
        Err(error) => return json!({"node": name, "unreachable": error.cause(Phase::Describe)}),
    };
    let release = |release: &Option<pb::Release>| {
        release.as_ref().map(
            |release| json!({"name": release.name, "vsn": release.vsn, "digest": release.digest}),
        )
    };
    let upgrade = node.upgrade.as_ref().map(|upgrade| {
        let key = upgrade.key.clone().unwrap_or_default();
        let health = upgrade.health.clone().unwrap_or_default();
        json!({
            "rollout": key.rollout_id, "patch": key.patch_digest, "attempt": key.attempt,
            "state": upgrade_state(upgrade.state()), "from": release(&upgrade.from), "to": release(&upgrade.to),
            "pause_us": upgrade.pause_us,
            "health": {
                "events": health.events, "traps": health.traps, "errors": health.errors, "restarts": health.restarts,
                "parked": health.parked, "ended": health.ended, "since_resume_ms": health.since_resume_ms,
            },
        })
    });
    let module = |module: &pb::ModuleStatus| {
        json!({
            "name": module.name, "vsn": module.vsn, "digest": module.digest, "actors": module.actors,
            "actors_on_old": module.actors_on_old, "old_vsn": module.old_vsn,
            "old_since_ms": module.old_since_ms, "events": module.events, "traps": module.traps, "errors": module.errors, "restarts": module.restarts,
        })
    };
    json!({
        "node": name,
        "agent_version": node.agent_version,
        "current": release(&node.current),
        "permanent": release(&node.permanent),
        "upgrade": upgrade,
        "actors": node.actors,
        "uptime_ms": node.uptime_ms,
        "dead_letters": node.dead_letters,
        "modules": node.modules.iter().map(module).collect::<Vec<_>>(),
    })
}
