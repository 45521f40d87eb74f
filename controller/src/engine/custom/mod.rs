//! Gates that ask something else than the nodes. Every question ends within its timeout in a verdict; whatever goes wrong with asking is
//! inconclusive, with the cause, and never passes. A question is asked by the process that runs the rollout, with its rights.

mod exec;
mod promql;

use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;

use crate::engine::gate::Verdict;
use crate::policy::Gate;

/// What is asked about: a wave whose bake is over. A program gets it as JSON.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Subject {
    /// The rollout.
    pub rollout: String,
    /// The application.
    pub application: String,
    /// The release that ran before.
    pub from: String,
    /// The release that the patch leads to.
    pub to: String,
    /// Counts from 1.
    pub wave: u32,
    /// Names of the wave's nodes that run the new code.
    pub nodes: Vec<String>,
    /// Names of the nodes that they are compared with.
    pub control: Vec<String>,
    /// Since the bake began, in milliseconds.
    pub window_ms: u64,
}

impl Subject {
    /// In whole seconds, at least one, as PromQL writes it.
    fn window(&self) -> String {
        let window = Duration::from_millis(self.window_ms);
        format!("{}s", window.as_secs().max(1))
    }
}

/// Asks all custom gates at the same time; those on what nodes measured say nothing here.
pub async fn ask(gates: &[Gate], subject: &Subject) -> Verdict {
    let questions = gates.iter().filter_map(|gate| match gate {
        Gate::Measured(_) => None,
        Gate::Promql(promql) => Some(futures::future::Either::Left(promql::ask(promql, subject))),
        Gate::Exec(exec) => Some(futures::future::Either::Right(exec::ask(exec, subject))),
    });
    let verdicts = join_all(questions).await;
    verdicts.into_iter().fold(Verdict::Pass, Verdict::and)
}

/// Text of a stranger, fit for a line: without control characters, and not too long.
fn quoted(text: &str) -> String {
    const MOST: usize = 300;
    let clean = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = clean.take(MOST).collect();
    if shown.len() < text.trim().len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
