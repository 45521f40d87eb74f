//! `midflight plan`: what `apply` would do, from what the nodes run now.

use std::sync::Arc;

use clap::Args;
use midflight_inventory::Inventory;
use midflight_patch::{Bundle, Manifest};

use crate::command::fleet::{BundleArgs, FleetArgs, PolicyArgs, TargetArgs};
use crate::command::{print, print_json};
use crate::engine::link::Link;
use crate::engine::survey;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Format;
use crate::plan::{self, Plan};
use crate::policy::Policy;

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
}

/// All that an apply begins with; nothing is changed yet.
pub struct Prepared {
    pub bundle: Bundle,
    /// Patches that may stand on the way.
    pub through: Vec<Bundle>,
    pub policy: Policy,
    pub plan: Plan,
    /// Connected where the node answered, in the order of the plan.
    pub links: Vec<Arc<Link>>,
}

impl PlanArgs {
    /// Reads everything, asks the nodes what they run, and cuts the plan.
    pub async fn prepare(&self) -> Result<Prepared, Error> {
        let bundle = self.bundle.read()?;
        let through = self.bundle.read_through()?;
        let on_the_way: Vec<&Manifest> = through.iter().map(|bundle| &bundle.manifest).collect();
        let inventory: Inventory = self.fleet.inventory.load()?;
        let policy = self.policy.load(Some(&inventory))?;
        let targets = plan::targets(&inventory, &self.target.pattern, self.target.all)?;
        let transport = self.fleet.pki.transport()?;
        let links = survey::links(&targets, &transport, &policy);
        let answers = survey::survey(&links, &policy).await;
        let plan = plan::plan(
            targets,
            answers,
            &bundle.manifest,
            &on_the_way,
            &policy,
            &inventory,
        )?;
        Ok(Prepared {
            bundle,
            through,
            policy,
            plan,
            links,
        })
    }
}

pub async fn run(args: PlanArgs, format: Format) -> Result<Exit, Error> {
    let Prepared {
        bundle,
        policy,
        plan,
        ..
    } = args.prepare().await?;
    match format {
        Format::Text => print(&plan.text(&bundle.manifest, &policy))?,
        Format::Json => {
            print_json(&plan.json(&bundle.manifest, &policy, &bundle.digest().to_string()))?
        }
    }
    Ok(Exit::OK)
}
