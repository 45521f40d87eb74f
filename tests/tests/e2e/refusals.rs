//! Bad input gets a clear error and exit 2, and nothing is half done.

use std::fs;

use midflight_tests::{Done, Fleet};

fn refused(fleet: &Fleet, done: &Done, words: &[&str]) {
    assert_eq!(done.code, 2, "{}", done.text());
    for word in words {
        assert!(
            done.text().contains(word),
            "{word:?} is not in:\n{}",
            done.text()
        );
    }
    for n in 0..fleet.nodes.len() {
        assert_eq!(fleet.vsns(n), ("1.0.0".into(), "1.0.0".into()));
    }
}

#[test]
fn bundles_that_are_cut_altered_unsigned_or_signed_by_others_are_refused() {
    let fleet = Fleet::start(1);
    let good = fleet.patch_v2();
    let bytes = fs::read(fleet.path(&good)).expect("the bundle is there");

    fs::write(fleet.path("cut.tar"), &bytes[..bytes.len() / 2]).expect("written");
    refused(&fleet, &fleet.apply("cut.tar", "[100%]"), &["cut.tar"]);

    let mut altered = bytes.clone();
    let at = altered.len() / 2;
    altered[at] ^= 1;
    fs::write(fleet.path("altered.tar"), altered).expect("written");
    refused(
        &fleet,
        &fleet.apply("altered.tar", "[100%]"),
        &["altered.tar", "sha256"],
    );

    fleet.ok(&["patch", "build", "v2.yaml", "-o", "unsigned.tar"]);
    refused(&fleet, &fleet.apply("unsigned.tar", "[100%]"), &["sign"]);

    fleet.keygen("mallory");
    fs::copy(fleet.path("unsigned.tar"), fleet.path("foreign.tar")).expect("copied");
    fleet.ok(&["patch", "sign", "foreign.tar", "--key", "mallory"]);
    refused(
        &fleet,
        &fleet.apply("foreign.tar", "[100%]"),
        &["n1", "sign"],
    );
}

#[test]
fn a_signer_out_of_validity_is_refused_by_the_node() {
    let fleet = Fleet::start(1);
    let good = fleet.patch_v2();
    let signers = fs::read_to_string(fleet.path("allowed_signers")).expect("it is there");
    let ended = signers.replace("namespaces=", "valid-before=\"20200101\",namespaces=");
    fs::write(fleet.path("allowed_signers"), ended).expect("written");
    refused(&fleet, &fleet.apply(&good, "[100%]"), &["n1", "2020"]);
}

#[test]
fn a_patch_for_another_version_or_application_is_refused() {
    let fleet = Fleet::start(1);
    let wrong = fleet.counter_patch("wrong", "0.9.0", "2.0.0", "counter_v2.wasm", "null");
    refused(&fleet, &fleet.apply(&wrong, "[100%]"), &["1.0.0", "0.9.0"]);
    let guests = format!("{}/../guest/out", env!("CARGO_MANIFEST_DIR"));
    let spec = format!(
        "name: other\nfrom: \"1.0.0\"\nto: \"2.0.0\"\nmodules:\n  - {{name: counter, file: {guests}/counter_v2.wasm, update: soft}}\n"
    );
    let other = fleet.bundle("other", &spec);
    refused(&fleet, &fleet.apply(&other, "[100%]"), &["other"]);
}

#[test]
fn modules_that_do_not_fit_the_contract_are_refused_when_the_bundle_is_built() {
    let fleet = Fleet::prepare(0);
    // An empty module: it has no export at all.
    fs::write(fleet.path("empty.wasm"), b"\0asm\x01\0\0\0").expect("written");
    let spec = "name: test\nfrom: \"1.0.0\"\nto: \"2.0.0\"\nmodules:\n  - {name: counter, file: empty.wasm, update: soft}\n";
    fs::write(fleet.path("bad.yaml"), spec).expect("written");
    let done = fleet.run(&["patch", "build", "bad.yaml", "-o", "bad.tar"]);
    assert_eq!(done.code, 2, "{}", done.text());
    assert!(
        done.err.contains("counter") && done.err.contains("empty.wasm"),
        "{}",
        done.err
    );
    assert!(!fleet.path("bad.tar").exists());

    fs::write(
        fleet.path("worse.yaml"),
        "name: test\nto: \"1.0.0\"\nmodulos: []\n",
    )
    .expect("written");
    let done = fleet.run(&["patch", "build", "worse.yaml", "-o", "worse.tar"]);
    assert_eq!(done.code, 2, "{}", done.text());
    assert!(
        done.err.contains("worse.yaml:3:") || done.err.contains("line 3"),
        "{}",
        done.err
    );
}

