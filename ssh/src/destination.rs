//! What a caller asks to be connected to: a name, and what an inventory says about it.
//!
//! A [`Destination`] is what would stand on the command line of `ssh`; nothing in it is resolved. What is set here comes
//! before every file, as options of `ssh` do.

use std::path::PathBuf;

/// A host as it would be given to `ssh`, with the options that would stand before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The name or address as given: `Host` patterns are matched against it, and it is the token `%n`.
    pub host: String,
    /// The user, as after `-l`.
    pub user: Option<String>,
    /// The port, as after `-p`.
    pub port: Option<u16>,
    /// Private keys, as after `-o IdentityFile=`, tried before those of the files; `~` is expanded, tokens are not.
    pub identity_files: Vec<PathBuf>,
    /// Other options, one word each, as they would stand after `ssh`: `-o X=Y`, `-J`, `-p`, `-i`, `-l`, `-F`. They come
    /// after the fields above: the first value of a keyword counts.
    pub options: Vec<String>,
}

impl Destination {
    /// A destination by its name alone.
    #[must_use]
    pub fn new(host: impl Into<String>) -> Self {
        Destination {
            host: host.into(),
            ..Destination::default()
        }
    }
}
