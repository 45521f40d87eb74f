//! The gate of a wave: whether the patched modules stayed within the policy's bounds since resume, compared with nodes that run
//! the old code. Counts are judged as they are. Rates and quantiles trip only where chance explains them in one case of a thousand
//! at most; while it explains them in one of twenty at most, there is no verdict. How values were read is not known here.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::measure::{Counts, Histogram, Window};
use crate::engine::stats;
use crate::output::count;
use crate::policy::{Amount, Bound, Gate, Measure, Measured};

/// How often one judgement of a gate trips by chance while the nodes are exactly at its bound, at most.
pub const TRIPS: f64 = 0.001;
/// The same for having no verdict.
pub const DOUBTS: f64 = 0.05;
/// Nanoseconds of one unit of a latency.
const LATENCY_UNIT: u64 = 64;

/// What the gates of a wave say. Reasons are sentences, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "reasons")]
pub enum Verdict {
    /// The wave may be confirmed.
    #[default]
    Pass,
    /// It may not, and no promotion changes that.
    Trip(Vec<String>),
    /// There is too little data, or something could not be asked; nothing was found to be wrong.
    Inconclusive(Vec<String>),
}

impl Verdict {
    /// Both: one that trips is stronger than one without a verdict, which is stronger than one that passes.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        use Verdict::{Inconclusive, Pass, Trip};
        match (self, other) {
            (Trip(mut some), Trip(more)) => {
                some.extend(more);
                Trip(some)
            }
            (Trip(some), _) | (_, Trip(some)) => Trip(some),
            (Inconclusive(mut some), Inconclusive(more)) => {
                some.extend(more);
                Inconclusive(some)
            }
            (Inconclusive(some), Pass) | (Pass, Inconclusive(some)) => Inconclusive(some),
            (Pass, Pass) => Pass,
        }
    }
}

/// What the nodes of a wave are compared with.
#[derive(Clone, Copy, Debug)]
pub enum Baseline<'a> {
    /// Nodes that run the old code, over the same time.
    Control(&'a Window),
    /// The wave's own nodes, before they were patched.
    Before(&'a Window),
}

impl<'a> Baseline<'a> {
    fn window(self) -> &'a Window {
        match self {
            Self::Control(window) | Self::Before(window) => window,
        }
    }
}

impl fmt::Display for Baseline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control(_) => "in the control set",
            Self::Before(_) => "on the same nodes before",
        })
    }
}

/// What `gates` say of `canary`, the wave's nodes since resume. Gates that ask something else than the nodes say nothing here.
#[must_use]
pub fn judge(gates: &[Gate], canary: &Window, baseline: Option<Baseline<'_>>) -> Verdict {
    let verdicts = gates.iter().filter_map(|gate| match gate {
        Gate::Measured(gate) => Some(judge_one(gate, canary, baseline)),
        Gate::Promql(_) | Gate::Exec(_) => None,
    });
    verdicts.fold(Verdict::Pass, Verdict::and)
}

fn judge_one(gate: &Measured, canary: &Window, baseline: Option<Baseline<'_>>) -> Verdict {
    if let Bound::Count(bound) = gate.bound {
        return judge_count(gate, bound, &canary.counts);
    }
    let baseline = match (gate.bound.is_relative(), baseline) {
        (false, _) => None,
        (true, Some(baseline)) => Some(baseline),
        (true, None) => {
            return undecided(gate, "there is nothing to compare with".to_owned());
        }
    };
    let sides = [
        Some((
            samples(gate.measure, &canary.counts),
            "in this wave".to_owned(),
        )),
        baseline.map(|baseline| {
            let samples = samples(gate.measure, &baseline.window().counts);
            (samples, baseline.to_string())
        }),
    ];
    for (samples, side) in sides.into_iter().flatten() {
        if samples < gate.min_samples {
            let what = sample_word(gate.measure);
            return undecided(
                gate,
                format!(
                    "{} {side}, and {} are needed",
                    count(samples, what),
                    gate.min_samples
                ),
            );
        }
    }
    let against = baseline.map(Baseline::window);
    let found = || {
        let ours = format!("{} in this wave", shown(gate.measure, canary));
        match baseline {
            Some(baseline) => {
                let theirs = shown(gate.measure, baseline.window());
                format!("{ours}, {theirs} {baseline}; at most {} may be", gate.bound)
            }
            None => format!("{ours}; at most {} may be", gate.bound),
        }
    };
    if exceeds(gate, canary, against, TRIPS) {
        Verdict::Trip(vec![format!("{}: {}", gate.measure.as_str(), found())])
    } else if exceeds(gate, canary, against, DOUBTS) {
        undecided(gate, format!("{}, which may be chance", found()))
    } else {
        Verdict::Pass
    }
}

fn undecided(gate: &Measured, why: String) -> Verdict {
    Verdict::Inconclusive(vec![format!("{}: {why}", gate.measure.as_str())])
}

fn judge_count(gate: &Measured, bound: u64, counts: &Counts) -> Verdict {
    let (found, what) = match gate.measure {
        Measure::Parked => (counts.parked, "parked actor"),
        Measure::Traps => (counts.traps, "trap"),
        Measure::Restarts => (counts.restarts, "restart"),
        Measure::Ended => (counts.ended, "ended application"),
        Measure::Mailbox => (counts.mailbox_max, "event"),
        // Rates and quantiles have no such bound.
        _ => (counts.errors, "error"),
    };
    if found > bound {
        let found = count(found, what);
        return Verdict::Trip(vec![match gate.measure {
            Measure::Mailbox => {
                format!("mailbox: {found} wait in one mailbox, and at most {bound} may")
            }
            _ => format!("{found} since resume, and at most {bound} may be"),
        }]);
    }
    let handled = counts.handled();
    if handled < gate.min_samples {
        let handled = count(handled, "event");
        return undecided(
            gate,
            format!(
                "{handled} in this wave, and {} are needed",
                gate.min_samples
            ),
        );
    }
    Verdict::Pass
}

