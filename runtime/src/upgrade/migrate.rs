//! Migrating copies of states: in chunks, by the newer code, on as many threads as there are workers. Nothing here
//! changes what an actor runs on; the results wait in its shadow until the upgrade resumes or is dropped.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use midflight_patch::Update;
use parking_lot::Mutex;

use crate::{
    OnDownFailure,
    actor::{State, body_bytes, id_base},
    bindings::{Cx, Migrated},
    error::{ActorFailure, MAX_FAILING},
    instance::{Fault, Instances},
    node::Shared,
    table::Pid,
    upgrade::{
        hops,
        machine::{self, WayBack},
        txn::{Change, Kind, Shadow, Staged, Txn, Way},
    },
};

/// States in one call of `code_change`.
const CHUNK: usize = 64;
/// Below this many actors a second thread costs more than it gives.
const PER_THREAD: usize = 512;

/// Of copies that were left when the time was up: no failure of theirs.
const NOT_TRIED: &str = "not tried: the time was up";

/// Which actors to look at.
pub(crate) enum Which {
    /// Every slot of the table.
    All,
    Listed(Vec<Pid>),
}

/// To which side the copies are migrated.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// Staged for resume. The first failure counts.
    Forward,
    /// A way back for a rollback; a failure gets the way that the order says.
    Back(OnDownFailure),
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) migrated: u64,
    pub(crate) failing: Vec<ActorFailure>,
    /// Time of all threads together.
    pub(crate) cost: Duration,
    /// The deadline came first.
    pub(crate) late: bool,
}

/// Migrates copies until all are done, the deadline comes, or too many fail.
pub(crate) fn migrate(
    shared: &Arc<Shared>,
    txn: &Arc<Txn>,
    own: &mut Instances,
    which: Which,
    goal: Goal,
    deadline: Instant,
) -> Outcome {
    let total = match &which {
        Which::All => shared.table.extent() as usize,
        Which::Listed(pids) => pids.len(),
    };
    let job = Job {
        shared,
        txn,
        which: &which,
        goal,
        deadline,
        wall: Shared::wall(),
        mono: shared.mono(),
        total,
        next: AtomicUsize::new(0),
        migrated: AtomicU64::new(0),
        cost: AtomicU64::new(0),
        failing: Mutex::default(),
        late: AtomicBool::new(false),
    };
    let threads = (total / PER_THREAD).clamp(1, shared.limits.worker_count());
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| job.run(&mut Instances::new(shared)));
        }
        job.run(own);
    });
    Outcome {
        migrated: job.migrated.into_inner(),
        failing: job.failing.into_inner(),
        cost: Duration::from_nanos(job.cost.into_inner()),
        late: job.late.into_inner(),
    }
}

struct Job<'a> {
    shared: &'a Arc<Shared>,
    txn: &'a Arc<Txn>,
    which: &'a Which,
    goal: Goal,
    deadline: Instant,
    /// When this walk began, by both clocks: the time that its migrations see.
    wall: u64,
    mono: u64,
    total: usize,
    next: AtomicUsize,
    migrated: AtomicU64,
    cost: AtomicU64,
    failing: Mutex<Vec<ActorFailure>>,
    late: AtomicBool,
}

/// Copies that wait for one call.
#[derive(Default)]
struct Chunk {
    pids: Vec<Pid>,
    items: Vec<(Cx, State)>,
}

