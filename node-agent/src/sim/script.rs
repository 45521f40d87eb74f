//! What chance has in store for one node: how long each piece of work takes, and whether it fails. Work is not done by
//! threads that sleep but begins later, so that ten thousand nodes can stall at a time.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::{
    chance::Dice,
    scenario::{Order, Zone},
};
use crate::{
    clock::Clock,
    work::{Work, Worker},
};

/// One node's part.
pub struct Script {
    /// How nodes of its zone behave.
    pub zone: Arc<Zone>,
    /// It takes connections and says nothing.
    pub silent: bool,
    dice: Mutex<Dice>,
}

/// The kinds of orders that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bringing the patch.
    Stage,
    /// From prepare on.
    Upgrade,
    /// Confirm and finish.
    Confirm,
    /// Back.
    Rollback,
}

impl Script {
    /// Of a node with these dice.
    pub fn new(zone: Arc<Zone>, mut dice: Dice) -> Arc<Self> {
        let silent = dice.happens(zone.silent);
        let dice = Mutex::new(dice);
        Arc::new(Self { zone, silent, dice })
    }

    /// Whether an order fails this time.
    pub fn fails(&self, kind: Kind) -> bool {
        self.dice.lock().happens(self.order(kind).fails)
    }

    /// How long the actors were suspended this time.
    pub fn pause(&self) -> Duration {
        self.dice.lock().time(&self.zone.pause)
    }

    fn order(&self, kind: Kind) -> &Order {
        match kind {
            Kind::Stage => &self.zone.stage,
            Kind::Upgrade => &self.zone.upgrade,
            Kind::Confirm => &self.zone.confirm,
            Kind::Rollback => &self.zone.rollback,
        }
    }

    /// How much later this work is done. Of a stage, the compilation at its end counts; what is said to a node on the way to
    /// an abort is never late.
    fn delay(&self, what: &str) -> Duration {
        let kind = match what {
            "staging" => Some(Kind::Stage),
            "upgrade" => Some(Kind::Upgrade),
            "confirm" => Some(Kind::Confirm),
            "rollback" => Some(Kind::Rollback),
            "description" | "check of the header" | "admission" | "metrics" => None,
            _ => return Duration::ZERO,
        };
        let mut dice = self.dice.lock();
        let mut delay = dice.time(&self.zone.latency);
        if let Some(order) = kind.map(|kind| self.order(kind)) {
            delay += dice.time(&order.takes);
            if dice.happens(order.stalls) {
                delay += dice.time(&self.zone.stall.0);
            }
        }
        delay
    }
}

/// Does a node's work on the threads that serve, each piece when its time has come.
pub struct InTime(pub Arc<Script>);

impl Worker for InTime {
    fn start(&self, what: &'static str, work: Work) -> BoxFuture<'static, ()> {
        let delay = self.0.delay(what);
        if delay.is_zero() {
            work();
            return Box::pin(std::future::ready(()));
        }
        let task = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            work();
        });
        Box::pin(async move {
            let _ = task.await; // a panic is caught in the work
        })
    }
}

/// One clock for all nodes. A real node's lease takes a file descriptor, of which a process has too few for a fleet; that
/// the machine may sleep does not matter here.
pub struct OneClock(Instant);

impl Default for OneClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for OneClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn until(&self, at: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until((self.0 + at).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(zone: &str) -> Arc<Script> {
        let zone: Zone = serde_saphyr::from_str(zone).unwrap();
        Script::new(Arc::new(zone), Dice::new(1, 1))
    }

    #[test]
    fn what_the_scenario_leaves_out_takes_no_time_and_never_fails() {
        let script = script("{}");
        assert_eq!(script.delay("upgrade"), Duration::ZERO);
        assert!(!script.silent && !script.fails(Kind::Upgrade));
    }

    #[test]
    fn an_abort_is_never_late() {
        let script = script("{latency: 5ms, upgrade: {takes: 10ms, stalls: 100%}, stall: 60s}");
        assert_eq!(script.delay("upgrade"), Duration::from_millis(60_015));
        assert_eq!(script.delay("description"), Duration::from_millis(5));
        assert_eq!(script.delay("abort"), Duration::ZERO);
    }
}
