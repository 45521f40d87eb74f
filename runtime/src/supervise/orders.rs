//! What a supervisor is asked and told from outside: `which_children`, `count_children`, `terminate_child`,
//! `restart_child` and `delete_child`, as in OTP's supervisor. A question looks at the trees; an order waits its turn like
//! everything else that a supervisor hears.

use std::{collections::VecDeque, sync::mpsc, time::Duration};

use midflight_patch::{ModuleName, Restart, Supervisor};

use super::{
    Event, Key, Reply, SupId,
    forest::{Run, Step, Sup, Then},
    jobs::stops,
    machine::{Machine, actor_name},
};
use crate::{Error, Node, node::Shared, table::Pid};

/// For what starts actors, and what ends them: the longest time to end, and some.
pub(super) const PATIENCE: Duration = Duration::from_secs(630);

/// Names a child of a supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChildRef {
    /// One that runs.
    Pid(u64),
    /// As the specification names it, or by the name under which it is registered.
    Name(String),
}

impl std::fmt::Display for ChildRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ChildRef::Pid(pid) => f.write_str(&crate::pid_text(*pid)),
            ChildRef::Name(name) => f.write_str(name),
        }
    }
}

/// What a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildKind {
    /// An actor.
    Worker,
    /// A supervisor.
    Supervisor,
}

/// One child as it stands (OTP: `which_children/1`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildStatus {
    /// Its name; empty for one that was spawned without.
    pub name: String,
    /// None: a supervisor, or it does not run.
    pub pid: Option<u64>,
    /// It runs, or is being started.
    pub live: bool,
    /// Actor or supervisor.
    pub kind: ChildKind,
    /// What an actor runs when it is started the next time; none for a supervisor, and for one that is never started again.
    pub module: Option<ModuleName>,
    /// When it is started again.
    pub restart: Restart,
    /// An actor spawned it; the specification does not name it.
    pub spawned: bool,
}

/// How many children a supervisor has (OTP: `count_children/1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChildCounts {
    /// Child specifications, and spawned children.
    pub specs: u64,
    /// Children that run.
    pub active: u64,
    /// Children that are supervisors, running or not.
    pub supervisors: u64,
    /// Actors, running or not.
    pub workers: u64,
}

/// What a supervisor is told.
pub(crate) struct Order {
    pub(super) what: What,
    pub(super) reply: Option<Reply>,
}

pub(super) enum What {
    Terminate(ChildRef),
    Restart(ChildRef),
    Delete(ChildRef),
    Update(Box<Supervisor>),
}

impl Order {
    pub(crate) fn terminate(child: ChildRef) -> Self {
        let what = What::Terminate(child);
        Self { what, reply: None }
    }

    pub(crate) fn restart(child: ChildRef) -> Self {
        let what = What::Restart(child);
        Self { what, reply: None }
    }

    /// Its supervisor is gone.
    pub(super) fn refuse(self) {
        answer(
            self.reply,
            Err(Error::NoSupervisor("that has ended".into())),
        );
    }
}

/// Who asked may have stopped waiting; a guest is not told, so what went wrong is said in the log.
pub(super) fn answer(reply: Option<Reply>, result: Result<(), Error>) {
    match (reply, result) {
        (Some(reply), result) => drop(reply.try_send(result)),
        (None, Err(error)) => tracing::warn!(%error, "an order to a supervisor failed"),
        (None, Ok(())) => {}
    }
}

/// Whom an order is about.
enum Target {
    Child(Key, Option<u32>),
    Spawned(Pid),
}

