//! Patterns against the real Ansible: what `ansible PATTERN --list-hosts` names, over a corpus and over generated patterns.
//!
//! Ansible's own inventory manager answers hundreds of patterns in one run, because each run of the program takes a second; a
//! few go through the program itself. A term that matches nothing is an error on both sides here.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use midflight_inventory::{Inventory, narrow};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// The fleet. Groups list hosts in orders of their own, and share some.
const INI: &str = "\
lone1
lone2

[web]
web1
web2
web3
web10
web11

[db]
db01
db02
db03

[mixed]
db03
web2
solo

[hot.eu]
web10.eu
x.eu

[eu:children]
web
hot.eu

[prod:children]
eu
db
";

/// What Ansible answers for one pattern and limit: hosts, or nothing when it refuses.
type Answer = Option<BTreeSet<String>>;

fn theirs(inventory: &Path, questions: &[(String, Option<String>)]) -> Vec<Answer> {
    let script = "\
import json, sys
from ansible.parsing.dataloader import DataLoader
from ansible.inventory.manager import InventoryManager
inventory = InventoryManager(loader=DataLoader(), sources=sys.argv[1])
for line in sys.stdin:
    pattern, limit = json.loads(line)
    try:
        inventory.subset(limit)
        print('ok ' + ' '.join(h.name for h in inventory.get_hosts(pattern)))
    except Exception:
        print('no')
";
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .arg(inventory)
        .env("ANSIBLE_HOST_PATTERN_MISMATCH", "error")
        .env("ANSIBLE_TRANSFORM_INVALID_GROUP_CHARS", "ignore")
        .env("ANSIBLE_DEPRECATION_WARNINGS", "false")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 runs");
    let mut stdin = child.stdin.take().expect("piped");
    let text: String = questions
        .iter()
        .map(|question| serde_json::to_string(question).expect("json") + "\n")
        .collect();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("python3 ends");
    writer.join().expect("no panic").expect("written");
    assert!(
        output.status.success(),
        "is ansible-core installed? (make needs)"
    );
    let text = String::from_utf8(output.stdout).expect("text");
    let answers: Vec<Answer> = text
        .lines()
        .map(|line| {
            Some(
                line.strip_prefix("ok")?
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect(),
            )
        })
        .collect();
    assert_eq!(answers.len(), questions.len());
    answers
}

fn ini() -> (tempfile::NamedTempFile, Inventory) {
    let mut file = tempfile::Builder::new()
        .suffix(".ini")
        .tempfile()
        .expect("a file");
    file.write_all(INI.as_bytes()).expect("written");
    let inventory = Inventory::load(&[file.path().to_owned()]).expect("good");
    (file, inventory)
}

fn ours(
    inventory: &Inventory,
    pattern: &str,
    limit: Option<&str>,
) -> Result<BTreeSet<String>, String> {
    let hosts = inventory
        .select(&narrow(pattern, limit, &[]))
        .map_err(|error| error.code().to_owned())?;
    Ok(hosts
        .into_iter()
        .map(|host| host.name().to_owned())
        .collect())
}

fn check(questions: &[(String, Option<String>)]) -> usize {
    let (file, inventory) = ini();
    let mut same = 0;
    for ((pattern, limit), theirs) in questions.iter().zip(theirs(file.path(), questions)) {
        let ours = ours(&inventory, pattern, limit.as_deref());
        match (&ours, &theirs) {
            (Ok(ours), Some(theirs)) => {
                assert_eq!(ours, theirs, "{pattern} limit {limit:?}");
                same += usize::from(!ours.is_empty());
            }
            (Err(_), None) => same += 1,
            // Ansible takes what matches the group all, or counts hosts twice, or finds nothing behind the last host.
            (Err(code), Some(_)) if code == "MF0141" => {}
            (Err(code), Some(theirs)) if code == "MF0120" && pattern.contains('[') => {
                assert!(
                    theirs.is_empty() || pattern.contains([':', ',']),
                    "{pattern}: {theirs:?}"
                );
            }
            _ => panic!("{pattern} limit {limit:?}: ours {ours:?}, theirs {theirs:?}"),
        }
    }
    same
}

fn questions(patterns: &[&str]) -> Vec<(String, Option<String>)> {
    patterns
        .iter()
        .map(|pattern| ((*pattern).to_owned(), None))
        .collect()
}

