//! What people ask while a rollout runs or after its end: each request is a fact, done or refused with the reason, and what
//! follows from it follows in the same step.

use std::time::Duration;

use crate::engine::control::{Answer, Request, Verb};
use crate::engine::gate::Verdict;
use crate::engine::moves::Action;
use crate::engine::rollout::nodes::Node;
use crate::engine::rollout::state::Stage;
use crate::engine::rollout::{Fact, Rollout};
use crate::engine::words::RolloutState;
use crate::output::count;

impl Rollout {
    pub(super) fn control(&mut self, request: Request) {
        let refused = self.refusal(&request.verb);
        let answer = refused.clone().map_or(Answer::Done, Answer::Refused);
        let is_refused = refused.is_some();
        // The fact of an abort moves them.
        let probation = match request.verb {
            Verb::Abort { .. } => self.state.nodes.all(|node| node == Node::Probation),
            _ => Vec::new(),
        };
        self.say(Fact::Control {
            request: request.clone(),
            refused,
        });
        self.actions.push(Action::Answer(answer));
        if !is_refused {
            self.obey(&request, probation);
        }
    }

    /// Why a request cannot be followed now, if it cannot.
    fn refusal(&self, verb: &Verb) -> Option<String> {
        let state = self.state_word();
        let why = match verb {
            Verb::Pause if self.state.paused => "it is paused already".to_owned(),
            Verb::Resume if !self.state.paused => format!("it is {state}, not paused"),
            Verb::Pause | Verb::Promote { .. } | Verb::Abort { .. } | Verb::Resume
                if !self.is_going_forward() =>
            {
                format!("it is {state}")
            }
            Verb::Resume => {
                let failure = self.failure()?;
                format!("{failure}; roll it back, abort it, or retry the nodes that failed")
            }
            Verb::Promote {
                accept_inconclusive,
            } => self.cannot_promote(accept_inconclusive.is_some())?,
            Verb::Abort { .. } if self.state.stage == Stage::Finishing => {
                "every wave is confirmed: there is nothing left to abort; it can be rolled back"
                    .to_owned()
            }
            Verb::Rollback => self.cannot_roll_back()?,
            Verb::RetryFailed => self.cannot_retry()?,
            Verb::Converge { nodes } => self.cannot_converge(nodes)?,
            Verb::Detach if matches!(self.state.stage, Stage::Ended(_)) => format!("it is {state}"),
            Verb::Unrecognised => "this version does not know the verb".to_owned(),
            Verb::Pause | Verb::Abort { .. } | Verb::Detach => return None,
        };
        Some(why)
    }

    fn cannot_promote(&self, accepts: bool) -> Option<String> {
        if let Some(failure) = self.failure() {
            return Some(failure);
        }
        let wave = self.state.wave + 1;
        match (self.state.stage, &self.state.verdict) {
            (Stage::Baking, _) => None,
            (Stage::Gating, Some(Verdict::Inconclusive(reasons))) if !accepts => {
                let reasons = reasons.join("; ");
                Some(format!(
                    "the gate of wave {wave} has too little data: {reasons}; to go on in spite of that, accept it with a reason"
                ))
            }
            (Stage::Gating, _) => None,
            (Stage::Upgrading, _) => Some(format!(
                "wave {wave} is being upgraded: there is no bake to skip yet"
            )),
            _ => Some(format!("wave {wave} is past its gate")),
        }
    }

    fn cannot_roll_back(&self) -> Option<String> {
        if self.state.stage == Stage::RollingBack {
            return Some("it is rolling back already".to_owned());
        }
        let until = self.policy.rollback_until;
        let since = Duration::from_millis(self.now_ms.saturating_sub(self.state.ended_ms));
        if self.state.stage == Stage::Ended(RolloutState::Succeeded) && since > until.get() {
            return Some(format!(
                "it succeeded longer ago than the {until} in which its policy allows that; bring the nodes to the older release \
                 with a patch that leads there"
            ));
        }
        let ended = matches!(self.state.stage, Stage::Ended(_));
        (ended && self.state.nodes.changed().is_empty())
            .then(|| "no node runs what it brought".to_owned())
    }

