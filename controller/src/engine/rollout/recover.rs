//! How a process goes on with a rollout that another left: every node that was in flight is asked what happened, and what had
//! been asked of it is asked again where the answer may be lost. Agents answer a request that they know with what came of it,
//! so that no phase runs twice.

use crate::engine::control::Request;
use crate::engine::moves::Action;
use crate::engine::rollout::Rollout;
use crate::engine::rollout::nodes::Node;
use crate::engine::rollout::state::Stage;
use crate::engine::words::Phase;

impl Rollout {
    /// `request` is what a person asks for at the same time.
    pub(super) fn recover(&mut self, request: Option<Request>) {
        if let Some(request) = request {
            self.control(request);
            // What it leads to is asked of the nodes below, each once.
            let kept = |action: &Action| matches!(action, Action::Record(_) | Action::Answer(_));
            self.actions.retain(kept);
        }
        match self.state.stage {
            Stage::Planned => return self.start(),
            Stage::Ended(_) => return self.actions.push(Action::Leave),
            _ => {}
        }
        self.recover_batch();
        let forward = self.is_going_forward();
        let rolling_back = self.state.stage == Stage::RollingBack;
        let nodes: Vec<_> = self.state.nodes.iter().collect();
        for (node, state) in nodes {
            match state {
                Node::Upgrading if forward && !self.batch_is_over() => {
                    self.actions.push(Action::Upgrade {
                        node,
                        attempt: self.attempt(node),
                        again: true,
                    });
                }
                // It may have resumed; a node that has not says so.
                Node::Upgrading => self.put_back(node),
                Node::Probation | Node::Confirming | Node::Confirmed if rolling_back => {
                    self.put_back(node);
                }
                Node::Probation if !forward && self.state.keep => {
                    self.ask(node, Phase::Confirm, self.attempt(node));
                    self.actions.push(Action::Confirm(node));
                }
                Node::Probation if !forward => self.put_back(node),
                Node::Probation => self.actions.push(Action::Inquire(node)),
                Node::Confirming => self.actions.push(Action::Confirm(node)),
                Node::Finishing => self.actions.push(Action::Finish(node)),
                Node::RollingBack { .. } => self.actions.push(Action::Rollback(node)),
                Node::Pending | Node::Confirmed | Node::Settled(_) => {}
            }
        }
        self.recover_bake();
    }

    /// The beginning of the gate's window went with the process that had read it: a bake that was cut begins again.
    fn recover_bake(&mut self) {
        let bakes = matches!(self.state.stage, Stage::Baking | Stage::Gating);
        let decided = self.state.stage == Stage::Gating && self.state.is_decided();
        if bakes && !decided && !self.state.paused && self.state.nodes.probation > 0 {
            self.bake(self.state.nodes.probation as usize);
        }
    }
}
