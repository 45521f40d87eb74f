//! The fuzz targets without a fuzzer: each over seeds of its own and 20,000 mutations of them, the same in every run. What a
//! fuzzer finds becomes a seed here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../fuzz/src/parsers.rs"]
#[allow(missing_docs)]
mod fuzz;
#[path = "../../../fuzz/src/node.rs"]
#[allow(missing_docs)]
mod node;

use std::path::PathBuf;

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
    }
}

/// Runs a target over seeds, and over what chance makes of them. A failure leaves its input in a file that it names.
fn run(target: fn(&[u8]), seeds: &[Vec<u8>], times: usize) {
    let attempt = |bytes: &[u8]| {
        let outcome = std::panic::catch_unwind(|| target(bytes));
        if outcome.is_err() {
            let path = std::env::temp_dir().join("midflight-failing-input");
            std::fs::write(&path, bytes).unwrap();
            panic!("the input is in {}", path.display());
        }
    };
    seeds.iter().for_each(|seed| attempt(seed));
    let mut random = Random(0x6d69_6466_6c69_6768);
    for _ in 0..times {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            match random.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, random.below(256) as u8),
                2 if !bytes.is_empty() => bytes[at] = random.below(256) as u8,
                3 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
                _ => {
                    let other = &seeds[random.below(seeds.len())];
                    let from = random.below(other.len());
                    let to = (from + random.below(32)).min(other.len());
                    bytes.splice(at..at, other[from..to].iter().copied());
                }
            }
        }
        attempt(&bytes);
    }
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn guest(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../guest/out/{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; run `make guests` first", path.display()))
}

fn encode(bytes: &[u8]) -> Result<Vec<u8>, midflight_patch::Error> {
    let name = midflight_patch::ModuleName::new("fuzz").unwrap();
    midflight_patch::component::encode(&name, "fuzz", bytes)
}

const RELEASE: &str = "name: first\nto: \"1.0.0\"\nmodules:\n  - { name: hello, file: hello.wasm }\nstart:\n  - { name: hello, module: hello }\n";
const PATCH: &str = "name: first\nfrom: \"1.0.0\"\nto: \"1.1.0\"\nmodules:\n  - { name: hello, file: hello_v2.wasm, update: advanced }\n";
const INVENTORY: &str = "web[1-9],!web3\ngroups:\n  web:\n    hosts:\n      web[1-9]: { address: 10.0.0.1 }\n  all:\n    children: [web]\n";
const INI: &str = "web:&prod\nlone ansible_host=10.0.0.1 ansible_port=22\n[web]\nweb[01:09:2].eu x='a b' # c\n[web:vars]\ny={'a': [1, 2.5, None]}\n[prod:children]\nweb\n";
const YAML: &str = "all\nall:\n  children:\n    web:\n      hosts:\n        web[1:3]: {ansible_user: me, ansible_ssh_common_args: '-J b'}\n      vars: &v {a: 0x1f, b: !vault x}\n    db: {vars: *v}\n";
const PRINTED: &str = r#"web
{"_meta": {"hostvars": {"a": {"ansible_host": "::1"}}}, "web": {"hosts": ["a", "b"], "vars": {"x": 1e3}}, "all": {"children": ["web"]}}"#;
const LIST: &str = "@web\nnode[001-003,7]\n# a comment\nlogin-[a:c]\n";
const PATTERNS: [&str; 8] = [
    "web:&prod:!canary",
    "web[0:3],db[-1]",
    "~(web|n)\\d+",
    "*.eu:!web0[1:5].eu",
    "@prod!@canary^dba",
    "n[1-9]-r[1-3/2]&@db",
    "(web*:!canary):&all",
    "web,!web01.eu",
];
const SSH_CONFIG: &str = "Host web* !web2\n  HostName %h.eu\n  User \"me\"\n  Port=22\n  ProxyJump a@b:1,c\n  IdentityFile ~/.ssh/%r\n\
    Match host a,b* originalhost \"web1\" !user x\n  ProxyCommand nc %h %p\n  UserKnownHostsFile ${HOME}/k none\n\
    Match localuser me final all\nServerAliveInterval 1m\nKexAlgorithms ^curve25519-sha256\nSetEnv A=b\n";
const KNOWN_HOSTS: &str = "web1.eu,10.0.0.1 ssh-ed25519 KEY me\n[10.0.0.1]:2222 ssh-ed25519 KEY\n@cert-authority *.eu,!a ssh-ed25519 KEY\n\
    @revoked * ssh-rsa AAAA\n|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ssh-ed25519 KEY\n# a comment\n";

/// A journal without its chain: each line an entry.
const ENTRIES: &str = r#"{"kind":"installed","release":RELEASE,"manifest":"DIGEST","signers":["me@first"]}
{"kind":"boot","release":"FROM","vsn":"1.0.0","agent":"0.1.0"}
{"kind":"staged","patch":{"manifest":"DIGEST","signatures":"DIGEST","blobs":["DIGEST"]},"signers":["me@first"]}
{"kind":"opened","key":KEY,"from":"FROM","to":TO,"back":{"name":"first","from":"1.1.0","to":"1.0.0","direction":"down","modules":[],"steps":[]},"signers":["me@first"]}
{"kind":"suspending","key":KEY}
{"kind":"resumed","key":KEY,"report":{"actors":1,"migrated_in_pause":0,"pause_us":120}}
{"kind":"sys","verb":"suspend","subject":"pid 1","peer":"operator"}
{"kind":"rolling_back","key":KEY,"reason":"a gate tripped"}
{"kind":"rolled_back","key":KEY,"outcome":"rolled_back","report":{"pinned":1,"migrated":0,"restored":0,"events_discarded":0,"stopped":0,"held":[],"redelivered":0,"pause_us":80}}
{"kind":"refused","order":"stage","key":null,"peer":"operator","signers":[],"code":"MF0401","what":"no signature","suppressed":3}"#;

/// A bundle that was built: a release of one guest, and its manifest.
fn built() -> (Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hello.wasm"), guest("hello_v1")).unwrap();
    let spec = dir.path().join("release.yaml");
    std::fs::write(&spec, RELEASE).unwrap();
    let bundle = midflight_patch::Bundle::build(&spec).unwrap();
    (bundle.to_bytes().unwrap(), bundle.manifest_bytes)
}

#[test]
fn a_bundle_of_any_bytes_is_read_whole_or_refused() {
    run(fuzz::bundle, &[built().0], 300);
}

#[test]
fn a_manifest_of_any_bytes_is_canonical_or_refused() {
    run(fuzz::manifest, &[built().1], 20_000);
}

#[test]
fn an_allowed_signers_file_of_any_text_is_read_or_refused() {
    let seeds = texts(&[
        fuzz::SIGNERS,
        "*@x,!y@x cert-authority,valid-after=\"20260101\",valid-before=\"20270101Z\" ssh-ed25519 AAAA\n# a comment\n",
    ]);
    run(fuzz::signers, &seeds, 20_000);
}

#[test]
fn a_signature_of_any_text_is_no_signature_of_what_nobody_signed() {
    let armor = "-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgy0v/ub1SbQDJAwGWBU3JDfLxfZ\n-----END SSH SIGNATURE-----\n";
    run(fuzz::signature, &texts(&[armor]), 20_000);
}

#[test]
fn a_description_of_any_text_is_read_or_refused() {
    run(fuzz::spec, &texts(&[RELEASE, PATCH]), 20_000);
}

#[test]
fn an_inventory_and_a_pattern_of_any_text_are_read_or_refused() {
    let seeds = [INVENTORY, INI, YAML, PRINTED, LIST];
    run(fuzz::inventory, &texts(&seeds), 20_000);
}

#[test]
fn a_pattern_of_any_text_names_hosts_of_the_inventory_or_is_refused() {
    run(fuzz::pattern, &texts(&PATTERNS), 20_000);
}

#[test]
fn a_node_set_of_any_text_is_folded_to_the_same_nodes_or_refused() {
    let seeds = texts(&[
        "n[001-010,12]!n005,rack[1-2]-n[3-4]",
        "a1&a[1-3]",
        "x[0-8/2]^x2",
    ]);
    run(fuzz::nodes, &seeds, 20_000);
}

#[test]
fn an_ssh_config_of_any_bytes_is_read_or_refused() {
    run(fuzz::ssh_config, &texts(&[SSH_CONFIG]), 5_000);
}

#[test]
fn known_hosts_of_any_bytes_make_nobody_known_whose_key_is_not_there() {
    let key = fuzz::SIGNERS.split_once("ssh-ed25519 ").unwrap().1;
    let seed = KNOWN_HOSTS.replace("KEY", key.trim());
    run(fuzz::known_hosts, &texts(&[&seed]), 5_000);
}

#[test]
fn a_component_of_any_bytes_is_checked_or_refused() {
    let component = encode(&guest("hello_v1")).unwrap();
    run(fuzz::component, &[component], 300);
}

#[test]
fn a_module_of_any_bytes_is_made_a_component_or_refused() {
    run(|bytes| drop(encode(bytes)), &[guest("hello_v1")], 300);
}

#[test]
fn a_frame_of_any_bytes_decodes_to_what_encodes_to_it_or_is_refused() {
    let mut seeds = vec![vec![1]];
    let mut frame = Vec::new();
    let event: midflight_contract::Event = midflight_contract::Event::Cast(b"state".to_vec());
    midflight_contract::encode(&Ok::<_, String>(Some(event)), &mut frame);
    seeds.push(frame.clone());
    let migrated: midflight_contract::Migrated = midflight_contract::Migrated {
        state: b"migrated".to_vec(),
        redeliver: Vec::new(),
    };
    midflight_contract::encode(&vec![Ok::<_, String>(migrated)], &mut frame);
    seeds.push(frame);
    run(fuzz::frames, &seeds, 50_000);
}

#[test]
fn a_component_of_any_bytes_is_staged_by_a_node_or_refused() {
    let component = encode(&guest("hello_v1")).unwrap();
    run(node::stage, &[component], 40);
}

#[test]
fn journal_lines_of_any_bytes_add_up_to_a_state_or_are_refused() {
    let entries = journal();
    let sealed = node::sealed(entries.lines());
    let count = entries.lines().count() as u64;
    assert_eq!(midflight_agent::check_journal(&sealed).unwrap(), count);
    run(node::journal, &[entries.into_bytes(), sealed], 5_000);
}

/// The entries of a node that booted a release, and was patched, confirmed, asked by `sys`, and rolled back.
fn journal() -> String {
    let (_, manifest) = built();
    let digest = midflight_patch::Digest::of(&manifest);
    let manifest = midflight_patch::Manifest::parse(&manifest).unwrap();
    let release = midflight_patch::Release::from_manifest(&manifest).unwrap();
    let from = release.digest().unwrap();
    let release = serde_json::json!(release);
    let mut to = release.clone();
    to["vsn"] = "1.1.0".into();
    let key = serde_json::json!({"rollout": "r-1", "patch": digest.to_string(), "attempt": 1});
    ENTRIES
        .replace("RELEASE", &release.to_string())
        .replace("FROM", &from.to_string())
        .replace("TO", &to.to_string())
        .replace("KEY", &key.to_string())
        .replace("DIGEST", &digest.to_string())
}
