//! Instructions that are refused when a patch is built, each by its own code and with its place, and how a description says them.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

mod support;

use midflight_patch::instructions::{Appup, AppupInstruction, Relup};
use midflight_patch::plan::Instruction;
use midflight_patch::{Bundle, Error, Manifest, Update};
use serde_json::{Value, json};
use support::manifests::{application, manifest, module, pattern};
use support::{core_module, folder, wit};

/// A patch of `counter` and `ledger`, which brings `audit` when an instruction adds it.
fn patch(up: Value) -> Manifest {
    let added = up.to_string().contains("audit");
    let up: Vec<AppupInstruction> = serde_json::from_value(up).unwrap();
    let mut modules = vec![
        module("counter", Some("1"), "2"),
        module("ledger", Some("1"), "2"),
    ];
    if added {
        modules.insert(0, module("audit", None, "2"));
    }
    let mut patch = manifest(Some("1"), "2", modules);
    patch.instructions = vec![Appup {
        application: "demo".to_owned(),
        up: Some(up),
        down: None,
    }];
    patch
}

/// The same, with its steps written by hand; `counter` alone is changed.
fn relup(up: Value) -> Manifest {
    let up: Vec<Instruction> = serde_json::from_value(up).unwrap();
    let mut patch = manifest(Some("1"), "2", vec![module("counter", Some("1"), "2")]);
    patch.relup = Some(Relup {
        up: Some(up),
        down: None,
    });
    patch
}

fn refused(patch: &Manifest, code: &str, place: &str, words: &str) {
    let error = patch.check().unwrap_err();
    let text = error.to_string();
    assert_eq!(error.code(), code, "{text}");
    assert!(text.starts_with(&format!("manifest {place}: ")), "{text}");
    assert!(text.contains(words), "{text}");
}

fn good() -> Vec<Value> {
    vec![
        json!({"load_object_code": {"modules": ["counter"]}}),
        json!("point_of_no_return"),
        json!({"suspend": {"modules": ["counter"]}}),
        json!({"load": {"module": "counter"}}),
        json!({"code_change": {"modules": [{"name": "counter"}]}}),
        json!({"resume": {"modules": ["counter"]}}),
    ]
}

/// The good steps with one more at a place.
fn with(at: usize, step: Value) -> Manifest {
    let mut steps = good();
    steps.insert(at, step);
    relup(json!(steps))
}

/// The good steps without one.
fn without(at: usize) -> Manifest {
    let mut steps = good();
    steps.remove(at);
    relup(json!(steps))
}

/// Row 12, `point_of_no_return`: before it only fetching and checks, and there is one.
#[test]
fn steps_on_the_wrong_side_of_the_point_of_no_return_are_refused() {
    relup(json!(good())).check().unwrap();
    let mut early = good();
    early.swap(1, 2);
    refused(
        &relup(json!(early)),
        "MF0250",
        "/relup/up/1",
        "`suspend counter` changes the node before",
    );
    for step in [
        json!({"load": {"module": "counter"}}),
        json!({"remove": {"module": "ledger"}}),
        json!({"purge": {"modules": ["counter"]}}),
        json!({"stop": {"what": {"application": "demo"}}}),
        json!({"start": {"what": {"application": "demo"}}}),
        json!({"update_supervisors": {"application": "demo"}}),
        json!({"apply": {"module": "counter", "function": "go", "when": "after"}}),
    ] {
        refused(
            &with(0, step),
            "MF0250",
            "/relup/up/0",
            "before point_of_no_return",
        );
    }
    let check = json!({"apply": {"module": "counter", "function": "ready", "when": "before"}});
    with(1, check.clone()).check().unwrap();
    refused(&with(3, check), "MF0250", "/relup/up/3", "put it before");
    let fetch = json!({"load_object_code": {"modules": ["counter"]}});
    refused(&with(2, fetch), "MF0250", "/relup/up/2", "put it before");
    refused(
        &with(4, json!("point_of_no_return")),
        "MF0251",
        "/relup/up/4",
        "keep the first",
    );
    refused(
        &relup(json!([])),
        "MF0252",
        "/relup/up",
        "has no point_of_no_return",
    );
}

