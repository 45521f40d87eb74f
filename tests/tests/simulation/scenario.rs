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
    /// In the order of time.
    pub faults: Vec<(Duration, Fault)>,
    /// Of a thousand syncs of a node's disk, and of the controller's, so many end in a crash.
    pub disks: (u64, u64),
    /// What a person does with a rollout that is paused in the end, one after the other.
    pub last_words: Vec<Verb>,
    /// A rollout that succeeded is rolled back.
    pub regret: bool,
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
        let nodes = natures(&mut chance, count, calm);
        let policy = policy(&mut chance, count, calm);
        let mut faults = Vec::new();
        if !calm {
            for _ in 0..chance.below(14) {
                let at = Duration::from_millis(chance.below(CHAOS) * chance.below(1000) / 1000);
                faults.push((at, fault(&mut chance, count)));
            }
            faults.sort_by_key(|(at, _)| *at);
        }
        let disks = match calm {
            true => (0, 0),
            false => (*chance.one(&[0, 0, 4, 20]), *chance.one(&[0, 0, 4, 30])),
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
            faults,
            disks,
            last_words,
            regret: chance.percent(15),
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

fn policy(chance: &mut Chance, count: usize, calm: bool) -> Policy {
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
    let lease = if calm { 30 } else { 4 + chance.below(20) };
    let (bake, concurrency) = (1 + chance.below(4), 2 + chance.below(count as u64));
    let (silence, pause) = (3 + chance.below(12), *chance.one(&[500, 5_000]));
    let text = format!(
        "waves: {waves}\nbake: {bake}s\nconcurrency: {concurrency}\n\
         failure_budget: {{max: {max}, min_sample: {sample}, unreachable: 50%}}\n\
         timeouts: {{connect: 2s, stage: 20s, prepare: 5s, pause: {pause}ms, silence: {silence}s, gate: 20s, confirm: 10s, rollback: 60s}}\n\
         probation: {{lease: {lease}s, on_lost_contact: {contact}}}\n\
         gates: [{{parked: 0}}, {{traps: 0}}]\non_failure: {failure}\n"
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
