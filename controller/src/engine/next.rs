//! What happens next in a rollout by itself, and when: for `status`, for people who look at three in the morning. It reads a view
//! and decides nothing.

use crate::engine::gate::Verdict;
use crate::engine::view::View;
use crate::engine::words::{Outcome, RolloutState, WaveStage};
use crate::output::count;

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// In a sentence without a point.
    pub what: String,
    /// When, at the latest, in milliseconds since 1970; `None` when that depends on nodes or people.
    pub at_ms: Option<u64>,
}

impl View {
    /// What happens next by itself, while a process runs the rollout; `None` when nothing does.
    #[must_use]
    pub fn next(&self) -> Option<Next> {
        let when = |at_ms, what: String| Some(Next { what, at_ms });
        let now = |what: String| when(None, what);
        match self.state {
            state if state.is_final() => return None,
            RolloutState::Paused => return None,
            RolloutState::RollingBack => {
                let left = self
                    .nodes
                    .iter()
                    .filter(|node| node.asked.is_some())
                    .count();
                let left = count(left as u64, "node");
                return now(format!(
                    "{left} to be put back, each until it is or until timeouts.rollback"
                ));
            }
            _ => {}
        }
        let current = (1..)
            .zip(&self.waves)
            .filter(|(_, wave)| wave.stage.is_some())
            .last();
        let Some((number, wave, stage)) =
            current.and_then(|(number, wave)| Some((number, wave, wave.stage?)))
        else {
            return now("the first wave begins".to_owned());
        };
        match stage {
            WaveStage::Upgrading if self.is_rehearsal() => {
                now(format!("wave {number} is prepared, and nothing more"))
            }
            WaveStage::Upgrading => {
                let left = wave.members.iter().filter(|node| {
                    let node = &self.nodes[**node];
                    node.outcome == Outcome::Pending
                });
                let left = count(left.count() as u64, "node");
                now(format!(
                    "wave {number} bakes when every node of it has resumed or failed, {left} to go"
                ))
            }
            WaveStage::Baking => {
                let at = wave.since_ms.saturating_add(wave.bake_ms);
                when(Some(at), format!("the gate of wave {number} opens"))
            }
            WaveStage::Gate => match &wave.gate {
                Some((Verdict::Inconclusive(_), _)) => {
                    let gate = self.planned.as_ref().map_or(0, |planned| planned.gate_ms);
                    let at = wave.since_ms.saturating_add(gate);
                    when(
                        Some(at),
                        format!(
                            "the gate of wave {number} has too little data: the rollout pauses if that stays so"
                        ),
                    )
                }
                _ => now(format!("the gate of wave {number} is judged")),
            },
            WaveStage::Confirming => now(format!(
                "wave {number} is made permanent, then the next wave begins or all nodes finish"
            )),
            _ => now("the nodes finish: the old code is dropped".to_owned()),
        }
    }

    /// Whether nothing but prepare is wanted.
    #[must_use]
    pub fn is_rehearsal(&self) -> bool {
        self.planned
            .as_ref()
            .is_some_and(|planned| planned.prepare_only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::{Event, Fact, Place, Planned};

    fn view(facts: Vec<Fact>) -> View {
        let place = |name: &str| Place {
            name: name.to_owned(),
            address: String::new(),
            port: 0,
            ssh: None,
        };
        let planned = Planned {
            waves: vec![vec!["a".into()], vec!["b".into()]],
            nodes: vec![place("a"), place("b")],
            gate_ms: 300_000,
            ..Planned::default()
        };
        let facts = [Fact::Planned(Box::new(planned))].into_iter().chain(facts);
        View::of(&Event::following(0, &"r".parse().unwrap(), 1_000, facts))
    }

    fn wave(stage: WaveStage, bake_ms: u64) -> Fact {
        Fact::Wave {
            wave: 1,
            stage,
            nodes: 1,
            bake_ms,
        }
    }

    fn state(state: RolloutState) -> Fact {
        Fact::State {
            state,
            reason: String::new(),
        }
    }

    #[test]
    fn what_happens_next_is_said_with_its_time_where_it_has_one() {
        let next = |facts| view(facts).next().map(|next| (next.what, next.at_ms));
        let running = || state(RolloutState::Running);
        let said = next(vec![running(), wave(WaveStage::Baking, 5_000)]);
        assert_eq!(said, Some(("the gate of wave 1 opens".into(), Some(6_000))));
        let said = next(vec![running(), wave(WaveStage::Upgrading, 0)]).unwrap();
        assert_eq!(
            said.0,
            "wave 1 bakes when every node of it has resumed or failed, 1 node to go"
        );
        let undecided = Fact::Gate {
            wave: 1,
            verdict: Verdict::Inconclusive(vec!["3 events".into()]),
            health: crate::engine::event::Health::default(),
        };
        let said = next(vec![running(), wave(WaveStage::Gate, 0), undecided]).unwrap();
        assert_eq!(said.1, Some(301_000));
        assert_eq!(next(vec![state(RolloutState::Paused)]), None);
        assert_eq!(next(vec![state(RolloutState::Succeeded)]), None);
    }
}