#[test]
fn suspend_and_resume_that_are_not_paired_are_refused() {
    refused(&without(5), "MF0253", "/relup/up", "does not resume it");
    refused(
        &with(3, json!({"suspend": {"modules": ["counter"]}})),
        "MF0253",
        "/relup/up/3",
        "suspended already",
    );
    refused(
        &with(6, json!({"resume": {"modules": ["counter"]}})),
        "MF0253",
        "/relup/up/6",
        "not suspended",
    );
}

#[test]
fn a_code_change_of_actors_that_run_is_refused() {
    let mut steps = good();
    steps.swap(4, 5);
    refused(
        &relup(json!(steps)),
        "MF0254",
        "/relup/up/5",
        "which is not suspended",
    );
}

#[test]
fn a_load_without_load_object_code_is_refused() {
    refused(
        &without(0),
        "MF0255",
        "/relup/up/2",
        "no load_object_code names",
    );
}

#[test]
fn modules_that_are_missing_are_refused() {
    let fetch = json!({"load_object_code": {"modules": ["ghost"]}});
    refused(&with(0, fetch), "MF0256", "/relup/up", "module ghost");
    refused(&without(3), "MF0262", "/relup/up/3", "not loaded");
    let update = |name: &str| json!({"update": {"module": name}});
    refused(
        &patch(json!([update("counter")])),
        "MF0256",
        "/modules/1/name",
        "ledger has no instruction",
    );
    let list = json!([update("counter"), update("ledger"), update("ghost")]);
    refused(
        &patch(list),
        "MF0256",
        "/instructions/0/up/2",
        "not in `modules`",
    );
    let list = json!([update("ledger"), {"update": {"module": "counter", "depends": ["lodger"]}}]);
    refused(
        &patch(list),
        "MF0256",
        "/instructions/0/up/1",
        "depends on lodger",
    );
    let mut deleted = patch(
        json!([update("counter"), update("ledger"), {"delete_module": {"module": "old"}},
                                   {"apply": {"module": "old", "function": "go"}}]),
    );
    refused(
        &deleted,
        "MF0256",
        "/instructions",
        "which this patch deletes",
    );
    deleted.instructions[0].up.as_mut().unwrap().pop();
    deleted.check().unwrap();
}

#[test]
fn applications_that_are_unknown_are_refused() {
    let list = |instruction: Value| json!([{"update": {"module": "counter"}}, {"update": {"module": "ledger"}}, instruction]);
    refused(
        &patch(list(json!("add_application"))),
        "MF0257",
        "/instructions",
        "not in `applications`",
    );
    refused(
        &patch(list(json!("update_supervisor"))),
        "MF0257",
        "/instructions",
        "not in `applications`",
    );
    let configure = json!({"configure": {"module": "counter"}});
    refused(
        &patch(list(configure)),
        "MF0257",
        "/instructions",
        "not in `applications`",
    );
    let mut unnamed = patch(list(json!("restart_application")));
    unnamed.check().unwrap();
    unnamed.applications = vec![application("money", &["ledger"], &[])];
    refused(
        &unnamed,
        "MF0257",
        "/applications/0/name",
        "money has no instruction",
    );
    let mut removed = patch(list(json!("remove_application")));
    removed.check().unwrap();
    removed.applications = vec![application("demo", &["ledger"], &[])];
    refused(&removed, "MF0257", "/instructions", "brings it");
}

