//! The bounds of the bundle format, in one place. A reader stops at them before it allocates, a writer refuses to pass
//! them; nothing here depends on how much memory a machine has.

use crate::error::Error;

/// Most bytes of all blobs of a bundle together; a bundle file may be 1 MiB of archive overhead longer.
pub const TOTAL: u64 = 256 << 20;
/// Most bytes of one blob.
pub const BLOB: u64 = 64 << 20;
/// Most bytes of a manifest, and of each JSON document of the OCI layout.
pub const MANIFEST: u64 = 1 << 20;
/// Most modules of a bundle.
pub const MODULES: u64 = 1024;
/// Most `start` entries of a release.
pub const STARTS: u64 = 4096;
/// Most applications of a release.
pub const APPLICATIONS: u64 = 64;
/// Most child specifications in all supervision trees of a release together.
pub const CHILDREN: u64 = 4096;
/// Most ports in `listen`.
pub const PORTS: u64 = 256;
/// Most targets in `connect`.
pub const TARGETS: u64 = 256;
/// Most signatures of a bundle.
pub const SIGNATURES: u64 = 64;
/// Most bytes of one armored signature.
pub const SIGNATURE: u64 = 64 << 10;
/// Most bytes of a patch description, an allowed signers file or a key file.
pub const TEXT: u64 = 1 << 20;

/// Refuses what passes a limit.
pub(crate) fn check(file: &str, what: &str, found: u64, limit: u64) -> Result<(), Error> {
    if found > limit {
        return Err(Error::Limit {
            file: file.to_owned(),
            what: what.to_owned(),
            found,
            limit,
        });
    }
    Ok(())
}
