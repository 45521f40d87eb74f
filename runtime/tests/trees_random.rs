//! Random trees and random ends of actors, against a small model of OTP's supervisor.erl: after each end the same actors
//! live, and the same ones were started again.
#![allow(clippy::unwrap_used)]

mod common;
mod trees;
use std::collections::BTreeMap;

use common::*;
use midflight_runtime::ApplicationState;
use proptest::prelude::*;
use trees::*;

#[derive(Debug, Clone)]
enum Child {
    Worker { count: usize, restart: &'static str },
    Sup(Sup),
}

#[derive(Debug, Clone)]
struct Sup {
    strategy: &'static str,
    intensity: usize,
    restart: &'static str,
    children: Vec<Child>,
}

/// A supervisor of the model while it runs.
struct Live {
    name: String,
    spec: Sup,
    restarts: usize,
    /// None: it was temporary, and is no child any more.
    children: Vec<Option<LiveChild>>,
}

enum LiveChild {
    /// Of each actor: how often it was started, while it lives.
    Workers(Vec<Option<u64>>),
    Sup(Option<Live>),
}

/// Counts starts, so that one who was started again differs from who ran before.
struct Model {
    starts: u64,
}

impl Model {
    fn start(&mut self, name: &str, spec: &Sup) -> Live {
        let mut live = Live {
            name: name.to_owned(),
            spec: spec.clone(),
            restarts: 0,
            children: Vec::new(),
        };
        for at in 0..spec.children.len() {
            let child = self.off(&spec.children[at]);
            live.children.push(Some(child));
            self.start_child(&mut live, at, 0);
        }
        live
    }

    fn off(&self, spec: &Child) -> LiveChild {
        match spec {
            Child::Worker { count, .. } => LiveChild::Workers(vec![None; *count]),
            Child::Sup(_) => LiveChild::Sup(None),
        }
    }

    fn start_child(&mut self, sup: &mut Live, at: usize, from: usize) {
        let below = format!("{}-{at}", sup.name);
        let spec = sup.spec.children[at].clone();
        match (&mut sup.children[at], &spec) {
            (Some(LiveChild::Workers(all)), _) => {
                for one in &mut all[from..] {
                    if one.is_none() {
                        self.starts += 1;
                        *one = Some(self.starts);
                    }
                }
            }
            (Some(LiveChild::Sup(live)), Child::Sup(spec)) => {
                *live = Some(self.start(&below, spec))
            }
            _ => {}
        }
    }

    fn stop_child(sup: &mut Live, at: usize, from: usize) {
        match &mut sup.children[at] {
            Some(LiveChild::Workers(all)) => all[from..].fill(None),
            Some(LiveChild::Sup(live)) => *live = None,
            None => {}
        }
        if restart_of(&sup.spec.children[at]) == "temporary" {
            sup.children[at] = None;
        }
    }

    /// supervisor:restart/2. True: it gives up.
    fn restart(&mut self, sup: &mut Live, at: usize, index: usize) -> bool {
        sup.restarts += 1;
        if sup.restarts > sup.spec.intensity {
            return true;
        }
        let first = match sup.spec.strategy {
            "one_for_one" => {
                if let Some(LiveChild::Workers(all)) = &mut sup.children[at] {
                    self.starts += 1;
                    all[index] = Some(self.starts);
                } else {
                    self.start_child(sup, at, 0);
                }
                return false;
            }
            "one_for_all" => (0, 0),
            _ => (at, index),
        };
        let from = |child: usize| if child == first.0 { first.1 } else { 0 };
        for child in (first.0..sup.children.len()).rev() {
            Self::stop_child(sup, child, from(child));
        }
        for child in first.0..sup.children.len() {
            self.start_child(sup, child, from(child));
        }
        false
    }

    /// An actor ends. True: the supervisor gives up.
    fn end(&mut self, sup: &mut Live, path: &[usize], index: usize, normal: bool) -> bool {
        let at = path[0];
        let mut normal = normal;
        if let [_, rest @ ..] = path
            && !rest.is_empty()
        {
            let mut below = match &mut sup.children[at] {
                Some(LiveChild::Sup(live)) => live.take().unwrap(),
                _ => unreachable!(),
            };
            if !self.end(&mut below, rest, index, normal) {
                sup.children[at] = Some(LiveChild::Sup(Some(below)));
                return false;
            }
            // It ended with `shutdown`.
            normal = true;
        } else if let Some(LiveChild::Workers(all)) = &mut sup.children[at] {
            all[index] = None;
        }
        match restart_of(&sup.spec.children[at]) {
            "permanent" => self.restart(sup, at, index),
            "transient" if !normal => self.restart(sup, at, index),
            "temporary" => {
                let off = match &sup.children[at] {
                    Some(LiveChild::Workers(all)) => all.iter().all(Option::is_none),
                    _ => true,
                };
                if off {
                    sup.children[at] = None;
                }
                false
            }
            _ => false,
        }
    }