/// Row 10: updates may need one another; what is added may not need itself.
#[test]
fn cycles_of_what_is_added_are_refused_and_cycles_of_updates_are_not() {
    let list = |change: &str| {
        json!([
            {change: {"module": "audit", "depends": ["counter"]}},
            {"update": {"module": "counter", "depends": ["ledger"]}},
            {"update": {"module": "ledger", "depends": ["audit"]}},
        ])
    };
    refused(
        &patch(list("add_module")),
        "MF0258",
        "/instructions/0/up/0",
        "audit, counter, ledger depend on one another",
    );
    let mut updates = patch(list("update"));
    updates.modules[0].from = Some(pattern("1"));
    updates.check().unwrap();
}

#[test]
fn what_has_two_instructions_is_refused() {
    let list = json!([{"update": {"module": "counter"}}, {"update": {"module": "ledger"}}, {"add_module": {"module": "counter"}}]);
    refused(
        &patch(list),
        "MF0259",
        "/instructions/0/up/2",
        "has an instruction already",
    );
    let list = json!([{"update": {"module": "counter"}}, {"delete_module": {"module": "ledger"}}]);
    refused(
        &patch(list),
        "MF0259",
        "/instructions/0/up/1",
        "keep one of the two",
    );
    refused(
        &with(4, json!({"load": {"module": "counter"}})),
        "MF0259",
        "/relup/up/4",
        "a second time",
    );
    let list = json!([{"update": {"module": "counter"}}, {"update": {"module": "ledger"}}, "restart_application", "remove_application"]);
    refused(
        &patch(list),
        "MF0259",
        "/instructions",
        "in two instructions",
    );
    let barrier = json!({"sync_nodes": {"id": "a"}});
    let mut steps = good();
    steps.splice(0..0, [barrier.clone(), barrier]);
    refused(&relup(json!(steps)), "MF0259", "/relup/up/1", "used before");
}

#[test]
fn a_restart_of_the_runtime_is_refused_by_name() {
    refused(
        &with(2, json!("restart_runtime")),
        "MF0260",
        "/relup/up/2",
        "restart_runtime is not possible",
    );
    let list = json!([{"update": {"module": "counter"}}, {"update": {"module": "ledger"}}, "restart_runtime"]);
    refused(
        &patch(list),
        "MF0260",
        "/instructions/0/up/2",
        "restart_runtime is not possible",
    );
}

/// Row 19: a range that includes where it leads would apply a patch to its own result.
#[test]
fn a_pattern_that_matches_where_it_leads_is_refused() {
    let mut patch = manifest(Some("1.*"), "2", vec![module("counter", Some("1.*"), "2")]);
    patch.check().unwrap();
    patch.modules[0].from = Some(pattern("1|2*"));
    refused(&patch, "MF0261", "/modules/0/from", "matches too");
    patch.from = Some(pattern("*"));
    refused(&patch, "MF0261", "/from", "matches too");
}

#[test]
fn instructions_that_contradict_the_rest_are_refused() {
    let update = |change: &str| json!([{"update": {"module": "counter", "change": change}}, {"update": {"module": "ledger"}}]);
    patch(update("advanced")).check().unwrap();
    refused(
        &patch(update("soft")),
        "MF0262",
        "/instructions/0/up/0",
        "says something else",
    );
    let list = json!([{"load_module": {"module": "counter"}}, {"update": {"module": "ledger"}}]);
    refused(
        &patch(list),
        "MF0262",
        "/instructions/0/up/0",
        "says something else",
    );
    let list = json!([{"add_module": {"module": "counter"}}, {"update": {"module": "ledger"}}]);
    refused(&patch(list), "MF0262", "/instructions/0/up/0", "has `from`");
    let mut both = relup(json!(good()));
    both.instructions = patch(update("advanced")).instructions;
    refused(&both, "MF0262", "/relup", "beside `instructions`");
    let mut down_only = patch(update("advanced"));
    down_only.instructions[0].down = down_only.instructions[0].up.take();
    refused(&down_only, "MF0262", "/instructions/0", "has no `up`");
    let mut half = patch(update("advanced"));
    half.instructions[0].down = Some(vec![
        serde_json::from_value(json!({"update": {"module": "counter"}})).unwrap(),
    ]);
    refused(
        &half,
        "MF0262",
        "/instructions/0/up/1",
        "the way back does not undo it",
    );
    let down = json!({"code_change": {"direction": "down", "modules": [{"name": "counter"}]}});
    let mut steps = good();
    steps[4] = down;
    refused(
        &relup(json!(steps)),
        "MF0262",
        "/relup/up/4",
        "other direction",
    );
    let mut release = manifest(None, "1", vec![module("counter", None, "1")]);
    release.check().unwrap();
    release.relup = Some(Relup {
        up: Some(Vec::new()),
        down: None,
    });
    assert_eq!(release.check().unwrap_err().code(), "MF0204");
}

