//! `midflight pki`: a private CA, and certificates for nodes, controllers and people.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use midflight_inventory::expand;
use serde_json::json;

use crate::command::{print, print_json, tell};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Format;
use crate::pki::{self, Role, Subject};

#[derive(Debug, Subcommand)]
pub enum PkiVerb {
    /// Make a CA: DIR/ca.pem and DIR/ca.key. Keep the key away from servers.
    Init {
        /// The folder; made when it is not there.
        dir: PathBuf,
        /// The fleet's name, for the CA's subject.
        #[arg(long)]
        fleet: String,
        /// Replace a CA that is there: every certificate that it issued stops being accepted.
        #[arg(long)]
        force: bool,
    },
    /// Issue certificates by the CA in DIR, as DIR/NAME.pem and DIR/NAME.key.
    Issue(IssueArgs),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whom").required(true).args(["node", "role"]))]
pub struct IssueArgs {
    /// The CA's folder.
    dir: PathBuf,
    /// For a node, by its name in the inventory; a range such as 'web[01:50]' issues for each.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// An address that other tools dial the node at; the controller needs none.
    #[arg(long, value_name = "IP", requires = "node")]
    address: Vec<IpAddr>,
    /// For a controller or a person: what agents let it do.
    #[arg(long, value_enum, requires = "name")]
    role: Option<Role>,
    /// Whose it is. --pki expects an operator of the name controller.
    #[arg(long, value_name = "WHO", requires = "role")]
    name: Option<String>,
    /// How long it is valid.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=825))]
    days: u16,
    /// Replace certificates and keys that are there.
    #[arg(long)]
    force: bool,
}

pub fn run(verb: &PkiVerb, format: Format) -> Result<Exit, Error> {
    match verb {
        PkiVerb::Init { dir, fleet, force } => {
            pki::init(dir, fleet, *force)?;
            tell(&format!(
                "made {}; its key stays secret",
                dir.join("ca.pem").display()
            ));
        }
        PkiVerb::Issue(args) => {
            for subject in subjects(args)? {
                let (cert, key) = pki::issue(&args.dir, &subject, args.days, args.force)?;
                match format {
                    Format::Text => print(&format!("{}\n{}\n", cert.display(), key.display()))?,
                    Format::Json => {
                        print_json(&json!({"certificate": cert, "key": key, "days": args.days}))?
                    }
                }
            }
        }
    }
    Ok(Exit::OK)
}

fn subjects(args: &IssueArgs) -> Result<Vec<Subject>, Error> {
    if let (Some(role), Some(name)) = (args.role, &args.name) {
        return Ok(vec![Subject::Client {
            name: name.clone(),
            role,
        }]);
    }
    let names = expand(args.node.as_deref().unwrap_or_default())?;
    if names.len() > 1 && !args.address.is_empty() {
        let problem = format!("{} nodes cannot share an address", names.len());
        return Err(Error::Usage {
            problem,
            hint: "leave --address out, or issue for one node at a time",
        });
    }
    Ok(names
        .into_iter()
        .map(|name| Subject::Node {
            name,
            addresses: args.address.clone(),
        })
        .collect())
}
