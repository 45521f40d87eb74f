//! `midflight-bench-fanout [NODES...]`: what a rollout over a fleet costs its controller, the real `midflight apply` against
//! the simulator, a process of its own. Beside it, in the same run, a client as one would first write it with tonic, which
//! makes fewer calls and keeps no journal. One JSON object a line on stdout: figures first, then ratios (Midflight over tonic).
//!
//! Wall time is from the start of the process to its end, processor time is user and system, memory the most that the
//! process held beyond what it holds for ten nodes.

mod faults;
mod healthy;
mod sim;
mod tonic_client;

use std::{error::Error, path::PathBuf};

use midflight_tests::figures::Figures;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Fleets of these sizes, unless others are named.
const SIZES: [u64; 2] = [1_000, 10_000];

/// How rollouts of the benchmark proceed; printed, because figures mean nothing without it.
pub(crate) const POLICY: &str = "waves: [100%]
bake: 0s
concurrency: 512
failure_budget: {max: 1%, min_sample: 512, unreachable: 10%}
timeouts: {connect: 5s, gate: 60s}
gates: [{traps: 0}]
";

fn main() -> Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|word| word == "--tonic") {
        let folder = PathBuf::from(args.pop().ok_or("--tonic needs the simulator's folder")?);
        return tonic_client::main(&folder);
    }
    let sizes: Vec<u64> = match args.len() {
        0 => SIZES.to_vec(),
        _ => args
            .iter()
            .map(|n| n.parse())
            .collect::<std::result::Result<_, _>>()?,
    };
    eprintln!("# policy of the rollouts\n{POLICY}");
    let mut figures = Figures::default();
    let idle = healthy::idle_memory()?;
    for n in &sizes {
        healthy::run(*n, idle, &mut figures)?;
    }
    if let [few, .., many] = sizes.as_slice() {
        growth(&mut figures, *few, *many);
    }
    if let Some(most) = sizes.last() {
        faults::run(*most, &mut figures)?;
    }
    figures.ratios(&["tonic"]);
    Ok(())
}

/// Processor time of a node among many over that among few.
fn growth(figures: &mut Figures, few: u64, many: u64) {
    let of = |n| figures.value("fanout_cpu", "midflight", n);
    if let (Some(less), Some(more)) = (of(few), of(many)) {
        let growth = (more / less, "times");
        figures.add("fanout_growth", "midflight", many, growth);
    }
}