/// How much data there is for a measure.
fn samples(measure: Measure, counts: &Counts) -> u64 {
    match measure {
        Measure::P50 | Measure::P90 | Measure::P99 => counts.latency.count(),
        Measure::Mailbox => counts.depth.count(),
        _ => counts.handled(),
    }
}

fn sample_word(measure: Measure) -> &'static str {
    match measure {
        Measure::P50 | Measure::P90 | Measure::P99 | Measure::Mailbox => "measured event",
        _ => "event",
    }
}

/// Whether the canary is above its bound, beyond a chance of `alpha` for one that is at it.
fn exceeds(gate: &Measured, canary: &Window, baseline: Option<&Window>, alpha: f64) -> bool {
    let (ours, handled) = (hits(gate.measure, &canary.counts), canary.counts.handled());
    let theirs = baseline.map(|window| (window, hits(gate.measure, &window.counts)));
    match (gate.bound, theirs) {
        (Bound::Rate(most), _) => stats::lowest_share(ours, handled, alpha) > part(most),
        (Bound::More(more), Some((window, hits))) => {
            // Each side has half of the chance to be wrong.
            let highest = stats::highest_share(hits, window.counts.handled(), alpha / 2.0);
            stats::lowest_share(ours, handled, alpha / 2.0) > highest + part(more)
        }
        (Bound::Latency(most), _) => {
            let most = most.get().saturating_mul(1_000) / LATENCY_UNIT;
            let (least, _) = quantile(gate.measure, &canary.counts, alpha);
            least.is_some_and(|least| least > most)
        }
        (Bound::Times(times), Some((window, hits))) => match gate.measure {
            Measure::P50 | Measure::P90 | Measure::P99 | Measure::Mailbox => {
                let (least, _) = quantile(gate.measure, &canary.counts, alpha / 2.0);
                let (_, greatest) = quantile(gate.measure, &window.counts, alpha / 2.0);
                match (least, greatest) {
                    // Nothing is less than one unit.
                    (Some(least), Some(greatest)) => {
                        least as f64 > greatest.max(1) as f64 * times.get()
                    }
                    _ => false,
                }
            }
            measure => {
                let exposure = |window: &Window| match measure {
                    Measure::Restarts => window.node_ms as f64,
                    _ => window.counts.handled() as f64,
                };
                let chance =
                    stats::as_often(ours, exposure(canary), hits, exposure(window), times.get());
                chance <= alpha
            }
        },
        (Bound::Count(_) | Bound::More(_) | Bound::Times(_), _) => false,
    }
}

/// What a rate counts.
fn hits(measure: Measure, counts: &Counts) -> u64 {
    match measure {
        Measure::Traps => counts.traps,
        Measure::Errors => counts.errors,
        Measure::Restarts => counts.restarts,
        _ => counts.errors.saturating_add(counts.traps),
    }
}

fn part(share: u32) -> f64 {
    f64::from(share) / 10_000.0
}

/// The histogram of a measure, and the part of its values that the quantile has below it. Of mailboxes it is nine tenths.
fn distribution(measure: Measure, counts: &Counts) -> (&Histogram, f64) {
    match measure {
        Measure::P50 => (&counts.latency, 0.5),
        Measure::P99 => (&counts.latency, 0.99),
        Measure::Mailbox => (&counts.depth, 0.9),
        _ => (&counts.latency, 0.9),
    }
}

/// Between what values a quantile is, each with a chance of `alpha` to be wrong.
fn quantile(measure: Measure, counts: &Counts, alpha: f64) -> (Option<u64>, Option<u64>) {
    let (histogram, part) = distribution(measure, counts);
    let (first, second) = stats::quantile_ranks(histogram.count(), part, alpha);
    let value = |rank: Option<u64>| rank.and_then(|rank| histogram.of_rank(rank));
    (
        value(first).map(|(least, _)| least),
        value(second).map(|(_, greatest)| greatest),
    )
}

/// A measure in words.
fn shown(measure: Measure, window: &Window) -> String {
    let counts = &window.counts;
    match measure {
        Measure::P50 | Measure::P90 | Measure::P99 | Measure::Mailbox => {
            let (histogram, part) = distribution(measure, counts);
            let value = histogram.quantile(part).unwrap_or(0);
            match measure {
                Measure::Mailbox => count(value, "waiting event"),
                _ => micros(value.saturating_mul(LATENCY_UNIT)),
            }
        }
        Measure::ErrorRate => {
            let share = hits(measure, counts) as f64 / counts.handled().max(1) as f64;
            // A part of ten thousand.
            Amount::Share((share * 10_000.0).round() as u32).to_string()
        }
        Measure::Restarts => {
            format!("{} on {}", counts.restarts, count(window.nodes, "node"))
        }
        _ => format!(
            "{} of {}",
            hits(measure, counts),
            count(counts.handled(), "event")
        ),
    }
}

/// Nanoseconds in three digits or so.
fn micros(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{:.1} µs", ns as f64 / 1e3),
        10_000..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..10_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{} ms", ns / 1_000_000),
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
