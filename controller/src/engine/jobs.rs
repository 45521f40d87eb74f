//! The tasks of a run: one for each thing that is being asked of a node. Every task is owned here, ends in one input for the
//! state machine, also when it panics, and is aborted when the run ends. How many ask at a time is bounded, except rollbacks.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};

use crate::engine::Run;
use crate::engine::event::Cause;
use crate::engine::link::Link;
use crate::engine::node::{self, Order, Step, Steps};
use crate::engine::payload::Payload;
use crate::engine::rollout::{Action, Back, Checked, Input, Upgraded};
use crate::engine::words::Phase;

pub(super) struct Jobs {
    tasks: JoinSet<Input>,
    /// What a task is about, for the case that it panics.
    about: HashMap<Id, Action>,
    links: Vec<Arc<Link>>,
    order: Arc<Order>,
    payload: Option<Arc<Payload>>,
    permits: Arc<Semaphore>,
    steps: mpsc::Sender<Step>,
    cancels_upgrades: watch::Receiver<bool>,
    cancels_confirms: watch::Receiver<bool>,
}

impl Jobs {
    pub(super) fn new(
        run: &Run<'_>,
        steps: mpsc::Sender<Step>,
        cancels_upgrades: watch::Receiver<bool>,
        cancels_confirms: watch::Receiver<bool>,
    ) -> Self {
        Self {
            tasks: JoinSet::new(),
            about: HashMap::new(),
            links: run.links.clone(),
            order: run.order.clone(),
            payload: run.payload.clone(),
            permits: Arc::new(Semaphore::new(run.concurrency.max(1) as usize)),
            steps,
            cancels_upgrades,
            cancels_confirms,
        }
    }

    /// Starts what an action asks of a node; other actions are not for here. `reason` is why nodes are put back.
    pub(super) fn start(&mut self, action: Action, reason: &str) {
        let (Action::Upgrade(node)
        | Action::Check(node)
        | Action::Confirm(node)
        | Action::Finish(node)
        | Action::Rollback(node)) = action
        else {
            return;
        };
        let (link, order, permits) = (
            self.links[node].clone(),
            self.order.clone(),
            self.permits.clone(),
        );
        let handle = match action {
            Action::Upgrade(_) => {
                let (payload, cancel) = (self.payload.clone(), self.cancels_upgrades.clone());
                let steps = Steps {
                    node,
                    to: self.steps.clone(),
                };
                self.tasks.spawn(async move {
                    let upgraded = match payload {
                        Some(payload) => {
                            node::upgrade(&link, &order, &payload, &steps, cancel).await
                        }
                        None => {
                            Upgraded::Refused(defect(Phase::Stage, "there is no patch to stage"))
                        }
                    };
                    Input::Upgraded(node, upgraded)
                })
            }
            Action::Rollback(_) => {
                let reason = reason.to_owned();
                self.tasks.spawn(async move {
                    Input::RolledBack(node, node::rollback(&link, &order, &reason).await)
                })
            }
            Action::Check(_) => self.tasks.spawn(async move {
                // The semaphore is never closed.
                let _permit = permits.acquire_owned().await;
                Input::Checked(node, node::check(&link, &order).await)
            }),
            _ => {
                let (cancel, finish) = (
                    self.cancels_confirms.clone(),
                    matches!(action, Action::Finish(_)),
                );
                self.tasks.spawn(async move {
                    let _permit = permits.acquire_owned().await;
                    let result = node::confirm(&link, &order, finish, cancel).await;
                    if finish {
                        Input::Finished(node, result)
                    } else {
                        Input::Confirmed(node, result)
                    }
                })
            }
        };
        self.about.insert(handle.id(), action);
    }

    /// What the next task came to; `None` when there is none.
    pub(super) async fn next(&mut self) -> Option<Input> {
        let joined = self.tasks.join_next_with_id().await?;
        self.input(joined)
    }

    /// The same without waiting.
    pub(super) fn try_next(&mut self) -> Option<Input> {
        let joined = self.tasks.try_join_next_with_id()?;
        self.input(joined)
    }

    fn input(&mut self, joined: Result<(Id, Input), JoinError>) -> Option<Input> {
        let error = match joined {
            Ok((id, input)) => {
                self.about.remove(&id);
                return Some(input);
            }
            Err(error) => error,
        };
        let cause = |phase| defect(phase, &error.to_string());
        Some(match self.about.remove(&error.id())? {
            Action::Upgrade(node) => {
                Input::Upgraded(node, Upgraded::Unknown(cause(Phase::Upgrade)))
            }
            Action::Check(node) => Input::Checked(node, Checked::Unknown(cause(Phase::Gate))),
            Action::Confirm(node) => Input::Confirmed(node, Err(cause(Phase::Confirm))),
            Action::Finish(node) => Input::Finished(node, Err(cause(Phase::Finish))),
            Action::Rollback(node) => Input::RolledBack(node, Back::Failed(cause(Phase::Rollback))),
            _ => return None,
        })
    }
}

fn defect(phase: Phase, what: &str) -> Cause {
    Cause {
        code: "MF0518".to_owned(),
        phase,
        what: what.to_owned(),
        subject: String::new(),
        hint: "this is a defect of the program: report it".to_owned(),
        actors: Vec::new(),
        actor_count: 0,
    }
}
