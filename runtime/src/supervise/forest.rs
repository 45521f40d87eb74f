//! What a supervisor is while it runs: its children, what it is about to do, and what waits until it has done it. One
//! thread changes this; everybody else looks at it under its lock, for moments.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque},
    ops::Range,
    sync::Arc,
    time::Instant,
};

use midflight_patch::{
    Child as ChildSpec, ModuleName, Restart, Shutdown, Strategy, Supervisor, Worker,
};

use super::{Family, Key, Reply, SupId, applications::App, orders::Order};
use crate::table::Pid;

/// All trees of a node.
#[derive(Default)]
pub(super) struct Forest {
    /// In start order.
    pub(super) apps: Vec<App>,
    pub(super) sups: HashMap<SupId, Sup>,
    /// Between supervisors: in order, never a call.
    pub(super) work: VecDeque<(SupId, Msg)>,
    pub(super) deadlines: BinaryHeap<Reverse<(Instant, SupId, u64)>>,
    /// The application that is the short form, unless it was given a tree since.
    pub(super) short: Option<String>,
    pub(super) last_id: SupId,
    pub(super) last_token: u64,
}

impl Forest {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.peek().map(|Reverse(next)| next.0)
    }

    pub(super) fn named(&self, name: &str) -> Option<&Sup> {
        self.sups.values().find(|sup| sup.spec.name == name)
    }

    pub(super) fn app(&self, name: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.spec.name == name)
    }

    pub(super) fn app_mut(&mut self, name: &str) -> Option<&mut App> {
        self.apps.iter_mut().find(|app| app.spec.name == name)
    }

    /// The tree as it runs, children that a changed list had left out included.
    pub(super) fn spec_of(&self, sup: &Sup) -> Supervisor {
        let mut spec = sup.spec.clone();
        if spec.strategy == Strategy::SimpleOneForOne {
            return spec;
        }
        let child = |key: &Key| {
            let child = sup.children.get(key)?;
            Some(match &child.run {
                Run::Worker(worker) => ChildSpec::Worker(worker.spec()?),
                Run::Supervisor { spec, now } => {
                    let live = now.and_then(|id| self.sups.get(&id));
                    ChildSpec::Supervisor(live.map_or_else(|| spec.clone(), |s| self.spec_of(s)))
                }
            })
        };
        spec.children = sup.order.iter().filter_map(child).collect();
        spec
    }
}

/// One supervisor.
pub(super) struct Sup {
    pub(super) id: SupId,
    pub(super) application: Arc<str>,
    pub(super) parent: Option<(SupId, Key)>,
    /// As it is now; its child list is what a new start begins with.
    pub(super) spec: Supervisor,
    /// The short form: each actor's restarts are counted by themselves, and one that ends too often is left ended.
    pub(super) flat: bool,
    /// Children that the specification names, in start order.
    pub(super) order: Vec<Key>,
    /// Those, and behind them those that were spawned and are started again.
    pub(super) children: BTreeMap<Key, Child>,
    pub(super) restarts: VecDeque<Instant>,
    pub(super) each: HashMap<(Key, u32), VecDeque<Instant>>,
    pub(super) family: Arc<Family>,
    pub(super) job: Option<Job>,
    /// What came while a job went on.
    pub(super) inbox: VecDeque<Msg>,
    /// Actors that ended meanwhile, and whose end waits in the inbox.
    pub(super) gone: HashSet<Pid>,
    pub(super) over: bool,
}

impl Sup {
    /// All children in start order.
    pub(super) fn ordered(&self) -> Vec<Key> {
        let spawned = self.children.iter().filter(|(_, c)| c.spawned());
        let spawned = spawned.map(|(key, _)| *key);
        self.order.iter().copied().chain(spawned).collect()
    }

    pub(super) fn worker(&mut self, key: Key) -> Option<&mut WorkerRun> {
        match &mut self.children.get_mut(&key)?.run {
            Run::Worker(worker) => Some(worker),
            Run::Supervisor { .. } => None,
        }
    }

    pub(super) fn forget(&mut self, key: Key) {
        self.children.remove(&key);
        self.order.retain(|k| *k != key);
    }
}

pub(super) struct Child {
    pub(super) name: Arc<str>,
    pub(super) run: Run,
}

pub(super) enum Run {
    Worker(WorkerRun),
    Supervisor {
        /// What it is started with.
        spec: Supervisor,
        now: Option<SupId>,
    },
}

impl Child {
    pub(super) fn new(spec: &ChildSpec) -> Self {
        Self {
            name: spec.name().into(),
            run: match spec {
                ChildSpec::Worker(worker) => Run::Worker(WorkerRun::new(worker)),
                ChildSpec::Supervisor(spec) => Run::Supervisor {
                    spec: spec.clone(),
                    now: None,
                },
            },
        }
    }

    pub(super) fn spawned(&self) -> bool {
        matches!(&self.run, Run::Worker(worker) if worker.spawned())
    }

    pub(super) fn restart(&self) -> Restart {
        match &self.run {
            Run::Worker(worker) => worker.restart,
            Run::Supervisor { spec, .. } => spec.restart,
        }
    }

