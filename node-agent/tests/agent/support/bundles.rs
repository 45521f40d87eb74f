//! Releases and patches of the application `app`, and who signs them. A component is a line of text that the target of
//! these tests understands.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use midflight_patch::{
    Bundle, Digest, KeyFile, Manifest, ModuleEntry, ModuleName, Restart, SCHEMA, Start, Update,
    Vsn, WORLD,
    plan::Direction,
    ssh_key::{
        LineEnding, PrivateKey,
        private::{Ed25519Keypair, KeypairData},
    },
};
use serde_json::Value;

pub struct Signers {
    folder: PathBuf,
}

impl Signers {
    /// Ann and Bob may sign; Old may no more, and Eve never could.
    pub fn new(folder: &Path) -> Self {
        let signers = Self {
            folder: folder.to_owned(),
        };
        let [ann, bob, old] = ["ann", "bob", "old"].map(|name| signers.make(name));
        signers.make("eve");
        let text = format!("ann {ann}\nbob {bob}\nold valid-before=\"20200101Z\" {old}\n");
        fs::write(folder.join("allowed_signers"), text).unwrap();
        signers
    }

    fn make(&self, name: &str) -> String {
        let seed = *Digest::of(name.as_bytes()).as_bytes();
        let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
        let key = PrivateKey::new(pair, "").unwrap();
        let path = self.folder.join(name);
        fs::write(&path, key.to_openssh(LineEnding::LF).unwrap()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        key.public_key().to_openssh().unwrap()
    }

    pub fn sign(&self, bundle: &mut Bundle, name: &str) {
        bundle
            .sign(&KeyFile::open(&self.folder.join(name), |_| None).unwrap())
            .unwrap();
    }
}

fn bundle(manifest: Manifest, components: &[String]) -> Bundle {
    let blobs = components
        .iter()
        .map(|text| (Digest::of(text.as_bytes()), text.clone().into_bytes()));
    let manifest_bytes = manifest.to_bytes().unwrap();
    Bundle {
        manifest,
        manifest_bytes,
        blobs: blobs.collect::<BTreeMap<_, _>>(),
        signatures: Vec::new(),
    }
}

fn entry(name: &str, vsn: &str, from: Option<&str>, component: &str) -> ModuleEntry {
    ModuleEntry {
        name: ModuleName::new(name).unwrap(),
        vsn: Vsn::new(vsn).unwrap(),
        from: from.map(|from| from.parse().unwrap()),
        update: Update::Advanced,
        extra: Value::Null,
        config: Value::Null,
        blob: Digest::of(component.as_bytes()),
        size: component.len() as u64,
    }
}

/// Release 1.
pub fn release() -> Bundle {
    let components = [
        "component counter 1".to_owned(),
        "component greeter 1".to_owned(),
    ];
    let start = Start {
        name: "counter".into(),
        module: ModuleName::new("counter").unwrap(),
        args: Value::from(10),
        count: 3,
        restart: Restart::Permanent,
    };
    let manifest = Manifest {
        schema: SCHEMA,
        name: "app".into(),
        from: None,
        to: Vsn::new("1").unwrap(),
        world: WORLD.into(),
        modules: vec![
            entry("counter", "1", None, &components[0]),
            entry("greeter", "1", None, &components[1]),
        ],
        start: vec![start],
        applications: Vec::new(),
        listen: Some(vec![8080]),
        connect: None,
        direction: Direction::Up,
        instructions: Vec::new(),
        relup: None,
    };
    bundle(manifest, &components)
}

/// A patch of the counter.
pub fn patch(from: &str, to: &str) -> Bundle {
    patch_with(from, to, "")
}

/// The same, with more words in the component: `broken` does not compile, `fails` fails in code_change.
pub fn patch_with(from: &str, to: &str, words: &str) -> Bundle {
    let component = format!("component counter {to} {words}");
    let manifest = Manifest {
        schema: SCHEMA,
        name: "app".into(),
        from: Some(from.parse().unwrap()),
        to: Vsn::new(to).unwrap(),
        world: WORLD.into(),
        modules: vec![entry("counter", to, Some(from), &component)],
        start: Vec::new(),
        applications: Vec::new(),
        listen: None,
        connect: None,
        direction: Direction::Up,
        instructions: Vec::new(),
        relup: None,
    };
    bundle(manifest, &[component])
}

/// The one blob of a patch.
pub fn blob(patch: &Bundle) -> (Digest, Vec<u8>) {
    let (digest, bytes) = patch.blobs.iter().next().unwrap();
    (*digest, bytes.clone())
}
