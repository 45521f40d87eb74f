//! What a supervision tree may look like, and what a patch makes of a release's trees.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

mod support;

use midflight_patch::{Application, Bundle, Child, Error, Manifest, Release, Shutdown, Strategy};
use support::{core_module, folder, wit};

const TREE: &str = "applications:
  - name: base
    supervisor: {name: base_sup, children: [{worker: {name: ledger, module: counter, args: {from: 3}}}]}
  - name: shop
    vsn: \"7\"
    depends: [base]
    modules: [counter]
    config: {currency: EUR}
    supervisor:
      name: shop_sup
      strategy: rest_for_one
      intensity: 4
      period: 60
      spawned: transient
      children:
        - worker: {name: till, module: counter, count: 3, restart: transient, shutdown: brutal_kill}
        - supervisor:
            name: carts
            strategy: simple_one_for_one
            restart: temporary
            children: [{worker: {name: cart, module: counter, shutdown: 250}}]
";

fn try_build(yaml: &str) -> Result<Bundle, Error> {
    let folder = folder(&[
        ("patch.yaml", yaml.as_bytes()),
        ("counter.wasm", &core_module(&wit(), 1)),
    ]);
    Bundle::build(&folder.path().join("patch.yaml"))
}

fn release_of(rest: &str) -> Result<Bundle, Error> {
    try_build(&format!(
        "name: demo\nto: \"1\"\nmodules: [{{name: counter, file: counter.wasm}}]\n{rest}"
    ))
}

fn patch_of(rest: &str) -> Manifest {
    let head = "name: demo\nfrom: \"1\"\nto: \"2\"\nmodules: [{name: counter, file: counter.wasm, update: soft}]";
    try_build(&format!("{head}\n{rest}")).unwrap().manifest
}

