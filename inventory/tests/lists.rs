//! Lists of hosts, node sets and names from elsewhere as inventories, alone and beside other sources.

use std::fs;
use std::path::PathBuf;

use midflight_inventory::{Input, Inventory, Named, Transport, fold_nodes};

fn hosts(inventory: &Inventory) -> String {
    fold_nodes(inventory.hosts().iter().map(|host| host.name()))
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("written");
        path
    }
}

#[track_caller]
fn read(inputs: &[Input]) -> Inventory {
    Inventory::read(inputs).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_list_has_a_name_or_a_node_set_a_line() {
    let folder = Folder::new();
    let text = "# the cluster\nlogin.eu\n\n  node[001-500,600]   # compute\nr[1-2]n[1-3]!r1n2, login.eu\nweb[01:03]\n";
    let path = folder.file("hosts", text);
    let inventory = read(&[Input::Path(path)]);
    assert_eq!(
        hosts(&inventory),
        "login.eu,node[001-500,600],r1n[1,3],r2n[1-3],web[01-03]"
    );
    let host = inventory.host("node007").expect("a host");
    assert_eq!(
        (host.address(), host.transport()),
        ("node007", Transport::Ssh)
    );
    assert_eq!(host.groups().collect::<Vec<_>>(), ["ungrouped"]);
    assert_eq!(
        inventory.select("ungrouped[1]").expect("there")[0].name(),
        "node001"
    );
}

#[test]
fn a_node_set_is_an_inventory() {
    let inventory = read(&[Input::Nodes("node[1-5],login!node3".to_owned())]);
    assert_eq!(hosts(&inventory), "node[1-2,4-5],login");
    assert!(
        read(&[Input::Nodes("fe80::1".to_owned())])
            .host("fe80::1")
            .is_some()
    );
}

#[test]
fn sources_of_every_kind_make_one_inventory() {
    let folder = Folder::new();
    let config = folder.file("config", "Host bastion web1\nHost db*\n");
    let native = folder.file(
        "fleet.yaml",
        "groups: {web: {hosts: {'web[1:2]': {port: 7401}}}}\n",
    );
    let ini = folder.file("more.ini.hosts", "[db]\ndb1 ansible_user=root\n");
    let named = |name: &str, line| Named {
        name: name.to_owned(),
        file: config.clone(),
        line,
        arguments: (name == "bastion").then(|| "-F '/my own/config'".to_owned()),
    };
    let inventory = read(&[
        Input::Path(native),
        Input::Path(ini),
        Input::Names(vec![named("bastion", 1), named("web1", 1)]),
        Input::Nodes("n[1-2],db1".to_owned()),
    ]);
    assert_eq!(hosts(&inventory), "web[1-2],db1,bastion,n[1-2]");
    let port = |name: &str| inventory.host(name).map(|host| host.port());
    assert_eq!((port("web1"), port("db1")), (Some(7401), Some(7400)));
    let user = inventory
        .host("db1")
        .and_then(|host| host.ssh()?.user.clone());
    assert_eq!(user.as_deref(), Some("root"));
    let arguments = |name: &str| {
        inventory
            .host(name)
            .and_then(|host| Some(&host.ssh()?.common_args))
    };
    assert_eq!(
        arguments("bastion").expect("over SSH"),
        &["-F", "/my own/config"]
    );
    let members = |group: &str| hosts_of(&inventory, group);
    assert_eq!(
        (members("ungrouped"), members("web")),
        ("bastion,n[1-2]".into(), "web[1-2]".into())
    );
}

fn hosts_of(inventory: &Inventory, group: &str) -> String {
    let group = inventory.group(group).expect("a group");
    fold_nodes(inventory.members(group).into_iter().map(|host| host.name()))
}

#[test]
fn what_is_wrong_in_a_list_is_shown_with_its_line() {
    let folder = Folder::new();
    for (text, code, place) in [
        ("a\nn[1-3]\nn[3-1]\n", "MF0142", "3:2"),
        ("n[1-3]\nb,,c\n", "MF0142", "2:3"),
        ("n[1-3]\n  two words\n", "MF0109", "2:3"),
        ("n[1-3]\nx,-y[1-2]\n", "MF0109", "2:3"),
        ("n[1-3]\nall\n", "MF0109", "2:1"),
        ("n[1-3]\nm[1-1000001]\n", "MF0115", "2:1"),
        ("n[1-3]\nm[1:3\n", "MF0114", "2:2"),
    ] {
        let path = folder.file("hosts", text);
        let error = Inventory::load(std::slice::from_ref(&path)).expect_err("refused");
        let wanted = format!("{}:{place}", path.display());
        assert_eq!(
            (error.code(), error.place().map(ToString::to_string)),
            (code, Some(wanted)),
            "{text:?}"
        );
    }
    let named = Named {
        name: "two words".to_owned(),
        file: folder.file("config", "Host a\nHost \"two words\"\n"),
        line: 2,
        arguments: None,
    };
    let error = Inventory::read(&[Input::Names(vec![named])]).expect_err("refused");
    assert!(
        error.to_string().contains("\n 2 | Host \"two words\"\n"),
        "{error}"
    );
    let error = Inventory::read(&[Input::Nodes("n[1-3],[".to_owned())]).expect_err("refused");
    assert_eq!(
        error.place().map(ToString::to_string).as_deref(),
        Some("nodes:1:8")
    );
}

#[test]
fn what_ansible_can_read_stays_ansibles() {
    let folder = Folder::new();
    let plain = folder.file("plain", "web1:2222\nweb2\n");
    assert_eq!(hosts(&read(&[Input::Path(plain)])), "web[1-2]");
    let sections = folder.file("sections", "n[1:3]\n[db]\ndb1\n");
    assert!(read(&[Input::Path(sections)]).group("db").is_some());
    let both = folder.file("both", "n[1-3]\n[db]\ndb1\n");
    let error = Inventory::load(&[both]).expect_err("node sets are not Ansible's");
    assert_eq!(error.code(), "MF0114");
}
