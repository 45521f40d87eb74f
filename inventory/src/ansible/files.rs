//! Files of variables, as they stand in `group_vars/` and `host_vars/`: JSON, or else YAML, with one mapping.
//!
//! A file that `ansible-vault` has encrypted as a whole is set aside and named: what it sets is not known.

use std::path::{Path, PathBuf};

use crate::builder::Builder;
use crate::document::{self, Dialect};
use crate::error::Error;
use crate::place::Spot;
use crate::vars::Var;

/// Adds the variables of a file, or the file to those that are encrypted.
pub(crate) fn vars_file(
    builder: &mut Builder,
    path: &Path,
    vars: &mut Vec<Var>,
    sealed: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    let (index, source) = builder.files.read(path)?;
    if source.text.starts_with(super::VAULT_HEADER) {
        sealed.push(path.to_owned());
        return Ok(());
    }
    let root = document::parse(&source, Dialect::Ansible)?;
    for (key, node) in document::entries(&source, &root, || "a file of variables".to_owned())? {
        vars.push(Var {
            name: builder.word(&key.text),
            value: document::value(&source, node)?,
            spot: Spot {
                source: index,
                pos: key.pos,
            },
        });
    }
    Ok(())
}