impl Machine<'_> {
    fn target(&self, sup: &Sup, child: &ChildRef) -> Option<Target> {
        let live = |pid: Pid| {
            let kin = &self.shared.table.get(pid)?.kin;
            (kin.supervisor()? == sup.id).then(|| match kin.seat() {
                Some(seat) => Target::Child(seat.key, Some(seat.index)),
                None => Target::Spawned(pid),
            })
        };
        match child {
            ChildRef::Pid(pid) => live(*pid),
            ChildRef::Name(name) => {
                let named = |key: &&Key| sup.children.get(key).is_some_and(|c| *c.name == **name);
                let listed = sup
                    .order
                    .iter()
                    .find(named)
                    .map(|key| Target::Child(*key, None));
                listed.or_else(|| live(self.shared.names.whereis(name)?))
            }
        }
    }

    /// Called when no job goes on.
    pub(super) fn order(&mut self, sup: &mut Sup, order: Order) {
        let Order { what, reply } = order;
        let child = match what {
            What::Update(spec) => return self.update(sup, *spec, reply),
            What::Terminate(ref child) | What::Restart(ref child) | What::Delete(ref child) => {
                child
            }
        };
        let refused = |state| Error::ChildState {
            supervisor: sup.spec.name.clone(),
            child: child.to_string(),
            state,
        };
        let steps = match (self.target(sup, child), &what) {
            (None, _) => Err(Error::NoChild {
                supervisor: sup.spec.name.clone(),
                child: child.to_string(),
            }),
            (Some(Target::Spawned(pid)), What::Terminate(_)) => Ok(vec![Step::StopSpawned {
                pids: VecDeque::from([pid]),
            }]),
            (Some(Target::Spawned(_)), _) => Err(refused("running")),
            (Some(Target::Child(key, index)), what) => {
                let (live, all) = sup.children[&key].live();
                let range = index.map_or(0..all, |index| index..index + 1);
                match what {
                    What::Terminate(_) => {
                        let mut steps = stops(key, range);
                        steps.push(match sup.children[&key].spawned() {
                            true => Step::Forget(key),
                            false => Step::Settle(key),
                        });
                        Ok(steps)
                    }
                    What::Restart(_) if live < all && index.is_none() => {
                        Ok(vec![Step::Start { key, range }])
                    }
                    What::Delete(_) if live == 0 => Ok(vec![Step::Forget(key)]),
                    _ => Err(refused("running")),
                }
            }
        };
        match steps {
            Ok(steps) => self.begin(sup, steps, Then::Reply(reply)),
            Err(error) => answer(reply, Err(error)),
        }
    }
}

impl Shared {
    /// Has the thread do something, and waits until it is done.
    pub(super) fn ask(&self, event: impl FnOnce(Reply) -> Event) -> Result<(), Error> {
        let (reply, answered) = mpsc::sync_channel(1);
        self.supervision.push(event(reply));
        answered.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            Err(Error::System {
                what: "the supervisors",
                reason: format!("no answer within {PATIENCE:?}"),
            })
        })
    }

    pub(super) fn supervisor_id(&self, name: &str) -> Result<SupId, Error> {
        let family = self.supervision.named(name);
        family
            .map(|family| family.id)
            .ok_or_else(|| Error::NoSupervisor(name.to_owned()))
    }

    fn order_child(&self, supervisor: &str, what: What) -> Result<(), Error> {
        let id = self.supervisor_id(supervisor)?;
        self.ask(|reply| {
            let reply = Some(reply);
            Event::Host(id, Order { what, reply })
        })
    }

    /// The supervisor of an application that names this child.
    fn parent_of(&self, application: &str, child: &str) -> Result<String, Error> {
        let forest = self.supervision.forest.lock();
        let has = |sup: &&super::forest::Sup| {
            &*sup.application == application && sup.children.values().any(|c| &*c.name == child)
        };
        let found = forest.sups.values().find(has).map(|s| s.spec.name.clone());
        found.ok_or_else(|| Error::NoChild {
            supervisor: application.to_owned(),
            child: child.to_owned(),
        })
    }

    /// Ends a child of an application's tree, wherever it stands in it.
    pub(crate) fn stop_part(&self, application: &str, child: &str) -> Result<(), Error> {
        let supervisor = self.parent_of(application, child)?;
        self.order_child(
            &supervisor,
            What::Terminate(ChildRef::Name(child.to_owned())),
        )
    }

    /// Starts it again.
    pub(crate) fn start_part(&self, application: &str, child: &str) -> Result<(), Error> {
        let supervisor = self.parent_of(application, child)?;
        self.order_child(&supervisor, What::Restart(ChildRef::Name(child.to_owned())))
    }
}

