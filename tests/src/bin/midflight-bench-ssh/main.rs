//! `midflight-bench-ssh [BENCH...]`: fleets as they are. What `midflight` does over SSH and with the inventories that people have,
//! beside the programs that people have, in the same run. One JSON object a line on stdout: figures first, then ratios, Midflight
//! over the other. Without names of benches all of them run.

mod inventory;

use std::error::Error;

use midflight_tests::figures::Figures;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A bench's name, and what runs it.
type Bench = (&'static str, fn(&mut Figures) -> Result<()>);

const BENCHES: [Bench; 1] = [("inventory_load", inventory::load)];

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(name) = wanted
        .iter()
        .find(|name| BENCHES.iter().all(|(known, _)| known != name))
    {
        let known: Vec<&str> = BENCHES.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no bench {name:?}; there is {}", known.join(", ")).into());
    }
    let mut figures = Figures::default();
    for (name, run) in BENCHES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            run(&mut figures)?;
        }
    }
    figures.ratios(&["ansible"]);
    Ok(())
}
