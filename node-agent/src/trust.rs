//! Whose signature counts on this node. A file of allowed signers is read for each check, so that a change takes hold at
//! once. Nothing is stored or compiled before this has said yes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use midflight_patch::{AllowedSigners, PATCH_NAMESPACE};

use crate::error::Error;

/// The node's policy.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Who may sign.
    pub signers: Signers,
    /// How many different principals must have signed.
    pub required: usize,
}

/// Where allowed signers, as OpenSSH has them, are found.
#[derive(Clone, Debug)]
pub enum Signers {
    /// In a file, which is read for each check.
    File(PathBuf),
    /// They do not change.
    Fixed(Arc<AllowedSigners>),
}

impl Signers {
    /// Those of a file, read now and not again.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Patch`].
    pub fn read(file: &Path) -> Result<Self, Error> {
        parse(file).map(|signers| Self::Fixed(Arc::new(signers)))
    }
}

impl Trust {
    /// The names of those who signed `manifest`, when they are enough and valid at `now`. `what` is for messages.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Patch`] for the file, [`Error::Patch`] when no signature counts,
    /// [`Error::TooFewSigners`].
    pub fn verify(
        &self,
        what: &str,
        manifest: &[u8],
        signatures: &[String],
        now: SystemTime,
    ) -> Result<Vec<String>, Error> {
        let principals = self
            .read()?
            .verify(PATCH_NAMESPACE, manifest, signatures, now)
            .map_err(Error::patch(what))?;
        let signers: Vec<_> = principals
            .into_iter()
            .map(|principal| principal.name)
            .collect();
        if signers.len() < self.required {
            return Err(Error::TooFewSigners {
                what: what.to_owned(),
                signers,
            });
        }
        Ok(signers)
    }

    fn read(&self) -> Result<Arc<AllowedSigners>, Error> {
        let file = match &self.signers {
            Signers::File(file) => file,
            Signers::Fixed(signers) => return Ok(signers.clone()),
        };
        parse(file).map(Arc::new)
    }
}

fn parse(file: &Path) -> Result<AllowedSigners, Error> {
    let text = fs::read_to_string(file).map_err(Error::io("read", file))?;
    let name = file.display().to_string();
    AllowedSigners::parse(&text, &name).map_err(Error::patch(format!("the file {name}")))
}
