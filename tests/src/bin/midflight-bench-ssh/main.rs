//! `midflight-bench-ssh [BENCH...]`: fleets as they are. What `midflight` does over SSH and with the inventories that people have,
//! beside the programs that people have, in the same run. One JSON object a line on stdout: figures first, then ratios, Midflight
//! over the other. Without names of benches all of them run.

mod exec;
mod inventory;
mod patch;
mod place;

use std::error::Error;

use midflight_tests::figures::Figures;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A bench's name, whether it needs a place with a server, and what runs it.
type Bench = (&'static str, bool, fn(&mut Figures) -> Result<()>);

const BENCHES: [Bench; 4] = [
    ("inventory_load", false, inventory::load),
    ("ssh_true", true, exec::cold),
    ("ssh_warm", true, exec::warm),
    ("ssh_patch", true, patch::run),
];

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(name) = wanted
        .iter()
        .find(|name| BENCHES.iter().all(|(known, ..)| known != name))
    {
        let known: Vec<&str> = BENCHES.iter().map(|(name, ..)| *name).collect();
        return Err(format!("there is no bench {name:?}; there is {}", known.join(", ")).into());
    }
    let chosen: Vec<&Bench> = BENCHES
        .iter()
        .filter(|(name, ..)| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name))
        .collect();
    if chosen.iter().any(|(_, placed, _)| *placed) {
        place::enter()?;
    }
    let mut figures = Figures::default();
    for (_, _, run) in chosen {
        run(&mut figures)?;
    }
    figures.ratios(&["openssh", "clush", "first", "ansible"]);
    Ok(())
}
