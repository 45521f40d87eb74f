//! Random programs, one step at a time, against a count of what must be: spawn, send, trap, upgrade, rollback, purge, over two
//! modules and several senders. An upgrade is an update, one over several hops, a `load_module`, or one whose actors drain. After each step every actor has got every message once and in order; effects of a handler
//! that failed are never seen; after a rollback a state is the pinned one, or it keeps what was done on the new code.
//! `PROGRAM_SEED` repeats one program, `PROGRAMS` says how many are run; the seed is printed.
#![allow(clippy::unwrap_used)]

mod common;
use std::time::Duration;

use common::*;
use midflight_patch::Update;
use midflight_runtime::{
    Direction, Node, OnDownFailure, Order,
    upgrade::{AfterDraining, Hop, Policy, Probation, Purge},
};

const BUDGET: Duration = Duration::from_secs(2);
const STEPS: u64 = 40;
const RECEIVERS: u64 = 4;
const SENDERS: u64 = 3;
/// The receiver whose migrations fail when the patch says so.
const FLAGGED: u64 = 4;

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    fn yes(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// A node, and what it must be like.
struct Program {
    node: Node,
    random: Random,
    /// Messages that each receiver has to show; none: it was purged.
    got: Vec<Option<u64>>,
    /// The last number from each sender to each receiver.
    last: Vec<Vec<u64>>,
    newer: bool,
    /// Of the vsn that runs: every upgrade leads to a number that was not there before.
    minor: u32,
    victims: u64,
}

/// How the receivers come to the new code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Update,
    /// Through two versions between.
    Hops,
    /// The same code under another vsn: states stay as they are.
    LoadModule,
    Draining,
}

fn receiver(n: usize) -> String {
    format!("probe.{}", n + 1)
}

fn sender(n: usize) -> String {
    format!("sender.{}", n + 1)
}

impl Program {
    fn new(seed: u64) -> Self {
        println!("PROGRAM_SEED={seed}");
        let node = boot_with(
            limits(),
            &[
                part("probe", "probe_v1", RECEIVERS as u32),
                part("sender", "probe_v1", SENDERS as u32),
            ],
        );
        let flagged = receiver(FLAGGED as usize - 1);
        ask(&node, &flagged, json!({"op": "flag", "on": true}));
        Program {
            node,
            random: Random((seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 1 << 32) | 1),
            got: vec![Some(0); RECEIVERS as usize],
            last: vec![vec![0; RECEIVERS as usize]; SENDERS as usize],
            newer: false,
            minor: 0,
            victims: 0,
        }
    }

    fn core(&self, n: usize) -> Value {
        ask(&self.node, &receiver(n), json!({"op": "get"}))["core"].clone()
    }

    /// Everybody who lives has got what it was sent, once and in order.
    fn check(&self) {
        for (n, got) in self.got.iter().enumerate() {
            let Some(got) = got else {
                assert_eq!(self.node.whereis(&receiver(n)), None);
                continue;
            };
            let core = self.core(n);
            let seen = (core["noted"].clone(), core["out_of_order"].clone());
            assert_eq!(seen, (json!(got), json!(0)), "{}: {core}", receiver(n));
        }
    }

    fn send(&mut self) {
        let from = self.random.below(SENDERS) as usize;
        let to = self.random.below(RECEIVERS) as usize;
        let Some(got) = &mut self.got[to] else { return };
        let times = 1 + self.random.below(9);
        let first = self.last[from][to] + 1;
        *got += times;
        self.last[from][to] += times;
        tell(
            &self.node,
            &sender(from),
            json!({"op": "cast", "to": receiver(to), "times": times, "from": first, "body": {"convert": "yes"}}),
        );
        // What it sent has left when it answers.
        ask(&self.node, &sender(from), json!({"op": "echo"}));
    }

    /// An actor that sends and then traps, in one handler: nobody may see what it sent.
    fn trap(&mut self) {
        self.victims += 1;
        let name = format!("victim.{}", self.victims);
        let module = if self.random.yes() { "probe" } else { "sender" };
        ask(
            &self.node,
            &sender(0),
            json!({"op": "spawn", "module": module, "args": {}, "name": name}),
        );
        let to = receiver(self.random.below(RECEIVERS) as usize);
        tell(
            &self.node,
            &name,
            json!([{"op": "cast", "to": to, "body": {"seq": 1}}, {"op": "trap"}]),
        );
    }

