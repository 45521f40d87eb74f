//! `midflight inventory`: what the files say, without asking a node.

use std::mem::ManuallyDrop;

use clap::{Subcommand, ValueEnum};
use midflight_inventory::{Host, Inventory, fold, fold_nodes};

use crate::command::fleet::{InventoryArgs, NarrowArgs};
use crate::command::{print, print_from, print_json, tell};
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
        /// What is listed, and how.
        #[arg(long, value_enum, default_value_t = Listing::Hosts)]
        format: Listing,
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
    /// Read everything, the policy included, and say what is wrong, and what is not known since ansible-vault has encrypted it.
    Check {
        #[command(flatten)]
        inventory: InventoryArgs,
    },
}

/// What `inventory list` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Listing {
    /// The hosts that the pattern names.
    Hosts,
    /// Groups and variables of the whole inventory, as ansible-inventory --list prints them.
    Ansible,
}

pub fn run(verb: &InventoryVerb, format: Format) -> Result<Exit, Error> {
    match verb {
        InventoryVerb::List {
            pattern,
            fold,
            format: Listing::Hosts,
            narrow,
            inventory,
        } => list(&inventory.load()?, &narrow.apply(pattern), *fold, format)?,
        InventoryVerb::List {
            pattern,
            fold,
            narrow,
            inventory,
            ..
        } => {
            if *fold || narrow.apply(pattern) != "all" {
                return Err(Error::Usage {
                    problem: "--format ansible lists the whole inventory".to_owned(),
                    hint: "leave out the pattern, --limit, --exclude and --fold",
                });
            }
            // The process ends after this: millions of small pieces of memory need not be given back one by one.
            let inventory = ManuallyDrop::new(inventory.load()?);
            print_from(|out| Ok(inventory.write_ansible_list(out)?))?;
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
            for path in inventory.sealed() {
                let path = path.display();
                tell(&format!(
                    "note: {path}:1: encrypted by ansible-vault: the variables in it are not known"
                ));
            }
            for variable in inventory.sealed_variables() {
                let (at, name) = (&variable.at, crate::output::plain(&variable.name));
                tell(&format!(
                    "note: {at}: the variable {name} is encrypted by ansible-vault, and is not known"
                ));
            }
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

fn list(inventory: &Inventory, pattern: &str, folded: bool, format: Format) -> Result<(), Error> {
    let hosts = inventory.select(pattern)?;
    match (format, folded) {
        (Format::Json, _) => hosts.iter().try_for_each(print_json),
        (Format::Text, true) => {
            let names = fold(hosts.iter().map(|host| host.name()));
            print(
                &names
                    .iter()
                    .map(|name| format!("{name}\n"))
                    .collect::<String>(),
            )
        }
        (Format::Text, false) => print(&hosts.into_iter().map(line).collect::<String>()),
    }
}

/// A host, how it is reached, and its groups.
fn line(host: &Host) -> String {
    let reach = match host.ssh() {
        _ if host.reachable().is_err() => format!("{} not by ssh", host.address()),
        None => format!("{}:{}", host.address(), host.port()),
        Some(ssh) => {
            let user = ssh
                .user
                .as_ref()
                .map(|user| format!("{user}@"))
                .unwrap_or_default();
            let port = ssh.port.map(|port| format!(":{port}")).unwrap_or_default();
            format!("ssh {user}{}{port}", host.address())
        }
    };
    let zone = host
        .zone()
        .map(|zone| format!("  zone {zone}"))
        .unwrap_or_default();
    let groups: Vec<&str> = host.groups().collect();
    format!("{}  {reach}{zone}  {}\n", host.name(), groups.join(","))
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
