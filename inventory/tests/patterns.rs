//! The two pattern languages: what each term means, and what is refused because it could mean two things.

use std::io::Write;

use midflight_inventory::{Inventory, fold_nodes, narrow};

/// Groups are listed out of order on purpose: subscripts count as the group lists its hosts.
const FLEET: &str = r#"
groups:
  web: {hosts: {"web[1:12]": }}
  db: {hosts: {"db[01:05]": }}
  cache: {hosts: {"web[3:4]": , "c[1:2]n[1:3]": }}
  rack1: {hosts: {web1: , db01: }}
  rack2: {hosts: {web2: , db02: }}
  eu: {children: [web, cache]}
  prod: {children: [eu, db]}
"#;

fn fleet() -> Inventory {
    Inventory::parse(FLEET, "fleet.yaml").expect("a good inventory")
}

#[track_caller]
fn select(pattern: &str) -> String {
    let fleet = fleet();
    let hosts = fleet
        .select(pattern)
        .unwrap_or_else(|error| panic!("{error}"));
    fold_nodes(hosts.into_iter().map(|host| host.name()))
}

#[track_caller]
fn refused(pattern: &str) -> String {
    let error = fleet().select(pattern).expect_err("refused");
    let text = error.to_string();
    format!(
        "{} {}",
        error.code(),
        text.lines().next().unwrap_or_default()
    )
}

#[test]
fn globs_and_regular_expressions_match_groups_and_hosts() {
    assert_eq!(select("ca*"), "web[3-4],c[1-2]n[1-3]");
    assert_eq!(select("rack?"), "web[1-2],db[01-02]");
    assert_eq!(select("w*[!0-9]"), select("web"));
    assert_eq!(select("db0[!135]"), "db[02,04]");
    assert_eq!(select("rack[1-2]*:!db0[!1]"), "web[1-2],db01");
    assert_eq!(select("~rack[12]:&~web"), "web[1-2]");
    assert_eq!(select("~(ca|x){1,2}che:!c1*"), "web[3-4],c2n[1-3]");
    assert_eq!(select("web[1-3]:!web[!1-2]"), "web[1-2]");
}

#[test]
fn a_term_that_matches_the_group_all_by_chance_is_refused() {
    for pattern in ["a*", "?l*", "~a", "~.l", "*[l]", "web:!a*"] {
        assert!(refused(pattern).starts_with("MF0141"), "{pattern}");
    }
    let error = fleet().select("a*").expect_err("refused");
    assert_eq!(
        error.to_string(),
        "pattern:1:1: \"a*\" can be read in two ways\n 1 | a*\n   | ^\n it matches the group all, which to Ansible is every host: write all for that, or a narrower term for the 0 of 23 hosts that it matches otherwise"
    );
    assert_eq!(select("~.*"), select("all"));
    assert_eq!(select("*"), select("all"));
}

#[test]
fn subscripts_count_the_hosts_of_a_group() {
    assert_eq!(select("eu[0]"), "web1");
    assert_eq!(select("eu[-1]"), "c2n3");
    assert_eq!(select("eu[10:13]"), "web[11-12],c1n[1-2]");
    assert_eq!(select("db[3:]"), "db[04-05]");
    assert_eq!(select("db[0:99]"), "db[01-05]");
    assert_eq!(select("cache[0:2]:&web"), "web[3-4]");
    assert_eq!(select("prod[0:1]"), "db[01-02]");
    assert_eq!(select("rack?[1]"), "db01");
    assert_eq!(select("all[0]"), "web1");
    assert_eq!(select("*[0:1]"), select("all[0:1]"));
    assert_eq!(select("db01[0]"), "db01");
    for none in ["db[5]", "db[9:]", "db[-6]", "db[2:1]", "rack?[4]"] {
        let refused = refused(none);
        let wanted = if none == "db[2:1]" {
            "MF0114"
        } else {
            "MF0120"
        };
        assert!(refused.starts_with(wanted), "{none}: {refused}");
    }
}

