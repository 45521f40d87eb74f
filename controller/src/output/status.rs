//! Where a rollout is, why, who runs it, and what happens next by itself and when: what `status` answers. A fold of events and
//! whether somebody runs the rollout, nothing else.

use serde_json::json;

use crate::engine::id::RolloutId;
use crate::engine::next::Next;
use crate::engine::view::View;
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
            0 => {
                format!("nothing by itself, and no node was changed; midflight resume {id} goes on")
            }
            nodes => format!(
                "nothing by itself: its process ended with {nodes} nodes that may run the new code; midflight resume {id} goes \
                 on, midflight rollback {id} puts them back"
            ),
        };
    }
    match view.next() {
        Some(Next {
            what,
            at_ms: Some(at),
        }) => {
            format!("{what} in {}", duration(at.saturating_sub(now)))
        }
        Some(Next { what, at_ms: None }) => what,
        None => format!(
            "nothing by itself, except that leases are renewed; midflight resume {id} goes on, midflight abort {id} or midflight \
             rollback {id} ends it"
        ),
    }
}
