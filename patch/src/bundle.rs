//! The bundle: a manifest, the components that it names, and signatures over it, in one file. A value of this type is whole:
//! every digest and size was checked when it was built or read. It says nothing of who signed until [`Bundle::verify`] is
//! asked, and nothing of what the components hold until [`Bundle::check_components`] is.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::SystemTime;

use crate::allowed_signers::AllowedSigners;
use crate::archive;
use crate::component;
use crate::digest::Digest;
use crate::error::Error;
use crate::files;
use crate::layout::{self, Contents};
use crate::limits;
use crate::manifest::Manifest;
use crate::spec;
use crate::sshsig::{self, PATCH_NAMESPACE, Signer};
use crate::verify::Principal;

/// A release or a patch, whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    /// What the bundle is.
    pub manifest: Manifest,
    /// The manifest's canonical bytes: what is signed.
    pub manifest_bytes: Vec<u8>,
    /// The components, by digest; those that the manifest names, and no others.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    /// Armored SSHSIG signatures over the manifest's bytes, in the order in which they were added.
    pub signatures: Vec<String>,
}

impl Bundle {
    /// Builds an unsigned bundle from a description (`patch.yaml`) and the modules that it names.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Spec`] for the description, with file, line and column; [`Error::Component`],
    /// [`Error::MissingExport`], [`Error::UnknownExport`] and [`Error::UnknownImport`] for a module; [`Error::Limit`].
    pub fn build(spec: &Path) -> Result<Self, Error> {
        let (manifest, blobs) = spec::build(spec)?;
        let manifest_bytes = manifest.to_bytes()?;
        Ok(Self {
            manifest,
            manifest_bytes,
            blobs,
            signatures: Vec::new(),
        })
    }

    /// Puts together a bundle from its parts, as they arrive one by one at a node, and checks that they belong together.
    ///
    /// # Errors
    /// The errors of [`Manifest::parse`], and [`Error::Layout`] or [`Error::DigestMismatch`] for a blob that is missing, is
    /// not named by the manifest, or is not what it is called.
    pub fn assemble(
        manifest_bytes: Vec<u8>,
        blobs: BTreeMap<Digest, Vec<u8>>,
        signatures: Vec<String>,
    ) -> Result<Self, Error> {
        let manifest = Manifest::parse(&manifest_bytes)?;
        limits::check(
            "the bundle",
            "the number of signatures",
            signatures.len() as u64,
            limits::SIGNATURES,
        )?;
        let mut seen = BTreeSet::new();
        for signature in &signatures {
            let size = signature.len() as u64;
            limits::check(
                "the bundle",
                "the size of a signature in bytes",
                size,
                limits::SIGNATURE,
            )?;
            if !seen.insert(signature) {
                let problem = "a signature comes twice".to_owned();
                return Err(Error::Layout {
                    file: "the bundle".to_owned(),
                    offset: 0,
                    problem,
                });
            }
        }
        let bundle = Self {
            manifest,
            manifest_bytes,
            blobs,
            signatures,
        };
        bundle.check_blobs()?;
        Ok(bundle)
    }

