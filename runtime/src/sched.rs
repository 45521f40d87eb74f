//! Run queues: one a worker, with a seat for its only actor and with stealing, one for everybody else, and one for actors of
//! an application that has just kept a worker for long. Those run when nobody else waits, and never on all workers at once, so that an application
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
    static LOCAL: RefCell<Option<Local>> = const { RefCell::new(None) };
}

/// What one worker is to run.
struct Local {
    queue: Worker<Pid>,
    /// The only one: it runs as soon as the turn that queued it ends, and no other worker looks at it.
    seat: Option<Pid>,
}

impl Local {
    /// True: it is the only one.
    fn push(&mut self, pid: Pid) -> bool {
        if self.seat.is_none() && self.queue.is_empty() {
            self.seat = Some(pid);
            return true;
        }
        self.stand_up();
        self.queue.push(pid);
        false
    }

    /// Whoever sits is to be found by other workers. False: nobody sat.
    fn stand_up(&mut self) -> bool {
        let first = self.seat.take();
        first.into_iter().for_each(|pid| self.queue.push(pid));
        first.is_some()
    }
}

/// Turns after which a worker looks at the common queue first.
const FAIRNESS: u32 = 61;

/// Who runs next.
pub(crate) struct Next {
    pub(crate) pid: Pid,
    /// From behind all others: `slow_done` ends its turn.
    pub(crate) slow: bool,
}

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
        };
        (scheduler, queues)
    }

    /// Makes the calling thread a worker.
    pub(crate) fn adopt(&self, queue: Worker<Pid>) {
        LOCAL.with(|local| *local.borrow_mut() = Some(Local { queue, seat: None }));
    }

    /// Queues an actor. On a worker it goes to that worker's own queue: what it is busy with has ended by the time it
    /// queues somebody, so another worker is woken only when there is more than one actor to run.
    pub(crate) fn push(&self, pid: Pid) {
        let alone = LOCAL.with(|local| match &mut *local.borrow_mut() {
            Some(local) => local.push(pid),
            None => {
                self.common.push(pid);
                false
            }
        });
        if !alone {
            self.wake_one();
        }
    }

    /// A handler is about to run before the actor that sits on this worker: others may take that one.
    pub(crate) fn share(&self) {
        let stood_up = LOCAL.with(|local| {
            let mut local = local.borrow_mut();
            local.as_mut().is_some_and(Local::stand_up)
        });
        if stood_up {
            self.wake_one();
        }
    }

    /// Queues an actor behind all others.
    pub(crate) fn push_slow(&self, pid: Pid) {
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

    /// No actor is queued or runs: all workers sleep, and nothing waits for them.
    pub(crate) fn idle(&self) -> bool {
        // Under this lock no worker is between its last look at the queues and its sleep.
        let _guard = self.lock.lock();
        self.sleepers.load(Ordering::SeqCst) == self.stealers.len()
            && self.common.is_empty()
            && self.slow.is_empty()
            && self.stealers.iter().all(Stealer::is_empty)
    }

    fn try_pop(&self, turn: u32) -> Option<Next> {
        // Seldom first, so that a busy node does not keep them waiting for ever.
        if turn.is_multiple_of(FAIRNESS) && (!self.slow.is_empty() || !self.common.is_empty()) {
            self.share();
            if let Some(next) = self.pop_slow() {
                return Some(next);
            }
        }
        let quick = |pid| Next { pid, slow: false };
        self.pop_quick(turn).map(quick).or_else(|| self.pop_slow())
    }

    fn pop_quick(&self, turn: u32) -> Option<Pid> {
        LOCAL.with(|local| {
            let mut local = local.borrow_mut();
            let local = local.as_mut()?;
            if turn.is_multiple_of(FAIRNESS)
                && let Some(pid) = steal(|| self.common.steal_batch_and_pop(&local.queue))
            {
                return Some(pid);
            }
            let queue = &local.queue;
            local
                .seat
                .take()
                .or_else(|| queue.pop())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_actor_of_a_worker_sits_until_there_are_two_or_somebody_else_runs_first() {
        let (scheduler, mut queues) = Scheduler::new(2);
        scheduler.adopt(queues.remove(0));
        let others_find = || !scheduler.stealers[0].is_empty();
        scheduler.push(1);
        assert!(!others_find(), "it runs next, and here");
        scheduler.share();
        assert!(others_find());
        scheduler.push(2);
        let next = |turn| scheduler.try_pop(turn).map(|next| next.pid);
        assert_eq!((next(1), next(2), next(3)), (Some(1), Some(2), None));
        // In the order in which they came, whoever sits.
        for pid in [3, 4, 5] {
            scheduler.push(pid);
        }
        assert!(others_find());
        assert_eq!((next(1), next(2), next(3)), (Some(3), Some(4), Some(5)));
        // Somebody else's turn comes first: the seat is not kept from the others.
        scheduler.push(6);
        scheduler.common.push(7);
        assert_eq!(next(FAIRNESS), Some(7));
        assert!(others_find());
        assert_eq!(next(1), Some(6));
    }

    #[test]
    fn a_node_is_idle_when_nothing_is_queued_and_every_worker_sleeps() {
        let (scheduler, queues) = Scheduler::new(1);
        assert!(!scheduler.idle(), "its worker has not slept yet");
        let scheduler = std::sync::Arc::new(scheduler);
        let worker = {
            let (scheduler, queue) = (scheduler.clone(), queues.into_iter().next());
            std::thread::spawn(move || {
                scheduler.adopt(queue.expect("one worker has one queue"));
                while scheduler.pop(1).is_some() {}
            })
        };
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while !scheduler.idle() {
            assert!(std::time::Instant::now() < end, "it never slept");
            std::thread::yield_now();
        }
        scheduler.stop();
        worker.join().expect("the worker ends");
    }
}