#[test]
fn malformed_yaml_is_refused_with_file_line_and_column() {
    let fleet = Fleet::start(1);
    let patch = fleet.patch_v2();
    fs::write(
        fleet.path("policy.yaml"),
        "waves: [1]\nfailure_budget:\n  maximum: 1%\n",
    )
    .expect("written");
    let done = fleet.run(&[
        "apply",
        &patch,
        "all_nodes",
        "--all",
        "--policy",
        "policy.yaml",
    ]);
    refused(&fleet, &done, &["policy.yaml:3:3"]);
    fs::write(fleet.path("broken.yaml"), "groups:\n  web:\n    hosts: [\n").expect("written");
    let done = fleet.run(&["apply", &patch, "web", "-i", "broken.yaml"]);
    refused(&fleet, &done, &["broken.yaml:"]);
}

#[test]
fn an_agent_that_refuses_connection_is_named_and_nothing_is_touched() {
    let mut fleet = Fleet::start(2);
    let patch = fleet.patch_v2();
    fleet.kill(1);
    let done = fleet.apply(&patch, "[1, 100%]");
    assert_eq!(
        done.code,
        2,
        "half of the fleet is beyond the budget: {}",
        done.text()
    );
    assert!(done.text().contains("n2"), "{}", done.text());
    assert_eq!(fleet.vsns(0), ("1.0.0".into(), "1.0.0".into()));
}

#[test]
fn clients_without_a_certificate_of_the_right_kind_get_nothing() {
    let fleet = Fleet::start(1);
    let patch = fleet.patch_v2();
    let as_viewer = ["--cert", "pki/viewer.pem", "--key", "pki/viewer.key"];
    let mut args = vec!["apply", patch.as_str(), "all_nodes", "--all"];
    args.extend(as_viewer);
    refused(&fleet, &fleet.run(&args), &["n1"]);

    fleet.ok(&["pki", "init", "otherpki", "--fleet", "other"]);
    fleet.ok(&[
        "pki",
        "issue",
        "otherpki",
        "--role",
        "operator",
        "--name",
        "controller",
    ]);
    let foreign = [
        "--ca",
        "pki/ca.pem",
        "--cert",
        "otherpki/controller.pem",
        "--key",
        "otherpki/controller.key",
    ];
    let mut args = vec!["apply", patch.as_str(), "all_nodes", "--all"];
    args.extend(foreign);
    refused(&fleet, &fleet.run(&args), &["n1"]);

    let address = format!("{}:7400", fleet.nodes[0].address);
    let output = std::process::Command::new("timeout")
        .args([
            "10", "openssl", "s_client", "-connect", &address, "-brief", "-ign_eof",
        ])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("certificate required") || text.contains("alert"),
        "no certificate, no conversation: {text}"
    );

    let operator = fleet.run(&["sys", "get-state", "n1", "counter.1"]);
    assert_ne!(
        operator.code,
        0,
        "an operator is no debugger: {}",
        operator.text()
    );
    assert_eq!(fleet.state(0, "counter.1"), 0);
}

#[test]
fn all_nodes_need_the_word_all() {
    let fleet = Fleet::start(1);
    let patch = fleet.patch_v2();
    let done = fleet.run(&["apply", &patch, "all_nodes"]);
    assert_ne!(done.code, 0);
    assert!(done.err.contains("--all"), "{}", done.err);
    assert_eq!(fleet.vsns(0).0, "1.0.0");
}