#[test]
fn a_bracket_that_could_count_or_name_is_refused_and_both_are_spelled_out() {
    let error = fleet().select("db:web[1:3]").expect_err("refused");
    assert_eq!(
        error.to_string(),
        "pattern:1:4: \"web[1:3]\" can be read in two ways\n 1 | db:web[1:3]\n   |    ^\n write web[1-3] for what is named so, or @web[1:3] to count in the hosts of web"
    );
    assert_eq!(
        (select("web[1-3]"), select("@web[1:3]")),
        ("web[1-3]".into(), "web[2-4]".into())
    );
    assert!(
        refused("web[5]").starts_with("MF0141"),
        "web5 and the sixth of web"
    );
    assert!(
        refused("web1[0]").starts_with("MF0141"),
        "web10 and the first of web1"
    );
    assert!(
        refused("web[0:20]").starts_with("MF0141"),
        "some of these names exist"
    );
    // Both mean the same, or one of them means nothing.
    let same = Inventory::parse("groups: {w: {hosts: {'w[0:9]': }}}", "t").expect("good");
    assert_eq!(same.select("w[2:4]").expect("either way").len(), 3);
    assert_eq!(select("db[0:1]"), "db[01-02]");
    // Zeros in front, a step, letters or a second bracket are never subscripts.
    assert_eq!(select("db[01:03]"), "db[01-03]");
    assert_eq!(select("web[1:9:4]"), "web[1,5,9]");
    assert_eq!(select("c[1:2]n[1:2]"), "c[1-2]n[1-2]");
}

#[test]
fn node_sets_are_terms_and_their_operators_apply_from_left_to_right() {
    assert_eq!(select("web[1-3,5,12]"), "web[1-3,5,12]");
    assert_eq!(select("web[1-9/4],db[01-02]"), "web[1,5,9],db[01-02]");
    assert_eq!(select("c[1-2]n[1,3]"), "c[1-2]n[1,3]");
    assert_eq!(select("web1[0-2]"), "web[10-12]");
    assert_eq!(select("@rack[1-2]"), "web[1-2],db[01-02]");
    assert_eq!(select("@*!@web"), "db[01-05],c[1-2]n[1-3]");
    assert_eq!(select("@web!web[1-10],web4"), "web[4,11-12]");
    assert_eq!(select("web,db!@cache!db0[2-5]&@rack1"), "web1,db01");
    assert_eq!(select("web[1-4]^web[3-6]"), "web[1-2,5-6]");
    assert_eq!(select("c[1-2]n3 & @cache , db01"), "db01,c[1-2]n3");
}

#[test]
fn what_both_languages_could_claim_is_refused() {
    assert!(
        refused("web!db:eu")
            .starts_with("MF0119 pattern:1:7: bad pattern: operators between names")
    );
    assert!(refused("web!db,!eu").starts_with("MF0119 pattern:1:8"));
    assert!(refused("web&~db").starts_with("MF0119 pattern:1:5"));
    assert!(
        refused("web[10-12]*").starts_with("MF0119"),
        "a class of characters, or three numbers"
    );
    assert_eq!(
        refused("web1[9-10]"),
        "MF0142 pattern:1:5: bad node set: after a digit, \"9-10\" must have ends of the same width"
    );
    assert_eq!(
        refused("web[3-1]"),
        "MF0142 pattern:1:4: bad node set: it ends (1) before it begins (3)"
    );
    assert_eq!(
        refused("c[1-2]n[1:3]"),
        "MF0114 pattern:1:2: bad range: \"1-2\" has no ':'"
    );
    assert_eq!(
        refused("web[1-13]"),
        "MF0120 pattern:1:1: nothing in the inventory matches \"web13\""
    );
    assert_eq!(
        refused("@rack[1-3]"),
        "MF0120 pattern:1:1: nothing in the inventory matches \"rack3\""
    );
    assert_eq!(
        refused("@wbe"),
        "MF0120 pattern:1:1: nothing in the inventory matches \"@wbe\""
    );
    assert_eq!(
        refused("nosuch[-1]"),
        "MF0120 pattern:1:1: nothing in the inventory matches \"nosuch\""
    );
    assert!(refused("n[1-1000000000]").starts_with("MF0115"));
    assert!(refused(&format!("{}web{}", "(".repeat(17), ")".repeat(17))).starts_with("MF0119"));
    assert!(refused("(web").starts_with("MF0119"));
}

