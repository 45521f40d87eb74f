//! The end of a rollout for people: what it came to, nodes by outcome folded into sets, failures folded by phase and code
//! with one sample each, and the command to run next. It reads a view, so that `status` shows the same.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use midflight_inventory::fold_to_string;

use crate::engine::event::{Cause, RollbackCounts};
use crate::engine::id::RolloutId;
use crate::engine::view::{NodeView, View};
use crate::engine::words::{Outcome, Phase};
use crate::output::{count, duration};

/// Several lines of text, each ended by a line break.
#[must_use]
pub fn summary(id: &RolloutId, view: &View) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(id, view, &mut text);
    text
}

fn write(id: &RolloutId, view: &View, out: &mut String) -> fmt::Result {
    let took = duration(view.last_ms.saturating_sub(view.started_ms));
    writeln!(
        out,
        "rollout {id}: {} after {took}: {}",
        view.state, view.reason
    )?;
    for outcome in Outcome::ALL {
        let nodes: Vec<&NodeView> = view
            .nodes
            .iter()
            .filter(|node| node.outcome == outcome)
            .collect();
        if !nodes.is_empty() {
            let names = fold_to_string(nodes.iter().map(|node| &node.name));
            writeln!(out, "  {:>5} {:<15} {names}", nodes.len(), outcome.as_str())?;
        }
    }
    if let Some(pauses) = view.pauses() {
        writeln!(
            out,
            "  {} p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            if view.is_rehearsal() {
                "the pause would be"
            } else {
                "pause"
            },
            pauses.p50,
            pauses.p99,
            pauses.max
        )?;
    }
    if let Some(mixed) = view.mixed_ms {
        let mixed = duration(mixed);
        writeln!(
            out,
            "  both versions ran side by side in a batch for {mixed} at most"
        )?;
    }
    let actors = view.actor_pauses();
    if !actors.is_empty() {
        // Pauses are far below 2^52 microseconds.
        let ms = |micros: u64| micros as f64 / 1_000.0;
        writeln!(
            out,
            "  {} had events waiting: pause p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            count(actors.count(), "actor"),
            ms(actors.percentile_us(50)),
            ms(actors.percentile_us(99)),
            ms(actors.max_us())
        )?;
    }
    let rolled: Vec<_> = view.nodes.iter().filter_map(|node| node.rollback).collect();
    if !rolled.is_empty() {
        let sum = |of: fn(&RollbackCounts) -> u64| rolled.iter().map(of).sum::<u64>();
        let parts = [
            (sum(|r| r.pinned), "actor", "put back exactly as before"),
            (
                sum(|r| r.migrated),
                "actor",
                "put back by code_change(down)",
            ),
            (
                sum(|r| r.restored),
                "actor",
                "put back with what came since discarded",
            ),
            (sum(|r| r.events_discarded), "event", "discarded"),
            (sum(|r| r.stopped), "actor", "stopped"),
            (sum(|r| r.held), "actor", "held on the newer code"),
            (
                sum(|r| r.redelivered),
                "failed event",
                "given to the old code",
            ),
        ];
        let text: Vec<String> = parts
            .iter()
            .filter(|(number, ..)| *number > 0)
            .map(|(number, what, how)| format!("{} {how}", count(*number, what)))
            .collect();
        let text = if text.is_empty() {
            "no actor had to be put back".to_owned()
        } else {
            text.join(", ")
        };
        writeln!(out, "  rollback: {text}")?;
    }
    failures(view, out)?;
    let exit = view.exit();
    if let Some(next) = next(id, view) {
        writeln!(out, "  next: {next}")?;
    }
    if view.state.is_final() {
        writeln!(out, "  exit {}: {}", exit.code(), exit.meaning())?;
    }
    Ok(())
}

/// Folded by phase, code and subject; messages may name addresses, so one is shown as the sample.
fn failures(view: &View, out: &mut String) -> fmt::Result {
    type Failures<'a> = Vec<(&'a str, &'a Cause)>;
    let mut groups: BTreeMap<(Phase, &str, &str), Failures<'_>> = BTreeMap::new();
    let of_nodes = view
        .nodes
        .iter()
        .filter_map(|node| Some((node.name.as_str(), node.cause.as_ref()?)));
    let troubles = view
        .troubles
        .iter()
        .map(|(node, cause)| (node.as_str(), cause));
    for (node, cause) in of_nodes.chain(troubles) {
        groups
            .entry((cause.phase, &cause.code, &cause.subject))
            .or_default()
            .push((node, cause));
    }
    for ((phase, code, subject), nodes) in groups {
        let Some((sample, cause)) = nodes.first() else {
            continue;
        };
        let names = fold_to_string(nodes.iter().map(|(node, _)| node));
        let about = if subject.is_empty() {
            String::new()
        } else {
            format!(" ({subject})")
        };
        writeln!(
            out,
            "  {code} in {phase} on {}: {names}",
            count(nodes.len() as u64, "node")
        )?;
        writeln!(out, "    {sample}: {}{about}", cause.what)?;
        for actor in &cause.actors {
            writeln!(out, "      {actor}")?;
        }
        let more = cause.actor_count.saturating_sub(cause.actors.len() as u64);
        if more > 0 {
            writeln!(out, "      and {more} more")?;
        }
        if !cause.hint.is_empty() {
            writeln!(out, "    hint: {}", cause.hint)?;
        }
    }
    Ok(())
}

/// The command to run next, if there is something to do.
fn next(id: &RolloutId, view: &View) -> Option<String> {
    // Held actors stay held when they are rolled back again.
    let can_help = view
        .unresolved()
        .iter()
        .any(|node| node.outcome != Outcome::Held);
    if can_help && view.state.is_final() {
        return Some(format!("midflight rollback {id}"));
    }
    let left = |outcome: Outcome| {
        view.nodes
            .iter()
            .filter(move |node| node.outcome == outcome)
    };
    let failed = view.nodes.iter().find(|node| {
        let outcome = node.outcome;
        node.cause.is_some()
            && matches!(
                outcome,
                Outcome::RolledBack | Outcome::Untouched | Outcome::Refused
            )
    });
    if let Some(node) = failed {
        return Some(format!("midflight nodes {}", node.name));
    }
    if left(Outcome::Unreachable).next().is_some() {
        let names = fold_to_string(left(Outcome::Unreachable).map(|node| &node.name));
        return Some(format!(
            "when they answer again: midflight apply BUNDLE '{names}'"
        ));
    }
    None
}
