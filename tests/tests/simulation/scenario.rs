//! What a seed stands for: a fleet, a policy, what the patch does on each node, and what goes wrong when. A fifth of the seeds
//! have no fault at all, and their rollouts must succeed.

use std::time::Duration;

use midflight_controller::engine::control::Verb;
use midflight_controller::policy::{self, Policy};

use crate::chance::Chance;
use crate::net::Death;
use crate::target::Nature;

/// Faults come within so many milliseconds.
const CHAOS: u64 = 60_000;

#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    /// The nodes, and how late each does its work, in milliseconds at most.
    pub nodes: Vec<(Nature, u64)>,
    pub policy: Policy,
    /// In lockstep, how many batches there are: node 0 is in the first, node 1 in the second, and so on. 0: every node by itself.
    pub batches: usize,
    /// In the order of time.
    pub faults: Vec<(Duration, Fault)>,
    /// Of a thousand syncs of a node's disk, and of the controller's, so many end in a crash.
    pub disks: (u64, u64),
    /// What a person does with a rollout that is paused in the end, one after the other.
    pub last_words: Vec<Verb>,
    /// Nodes that were away follow a rollout that succeeded.
    pub follow: bool,
    /// A rollout that succeeded is rolled back.
    pub regret: bool,
    /// Of a hundred events, so many end in an error on the new code of every node, which a gate compares with the old.
    pub errs: Option<u64>,
    /// What goes to and from nodes is late by up to so many milliseconds.
    pub gray: Option<u64>,
    /// When a second rollout to the same nodes begins, and whether it takes them over from the first; else it waits.
    pub rival: Option<(Duration, bool)>,
}

#[derive(Clone, Debug)]
pub enum Fault {
    /// The way to a node, the way from it, or both, for so long.
    Cut(usize, bool, bool, Duration),
    /// The controller is alone, for so long.
    CutAll(Duration),
    /// Every connection of a node is reset.
    Break(usize),
    /// What goes to and from a node is late, for so long.
    Slow(usize, u64, Duration),
    /// A node dies, and is down for so long.
    Crash(usize, Death, Duration),
    /// The controller dies, and the next process comes after so long.
    Kill(Death, Duration),
    /// The next process comes after so long, and the one before only thinks that it is the owner.
    Usurp(Duration),
    /// A node's wall clock is set, by milliseconds.
    SetWall(usize, i64),
    /// A person asks for something.
    Ask(Verb),
}

impl Scenario {
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 0);
        let calm = chance.percent(20);
        let count = 2 + chance.index(9);
        let mut nodes = natures(&mut chance, count, calm);
        let errs = seed
            .is_multiple_of(6)
            .then(|| *Chance::new(seed, 6).one(&[0, 50]));
        for (nature, _) in &mut nodes {
            nature.errs = errs.unwrap_or_default();
        }
        let batches = match seed % 3 {
            1 => 1 + Chance::new(seed, 3).index(3),
            _ => 0,
        };
        // Leases are short, the network is slow, and one process after the other takes over.
        let mut other = Chance::new(seed, 7);
        let gray = (seed % 12 == 9 && !calm).then(|| 300 + other.below(1_200));
        if gray.is_some() {
            // Rollbacks fail, so that nodes whose lease ran out are asked to confirm.
            for (nature, _) in &mut nodes {
                nature.sticks = 70 * other.below(2);
            }
        }
        let kind = Kind {
            calm,
            lockstep: batches > 0,
            compares: errs.is_some(),
            gray: gray.map(|_| 2 + other.below(5)),
        };
        let policy = policy(&mut chance, count, &kind);
        let mut faults = Vec::new();
        if !calm {
            for _ in 0..chance.below(14) {
                let at = Duration::from_millis(chance.below(CHAOS) * chance.below(1000) / 1000);
                faults.push((at, fault(&mut chance, count)));
            }
            for _ in 0..gray.map_or(0, |_| 2 + other.below(5)) {
                let usurp = Fault::Usurp(other.millis(0, 3_000));
                faults.push((other.millis(0, 40_000), usurp));
                let cut = Fault::Cut(other.index(count), true, true, other.millis(3_000, 9_000));
                faults.push((other.millis(0, 15_000), cut));
            }
            faults.sort_by_key(|(at, _)| *at);
        }
        let disks = match calm {
            true => (0, 0),
            false => (*chance.one(&[0, 0, 4, 20]), *chance.one(&[0, 0, 4, 30])),
        };
        let mut other = Chance::new(seed, 4);
        let rival = match seed % 3 {
            // Some begin at the same moment.
            2 => Some((
                other.millis(0, 50_000) / *other.one(&[1, 1, 5_000]),
                other.percent(60),
            )),
            _ => None,
        };
        let stop = *chance.one(&[0, 1, 2]);
        let mut last_words = vec![Verb::Resume; chance.index(3)];
        last_words.push(match stop {
            0 => Verb::Rollback,
            keep => Verb::Abort { keep: keep == 1 },
        });
        Self {
            seed,
            nodes,
            policy,
            batches,
            faults,
            disks,
            last_words,
            follow: Chance::new(seed, 8).percent(50),
            regret: chance.percent(15) && rival.is_none(),
            errs,
            gray,
            rival,
        }
    }

    /// Nothing goes wrong.
    pub fn is_calm(&self) -> bool {
        let good = |(nature, _): &(Nature, u64)| *nature == Nature::default();
        self.faults.is_empty() && self.disks == (0, 0) && self.nodes.iter().all(good)
    }
}