    fn cannot_retry(&self) -> Option<String> {
        // Its waves are over, and the next thing it says is that it has succeeded.
        if self.state.stage == Stage::Finishing {
            return Some(
                "it is being finished; nodes are tried again when it has succeeded".to_owned(),
            );
        }
        let may = self.state.paused || self.state.stage == Stage::Ended(RolloutState::Succeeded);
        if !may {
            let state = self.state_word();
            return Some(format!(
                "it is {state}; nodes are tried again when it is paused or has succeeded, and else by a new rollout"
            ));
        }
        self.state
            .nodes
            .all(Node::is_retried)
            .is_empty()
            .then(|| "no node failed, was lost or could not be reached".to_owned())
    }

    fn cannot_converge(&self, nodes: &[String]) -> Option<String> {
        let until = self.policy.converge_until;
        let since = Duration::from_millis(self.now_ms.saturating_sub(self.state.ended_ms));
        if self.state.stage != Stage::Ended(RolloutState::Succeeded) || self.state.prepare_only {
            let state = self.state_word();
            Some(format!(
                "it is {state}, and only what a rollout has brought to the others is brought to nodes that were away"
            ))
        } else if since > until.get() {
            Some(format!(
                "it succeeded longer ago than the {until} in which its policy has nodes follow"
            ))
        } else {
            let none = self.state.away(nodes, &self.names).is_empty();
            none.then(|| "none of these nodes was away".to_owned())
        }
    }

    fn obey(&mut self, request: &Request, probation: Vec<usize>) {
        match &request.verb {
            Verb::Pause => self.say_state(RolloutState::Paused, request.because("paused")),
            Verb::Resume => self.resume(request.because("resumed")),
            Verb::Promote { .. } => {
                if self.state.paused {
                    self.resume(request.because("promoted"));
                }
                if self.state.stage == Stage::Baking {
                    self.open_gate();
                }
            }
            Verb::Abort { keep } => {
                let ask = if *keep {
                    Action::Confirm
                } else {
                    Action::Rollback
                };
                self.actions.push(Action::CancelUpgrades);
                self.actions.extend(probation.into_iter().map(ask));
            }
            Verb::Rollback => self.roll_back(request.because("rolled back")),
            Verb::RetryFailed => self.retry(request, "tried again"),
            Verb::Converge { .. } => self.retry(request, "brought up to the others"),
            // What follows, follows from the state.
            Verb::Detach | Verb::Unrecognised => {}
        }
    }

    fn resume(&mut self, reason: String) {
        self.say_state(RolloutState::Running, reason);
        // A gate that was not passed is looked at again, over a new window when the old one's beginning is not known here.
        match self.state.stage {
            Stage::Gating if self.state.is_decided() => {}
            Stage::Gating if self.measured => self.open_gate(),
            Stage::Gating | Stage::Baking if !self.measured => {
                self.bake(self.state.nodes.probation as usize);
            }
            _ => {}
        }
    }

    /// The fact of the request has made a wave of its nodes.
    fn retry(&mut self, request: &Request, done: &str) {
        let wave = self.state.waves.len() - 1;
        let nodes = count(self.state.waves[wave].nodes.len() as u64, "node");
        let reason = request.because(&format!("{nodes} {done}"));
        if matches!(self.state.stage, Stage::Ended(_)) {
            self.say_state(RolloutState::Running, reason);
            self.enter_wave(wave);
        } else if self.failure().is_none() {
            self.resume(reason);
        }
    }

    fn state_word(&self) -> &'static str {
        match self.state.stage {
            _ if self.state.paused => "paused",
            Stage::Planned => "planned",
            Stage::RollingBack => "rolling back",
            Stage::Aborting => "being aborted",
            Stage::Ended(RolloutState::RolledBack) => "rolled back",
            Stage::Ended(state) => state.as_str(),
            _ => "running",
        }
    }
}
