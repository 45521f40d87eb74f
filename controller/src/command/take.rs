//! `midflight resume`, `rollback` and `retry --failed`: ask a rollout that lives, or take one up that nobody runs and go on with it
//! here. All they need of the patch is in the journal; an inventory, when one is named, corrects addresses.

use clap::Args;

use crate::client::Client;
use crate::command::control::{ControlArgs, said};
use crate::command::fleet::InventoryArgs;
use crate::command::follow::{Signals, follow};
use crate::command::foreground::Foreground;
use crate::command::reach::{Place, ask, refused};
use crate::command::tell;
use crate::engine::control::{Answer, Request, Verb};
use crate::engine::words::RolloutState;
use crate::error::Error;
use crate::exit::Exit;
use crate::journal::{Head, Sqlite};
use crate::launch::{Launch, Take, this_process};
use crate::output::Format;
use crate::policy::OnDownFailure;
use crate::transport::Target;

/// A rollout that may have to be taken up.
#[derive(Debug, Args)]
pub struct TakeArgs {
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    inventory: InventoryArgs,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    take: TakeArgs,
    /// Be no part of a terminal: for a rollout that was detached from one.
    #[arg(long, hide = true)]
    background: bool,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    #[command(flatten)]
    take: TakeArgs,
    /// What to do with an actor whose code_change(down) fails: hold, restore or stop; default as the rollout's policy said.
    #[arg(long, value_name = "WHAT", value_parser = ["hold", "restore", "stop"])]
    on_down_failure: Option<String>,
}

#[derive(Debug, Args)]
pub struct RetryArgs {
    /// The nodes that failed, were lost or could not be reached; others are not tried again.
    #[arg(long, required = true)]
    failed: bool,
    #[command(flatten)]
    take: TakeArgs,
}

pub async fn resume(args: ResumeArgs, format: Format) -> Result<Exit, Error> {
    if args.background {
        // Refused only to the leader of a group, which nobody waits for in a terminal.
        let _ = rustix::process::setsid();
    }
    let (id, control) = (&args.take.control.rollout, &args.take.control);
    match control.reach.place(&control.pki, id).await? {
        Place::There(client) => {
            ask(&client, id, &Verb::Resume, &control.reason).await?;
            said(id, &Verb::Resume, format)
        }
        Place::Here(_, head) if !head.is_open() => {
            Err(refused(id, &Verb::Resume, format!("it is {}", head.state)))
        }
        Place::Here(journal, head) => {
            let paused = head.state == RolloutState::Paused && !args.background;
            args.take
                .here(journal, *head, paused.then_some(Verb::Resume), None, format)
                .await
        }
    }
}

pub async fn rollback(args: RollbackArgs, format: Format) -> Result<Exit, Error> {
    let id = &args.take.control.rollout;
    match args.take.place().await? {
        Place::There(client) => args.take.there(&client, Verb::Rollback, format).await,
        Place::Here(journal, head) => {
            let view = crate::journal::read_all(&journal, id).await?;
            if crate::engine::view::View::of(&view).changed().is_empty() && !head.is_open() {
                tell(&format!(
                    "rollout {id} has left no node on the new code; there is nothing to roll back"
                ));
                return Ok(Exit::OK);
            }
            let down = args
                .on_down_failure
                .as_deref()
                .map(OnDownFailure::from_word);
            args.take
                .here(journal, *head, Some(Verb::Rollback), down, format)
                .await
        }
    }
}

pub async fn retry(args: RetryArgs, format: Format) -> Result<Exit, Error> {
    match args.take.place().await? {
        Place::There(client) => args.take.there(&client, Verb::RetryFailed, format).await,
        Place::Here(journal, head) => {
            args.take
                .here(journal, *head, Some(Verb::RetryFailed), None, format)
                .await
        }
    }
}

impl TakeArgs {
    async fn place(&self) -> Result<Place, Error> {
        let ControlArgs {
            reach,
            pki,
            rollout,
            ..
        } = &self.control;
        reach.place(pki, rollout).await
    }

    /// Asks, then shows what follows.
    async fn there(&self, client: &Client, verb: Verb, format: Format) -> Result<Exit, Error> {
        let id = &self.control.rollout;
        let before = client.list(10_000).await?;
        let seen = before.iter().find(|head| head.rollout == *id);
        let from = seen.map_or(0, |head| head.seq);
        ask(client, id, &verb, &self.control.reason).await?;
        follow(client, id, from, Signals::Leave, format).await
    }

    /// Takes it up and goes on with it here.
    async fn here(
        &self,
        journal: Sqlite,
        head: Head,
        verb: Option<Verb>,
        on_down_failure: Option<OnDownFailure>,
        format: Format,
    ) -> Result<Exit, Error> {
        let ControlArgs {
            rollout,
            reason,
            pki,
            ..
        } = &self.control;
        let launch = Launch::new(journal, pki.transport()?);
        let lock = launch.lock(rollout, head.owner)?;
        let request = verb.clone().map(|verb| Request {
            verb,
            who: this_process().to_string(),
            reason: reason.clone(),
        });
        let take = Take {
            request,
            on_down_failure,
            moved: self.moved()?,
        };
        let mut taken = launch.take(rollout, lock, None, take).await?;
        let mut answered = taken.answered();
        let exit = Foreground {
            launch: &launch,
            pki,
            format,
            replay: false,
            steered: true,
        }
        .run(taken)
        .await?;
        match (verb, answered.try_recv()) {
            (Some(verb), Ok(Answer::Refused(why))) => Err(refused(rollout, &verb, why)),
            _ => Ok(exit),
        }
    }

    /// Where the inventory says that nodes are, when one is named.
    fn moved(&self) -> Result<Vec<Target>, Error> {
        if self.inventory.files.is_empty() {
            return Ok(Vec::new());
        }
        let inventory = self.inventory.load()?;
        Ok(inventory.hosts().iter().map(Target::from).collect())
    }
}
