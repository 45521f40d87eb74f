//! Plain lines, for logs and pipes: what the rollout and its waves do, and the first failures of each kind in full. Successes
//! of single nodes are counted, not listed.

use std::collections::HashMap;
use std::io::Write;

use crate::engine::Reporter;
use crate::engine::event::{Event, Fact};
use crate::engine::view::View;
use crate::engine::words::{Outcome, Phase, RolloutState, WaveStage};
use crate::output::{count, duration};

/// Failures of one phase and code that are shown as they happen; the summary folds them all.
const SHOWN: u32 = 3;

/// Writes lines.
pub struct Lines<W> {
    out: W,
    said: Sayer,
}

impl<W: Write + Send> Lines<W> {
    /// To this writer.
    pub fn new(out: W) -> Self {
        Self {
            out,
            said: Sayer::default(),
        }
    }
}

impl<W: Write + Send> Reporter for Lines<W> {
    fn event(&mut self, event: &Event, view: &View) {
        if let Some(line) = self.said.line(event, view) {
            // The journal has it; a closed pipe must not end the rollout half-way.
            let _ = writeln!(self.out, "{line}");
        }
    }
}

/// Turns events into lines; shared with the bars, which print the same above themselves.
#[derive(Default)]
pub(super) struct Sayer {
    failures: HashMap<(Phase, String), u32>,
}

impl Sayer {
    pub(super) fn line(&mut self, event: &Event, view: &View) -> Option<String> {
        match &event.fact {
            Fact::Planned(planned) => Some(format!(
                "rollout {}: {} {} -> {}, {}",
                event.rollout,
                planned.name,
                planned.from,
                planned.to,
                count(planned.nodes.len() as u64, "node")
            )),
            Fact::Owned { owner, .. } => {
                Some(format!("rollout {}: taken over by {owner}", event.rollout))
            }
            Fact::Control { request, refused } => {
                let (who, verb) = (&request.who, request.verb.as_str());
                Some(match refused {
                    None => format!("{who} asked for {verb}"),
                    Some(why) => format!("{who} asked for {verb}; refused: {why}"),
                })
            }
            // The summary says how it ended.
            Fact::State { state, .. } if state.is_final() => None,
            Fact::State {
                state: RolloutState::RollingBack,
                reason,
            } => Some(format!("rolling back: {reason}")),
            Fact::State { state, reason } => Some(format!("{state}: {reason}")),
            Fact::Wave {
                wave,
                stage,
                nodes,
                bake_ms,
            } => {
                let (all, nodes) = (view.waves.len(), count(*nodes, "node"));
                Some(match stage {
                    WaveStage::Baking => {
                        format!(
                            "wave {wave}/{all}: {nodes} on the new code; bake {}",
                            duration(*bake_ms)
                        )
                    }
                    WaveStage::Done => format!("wave {wave}/{all}: {nodes} confirmed"),
                    stage => format!("wave {wave}/{all}: {stage}, {nodes}"),
                })
            }
            Fact::Gate {
                wave,
                passed: true,
                health,
                ..
            } => Some(format!(
                "wave {wave}/{}: gate passed after {}",
                view.waves.len(),
                count(health.events, "event")
            )),
            Fact::Gate {
                wave,
                passed: false,
                reasons,
                ..
            } => Some(format!(
                "wave {wave}/{}: gate tripped: {}",
                view.waves.len(),
                reasons.join("; ")
            )),
            Fact::Node {
                node,
                outcome,
                cause: Some(cause),
                ..
            } if *outcome != Outcome::AlreadyCurrent => {
                let count = self
                    .failures
                    .entry((cause.phase, cause.code.clone()))
                    .or_insert(0);
                *count += 1;
                match *count {
                    ..=SHOWN => Some(format!(
                        "{node}: {outcome} in {}: {}: {}",
                        cause.phase, cause.code, cause.what
                    )),
                    _ => None,
                }
            }
            Fact::Trouble { node, cause } => Some(format!(
                "{node}: {}: {}: {}",
                cause.phase, cause.code, cause.what
            )),
            _ => None,
        }
    }
}
