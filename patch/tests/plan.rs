//! From patches to plans: what the instructions of an appup become, in which order, and what is printed of it.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

mod support;

use midflight_patch::instructions::{Appup, AppupInstruction, Relup};
use midflight_patch::plan::{Direction, Instruction, Policy};
use midflight_patch::{Error, Manifest, Plan, Release, Update};
use serde_json::{Value, json};
use support::manifests::{application, manifest, module};

/// Release 1 of the demo: what every plan here starts from.
fn running() -> Release {
    let modules = ["api", "billing", "counter", "greeter", "ledger"];
    let modules = modules.map(|name| module(name, None, "1")).into();
    let mut release = manifest(None, "1", modules);
    release.applications = vec![
        application("shop", &["api", "counter"], &[]),
        application("money", &["billing"], &["shop"]),
    ];
    Release::from_manifest(&release).unwrap()
}

fn appup(up: Value) -> Vec<Appup> {
    let up: Vec<AppupInstruction> = serde_json::from_value(up).unwrap();
    vec![Appup {
        application: "shop".to_owned(),
        up: Some(up),
        down: None,
    }]
}

/// A patch from 1 to 2 of modules that are changed, with instructions.
fn patch(modules: &[&str], up: Value) -> Manifest {
    let modules = modules.iter().map(|name| module(name, Some("1"), "2"));
    let mut patch = manifest(Some("1"), "2", modules.collect());
    patch.instructions = appup(up);
    patch
}

fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

fn at(steps: &[String], step: &str) -> usize {
    let found = steps.iter().position(|s| s == step);
    found.unwrap_or_else(|| panic!("{step} is not in {steps:#?}"))
}

#[test]
fn a_patch_without_instructions_updates_its_modules_all_at_once() {
    let mut modules = vec![
        module("counter", Some("1"), "2"),
        module("ledger", Some("1"), "2"),
    ];
    modules[0].update = Update::Soft;
    let patch = manifest(Some("1"), "2", modules);
    let up = Plan::new(&patch, &running()).unwrap();
    insta::assert_snapshot!(up, @r"
    plan demo 1 -> 2, up
      counter: 1 -> 2 (soft)
      ledger: 1 -> 2 (advanced)
       1  load_object_code counter ledger
       2  point_of_no_return
       3  suspend counter ledger
       4  load counter
       5  load ledger
       6  code_change up ledger
       7  resume ledger counter
    ");
    let down = Plan::back(&patch, &running()).unwrap();
    insta::assert_snapshot!(down, @r"
    plan demo 2 -> 1, down
      counter: 2 -> 1 (soft)
      ledger: 2 -> 1 (advanced)
       1  load_object_code counter ledger
       2  point_of_no_return
       3  suspend counter ledger
       4  code_change down ledger
       5  load counter
       6  load ledger
       7  resume ledger counter
    ");
    assert_eq!(
        down.modules[1].hops[0].blob,
        running().modules["ledger"].blob
    );
    let json = serde_json::to_string(&up).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), up);
}

