//! `midflight inventory`: what the files say, without asking a node.

use clap::Subcommand;
use midflight_inventory::{Host, Inventory, fold, fold_nodes};

use crate::command::fleet::{InventoryArgs, NarrowArgs};
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
        narrow: NarrowArgs,
        #[command(flatten)]
        inventory: InventoryArgs,
    },
    /// Print the names of the hosts that a pattern names, one a line; their number goes to stderr. Exit 2 when there are none.
    Match {
        /// Which hosts.
        pattern: String,
        /// Fold them into one node set, as in node[001-500,600].
        #[arg(long)]
        fold: bool,
        #[command(flatten)]
        narrow: NarrowArgs,
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
            narrow,
            inventory,
        } => {
            let inventory = inventory.load()?;
            let hosts = inventory.select(&narrow.apply(pattern))?;
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
                    let line = |host: &&Host| {
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
        InventoryVerb::Match {
            pattern,
            fold,
            narrow,
            inventory,
        } => {
            let inventory = inventory.load()?;
            matching(&inventory, &narrow.apply(pattern), *fold, format)?;
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

fn matching(
    inventory: &Inventory,
    pattern: &str,
    folded: bool,
    format: Format,
) -> Result<(), Error> {
    let hosts = inventory.select(pattern)?;
    if hosts.is_empty() {
        let pattern = pattern.to_owned();
        return Err(Error::NoTargets { pattern });
    }
    let names: Vec<&str> = hosts.iter().map(|host| host.name()).collect();
    match (format, folded) {
        (Format::Json, _) => names.iter().try_for_each(print_json)?,
        (Format::Text, true) => print(&(fold_nodes(&names) + "\n"))?,
        (Format::Text, false) => print(&(names.join("\n") + "\n"))?,
    }
    tell(&format!(
        "{} of {} hosts",
        names.len(),
        inventory.hosts().len()
    ));
    Ok(())
}
