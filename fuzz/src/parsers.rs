//! What is done with bytes from outside, one function a parser: it must not panic, hang or take memory without bound, and
//! what it accepts must be what it says. The fuzz targets call these; so does an ordinary test, over seeds that it mutates.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use midflight_contract as contract;
use midflight_inventory::{Input, Inventory};
use midflight_patch::{AllowedSigners, Bundle, Manifest, ModuleName, Release, component};
use midflight_ssh::known_hosts::Trusted;
use midflight_ssh::{Account, Config, Destination, HostKey, KnownHosts};
use ssh_key::PublicKey;

/// A signer, for signatures to be held against.
pub const SIGNERS: &str = "me@fuzz namespaces=\"patch@midflight\" ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIMtL/7m9Um0AyQMBlgVNyQ3y8X2bCJ6Vd1Hk8Yk3o1qS\n";

/// A bundle archive: what is read is written again as the same bundle.
pub fn bundle(bytes: &[u8]) {
    let Ok(bundle) = Bundle::read_from(bytes, "fuzz") else {
        return;
    };
    let written = bundle.to_bytes().expect("what was read can be written");
    let again = Bundle::read_from(written.as_slice(), "fuzz").expect("what was written is read");
    assert_eq!(bundle.digest(), again.digest());
    let _ = bundle.check_components();
}

/// A manifest: only the one canonical form of it is accepted.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::parse(bytes) else {
        return;
    };
    let written = manifest.to_bytes().expect("what was read can be written");
    assert_eq!(written, bytes, "a manifest has one form");
    if let Ok(release) = Release::from_manifest(&manifest) {
        let _ = release.apply(&manifest);
        let _ = release.digest();
    }
}

/// An allowed signers file.
pub fn signers(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = AllowedSigners::parse(text, "fuzz");
    }
}

/// An armored signature: nobody has signed this message.
pub fn signature(bytes: &[u8]) {
    let (Ok(text), Ok(signers)) = (
        std::str::from_utf8(bytes),
        AllowedSigners::parse(SIGNERS, "fuzz"),
    ) else {
        return;
    };
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let message = b"a message that nobody signed";
    let principals = signers.verify("patch@midflight", message, &[text], now);
    assert!(principals.is_err(), "a signature was forged");
}

/// A patch description or a release description, in YAML.
pub fn spec(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = midflight_patch::check_spec(text, "fuzz");
    }
}

/// A pattern on the first line, an inventory on the others: a native one, a list of hosts, Ansible's INI or YAML, or what an
/// executable inventory prints. What a pattern names is of the inventory, and its folded names are the same hosts.
pub fn inventory(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (pattern, text) = text.split_once('\n').unwrap_or((text, ""));
    let _ = midflight_inventory::expand(pattern);
    for name in ["fuzz", "fuzz.json", "fuzz.ini", "fuzz.yaml"] {
        if let Ok(inventory) = Inventory::parse_any(text, name) {
            let _ = inventory.ansible_list();
            let _ = inventory.graph();
            select(&inventory.without_lists(), pattern);
        }
    }
    if let Ok(inventory) = Inventory::parse(text, "fuzz") {
        select(&inventory.without_lists(), pattern);
    }
}

/// A fleet for patterns.
const FLEET: &str = "[web]\nweb[01:20].eu\n[db]\ndb[a:f]\nn[1:9]-r[1:3]\n[canary]\nweb[01:03].eu\n[prod:children]\nweb\ndb\n";

/// A pattern of Ansible's, of ClusterShell's or with names and ranges, for one fleet; alone, and narrowed by itself.
pub fn pattern(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    static INVENTORY: OnceLock<Inventory> = OnceLock::new();
    let inventory = INVENTORY.get_or_init(|| {
        let inventory = Inventory::parse_any(FLEET, "fuzz.ini").expect("a good inventory");
        inventory.without_lists()
    });
    let count = select(inventory, text);
    let narrowed = midflight_inventory::narrow(text, Some(text), &[]);
    if let (Some(all), Some(some)) = (count, select(inventory, &narrowed)) {
        assert_eq!(all, some, "{text:?} and itself");
    }
}

/// How many hosts a pattern names, if it is one. No list of this machine is read.
fn select(inventory: &Inventory, pattern: &str) -> Option<usize> {
    let hosts = inventory.select(pattern).ok()?;
    let names: Vec<&str> = hosts.iter().map(|host| host.name()).collect();
    assert!(names.iter().all(|name| inventory.host(name).is_some()));
    let folded = midflight_inventory::fold_nodes(&names);
    assert_eq!(folded.is_empty(), names.is_empty());
    Some(names.len())
}

