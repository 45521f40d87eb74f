//! Bars for a terminal: one a wave, made when the wave begins, and one for a rollback. The lines that logs would get are
//! printed above them.

use std::collections::HashSet;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::engine::Reporter;
use crate::engine::event::{Event, Fact};
use crate::engine::view::View;
use crate::engine::words::{Outcome, Phase, RolloutState, WaveStage};
use crate::output::lines::Sayer;

/// Draws bars on stderr.
pub(super) struct Bars {
    all: MultiProgress,
    waves: Vec<ProgressBar>,
    rollback: Option<ProgressBar>,
    /// Nodes that their wave's bar has counted: one that is put back by an abort comes to an end twice.
    counted: HashSet<String>,
    said: Sayer,
}

impl Bars {
    pub(super) fn new() -> Self {
        Self {
            all: MultiProgress::new(),
            waves: Vec::new(),
            rollback: None,
            counted: HashSet::new(),
            said: Sayer::default(),
        }
    }

    fn bar(&self, length: u64, name: &str) -> ProgressBar {
        let template = "{prefix:>9} [{bar:30}] {pos:>5}/{len:<5} {msg}";
        // The template is a constant that a test reads; the default style is plain and works too.
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self
            .all
            .add(ProgressBar::new(length).with_style(style.progress_chars("=> ")));
        bar.set_prefix(name.to_owned());
        bar
    }

    fn wave(&mut self, number: u32, stage: WaveStage, view: &View) {
        let Some(wave) = view.waves.get((number as usize).wrapping_sub(1)) else {
            return;
        };
        if self.waves.len() < number as usize {
            let bar = self.bar(u64::from(wave.nodes), &format!("wave {number}"));
            self.waves.push(bar);
        }
        let Some(bar) = self.waves.get(number as usize - 1) else {
            return;
        };
        bar.set_message(stage.as_str());
        if stage == WaveStage::Done {
            bar.abandon();
        }
    }
}

impl Reporter for Bars {
    fn event(&mut self, event: &Event, view: &View) {
        if !matches!(event.fact, Fact::Wave { .. })
            && let Some(line) = self.said.line(event, view)
        {
            // A terminal that is gone must not end the rollout half-way.
            let _ = self.all.println(line);
        }
        match &event.fact {
            Fact::Wave { wave, stage, .. } => self.wave(*wave, *stage, view),
            Fact::Ask {
                phase: Phase::Rollback,
                ..
            } if view.state == RolloutState::RollingBack => {
                let total = view.changed().len() as u64;
                let bar = self
                    .rollback
                    .take()
                    .unwrap_or_else(|| self.bar(total, "rollback"));
                bar.set_length(bar.length().unwrap_or(0).max(total));
                self.rollback = Some(bar);
            }
            Fact::Node { node, outcome, .. } => {
                let ended = !matches!(outcome, Outcome::Confirmed | Outcome::Pending);
                match &self.rollback {
                    Some(bar) if *outcome != Outcome::InProbation => bar.inc(1),
                    _ => {
                        let wave = view.node(node).and_then(|node| node.wave).unwrap_or(0);
                        let bar = self.waves.get((wave as usize).wrapping_sub(1));
                        if let Some(bar) = bar.filter(|_| ended)
                            && self.counted.insert(node.clone())
                        {
                            bar.inc(1);
                        }
                    }
                }
            }
            Fact::Ended(_) => {
                // A wave that did not come to its end says how the rollout ended instead.
                let last = self.waves.last();
                if let Some(bar) = last.filter(|bar| bar.message() != WaveStage::Done.as_str()) {
                    bar.set_message(view.state.as_str());
                }
                self.waves
                    .iter()
                    .chain(&self.rollback)
                    .for_each(ProgressBar::abandon);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_one() {
        assert!(
            ProgressStyle::with_template("{prefix:>9} [{bar:30}] {pos:>5}/{len:<5} {msg}").is_ok()
        );
    }
}