    /// How many live, of how many.
    pub(super) fn live(&self) -> (u32, u32) {
        match &self.run {
            Run::Worker(worker) => (worker.live, worker.pids.len() as u32),
            Run::Supervisor { now, .. } => (now.is_some().into(), 1),
        }
    }

    pub(super) fn range(&self) -> Range<u32> {
        0..self.live().1
    }
}

/// The actors of one child specification.
pub(super) struct WorkerRun {
    pub(super) module: ModuleName,
    pub(super) args: Arc<[u8]>,
    pub(super) restart: Restart,
    pub(super) shutdown: Shutdown,
    /// 0: does not run.
    pub(super) pids: Vec<Pid>,
    pub(super) live: u32,
    /// Its specification; none: an actor spawned it.
    pub(super) listed: Option<Arc<Worker>>,
    /// Its `init` has ended well, once.
    pub(super) born: bool,
}

impl WorkerRun {
    fn new(spec: &Worker) -> Self {
        Self {
            module: spec.module.clone(),
            args: spec.args.to_string().into_bytes().into(),
            restart: spec.restart,
            shutdown: spec.shutdown,
            pids: vec![0; spec.count as usize],
            live: 0,
            listed: Some(Arc::new(spec.clone())),
            born: false,
        }
    }

    pub(super) fn spawned(&self) -> bool {
        self.listed.is_none()
    }

    /// With as many actors as there are.
    fn spec(&self) -> Option<Worker> {
        let mut spec = Worker::clone(self.listed.as_deref()?);
        spec.count = self.pids.len() as u32;
        Some(spec)
    }

    /// What changed takes effect when an actor is started or ended the next time.
    pub(super) fn follow(&mut self, spec: &Worker) {
        self.module = spec.module.clone();
        self.args = spec.args.to_string().into_bytes().into();
        (self.restart, self.shutdown) = (spec.restart, spec.shutdown);
        self.listed = Some(Arc::new(spec.clone()));
    }

    pub(super) fn put(&mut self, index: u32, pid: Pid) {
        self.pids[index as usize] = pid;
        self.live += 1;
    }

    pub(super) fn is(&self, index: u32, pid: Pid) -> bool {
        self.pids.get(index as usize) == Some(&pid)
    }

    pub(super) fn clear(&mut self, index: u32) {
        if std::mem::take(&mut self.pids[index as usize]) != 0 {
            self.live -= 1;
        }
    }
}

/// What a supervisor hears.
pub(super) enum Msg {
    Begin,
    Stop,
    Born {
        key: Key,
        index: u32,
    },
    Ended {
        key: Key,
        index: u32,
        pid: Pid,
        reason: Box<str>,
        born: bool,
    },
    /// An actor could not even be put into its slot.
    Unstarted {
        key: Key,
        index: u32,
        reason: String,
    },
    Adopt {
        key: Key,
        pid: Pid,
        child: Child,
    },
    Disown {
        key: Key,
    },
    ChildUp {
        key: Key,
        id: SupId,
    },
    ChildDown {
        key: Key,
        id: SupId,
        outcome: Outcome,
    },
    Drained(u64),
    Deadline(u64),
    Order(Order),
}

/// How a supervisor ended.
#[derive(Clone)]
pub(super) enum Outcome {
    /// It was told to.
    Stopped,
    /// Its children ended too often.
    GaveUp,
    /// A child did not start.
    NotStarted(Failure),
}

/// The child whose start failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) name: String,
    pub(super) module: ModuleName,
    pub(super) reason: String,
}

/// Something that takes more than one step. A supervisor does one at a time.
pub(super) struct Job {
    pub(super) steps: VecDeque<Step>,
    pub(super) wait: Wait,
    /// Names the wait.
    pub(super) token: u64,
    pub(super) then: Then,
}

pub(super) enum Step {
    Stop {
        key: Key,
        range: Range<u32>,
    },
    /// Spawned children that are never started again, the youngest first.
    StopSpawned {
        pids: VecDeque<Pid>,
    },
    /// The same; who they are is looked up when the step is taken.
    StopAllSpawned,
    Start {
        key: Key,
        range: Range<u32>,
    },
    /// A temporary child that was ended is no child any more.
    Settle(Key),
    Forget(Key),
    Shrink {
        key: Key,
        count: u32,
    },
}

pub(super) enum Wait {
    Nothing,
    Stopping {
        key: Key,
        range: Range<u32>,
        left: u32,
    },
    Spawned {
        now: Vec<Pid>,
        rest: VecDeque<Pid>,
    },
    Starting {
        key: Key,
        range: Range<u32>,
        left: u32,
    },
}

pub(super) enum Then {
    /// It runs.
    Started,
    Restarted,
    Over(Outcome),
    Reply(Option<Reply>),
}

/// What stands for the module of a supervisor, which is none.
pub(super) fn no_module() -> ModuleName {
    ModuleName::new("supervisor").expect("it is spelled as a module's name")
}
