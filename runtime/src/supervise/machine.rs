//! The thread's work: what is heard becomes messages to supervisors, and each takes its messages one after the other, as a
//! process would. What comes while a supervisor is busy with a job waits in its inbox; only its own end comes first.

use std::{cmp::Reverse, collections::VecDeque, sync::Arc, time::Instant};

use midflight_patch::{Restart, Strategy, Supervisor};

use super::{
    Event, Family, Key, Seat, SupId,
    forest::{Child, Failure, Forest, Msg, Outcome, Run, Step, Sup, Then, Wait, WorkerRun},
    orders,
};
use crate::{actor::Birth, effects::give_birth, exits::SYSTEM, node::Shared, table::Pid};

pub(super) struct Machine<'a> {
    pub(super) shared: &'a Shared,
    pub(super) forest: &'a mut Forest,
}

impl<'a> Machine<'a> {
    pub(super) fn new(shared: &'a Shared, forest: &'a mut Forest) -> Self {
        Self { shared, forest }
    }

    pub(super) fn tell(&mut self, id: SupId, msg: Msg) {
        self.forest.work.push_back((id, msg));
    }

    pub(super) fn hear(&mut self, events: VecDeque<Event>) {
        for event in events {
            match event {
                Event::Born(Seat {
                    supervisor,
                    key,
                    index,
                }) => self.tell(supervisor, Msg::Born { key, index }),
                Event::Ended {
                    seat,
                    pid,
                    reason,
                    born,
                } => {
                    let Seat { key, index, .. } = seat;
                    let ended = Msg::Ended {
                        key,
                        index,
                        pid,
                        reason,
                        born,
                    };
                    self.tell(seat.supervisor, ended);
                }
                Event::Adopt { seat, pid, child } => {
                    let run = WorkerRun {
                        module: child.module,
                        args: child.args,
                        restart: child.restart,
                        shutdown: child.shutdown,
                        pids: vec![pid],
                        live: 1,
                        listed: None,
                        born: false,
                    };
                    let child = Child {
                        name: child.name.unwrap_or_else(|| "".into()),
                        run: Run::Worker(run),
                    };
                    let adopt = Msg::Adopt {
                        key: seat.key,
                        pid,
                        child,
                    };
                    self.tell(seat.supervisor, adopt);
                }
                Event::Disown(seat) => self.tell(seat.supervisor, Msg::Disown { key: seat.key }),
                Event::Drained { supervisor, token } => self.tell(supervisor, Msg::Drained(token)),
                Event::Guest {
                    from,
                    supervisor,
                    order,
                } => self.guest(from, &supervisor, order),
                Event::Host(id, order) => self.tell(id, Msg::Order(order)),
                Event::Start(name, reply) => self.start_application(&name, reply),
                Event::Stop(name, reply) => self.stop_application(&name, reply),
            }
        }
        let now = Instant::now();
        while self.forest.next_deadline().is_some_and(|at| at <= now) {
            if let Some(Reverse((_, id, token))) = self.forest.deadlines.pop() {
                self.tell(id, Msg::Deadline(token));
            }
        }
    }

    fn guest(&mut self, from: SupId, name: &str, order: orders::Order) {
        let own = self.forest.sups.get(&from).map(|sup| &sup.application);
        let to = self.forest.named(name);
        match (own, to) {
            (Some(own), Some(sup)) if *own == sup.application => {
                let id = sup.id;
                self.tell(id, Msg::Order(order));
            }
            _ => tracing::warn!(
                supervisor = name,
                "no such supervisor in the application of the actor that asked"
            ),
        }
    }

    /// Takes so many messages. True: there are more.
    pub(super) fn work(&mut self, most: usize) -> bool {
        for _ in 0..most {
            let Some((id, msg)) = self.forest.work.pop_front() else {
                return false;
            };
            let Some(mut sup) = self.forest.sups.remove(&id) else {
                self.nobody(msg);
                continue;
            };
            self.take(&mut sup, msg);
            while sup.job.is_none() && !sup.over {
                let Some(next) = sup.inbox.pop_front() else {
                    break;
                };
                self.take(&mut sup, next);
            }
            if !sup.over {
                self.forest.sups.insert(id, sup);
            }
        }
        !self.forest.work.is_empty()
    }

    /// The supervisor is gone: an actor that was adopted last ends too.
    pub(super) fn nobody(&mut self, msg: Msg) {
        match msg {
            Msg::Order(order) => order.refuse(),
            Msg::Adopt { pid, .. } => self.shared.exit(pid, "kill", SYSTEM),
            _ => {}
        }
    }

