//! Several patches as one upgrade: which ones lead from what runs to what is wanted, and that the one plan of all of them ends
//! where they end one after the other (Beyond 15).
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use midflight_patch::instructions::{Appup, AppupInstruction};
use midflight_patch::plan::{Direction, Instruction, Policy, path};
use midflight_patch::{Manifest, ModuleName, Plan, Release, Update};
use proptest::prelude::*;
use serde_json::json;
use support::manifests::{application, manifest, module, pattern, vsn};

const MODULES: [&str; 4] = ["a", "b", "c", "d"];

fn release() -> Release {
    let modules = MODULES.map(|name| module(name, None, "1")).into();
    Release::from_manifest(&manifest(None, "1", modules)).unwrap()
}

fn step(from: &str, to: &str) -> Manifest {
    let mut patch = manifest(Some(from), to, vec![module("a", Some(from), to)]);
    patch.modules[0].extra = json!({"to": to});
    patch
}

fn ends(patches: &[&Manifest], to: &str) -> Vec<String> {
    let chain = path(&release(), patches, &vsn(to)).unwrap();
    chain.iter().map(|n| patches[*n].to.to_string()).collect()
}

#[test]
fn the_shortest_chain_is_found_and_is_the_same_in_any_order() {
    let (ab, bc, cd, bd) = (
        step("1", "2"),
        step("2", "3"),
        step("3", "4"),
        step("2", "4"),
    );
    assert_eq!(ends(&[&cd, &bc, &ab], "4"), ["2", "3", "4"]);
    assert_eq!(ends(&[&cd, &bc, &ab, &bd], "4"), ["2", "4"]);
    assert_eq!(ends(&[&ab], "1"), [""; 0]);
    let direct = step("1", "4");
    assert_eq!(ends(&[&ab, &bd, &direct], "4"), ["4"]);
    // Two of one length: the digests decide, and not the order at hand.
    let (other, more) = (step("1", "2b"), step("2b", "4"));
    let one = ends(&[&ab, &bd, &other, &more], "4");
    assert_eq!(ends(&[&more, &other, &bd, &ab], "4"), one);
}

#[test]
fn a_chain_that_is_missing_says_what_is_there() {
    let refused = |patches: &[&Manifest], to: &str, words: &str| {
        let error = path(&release(), patches, &vsn(to)).unwrap_err();
        assert_eq!(error.code(), "MF0263");
        assert!(error.to_string().contains(words), "{error}");
    };
    let (one, two) = (step("1", "2"), step("3", "4"));
    refused(
        &[&one, &two],
        "4",
        "they reach 2, and 4 is reached from 3 only",
    );
    refused(&[&one], "4", "they reach 2, and none leads to 4");
    refused(&[], "4", "they reach nothing");
    let mut other = step("2", "3");
    other.modules[0].from = Some(pattern("7"));
    refused(
        &[&one, &other],
        "3",
        "the patch from 2 to 3 does not fit: the patch of demo changes module a from 7, but 2 runs",
    );
    // There is no way through up and down.
    let mut down = step("2", "1.5");
    down.direction = Direction::Down;
    refused(&[&one, &down], "1.5", "demo 1 to 1.5");
}

