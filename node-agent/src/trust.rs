//! Whose signature counts on this node. The file of allowed signers is read for each check, so that a change takes hold at
//! once. Nothing is stored or compiled before this has said yes.

use std::{fs, path::PathBuf, time::SystemTime};

use midflight_patch::{AllowedSigners, PATCH_NAMESPACE};

use crate::error::Error;

/// The node's policy.
#[derive(Clone, Debug)]
pub struct Trust {
    /// OpenSSH allowed signers.
    pub file: PathBuf,
    /// How many different principals must have signed.
    pub required: usize,
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

    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Patch`].
    pub fn read(&self) -> Result<AllowedSigners, Error> {
        let text = fs::read_to_string(&self.file).map_err(Error::io("read", &self.file))?;
        let name = self.file.display().to_string();
        AllowedSigners::parse(&text, &name).map_err(Error::patch(format!("the file {name}")))
    }
}