fn natures(chance: &mut Chance, count: usize, calm: bool) -> Vec<(Nature, u64)> {
    let kind = match calm {
        true => 0,
        false => chance.below(10),
    };
    let some = 10 + chance.below(60);
    let slow = *chance.one(&[0, 0, 20, 900, 3_000]);
    (0..count)
        .map(|_| {
            let hit = chance.percent(some);
            let nature = match kind {
                5 | 6 if hit => Nature {
                    fails: 20 + chance.below(81),
                    ..Nature::default()
                },
                7 | 8 if hit => Nature {
                    parks: true,
                    ..Nature::default()
                },
                9 if hit => Nature {
                    fails: chance.below(50),
                    parks: chance.percent(30),
                    sticks: chance.below(60),
                    ..Nature::default()
                },
                _ => Nature::default(),
            };
            let slow = match calm {
                true => 0,
                false => slow * chance.below(2),
            };
            (nature, slow)
        })
        .collect()
}

/// What a policy depends on.
struct Kind {
    calm: bool,
    lockstep: bool,
    compares: bool,
    /// Seconds of a lease.
    gray: Option<u64>,
}

fn policy(chance: &mut Chance, count: usize, kind: &Kind) -> Policy {
    let waves = chance.one(&[
        "[1, 100%]",
        "[1, 50%, 100%]",
        "[2, 100%]",
        "[100%]",
        "[1, 30%, 60%, 100%]",
    ]);
    let max = chance.one(&["0", "1", "25%", "50%"]);
    let sample = 1 + chance.below(4);
    let contact = if chance.percent(70) {
        "rollback"
    } else {
        "hold"
    };
    let failure = if chance.percent(70) {
        "rollback"
    } else {
        "pause"
    };
    let lease = match kind.calm {
        true => 30,
        false => 4 + chance.below(20),
    };
    let (lease, rollback) = kind.gray.map_or((lease, 60), |lease| (lease, 8));
    let (bake, concurrency) = (1 + chance.below(4), 2 + chance.below(count as u64));
    let (silence, pause) = (3 + chance.below(12), *chance.one(&[500, 5_000]));
    let compared = match kind.compares {
        true => ", {error_rate: +10%, against: control, min_samples: 100}",
        false => "",
    };
    let mode = if kind.lockstep { "lockstep" } else { "free" };
    let text = format!(
        "mode: {mode}\nwaves: {waves}\nbake: {bake}s\nconcurrency: {concurrency}\n\
         failure_budget: {{max: {max}, min_sample: {sample}, unreachable: 50%}}\n\
         timeouts: {{connect: 2s, stage: 20s, prepare: 5s, pause: {pause}ms, silence: {silence}s, gate: 20s, confirm: 10s, rollback: {rollback}s}}\n\
         probation: {{lease: {lease}s, on_lost_contact: {contact}}}\n\
         gates: [{{parked: 0}}, {{traps: 0}}{compared}]\non_failure: {failure}\n"
    );
    policy::parse(&text, "policy.yaml").unwrap_or_else(|error| panic!("{error:?}: {text}"))
}

fn fault(chance: &mut Chance, count: usize) -> Fault {
    let node = chance.index(count);
    let long = |chance: &mut Chance| match chance.percent(50) {
        true => chance.millis(100, 3_000),
        false => chance.millis(3_000, 60_000),
    };
    let death = |chance: &mut Chance| match chance.percent(50) {
        true => Death::Process,
        false => Death::Power,
    };
    match chance.below(20) {
        0..=2 => Fault::Cut(node, true, true, long(chance)),
        3 => Fault::Cut(node, true, false, long(chance)),
        4 => Fault::Cut(node, false, true, long(chance)),
        5 => Fault::CutAll(long(chance)),
        6 | 7 => Fault::Break(node),
        8 => Fault::Slow(node, 50 + chance.below(4_000), long(chance)),
        9 | 10 => Fault::Crash(node, death(chance), long(chance)),
        11 | 12 => Fault::Kill(death(chance), chance.millis(10, 20_000)),
        13 => Fault::Usurp(chance.millis(0, 3_000)),
        14 => {
            let by = chance.below(7_200_000) as i64;
            Fault::SetWall(node, if chance.percent(50) { by } else { -by })
        }
        _ => Fault::Ask(verb(chance)),
    }
}

fn verb(chance: &mut Chance) -> Verb {
    match chance.below(12) {
        0..=2 => Verb::Pause,
        3 | 4 => Verb::Resume,
        5 => Verb::Promote {
            accept_inconclusive: Some("it is late".to_owned()),
        },
        6 => Verb::Abort {
            keep: chance.percent(50),
        },
        7 | 8 => Verb::Rollback,
        9 | 10 => Verb::RetryFailed,
        _ => Verb::Detach,
    }
}