/// Beyond 15: every module converts hop by hop, and is loaded once.
#[test]
fn several_patches_are_one_plan_with_hops() {
    let (first, mut second) = (step("1", "2"), step("2", "3"));
    second.modules.push(module("b", Some("1"), "3"));
    second.modules[1].update = Update::Soft;
    let third = step("3", "4");
    let up = Plan::chain(&[&first, &second, &third], &release()).unwrap();
    insta::assert_snapshot!(up, @r#"
    plan demo 1 -> 4, up
      a: 1 -> 2 (advanced) -> 3 (advanced) -> 4 (advanced)
      b: 1 -> 3 (soft)
       1  load_object_code a b
       2  point_of_no_return
       3  suspend a b
       4  load a
       5  load b
       6  code_change up a({"to":"2"}) a({"to":"3"}) a({"to":"4"})
       7  resume b a
    "#);
    let a = up.module("a").unwrap();
    let hops: Vec<_> = a.hops.iter().map(|hop| hop.vsn.as_str()).collect();
    assert_eq!(hops, ["2", "3", "4"]);
    let down = Plan::chain_back(&[&first, &second, &third], &release()).unwrap();
    insta::assert_snapshot!(down, @r#"
    plan demo 4 -> 1, down
      a: 4 -> 3 (advanced) -> 2 (advanced) -> 1 (advanced)
      b: 3 -> 1 (soft)
       1  load_object_code a b
       2  point_of_no_return
       3  suspend a b
       4  code_change down a({"to":"4"}) a({"to":"3"}) a({"to":"2"})
       5  load a
       6  load b
       7  resume b a
    "#);
}

#[test]
fn what_needs_a_release_on_the_way_to_run_is_not_one_upgrade() {
    let (mut first, second) = (step("1", "2"), step("2", "3"));
    let refused = |first: &Manifest, second: &Manifest, words: &str| {
        let error = Plan::chain(&[first, second], &release()).unwrap_err();
        assert_eq!(error.code(), "MF0264", "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let instructions = |list: serde_json::Value| {
        let up: Vec<AppupInstruction> = serde_json::from_value(list).unwrap();
        vec![Appup {
            application: "demo".to_owned(),
            up: Some(up),
            down: None,
        }]
    };
    first.instructions = instructions(
        json!([{"update": {"module": "a"}}, {"apply": {"module": "a", "function": "go"}}]),
    );
    refused(
        &first,
        &second,
        "applies go of module a while a release runs that is passed over",
    );
    first.instructions = instructions(
        json!([{"update": {"module": "a", "draining": {"deadline_ms": 1, "then": "update"}}}]),
    );
    refused(&first, &second, "module a drains");
    let mut gone = manifest(Some("1"), "2", Vec::new());
    gone.instructions = instructions(json!([{"delete_module": {"module": "a"}}]));
    let mut again = manifest(Some("2"), "3", vec![module("a", None, "3")]);
    again.instructions = instructions(json!([{"add_module": {"module": "a"}}]));
    refused(&gone, &again, "release 2 has no module a");
    let mut down = step("2", "3");
    down.direction = Direction::Down;
    refused(&step("1", "2"), &down, "some lead up and some down");
}

/// What a patch does with one module.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Do {
    Nothing,
    Soft,
    Advanced,
    Load,
    /// Deletes it when it is there, adds it when it is not.
    Flip,
}

fn doing() -> impl Strategy<Value = Do> {
    prop_oneof![
        3 => Just(Do::Nothing),
        2 => Just(Do::Soft),
        3 => Just(Do::Advanced),
        2 => Just(Do::Load),
        1 => Just(Do::Flip),
    ]
}

/// A chain of patches that each fit what the ones before made, with random dependencies.
fn patches(wanted: &[(Vec<Do>, Vec<usize>)]) -> Vec<Manifest> {
    let mut running = release();
    let mut patches = Vec::new();
    for (index, (doings, depends)) in wanted.iter().enumerate() {
        let (from, to) = (running.vsn.to_string(), (index + 2).to_string());
        let (mut entries, mut list) = (Vec::new(), Vec::new());
        let touched: Vec<bool> = doings
            .iter()
            .zip(MODULES)
            .map(|(doing, name)| {
                *doing != Do::Nothing && (*doing == Do::Flip || running.modules.contains_key(name))
            })
            .collect();
        for (n, (doing, name)) in doings.iter().zip(MODULES).enumerate() {
            let old = running.modules.get(name).map(|m| m.vsn.to_string());
            let mut entry = module(name, old.as_deref(), &to);
            // Updates may depend on anything that is touched; what comes or goes on nothing, so that there is no bad cycle.
            let on = depends[n];
            let depends = match on != n && touched[on] && doings[on] != Do::Flip {
                true => vec![MODULES[on]],
                false => Vec::new(),
            };
            let instruction = match (doing, old) {
                (Do::Nothing, _) | (Do::Soft | Do::Advanced | Do::Load, None) => continue,
                (Do::Flip, Some(_)) => {
                    list.push(json!({"delete_module": {"module": name}}));
                    continue;
                }
                (Do::Flip, None) => json!({"add_module": {"module": name}}),
                (Do::Load, Some(_)) => json!({"load_module": {"module": name, "depends": depends}}),
                (Do::Soft | Do::Advanced, Some(_)) => {
                    json!({"update": {"module": name, "depends": depends}})
                }
            };
            entry.update = match doing {
                Do::Advanced => Update::Advanced,
                _ => Update::Soft,
            };
            list.push(instruction);
            entries.push(entry);
        }
        let mut patch = manifest(Some(&from), &to, entries);
        patch.instructions = vec![Appup {
            application: "demo".to_owned(),
            up: Some(serde_json::from_value(json!(list)).unwrap()),
            down: None,
        }];
        running = running.apply(&patch).unwrap();
        patches.push(patch);
    }
    patches
}

/// Runs the steps of a plan on a release, and checks on the way what a node relies on.
fn run(plan: &Plan, from: &Release) -> Release {
    let mut after = from.clone();
    let (mut fetched, mut suspended, mut over) = (BTreeSet::new(), BTreeSet::new(), false);
    let mut conversions: BTreeMap<&ModuleName, usize> = BTreeMap::new();
    for step in &plan.steps {
        match step {
            Instruction::LoadObjectCode { modules } => fetched.extend(modules.clone()),
            Instruction::PointOfNoReturn => assert!(!std::mem::replace(&mut over, true)),
            Instruction::Suspend { modules, .. } => {
                assert!(
                    modules
                        .iter()
                        .all(|module| suspended.insert(module.clone()))
                );
            }
            Instruction::Resume { modules } => {
                assert!(modules.iter().all(|module| suspended.remove(module)));
            }
            Instruction::Load { module, .. } => {
                let plan = plan.module(module.as_str()).unwrap();
                assert!(over && fetched.contains(module));
                assert_eq!(
                    after.modules.get(module).map(|m| &m.vsn),
                    plan.from.as_ref()
                );
                assert!(
                    plan.from.is_none()
                        || suspended.contains(module) == (plan.policy == Policy::Update)
                );
                let hop = plan.hops.last().unwrap();
                let size = from.modules.get(module).map_or(100, |m| m.size);
                after.modules.insert(
                    module.clone(),
                    midflight_patch::ReleaseModule {
                        vsn: hop.vsn.clone(),
                        blob: hop.blob,
                        size,
                        config: hop.config.clone(),
                    },
                );
            }
            Instruction::Remove { module, .. } => assert!(after.modules.remove(module).is_some()),
            Instruction::CodeChange { modules, .. } => {
                for change in modules {
                    assert!(suspended.contains(&change.name));
                    *conversions.entry(&change.name).or_default() += 1;
                }
            }
            Instruction::Purge { .. } => {}
            other => panic!("{other}"),
        }
    }
    assert!(over && suspended.is_empty());
    for module in &plan.modules {
        let advanced = module
            .hops
            .iter()
            .filter(|hop| hop.update == Update::Advanced)
            .count();
        assert_eq!(
            conversions.get(&module.name).copied().unwrap_or_default(),
            advanced
        );
    }
    after.vsn = plan.to.clone();
    after
}

proptest! {
    /// Beyond 15: the one plan of a chain ends where its patches end one after the other, and its way back where they began.
    #[test]
    fn a_chain_as_one_upgrade_ends_where_its_patches_end_one_by_one(
        wanted in prop::collection::vec((prop::collection::vec(doing(), 4), prop::collection::vec(0usize..4, 4)), 1..6),
        order in any::<prop::sample::Index>(),
    ) {
        let patches = patches(&wanted);
        let before = release();
        let after = patches.iter().fold(before.clone(), |release, patch| release.apply(patch).unwrap());

        // The patches at hand in another order are found to be the chain again, unless a shorter one does the same.
        let mut hand: Vec<&Manifest> = patches.iter().collect();
        hand.rotate_left(order.index(patches.len()));
        let found = path(&before, &hand, &after.vsn).unwrap();
        prop_assert_eq!(found.len(), patches.len());
        let chain: Vec<&Manifest> = found.iter().map(|n| hand[*n]).collect();

        match Plan::chain(&chain, &before) {
            Ok(plan) => {
                prop_assert_eq!(run(&plan, &before), after.clone());
                let back = Plan::chain_back(&chain, &before).unwrap();
                prop_assert_eq!(run(&back, &after), before);
            }
            // A module whose actors would not live through it.
            Err(error) => {
                prop_assert_eq!(error.code(), "MF0264");
                let lost = |module: &str| {
                    let mut release = before.clone();
                    let stays = before.modules.contains_key(module) && after.modules.contains_key(module);
                    stays && patches.iter().any(|patch| {
                        release = release.apply(patch).unwrap();
                        !release.modules.contains_key(module)
                    })
                };
                prop_assert!(MODULES.iter().any(|module| lost(module)), "{}", error);
            }
        }
    }
}

#[test]
fn applications_that_come_and_go_on_the_way_are_told_once() {
    let with = |from: &str, to: &str, instruction: &str| {
        let mut patch = step(from, to);
        let list = json!([{"update": {"module": "a"}}, instruction]);
        patch.instructions = vec![Appup {
            application: "shop".to_owned(),
            up: Some(serde_json::from_value(list).unwrap()),
            down: None,
        }];
        if instruction != "remove_application" {
            patch.applications = vec![application("shop", &["b"], &[])];
            patch.applications[0].vsn = vsn(to);
        }
        patch
    };
    let (add, update, remove) = (
        with("1", "2", "add_application"),
        with("2", "3", "update_supervisor"),
        with("3", "4", "remove_application"),
    );
    let text = |patches: &[&Manifest]| {
        let plan = Plan::chain(patches, &release()).unwrap();
        plan.steps
            .iter()
            .map(ToString::to_string)
            .filter(|step| step.contains("shop"))
            .collect::<Vec<_>>()
    };
    assert_eq!(text(&[&add, &update]), ["start application shop"]);
    assert_eq!(text(&[&add, &update, &remove]), [""; 0]);
}