const HEAD: &str = "name: demo\nfrom: \"1.*\"\nto: \"2.0\"\nmodules:\n  - {name: counter, file: counter.wasm}\n  \
                    - {name: audit, file: counter.wasm}\n";

fn build(yaml: &str) -> Result<Bundle, Error> {
    let folder = folder(&[
        ("patch.yaml", format!("{HEAD}{yaml}").as_bytes()),
        ("counter.wasm", &core_module(&wit(), 1)),
    ]);
    Bundle::build(&folder.path().join("patch.yaml"))
}

#[test]
fn a_description_says_each_thing_once_and_the_manifest_says_all() {
    let bundle = build(
        "instructions:\n  - application: demo\n    up:\n      - update: {module: counter, change: advanced, extra: {step: 2}}\n      \
         - add_module: {module: audit}\n      - restart_application\n",
    )
    .unwrap();
    let counter = bundle.manifest.module("counter").unwrap();
    assert_eq!(
        (counter.update, &counter.extra),
        (Update::Advanced, &json!({"step": 2}))
    );
    assert_eq!(counter.from, Some(pattern("1.*")));
    assert_eq!(bundle.manifest.module("audit").unwrap().from, None);
    assert_eq!(
        bundle.manifest.instructions[0].up.as_ref().unwrap()[2],
        AppupInstruction::RestartApplication
    );
    assert_eq!(
        Manifest::parse(&bundle.manifest_bytes).unwrap(),
        bundle.manifest
    );

    let bundle = build(
        "relup:\n  up:\n    - load_object_code: {modules: [counter, audit]}\n    - point_of_no_return\n    - load: {module: audit}\n    \
         - suspend: {modules: [counter]}\n    - load: {module: counter}\n    - code_change: {modules: [{name: counter}]}\n    \
         - resume: {modules: [counter]}\n",
    );
    // Nothing but `new` says that the release before has no `audit`: it would be loaded over what runs.
    assert_eq!(
        bundle.unwrap().manifest.module("audit").unwrap().from,
        Some(pattern("1.*"))
    );
}

#[test]
fn a_complaint_about_an_instruction_points_at_its_line() {
    let error = build(
        "instructions:\n  - application: demo\n    up:\n      - update: {module: counter, change: soft}\n      \
         - add_module: {module: audit, depends: [lodger]}\n",
    )
    .unwrap_err();
    assert_eq!(error.code(), "MF0256");
    let text = error.to_string();
    assert!(
        text.contains("patch.yaml:11:9: module audit depends on lodger"),
        "{text}"
    );
    let error = build("relup:\n  up:\n    - load_object_code: {modules: [counter, audit]}\n    - load: {module: counter}\n    - load: {module: audit}\n")
        .unwrap_err();
    assert_eq!(error.code(), "MF0250");
    assert!(
        error
            .to_string()
            .contains("patch.yaml:10:7: `load counter`"),
        "{error}"
    );
    let error = build(
        "instructions:\n  - application: demo\n    up:\n      - upgrade: {module: counter}\n",
    )
    .unwrap_err();
    assert_eq!(error.code(), "MF0203", "{error}");
}
