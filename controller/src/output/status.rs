//! Where a rollout is, why, who runs it, and what happens next by itself and when: what `status` answers. A fold of events and
//! whether somebody runs the rollout, nothing else.

use serde_json::json;

use crate::engine::id::RolloutId;
use crate::engine::view::View;
use crate::engine::words::{RolloutState, WaveStage};
use crate::exit::Exit;
use crate::output::{Rendered, duration, json_lines, summary};

/// The answer. `alive`: a process runs the rollout. `now` is in milliseconds since 1970.
#[must_use]
pub fn status(id: &RolloutId, view: &View, alive: bool, now: u64) -> Rendered {
    let (next, exit) = (next(id, view, alive, now), exit(view, alive));
    let owner = view
        .owner
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let how = match (alive, view.state.is_final()) {
        (true, _) => "run by",
        (false, true) => "was run by",
        (false, false) => "was run, until that process ended, by",
    };
    let text = format!(
        "{}  {how} {owner}\n  what happens next: {next}\n",
        summary(id, view)
    );
    let json = json!({
        "rollout": id,
        "state": view.state,
        "reason": view.reason,
        "owner": view.owner,
        "alive": alive,
        "next": next,
        "summary": view.summarise(),
        "exit": exit,
        "nodes": view.nodes.iter().map(|node| json!({
            "node": node.name, "wave": node.wave, "outcome": node.outcome, "asked": node.asked, "cause": node.cause,
        })).collect::<Vec<_>>(),
    });
    Rendered {
        text,
        json: json_lines([json]),
        exit,
    }
}

/// What a rollout whose process died is worth: 4 when it left nodes that may run the new code.
fn exit(view: &View, alive: bool) -> Exit {
    match (alive || view.state.is_final(), view.changed().is_empty()) {
        (true, _) => view.exit(),
        (false, true) => Exit::ABORTED,
        (false, false) => Exit::UNRESOLVED,
    }
}

/// What happens by itself, and when; or that nothing does, and what a person can do.
fn next(id: &RolloutId, view: &View, alive: bool, now: u64) -> String {
    if view.state.is_final() {
        return match (view.unresolved().is_empty(), view.changed().is_empty()) {
            (false, _) => format!(
                "nothing by itself; put the listed nodes back with: midflight rollback {id}"
            ),
            (true, true) => "nothing".to_owned(),
            (true, false) => {
                format!("nothing; the patch can still be taken back with: midflight rollback {id}")
            }
        };
    }
    if !alive {
        return match view.changed().len() {
            0 => format!("nothing by itself, and no node was changed; midflight resume {id} goes on"),
            nodes => format!(
                "nothing by itself: its process ended with {nodes} nodes that may run the new code; midflight resume {id} goes \
                 on, midflight rollback {id} puts them back"
            ),
        };
    }
    if view.state == RolloutState::RollingBack {
        return "nodes are put back until all are, or until the deadline of the policy".to_owned();
    }
    let current = (1..)
        .zip(&view.waves)
        .filter(|(_, wave)| wave.stage.is_some())
        .last();
    match current.and_then(|(number, wave)| Some((number, wave, wave.stage?))) {
        None => "the first wave begins".to_owned(),
        Some((number, wave, WaveStage::Baking)) => {
            let left = (wave.since_ms + wave.bake_ms).saturating_sub(now);
            format!("the gate of wave {number} opens in {}", duration(left))
        }
        Some((number, _, WaveStage::Upgrading)) => {
            format!("wave {number} bakes once its nodes run the new code")
        }
        Some((number, _, WaveStage::Gate)) => {
            format!("wave {number} is confirmed if its gate passes, else all is rolled back")
        }
        Some((number, _, WaveStage::Confirming)) => {
            format!("the wave after {number} begins, or the rollout finishes")
        }
        Some(_) => "the nodes finish: the old code is dropped".to_owned(),
    }
}