    /// Reads a bundle from a file.
    ///
    /// # Errors
    /// [`Error::Io`], and those of [`Bundle::read_from`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|error| Error::io("read", path, error))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Error::io(
                "read",
                path,
                std::io::ErrorKind::IsADirectory.into(),
            ));
        }
        Self::read_from(
            BufReader::with_capacity(1 << 16, file),
            &path.display().to_string(),
        )
    }

    /// Reads a bundle from anywhere; `file_name` is for messages. Reads to the end, and holds at most the format's bounds in
    /// memory.
    ///
    /// # Errors
    /// [`Error::Layout`] with the place in the file, [`Error::DigestMismatch`], [`Error::Limit`], and those of
    /// [`Manifest::parse`].
    pub fn read_from(reader: impl Read, file_name: &str) -> Result<Self, Error> {
        let entries = archive::read(reader, file_name)?;
        let Contents {
            manifest,
            manifest_bytes,
            blobs,
            signatures,
        } = layout::read(entries, file_name)?;
        Ok(Self {
            manifest,
            manifest_bytes,
            blobs,
            signatures,
        })
    }

    /// Writes the bundle to a file, which is replaced at once or not at all. The same bundle gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let files = self.files()?;
        files::write_atomic(path, |out| archive::write(&files, out))
    }

    /// The bytes that [`Bundle::write`] writes.
    ///
    /// # Errors
    /// [`Error::Layout`] when a blob is missing.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        archive::write(&self.files()?, &mut bytes)
            .map_err(|error| Error::io("write", Path::new("memory"), error))?;
        Ok(bytes)
    }

    /// The bundle's digest: that of the manifest's bytes. It names the bundle whatever signatures it carries.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest_bytes)
    }

    /// Signs the bundle, and adds the signature.
    ///
    /// # Errors
    /// Those of [`sshsig::sign`] and [`Bundle::add_signature`].
    pub fn sign(&mut self, signer: &dyn Signer) -> Result<(), Error> {
        let armored = sshsig::sign(signer, PATCH_NAMESPACE, &self.manifest_bytes)?;
        self.add_signature(armored)
    }

    /// Adds a signature, for instance one by `ssh-keygen -Y sign -n patch@midflight`. One that is there already changes
    /// nothing.
    ///
    /// # Errors
    /// [`Error::SignatureBroken`] when it does not fit this bundle, [`Error::NamespaceNotAllowed`], [`Error::Limit`].
    pub fn add_signature(&mut self, armored: impl Into<String>) -> Result<(), Error> {
        let armored = armored.into();
        let index = self.signatures.len() + 1;
        sshsig::open(index, PATCH_NAMESPACE, &self.manifest_bytes, &armored)?;
        if self.signatures.contains(&armored) {
            return Ok(());
        }
        limits::check(
            "the bundle",
            "the number of signatures",
            index as u64,
            limits::SIGNATURES,
        )?;
        self.signatures.push(armored);
        Ok(())
    }

    /// The distinct principals who signed the bundle and are allowed to at `now`; at least one.
    ///
    /// # Errors
    /// [`Error::Unsigned`], and the others of [`AllowedSigners::verify`].
    pub fn verify(
        &self,
        signers: &AllowedSigners,
        now: SystemTime,
    ) -> Result<Vec<Principal>, Error> {
        if self.signatures.is_empty() {
            let Manifest { name, to, .. } = &self.manifest;
            let subject = format!("{} {name} {to} ({})", self.manifest.kind(), self.digest());
            return Err(Error::Unsigned { subject });
        }
        signers.verify(PATCH_NAMESPACE, &self.manifest_bytes, &self.signatures, now)
    }

    /// Checks that every component has the exports and imports of the world.
    ///
    /// # Errors
    /// Those of [`component::check`].
    pub fn check_components(&self) -> Result<(), Error> {
        for module in &self.manifest.modules {
            if let Some(bytes) = self.blobs.get(&module.blob) {
                component::check(&module.name, &module.blob.to_string(), bytes)?;
            }
        }
        Ok(())
    }

    fn check_blobs(&self) -> Result<(), Error> {
        let refuse = |problem| Error::Layout {
            file: "the bundle".to_owned(),
            offset: 0,
            problem,
        };
        for (want, bytes) in &self.blobs {
            let have = Digest::of(bytes);
            if have != *want {
                let (file, what) = ("the bundle".to_owned(), "a component".to_owned());
                return Err(Error::DigestMismatch {
                    file,
                    what,
                    want: Box::new(*want),
                    have: Box::new(have),
                });
            }
            if !self
                .manifest
                .modules
                .iter()
                .any(|module| module.blob == have && module.size == bytes.len() as u64)
            {
                return Err(refuse(format!(
                    "blob {have} of {} bytes is no module's component",
                    bytes.len()
                )));
            }
        }
        match self
            .manifest
            .modules
            .iter()
            .find(|module| !self.blobs.contains_key(&module.blob))
        {
            Some(module) => Err(refuse(format!(
                "the component of module {}, {}, is missing",
                module.name, module.blob
            ))),
            None => Ok(()),
        }
    }

    fn files(&self) -> Result<BTreeMap<String, Cow<'_, [u8]>>, Error> {
        layout::files(
            &self.manifest,
            &self.manifest_bytes,
            &self.blobs,
            &self.signatures,
        )
    }
}

/// Without the bytes of the components, which would fill a screen and say nothing.
impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("digest", &self.digest())
            .field("manifest", &self.manifest)
            .field("signatures", &self.signatures.len())
            .finish_non_exhaustive()
    }
}
