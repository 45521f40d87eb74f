//! One node: the parts that make it up, and the ways a message takes between them.

use std::{
    collections::HashSet,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::{Mutex, RwLock};
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Config as EngineConfig, Engine, OptLevel};

use crate::{
    Error, Limits,
    actor::{self, Item, Pause, Run},
    bindings::{Event, RequestError, Response, SocketEvent, Timer},
    bounds::Bounds,
    code::CodeServer,
    door::TICK_MS,
    exits::Links,
    groups::Groups,
    measure::Stamp,
    monitors::Monitors,
    names::Names,
    net::Net,
    record::Recorder,
    requests::{Pending, Requests},
    sched::Scheduler,
    supervise::{self, Supervision},
    table::{Pid, Table},
    timers::{self, Timers},
    turn,
    upgrade::Txn,
    weights::Weights,
};

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Bounds on what actors may use.
    pub limits: Limits,
    /// Folder for compiled code; none: compiled anew each time.
    pub cache: Option<PathBuf>,
    /// Where actors' listeners bind.
    pub address: IpAddr,
}

/// For how many ticks an application runs behind others after one of its handlers kept a worker for long: a second.
const SLOW_TICKS: u64 = 1_000 / TICK_MS;

/// What was counted since the node started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Events that nobody got.
    pub(crate) dead_letters: AtomicU64,
    /// Of these: the mailbox was full.
    pub(crate) overflows: AtomicU64,
    /// Of these: an event of the other side of a patch could not be converted.
    pub(crate) unconverted: AtomicU64,
    /// What actors asked of sockets that they had given away.
    pub(crate) not_owned: AtomicU64,
    /// Handlers that passed a bound.
    pub(crate) bounds: Bounds,
}

/// What every thread of a node shares.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) engine: Engine,
    pub(crate) code: CodeServer,
    pub(crate) table: Table,
    pub(crate) names: Names,
    pub(crate) groups: Groups,
    pub(crate) monitors: Monitors,
    pub(crate) links: Links,
    pub(crate) requests: Requests,
    pub(crate) timers: Timers,
    pub(crate) sched: Scheduler,
    pub(crate) supervision: Supervision,
    pub(crate) net: Net,
    /// For each worker: one more than the module whose handler it runs, or 0.
    pub(crate) running: Box<[AtomicU32]>,
    pub(crate) counters: Counters,
    /// What waits in mailboxes.
    pub(crate) weights: Weights,
    pub(crate) recorder: Recorder,
    pub(crate) started: u64,
    /// The one upgrade that is open, in probation, or confirmed and not finished.
    pub(crate) upgrade: Mutex<Option<Arc<Txn>>>,
    /// Read by whoever replaces a state from outside, so that a suspending upgrade can wait until it is done.
    pub(crate) replacing: RwLock<()>,
    /// Counts the moments at which current versions changed.
    pub(crate) era: AtomicU64,
    /// How long actors and the node waited for upgrades.
    pub(crate) pauses: crate::upgrade::AllPauses,
    /// The upgrade that holds actors suspended now.
    pub(crate) suspending: Mutex<Option<crate::upgrade::Suspending>>,
    /// Modules whose old code somebody runs.
    pub(crate) lagging: AtomicUsize,
    /// Ports that actors may listen on.
    pub(crate) ports: RwLock<HashSet<u16>>,
    /// Where actors may connect to.
    pub(crate) targets: RwLock<Vec<midflight_patch::ConnectTarget>>,
    pub(crate) stopping: AtomicBool,
    /// Counts the looks at the clock, `TICK_MS` apart.
    pub(crate) ticks: AtomicU64,
    /// Traces that `sys` keeps.
    pub(crate) traces: Arc<AtomicUsize>,
    /// Ids for calls of the program around the node.
    pub(crate) host_calls: AtomicU64,
}

/// Why a message did not reach a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undelivered {
    Nobody,
    Full,
}