impl Node {
    /// The children of a supervisor, those that the specification names first, in start order; then those that were
    /// spawned.
    ///
    /// # Errors
    /// [`Error::NoSupervisor`].
    pub fn which_children(&self, supervisor: &str) -> Result<Vec<ChildStatus>, Error> {
        let shared = &self.shared;
        let forest = shared.supervision.forest.lock();
        let sup = forest
            .named(supervisor)
            .ok_or_else(|| Error::NoSupervisor(supervisor.to_owned()))?;
        let mut all = Vec::new();
        for key in sup.ordered() {
            let child = &sup.children[&key];
            match &child.run {
                Run::Supervisor { spec, now } => all.push(ChildStatus {
                    name: child.name.to_string(),
                    pid: None,
                    live: now.is_some(),
                    kind: ChildKind::Supervisor,
                    module: None,
                    restart: spec.restart,
                    spawned: false,
                }),
                Run::Worker(worker) => {
                    for (index, &pid) in worker.pids.iter().enumerate() {
                        all.push(ChildStatus {
                            name: actor_name(child, index as u32).to_string(),
                            pid: (pid != 0).then_some(pid),
                            live: pid != 0,
                            kind: ChildKind::Worker,
                            module: Some(worker.module.clone()),
                            restart: worker.restart,
                            spawned: worker.spawned(),
                        });
                    }
                }
            }
        }
        let spawned = sup.family.members(&shared.table);
        all.extend(spawned.into_iter().rev().map(|pid| ChildStatus {
            name: String::new(),
            pid: Some(pid),
            live: true,
            kind: ChildKind::Worker,
            module: None,
            restart: Restart::Temporary,
            spawned: true,
        }));
        Ok(all)
    }

    /// How many children a supervisor has.
    ///
    /// # Errors
    /// [`Error::NoSupervisor`].
    pub fn count_children(&self, supervisor: &str) -> Result<ChildCounts, Error> {
        let forest = self.shared.supervision.forest.lock();
        let sup = forest
            .named(supervisor)
            .ok_or_else(|| Error::NoSupervisor(supervisor.to_owned()))?;
        let spawned = u64::from(sup.family.count());
        let mut counts = ChildCounts {
            specs: sup.children.len() as u64 + spawned,
            active: spawned,
            supervisors: 0,
            workers: spawned,
        };
        for child in sup.children.values() {
            let (live, all) = child.live();
            counts.active += u64::from(live);
            match child.run {
                Run::Supervisor { .. } => counts.supervisors += 1,
                Run::Worker(_) => counts.workers += u64::from(all),
            }
        }
        Ok(counts)
    }

    /// Ends a child, and waits until it has ended. Its specification stays, unless it is temporary or was spawned.
    ///
    /// # Errors
    /// [`Error::NoSupervisor`], [`Error::NoChild`].
    pub fn terminate_child(&self, supervisor: &str, child: ChildRef) -> Result<(), Error> {
        self.shared.order_child(supervisor, What::Terminate(child))
    }

    /// Starts a child that does not run, and waits until it is initialised.
    ///
    /// # Errors
    /// [`Error::NoSupervisor`], [`Error::NoChild`], [`Error::ChildState`] when it runs, [`Error::Start`].
    pub fn restart_child(&self, supervisor: &str, child: ChildRef) -> Result<(), Error> {
        self.shared.order_child(supervisor, What::Restart(child))
    }

    /// Forgets the specification of a child that does not run, until its supervisor is started anew.
    ///
    /// # Errors
    /// [`Error::NoSupervisor`], [`Error::NoChild`], [`Error::ChildState`] when it runs.
    pub fn delete_child(&self, supervisor: &str, child: ChildRef) -> Result<(), Error> {
        self.shared.order_child(supervisor, What::Delete(child))
    }
}
