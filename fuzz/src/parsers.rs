//! What is done with bytes from outside, one function a parser: it must not panic, hang or take memory without bound, and
//! what it accepts must be what it says. The fuzz targets call these; so does an ordinary test, over seeds that it mutates.

use std::time::{Duration, UNIX_EPOCH};

use midflight_contract as contract;
use midflight_inventory::Inventory;
use midflight_patch::{AllowedSigners, Bundle, Manifest, ModuleName, Release, component};

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

/// A pattern on the first line, an inventory of any format on the others.
pub fn inventory(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (pattern, text) = text.split_once('\n').unwrap_or((text, ""));
    let _ = midflight_inventory::expand(pattern);
    for name in ["fuzz", "fuzz.json"] {
        if let Ok(inventory) = Inventory::parse_any(text, name) {
            let _ = inventory.ansible_list();
        }
    }
    let Ok(inventory) = Inventory::parse(text, "fuzz") else {
        return;
    };
    if let Ok(hosts) = inventory.select(pattern) {
        let folded = midflight_inventory::fold(hosts.iter().map(|host| host.name().to_owned()));
        assert_eq!(folded.is_empty(), hosts.is_empty());
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
