//! A whole inventory, read, resolved, selected from, shown.

use std::io::Write;

use midflight_inventory::{Inventory, Value, expand, fold_to_string};

const FLEET: &str = r#"
vars: {agent_port: 7400, tier: none}
groups:
  web:
    hosts:
      "web[001:500].eu": {zone: eu-1, vars: {weight: 10}}
      web501.eu: {address: 127.0.1.9, port: 7401, transport: grpc}
    vars: {tier: front, owner: web-team}
  db:
    hosts:
      "db[01:50]": {address: "10.0.0.[1:50]"}
    vars: {tier: back}
  canary:
    hosts:
      "web00[1:3].eu":
      db01: {}
  prod:
    children: [web, db]
    vars: {owner: everybody, env: prod}
policy:
  waves: [1, 10%, 100%]
  failure_budget: {max: 1%}
"#;

fn fleet() -> Inventory {
    Inventory::parse(FLEET, "fleet.yaml").expect("a good inventory")
}

fn select(pattern: &str) -> String {
    let fleet = fleet();
    let hosts = fleet
        .select(pattern)
        .unwrap_or_else(|error| panic!("{error}"));
    fold_to_string(hosts.into_iter().map(|host| host.name()))
}

fn refused(pattern: &str) -> String {
    let error = fleet().select(pattern).expect_err("a bad pattern");
    format!(
        "{} {}",
        error.code(),
        error.to_string().lines().next().unwrap_or("")
    )
}

#[test]
fn settings_default_and_expand_in_step() {
    let fleet = fleet();
    let host = |name: &str| fleet.host(name).unwrap_or_else(|| panic!("no host {name}"));
    let web = host("web002.eu");
    assert_eq!(
        (web.address(), web.port(), web.zone()),
        ("web002.eu", 7400, Some("eu-1"))
    );
    assert_eq!(web.transport().to_string(), "grpc");
    let odd = host("web501.eu");
    assert_eq!(
        (odd.address(), odd.port(), odd.zone()),
        ("127.0.1.9", 7401, None)
    );
    assert_eq!(host("db01").address(), "10.0.0.1");
    assert_eq!(host("db50").address(), "10.0.0.50");
    assert_eq!(fleet.hosts().len(), 551);
    assert!(fleet.host("db51").is_none());
}

