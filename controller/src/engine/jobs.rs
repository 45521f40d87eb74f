//! The tasks of a run: one for each thing that is being asked of a node. Every task is owned here, ends in at most one input for
//! the state machine, also when it panics, and is aborted when the run ends. How many ask at a time is bounded, except upgrades,
//! which the state machine bounds, and rollbacks, which nothing may hold up.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use crate::engine::event::{Cause, Health, Planned};
use crate::engine::gate::Verdict;
use crate::engine::gating::{Gating, Member};
use crate::engine::link::Link;
use crate::engine::moves::{Back, Judged, Standing, Upgraded};
use crate::engine::node::{self, Order, Passage, Report, Reports};
use crate::engine::payload::Payload;
use crate::engine::rollout::{Action, Input, Rollout};
use crate::engine::told::Told;
use crate::engine::words::{Barrier, Phase};
use crate::policy::Policy;

pub(super) struct Jobs {
    tasks: JoinSet<Option<Input>>,
    /// What a task is about, for the case that it panics.
    about: HashMap<Id, Action>,
    links: Vec<Arc<Link>>,
    order: Arc<Order>,
    gating: Arc<Gating>,
    payload: Option<Arc<Payload>>,
    asking: Arc<Semaphore>,
    /// Of their own, so that no lease runs out behind nodes that do not answer.
    renewing: Arc<Semaphore>,
    reports: mpsc::Sender<Report>,
    passage: Told<Passage>,
    cancel_confirms: Told<bool>,
}

impl Jobs {
    pub(super) fn new(
        links: Vec<Arc<Link>>,
        order: Order,
        planned: &Planned,
        policy: &Policy,
        payload: Option<Arc<Payload>>,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let permits = || Arc::new(Semaphore::new(policy.concurrency.max(1) as usize));
        let modules = payload.iter().flat_map(|payload| &payload.manifest.modules);
        let modules = modules.map(|module| module.name.to_string()).collect();
        let gating = Gating::new(&order, planned, policy, modules);
        Self {
            tasks: JoinSet::new(),
            about: HashMap::new(),
            links,
            order: Arc::new(order),
            payload,
            asking: permits(),
            renewing: permits(),
            reports,
            passage: Told::new(Passage::new()),
            cancel_confirms: Told::new(false),
            gating: Arc::new(gating),
        }
    }

    /// Starts what an action asks of nodes; other actions are not for here.
    pub(super) fn start(&mut self, action: Action, machine: &Rollout) {
        let handle = match action {
            Action::Upgrade {
                node,
                attempt,
                again,
            } => self.upgrade(node, attempt, again),
            Action::Rollback(node) => {
                let (link, order) = (self.links[node].clone(), self.order.clone());
                let (attempt, reason) = (machine.attempt(node), machine.reason().to_owned());
                self.tasks.spawn(async move {
                    let back = node::rollback(&link, &order, attempt, &reason).await;
                    Some(Input::RolledBack(node, back))
                })
            }
            Action::Inquire(node) => {
                let (link, order) = (self.links[node].clone(), self.order.clone());
                let (attempt, permits) = (machine.attempt(node), self.renewing.clone());
                self.tasks.spawn(async move {
                    // The semaphore is never closed.
                    let _permit = permits.acquire_owned().await;
                    match node::inquire(&link, &order, attempt).await {
                        Standing::Probation => None,
                        standing => Some(Input::Told(node, standing)),
                    }
                })
            }
            Action::Confirm(node) => {
                let (link, order) = (self.links[node].clone(), self.order.clone());
                let (attempt, permits) = (machine.attempt(node), self.asking.clone());
                let cancel = self.cancel_confirms.task(node);
                self.tasks.spawn(async move {
                    // See above.
                    let _permit = permits.acquire_owned().await;
                    let standing = node::confirm(&link, &order, attempt, cancel).await;
                    Some(Input::Confirmed(node, standing))
                })
            }
            Action::Finish(node) => {
                let (link, order) = (self.links[node].clone(), self.order.clone());
                let (key, permits) = (order.key(machine.attempt(node)), self.asking.clone());
                self.tasks.spawn(async move {
                    // See above.
                    let _permit = permits.acquire_owned().await;
                    Some(Input::Finished(
                        node,
                        node::finish(&link, &order, &key).await,
                    ))
                })
            }
            Action::Measure => {
                let control = self.links_of(&machine.wave().control);
                let (order, gating) = (self.order.clone(), self.gating.clone());
                self.tasks.spawn(async move {
                    gating.measure(control, &order).await;
                    None
                })
            }
            Action::Judge => {
                let (number, wave) = (machine.wave_number(), machine.wave());
                let member = |node: &usize| {
                    machine.holds_lease(*node).then(|| Member {
                        node: *node,
                        attempt: machine.attempt(*node),
                        link: self.links[*node].clone(),
                    })
                };
                let members: Vec<Member> = wave.nodes.iter().filter_map(member).collect();
                let control = self.links_of(&wave.control);
                let (order, gating) = (self.order.clone(), self.gating.clone());
                self.tasks.spawn(async move {
                    let judged = gating.judge(number, members, control, &order).await;
                    Some(Input::Judged(judged))
                })
            }
            _ => return,
        };
        self.about.insert(handle.id(), action);
    }

