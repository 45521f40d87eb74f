//! `midflight pause`, `promote` and `abort`: ask something of a rollout that lives, wherever it does, and say what was answered. What
//! follows from it, `watch` shows.

use clap::Args;
use serde_json::json;

use crate::command::fleet::PkiArgs;
use crate::command::reach::{Place, ReachArgs, ask};
use crate::command::{print_json, tell};
use crate::engine::control::Verb;
use crate::engine::id::RolloutId;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Format;

/// Which rollout, and why.
#[derive(Debug, Args)]
pub struct ControlArgs {
    /// The rollout; see `midflight history`.
    pub rollout: RolloutId,
    /// Why; it is journalled with your name.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
    #[command(flatten)]
    pub reach: ReachArgs,
    #[command(flatten)]
    pub pki: PkiArgs,
}

#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// Take a gate that had too little data for passed, for this reason. A gate that tripped cannot be passed.
    #[arg(long, value_name = "REASON")]
    accept_inconclusive: Option<String>,
    #[command(flatten)]
    control: ControlArgs,
}

#[derive(Debug, Args)]
pub struct AbortArgs {
    /// Confirm the nodes in probation instead of putting them back.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    control: ControlArgs,
}

pub async fn pause(args: ControlArgs, format: Format) -> Result<Exit, Error> {
    run(&args, &Verb::Pause, format).await
}

pub async fn promote(args: PromoteArgs, format: Format) -> Result<Exit, Error> {
    let accept_inconclusive = args.accept_inconclusive;
    run(
        &args.control,
        &Verb::Promote {
            accept_inconclusive,
        },
        format,
    )
    .await
}

pub async fn abort(args: AbortArgs, format: Format) -> Result<Exit, Error> {
    run(&args.control, &Verb::Abort { keep: args.keep }, format).await
}

async fn run(args: &ControlArgs, verb: &Verb, format: Format) -> Result<Exit, Error> {
    match args.reach.place(&args.pki, &args.rollout).await? {
        Place::There(client) => {
            ask(&client, &args.rollout, verb, &args.reason).await?;
            said(&args.rollout, verb, format)
        }
        Place::Here(..) => Err(Error::NoOwner {
            rollout: args.rollout.to_string(),
        }),
    }
}

/// Says that a request was followed.
pub fn said(rollout: &RolloutId, verb: &Verb, format: Format) -> Result<Exit, Error> {
    match format {
        Format::Text => tell(&format!(
            "rollout {rollout}: {} is under way",
            verb.as_str()
        )),
        Format::Json => {
            print_json(&json!({"rollout": rollout, "verb": verb.as_str(), "done": true}))?
        }
    }
    Ok(Exit::OK)
}
