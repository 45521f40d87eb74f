//! From `patch.yaml` and modules to a bundle: defaults, what is signed, and where a complaint points.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

mod support;

use midflight_patch::{Bundle, Error, Release, Update};
use support::{core_module, folder, patch, release, wit};

const HEAD: &str = "name: demo\nfrom: \"1.0.0\"\nto: \"2.0.0\"\n";

fn build(yaml: &str) -> Result<Bundle, Error> {
    let folder = folder(&[
        ("patch.yaml", yaml.as_bytes()),
        ("counter.wasm", &core_module(&wit(), 1)),
    ]);
    Bundle::build(&folder.path().join("patch.yaml"))
}

/// The place and the problem of a complaint about the description.
fn complaint(yaml: &str) -> (u64, u64, String) {
    match build(yaml).unwrap_err() {
        Error::Spec {
            file,
            line,
            column,
            problem,
        } => {
            assert!(file.ends_with("patch.yaml"), "{file}");
            (line, column, problem)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_patch_gets_its_defaults_and_its_component() {
    let (_folder, bundle) = patch();
    let module = bundle.manifest.module("counter").unwrap();
    assert_eq!(module.vsn.as_str(), "2.0.0");
    assert_eq!(module.from.as_ref().unwrap().as_str(), "1.0.0");
    assert_eq!(module.update, Update::Advanced);
    assert_eq!(module.extra, serde_json::json!({"step": 2}));
    assert!(module.config.is_null());
    assert_eq!(bundle.blobs[&module.blob].len() as u64, module.size);
    assert_eq!(bundle.manifest.listen, None);
    bundle.check_components().unwrap();
}

#[test]
fn building_twice_gives_the_same_bytes() {
    let ((_one, one), (_two, two)) = (release(), release());
    assert_eq!(one.manifest_bytes, two.manifest_bytes);
    assert_eq!(one.to_bytes().unwrap(), two.to_bytes().unwrap());
}

#[test]
fn a_component_is_kept_byte_for_byte() {
    let (_folder, bundle) = patch();
    let component = bundle.blobs.values().next().unwrap();
    let yaml = format!("{HEAD}modules: [{{name: counter, file: c.wasm, update: soft}}]\n");
    let folder = folder(&[("patch.yaml", yaml.as_bytes()), ("c.wasm", component)]);
    let again = Bundle::build(&folder.path().join("patch.yaml")).unwrap();
    assert_eq!(again.blobs, bundle.blobs);
}

#[test]
fn a_release_starts_its_actors_and_a_patch_follows_it() {
    let ((_one, bundle), (_two, patch)) = (release(), patch());
    let names: Vec<_> = bundle
        .manifest
        .start
        .iter()
        .flat_map(|start| start.actor_names().collect::<Vec<_>>())
        .collect();
    assert_eq!(names, ["counter.1", "counter.2", "counter.3", "greeter"]);
    let running = Release::from_manifest(&bundle.manifest).unwrap();
    let after = running.apply(&patch.manifest).unwrap();
    assert_eq!(after.vsn.as_str(), "2.0.0");
    assert_eq!(after.modules["counter"].vsn.as_str(), "2.0.0");
    assert_eq!(after.modules["greeter"], running.modules["greeter"]);
    assert_eq!(after.listen, [7001]);
    assert_ne!(after.digest().unwrap(), running.digest().unwrap());
}

#[test]
fn malformed_yaml_is_refused_with_line_and_column() {
    let (line, column, problem) = complaint("name: demo\nto: [1\nmodules: x\n");
    assert!(line >= 2 && column >= 1, "{line}:{column}: {problem}");
    let (line, _, problem) = complaint("name: demo\nto: \"1\"\nmodules: []\ncolour: red\n");
    assert_eq!(line, 4);
    assert!(problem.contains("colour"), "{problem}");
    for (yaml, words) in [
        ("name: [demo]\nto: \"1\"\nmodules: []\n", "a text is needed"),
        ("name: demo\nto: \"1\"\nmodules: 1\n", "a list is needed"),
        (
            "name: demo\nto: \"1\"\nmodules: []\nlisten: [70000]\n",
            "0 to 65535",
        ),
        ("name: demo\nto: \"1\"\nmodules: [3]\n", "keys with values"),
    ] {
        let (_, _, problem) = complaint(yaml);
        assert!(problem.contains(words), "{problem}");
    }
    let (line, _, problem) = complaint("name: demo\nname: demo\nto: \"1\"\nmodules: []\n");
    assert_eq!(line, 2);
    assert!(
        problem.contains("name") && !problem.contains("line"),
        "{problem}"
    );
}

#[test]
fn a_complaint_about_the_meaning_points_at_the_line_that_it_is_about() {
    let module = "{name: counter, file: counter.wasm, update: soft}";
    for (rest, line, column, words) in [
        ("modules: []\n".to_owned(), 4, 10, "at least one module"),
        (format!("modules:\n  - {module}\n  - {module}\n"), 6, 5, "comes twice"),
        (format!("modules: [{module}]\nstart: [{{name: a, module: counter}}]\n"), 5, 9, "only a release"),
        (format!("modules: [{module}]\nlisten: [1, 2, 1]\n"), 5, 9, "port 1 comes twice"),
        ("modules:\n  - {name: counter, file: no.wasm, update: soft}\n".to_owned(), 5, 27, "cannot read"),
        ("modules:\n  - {name: counter, file: counter.wasm}\n".to_owned(), 5, 5, "lacks `update`"),
        ("modules:\n  - {name: counter, file: counter.wasm, update: hard}\n".to_owned(), 5, 49, "hard"),
        ("modules:\n  - {name: Counter, file: counter.wasm, update: soft}\n".to_owned(), 5, 12, "lower-case letter"),
        (
            "modules:\n  - {name: counter, file: counter.wasm, update: soft, extra: {a: [1.5]}}\n".to_owned(),
            5,
            5,
            "extra/a/0 1.5 is not an integer",
        ),
        (
            "modules:\n  - {name: counter, file: counter.wasm, update: soft, vsn: \"3\", from: \"3\"}\n".to_owned(),
            5,
            5,
            "from is 3, the same as the vsn",
        ),
    ] {
        let (at_line, at_column, problem) = complaint(&format!("{HEAD}{rest}"));
        assert_eq!((at_line, at_column), (line, column), "{rest}: {problem}");
        assert!(problem.contains(words), "{problem}");
    }
    let (line, _, problem) = complaint(&format!("name: Demo\nto: \"1\"\nmodules: [{module}]\n"));
    assert_eq!(line, 1);
    assert!(problem.contains("application's name"), "{problem}");
}

#[test]
fn actors_of_one_name_are_refused() {
    let yaml = "name: demo\nto: \"1\"\nmodules: [{name: counter, file: counter.wasm}]\nstart:\n  \
                - {name: a, module: counter, count: 3}\n  - {name: a.2, module: counter}\n";
    let (line, _, problem) = complaint(yaml);
    assert_eq!(line, 6);
    assert!(
        problem.contains("a.2 is also one of the 3 actors of a"),
        "{problem}"
    );
    build(&yaml.replace("a.2", "a.4")).unwrap();
}

#[test]
fn yaml_that_explodes_is_refused() {
    let mut yaml = String::from("a: &a [x,x,x,x,x,x,x,x,x,x]\n");
    for (name, of) in ["b", "c", "d", "e", "f", "g", "h"]
        .iter()
        .zip(["a", "b", "c", "d", "e", "f", "g"])
    {
        yaml.push_str(&format!(
            "{name}: &{name} [{}]\n",
            vec![format!("*{of}"); 10].join(",")
        ));
    }
    complaint(&yaml);
    complaint(&format!("name: {}\n", "[".repeat(100_000)));
}

#[test]
fn a_module_with_a_missing_export_is_refused_by_name() {
    let wit = wit();
    let line = wit
        .lines()
        .find(|line| line.trim_start().starts_with("export describe:"))
        .unwrap();
    let yaml = format!("{HEAD}modules: [{{name: counter, file: bad.wasm, update: soft}}]\n");
    let folder = folder(&[
        ("patch.yaml", yaml.as_bytes()),
        ("bad.wasm", &core_module(&wit.replace(line, ""), 1)),
    ]);
    let error = Bundle::build(&folder.path().join("patch.yaml")).unwrap_err();
    assert_eq!(error.code(), "MF0207");
    let text = error.to_string();
    assert!(
        text.contains("module counter") && text.contains("bad.wasm") && text.contains("`describe`"),
        "{text}"
    );
}

#[test]
fn a_module_with_an_unknown_export_is_refused_by_name() {
    let wit = wit().replace(
        "export describe:",
        "export backdoor: func();\n    export describe:",
    );
    let yaml = format!("{HEAD}modules: [{{name: counter, file: bad.wasm, update: soft}}]\n");
    let folder = folder(&[
        ("patch.yaml", yaml.as_bytes()),
        ("bad.wasm", &core_module(&wit, 1)),
    ]);
    let error = Bundle::build(&folder.path().join("patch.yaml")).unwrap_err();
    assert_eq!(error.code(), "MF0208");
    assert!(error.to_string().contains("`backdoor`"), "{error}");
}

#[test]
fn a_module_with_an_unknown_import_is_refused_by_name() {
    let wit = wit().replace(
        "world gen-server {",
        "interface files { open: func(); }\nworld gen-server {\n import files;",
    );
    let yaml = format!("{HEAD}modules: [{{name: counter, file: bad.wasm, update: soft}}]\n");
    let folder = folder(&[
        ("patch.yaml", yaml.as_bytes()),
        ("bad.wasm", &core_module(&wit, 1)),
    ]);
    let error = Bundle::build(&folder.path().join("patch.yaml")).unwrap_err();
    assert_eq!(error.code(), "MF0209");
    assert!(
        error.to_string().contains("`midflight:actor/files@0.3.0`"),
        "{error}"
    );
}

#[test]
fn what_is_no_module_is_refused() {
    let mut broken = core_module(&wit(), 1);
    broken.truncate(broken.len() / 2);
    for bytes in [b"hello".to_vec(), Vec::new(), broken] {
        let yaml = format!("{HEAD}modules: [{{name: counter, file: bad.wasm, update: soft}}]\n");
        let folder = folder(&[("patch.yaml", yaml.as_bytes()), ("bad.wasm", &bytes)]);
        let error = Bundle::build(&folder.path().join("patch.yaml")).unwrap_err();
        assert_eq!(error.code(), "MF0206", "{error}");
        assert!(error.to_string().contains("counter"), "{error}");
    }
    // A core module that knows nothing of the world makes a component, though not one of the world.
    let yaml = format!("{HEAD}modules: [{{name: counter, file: empty.wasm, update: soft}}]\n");
    let folder = folder(&[
        ("patch.yaml", yaml.as_bytes()),
        ("empty.wasm", b"\0asm\x01\0\0\0"),
    ]);
    assert_eq!(
        Bundle::build(&folder.path().join("patch.yaml"))
            .unwrap_err()
            .code(),
        "MF0207"
    );
}

#[test]
fn the_core_module_is_found_in_its_component_and_nowhere_else() {
    use midflight_patch::component::{core_module as inside, encode};
    let name = midflight_patch::ModuleName::new("counter").unwrap();
    let component = encode(&name, "counter.wasm", &core_module(&wit(), 1)).unwrap();
    let core = inside(&name, "counter.wasm", &component).unwrap();
    assert!(wasmparser::Parser::is_core_wasm(core));
    let again = encode(&name, "counter.wasm", &component).unwrap();
    assert_eq!(again, component);
    let empty = b"\0asm\x0d\0\x01\0";
    let error = inside(&name, "counter.wasm", empty).unwrap_err();
    assert_eq!(error.code(), "MF0206");
    assert!(
        error.to_string().contains("holds 0 core modules"),
        "{error}"
    );
}
