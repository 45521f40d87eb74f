//! Call and cast between two actors.

use std::path::Path;

use serde_json::json;

use crate::{
    Result,
    figure::{Figure, figure, median},
    node::{boot, drive},
};

const RUNS: usize = 7;

/// Medians of several runs; of one of the two, when it is named: for a profile.
pub(crate) fn run(guests: &Path, only: Option<&str>) -> Result<Vec<Figure>> {
    let node = boot(guests)?;
    let mut figures = Vec::new();
    let all = [("call", "calls", 200_000_u64), ("cast", "casts", 1_000_000)];
    for (bench, order, n) in all
        .into_iter()
        .filter(|b| only.is_none_or(|only| only == b.0))
    {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            let answer = drive(&node, &json!({order: n, "target": "bench"}))?;
            let ns = answer["ns"]
                .as_u64()
                .ok_or_else(|| format!("the driver answered {answer}"))?;
            runs.push(ns as f64 / n as f64);
        }
        figures.push(figure(bench, n, median(runs), "ns"));
    }
    Ok(figures)
}