#[test]
fn a_tree_is_read_with_the_defaults_of_otp_and_written_in_one_spelling() {
    let bundle = release_of(TREE).unwrap();
    let manifest = Manifest::parse(&bundle.manifest.to_bytes().unwrap()).unwrap();
    let [base, shop] = &manifest.applications[..] else {
        panic!("{manifest:?}")
    };
    assert_eq!(
        (
            base.vsn.as_str(),
            base.supervisor.intensity,
            base.supervisor.period
        ),
        ("1", 1, 5)
    );
    assert_eq!(base.supervisor.strategy, Strategy::OneForOne);
    assert_eq!(
        (base.modules.len(), shop.modules[0].as_str()),
        (0, "counter")
    );
    let [Child::Worker(till), Child::Supervisor(carts)] = &shop.supervisor.children[..] else {
        panic!("{shop:?}")
    };
    assert_eq!((till.count, till.shutdown), (3, Shutdown::BrutalKill));
    assert_eq!(carts.strategy, Strategy::SimpleOneForOne);
    let text = bundle.inspect();
    for line in [
        "application shop 7, after base",
        "  shop_sup: supervisor, rest_for_one, 4 in 60 s, permanent, spawned transient",
        "    till.1 to till.3: counter, transient, brutal_kill, args null",
        "      cart: counter, permanent, 250 ms to end, args null",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn applications_start_after_those_that_they_depend_on() {
    let yaml = TREE.replace("depends: [base]", "depends: [base, last]")
        + "  - {name: last, supervisor: {name: last_sup}}\n";
    let release = Release::from_manifest(&release_of(&yaml).unwrap().manifest).unwrap();
    let names: Vec<_> = release.start_order().into_iter().map(|a| a.name).collect();
    assert_eq!(names, ["base", "last", "shop"]);
}

#[test]
fn a_list_of_actors_is_the_short_form_of_an_application() {
    let release = release_of("start: [{name: a, module: counter, count: 2}]\n").unwrap();
    let release = Release::from_manifest(&release.manifest).unwrap();
    let [short] = &release.start_order()[..] else {
        panic!()
    };
    assert!(release.is_short("demo"));
    assert_eq!(
        (short.name.as_str(), short.supervisor.intensity),
        ("demo", 3)
    );
    assert_eq!(short.supervisor.workers()[0].count, 2);
}

#[test]
fn what_no_node_could_start_is_refused_when_the_bundle_is_built() {
    let deep = |levels: usize| {
        let mut inner = "{name: s0}".to_owned();
        for level in 1..levels {
            inner = format!("{{name: s{level}, children: [{{supervisor: {inner}}}]}}");
        }
        inner
    };
    let tree =
        |supervisor: &str| format!("applications: [{{name: one, supervisor: {supervisor}}}]\n");
    let worker = |name: &str| format!("{{worker: {{name: {name}, module: counter}}}}");
    let (a, b) = (worker("a"), worker("b"));
    for (yaml, code, words) in [
        (tree("{name: s, children: [{worker: {name: a, module: other}}]}"), "MF0240", "other is not a module"),
        (
            "applications: [{name: one, modules: [counter], supervisor: {name: s}}, {name: two, modules: [counter], supervisor: {name: t}}]\n".into(),
            "MF0240",
            "belongs to application one already",
        ),
        (tree(&format!("{{name: s, children: [{a}, {a}]}}")), "MF0241", "a comes twice"),
        (tree(&format!("{{name: a, children: [{a}]}}")), "MF0241", "a comes twice"),
        (
            tree("{name: s, children: [{worker: {name: a, module: counter, count: 3}}, {worker: {name: a.2, module: counter}}]}"),
            "MF0241",
            "one of the 3 actors",
        ),
        (
            tree("{name: s, children: [{worker: {name: a.2, module: counter}}, {worker: {name: a, module: counter, count: 3}}]}"),
            "MF0241",
            "a.2",
        ),
        (
            "start: [{name: a, module: counter}]\napplications: [{name: demo, supervisor: {name: s}}]\n".into(),
            "MF0241",
            "`start`",
        ),
        (
            format!("start: [{{name: a, module: counter}}]\n{}", tree(&format!("{{name: s, children: [{a}]}}"))),
            "MF0241",
            "a comes twice",
        ),
        (tree(&format!("{{name: s, strategy: simple_one_for_one, children: [{a}, {b}]}}")), "MF0242", "one child"),
        (tree("{name: s, strategy: simple_one_for_one}"), "MF0242", "one child"),
        (tree("{name: s, stop_removed: true}"), "MF0242", "a release has no children"),
        (
            "applications: [{name: one, depends: [two], supervisor: {name: s}}, {name: two, depends: [one], supervisor: {name: t}}]\n".into(),
            "MF0243",
            "one, two depend on each other in a cycle",
        ),
        ("applications: [{name: one, depends: [none], supervisor: {name: s}}]\n".into(), "MF0243", "none is not an application"),
        (tree(&deep(9)), "MF0244", "deeper than 8"),
        (tree("{name: s, intensity: 1001}"), "MF0244", "intensity"),
        (tree("{name: s, period: 0}"), "MF0244", "period"),
        (tree("{name: s, children: [{worker: {name: a, module: counter, count: 0}}]}"), "MF0244", "count"),
    ] {
        let error = release_of(&yaml).unwrap_err();
        assert_eq!(error.code(), code, "{yaml}: {error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.to_string().contains("patch.yaml:"), "with file and line: {error}");
    }
    release_of(&tree(&deep(8))).unwrap();
    let error = release_of(&tree(
        "{name: s, children: [{worker: {name: a, module: counter, shutdown: 600001}}]}",
    ));
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("shutdown is brutal_kill or milliseconds")
    );
}

#[test]
fn a_patch_brings_the_whole_tree_of_an_application() {
    let running = Release::from_manifest(&release_of(TREE).unwrap().manifest).unwrap();
    let patch = patch_of(
        "applications: [{name: base, supervisor: {name: base_sup, stop_removed: true, children: [{worker: {name: journal, module: counter}}]}}]\n",
    );
    let after = running.apply(&patch).unwrap();
    let names: Vec<_> = after
        .applications
        .iter()
        .map(|a: &Application| &*a.name)
        .collect();
    assert_eq!(names, ["base", "shop"]);
    let base = &after.applications[0].supervisor;
    assert_eq!(base.children[0].name(), "journal");
    assert!(base.stop_removed, "a node goes by the release that results");
    assert_eq!(after.applications[1], running.applications[1]);

    let short = release_of("start: [{name: a, module: counter}]\n").unwrap();
    let short = Release::from_manifest(&short.manifest).unwrap();
    let tree = "applications: [{name: demo, supervisor: {name: demo, children: [{worker: {name: a, module: counter}}]}}]\n";
    let after = short.apply(&patch_of(tree)).unwrap();
    assert_eq!(
        (after.start.len(), after.applications.len()),
        (0, 1),
        "the tree takes the place of the list"
    );
}

#[test]
fn a_patch_whose_tree_does_not_fit_the_rest_of_the_release_is_refused() {
    let running = Release::from_manifest(&release_of(TREE).unwrap().manifest).unwrap();
    for (tree, code) in [
        (
            "{name: new, supervisor: {name: n, children: [{worker: {name: x, module: absent}}]}}",
            "MF0240",
        ),
        (
            "{name: new, supervisor: {name: n, children: [{worker: {name: ledger, module: counter}}]}}",
            "MF0241",
        ),
        (
            "{name: base, depends: [shop], supervisor: {name: base_sup}}",
            "MF0243",
        ),
    ] {
        let error = running
            .apply(&patch_of(&format!("applications: [{tree}]\n")))
            .unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
}