    /// Of the code that runs.
    fn vsn(&self) -> String {
        format!("{}.{}.0", if self.newer { 2 } else { 1 }, self.minor)
    }

    /// Another vsn of this side.
    fn next(&mut self, newer: bool) -> String {
        self.minor += 1;
        format!("{}.{}.0", if newer { 2 } else { 1 }, self.minor)
    }

    /// One upgrade of both modules, as far as chance wants it.
    fn upgrade(&mut self) {
        let kind = match (self.random.below(6), self.newer) {
            (0, _) => Kind::LoadModule,
            (1, _) => Kind::Draining,
            (2, false) => Kind::Hops,
            _ => Kind::Update,
        };
        let (from, minor) = (self.vsn(), self.minor);
        let newer = self.newer != (kind != Kind::LoadModule);
        let hops: Vec<String> = match kind {
            Kind::Hops => (0..2).map(|_| self.next(true)).collect(),
            _ => Vec::new(),
        };
        let to = self.next(newer);
        let migrates = matches!(kind, Kind::Update | Kind::Hops);
        let fails = self.random.below(5) == 0 && kind != Kind::LoadModule;
        let fails_back = self.random.yes() && migrates;
        let order = self.order(kind, [&from, &to], newer, &hops, [fails, fails_back]);
        let fails_now = fails && migrates && self.got[FLAGGED as usize - 1].is_some();
        let prepared = self.node.begin(order).unwrap().prepare();
        if fails_now {
            assert_eq!(prepared.map(drop).unwrap_err().code(), "MF0308");
            return self.stays(&from, minor);
        }
        let (prepared, _) = prepared.unwrap();
        let suspended = prepared.suspend().unwrap();
        if self.random.below(6) == 0 {
            drop(suspended);
            return self.stays(&from, minor);
        }
        let loaded = suspended.load().unwrap();
        if self.random.below(6) == 0 {
            drop(loaded);
            return self.stays(&from, minor);
        }
        let migrated = loaded.migrate().unwrap();
        if self.random.below(6) == 0 {
            drop(migrated);
            return self.stays(&from, minor);
        }
        let (probation, _) = migrated.resume().unwrap();
        self.current(&to);
        if self.probation(probation, kind, fails_back) {
            self.newer = newer;
            if kind == Kind::Draining {
                self.catch_up(fails);
            }
            self.runs(&to);
        } else {
            self.stays(&from, minor);
        }
    }

    fn order(
        &self,
        kind: Kind,
        [from, to]: [&str; 2],
        newer: bool,
        hops: &[String],
        [fails, fails_back]: [bool; 2],
    ) -> Order {
        let file = if newer { "probe_v2" } else { "probe_v1" };
        let (on, off) = if newer {
            ("up", "down")
        } else {
            ("down", "up")
        };
        let mode = |fails| if fails { "error" } else { "ok" };
        let extra = json!({on: mode(fails), off: mode(fails_back)});
        let mut order = order(
            &self.node,
            vec![
                change("probe", from, to, file, extra),
                change("sender", from, to, file, json!({})),
            ],
        );
        if self.newer && !newer {
            order.direction = Direction::Down;
        }
        let (blob, _) = component("probe_v2");
        let hop = |to: &String| Hop {
            vsn: vsn(to),
            blob,
            update: Update::Advanced,
            extra: b"{}".to_vec(),
        };
        for module in &mut order.modules {
            module.hops = hops.iter().map(hop).collect();
            if kind == Kind::LoadModule {
                module.policy = Policy::LoadModule;
            }
        }
        if kind == Kind::Draining {
            order.modules[0].policy = Policy::Draining {
                deadline_ms: 3_600_000,
                then: AfterDraining::Stop,
            };
        }
        order
    }

    /// Nothing has come of it.
    fn stays(&mut self, from: &str, minor: u32) {
        self.minor = minor;
        self.runs(from);
    }