#[test]
fn the_corpus_names_what_ansible_names() {
    let patterns = [
        "all",
        "*",
        "web",
        "eu",
        "prod",
        "hot.eu",
        "web1",
        "x.eu",
        "web:db",
        "web,db",
        "web:&mixed",
        "web:!web1",
        "all:!web:!db",
        "!web",
        "&web",
        "!web:&eu",
        "web:db:&mixed:!db03",
        "db*",
        "w*",
        "*.eu",
        "web?",
        "web1?",
        "*1*",
        "web[13]",
        "web[!1]",
        "[dw]*",
        "*b[12]",
        "~web1",
        "~.b",
        "~web[0-9]+$",
        "~(hot|mixed)",
        "all:!~.*[02468]$",
        "web[0]",
        "web[-1]",
        "web[1:]",
        "web[0:0]",
        "eu[0:4]",
        "eu[5]",
        "prod[0]",
        "prod[-1]",
        "mixed[0]",
        "mixed[1:2]",
        "db[-2]",
        "all[0:3]",
        "all[-1]",
        "*[0]",
        "hot*[0]",
        "hot.eu[1]",
        "web1[0]:db",
        "eu[0:1]:&web[1:]",
        " web , db01 ",
        "nosuch",
        "web:nosuch",
        "web:&nosuch",
        "web[99]",
        "mixed:!w*",
        "eu:!*.eu",
        "solo,web2",
        "db01:db0[23]",
        "ungrouped",
        "u*",
        "~ungr:mixed",
        "ungrouped[1]",
        "all[0:1]",
        "all:!ungrouped:!prod",
        "web:!web[0]",
        "~web:!~web1.",
        "prod:&~.*\\.eu",
    ];
    let same = check(&questions(&patterns));
    assert!(same > 45, "only {same} of {} compared", patterns.len());
}

#[test]
fn limits_narrow_as_they_do_in_ansible() {
    let mut list = tempfile::NamedTempFile::new().expect("a file");
    writeln!(list, "web2\ndb03\nx.eu").expect("written");
    let list = format!("@{}", list.path().display());
    let limits = [
        "web", "db,mixed", "!mixed", "mixed[0]", "~.*[23]", "*.eu", "eu:!web1", &list,
    ];
    let patterns = ["all", "prod", "web:mixed", "db", "all:!web"];
    let questions: Vec<_> = patterns
        .iter()
        .flat_map(|pattern| {
            limits
                .iter()
                .map(|limit| ((*pattern).to_owned(), Some((*limit).to_owned())))
        })
        .collect();
    assert!(check(&questions) > 25);
}

fn term() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "web",
        "db",
        "mixed",
        "hot.eu",
        "eu",
        "prod",
        "all",
        "ungrouped",
        "web1",
        "web10",
        "db03",
        "solo",
        "x.eu",
        "web10.eu",
        "nosuch",
    ]);
    let glob = prop::sample::select(vec![
        "w*", "*1", "web?", "d?", "*.eu", "m*", "*b*", "?eb1*", "[dm]*", "web[!1]", "*0[1-2]",
        "p*d", "e*", "u*",
    ]);
    let subscript = prop::sample::select(vec![
        "[0]", "[1]", "[-1]", "[-2]", "[0:1]", "[1:2]", "[1:]", "[2:9]", "[0:0]",
    ]);
    let regex = prop::sample::select(vec![
        "~web",
        "~.*1",
        "~db0[12]",
        "~(eu|mixed)",
        "~e",
        "~.*\\.eu$",
        "~[wd].*3",
    ]);
    let base = prop::sample::select(vec!["eu", "mixed", "prod", "hot.eu", "all", "hot*", "solo"]);
    prop_oneof![
        3 => name.prop_map(str::to_owned),
        2 => glob.prop_map(str::to_owned),
        2 => (base, subscript).prop_map(|(base, subscript)| format!("{base}{subscript}")),
        1 => regex.prop_map(str::to_owned),
    ]
}

fn pattern() -> impl Strategy<Value = String> {
    let signed = (prop::sample::select(vec!["", "", "&", "!"]), term())
        .prop_map(|(sign, term)| format!("{sign}{term}"));
    (vec(signed, 1..5), any::<bool>())
        .prop_map(|(terms, comma)| terms.join(if comma { "," } else { ":" }))
}

#[test]
fn a_thousand_generated_patterns_name_what_ansible_names() {
    let mut runner = TestRunner::deterministic();
    let questions: Vec<_> = (0..1000)
        .map(|_| {
            (
                pattern()
                    .new_tree(&mut runner)
                    .expect("a pattern")
                    .current(),
                None,
            )
        })
        .collect();
    let same = check(&questions);
    assert!(same > 600, "only {same} compared");
}

#[test]
fn the_program_itself_says_the_same() {
    let (file, inventory) = ini();
    for (pattern, limit) in [
        ("web:!web1", None),
        ("eu[0:4]", None),
        ("all", Some("mixed:&web")),
        ("~.b", Some("!db")),
    ] {
        let output = Command::new("ansible")
            .arg("-i")
            .arg(file.path())
            .args([pattern, "--list-hosts"])
            .args(limit.into_iter().flat_map(|limit| ["--limit", limit]))
            .env("ANSIBLE_TRANSFORM_INVALID_GROUP_CHARS", "ignore")
            .output()
            .expect("ansible runs (make needs)");
        let text = String::from_utf8_lossy(&output.stdout);
        let theirs: BTreeSet<String> = text
            .lines()
            .skip(1)
            .map(|line| line.trim().to_owned())
            .collect();
        assert_eq!(ours(&inventory, pattern, limit), Ok(theirs), "{pattern}");
    }
}
