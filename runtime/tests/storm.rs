//! Random programs: traffic, traps, calls, `sys`, upgrades given up in every phase, rollbacks and downgrades at once, from
//! several threads. Whatever happens, an actor that did not crash got every message once and in order, every call ended,
//! nobody is stuck, nothing leaked. `STORM_SEED` repeats one run; the seed is printed.
#![allow(clippy::unwrap_used)]

mod common;
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use common::*;
use midflight_runtime::{Direction, Limits, Node, OnDownFailure, Order, upgrade::Probation};

const BUDGET: Duration = Duration::from_secs(2);
const TARGETS: u64 = 6;
const SENDERS: u64 = 4;
/// Messages for one target, well under the bound of a mailbox.
const EACH: u64 = 4_000;
const VICTIMS: u64 = 300;

/// xorshift64*
struct Random(u64);

impl Random {
    fn new(seed: u64, stream: u64) -> Self {
        Random((seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((stream + 1) << 32)) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

fn seeds() -> Vec<u64> {
    if let Some(seed) = std::env::var("STORM_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
    {
        return vec![seed];
    }
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    (0..2)
        .map(|n| now.as_nanos() as u64 % 1_000_000_000 + n)
        .collect()
}

fn target(n: u64) -> String {
    format!("probe.{}", n + 1)
}

fn sender(n: u64) -> String {
    format!("sender.{}", n + 1)
}

fn quietly(node: &Node, who: &str, body: Value) {
    // The actor may have ended.
    let _ = node.cast(&actor(who), body.to_string().into_bytes());
}

/// Sequences from each sender to each target; gives how many each target is to get.
fn traffic(node: &Node, random: &mut Random, own: &[u64]) -> Vec<u64> {
    let mut sent = vec![0; TARGETS as usize];
    let mut next = vec![vec![1_u64; TARGETS as usize]; SENDERS as usize];
    let share = EACH / SENDERS * own.len() as u64;
    while sent.iter().any(|&n| n < share) {
        let to = random.below(TARGETS) as usize;
        if sent[to] >= share {
            continue;
        }
        let from = own[random.below(own.len() as u64) as usize] as usize;
        let times = 1 + random.below(60);
        let op = if random.below(2) == 0 { "cast" } else { "send" };
        tell(
            node,
            &sender(from as u64),
            json!({"op": op, "to": target(to as u64), "times": times, "from": next[from][to], "body": {"convert": "yes"}}),
        );
        next[from][to] += times;
        sent[to] += times;
        if random.below(8) == 0 {
            // Not faster than the slowest mailbox: this waits until the sender has come so far.
            ask(node, &sender(from as u64), json!({"op": "echo"}));
        }
        if random.below(16) == 0 {
            std::thread::yield_now();
        }
    }
    sent
}

/// Actors that come and go, failing in every way.
fn victims(node: &Node, random: &mut Random, stream: u64, over: &AtomicBool) {
    let mut count = 0;
    // Few enough that what their parents remember of them stays within the bound of a state.
    while !over.load(Ordering::Relaxed) && count < VICTIMS {
        count += 1;
        let name = format!("victim.{stream}.{count}");
        let parent = match random.below(2) {
            0 => sender(random.below(SENDERS)),
            _ => target(random.below(TARGETS)),
        };
        let module = ["probe", "sender"][random.below(2) as usize];
        let ops = match random.below(4) {
            0 => json!({"ops": [{"op": "trap"}]}),
            _ => json!({"ops": [{"op": "add", "n": 1}]}),
        };
        quietly(
            node,
            &parent,
            json!({"op": "spawn", "module": module, "args": ops, "name": name, "monitor": random.below(2) == 0}),
        );
        for _ in 0..random.below(6) {
            quietly(node, &name, json!({"op": "add", "n": 1}));
        }
        if random.below(3) == 0 {
            quietly(
                node,
                &name,
                json!({"op": "spawn", "module": module, "args": {}, "name": format!("{name}.child")}),
            );
        }
        quietly(
            node,
            &name,
            match random.below(3) {
                0 => json!({"op": "trap"}),
                1 => json!({"op": "error", "text": "storm"}),
                _ => json!({"op": "stop", "reason": "normal"}),
            },
        );
        quietly(node, &name, json!({"op": "add", "n": 1}));
        if random.below(2) == 0 {
            answered(node, &name, json!({"op": "echo"}));
        }
        // In any state: not born, parked, crashed. A child ends here or at the end.
        quietly(node, &format!("{name}.child"), json!({"op": "trap"}));
    }
}

/// A call ends with an answer or an error, never for want of either.
fn answered(node: &Node, who: &str, body: Value) {
    if let Err(error) = try_ask(node, who, body) {
        assert!(
            !error.to_string().contains("no answer within"),
            "{who}: {error}"
        );
    }
}

fn callers(node: &Node, random: &mut Random, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let to = target(random.below(TARGETS));
        match random.below(5) {
            0 => answered(node, &to, json!({"op": "add", "n": 0})),
            1 => answered(
                node,
                &sender(random.below(SENDERS)),
                json!({"op": "relay", "to": to, "body": {"op": "echo"}}),
            ),
            2 => {
                let _ = node.suspend(&actor(&to), SOON);
                std::thread::yield_now();
                let _ = node.resume(&actor(&to), SOON);
            }
            3 => drop(node.status(&actor(&to), SOON)),
            _ => drop(node.get_state(&actor(&to), SOON)),
        }
    }
}

fn to_v2(node: &Node) -> Order {
    order(
        node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
    )
}

fn to_v1(node: &Node) -> Order {
    let mut down = order(
        node,
        vec![change("probe", "2.0.0", "1.0.0", "probe_v1", json!({}))],
    );
    // The newer code migrates, and it is the one that runs.
    down.direction = Direction::Down;
    down
}

/// Goes as far as told; none: given up before resume.
fn go(node: &Node, order: Order, phases: u64) -> Option<Probation> {
    let Ok(opened) = node.begin(order) else {
        panic!("nothing else is open")
    };
    if phases == 0 {
        return None;
    }
    // What changes too fast or fills a mailbox makes an upgrade give up; that is as good as to be told to.
    let (mut prepared, _) = opened.prepare().ok()?;
    if phases == 1 {
        prepared.refresh().ok()?;
        return None;
    }
    let suspended = prepared.suspend().ok()?;
    if phases == 2 {
        return None;
    }
    let loaded = suspended.load().ok()?;
    if phases == 3 {
        return None;
    }
    let migrated = loaded.migrate().ok()?;
    if phases == 4 {
        return None;
    }
    migrated.resume().ok().map(|(probation, _)| probation)
}

fn upgrades(node: &Node, random: &mut Random, over: &AtomicBool, done: &AtomicU64) {
    while !over.load(Ordering::Relaxed) {
        let newer = node.modules().iter().any(|m| m.vsn == vsn("2.0.0"));
        let order = if newer { to_v1(node) } else { to_v2(node) };
        let to = order.modules[0].to.clone();
        let from = order.modules[0].from.clone();
        let phases = random.below(10);
        let runs = |expected| {
            let modules = node.modules();
            let probe = modules.iter().find(|m| m.name == name("probe")).unwrap();
            assert_eq!((&probe.vsn, probe.actors_on_old), (expected, 0));
        };
        let Some(mut probation) = go(node, order, phases) else {
            runs(&from);
            continue;
        };
        runs(&to);
        for _ in 0..random.below(50) {
            answered(node, &target(random.below(TARGETS)), json!({"op": "echo"}));
        }
        let confirm = random.below(2) == 0;
        if confirm {
            probation.confirm();
        }
        if confirm && random.below(2) == 0 {
            probation.finish().map_err(|e| e.1).unwrap();
            runs(&to);
        } else {
            let report = probation
                .rollback(BUDGET, OnDownFailure::Hold)
                .map_err(|e| e.1)
                .unwrap();
            assert_eq!(report.held, []);
            runs(&from);
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

fn storm(seed: u64, limits: Limits) {
    println!(
        "STORM_SEED={seed} batch={} workers={}",
        limits.batch, limits.workers
    );
    let node = &boot_with(
        limits,
        &[
            part("probe", "probe_v1", TARGETS as u32),
            part("sender", "probe_v1", SENDERS as u32),
        ],
    );
    let (over, done) = (&AtomicBool::new(false), &AtomicU64::new(0));
    let sent = std::thread::scope(|scope| {
        let all: Vec<u64> = (0..SENDERS).collect();
        let halves: Vec<_> = all.chunks(2).map(<[u64]>::to_vec).collect();
        let first = halves[0].clone();
        let second = halves[1].clone();
        let first = scope.spawn(move || traffic(node, &mut Random::new(seed, 1), &first));
        let second = scope.spawn(move || traffic(node, &mut Random::new(seed, 2), &second));
        let others = [
            scope.spawn(move || victims(node, &mut Random::new(seed, 3), 3, over)),
            scope.spawn(move || callers(node, &mut Random::new(seed, 4), over)),
            scope.spawn(move || callers(node, &mut Random::new(seed, 5), over)),
            scope.spawn(move || upgrades(node, &mut Random::new(seed, 6), over, done)),
        ];
        let sent = first.join().and_then(|a| second.join().map(|b| (a, b)));
        let end = Instant::now() + Duration::from_secs(5);
        while done.load(Ordering::Relaxed) < 5
            && Instant::now() < end
            && others.iter().all(|t| !t.is_finished())
        {
            std::thread::yield_now();
        }
        over.store(true, Ordering::Relaxed);
        let (a, b) = sent.unwrap();
        a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<_>>()
    });
    for (n, &sent) in sent.iter().enumerate() {
        let who = target(n as u64);
        let arrived = || ask(node, &who, json!({"op": "get"}))["core"]["noted"].clone();
        until(&format!("{who} got {sent}: {}", arrived()), || {
            arrived() == sent
        });
        let core = &ask(node, &who, json!({"op": "get"}))["core"];
        assert_eq!(core["out_of_order"], 0, "{who}: {}", core["last"]);
        until("nobody is stuck", || {
            let status = node.status(&actor(&who), SOON).unwrap();
            (status.status, status.mailbox) == ("waiting", 0)
        });
    }
    until("all victims are gone, and nobody else", || {
        for n in 1..=VICTIMS {
            let name = format!("victim.3.{n}");
            quietly(node, &format!("{name}.child"), json!({"op": "trap"}));
            quietly(node, &name, json!({"op": "stop", "reason": "over"}));
        }
        node.actor_count() == TARGETS + SENDERS
    });
    let actors: u64 = node.modules().iter().map(|m| m.actors).sum();
    assert_eq!(actors, TARGETS + SENDERS);
    assert!(node.drain(SOON), "it drains in time");
}

fn calm() -> Limits {
    Limits {
        hermetic: false,
        handler_ms: 2_000,
        ..Limits::default()
    }
}

#[test]
fn a_storm_of_single_events() {
    for seed in seeds() {
        storm(seed, Limits { batch: 1, ..calm() });
    }
}

#[test]
fn a_storm_of_batches() {
    for seed in seeds() {
        storm(
            seed,
            Limits {
                batch: 64,
                ..calm()
            },
        );
    }
}

#[test]
fn a_storm_on_more_workers_than_cores() {
    for seed in seeds() {
        storm(
            seed,
            Limits {
                workers: 6,
                batch: 7,
                ..calm()
            },
        );
    }
}

/// Version 2 of this counter traps on whatever it gets: every event of its probation is handled by version 1 in the end.
#[test]
fn events_that_park_are_handled_once_each_by_the_old_code() {
    for seed in seeds() {
        println!("STORM_SEED={seed}");
        let node = &boot_with(calm(), &[part("counter", "counter_v1", 4)]);
        let over = &AtomicBool::new(false);
        let sent = std::thread::scope(|scope| {
            let casts = scope.spawn(move || {
                let mut random = Random::new(seed, 7);
                let mut sent = [0_u64; 4];
                for _ in 0..4_000 {
                    let n = random.below(4) as usize;
                    node.cast(&actor(&format!("counter.{}", n + 1)), vec![0])
                        .unwrap();
                    sent[n] += 1;
                    if random.below(64) == 0 {
                        std::thread::park_timeout(Duration::from_micros(500));
                    }
                }
                sent
            });
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let order = order(
                        node,
                        vec![change(
                            "counter",
                            "1.0.0",
                            "2.0.0",
                            "counter_bad_first",
                            json!({}),
                        )],
                    );
                    let Ok(probation) = upgrade(node, order) else {
                        continue;
                    };
                    let report = probation
                        .rollback(BUDGET, OnDownFailure::Hold)
                        .map_err(|e| e.1)
                        .unwrap();
                    assert_eq!(report.held, []);
                }
            });
            let sent = casts.join();
            over.store(true, Ordering::Relaxed);
            sent.unwrap()
        });
        for (n, &sent) in sent.iter().enumerate() {
            let who = actor(&format!("counter.{}", n + 1));
            until(&format!("counter.{} counts {sent}", n + 1), || {
                node.get_state(&who, SOON).unwrap() == sent.to_string()
            });
        }
        assert_eq!(node.dead_letters(), 0);
        assert!(node.drain(SOON));
    }
}
