//! How the hosts of Ansible's inventories are reached.

use std::fs;
use std::path::{Path, PathBuf};

use midflight_inventory::{Error, Inventory, Transport};

fn load(files: &[(&str, &str)]) -> Result<Inventory, Error> {
    let dir = tempfile::tempdir().expect("a folder");
    let mut sources: Vec<PathBuf> = Vec::new();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a folder");
        fs::write(&path, text).expect("a file");
        if !name.contains('/') {
            sources.push(path);
        }
    }
    Inventory::load(&sources)
}

fn shown(inventory: &Inventory, host: &str) -> String {
    let host = inventory.host(host).expect("listed");
    let ssh = serde_json::to_string(&host.ssh()).expect("plain data");
    format!(
        "{} {} {} {ssh}",
        host.transport(),
        host.address(),
        host.port()
    )
}

#[test]
fn connection_variables_become_settings_of_ssh() {
    let hosts = r#"
plain
named ansible_host=10.0.0.1 ansible_port=2222 ansible_user=deploy
old ansible_host=10.0.0.1 ansible_ssh_host=10.0.0.2 ansible_ssh_port='"23"' ansible_ssh_user=root
keyed ansible_private_key_file=~/.ssh/a ansible_ssh_private_key_file=~/.ssh/b
ported:2200
[g]
args ansible_ssh_extra_args="-v"
[g:vars]
ansible_user=group
ansible_ssh_common_args=-o ProxyCommand="ssh -W %h:%p bastion" -J b
"#;
    let inventory = load(&[("hosts", hosts)]).expect("good");
    for (host, expected) in [
        ("plain", "ssh plain 7400 {}"),
        (
            "named",
            r#"ssh 10.0.0.1 7400 {"user":"deploy","port":2222}"#,
        ),
        ("old", r#"ssh 10.0.0.2 7400 {"user":"root","port":23}"#),
        ("keyed", r#"ssh keyed 7400 {"identity_file":"~/.ssh/b"}"#),
        ("ported", r#"ssh ported 7400 {"port":2200}"#),
        (
            "args",
            r#"ssh args 7400 {"user":"group","args":["-o","ProxyCommand=ssh -W %h:%p bastion","-J","b","-v"]}"#,
        ),
    ] {
        assert_eq!(shown(&inventory, host), expected);
    }
}

#[test]
fn midflights_own_variables_choose_grpc_its_port_and_the_zone() {
    let hosts = "[g]\na ansible_host=10.0.0.1 midflight_port=7500\nb midflight_transport=ssh\n[g:vars]\nmidflight_transport=grpc\nmidflight_zone=eu-1\n";
    let inventory = load(&[("hosts", hosts)]).expect("good");
    assert_eq!(shown(&inventory, "a"), "grpc 10.0.0.1 7500 null");
    assert_eq!(shown(&inventory, "b"), "ssh b 7400 {}");
    let host = inventory.host("a").expect("listed");
    assert_eq!(host.transport(), Transport::Grpc);
    assert_eq!(host.zone(), Some("eu-1"));
}

#[test]
fn files_of_variables_count_for_connections_too() {
    let files = [
        ("hosts", "[g]\na\nb\n"),
        (
            "group_vars/g.yml",
            "ansible_user: group\nansible_port: '2222'\n",
        ),
        ("host_vars/b.yml", "ansible_user: !unsafe 1000\n"),
    ];
    let inventory = load(&files).expect("good");
    assert_eq!(
        shown(&inventory, "a"),
        r#"ssh a 7400 {"user":"group","port":2222}"#
    );
    assert_eq!(
        shown(&inventory, "b"),
        r#"ssh b 7400 {"user":"1000","port":2222}"#
    );
}

#[test]
fn a_native_file_beside_ansibles_adds_groups_policy_and_settings() {
    let files = [
        ("hosts", "[g]\na\nb\n"),
        (
            "more.yaml",
            "groups:\n  canary: {hosts: {a: }, ssh: {user: canary}, transport: ssh}\n  everything: {children: [g]}\npolicy: {waves: [1]}\n",
        ),
    ];
    let inventory = load(&files).expect("good");
    assert_eq!(shown(&inventory, "a"), r#"ssh a 7400 {"user":"canary"}"#);
    assert_eq!(shown(&inventory, "b"), "ssh b 7400 {}");
    assert!(inventory.policy().is_some());
    let host = inventory.host("b").expect("listed");
    assert_eq!(host.groups().collect::<Vec<_>>(), ["everything", "g"]);
}

#[test]
fn a_connection_setting_that_cannot_be_used_is_an_error_that_names_it() {
    let vault = "!vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n";
    for (files, expected) in [
        (
            vec![("hosts", "a ansible_host='{{ b }}'\n".to_owned())],
            "hosts:1:3: ansible_host of host a is a template with b, which no source sets",
        ),
        (
            vec![(
                "hosts",
                "a ansible_user=\"{{ lookup('env', 'USER') }}\"\n".to_owned(),
            )],
            "hosts:1:3: ansible_user of host a is a template that does more than name variables, which is not evaluated",
        ),
        (
            vec![
                ("hosts", "[g]\na\n".to_owned()),
                ("group_vars/g", format!("x: 1\nansible_user: {vault}")),
            ],
            "group_vars/g:2:1: ansible_user of host a is encrypted by ansible-vault",
        ),
        (
            vec![("hosts", "a ansible_port=0\n".to_owned())],
            "hosts:1:3: ansible_port of host a is \"0\", and not a number from 1 to 65535",
        ),
        (
            vec![(
                "hosts",
                "[g]\na\n[g:vars]\nmidflight_transport=telnet\n".to_owned(),
            )],
            "hosts:4:1: midflight_transport of host a is \"telnet\", which is neither ssh nor grpc",
        ),
        (
            vec![("hosts", "a ansible_ssh_common_args=\"-o 'x\"\n".to_owned())],
            "hosts:1:3: ansible_ssh_common_args of host a is misquoted: this quote is never closed",
        ),
    ] {
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        let error = load(&files).expect_err("cannot be used");
        assert_eq!(error.code(), "MF0125");
        let first = error.to_string().lines().next().unwrap_or("").to_owned();
        assert!(first.ends_with(expected), "{first}");
    }
}

#[test]
fn templates_that_only_name_variables_are_filled_in_for_each_host() {
    let hosts = r#"
[g]
a bastion=b1 site=eu
b bastion=b2 site=us
[g:vars]
ansible_host={{ inventory_hostname }}.{{ site }}.example.com
ansible_ssh_common_args=-J {{ jump }}
jump=ops@{{ bastion }}
"#;
    let inventory = load(&[("hosts", hosts)]).expect("good");
    assert_eq!(
        shown(&inventory, "a"),
        r#"ssh a.eu.example.com 7400 {"args":["-J","ops@b1"]}"#
    );
    assert_eq!(
        shown(&inventory, "b"),
        r#"ssh b.us.example.com 7400 {"args":["-J","ops@b2"]}"#
    );
}

#[test]
fn a_key_beside_the_inventory_is_found_by_its_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let hosts = dir.path().join("hosts");
    fs::write(
        &hosts,
        "a ansible_ssh_private_key_file='{{ inventory_dir }}/keys/id'\n",
    )
    .expect("written");
    let inventory = Inventory::load(&[hosts]).expect("good");
    let ssh = inventory
        .host("a")
        .and_then(|host| host.ssh())
        .expect("SSH");
    assert_eq!(ssh.identity_file, Some(dir.path().join("keys/id")));
}

#[test]
fn what_a_native_source_says_of_a_host_counts_before_variables() {
    let files = [
        (
            "hosts",
            "[g]\na ansible_host=10.0.0.1 ansible_port=2222 ansible_user=x midflight_zone=v\n",
        ),
        (
            "own.yaml",
            "groups: {own: {hosts: {a: {address: 10.9.9.9, zone: n, transport: ssh, ssh: {user: own}}}}}\n",
        ),
    ];
    let inventory = load(&files).expect("good");
    assert_eq!(
        shown(&inventory, "a"),
        r#"ssh 10.9.9.9 7400 {"user":"own","port":2222}"#
    );
    assert_eq!(inventory.host("a").and_then(|host| host.zone()), Some("n"));
}

/// Why a host is not reachable, without the folder.
fn refused(inventory: &Inventory, host: &str) -> Option<String> {
    let error = inventory.host(host).expect("listed").reachable().err()?;
    assert_eq!(error.code(), "MF0128");
    let text = error.to_string();
    let first = text.lines().next().unwrap_or("");
    Some(first.rsplit('/').next().unwrap_or("").to_owned())
}

#[test]
fn a_host_that_is_not_reached_by_ssh_is_listed_and_refused_once_it_is_to_be_reached() {
    let hosts = r#"
localhost ansible_connection=local
plain
here ansible_connection='{{ how }}'
other ansible_connection="{{ lookup('env', 'X') }}"
told ansible_connection=winrm midflight_transport=grpc
[windows]
win[1:2]
back ansible_connection=ssh
[windows:vars]
ansible_connection=winrm
[by_ssh]
s1 ansible_connection=smart
s2 ansible_connection=paramiko
s3 ansible_connection=ansible.builtin.ssh
s4 ansible_connection=
[all:vars]
how=local
"#;
    let inventory = load(&[("hosts", hosts)]).expect("good");
    for (host, expected) in [
        (
            "localhost",
            Some("hosts:2:11: ansible_connection of host localhost is \"local\""),
        ),
        (
            "here",
            Some("hosts:4:6: ansible_connection of host here is \"local\""),
        ),
        (
            "other",
            Some("hosts:5:7: ansible_connection of host other is a template that does more"),
        ),
        (
            "win1",
            Some("hosts:11:1: ansible_connection of host win1 is \"winrm\""),
        ),
        (
            "win2",
            Some("hosts:11:1: ansible_connection of host win2 is \"winrm\""),
        ),
        ("plain", None),
        ("told", None),
        ("back", None),
        ("s1", None),
        ("s2", None),
        ("s3", None),
        ("s4", None),
    ] {
        let said = refused(&inventory, host);
        let starts = match (&said, expected) {
            (Some(said), Some(expected)) => said.starts_with(expected),
            (said, expected) => said.is_none() && expected.is_none(),
        };
        assert!(starts, "{host}: {said:?}");
    }
    assert_eq!(inventory.select("windows").expect("named").len(), 3);
}

#[test]
fn what_a_native_source_says_of_the_transport_counts_before_the_connection() {
    let files = [
        (
            "hosts",
            "[g]\na ansible_connection=local\nb ansible_connection=local\n",
        ),
        (
            "own.yaml",
            "groups: {own: {hosts: {a: {transport: ssh}}}}\n",
        ),
    ];
    let inventory = load(&files).expect("good");
    assert_eq!(refused(&inventory, "a"), None);
    assert!(refused(&inventory, "b").is_some());
}

#[test]
fn what_a_vault_hides_is_told_with_its_place() {
    let secret = "!vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n";
    let group = format!("x: 1\npassword: {secret}deep: [1, {{a: !vault y}}]\n");
    let hosts = format!(
        "g:\n  hosts:\n    a[1:3]:\n      token: {}",
        secret.replace('\n', "\n        ")
    );
    let files = [
        ("hosts.yaml", hosts.as_str()),
        ("group_vars/g", group.as_str()),
        ("host_vars/a1", "$ANSIBLE_VAULT;1.1;AES256\n6162\n"),
    ];
    let inventory = load(&files).expect("good");
    let sealed: Vec<String> = { inventory.sealed_variables().iter() }
        .map(|variable| {
            let at = variable.at.to_string();
            format!("{} {}", at.rsplit('/').next().unwrap_or(""), variable.name)
        })
        .collect();
    assert_eq!(
        sealed,
        ["hosts.yaml:4:7 token", "g:2:1 password", "g:5:1 deep"]
    );
    assert_eq!(inventory.sealed().len(), 1);
    assert!(inventory.sealed()[0].ends_with("host_vars/a1"));
}
