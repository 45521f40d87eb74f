//! Run queues: one a worker, with stealing, one for everybody else, and one for actors of an application that has just
//! kept a worker for long. Those run when nobody else waits, and never on all workers at once, so that an application
//! full of endless loops leaves a worker to the others. An actor is in at most one of the queues.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use crossbeam_deque::{Injector, Steal, Stealer, Worker};
use parking_lot::{Condvar, Mutex};

use crate::table::Pid;

thread_local! {
    static LOCAL: RefCell<Option<Worker<Pid>>> = const { RefCell::new(None) };
}

/// Turns after which a worker looks at the common queue first.
const FAIRNESS: u32 = 61;

/// Who runs next.
pub(crate) struct Next {
    pub(crate) pid: Pid,
    /// From behind all others: `slow_done` ends its turn.
    pub(crate) slow: bool,
}

/// Actors queued or running. Every turn changes it, so it has a line of memory of its own.
#[derive(Default)]
#[repr(align(64))]
struct Busy(AtomicUsize);

pub(crate) struct Scheduler {
    common: Injector<Pid>,
    slow: Injector<Pid>,
    /// Workers that run an actor from `slow`, and how many may.
    slow_runs: AtomicUsize,
    slow_bound: usize,
    stealers: Vec<Stealer<Pid>>,
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
    stopped: AtomicBool,
    busy: Busy,
}

impl Scheduler {
    /// The scheduler, and the queues for its workers.
    pub(crate) fn new(workers: usize) -> (Self, Vec<Worker<Pid>>) {
        let queues: Vec<_> = (0..workers).map(|_| Worker::new_fifo()).collect();
        let scheduler = Self {
            common: Injector::new(),
            slow: Injector::new(),
            slow_runs: AtomicUsize::new(0),
            slow_bound: workers.saturating_sub(1).max(1),
            stealers: queues.iter().map(Worker::stealer).collect(),
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
            stopped: AtomicBool::new(false),
            busy: Busy::default(),
        };
        (scheduler, queues)
    }

    /// Makes the calling thread a worker.
    pub(crate) fn adopt(&self, queue: Worker<Pid>) {
        LOCAL.with(|local| *local.borrow_mut() = Some(queue));
    }

    /// Queues an actor. On a worker it goes to that worker's own queue: what it is busy with has ended by the time it
    /// queues somebody, so another worker is woken only when there is more than one actor to run.
    pub(crate) fn push(&self, pid: Pid) {
        self.busy.0.fetch_add(1, Ordering::Relaxed);
        let alone = LOCAL.with(|local| match &*local.borrow() {
            Some(queue) => {
                queue.push(pid);
                queue.len() == 1
            }
            None => {
                self.common.push(pid);
                false
            }
        });
        if !alone {
            self.wake_one();
        }
    }

    /// Queues an actor behind all others.
    pub(crate) fn push_slow(&self, pid: Pid) {
        self.busy.0.fetch_add(1, Ordering::Relaxed);
        self.slow.push(pid);
        self.wake_one();
    }

    /// An actor that `pop` took from behind all others has had its turn.
    pub(crate) fn slow_done(&self) {
        self.slow_runs.fetch_sub(1, Ordering::SeqCst);
        if !self.slow.is_empty() {
            self.wake_one();
        }
    }

    fn pop_slow(&self) -> Option<Next> {
        if self.slow.is_empty() {
            return None;
        }
        if self.slow_runs.fetch_add(1, Ordering::SeqCst) < self.slow_bound
            && let Some(pid) = steal(|| self.slow.steal())
        {
            return Some(Next { pid, slow: true });
        }
        self.slow_runs.fetch_sub(1, Ordering::SeqCst);
        None
    }

    fn wake_one(&self) {
        // Pairs with the fence in `pop`: either the sleeper sees the work, or this sees the sleeper.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = self.lock.lock();
            self.wake.notify_one();
        }
    }

    /// An actor that `push` queued has had its turn, or was put aside.
    pub(crate) fn done(&self) {
        self.busy.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Actors queued or running.
    pub(crate) fn busy(&self) -> usize {
        self.busy.0.load(Ordering::SeqCst)
    }

    fn try_pop(&self, turn: u32) -> Option<Next> {
        // Seldom first, so that a busy node does not keep them waiting for ever.
        if turn.is_multiple_of(FAIRNESS)
            && let Some(next) = self.pop_slow()
        {
            return Some(next);
        }
        let quick = |pid| Next { pid, slow: false };
        self.pop_quick(turn).map(quick).or_else(|| self.pop_slow())
    }

    fn pop_quick(&self, turn: u32) -> Option<Pid> {
        LOCAL.with(|local| {
            let local = local.borrow();
            let queue = local.as_ref()?;
            if turn.is_multiple_of(FAIRNESS)
                && let Some(pid) = steal(|| self.common.steal_batch_and_pop(queue))
            {
                return Some(pid);
            }
            queue
                .pop()
                .or_else(|| steal(|| self.common.steal_batch_and_pop(queue)))
                .or_else(|| {
                    self.stealers
                        .iter()
                        .find_map(|other| steal(|| other.steal()))
                })
        })
    }

    /// The next actor to run; none: the scheduler was stopped.
    pub(crate) fn pop(&self, turn: u32) -> Option<Next> {
        loop {
            if self.stopped.load(Ordering::Acquire) {
                return None;
            }
            if let Some(next) = self.try_pop(turn) {
                return Some(next);
            }
            // A message often comes right behind the last one: look a little before sleeping.
            for _ in 0..50 {
                std::hint::spin_loop();
                if let Some(next) = self.try_pop(turn) {
                    return Some(next);
                }
            }
            let mut guard = self.lock.lock();
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            std::sync::atomic::fence(Ordering::SeqCst);
            if let Some(next) = self.try_pop(turn) {
                self.sleepers.fetch_sub(1, Ordering::SeqCst);
                return Some(next);
            }
            if !self.stopped.load(Ordering::Acquire) {
                self.wake.wait_for(&mut guard, Duration::from_millis(500));
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let _guard = self.lock.lock();
        self.wake.notify_all();
    }
}

fn steal(mut attempt: impl FnMut() -> Steal<Pid>) -> Option<Pid> {
    loop {
        match attempt() {
            Steal::Success(pid) => return Some(pid),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}
