//! `midflight inventory`: what the files say, without asking a node.

use clap::Subcommand;
use midflight_inventory::fold;

use crate::command::fleet::InventoryArgs;
use crate::command::{print, print_json, tell};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Format;
use crate::policy;

#[derive(Debug, Subcommand)]
pub enum InventoryVerb {
    /// List the hosts that a pattern names, with addresses and variables.
    List {
        /// Which hosts; default all.
        #[arg(default_value = "all")]
        pattern: String,
        /// Names only, folded into ranges.
        #[arg(long)]
        fold: bool,
        #[command(flatten)]
        inventory: InventoryArgs,
    },
    /// Show groups as a tree.
    Graph {
        #[command(flatten)]
        inventory: InventoryArgs,
    },
    /// Read everything, the policy included, and say what is wrong.
    Check {
        #[command(flatten)]
        inventory: InventoryArgs,
    },
}

pub fn run(verb: &InventoryVerb, format: Format) -> Result<Exit, Error> {
    match verb {
        InventoryVerb::List {
            pattern,
            fold: folded,
            inventory,
        } => {
            let inventory = inventory.load()?;
            let hosts = inventory.select(pattern)?;
            match (format, folded) {
                (Format::Json, _) => hosts.iter().try_for_each(print_json)?,
                (Format::Text, true) => {
                    print(
                        &fold(hosts.iter().map(|host| host.name()))
                            .iter()
                            .map(|name| format!("{name}\n"))
                            .collect::<String>(),
                    )?;
                }
                (Format::Text, false) => {
                    let line = |host: &&midflight_inventory::Host| {
                        let groups: Vec<&str> = host.groups().collect();
                        let zone = host
                            .zone()
                            .map(|zone| format!("  zone {zone}"))
                            .unwrap_or_default();
                        format!(
                            "{}  {}:{}{zone}  {}\n",
                            host.name(),
                            host.address(),
                            host.port(),
                            groups.join(",")
                        )
                    };
                    print(&hosts.iter().map(line).collect::<String>())?;
                }
            }
        }
        InventoryVerb::Graph { inventory } => print(&inventory.load()?.graph())?,
        InventoryVerb::Check { inventory } => {
            let inventory = inventory.load()?;
            let policy = policy::from_inventory(&inventory)?;
            let with = if policy.is_some() {
                "a policy"
            } else {
                "no policy"
            };
            tell(&format!(
                "good: {} hosts in {} groups, {with}",
                inventory.hosts().len(),
                inventory.groups().len()
            ));
        }
    }
    Ok(Exit::OK)
}