    fn links_of(&self, nodes: &[usize]) -> Vec<Arc<Link>> {
        nodes.iter().map(|node| self.links[*node].clone()).collect()
    }

    fn upgrade(&mut self, node: usize, attempt: u32, again: bool) -> AbortHandle {
        let (link, order) = (self.links[node].clone(), self.order.clone());
        let (payload, passage) = (self.payload.clone(), self.passage.task(node));
        let reports = Reports {
            node,
            to: self.reports.clone(),
        };
        self.tasks.spawn(async move {
            let upgraded = match payload {
                Some(payload) => {
                    node::upgrade(&link, &order, attempt, again, &payload, &reports, passage).await
                }
                None => Upgraded::Refused(defect(Phase::Stage, "there is no patch to stage")),
            };
            Some(Input::Upgraded(node, upgraded))
        })
    }

    /// Lets the batch pass a barrier.
    pub(super) fn open(&mut self, barrier: Barrier) {
        let passage = Passage {
            open: barrier,
            cut: false,
        };
        self.passage.tell(|now| *now = passage);
    }

    /// Aborts what has not reached resume.
    pub(super) fn cut(&mut self) {
        self.passage.tell(|passage| passage.cut = true);
    }

    /// Gives up confirms that have not been answered.
    pub(super) fn cancel_confirms(&mut self) {
        self.cancel_confirms.tell(|cancel| *cancel = true);
    }

    /// What the next task came to; waits for ever when there is none.
    pub(super) async fn next(&mut self) -> Option<Input> {
        match self.tasks.join_next_with_id().await {
            Some(joined) => self.input(joined),
            None => std::future::pending().await,
        }
    }

    /// The same without waiting; `None` when no task has ended.
    pub(super) fn try_next(&mut self) -> Option<Option<Input>> {
        let joined = self.tasks.try_join_next_with_id()?;
        Some(self.input(joined))
    }

    fn input(&mut self, joined: Result<(Id, Option<Input>), JoinError>) -> Option<Input> {
        let id = match &joined {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let about = self.about.remove(&id);
        match about {
            Some(Action::Upgrade { node, .. }) => self.passage.ended(node),
            Some(Action::Confirm(node)) => self.cancel_confirms.ended(node),
            _ => {}
        }
        let error = match joined {
            Ok((_, input)) => return input,
            Err(error) => error,
        };
        let cause = |phase| defect(phase, &error.to_string());
        let unknown = |phase| Standing::Unknown(cause(phase));
        Some(match about? {
            Action::Upgrade { node, .. } => {
                Input::Upgraded(node, Upgraded::Unknown(cause(Phase::Upgrade)))
            }
            Action::Inquire(node) => Input::Told(node, unknown(Phase::Gate)),
            Action::Confirm(node) => Input::Confirmed(node, unknown(Phase::Confirm)),
            Action::Finish(node) => Input::Finished(node, Err(cause(Phase::Finish))),
            Action::Rollback(node) => Input::RolledBack(node, Back::Failed(cause(Phase::Rollback))),
            Action::Judge => Input::Judged(Judged {
                verdict: Verdict::Inconclusive(vec![cause(Phase::Gate).what]),
                health: Health::default(),
                lost: Vec::new(),
            }),
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
