//! `midflight plan`: what `apply` would do, from what the nodes run now.

use clap::Args;

use crate::command::fleet::{BundleArgs, FleetArgs, PolicyArgs, TargetArgs};
use crate::command::reach::ServerArgs;
use crate::command::show;
use crate::error::Error;
use crate::exit::Exit;
use crate::launch::wanted::Wanted;
use crate::output::Format;

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub bundle: BundleArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub fleet: FleetArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Shorten bakes and raise concurrency within the policy's rules. The canary and its gate stay.
    #[arg(long)]
    pub emergency: bool,
}

#[derive(Debug, Args)]
pub struct PlanVerbArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl PlanArgs {
    /// What is wanted, read from files; no node is asked.
    ///
    /// # Errors
    /// What reading gives.
    pub fn wanted(&self) -> Result<Wanted, Error> {
        let bundle = self.bundle.read()?;
        let through = self.bundle.read_through()?;
        let inventory = self.fleet.inventory.load()?;
        let policy = self.policy.load(Some(&inventory))?;
        Ok(Wanted {
            bundle,
            through,
            policy: if self.emergency {
                policy.emergency()
            } else {
                policy
            },
            inventory,
            pattern: self.target.pattern(),
            all: self.target.all,
            prepare_only: false,
            supersedes: String::new(),
        })
    }
}

pub async fn run(args: PlanVerbArgs, format: Format) -> Result<Exit, Error> {
    let PlanVerbArgs { plan, server } = args;
    if let Some(server) = server.client(&plan.fleet.pki).await? {
        let answer = server.plan(plan.header()?, plan.bundles()?).await?;
        return show(answer, format);
    }
    let transport = plan.fleet.pki.transport()?;
    let prepared = plan.wanted()?.prepare(&transport).await?;
    show(prepared.rendered(), format)
}
