//! `midflight apply`: plan, record, then run the rollout in this process, or submit it to a server and show it.

use std::fs;

use clap::Args;
use midflight_proto::controller::v1 as pb;

use crate::client::Client;
use crate::command::follow::{Signals, follow};
use crate::command::foreground::Foreground;
use crate::command::plan::PlanArgs;
use crate::command::reach::ReachArgs;
use crate::command::{print, print_json, tell};
use crate::engine::id::RolloutId;
use crate::error::Error;
use crate::exit::Exit;
use crate::launch::wanted::Wanted;
use crate::launch::{Launch, Take, leftovers};
use crate::output::Format;

#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    reach: ReachArgs,
    /// Stage and prepare on every node, and suspend nothing: who would fail, and how long the pause would be.
    #[arg(long)]
    prepare_only: bool,
    /// Take over nodes on which this rollout is open.
    #[arg(long, value_name = "ROLLOUT")]
    supersede: Option<RolloutId>,
    /// Begin it, and leave it to a process in the background, or to the server.
    #[arg(long)]
    detach: bool,
}

/// Who says when to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// Signals to this process.
    Signals,
    /// Nobody.
    Nobody,
}

pub async fn run(args: ApplyArgs, steering: Steering, format: Format) -> Result<Exit, Error> {
    if let Some(server) = args.reach.server(&args.plan.fleet.pki).await? {
        return args.submit(&server, steering, format).await;
    }
    let launch = Launch::new(args.reach.journal()?, args.plan.fleet.pki.transport()?);
    let wanted = Wanted {
        prepare_only: args.prepare_only,
        supersedes: args.supersedes(),
        ..args.plan.wanted()?
    };
    let prepared = tokio::select! {
        prepared = wanted.prepare(&launch.transport) => prepared?,
        () = interrupted(steering) => {
            tell("stopped while planning; no node was changed");
            return Ok(Exit::ABORTED);
        }
    };
    leftovers::finish(&*launch.journal, &launch.path, &prepared).await?;
    let (id, lock) = launch
        .record(&prepared, &args.plan.target.pattern())
        .await?;
    let foreground = Foreground {
        launch: &launch,
        pki: &args.plan.fleet.pki,
        format,
        replay: true,
        steered: steering == Steering::Signals,
    };
    if args.detach {
        drop(lock);
        foreground.hand_over(&id).await?;
        return began(&id, format);
    }
    let taken = launch.take(&id, lock, Some(prepared.links), Take::default());
    foreground.run(taken.await?).await
}

/// A signal before there is a rollout ends the process in order.
async fn interrupted(steering: Steering) {
    match steering {
        Steering::Signals => {
            use tokio::signal::unix::{SignalKind, signal};

            let (Ok(mut interrupts), Ok(mut terminations)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            ) else {
                return std::future::pending().await;
            };
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
            }
        }
        Steering::Nobody => std::future::pending().await,
    }
}

fn began(id: &RolloutId, format: Format) -> Result<Exit, Error> {
    tell(&format!(
        "rollout {id} has begun; midflight watch {id} shows it"
    ));
    match format {
        Format::Text => print(&format!("{id}\n"))?,
        Format::Json => print_json(&serde_json::json!({"rollout": id}))?,
    }
    Ok(Exit::RUNNING)
}

impl ApplyArgs {
    fn supersedes(&self) -> String {
        self.supersede
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    async fn submit(
        &self,
        server: &Client,
        steering: Steering,
        format: Format,
    ) -> Result<Exit, Error> {
        let header = pb::SubmitHeader {
            prepare_only: self.prepare_only,
            supersede: self.supersedes(),
            ..self.plan.header()?
        };
        let id = server.apply(header, self.plan.bundles()?).await?;
        if self.detach {
            return began(&id, format);
        }
        let signals = match steering {
            Steering::Signals => Signals::Ask,
            Steering::Nobody => Signals::Leave,
        };
        follow(server, &id, 0, signals, format).await
    }
}

impl PlanArgs {
    /// The header of a submission to a server.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Policy`], [`Error::Inventory`].
    pub fn header(&self) -> Result<pb::SubmitHeader, Error> {
        let policy = match &self.policy.policy {
            Some(path) => {
                // Read here too, so that a mistake is told with the file's name.
                self.policy.load(None)?;
                fs::read_to_string(path).map_err(Error::io("read", path))?
            }
            None => String::new(),
        };
        Ok(pb::SubmitHeader {
            pattern: self.target.pattern_to_send()?,
            all: self.target.all,
            policy,
            emergency: self.emergency,
            ..pb::SubmitHeader::default()
        })
    }

    /// The bundles of a submission, checked.
    ///
    /// # Errors
    /// [`Error::Patch`], [`Error::Io`].
    pub fn bundles(&self) -> Result<Vec<Vec<u8>>, Error> {
        let bundles = std::iter::once(self.bundle.read()?).chain(self.bundle.read_through()?);
        let bytes = |bundle: midflight_patch::Bundle| {
            bundle
                .to_bytes()
                .map_err(Error::patch("the bundle cannot be sent"))
        };
        bundles.map(bytes).collect()
    }
}