/// Nanoseconds by the clock that `Instant` uses, without its arithmetic: it is read on every turn.
fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Shared {
    /// Nanoseconds since the node started.
    pub(crate) fn mono(&self) -> u64 {
        monotonic() - self.started
    }

    pub(crate) fn wall() -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64)
    }

    /// The application of an actor's module.
    pub(crate) fn application_of(&self, pid: Pid) -> u32 {
        let module = self.table.get(pid).map(|slot| slot.mail.lock().module);
        let module = module.and_then(|module| self.code.module(module));
        module.map_or(0, |m| m.application.load(Ordering::Acquire))
    }

    /// A handler of this module has kept its worker for long: its application runs behind all others for a while.
    pub(crate) fn slow_down(&self, module: &crate::code::Module) {
        let until = self.ticks.load(Ordering::Relaxed) + SLOW_TICKS;
        let application = module.application.load(Ordering::Acquire);
        self.code.slow_down(application, until);
    }

    /// The actors of this module are to run behind all others for now.
    pub(crate) fn is_slow(&self, module: &crate::code::Module) -> bool {
        let until = module.slow_until.load(Ordering::Relaxed);
        until != 0 && self.ticks.load(Ordering::Relaxed) < until
    }

    /// Says why so many more actors of this module are too many for its application.
    pub(crate) fn room_for(&self, module: &str, more: u64) -> Result<(), String> {
        if self.code.applications() == 1 {
            return Ok(());
        }
        let (Some(module), bound) = (
            self.code.module_named(module),
            self.limits.application_actors(),
        ) else {
            return Ok(());
        };
        let application = module.application.load(Ordering::Acquire);
        if self.code.actors_of(application) + more > bound {
            return Err(format!(
                "its application holds as many actors as limits.actors_per_application allows: {bound}"
            ));
        }
        Ok(())
    }

    /// Puts an event at the end of a mailbox and sees to it that its owner runs.
    pub(crate) fn deliver(&self, pid: Pid, mut item: Item) -> Result<(), Box<(Item, Undelivered)>> {
        let Some(slot) = self.table.get(pid) else {
            return Err(Box::new((item, Undelivered::Nobody)));
        };
        let mut mail = slot.mail.lock();
        if mail.run == Run::Free || self.table.get(pid).is_none() {
            return Err(Box::new((item, Undelivered::Nobody)));
        }
        let bound = self.limits.mailbox;
        let overweight = self.is_overweight(mail.module);
        if overweight || mail.queue.len() * 5 >= bound * 4 {
            self.note_pressure(mail.module, pid);
            // What the actor itself asked for is bounded by what it asked for.
            let asked_for = matches!(
                item.envelope.body,
                Event::Response(_)
                    | Event::Down(_)
                    | Event::Timer(_)
                    | Event::Registered(_)
                    | Event::Socket(_)
            );
            let full = match item.envelope.body {
                // One that was sent ends it or is one too many; those of links are worth more, but not everything.
                Event::Exit(_) if item.envelope.sender.is_some() => {
                    mail.queue.len() >= bound && mail.signals
                }
                Event::Exit(_) => mail.queue.len() >= 2 * bound,
                _ if asked_for => false,
                _ if overweight => {
                    self.counters.bounds.note("limits.application_mailbox_mb");
                    true
                }
                _ => mail.queue.len() >= bound || self.is_foreign(item.stamp, mail.module),
            };
            if full {
                return Err(Box::new((item, Undelivered::Full)));
            }
        }
        if matches!(item.envelope.body, Event::Exit(_)) {
            mail.signals = true;
        }
        if mail.queue.capacity() == 0 {
            mail.queue = actor::room();
        }
        item.measured = Stamp::next(|| self.mono());
        self.wait_more(mail.module, [&item]);
        mail.queue.push_back(item);
        if mail.run == Run::Idle && mail.pause == Pause::No {
            mail.run = Run::Queued;
            drop(mail);
            self.sched.push(pid);
        }
        Ok(())
    }

    /// Sent by another application: the last fifth of a mailbox is for its own, and for the host.
    fn is_foreign(&self, stamp: u32, module: u32) -> bool {
        if self.code.applications() == 1 {
            return false;
        }
        let Some(sender) = self.code.version(stamp) else {
            return false;
        };
        let of = |module: Option<Arc<crate::code::Module>>| {
            module.map(|m| m.application.load(Ordering::Acquire))
        };
        of(self.code.module_named(sender.name.as_ref())) != of(self.code.module(module))
    }

    /// A mailbox is nearly full: if its owner waits at a closed gate, the upgrade is to give up.
    fn note_pressure(&self, module: u32, pid: Pid) {
        if let Some(module) = self.code.module(module)
            && module.gated()
            && let Some(txn) = module.upgrade()
        {
            txn.pressure.store(pid, Ordering::Relaxed);
        }
    }

    /// Delivers, and says so to whom it concerns when that is not possible.
    pub(crate) fn send(&self, pid: Pid, item: Item) {
        if let Err(undelivered) = self.deliver(pid, item) {
            self.bounce(undelivered.0, undelivered.1);
        }
    }

    /// An event that nobody will handle: a caller is told, everything else is counted.
    pub(crate) fn bounce(&self, item: Item, why: Undelivered) {
        if why == Undelivered::Full {
            self.counters.overflows.fetch_add(1, Ordering::Relaxed);
        }
        match item.envelope.body {
            Event::Call(call) => {
                let error = match why {
                    Undelivered::Nobody => RequestError::Down("noproc".into()),
                    Undelivered::Full => RequestError::Overflow,
                };
                self.respond(call.caller, call.id, Err(error), crate::actor::HOST);
            }
            Event::Exit(_) if why == Undelivered::Full => {
                self.counters.dead_letters.fetch_add(1, Ordering::Relaxed);
            }
            Event::Cast(_) | Event::Info(_) | Event::Socket(SocketEvent::Data(_)) => {
                self.counters.dead_letters.fetch_add(1, Ordering::Relaxed);
            }
            // The asker is gone, and with it the question.
            _ => {}
        }
    }

    /// Answers a request, once: whoever comes second finds nothing to answer.
    pub(crate) fn respond(
        &self,
        caller: Pid,
        id: u64,
        outcome: Result<Vec<u8>, RequestError>,
        stamp: u32,
    ) {
        let Some(pending) = self.requests.take(caller, id) else {
            return;
        };
        if pending.timed {
            self.timers.answered(caller, id);
        }
        self.answer(caller, pending, outcome, stamp);
    }

    fn answer(
        &self,
        caller: Pid,
        pending: Pending,
        outcome: Result<Vec<u8>, RequestError>,
        stamp: u32,
    ) {
        if let Some(host) = pending.host {
            // Whoever asked may have stopped waiting.
            let _ = host.try_send(outcome);
            return;
        }
        // Looked up only when some code changed since the question.
        let issued_by = (pending.era != self.era.load(Ordering::Acquire)
            && self.vsn_of(caller).is_none_or(|vsn| vsn != pending.vsn))
        .then(|| pending.vsn.to_string());
        let response = Response {
            id: pending.id,
            cookie: pending.cookie,
            issued_by,
            outcome,
        };
        let mut item = Item::host(Event::Response(response));
        item.stamp = stamp;
        // The asker may be gone; then nobody waits for it.
        let _ = self.deliver(caller, item);
    }

    /// The current vsn of an actor's module.
    fn vsn_of(&self, pid: Pid) -> Option<Arc<str>> {
        let module = self.table.get(pid)?.mail.lock().module;
        let current = self.code.module(module)?.current.load(Ordering::SeqCst);
        Some(self.code.version(current)?.vsn_text.clone())
    }

    pub(crate) fn request_timed_out(&self, caller: Pid, id: u64) {
        if let Some(pending) = self.requests.take(caller, id) {
            self.answer(
                caller,
                pending,
                Err(RequestError::Timeout),
                crate::actor::HOST,
            );
        }
    }

    pub(crate) fn timer_fired(&self, pid: Pid, id: u64, body: Vec<u8>) {
        // The actor may have ended since.
        let _ = self.deliver(pid, Item::host(Event::Timer(Timer { id, body })));
    }

    /// Queues an actor that has something to do, unless it is queued or held.
    pub(crate) fn wake(&self, pid: Pid) {
        let Some(slot) = self.table.get(pid) else {
            return;
        };
        let mut mail = slot.mail.lock();
        if mail.run == Run::Idle && mail.pause == Pause::No {
            mail.run = Run::Queued;
            drop(mail);
            self.sched.push(pid);
        }
    }

    /// Lifts a pause, if it is of this kind, and lets the actor run.
    pub(crate) fn unpause(&self, pid: Pid, kind: Pause) {
        let Some(slot) = self.table.get(pid) else {
            return;
        };
        let mut mail = slot.mail.lock();
        if !mail.pause.lift(kind) {
            return;
        }
        if mail.run == Run::Idle && mail.pause == Pause::No {
            mail.run = Run::Queued;
            drop(mail);
            self.sched.push(pid);
        }
    }
}