#[test]
fn the_nearest_variable_wins() {
    let fleet = fleet();
    let text = |host: &str, var: &str| match fleet.host(host).and_then(|host| host.var(var)) {
        Some(Value::Text(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    assert_eq!(text("web001.eu", "tier"), "front");
    assert_eq!(text("web001.eu", "owner"), "web-team");
    assert_eq!(text("db02", "owner"), "everybody");
    assert_eq!(text("web001.eu", "weight"), "Some(Int(10))");
    assert_eq!(text("web501.eu", "weight"), "None");
    assert_eq!(text("db02", "agent_port"), "Some(Int(7400))");
    let vars = fleet.host("db02").expect("db02").vars();
    assert_eq!(
        vars.keys().copied().collect::<Vec<_>>(),
        ["agent_port", "env", "owner", "tier"]
    );
}

#[test]
fn between_siblings_the_last_name_wins_and_a_child_always_beats_its_parent() {
    let text = "groups:\n  b: {hosts: {h: }, vars: {x: b, y: b}}\n  a: {hosts: {h: }, vars: {x: a, y: a}}\n  z: {children: [a, b], hosts: {h: }, vars: {x: z, w: z}}\n";
    let inventory = Inventory::parse(text, "t").expect("good");
    let host = inventory.host("h").expect("h");
    assert_eq!(host.var("x").and_then(Value::as_str), Some("b"));
    assert_eq!(host.var("w").and_then(Value::as_str), Some("z"));
    assert_eq!(host.groups().collect::<Vec<_>>(), ["z", "a", "b"]);
}

#[test]
fn members_include_children_once_and_the_policy_passes_through() {
    let fleet = fleet();
    let members = |name: &str| fleet.members(fleet.group(name).expect("a group")).len();
    assert_eq!(
        (members("web"), members("prod"), members("canary")),
        (501, 551, 4)
    );
    let policy = fleet.policy().expect("a policy");
    assert_eq!(
        policy
            .get("failure_budget")
            .and_then(|b| b.get("max"))
            .and_then(Value::as_str),
        Some("1%")
    );
    assert_eq!(
        fleet.policy_place().map(ToString::to_string),
        Some("fleet.yaml:20:1".to_owned())
    );
}

#[test]
fn patterns_join_intersect_and_exclude() {
    assert_eq!(select("web"), "web[001:501].eu");
    assert_eq!(select("web:&canary"), "web[001:003].eu");
    assert_eq!(select("web,db:&prod:!canary"), "web[004:501].eu,db[02:50]");
    assert_eq!(select("!canary:db"), "db[02:50]");
    assert_eq!(select("!prod"), "");
    assert_eq!(select("&canary"), "web[001:003].eu,db01");
    assert_eq!(select("canary:!web*"), "db01");
    assert_eq!(select("db[01:50]:!db[02:49]"), "db01,db50");
    assert_eq!(select("web[499:501].eu"), "web[499:501].eu");
    assert_eq!(select("*.eu:!web0*:!web1*"), "web[200:501].eu");
    assert_eq!(
        select(r"~web\d0{2}\.eu$"),
        "web100.eu,web200.eu,web300.eu,web400.eu,web500.eu"
    );
    assert_eq!(select("~db0|web50"), "web[500:501].eu,db[01:09]");
    assert_eq!(select("all"), select("*"));
    assert_eq!(select("web501.eu"), "web501.eu");
}

#[test]
fn a_term_that_matches_nothing_is_named_with_what_is_close() {
    let error = fleet().select("web:&prdo").expect_err("no such group");
    assert_eq!(
        error.to_string(),
        "pattern:1:6: nothing in the inventory matches \"prdo\"\n 1 | web:&prdo\n   |      ^\n did you mean prod?"
    );
    assert_eq!(
        refused("db[49:52]"),
        "MF0141 pattern:1:1: \"db[49:52]\" can be read in two ways"
    );
    assert_eq!(
        refused("db[049:052]"),
        "MF0120 pattern:1:1: nothing in the inventory matches \"db049\""
    );
    assert_eq!(
        refused("db[49-52]"),
        "MF0120 pattern:1:1: nothing in the inventory matches \"db51\""
    );
    assert_eq!(
        refused("db:x*"),
        "MF0120 pattern:1:4: nothing in the inventory matches \"x*\""
    );
    assert_eq!(
        refused("db:!~x"),
        "MF0120 pattern:1:5: nothing in the inventory matches \"~x\""
    );
    assert_eq!(
        refused("~eb"),
        "MF0120 pattern:1:1: nothing in the inventory matches \"~eb\""
    );
}

#[test]
fn a_bad_pattern_is_pointed_at() {
    assert_eq!(
        refused(""),
        "MF0119 pattern:1:1: bad pattern: this term is empty"
    );
    assert_eq!(
        refused("web:"),
        "MF0119 pattern:1:5: bad pattern: this term is empty"
    );
    assert_eq!(
        refused("web:&"),
        "MF0119 pattern:1:6: bad pattern: this term is empty"
    );
    assert_eq!(
        refused("web:&!db"),
        "MF0119 pattern:1:6: bad pattern: a term has one sign"
    );
    assert_eq!(
        refused("@"),
        "MF0119 pattern:1:1: bad pattern: no name follows the '@'"
    );
    assert_eq!(
        refused("web[1:3]*"),
        "MF0119 pattern:1:1: bad pattern: a range and a wildcard cannot stand in one term"
    );
    assert_eq!(
        refused("a b"),
        "MF0119 pattern:1:1: bad pattern: it has a character that patterns use, or that no host name has"
    );
    assert_eq!(
        refused("db:web[3:1]"),
        "MF0114 pattern:1:7: bad range: it ends (1) before it begins (3)"
    );
    assert_eq!(
        refused("db:~w("),
        "MF0121 pattern:1:4: \"w(\" is not a usable regular expression"
    );
    assert_eq!(
        refused("~(w{1000}){1000}"),
        "MF0121 pattern:1:1: \"(w{1000}){1000}\" is not a usable regular expression"
    );
    assert!(refused("x[0:999999999]").starts_with("MF0115 pattern:1:1: 1000000000 hosts"));
}

#[test]
fn a_list_file_names_hosts_line_by_line() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(
        file,
        "# yesterday's failures\n\n  web001.eu  # flaky\ndb[01:03]\ncanary"
    )
    .expect("written");
    let at = format!("@{}", file.path().display());
    assert_eq!(select(&at), "web[001:003].eu,db[01:03]");
    assert_eq!(select(&format!("canary:!{at}")), "");
    writeln!(file, " web999.eu").expect("written");
    let error = fleet().select(&at).expect_err("no such host");
    let expected = format!(
        "{}:6:2: nothing in the inventory matches \"web999.eu\"",
        file.path().display()
    );
    assert_eq!(error.to_string().lines().next(), Some(expected.as_str()));
    let error = fleet()
        .select("web:@/no/such/file")
        .expect_err("no such file");
    assert_eq!(
        (error.code(), error.place().map(ToString::to_string)),
        ("MF0122", Some("pattern:1:5".to_owned()))
    );
    let source = std::error::Error::source(&error).map(ToString::to_string);
    assert_eq!(
        source.as_deref(),
        Some("/no/such/file cannot be read; check the path and its permissions")
    );
}

#[test]
fn the_graph_folds_hosts_and_shows_a_shared_group_once() {
    let text = "groups:\n  web: {hosts: {'w[1:3]': }}\n  eu: {children: [web]}\n  prod: {children: [web, eu], hosts: {x: }}\n  none:\n";
    let inventory = Inventory::parse(text, "t").expect("good");
    insta::assert_snapshot!(inventory.graph(), @r"
    @all:
      |--@prod:
      |  |--@web:
      |  |  |--w[1:3]
      |  |--@eu:
      |  |  |--@web: (shown above)
      |  |--x
      |--@none:
    ");
}

#[test]
fn folded_output_is_a_pattern() {
    let fleet = fleet();
    let all: Vec<&str> = fleet.hosts().iter().map(|host| host.name()).collect();
    let folded = fold_to_string(&all);
    assert_eq!(folded, "web[001:501].eu,db[01:50]");
    let again: Vec<&str> = fleet
        .select(&folded)
        .expect("folded")
        .into_iter()
        .map(|host| host.name())
        .collect();
    assert_eq!(again, all);
    assert_eq!(expand(&folded).expect("expands"), all);
}

#[test]
fn an_empty_inventory_is_empty() {
    for text in [
        "",
        "{}",
        "groups:",
        "vars:\ngroups: {}\n",
        "# nothing\n",
        "\u{feff}groups: {}\n",
    ] {
        let inventory =
            Inventory::parse(text, "t").unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert!(inventory.hosts().is_empty());
        assert!(inventory.select("all").expect("all of nothing").is_empty());
    }
    assert!(Inventory::load(&[]).expect("no files").hosts().is_empty());
}

#[test]
fn the_inventory_serialises_to_one_shape() {
    let text = "vars: {a: 1}\ngroups:\n  web: {hosts: {w1: {zone: z, vars: {b: [true, ~, x, 1.5, {k: 18446744073709551615}]}}}}\n  up: {children: [web]}\n";
    let inventory = Inventory::parse(text, "t").expect("good");
    let json = serde_json::to_string(&inventory).expect("serialises");
    assert_eq!(
        json,
        r#"{"hosts":[{"name":"w1","address":"w1","port":7400,"transport":"grpc","zone":"z","groups":["up","web"],"vars":{"a":1,"b":[true,null,"x",1.5,{"k":18446744073709551615}]}}],"groups":{"up":{"children":["web"],"hosts":[],"vars":{}},"web":{"children":[],"hosts":["w1"],"vars":{}}}}"#
    );
}

#[test]
fn the_example_in_the_documentation_is_read_as_it_says() {
    let text = include_str!("../../docs/inventory.md");
    let example = text
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("an example");
    let inventory =
        Inventory::parse(example, "docs/inventory.md").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(inventory.hosts().len(), 551);
    assert_eq!(
        inventory.host("db50").map(|host| host.address()),
        Some("10.0.0.50")
    );
    assert_eq!(
        inventory.host("web501.eu").map(|host| host.port()),
        Some(7401)
    );
    let chosen = inventory
        .select("web:&prod:!canary")
        .expect("the example pattern");
    assert_eq!(
        fold_to_string(chosen.into_iter().map(|host| host.name())),
        "web[004:501].eu"
    );
}
