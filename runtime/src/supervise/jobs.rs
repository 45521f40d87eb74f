//! Jobs: starts and stops, one step after the other. A step that has to wait says for what, and the message that ends the
//! wait takes the next one; so a child that takes its time to end holds up its own supervisor and nobody else.

use std::{
    cmp::Reverse,
    collections::VecDeque,
    ops::Range,
    time::{Duration, Instant},
};

use midflight_patch::{Restart, Shutdown};

use super::{
    Key,
    forest::{Failure, Job, Msg, Outcome, Run, Step, Sup, Then, Wait},
    machine::Machine,
};
use crate::{Error, exits::SYSTEM, table::Pid};

/// So many actors of one child, or spawned ones, are told to end at once.
const CHUNK: u32 = 4_096;

/// One that was about to be born does not hear that it is killed: it is killed again after this long.
const AGAIN: Duration = Duration::from_secs(1);

/// The steps that end these actors of a child, the last ones first.
pub(super) fn stops(key: Key, range: Range<u32>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut end = range.end;
    while end > range.start {
        let start = end.saturating_sub(CHUNK).max(range.start);
        steps.push(Step::Stop {
            key,
            range: start..end,
        });
        end = start;
    }
    steps
}

impl Machine<'_> {
    pub(super) fn begin(&mut self, sup: &mut Sup, steps: Vec<Step>, then: Then) {
        sup.job = Some(Job {
            steps: steps.into(),
            wait: Wait::Nothing,
            token: 0,
            then,
        });
        self.advance(sup);
    }

    /// All children, in order.
    pub(super) fn start_all(&mut self, sup: &mut Sup) {
        let start = |key: Key, sup: &Sup| Step::Start {
            key,
            range: sup.children[&key].range(),
        };
        let steps = sup.order.iter().map(|key| start(*key, sup)).collect();
        self.begin(sup, steps, Then::Started);
    }

    /// The supervisor's own end, which nothing holds up: what it was doing is left.
    pub(super) fn begin_end(&mut self, sup: &mut Sup, outcome: Outcome) {
        match sup.job.take() {
            Some(job) if matches!(job.then, Then::Over(_)) => {
                sup.job = Some(job);
                return;
            }
            Some(Job {
                then: Then::Reply(reply),
                ..
            }) => super::orders::answer(reply, Err(ending(sup))),
            _ => {}
        }
        sup.family.close();
        let mut steps = vec![Step::StopAllSpawned];
        for key in sup.ordered().into_iter().rev() {
            steps.extend(stops(key, sup.children[&key].range()));
        }
        self.begin(sup, steps, Then::Over(outcome));
    }

    /// Takes steps until one has to wait, or none is left.
    pub(super) fn advance(&mut self, sup: &mut Sup) {
        loop {
            let Some(job) = &mut sup.job else { return };
            job.wait = Wait::Nothing;
            let Some(step) = job.steps.pop_front() else {
                if let Some(job) = sup.job.take() {
                    self.done(sup, job.then);
                }
                return;
            };
            let wait = match step {
                Step::Stop { key, range } => self.stop(sup, key, range),
                Step::StopAllSpawned => {
                    let pids = sup.family.remaining(&self.shared.table);
                    self.stop_spawned(sup, pids.into())
                }
                Step::StopSpawned { pids } => self.stop_spawned(sup, pids),
                Step::Start { key, range } => self.start(sup, key, range),
                Step::Settle(key) => {
                    let child = sup.children.get(&key);
                    if child.is_some_and(|c| c.restart() == Restart::Temporary && c.live().0 == 0) {
                        sup.forget(key);
                    }
                    None
                }
                Step::Forget(key) => {
                    sup.forget(key);
                    None
                }
                Step::Shrink { key, count } => {
                    if let Some(worker) = sup.worker(key) {
                        worker.pids.truncate(count as usize);
                    }
                    None
                }
            };
            if let (Some(wait), Some(job)) = (wait, &mut sup.job) {
                job.wait = wait;
                return;
            }
        }
    }

    /// Names what is waited for now, with a deadline when there is one.
    fn token(&mut self, sup: &mut Sup, shutdown: Shutdown) -> u64 {
        self.forest.last_token += 1;
        let token = self.forest.last_token;
        if let Some(job) = &mut sup.job {
            job.token = token;
        }
        let after = match shutdown {
            Shutdown::BrutalKill => AGAIN,
            Shutdown::Ms(ms) => Duration::from_millis(ms.into()),
        };
        self.remind(sup, token, after);
        token
    }

    fn remind(&mut self, sup: &Sup, token: u64, after: Duration) {
        let at = Instant::now() + after;
        self.forest.deadlines.push(Reverse((at, sup.id, token)));
    }

    fn signal(&self, pid: Pid, shutdown: Shutdown) {
        let reason = match shutdown {
            Shutdown::BrutalKill => "kill",
            Shutdown::Ms(_) => "shutdown",
        };
        self.shared.exit(pid, reason, SYSTEM);
    }

    fn stop(&mut self, sup: &mut Sup, key: Key, range: Range<u32>) -> Option<Wait> {
        let worker = match &mut sup.children.get_mut(&key)?.run {
            Run::Worker(worker) => worker,
            Run::Supervisor { now, .. } => {
                let id = (*now)?;
                if !self.forest.sups.contains_key(&id) {
                    // It has ended by itself meanwhile.
                    *now = None;
                    return None;
                }
                self.tell(id, Msg::Stop);
                let left = 1;
                return Some(Wait::Stopping { key, range, left });
            }
        };
        let (mut told, shutdown) = (Vec::new(), worker.shutdown);
        for index in range.clone().rev() {
            match worker.pids.get(index as usize).copied().unwrap_or(0) {
                0 => {}
                // It has ended by itself meanwhile; that is no reason to start it again now.
                pid if sup.gone.remove(&pid) => worker.clear(index),
                pid => told.push(pid),
            }
        }
        if told.is_empty() {
            return None;
        }
        self.token(sup, shutdown);
        told.iter().for_each(|&pid| self.signal(pid, shutdown));
        let left = told.len() as u32;
        Some(Wait::Stopping { key, range, left })
    }

    fn stop_spawned(&mut self, sup: &mut Sup, mut rest: VecDeque<Pid>) -> Option<Wait> {
        let shutdown = sup.family.shutdown();
        while !rest.is_empty() {
            let now: Vec<Pid> = rest.drain(..rest.len().min(CHUNK as usize)).collect();
            let token = self.token(sup, shutdown);
            if sup.family.drain(&self.shared.table, &now, token) {
                now.iter().for_each(|&pid| self.signal(pid, shutdown));
                return Some(Wait::Spawned { now, rest });
            }
        }
        None
    }

    pub(super) fn drained(&mut self, sup: &mut Sup, token: u64) {
        let Some(job) = &mut sup.job else { return };
        if job.token != token {
            return;
        }
        if let Wait::Spawned { rest, .. } = &mut job.wait {
            let pids = std::mem::take(rest);
            job.steps.push_front(Step::StopSpawned { pids });
            self.advance(sup);
        }
    }

    /// The time to end is over: who has not is killed.
    pub(super) fn deadline(&mut self, sup: &mut Sup, token: u64) {
        let Some(job) = &sup.job else { return };
        if job.token != token {
            return;
        }
        let late: Vec<Pid> = match &job.wait {
            Wait::Spawned { now, .. } => now.clone(),
            Wait::Stopping { key, range, .. } => match sup.children.get(key).map(|c| &c.run) {
                Some(Run::Worker(worker)) => range
                    .clone()
                    .filter_map(|index| worker.pids.get(index as usize).copied())
                    .filter(|pid| *pid != 0)
                    .collect(),
                _ => return,
            },
            _ => return,
        };
        tracing::warn!(
            supervisor = sup.spec.name,
            actors = late.len(),
            "did not end in time; killed"
        );
        late.iter()
            .for_each(|&pid| self.signal(pid, Shutdown::BrutalKill));
        self.remind(sup, token, AGAIN);
    }

    fn start(&mut self, sup: &mut Sup, key: Key, range: Range<u32>) -> Option<Wait> {
        let again = matches!(&sup.job, Some(job) if matches!(job.then, Then::Restarted));
        let mut left = 0;
        for index in range.clone() {
            let off = match &sup.children.get(&key)?.run {
                Run::Worker(worker) => worker.pids.get(index as usize) == Some(&0),
                Run::Supervisor { now, .. } => now.is_none(),
            };
            if off {
                left += 1;
                if !self.start_one(sup, key, index, again) {
                    break;
                }
            }
        }
        (left > 0).then_some(Wait::Starting { key, range, left })
    }

    /// A step's child did not start.
    pub(super) fn start_failed(&mut self, sup: &mut Sup, key: Key, index: u32, failure: Failure) {
        let Some(job) = sup.job.take() else { return };
        let Failure { name, reason, .. } = &failure;
        tracing::error!(
            supervisor = sup.spec.name,
            child = name,
            reason,
            "did not start"
        );
        match job.then {
            Then::Started => self.begin_end(sup, Outcome::NotStarted(failure)),
            Then::Restarted => self.restart(sup, key, index, &failure.reason),
            Then::Reply(reply) => super::orders::answer(
                reply,
                Err(Error::Start {
                    name: failure.name,
                    module: failure.module,
                    reason: failure.reason,
                }),
            ),
            // It starts nobody.
            Then::Over(_) => {}
        }
    }

    fn done(&mut self, sup: &mut Sup, then: Then) {
        match then {
            Then::Restarted => {}
            Then::Reply(reply) => super::orders::answer(reply, Ok(())),
            Then::Started => match sup.parent {
                Some((parent, key)) => self.tell(parent, Msg::ChildUp { key, id: sup.id }),
                None => self.application_up(&sup.application.clone()),
            },
            Then::Over(outcome) => {
                sup.over = true;
                self.shared.supervision.remove_family(&sup.family);
                for msg in std::mem::take(&mut sup.inbox) {
                    self.nobody(msg);
                }
                match sup.parent {
                    Some((parent, key)) => {
                        let id = sup.id;
                        self.tell(parent, Msg::ChildDown { key, id, outcome });
                    }
                    None => self.application_down(&sup.application.clone(), outcome),
                }
            }
        }
    }
}

pub(super) fn ending(sup: &Sup) -> Error {
    Error::NoSupervisor(sup.spec.name.clone())
}