/// A node set: folded and read again it has the same nodes. Large ones are read, and no more: they would take all the time.
pub fn nodes(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let read = |text: &str| Inventory::read(&[Input::Nodes(text.to_owned())]);
    let Ok(inventory) = read(text) else {
        return;
    };
    if inventory.hosts().len() > 10_000 {
        return;
    }
    let names = |inventory: &Inventory| -> BTreeSet<String> {
        let hosts = inventory.hosts().iter();
        hosts.map(|host| host.name().to_owned()).collect()
    };
    let names_of = names(&inventory);
    let folded = midflight_inventory::fold_nodes(&names_of);
    let again = read(&folded).unwrap_or_else(|error| panic!("{folded:?}: {error}"));
    assert_eq!(names(&again), names_of, "{folded:?}");
}

/// An `ssh_config`: read, its aliases told, and resolved for some destinations. Commands in it are not run.
pub fn ssh_config(bytes: &[u8]) {
    let path = in_a_file("ssh_config", bytes);
    let _ = midflight_ssh::config::aliases(&path);
    let Ok(config) = Config::load_for(account(), Some(&path)) else {
        return;
    };
    // `Match exec` is what resolving would run; its word may be in quotes, or in a file that is included.
    let letters: Vec<u8> = bytes.iter().map(u8::to_ascii_lowercase).collect();
    let letters: Vec<u8> = letters.into_iter().filter(u8::is_ascii_lowercase).collect();
    let has = |word: &[u8]| letters.windows(word.len()).any(|letters| letters == word);
    if has(b"exec") || has(b"include") {
        return;
    }
    for host in ["web1.eu", "10.0.0.1", "a"] {
        if let Ok(resolved) = config.resolve(&Destination::new(host)) {
            let _ = resolved.jump();
        }
    }
}

/// A `known_hosts`: nobody is known whose key does not stand in the line that is told.
pub fn known_hosts(bytes: &[u8]) {
    let path = in_a_file("known_hosts", bytes);
    let key = SIGNERS.split_once("ssh-ed25519 ").expect("a key").1.trim();
    let offered = PublicKey::from_openssh(&format!("ssh-ed25519 {key}")).expect("a key");
    let config = Config::load_for(account(), Some(Path::new("none"))).expect("no file");
    for (host, port) in [("web1.eu", 22), ("10.0.0.1", 2222)] {
        let mut to = Destination::new(host);
        to.port = Some(port);
        to.options = [
            "-o",
            "GlobalKnownHostsFile=none",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
        ]
        .map(str::to_owned)
        .into();
        to.options
            .push(format!("UserKnownHostsFile={}", path.display()));
        let to = config.resolve(&to).expect("good options");
        let known = KnownHosts::default();
        let _ = known.algorithms(&to);
        match known.verify(&to, None, HostKey::Key(&offered)) {
            Ok(Trusted::Known(at)) => {
                let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
                let line = lines[at.line as usize - 1];
                assert!(String::from_utf8_lossy(line).contains(key), "{at}");
            }
            Ok(other) => panic!("a key alone, and nothing is written: {other:?}"),
            Err(_) => {}
        }
    }
}

/// A file with these bytes, which the next call of this process replaces.
fn in_a_file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("midflight-fuzz-{}-{name}", std::process::id()));
    std::fs::write(&path, bytes).expect("a file can be written");
    path
}

fn account() -> Account {
    Account {
        user: "me".to_owned(),
        uid: 1_000,
        home: "/nonexistent".into(),
        hostname: "here.eu".to_owned(),
    }
}

/// A component, as a bundle brings it.
pub fn component(bytes: &[u8]) {
    let name = ModuleName::new("fuzz").expect("a module's name");
    let _ = component::check(&name, "fuzz", bytes);
}

/// States and everything else that travels between the runtime and a module: what decodes encodes to the same bytes.
pub fn frames(bytes: &[u8]) {
    fn both<T: for<'a> contract::Wire<'a>>(bytes: &[u8]) {
        if let Ok(value) = contract::decode::<T>(bytes, 1024) {
            let mut again = Vec::new();
            contract::encode(&value, &mut again);
            assert_eq!(again, bytes, "a value has one form");
        }
    }
    both::<contract::Init>(bytes);
    both::<contract::Handle>(bytes);
    both::<contract::CodeChange>(bytes);
    both::<contract::ConvertEvent>(bytes);
    both::<contract::Apply>(bytes);
    both::<contract::Terminate>(bytes);
    both::<contract::Batch>(bytes);
    both::<Result<contract::Started, String>>(bytes);
    both::<Vec<Result<contract::Migrated, String>>>(bytes);
    both::<Result<Option<contract::Event>, String>>(bytes);
    both::<Vec<contract::Effect>>(bytes);
    let _ = contract::Batch::decode(bytes, 64, 1024, &mut contract::BatchRoom::default());
}