impl Job<'_> {
    fn run(&self, instances: &mut Instances) {
        let start = Instant::now();
        let mut chunks: HashMap<u32, Chunk> = HashMap::new();
        while !self.over() {
            let from = self.next.fetch_add(CHUNK, Ordering::Relaxed);
            if from >= self.total {
                break;
            }
            for at in from..(from + CHUNK).min(self.total) {
                match self.which {
                    Which::All => {
                        if let Some((pid, _, mut body)) = self.shared.table.at(at as u32) {
                            self.copy(pid, body.as_mut(), &mut chunks);
                        }
                    }
                    Which::Listed(pids) => {
                        let table = &self.shared.table;
                        if let Some(slot) = table.get(pids[at])
                            && let Some(mut body) = table.still(pids[at], slot.body.lock())
                        {
                            self.copy(pids[at], body.as_mut(), &mut chunks);
                        }
                    }
                }
            }
            for (&module, chunk) in &mut chunks {
                if chunk.pids.len() >= CHUNK {
                    self.flush(instances, module, chunk);
                }
            }
        }
        for (module, mut chunk) in chunks {
            if !self.over() {
                self.flush(instances, module, &mut chunk);
            }
        }
        self.cost
            .fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    fn over(&self) -> bool {
        if Instant::now() >= self.deadline {
            self.late.store(true, Ordering::Relaxed);
        }
        self.late.load(Ordering::Relaxed) || self.failing.lock().len() >= MAX_FAILING
    }

    /// Takes a copy of an affected actor's state. One that has died, or is not born yet, needs none.
    fn copy(
        &self,
        pid: Pid,
        body: Option<&mut crate::actor::Body>,
        chunks: &mut HashMap<u32, Chunk>,
    ) {
        let Some(body) = body else { return };
        let Some(change) = self.txn.change(body.module) else {
            return;
        };
        let (stands_on, moves) = match self.goal {
            Goal::Forward => (change.from, change.kind == Kind::Update),
            Goal::Back(_) => (change.to, change.gated(true)),
        };
        if !moves || body.birth.is_some() || body.version != stands_on {
            return;
        }
        let shadow = body
            .shadow
            .get_or_insert_with(|| Box::new(Shadow::new(self.txn)));
        shadow.listed = false;
        if change.kind == Kind::Add {
            // Its module does not exist below: it stops.
            return;
        }
        if change.steps.iter().all(|step| step.update == Update::Soft) {
            self.place(
                pid,
                shadow,
                Staged {
                    state: body.state.clone(),
                    redeliver: Vec::new(),
                },
            );
            self.migrated.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let cx = Cx {
            me: pid,
            wall: self.wall,
            mono: self.mono,
            seed: pid.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            id_base: id_base(body.events),
        };
        let chunk = chunks.entry(body.module).or_default();
        chunk.pids.push(pid);
        chunk.items.push((cx, body.state.clone()));
    }

    fn place(&self, pid: Pid, shadow: &mut Shadow, staged: Staged) {
        if !staged.redeliver.is_empty() {
            self.txn.wake.lock().push(pid);
        }
        match self.goal {
            Goal::Forward => shadow.staged = Some(staged),
            Goal::Back(_) => shadow.way_back = Some(Way::Migrate(staged)),
        }
    }

    fn flush(&self, instances: &mut Instances, module: u32, chunk: &mut Chunk) {
        let Some(change) = self.txn.change(module) else {
            return;
        };
        if chunk.pids.is_empty() {
            return;
        }
        let results = self.call(instances, change, &chunk.items);
        for (&pid, result) in chunk.pids.iter().zip(results) {
            let result = result.and_then(|migrated| check(self.shared, migrated));
            self.store(pid, change, result);
        }
        chunk.pids.clear();
        chunk.items.clear();
    }

    fn store(&self, pid: Pid, change: &Change, result: Result<Migrated, String>) {
        let Some(slot) = self.shared.table.get(pid) else {
            return;
        };
        let Some(mut guard) = self.shared.table.still(pid, slot.body.lock()) else {
            return;
        };
        let Some(body) = guard.as_mut() else { return };
        let name = body.name().map_or_else(String::new, ToString::to_string);
        let Some(shadow) = &mut body.shadow else {
            return;
        };
        if !machine::keep_copy(shadow.listed) {
            // It changed while the copy was migrated; whoever works through the list does it again.
            return;
        }
        match result {
            Ok(Migrated { state, redeliver }) => {
                self.place(pid, shadow, Staged { state, redeliver });
                self.migrated.fetch_add(1, Ordering::Relaxed);
            }
            Err(reason) => match self.goal {
                Goal::Forward if reason == NOT_TRIED => {}
                Goal::Forward => {
                    let mut failing = self.failing.lock();
                    if failing.len() < MAX_FAILING {
                        failing.push(ActorFailure {
                            pid,
                            name,
                            module: change.name.to_string(),
                            reason,
                        });
                    }
                }
                Goal::Back(policy) => {
                    let way = machine::down_failed(policy, shadow.pinned.is_some());
                    shadow.way_back = Some(match way {
                        WayBack::Restore => Way::Restore,
                        WayBack::Stop => Way::Stop(format!("code_change(down) failed: {reason}")),
                        WayBack::Hold | WayBack::Migrated => Way::Hold(reason),
                    });
                }
            },
        }
    }

    fn call(
        &self,
        instances: &mut Instances,
        change: &Change,
        items: &[(Cx, State)],
    ) -> Vec<Result<Migrated, String>> {
        match self.try_call(instances, change, items) {
            Ok(results) => results,
            Err(fault) if items.len() == 1 => vec![Err(fault.reason().to_owned())],
            // Run again one by one, to name those that trap.
            Err(_) => items
                .iter()
                .map(|item| {
                    if Instant::now() >= self.deadline {
                        self.late.store(true, Ordering::Relaxed);
                        return Err(NOT_TRIED.to_owned());
                    }
                    match self.try_call(instances, change, std::slice::from_ref(item)) {
                        Ok(mut results) => results.pop().unwrap_or_else(|| Err("no result".into())),
                        Err(fault) => Err(fault.reason().to_owned()),
                    }
                })
                .collect(),
        }
    }

    fn try_call(
        &self,
        instances: &mut Instances,
        change: &Change,
        items: &[(Cx, State)],
    ) -> Result<hops::Results, Fault> {
        let forward = matches!(self.goal, Goal::Forward);
        hops::migrate_states(self.shared, instances, self.txn, change, forward, items)
    }
}

/// Says why what `code_change` gave cannot be taken.
pub(super) fn check(shared: &Shared, migrated: Migrated) -> Result<Migrated, String> {
    let limits = &shared.limits;
    let (state, bound) = (migrated.state.len(), limits.state_bytes);
    if state > bound {
        return Err(format!(
            "a state of {state} bytes; limits.state_bytes is {bound}"
        ));
    }
    let (events, bound) = (migrated.redeliver.len(), limits.effects);
    if events > bound {
        return Err(format!(
            "{events} events to redeliver; limits.effects is {bound}"
        ));
    }
    let longest = migrated.redeliver.iter().map(body_bytes).max();
    let bound = limits.message_bytes;
    if longest.unwrap_or(0) > bound {
        return Err(format!(
            "an event to redeliver is longer than limits.message_bytes, {bound}"
        ));
    }
    Ok(migrated)
}
