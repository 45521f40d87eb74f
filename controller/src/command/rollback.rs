//! `midflight rollback`: puts back every node that a rollout changed or may have changed, all at once, also long after its
//! success. What it needs is in the journal; an inventory, when one is named, corrects addresses.

use std::sync::Arc;

use clap::Args;

use crate::command::apply::{conclude, signals, this_process};
use crate::command::fleet::{FleetArgs, PolicyArgs};
use crate::command::{JournalArgs, tell};
use crate::engine::control::{Request, Verb};
use crate::engine::event::Fact;
use crate::engine::id::RolloutId;
use crate::engine::rollout::Input;
use crate::engine::view::View;
use crate::engine::{self, Run, survey};
use crate::error::Error;
use crate::exit::Exit;
use crate::journal::{Lock, Sqlite, read_all};
use crate::output::{self, Format};
use crate::policy::OnDownFailure;
use crate::transport::Target;

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The rollout; see `midflight history`.
    rollout: RolloutId,
    /// What to do with an actor whose code_change(down) fails: hold, restore or stop; default as the rollout's policy said.
    #[arg(long, value_name = "WHAT", value_parser = ["hold", "restore", "stop"])]
    on_down_failure: Option<String>,
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    journal: JournalArgs,
}

pub async fn run(args: RollbackArgs, format: Format) -> Result<Exit, Error> {
    let path = args.journal.path()?;
    let journal = Sqlite::open(&path)?;
    let id = args.rollout.clone();
    let events = read_all(&journal, &id).await?;
    let view = View::of(&events);
    let planned = view.planned.clone().ok_or_else(|| Error::NoSuchRollout {
        rollout: id.to_string(),
    })?;
    let lock = match Lock::take(&path, &id)? {
        Some(lock) => lock,
        None => {
            return Err(Error::Owned {
                rollout: id.to_string(),
                owner: view.owner.unwrap_or_else(this_process),
            });
        }
    };
    let changed = view.changed();
    if changed.is_empty() {
        tell(&format!(
            "rollout {id} has left no node on the new code; there is nothing to roll back"
        ));
        lock.finish();
        return Ok(Exit::OK);
    }
    let (mut targets, inventory): (Vec<Target>, _) = (
        planned.nodes.iter().map(Target::from).collect(),
        &args.fleet.inventory,
    );
    let inventory = if inventory.files.is_empty() {
        None
    } else {
        Some(inventory.load()?)
    };
    for target in &mut targets {
        if let Some(host) = inventory
            .as_ref()
            .and_then(|inventory| inventory.host(&target.name))
        {
            *target = Target::from(host);
        }
    }
    let policy = args.policy.load(inventory.as_ref())?;
    let links = survey::links(&targets, &args.fleet.pki.transport()?, &policy);
    let asked = args.on_down_failure.as_deref();
    let ended = engine::run(Run {
        id: id.clone(),
        policy,
        before: events,
        preface: vec![Fact::Owned {
            owner: this_process(),
            epoch: view.epoch + 1,
        }],
        first: Input::Recover(Some(Request {
            verb: Verb::Rollback,
            who: this_process().to_string(),
            reason: String::new(),
        })),
        on_down_failure: asked.map(OnDownFailure::from_word),
        links,
        payload: None,
        journal: Arc::new(journal),
        reporter: &mut *output::reporter(format),
        controls: signals()?,
    })
    .await;
    conclude(&id, ended, lock, format)
}