/// A running node. Dropped, it stops its threads; its actors end with it.
pub struct Node {
    pub(crate) shared: Arc<Shared>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

impl Node {
    /// Starts the threads of a node without any actor.
    pub fn start(config: Config) -> Result<Node, Error> {
        let system = |what: &'static str| {
            move |e: &dyn std::fmt::Display| Error::System {
                what,
                reason: e.to_string(),
            }
        };
        config.limits.check().map_err(|reason| Error::System {
            what: "limits",
            reason,
        })?;
        let engine =
            Engine::new(&engine_config()).map_err(|e| system("the WebAssembly engine")(&e))?;
        let workers = config.limits.worker_count();
        let (sched, queues) = Scheduler::new(workers);
        let net =
            Net::new(config.address, &config.limits).map_err(|e| system("the I/O thread")(&e))?;
        let shared = Arc::new(Shared {
            code: CodeServer::new(&engine, config.cache)?,
            engine,
            table: Table::new(config.limits.actors),
            names: Names::default(),
            groups: Groups::default(),
            monitors: Monitors::default(),
            links: Links::default(),
            requests: Requests::default(),
            timers: Timers::default(),
            sched,
            supervision: Supervision::default(),
            net,
            running: (0..workers).map(|_| AtomicU32::new(0)).collect(),
            counters: Counters::default(),
            weights: Weights::new(workers),
            recorder: Recorder::default(),
            started: monotonic(),
            upgrade: Mutex::default(),
            replacing: RwLock::default(),
            era: AtomicU64::new(1),
            pauses: crate::upgrade::AllPauses::default(),
            suspending: Mutex::default(),
            lagging: AtomicUsize::new(0),
            ports: RwLock::default(),
            targets: RwLock::default(),
            stopping: AtomicBool::new(false),
            ticks: AtomicU64::new(0),
            traces: Arc::default(),
            host_calls: AtomicU64::new(1),
            limits: config.limits,
        });
        shared.net.attach(&shared);
        let mut threads = Vec::new();
        for (index, queue) in queues.into_iter().enumerate() {
            let shared = shared.clone();
            let worker = std::thread::Builder::new()
                .name(format!("mf-worker-{index}"))
                .stack_size(2 << 20)
                .spawn(move || turn::run(&shared, index, queue))
                .map_err(|e| system("a worker thread")(&e))?;
            threads.push(worker);
        }
        threads.push(timers::spawn(&shared).map_err(|e| system("the timer thread")(&e))?);
        let supervisors = supervise::spawn(&shared);
        threads.push(supervisors.map_err(|e| system("the supervisors' thread")(&e))?);
        let purger = crate::upgrade::spawn_purger(&shared);
        threads.push(purger.map_err(|e| system("the purging thread")(&e))?);
        threads.push(tick(&shared).map_err(|e| system("the clock thread")(&e))?);
        Ok(Node {
            shared,
            threads: Mutex::new(threads),
        })
    }