    fn current(&self, expected: &str) {
        for module in self.node.modules() {
            assert_eq!(module.vsn, vsn(expected));
        }
    }

    fn runs(&self, expected: &str) {
        self.current(expected);
        for module in self.node.modules() {
            assert_eq!(module.actors_on_old, 0, "{}", module.name);
        }
    }

    /// Whatever chance wants of senders and of actors that trap.
    fn goes_on(&mut self) {
        for _ in 0..self.random.below(6) {
            match self.random.below(3) {
                0 => self.trap(),
                _ => self.send(),
            }
        }
        if self.random.below(4) == 0 {
            self.check();
        }
    }

    /// The upgrade is over, and the receivers still drain: those who can are brought to the new code.
    fn catch_up(&mut self, fails: bool) {
        self.goes_on();
        let flagged = FLAGGED as usize - 1;
        let caught = self.node.catch_up(&name("probe")).unwrap();
        let fails = fails && self.got[flagged].is_some();
        assert_eq!(caught.held.len(), usize::from(fails), "{caught:?}");
        if fails {
            assert_eq!(self.node.purge(&name("probe"), Purge::Brutal).unwrap(), 1);
            self.got[flagged] = None;
        }
    }

    /// True: the new code stays.
    fn probation(&mut self, mut probation: Probation, kind: Kind, fails_back: bool) -> bool {
        let flagged = FLAGGED as usize - 1;
        let (pinned, last) = (self.got.clone(), self.last.clone());
        self.goes_on();
        if kind == Kind::Draining {
            let here = self.got.iter().flatten().count() as u64;
            let old = || {
                self.node
                    .old_code()
                    .iter()
                    .map(|old| old.actors)
                    .sum::<u64>()
            };
            until("all that were there drain, and nobody else", || {
                old() == here
            });
        }
        if self.random.yes() {
            probation.confirm();
            if self.random.yes() {
                probation.finish().map_err(|e| e.1).unwrap();
                return true;
            }
        }
        let policy = match self.random.below(3) {
            0 => OnDownFailure::Hold,
            1 => OnDownFailure::Restore,
            _ => OnDownFailure::Stop,
        };
        // It went on, and so it has to go through a migration that fails: unless nothing has reached it since.
        if self.got[flagged].is_some() {
            self.core(flagged);
        }
        let report = probation.rollback(BUDGET, policy).map_err(|e| e.1).unwrap();
        if fails_back && self.got[flagged].is_some() {
            match policy {
                OnDownFailure::Restore => {
                    assert_eq!((report.restored, report.held.len()), (1, 0));
                    // What came since is lost to it: its senders begin again where its state stands.
                    self.got[flagged] = pinned[flagged];
                    for (now, then) in self.last.iter_mut().zip(last) {
                        now[flagged] = then[flagged];
                    }
                }
                OnDownFailure::Hold => {
                    assert_eq!(report.held.len(), 1, "{report:?}");
                    let purged = self.node.purge(&name("probe"), Purge::Brutal).unwrap();
                    assert_eq!(purged, 1);
                    self.got[flagged] = None;
                }
                OnDownFailure::Stop => self.got[flagged] = None,
            }
        }
        false
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            match self.random.below(8) {
                0 => self.trap(),
                1 | 2 => self.upgrade(),
                _ => self.send(),
            }
            self.check();
        }
        let living = self.got.iter().flatten().count() as u64 + SENDERS;
        until("every victim is gone, and nobody else", || {
            self.node.actor_count() == living
        });
        let waits = |node: &Node| {
            node.metrics()
                .mailbox_bytes
                .iter()
                .any(|(_, bytes)| *bytes > 0)
        };
        until("nothing waits, and nothing is counted", || {
            !waits(&self.node)
        });
    }
}

#[test]
fn whatever_the_program_every_message_arrives_once_and_a_rollback_keeps_what_it_promises() {
    let number = |name: &str| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    if let Some(seed) = number("PROGRAM_SEED") {
        return Program::new(seed).run();
    }
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 % 1_000_000_000;
    for seed in 0..number("PROGRAMS").unwrap_or(8) {
        Program::new(now + seed).run();
    }
}