/// Row 11, the high-level instructions of appup(5), all in one patch, and what they become both ways.
#[test]
fn every_high_level_instruction_of_an_appup_becomes_low_level_ones() {
    let mut patch = patch(
        &["api", "counter", "greeter", "ledger"],
        json!([
            {"apply": {"module": "counter", "function": "ready", "args": [1], "when": "before"}},
            {"update": {"module": "counter", "extra": {"step": 2}, "change": "advanced", "depends": ["ledger"],
                        "pre_purge": "soft", "timeout_ms": 5000}},
            {"update": {"module": "ledger", "change": "soft"}},
            {"load_module": {"module": "greeter", "post_purge": "soft"}},
            {"update": {"module": "api", "draining": {"deadline_ms": 60000, "then": "stop"}}},
            {"add_module": {"module": "audit"}},
            {"delete_module": {"module": "billing"}},
            "update_supervisor",
            {"configure": {"module": "counter"}},
            {"apply": {"module": "audit", "function": "seed", "args": {"rows": 3}}},
        ]),
    );
    patch.modules[1].extra = json!({"step": 2});
    patch.modules[2].update = Update::Soft;
    patch.modules[3].update = Update::Soft;
    patch.modules.insert(1, module("audit", None, "2"));
    patch.applications = vec![application("shop", &["api", "counter"], &[])];
    patch.applications[0].config = json!({"currency": "EUR", "vat": 19});
    patch.instructions.push(Appup {
        application: "money".to_owned(),
        up: Some(vec![AppupInstruction::RemoveApplication]),
        down: None,
    });
    let up = Plan::new(&patch, &running()).unwrap();
    insta::assert_snapshot!(up, @r#"
    plan demo 1 -> 2, up
      api: 1 -> 2 (advanced), draining for 60000 ms, then stop, brutal purge before, soft after
      audit: added at 2
      billing: 1 is deleted
      counter: 1 -> 2 (advanced), soft purge before, brutal after
      greeter: 1 -> 2 (soft), load_module, brutal purge before, soft after
      ledger: 1 -> 2 (soft)
       1  load_object_code ledger counter greeter api audit
       2  apply counter ready [1], a check
       3  point_of_no_return
       4  suspend counter, within 5000 ms
       5  suspend ledger
       6  load ledger
       7  load counter, soft purge before, brutal after
       8  load greeter, brutal purge before, soft after
       9  load api, brutal purge before, soft after
      10  load audit
      11  remove billing
      12  code_change up counter({"step":2})
      13  resume ledger counter
      14  stop application money
      15  update_supervisors shop
      16  configure counter changed {"vat":19} new {"currency":"EUR"} removed region
      17  apply audit seed {"rows":3}
      18  purge billing
    "#);
    assert!(matches!(
        up.module("api").unwrap().policy,
        Policy::Draining { .. }
    ));
    let down = Plan::back(&patch, &running()).unwrap();
    insta::assert_snapshot!(down, @r#"
    plan demo 2 -> 1, down
      api: 2 -> 1 (advanced), draining for 60000 ms, then stop, brutal purge before, soft after
      audit: 2 is deleted
      billing: added at 1
      counter: 2 -> 1 (advanced), soft purge before, brutal after
      greeter: 2 -> 1 (soft), load_module, brutal purge before, soft after
      ledger: 2 -> 1 (soft)
       1  load_object_code counter ledger greeter api billing
       2  point_of_no_return
       3  suspend counter, within 5000 ms
       4  suspend ledger
       5  code_change down counter({"step":2})
       6  load counter, soft purge before, brutal after
       7  load ledger
       8  load greeter, brutal purge before, soft after
       9  load api, brutal purge before, soft after
      10  load billing
      11  remove audit
      12  resume ledger counter
      13  update_supervisors shop
      14  start application money
      15  configure counter changed {"vat":7} new {"region":"eu"} removed currency
      16  purge audit
    "#);
}

/// Row 11, `add_application`, `restart_application`: in the order in which applications depend on one another.
#[test]
fn applications_are_stopped_in_reverse_order_and_started_in_order() {
    let mut patch = manifest(Some("1"), "2", vec![module("audit", None, "2")]);
    let list = |instruction: &str| Some(vec![serde_json::from_value(json!(instruction)).unwrap()]);
    let appup = |application: &str, instruction| Appup {
        application: application.to_owned(),
        up: list(instruction),
        down: None,
    };
    patch.instructions = vec![
        appup("watch", "add_application"),
        appup("money", "restart_application"),
        appup("shop", "restart_application"),
    ];
    patch.applications = vec![application("watch", &["audit"], &["money"])];
    let up = Plan::new(&patch, &running()).unwrap();
    insta::assert_snapshot!(up, @r"
    plan demo 1 -> 2, up
      audit: added at 2
       1  load_object_code audit
       2  point_of_no_return
       3  load audit
       4  stop application money
       5  stop application shop
       6  start application shop
       7  start application money
       8  start application watch
    ");
    let down = Plan::back(&patch, &running()).unwrap();
    insta::assert_snapshot!(down, @r"
    plan demo 2 -> 1, down
      audit: 2 is deleted
       1  point_of_no_return
       2  remove audit
       3  stop application watch
       4  stop application money
       5  stop application shop
       6  start application shop
       7  start application money
       8  purge audit
    ");
}

/// Row 10, `DepMods`: suspended are dependants first, loaded dependencies first going up and last going down, resumed in
/// reverse.
#[test]
fn dependencies_decide_the_order_of_suspend_load_and_resume() {
    let patch = patch(
        &["api", "counter", "ledger"],
        json!([
            {"update": {"module": "api", "depends": ["counter"]}},
            {"update": {"module": "counter", "depends": ["ledger"]}},
            {"update": {"module": "ledger"}},
        ]),
    );
    let up = steps(&Plan::new(&patch, &running()).unwrap());
    at(&up, "suspend api counter ledger");
    assert!(at(&up, "load ledger") < at(&up, "load counter"));
    assert!(at(&up, "load counter") < at(&up, "load api"));
    assert!(at(&up, "load api") < at(&up, "code_change up ledger counter api"));
    at(&up, "resume ledger counter api");
    let down = steps(&Plan::back(&patch, &running()).unwrap());
    at(&down, "suspend api counter ledger");
    assert!(at(&down, "code_change down api counter ledger") < at(&down, "load api"));
    assert!(at(&down, "load api") < at(&down, "load counter"));
    assert!(at(&down, "load counter") < at(&down, "load ledger"));
    at(&down, "resume ledger counter api");
}

/// Row 10: "in case of circular dependencies, the order of the instructions in the appup script is kept".
#[test]
fn modules_that_depend_on_one_another_keep_the_written_order() {
    let list = |first: &str, second: &str| {
        json!([
            {"update": {"module": first, "depends": [second]}},
            {"update": {"module": second, "depends": [first, "api"]}},
            {"update": {"module": "api"}},
        ])
    };
    for (first, second) in [("counter", "ledger"), ("ledger", "counter")] {
        let patch = patch(&["api", "counter", "ledger"], list(first, second));
        let up = steps(&Plan::new(&patch, &running()).unwrap());
        at(&up, &format!("suspend {first} {second} api"));
        at(&up, &format!("load_object_code api {first} {second}"));
        at(&up, &format!("resume api {second} {first}"));
    }
}

/// Row 9: a patch to an older release converts by the code that runs, before that release's is loaded.
#[test]
fn a_downgrade_patch_leads_down() {
    let mut patch = manifest(Some("1"), "0", vec![module("counter", Some("1"), "0")]);
    patch.direction = Direction::Down;
    let plan = Plan::new(&patch, &running()).unwrap();
    let down = steps(&plan);
    assert_eq!(plan.direction, Direction::Down);
    assert!(at(&down, "code_change down counter") < at(&down, "load counter"));
    let back = Plan::back(&patch, &running()).unwrap();
    assert_eq!(back.direction, Direction::Up);
}

/// Row 11, relup(5): steps that were written by hand are run as they are.
#[test]
fn a_relup_is_run_as_it_is_written() {
    let written = json!([
        {"load_object_code": {"modules": ["counter"]}},
        {"sync_nodes": {"id": "fetched"}},
        {"apply": {"module": "counter", "function": "ready", "when": "before"}},
        "point_of_no_return",
        {"suspend": {"modules": ["counter"], "timeout_ms": 100}},
        {"stop": {"what": {"child": {"application": "shop", "child": "counter"}}}},
        {"load": {"module": "counter", "pre_purge": "soft", "post_purge": "soft"}},
        {"code_change": {"modules": [{"name": "counter", "extra": [7]}]}},
        {"start": {"what": {"child": {"application": "shop", "child": "counter"}}}},
        {"resume": {"modules": ["counter"]}},
        {"remove": {"module": "greeter"}},
        {"purge": {"modules": ["greeter"]}},
    ]);
    let written: Vec<Instruction> = serde_json::from_value(written).unwrap();
    let mut patch = manifest(Some("1"), "2", vec![module("counter", Some("1"), "2")]);
    patch.modules[0].extra = json!([7]);
    patch.relup = Some(Relup {
        up: Some(written.clone()),
        down: None,
    });
    let up = Plan::new(&patch, &running()).unwrap();
    assert_eq!(up.steps, written);
    insta::assert_snapshot!(up, @r"
    plan demo 1 -> 2, up
      counter: 1 -> 2 (advanced), soft purge before, soft after
      greeter: 1 is deleted
       1  load_object_code counter
       2  sync_nodes fetched
       3  apply counter ready null, a check
       4  point_of_no_return
       5  suspend counter, within 100 ms
       6  stop child counter of application shop
       7  load counter, soft purge before, soft after
       8  code_change up counter([7])
       9  start child counter of application shop
      10  resume counter
      11  remove greeter
      12  purge greeter
    ");
    let down = Plan::back(&patch, &running()).unwrap();
    insta::assert_snapshot!(down, @r"
    plan demo 2 -> 1, down
      counter: 2 -> 1 (advanced), soft purge before, soft after
      greeter: added at 1
       1  load_object_code counter greeter
       2  point_of_no_return
       3  suspend counter, within 100 ms
       4  code_change down counter([7])
       5  load counter, soft purge before, soft after
       6  load greeter
       7  resume counter
    ");
}

/// Row 19: an upgrade path may name a range of vsns, of the release and of each module.
#[test]
fn a_pattern_of_vsns_fits_what_it_matches() {
    use support::manifests::pattern;
    let mut patch = manifest(Some("1"), "2.0", vec![module("counter", Some("1"), "2.0")]);
    patch.from = Some(pattern("1|1.*"));
    patch.modules[0].from = Some(pattern("1|1.0.*"));
    let mut release = running();
    assert_eq!(Plan::new(&patch, &release).unwrap().from.as_str(), "1");
    let vsn = |text| midflight_patch::Vsn::new(text).unwrap();
    release.vsn = vsn("1.7");
    release.modules.get_mut("counter").unwrap().vsn = vsn("1.0.9");
    let plan = Plan::new(&patch, &release).unwrap();
    assert_eq!(plan.from.as_str(), "1.7");
    assert_eq!(plan.modules[0].from.as_ref().unwrap().as_str(), "1.0.9");
    release.modules.get_mut("counter").unwrap().vsn = vsn("1.1.0");
    assert_eq!(Plan::new(&patch, &release).unwrap_err().code(), "MF0226");
    release.vsn = vsn("2.0");
    assert_eq!(Plan::new(&patch, &release).unwrap_err().code(), "MF0224");
}

#[test]
fn a_patch_that_does_not_fit_the_release_makes_no_plan() {
    let refused = |patch: &Manifest| Plan::new(patch, &running()).unwrap_err();
    let added = |name| {
        let mut patch = manifest(Some("1"), "2", vec![module(name, None, "2")]);
        patch.instructions = appup(json!([{"add_module": {"module": name}}]));
        patch
    };
    let error = refused(&added("counter"));
    assert_eq!(error.code(), "MF0265", "{error}");
    let deleted = |name| {
        let mut patch = manifest(Some("1"), "2", Vec::new());
        patch.instructions = appup(json!([{"delete_module": {"module": name}}]));
        patch
    };
    assert_eq!(refused(&deleted("audit")).code(), "MF0225");
    // Its application's tree still runs it.
    assert!(matches!(refused(&deleted("counter")), Error::Tree { .. }));
    let mut restarted = deleted("greeter");
    restarted.instructions[0].up = Some(vec![AppupInstruction::RestartApplication]);
    Plan::new(&restarted, &running()).unwrap();
    restarted.instructions[0].application = "shops".to_owned();
    let error = refused(&restarted);
    assert_eq!(error.code(), "MF0266", "{error}");
    assert!(error.to_string().contains("application shops"), "{error}");
}