    /// Stops taking connections, lets mailboxes run empty and stops the applications in reverse start order, all of it for
    /// at most this long; then everything stops.
    /// False: the time was up first.
    pub fn drain(&self, deadline: Duration) -> bool {
        self.shared.net.stop_accepting();
        let end = Instant::now() + deadline;
        let mut calm = 0;
        while Instant::now() < end && calm < 3 {
            // Three looks in a row: an actor between two queues is in neither.
            // Those at a closed gate are in no queue, and have not handled what waits for them.
            let gated = || {
                let modules = self.shared.code.modules();
                modules.iter().any(|m| !m.waiting.lock().is_empty())
            };
            calm = if self.shared.sched.idle() && !gated() {
                calm + 1
            } else {
                0
            };
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.shared.stop_applications(end);
        self.shared.net.flush(end);
        self.stop();
        calm >= 3
    }

    fn stop(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.sched.stop();
        self.shared.timers.stop();
        self.shared.supervision.stop();
        self.shared.net.stop();
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

fn engine_config() -> EngineConfig {
    let mut config = EngineConfig::new();
    config
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(true)
        .relaxed_simd_deterministic(true)
        .max_wasm_stack(512 << 10);
    config
}

/// The clock that running handlers are held against.
fn tick(shared: &Arc<Shared>) -> std::io::Result<std::thread::JoinHandle<()>> {
    let node = Arc::downgrade(shared);
    std::thread::Builder::new()
        .name("mf-clock".into())
        .spawn(move || {
            loop {
                std::thread::park_timeout(Duration::from_millis(TICK_MS));
                let Some(shared) = node.upgrade() else { return };
                if shared.stopping.load(Ordering::SeqCst) {
                    return;
                }
                shared.ticks.fetch_add(1, Ordering::Relaxed);
                shared.engine.increment_epoch();
            }
        })
}
