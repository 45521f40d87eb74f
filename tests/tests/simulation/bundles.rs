//! The release that simulated nodes boot, and the patches that are rolled out: signed with a key that is the same in every run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use midflight_agent::embed::{Signers, Trust, Verified};
use midflight_controller::engine::payload::Payload;
use midflight_patch::ssh_key::private::{Ed25519Keypair, KeypairData};
use midflight_patch::ssh_key::{LineEnding, PrivateKey};
use midflight_patch::{Bundle, Digest, KeyFile, Manifest, Release, WORLD};

/// What is made once for all seeds.
pub struct Bundles {
    pub trust: Trust,
    pub boot: Arc<Verified>,
    /// From 1 to 2.
    pub patch: Arc<Payload>,
    /// From 1 or 2 to 3.
    pub rival: Arc<Payload>,
    /// What 1, 2 and 3 consist of.
    pub releases: [Release; 3],
    _folder: tempfile::TempDir,
}

/// The application's name.
pub const NAME: &str = "simulated";

/// The same ones every time.
pub fn bundles() -> &'static Bundles {
    static BUNDLES: OnceLock<Bundles> = OnceLock::new();
    BUNDLES.get_or_init(make)
}

fn make() -> Bundles {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    };
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&[7; 32]));
    let key = PrivateKey::new(pair, "oncall@simulation.invalid").unwrap();
    let public = key.public_key().to_openssh().unwrap();
    let line = format!("oncall@simulation.invalid namespaces=\"patch@midflight\" {public}\n");
    let trust = Trust {
        signers: Signers::read(&write("allowed_signers", line.as_bytes())).unwrap(),
        required: 1,
    };
    let signer = write("signer", key.to_openssh(LineEnding::LF).unwrap().as_bytes());
    let signer = KeyFile::open(&signer, |_| None).unwrap();
    let mut release = bundle(None, "1");
    release.sign(&signer).unwrap();
    let mut patch = bundle(Some("1"), "2");
    patch.sign(&signer).unwrap();
    let mut rival = bundle(Some("1|2"), "3");
    rival.sign(&signer).unwrap();
    let from = Release::from_manifest(&release.manifest).unwrap();
    let to = from.apply(&patch.manifest).unwrap();
    let last = from.apply(&rival.manifest).unwrap();
    let path = folder.path().join("release.bundle");
    release.write(&path).unwrap();
    let boot = Verified::read(&path, &trust, SystemTime::now()).unwrap();
    Bundles {
        trust,
        boot: Arc::new(boot),
        patch: Arc::new(Payload::from(patch)),
        rival: Arc::new(Payload::from(rival)),
        releases: [from, to, last],
        _folder: folder,
    }
}

/// A release, or the patch from one. The component is none: nothing runs it.
fn bundle(from: Option<&str>, to: &str) -> Bundle {
    let component: Vec<u8> = to.bytes().cycle().take(3_000).collect();
    let blob = Digest::of(&component);
    let start = match from {
        None => {
            serde_json::json!([{"name": "counter", "module": "counter", "args": null, "count": 1, "restart": "permanent"}])
        }
        Some(_) => serde_json::json!([]),
    };
    let manifest: Manifest = serde_json::from_value(serde_json::json!({
        "schema": 1, "name": NAME, "from": from, "to": to, "world": WORLD,
        "modules": [{
            "name": "counter", "vsn": to, "from": from, "update": "advanced", "extra": null, "config": null,
            "blob": blob, "size": component.len(),
        }],
        "start": start, "listen": null,
    }))
    .unwrap();
    let blobs = BTreeMap::from([(blob, component)]);
    Bundle::assemble(manifest.to_bytes().unwrap(), blobs, Vec::new()).unwrap()
}
