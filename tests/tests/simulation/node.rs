//! One node: the real agent on a simulated disk, clock, network and target. It dies without a word, loses what it had in
//! memory, and boots again what its journal says.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use midflight_agent::Error;
use midflight_agent::clock::Clock;
use midflight_agent::embed::{
    Agent, Boot, MemoryBlobs, Parts, Peer, Role, Sys, Trust, Verified, Work, Worker, serve,
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::chance::Chance;
use crate::disk::Disk;
use crate::net::{Death, Net};
use crate::target::{Machine, Nature};
use crate::truth::Truth;

/// A node, whether it is up or not.
pub struct Node {
    pub index: usize,
    pub name: String,
    pub nature: Nature,
    pub disk: Disk,
    blobs: Arc<MemoryBlobs>,
    pub clock: Arc<NodeClock>,
    net: Net,
    truth: Truth,
    trust: Trust,
    release: Arc<Verified>,
    chance: Mutex<Chance>,
    /// Milliseconds that a phase takes, at most.
    pub slow: u64,
    lives: Mutex<Option<Life>>,
}

/// A process of a node.
struct Life {
    process: u64,
    alive: Arc<AtomicBool>,
}

/// What all nodes have in common.
pub struct Common {
    pub net: Net,
    pub truth: Truth,
    pub trust: Trust,
    pub release: Arc<Verified>,
}

impl Node {
    pub fn new(
        common: &Common,
        index: usize,
        nature: Nature,
        slow: u64,
        mut chance: Chance,
        crashes: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            index,
            name: format!("n{index}"),
            nature,
            disk: Disk::new(Chance::new(chance.next(), 1), crashes),
            blobs: Arc::new(MemoryBlobs::new(Arc::default())),
            clock: Arc::new(NodeClock::new()),
            net: common.net.clone(),
            truth: common.truth.clone(),
            trust: common.trust.clone(),
            release: common.release.clone(),
            chance: Mutex::new(chance),
            slow,
            lives: Mutex::new(None),
        })
    }

    /// Boots, unless it is up. A disk that crashes on the way leaves it down.
    pub fn boot(&self) {
        if self.is_up() {
            return;
        }
        let process = self.truth.process();
        let alive = Arc::new(AtomicBool::new(true));
        let seed = self.chance.lock().unwrap().next();
        let (truth, index) = (self.truth.clone(), self.index);
        let disk = self.disk.open(move |line| truth.entry(index, line), {
            let (net, alive) = (self.net.clone(), alive.clone());
            move || {
                alive.store(false, Ordering::Relaxed);
                net.kill(process, Death::Power);
                net.down(index, Death::Power);
            }
        });
        let booted = Agent::from_parts(Parts {
            node: self.name.clone(),
            sys: Sys::Off,
            target: Machine::new(index, self.nature, Chance::new(seed, 1), self.truth.clone()),
            storage: Box::new(disk),
            store: self.blobs.clone(),
            trust: self.trust.clone(),
            worker: Arc::new(Late {
                alive: alive.clone(),
                slow: self.slow,
                chance: Mutex::new(Chance::new(seed, 2)),
            }),
            clock: self.clock.clone(),
            boot: Boot::Read(self.release.clone()),
            data: None,
        });
        match booted {
            Ok(agent) if alive.load(Ordering::Relaxed) => self.live(process, alive, agent),
            // The watcher of the disk tries again.
            Ok(_) => {}
            Err(_) if !alive.load(Ordering::Relaxed) => {}
            Err(error) => self
                .truth
                .broken(format!("n{index} does not boot: {}", chain(&error))),
        }
    }

    fn live(&self, process: u64, alive: Arc<AtomicBool>, agent: Arc<Agent>) {
        self.truth.note(format!("n{} boots", self.index));
        *self.lives.lock().unwrap() = Some(Life { process, alive });
        self.net.up(self.index, move |stream| {
            stream.taken_by(process);
            let peer = Peer {
                name: "controller".to_owned(),
                role: Some(Role::Operator),
            };
            let agent = agent.clone();
            tokio::spawn(async move {
                // Why a connection ended, its other end sees too.
                let _ = serve(agent, stream, peer).await;
            });
        });
    }

    /// It is gone, with everything that it had in memory and what its disk had not synced.
    pub fn crash(&self, death: Death) {
        let Some(life) = self.lives.lock().unwrap().take() else {
            return;
        };
        self.truth.note(format!("n{} dies: {death:?}", self.index));
        life.alive.store(false, Ordering::Relaxed);
        self.net.kill(life.process, death);
        self.net.down(self.index, death);
        self.disk.crash();
        self.truth.died(self.index);
        // Its tasks go on, and nothing is left that they could reach.
    }

    pub fn is_up(&self) -> bool {
        let lives = self.lives.lock().unwrap();
        lives
            .as_ref()
            .is_some_and(|life| life.alive.load(Ordering::Relaxed))
    }

    /// Takes note of a disk that crashed in a write, and boots again some time later. For ever.
    pub async fn watch(self: Arc<Self>) {
        let crashed = self.disk.crashed();
        loop {
            crashed.notified().await;
            self.crash(Death::Power);
            self.disk.crash();
            let down = self.chance.lock().unwrap().millis(50, 15_000);
            sleep(down).await;
            self.boot();
        }
    }

    /// Down for so long, and up again.
    pub async fn restart(self: Arc<Self>, death: Death, down: Duration) {
        self.crash(death);
        sleep(down).await;
        self.boot();
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Does the work of one process, phases late by chance; none once the process is dead.
struct Late {
    alive: Arc<AtomicBool>,
    slow: u64,
    chance: Mutex<Chance>,
}

impl Worker for Late {
    fn start(&self, what: &'static str, work: Work) -> BoxFuture<'static, ()> {
        let late = match what {
            "upgrade" | "confirm" | "rollback" | "staging" if self.slow > 0 => {
                self.chance.lock().unwrap().millis(0, self.slow)
            }
            _ => Duration::ZERO,
        };
        let alive = self.alive.clone();
        if late.is_zero() && alive.load(Ordering::Relaxed) {
            work();
            return Box::pin(std::future::ready(()));
        }
        let (done, is_done) = tokio::sync::oneshot::channel::<()>();
        tokio::spawn(async move {
            sleep(late).await;
            if alive.load(Ordering::Relaxed) {
                work();
                drop(done);
            } else {
                // It never ends, and nobody is left to notice.
                std::mem::forget(done);
            }
        });
        Box::pin(async move {
            let _ = is_done.await; // an error says that it is done
        })
    }
}

/// A clock that goes on while the node is down, and a wall clock that somebody sets.
pub struct NodeClock {
    start: Instant,
    skew_ms: AtomicI64,
}

impl NodeClock {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            skew_ms: AtomicI64::new(0),
        }
    }

    /// Sets the wall clock, by so many milliseconds from the truth.
    pub fn set_wall(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> SystemTime {
        let skew = self.skew_ms.load(Ordering::Relaxed);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000) + self.now();
        let by = Duration::from_millis(skew.unsigned_abs());
        if skew < 0 { now - by } else { now + by }
    }

    fn until(&self, at: Duration) -> BoxFuture<'static, ()> {
        Box::pin(sleep_until(self.start + at))
    }
}