#[test]
fn a_limit_and_exclusions_narrow_whatever_the_pattern_is() {
    let exclude =
        |patterns: &[&str]| -> Vec<String> { patterns.iter().map(|p| (*p).to_owned()).collect() };
    let narrowed = |limit, excluded: &[&str]| select(&narrow("web,db", limit, &exclude(excluded)));
    assert_eq!(narrowed(None, &[]), "web[1-12],db[01-05]");
    assert_eq!(narrowed(Some("rack1:rack2"), &[]), "web[1-2],db[01-02]");
    assert_eq!(
        narrowed(Some("eu"), &["web[1-4]", "~web1.", "db"]),
        "web[5-9]"
    );
    assert_eq!(
        select(&narrow(
            "web!web1",
            Some("@rack[1-2]!db01"),
            &exclude(&["db:cache"])
        )),
        "web2"
    );
}

#[test]
fn a_list_holds_whatever_a_pattern_may_add() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let at = format!("@{}", file.path().display());
    writeln!(file, "web[1-3,7] # racks\n@rack2\n  c1*\nweb:&cache\nweb11").expect("written");
    assert_eq!(select(&at), "web[1-4,7,11],db02,c1n[1-3]");
    assert_eq!(select(&format!("web:&{at}")), "web[1-4,7,11]");
    assert_eq!(select(&format!("web!{at}")), "web[5-6,8-10,12]");
    writeln!(file, " !web1").expect("written");
    let error = fleet()
        .select(&at)
        .expect_err("all but web1 is not what a list can mean");
    let (code, line) = (
        error.code(),
        error.place().map(|place| (place.line(), place.column())),
    );
    assert_eq!((code, line), ("MF0119", Some((6, 2))));
    let mut outer = tempfile::NamedTempFile::new().expect("a file");
    writeln!(outer, "{at}").expect("written");
    let error = fleet()
        .select(&format!("@{}", outer.path().display()))
        .expect_err("a list in a list");
    assert_eq!(error.code(), "MF0119");
}

#[test]
fn a_pattern_that_others_send_reads_no_file() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "secret").expect("written");
    let at = format!("@{}", file.path().display());
    let fleet = fleet().without_lists();
    for pattern in [
        at.clone(),
        format!("web!{at}"),
        format!("web:&({at})"),
        format!("(((web,{at})))"),
        "@./Cargo.toml".to_owned(),
        "@Cargo.toml".to_owned(),
    ] {
        let error = fleet.select(&pattern).expect_err("refused");
        let text = error.to_string();
        assert_eq!(error.code(), "MF0119", "{text}");
        assert!(
            text.contains("cannot name a file") && !text.contains("secret"),
            "{text}"
        );
    }
    assert_eq!(fleet.select("@web!@rack1").expect("groups").len(), 11);
}

#[test]
fn folded_output_can_be_pasted_as_a_node_set() {
    let fleet = fleet();
    let all: Vec<&str> = fleet.hosts().iter().map(|host| host.name()).collect();
    let folded = fold_nodes(&all);
    assert_eq!(folded, "web[1-12],db[01-05],c[1-2]n[1-3]");
    let again = fleet.select(&folded).expect("folded");
    assert_eq!(
        again
            .into_iter()
            .map(|host| host.name())
            .collect::<Vec<_>>(),
        all
    );
}
