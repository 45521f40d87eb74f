//! How hosts are reached: the transport and the settings of SSH, at hosts, at groups and at the top of a file.

use midflight_inventory::{Inventory, Transport};

fn load(text: &str) -> Inventory {
    Inventory::parse(text, "inv.yaml").expect("a good inventory")
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = Inventory::parse(text, "inv.yaml").expect_err("this file is wrong");
    let first = error.to_string().lines().next().unwrap_or("").to_owned();
    assert_eq!(format!("{} {first}", error.code()), expected, "\n{text}");
}

fn shown(inventory: &Inventory, host: &str) -> String {
    let host = inventory.host(host).expect("listed");
    serde_json::to_string(&host.ssh()).expect("plain data")
}

#[test]
fn ssh_settings_are_inherited_one_by_one_and_the_nearest_counts() {
    let inventory = load(
        r#"
transport: ssh
ssh: {user: top, port: 2222}
groups:
  all_eu: {children: [web], ssh: {user: eu, args: "-o 'ProxyCommand=nc %h %p' -J b"}}
  web:
    ssh: {port: 22}
    hosts: {w1: , w2: {ssh: {identity_file: ~/.ssh/w2, args: [-F, my config]}}, w3: {transport: grpc}}
  db: {hosts: {d1: {address: 10.0.0.1, port: 7401}}}
"#,
    );
    assert_eq!(
        shown(&inventory, "w1"),
        r#"{"user":"eu","port":22,"args":["-o","ProxyCommand=nc %h %p","-J","b"]}"#
    );
    assert_eq!(
        shown(&inventory, "w2"),
        r#"{"user":"eu","port":22,"identity_file":"~/.ssh/w2","args":["-F","my config"]}"#
    );
    assert_eq!(shown(&inventory, "w3"), "null");
    let grpc = inventory.host("w3").expect("listed");
    assert_eq!(grpc.transport(), Transport::Grpc);
    assert_eq!(shown(&inventory, "d1"), r#"{"user":"top","port":2222}"#);
    // The port of the agent and that of the SSH server are two things.
    let database = inventory.host("d1").expect("listed");
    assert_eq!(
        (database.transport(), database.address(), database.port()),
        (Transport::Ssh, "10.0.0.1", 7401)
    );
}

#[test]
fn ssh_without_settings_is_ssh_as_ssh_config_says() {
    let inventory = load("groups: {g: {hosts: {a: {transport: ssh}, b: }}}");
    assert_eq!(shown(&inventory, "a"), "{}");
    assert_eq!(shown(&inventory, "b"), "null");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    refused(
        "groups: {g: {hosts: {a: {ssh: {user: x}}}}}",
        "MF0107 inv.yaml:1:26: the transport of hosts with ssh settings must be given, with transport: ssh, not left out",
    );
    refused(
        "groups: {g: {ssh: {user: x}, hosts: {a: }}}",
        "MF0107 inv.yaml:1:14: the transport of hosts with ssh settings must be given, with transport: ssh, not left out",
    );
    refused(
        "groups: {g: {transport: ssh, ssh: {args: \"-o 'x\"}}}",
        "MF0107 inv.yaml:1:46: the ssh args of g must be quoted as a shell has it, not this quote is never closed",
    );
    refused(
        "groups: {g: {transport: ssh, ssh: {port: 0}}}",
        "MF0107 inv.yaml:1:42: the ssh port of g must be a number from 1 to 65535, not 0",
    );
    refused(
        "transport: ssh\nssh: {usr: x}",
        "MF0106 inv.yaml:2:7: unknown key \"usr\" in ssh",
    );
}
