//! `ssh_config`: what the files of a user and a machine say about one destination.
//!
//! The files are read once; a [`Destination`] is then resolved against them as often as there are hosts. It promises the
//! values that `ssh -G` prints, for every keyword that has a meaning here, and refuses by name what it does not follow.
//! It opens no connection and looks no name up; the commands of `Match exec` are all that it runs.
//!
//! Read in this order: `lexer` (a line), `keywords` (what becomes of each keyword) and `value`, `parse` (files as a
//! tree), `evaluate` and `matching` (which lines apply), `resolve` and [`Resolved`], `options` (the command line).

mod algorithms;
mod aliases;
mod evaluate;
mod expand;
mod glob;
mod keywords;
mod lexer;
mod matching;
mod options;
mod parse;
mod resolve;
mod resolved;
mod value;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use aliases::{Alias, aliases};
pub use resolved::{
    AddressFamily, Algorithms, Hop, HostKeyChecking, IdentityAgent, Proxy, Resolved,
};

use crate::account::Account;
use crate::destination::Destination;
use crate::error::Error;
use evaluate::Evaluation;
use parse::{Line, Origin, Reader};

/// Where the machine's files are.
const SYSTEM_FOLDER: &str = "/etc/ssh";

/// The lines of the files that are read together.
type Files = Vec<Vec<Line>>;

/// The configuration of a user and a machine, read.
#[derive(Debug)]
pub struct Config {
    account: Account,
    files: Arc<Files>,
    file: Option<PathBuf>,
    /// The files that destinations name with `-F`.
    others: Mutex<HashMap<PathBuf, Arc<Files>>>,
    commands: matching::Commands,
}

impl Config {
    /// Reads `~/.ssh/config` and `/etc/ssh/ssh_config`, those of them that exist; or `file` alone, as after `ssh -F`,
    /// where `none` is no file.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, is not safe, or has a line that is wrong for every host.
    pub fn load(file: Option<&Path>) -> Result<Self, Error> {
        Self::load_for(Account::current(), file)
    }

    /// [`Config::load`] for a user and a machine other than the current ones.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn load_for(account: Account, file: Option<&Path>) -> Result<Self, Error> {
        let files = Arc::new(match file {
            Some(file) => read_given(&account, file)?,
            None => {
                let mut reader = Reader::new(&account);
                let user = reader.file(&account.home.join(".ssh/config"), Origin::User)?;
                let system =
                    reader.file(&Path::new(SYSTEM_FOLDER).join("ssh_config"), Origin::System)?;
                [user, system].into_iter().flatten().collect()
            }
        });
        Ok(Config {
            account,
            files,
            file: file.map(Path::to_owned),
            others: Mutex::default(),
            commands: matching::Commands::default(),
        })
    }

    /// What the files and its own options say about a destination.
    ///
    /// It may run the commands of `Match exec` and wait for them: call it where waiting is allowed.
    ///
    /// # Errors
    ///
    /// When an option or a line that applies is wrong or not supported; each error names its place.
    pub fn resolve(&self, destination: &Destination) -> Result<Resolved, Error> {
        let options = options::Options::of(destination, &self.account)?;
        let files = match &options.file {
            Some(file) => self.given(file)?,
            None => Arc::clone(&self.files),
        };
        let mut found = Evaluation::new(&self.account, &self.commands, &options.alias);
        found.run(&options.lines, files.iter().map(Vec::as_slice))?;
        let file = options.file.clone().or_else(|| self.file.clone());
        resolve::resolve(&found, &self.account, &options.alias, file)
    }

    /// The user and machine that files are read for.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    fn given(&self, file: &Path) -> Result<Arc<Files>, Error> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = others.get(file) {
            return Ok(Arc::clone(files));
        }
        let files = Arc::new(read_given(&self.account, file)?);
        others.insert(file.to_owned(), Arc::clone(&files));
        Ok(files)
    }
}

/// The file after `-F`, which must exist.
fn read_given(account: &Account, file: &Path) -> Result<Files, Error> {
    if resolve::is_none(file) {
        return Ok(Vec::new());
    }
    let lines = Reader::new(account).file(file, Origin::Given)?;
    let missing = || Error::Read {
        path: file.to_owned(),
        source: std::io::ErrorKind::NotFound.into(),
    };
    lines.map(|lines| vec![lines]).ok_or_else(missing)
}