    /// Who lives: name, where it is, and its start.
    fn living(sup: &Live, path: &[usize], all: &mut BTreeMap<String, (Vec<usize>, usize, u64)>) {
        for (at, child) in sup.children.iter().enumerate() {
            let here: Vec<usize> = path.iter().copied().chain([at]).collect();
            match child {
                Some(LiveChild::Workers(actors)) => {
                    for (index, start) in actors.iter().enumerate() {
                        let Some(start) = start else { continue };
                        let name = match actors.len() {
                            1 => format!("{}-{at}", sup.name),
                            _ => format!("{}-{at}.{}", sup.name, index + 1),
                        };
                        all.insert(name, (here.clone(), index, *start));
                    }
                }
                Some(LiveChild::Sup(Some(below))) => Self::living(below, &here, all),
                _ => {}
            }
        }
    }
}

fn restart_of(child: &Child) -> &'static str {
    match child {
        Child::Worker { restart, .. } => restart,
        Child::Sup(sup) => sup.restart,
    }
}

fn spec(name: &str, sup: &Sup) -> Value {
    let child = |(at, child): (usize, &Child)| {
        let below = format!("{name}-{at}");
        match child {
            Child::Worker { count, restart } => worker(
                &below,
                json!({"count": count, "restart": restart}),
                json!([]),
            ),
            Child::Sup(sup) => json!({ "supervisor": spec(&below, sup) }),
        }
    };
    let children: Vec<Value> = sup.children.iter().enumerate().map(child).collect();
    json!({"name": name, "strategy": sup.strategy, "intensity": sup.intensity, "period": 86_400, "restart": sup.restart,
        "children": children})
}

fn sup(depth: u32) -> BoxedStrategy<Sup> {
    let restart = || prop::sample::select(vec!["permanent", "permanent", "transient", "temporary"]);
    let actors =
        (1..=3_usize, restart()).prop_map(|(count, restart)| Child::Worker { count, restart });
    let child = match depth {
        0 => actors.boxed(),
        _ => prop_oneof![3 => actors, 2 => sup(depth - 1).prop_map(Child::Sup)].boxed(),
    };
    let strategy = prop::sample::select(vec!["one_for_one", "one_for_all", "rest_for_one"]);
    (
        strategy,
        0..=3_usize,
        restart(),
        prop::collection::vec(child, 1..=4),
    )
        .prop_map(|(strategy, intensity, restart, children)| Sup {
            strategy,
            intensity,
            restart,
            children,
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]
    #[test]
    fn after_any_ends_of_actors_the_same_ones_live_as_in_otp(
        tree in sup(2),
        ends in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..12),
    ) {
        let limits = midflight_runtime::Limits { hermetic: false, ..limits() };
        let (node, booted) = try_boot_trees(limits, vec![application("app", &[], spec("t", &tree))]);
        booted.unwrap();
        let mut model = Model { starts: 0 };
        let mut live = Some(model.start("t", &tree));
        let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
        for step in 0..=ends.len() {
            let mut expected = BTreeMap::new();
            if let Some(live) = &live {
                Model::living(live, &[], &mut expected);
            }
            let agrees = |seen: &mut BTreeMap<u64, u64>| {
                let actors = living(&node, "t");
                // The same start has the same pid, and another start another.
                actors.len() == expected.len() && expected.iter().all(|(name, (_, _, start))| {
                    actors.get(name).is_some_and(|pid| match seen.get(start) {
                        Some(before) => before == pid,
                        None => node.whereis(name) == Some(*pid) && !seen.values().any(|other| other == pid),
                    })
                })
            };
            let what = format!("step {step}: {:?}, have {:?}", expected, living(&node, "t"));
            until(&what, || agrees(&mut seen));
            for (name, pid) in living(&node, "t") {
                seen.insert(expected[&name].2, pid);
            }
            let state = if live.is_some() { ApplicationState::Running } else { ApplicationState::Ended };
            prop_assert_eq!(trees::state(&node, "app"), state);
            let Some((pick, normal)) = ends.get(step).filter(|_| !expected.is_empty()) else { break };
            let names: Vec<_> = expected.keys().collect();
            let name = names[pick.index(names.len())];
            let (path, index, _) = &expected[name];
            end(&node, name, if *normal { "normal" } else { "broken" });
            if let Some(mut top) = live.take()
                && !model.end(&mut top, path, *index, *normal) {
                    live = Some(top);
                }
        }
    }
}
