//! The deterministic simulation: the controller's engine, the agents and the network between them in one process, on one
//! thread, on a paused clock, with everything that chance decides from one seed. `docs/verification.md` says what is real and
//! what is not. `SEEDS=5000` runs so many seeds, `SEED=17` one of them and prints what happened in it; after `ENOUGH=1` broken
//! seed no other is begun.
#![allow(clippy::unwrap_used)]

mod bundles;
mod chance;
mod controller;
mod disk;
#[cfg(feature = "mutants")]
mod faults;
mod judge;
mod net;
mod node;
mod scenario;
mod target;
mod truth;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds that showed a defect once.
const FOUND: &[u64] = &[63, 1372];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs seeds on all processors; gives those that broke something, with what.
fn run(seeds: impl Iterator<Item = u64>) -> BTreeMap<u64, Vec<String>> {
    let seeds: Vec<u64> = seeds.collect();
    let (next, broken) = (AtomicU64::new(0), Mutex::new(BTreeMap::new()));
    let states = Mutex::new(BTreeMap::<String, u64>::new());
    let enough = number("ENOUGH").unwrap_or(20);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                    && (broken.lock().unwrap().len() as u64) < enough
                {
                    let outcomes = world::run(*seed);
                    *states
                        .lock()
                        .unwrap()
                        .entry(outcomes.state.to_string())
                        .or_default() += 1;
                    if !outcomes.broken.is_empty() {
                        broken.lock().unwrap().insert(*seed, outcomes.broken);
                    }
                }
            });
        }
    });
    eprintln!("{} seeds: {:?}", seeds.len(), states.into_inner().unwrap());
    broken.into_inner().unwrap()
}

fn check(seeds: impl Iterator<Item = u64>) {
    let broken = run(seeds);
    let Some((first, _)) = broken.first_key_value() else {
        return;
    };
    let mut text = String::new();
    for (seed, what) in &broken {
        text.push_str(&format!("seed {seed}:\n    {}\n", what.join("\n    ")));
    }
    let count = broken.len();
    panic!(
        "{count} seeds broke a promise:\n{text}\nto see what happened: SEED={first} make test-sim"
    );
}

#[test]
fn whatever_happens_the_promises_hold() {
    match number("SEED") {
        Some(seed) => {
            let outcomes = world::run(seed);
            for line in &outcomes.trace {
                println!("{line}");
            }
            assert!(outcomes.broken.is_empty(), "{:#?}", outcomes.broken);
        }
        None => check((1..).take(number("SEEDS").unwrap_or(200) as usize)),
    }
}

#[test]
fn seeds_that_found_something_find_it_no_more() {
    check(FOUND.iter().copied());
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 5, 8, 13, 21, 34, 55, 1372] {
        let (one, two) = (world::run(seed).trace, world::run(seed).trace);
        let differs = one.iter().zip(&two).position(|(one, two)| one != two);
        if let Some(at) = differs {
            panic!("seed {seed}, line {at}:\n{}\n{}", one[at], two[at]);
        }
        assert_eq!(one.len(), two.len());
    }
}