    fn take(&mut self, sup: &mut Sup, msg: Msg) {
        let busy = sup.job.is_some();
        match msg {
            Msg::Begin => self.start_all(sup),
            Msg::Stop => self.begin_end(sup, Outcome::Stopped),
            Msg::Deadline(token) => self.deadline(sup, token),
            Msg::Drained(token) => self.drained(sup, token),
            Msg::Born { key, index } => self.born(sup, key, index),
            Msg::ChildUp { key, id } => {
                if self.is_now(sup, key, id) {
                    self.born(sup, key, 0);
                }
            }
            Msg::Adopt { key, child, .. } => {
                sup.children.insert(key, child);
                if let Some(job) = &mut sup.job
                    && matches!(job.then, Then::Over(_))
                {
                    // It came a moment too late.
                    job.steps.push_back(Step::Stop { key, range: 0..1 });
                }
            }
            Msg::Disown { key } => {
                sup.children.remove(&key);
            }
            Msg::Ended {
                key,
                index,
                pid,
                reason,
                born,
            } => self.ended(sup, key, index, pid, reason, born),
            Msg::Unstarted { key, index, reason } => {
                let waited = matches!(&sup.job, Some(job)
                    if matches!(&job.wait, Wait::Starting { key: k, range, .. } if *k == key && range.contains(&index)));
                if waited {
                    let failure = self.failure(sup, key, index, reason);
                    self.start_failed(sup, key, index, failure);
                } else if busy {
                    sup.inbox.push_back(Msg::Unstarted { key, index, reason });
                } else if sup.children.contains_key(&key) {
                    self.restart(sup, key, index, &reason);
                }
            }
            Msg::ChildDown { key, id, outcome } => self.child_down(sup, key, id, outcome),
            Msg::Order(order) if busy => sup.inbox.push_back(Msg::Order(order)),
            Msg::Order(order) => self.order(sup, order),
        }
    }

    fn is_now(&self, sup: &Sup, key: Key, id: SupId) -> bool {
        let run = sup.children.get(&key).map(|child| &child.run);
        matches!(run, Some(Run::Supervisor { now, .. }) if *now == Some(id))
    }

    fn born(&mut self, sup: &mut Sup, key: Key, index: u32) {
        if let Some(worker) = sup.worker(key) {
            worker.born = true;
        }
        if let Some(job) = &mut sup.job
            && let Wait::Starting {
                key: k,
                range,
                left,
            } = &mut job.wait
            && *k == key
            && range.contains(&index)
        {
            *left -= 1;
            if *left == 0 {
                self.advance(sup);
            }
        }
    }

    fn ended(
        &mut self,
        sup: &mut Sup,
        key: Key,
        index: u32,
        pid: Pid,
        reason: Box<str>,
        born: bool,
    ) {
        let Some(worker) = sup.worker(key) else {
            return;
        };
        if !worker.is(index, pid) {
            return;
        }
        let Some(job) = &mut sup.job else {
            sup.gone.remove(&pid);
            return self.crashed(sup, key, index, &reason);
        };
        let of = |k: Key, range: &std::ops::Range<u32>| k == key && range.contains(&index);
        match &mut job.wait {
            Wait::Stopping {
                key: k,
                range,
                left,
            } if of(*k, range) => {
                *left -= 1;
                let done = *left == 0;
                if let Some(worker) = sup.worker(key) {
                    worker.clear(index);
                }
                if done {
                    self.advance(sup);
                }
            }
            Wait::Starting { key: k, range, .. } if of(*k, range) && !born => {
                if let Some(worker) = sup.worker(key) {
                    worker.clear(index);
                }
                let failure = self.failure(sup, key, index, reason.into());
                self.start_failed(sup, key, index, failure);
            }
            _ => {
                sup.gone.insert(pid);
                sup.inbox.push_back(Msg::Ended {
                    key,
                    index,
                    pid,
                    reason,
                    born,
                });
            }
        }
    }

    fn crashed(&mut self, sup: &mut Sup, key: Key, index: u32, reason: &str) {
        let Some(worker) = sup.worker(key) else {
            return;
        };
        worker.clear(index);
        // One that never was: its spawner was told, and nobody had it.
        let never = worker.spawned() && !worker.born;
        let again = match worker.restart {
            Restart::Permanent => true,
            Restart::Transient => !matches!(reason, "normal" | "shutdown"),
            Restart::Temporary => false,
        };
        if again && !never {
            return self.restart(sup, key, index, reason);
        }
        if worker.live == 0 && (worker.spawned() || worker.restart == Restart::Temporary) {
            sup.forget(key);
        }
    }

    fn child_down(&mut self, sup: &mut Sup, key: Key, id: SupId, outcome: Outcome) {
        if !self.is_now(sup, key, id) {
            return;
        }
        let Some(child) = sup.children.get_mut(&key) else {
            return;
        };
        let mut restart = Restart::Permanent;
        if let Run::Supervisor { spec, now } = &mut child.run {
            restart = spec.restart;
            *now = None;
        }
        let Some(job) = &sup.job else {
            return self.supervisor_ended(sup, key, restart, outcome);
        };
        match (&job.wait, outcome) {
            (Wait::Stopping { key: k, .. }, _) if *k == key => self.advance(sup),
            (Wait::Starting { key: k, .. }, Outcome::NotStarted(failure)) if *k == key => {
                self.start_failed(sup, key, 0, failure);
            }
            (Wait::Starting { key: k, .. }, _) if *k == key => {
                let failure = self.failure(sup, key, 0, "shutdown".into());
                self.start_failed(sup, key, 0, failure);
            }
            (_, outcome) => {
                // Looked at again when the job is done, unless that has started it anew.
                if let Some(Child {
                    run: Run::Supervisor { now, .. },
                    ..
                }) = sup.children.get_mut(&key)
                {
                    *now = Some(id);
                }
                sup.inbox.push_back(Msg::ChildDown { key, id, outcome });
            }
        }
    }

