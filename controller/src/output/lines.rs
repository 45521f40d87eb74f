//! Plain lines, for logs and pipes: what the rollout and its waves do, and the first failures of each kind in full. Successes
//! of single nodes are counted, not listed.

use std::collections::HashMap;
use std::io::Write;

use crate::engine::Reporter;
use crate::engine::event::{Event, Fact};
use crate::engine::gate::Verdict;
use crate::engine::view::View;
use crate::engine::words::{Barrier, Outcome, Phase, RolloutState, WaveStage};
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
                verdict,
                health,
            } => {
                let wave = format!("wave {wave}/{}", view.waves.len());
                Some(match verdict {
                    Verdict::Pass => {
                        let events = count(health.events, "event");
                        format!("{wave}: gate passed after {events}")
                    }
                    Verdict::Trip(reasons) => {
                        format!("{wave}: gate tripped: {}", reasons.join("; "))
                    }
                    Verdict::Inconclusive(reasons) => {
                        format!("{wave}: gate has too little data: {}", reasons.join("; "))
                    }
                })
            }
            Fact::Batch {
                wave,
                batch,
                barrier,
                nodes,
                mixed_ms,
                reason,
            } => {
                let nodes = count(*nodes, "node");
                let batch = format!("wave {wave}/{}: batch {batch}", view.waves.len());
                Some(match (barrier, mixed_ms) {
                    (Barrier::Done, Some(mixed)) => {
                        format!(
                            "{batch}: {nodes} on the new code; both versions ran for {mixed} ms at most"
                        )
                    }
                    (Barrier::Aborted, _) => format!("{batch}: aborted on {nodes}: {reason}"),
                    (barrier, _) => format!("{batch}: {barrier}, {nodes}"),
                })
            }
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
