//! From patches to plans: what the instructions of an appup become, in which order, and what is printed of it.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

mod support;

use midflight_patch::{Plan, Release};
use support::manifests::{manifest, module};

/// Release 1 of the demo: what every plan here starts from.
fn running() -> Release {
    let modules = ["counter", "greeter", "ledger"];
    let modules = modules.map(|name| module(name, None, "1")).into();
    Release::from_manifest(&manifest(None, "1", modules)).unwrap()
}

#[test]
fn a_patch_without_instructions_updates_its_modules_all_at_once() {
    let mut modules = vec![
        module("counter", Some("1"), "2"),
        module("ledger", Some("1"), "2"),
    ];
    modules[0].update = midflight_patch::Update::Soft;
    let patch = manifest(Some("1"), "2", modules);
    let up = Plan::new(&patch, &running()).unwrap();
    assert_eq!(
        up.to_string(),
        "plan demo 1 -> 2, up
  counter: 1 -> 2 (soft)
  ledger: 1 -> 2 (advanced)
   1  load_object_code counter ledger
   2  point_of_no_return
   3  suspend counter ledger
   4  load counter
   5  load ledger
   6  code_change up ledger
   7  resume ledger counter
"
    );
    let down = Plan::back(&patch, &running()).unwrap();
    assert_eq!(
        down.to_string(),
        "plan demo 2 -> 1, down
  counter: 2 -> 1 (soft)
  ledger: 2 -> 1 (advanced)
   1  load_object_code counter ledger
   2  point_of_no_return
   3  suspend counter ledger
   4  code_change down ledger
   5  load counter
   6  load ledger
   7  resume ledger counter
"
    );
    assert_eq!(
        down.modules[1].hops[0].blob,
        running().modules["ledger"].blob
    );
    let json = serde_json::to_string(&up).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), up);
}