    /// It ends with `shutdown` when it gave up, which a transient child may.
    fn supervisor_ended(&mut self, sup: &mut Sup, key: Key, restart: Restart, outcome: Outcome) {
        let started = !matches!(outcome, Outcome::NotStarted(_));
        match restart {
            Restart::Permanent => self.restart(sup, key, 0, "shutdown"),
            Restart::Transient if !started => self.restart(sup, key, 0, "not started"),
            Restart::Transient => {}
            Restart::Temporary => sup.forget(key),
        }
    }

    pub(super) fn failure(&self, sup: &Sup, key: Key, index: u32, reason: String) -> Failure {
        let child = sup.children.get(&key);
        let module = match child.map(|child| &child.run) {
            Some(Run::Worker(worker)) => Some(worker.module.clone()),
            _ => None,
        };
        Failure {
            name: child.map_or_else(String::new, |child| actor_name(child, index).to_string()),
            // A supervisor has no module of its own.
            module: module.unwrap_or_else(super::forest::no_module),
            reason,
        }
    }

    /// A supervisor with all of its children to come.
    pub(super) fn grow(
        &mut self,
        spec: &Supervisor,
        application: &Arc<str>,
        parent: Option<(SupId, Key)>,
        flat: bool,
    ) -> SupId {
        self.forest.last_id += 1;
        let id = self.forest.last_id;
        let listed: &[midflight_patch::Child] = match spec.strategy {
            Strategy::SimpleOneForOne => &[],
            _ => &spec.children,
        };
        let children = listed.iter().map(Child::new).enumerate();
        let keys = listed.len() as Key;
        let family = Arc::new(Family::new(id, application.clone(), spec, keys));
        self.shared.supervision.add_family(&family);
        let sup = Sup {
            id,
            application: application.clone(),
            parent,
            spec: spec.clone(),
            flat,
            order: (0..keys).collect(),
            children: children.map(|(key, child)| (key as Key, child)).collect(),
            restarts: VecDeque::new(),
            each: Default::default(),
            family,
            job: None,
            inbox: VecDeque::new(),
            gone: Default::default(),
            over: false,
        };
        self.forest.sups.insert(id, sup);
        self.tell(id, Msg::Begin);
        id
    }

    /// Starts one actor, or one supervisor; that it runs, or did not start, is heard later. False: it will not run, which
    /// is heard too.
    pub(super) fn start_one(&mut self, sup: &mut Sup, key: Key, index: u32, again: bool) -> bool {
        let (id, application, flat) = (sup.id, sup.application.clone(), sup.flat);
        let Some(child) = sup.children.get_mut(&key) else {
            return false;
        };
        let name = actor_name(child, index);
        match &mut child.run {
            Run::Supervisor { spec, now } => {
                *now = Some(self.grow(spec, &application, Some((id, key)), flat));
            }
            Run::Worker(worker) => {
                let seat = Seat {
                    supervisor: id,
                    key,
                    index,
                };
                let name = (!name.is_empty()).then_some(name);
                match self.birth(worker, name, seat, again) {
                    Ok(pid) => worker.put(index, pid),
                    Err(reason) => {
                        self.tell(id, Msg::Unstarted { key, index, reason });
                        return false;
                    }
                }
            }
        }
        true
    }

    fn birth(
        &self,
        worker: &WorkerRun,
        name: Option<Arc<str>>,
        seat: Seat,
        again: bool,
    ) -> Result<Pid, String> {
        let shared = self.shared;
        let module = shared
            .code
            .module_named(worker.module.as_str())
            .ok_or_else(|| format!("module {} is not loaded", worker.module))?;
        let pid = shared
            .table
            .reserve()
            .ok_or("the node holds as many actors as limits.actors allows")?;
        let birth = Birth {
            args: worker.args.to_vec(),
            parent: None,
            linked: false,
        };
        if let Err(reason) = give_birth(shared, pid, &module, name, birth, Some(seat)) {
            shared.table.release(pid);
            return Err(reason);
        }
        if again {
            let restarts = &module.restarts;
            restarts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        shared.wake(pid);
        Ok(pid)
    }
}

/// Of several actors of one child each has a number; one that was spawned without a name has none.
pub(super) fn actor_name(child: &Child, index: u32) -> Arc<str> {
    if child.live().1 > 1 {
        format!("{}.{}", child.name, index + 1).into()
    } else {
        child.name.clone()
    }
}
