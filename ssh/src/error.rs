//! The errors of this crate, each with a stable code that `docs/errors/ssh.md` lists.
//!
//! `Display` says what failed, where, and what to do next; it never repeats the source: whoever reports an error prints
//! the chain. Codes 0601 to 0629 are about configuration, 0630 to 0649 about host keys, 0650 to 0669 about connecting
//! and authenticating, 0670 and above about what runs over a connection.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A line of a file, or of the command line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file as it was opened; `command line` for options of a [`Destination`](crate::Destination).
    pub file: Arc<Path>,
    /// The line, from 1; 0 for the command line, which has none.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

/// Why there is no connection, or no answer over one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("{} cannot be read; check the path and its permissions", path.display())]
    Read {
        /// The path as opened.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Files are larger, more or nested deeper than [`limits`](crate::limits) allow. No more than that was read.
    #[error("{}: {what}; split it, or take out what is not needed", path.display())]
    TooLarge {
        /// The file that went over the limit.
        path: PathBuf,
        /// Which limit.
        what: String,
    },
    /// A configuration file belongs to another user, or others may write to it.
    #[error("{} is not safe to read: {why}; correct it with chmod go-w and chown", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its owner or its mode.
        why: String,
    },
    /// A line cannot be understood.
    #[error("{at}: {why}; see ssh_config(5)")]
    Syntax {
        /// The line.
        at: Place,
        /// What is wrong with it.
        why: String,
    },
    /// A keyword that neither OpenSSH nor Midflight knows.
    #[error("{at}: unknown keyword {keyword}; correct it, or name it in IgnoreUnknown")]
    UnknownKeyword {
        /// The line.
        at: Place,
        /// The keyword as written.
        keyword: String,
    },
    /// A keyword whose value is outside what it takes.
    #[error("{at}: {keyword} cannot be {value:?}; it takes {expected}")]
    BadValue {
        /// The line.
        at: Place,
        /// The keyword as OpenSSH writes it.
        keyword: &'static str,
        /// The value.
        value: String,
        /// What would have been right.
        expected: String,
    },
    /// A keyword or value that OpenSSH follows and Midflight does not.
    #[error("{at}: {what} is not supported: {why}")]
    Unsupported {
        /// The line.
        at: Place,
        /// The keyword, with its value where only that value is not supported.
        what: String,
        /// Why, and what to write instead.
        why: &'static str,
    },
    /// An option of a destination that Midflight does not take.
    #[error("option {option} of {host}: {why}")]
    BadOption {
        /// The destination.
        host: String,
        /// The option.
        option: String,
        /// What is wrong with it.
        why: String,
    },
    /// A token or environment variable cannot be expanded.
    #[error("{at}: {keyword} {value:?}: {why}")]
    Expand {
        /// The line.
        at: Place,
        /// The keyword.
        keyword: &'static str,
        /// The value as written.
        value: String,
        /// Which token or variable, and why.
        why: String,
    },
    /// The command of a `Match exec` could not be run, or did not end in time.
    #[error("{at}: Match exec {command:?} {why}")]
    MatchExec {
        /// The line.
        at: Place,
        /// The command, expanded.
        command: String,
        /// What happened.
        why: String,
    },
    /// `RefuseConnection` applies to the host.
    #[error("{at}: {host} must not be connected to: {reason}")]
    Refused {
        /// The line.
        at: Place,
        /// The name as given.
        host: String,
        /// The text of the line.
        reason: String,
    },
    /// `ProxyJump` leads to the host itself.
    #[error(
        "{at}: {host} would be reached through itself ({through}); write ProxyJump none for it before this line"
    )]
    JumpLoop {
        /// The line.
        at: Place,
        /// The name as given.
        host: String,
        /// The last hop.
        through: String,
    },
    /// A host offers another key than the one that a file has.
    #[error(
        "{at}: the host key of {host} has changed: this line has {expected}, the host offers {offered}; somebody may be in \
         between, or the host was set up anew: find out, and if its new key is right, remove the line with: ssh-keygen -R '{host}' -f '{}'",
        at.file.display()
    )]
    HostKeyChanged {
        /// The line with the key on record.
        at: Place,
        /// The name or address that was looked up.
        host: String,
        /// Type and fingerprint of the key that the host offers.
        offered: String,
        /// Type and fingerprint of the key on record.
        expected: String,
    },
    /// A host offers a key of a type of which no file has one, and a file has one of another type.
    #[error(
        "{at}: {host} is on record with a key of another type: this line has {expected}, the host offers {offered}; if both are \
         its keys (ssh-keygen -lf on the host tells), add the second one to the file, as ssh-keyscan prints it"
    )]
    HostKeyOfOtherType {
        /// The line with the key on record.
        at: Place,
        /// The name or address that was looked up.
        host: String,
        /// Type and fingerprint of the key that the host offers.
        offered: String,
        /// Type and fingerprint of the key on record.
        expected: String,
    },
    /// A host offers a key, or a certificate of an authority, that a file revokes.
    #[error(
        "{at}: this line revokes what {host} offers ({offered}); do not connect to it before it has another key"
    )]
    HostKeyRevoked {
        /// The line that revokes it.
        at: Place,
        /// The name that was looked up.
        host: String,
        /// Type and fingerprint of the key that the host offers.
        offered: String,
    },
    /// No file has a key of the host, and nobody can be asked.
    #[error(
        "no host key of {host} is known, and StrictHostKeyChecking is {checking}: it offers {offered}{notes}; compare that with \
         ssh-keygen -lf on the host, then add it by connecting once with ssh, or set StrictHostKeyChecking accept-new"
    )]
    HostKeyUnknown {
        /// The name that was looked up.
        host: String,
        /// Type and fingerprint of the key that the host offers.
        offered: String,
        /// `yes` or `ask`.
        checking: &'static str,
        /// Why a certificate or a line of a file did not count, each after a semicolon.
        notes: String,
    },
    /// A host's RSA key is shorter than `RequiredRSASize`.
    #[error(
        "the RSA host key of {host} has {bits} bits, and RequiredRSASize is {least}; give the host another key"
    )]
    HostKeyTooSmall {
        /// The name that was looked up.
        host: String,
        /// The size of its key.
        bits: usize,
        /// `RequiredRSASize`.
        least: u32,
    },
    /// The file of `RevokedHostKeys` cannot be used.
    #[error("the RevokedHostKeys file {} cannot be used: {why}", path.display())]
    RevokedHostKeys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No connection was made: no address, nobody there, a network that is down.
    #[error(
        "{host} ({address}) cannot be reached; see that sshd runs there and that HostName, Port and ProxyJump are right"
    )]
    Unreachable {
        /// The destination.
        host: String,
        /// What was dialled.
        address: String,
        /// What the network said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The time was over.
    #[error("{host} did not answer within {} ms: {phase}; see that it is up, or give it more time with ConnectTimeout", after.as_millis())]
    Timeout {
        /// The destination.
        host: String,
        /// How long was waited.
        after: Duration,
        /// What was waited for.
        phase: &'static str,
    },
    /// The server closed every connection before the key exchange, until the time was over.
    #[error(
        "{host} closed {drops} connections before a key exchange{said}; its MaxStartups may be too low for so many at once, or it blocks this address"
    )]
    Dropped {
        /// The destination.
        host: String,
        /// How many were closed.
        drops: u32,
        /// What it said instead of its version, if anything, after a colon.
        said: String,
    },
    /// Both sides have no algorithm of a kind in common.
    #[error("{host}: no {what} in common: {ours}; see ssh.md for what Midflight has")]
    NoAlgorithm {
        /// The destination.
        host: String,
        /// The kind.
        what: &'static str,
        /// What either side has.
        ours: String,
    },
    /// The key exchange failed, or the other side does not speak SSH.
    #[error("{host}: the key exchange failed: {why}; try ssh -v to the same host")]
    KeyExchange {
        /// The destination.
        host: String,
        /// What happened.
        why: String,
    },
    /// The command of a `ProxyCommand` could not be started, or ended.
    #[error("{host}: ProxyCommand {command:?} failed: {why}; run it by hand")]
    ProxyCommand {
        /// The destination.
        host: String,
        /// The command, expanded.
        command: String,
        /// What it said on its standard error, or what the operating system said.
        why: String,
    },
    /// A host on the way cannot be used.
    #[error("{host} is behind {via}, which cannot be used")]
    Jump {
        /// The destination.
        host: String,
        /// The host on the way.
        via: String,
        /// Why; all destinations that waited for it have the same.
        source: Arc<Error>,
    },
    /// More hosts on the way than [`limits::JUMPS`](crate::limits::JUMPS), or a circle of them.
    #[error(
        "{host}: the way there by ProxyJump is longer than {} hosts, or a circle; correct ProxyJump",
        crate::limits::JUMPS
    )]
    JumpTooLong {
        /// The destination.
        host: String,
    },
    /// The server took none of what was offered.
    #[error("{user}@{host} was not let in: {tried}{offered}{notes}; try ssh -v to the same host")]
    Authentication {
        /// The destination.
        host: String,
        /// The user on it.
        user: String,
        /// The keys and certificates that were offered.
        tried: String,
        /// What the server would take, after a semicolon.
        offered: String,
        /// What could not be offered and why, each after a semicolon.
        notes: String,
    },
    /// The server ended the connection because too many keys were offered.
    #[error(
        "{user}@{host} was not let in: the server's MaxAuthTries was reached ({tried}); name the right key with IdentityFile and set IdentitiesOnly yes"
    )]
    TooManyKeys {
        /// The destination.
        host: String,
        /// The user on it.
        user: String,
        /// The keys and certificates that were offered.
        tried: String,
    },
    /// The server refuses one request; the connection goes on.
    #[error("{host} refuses {what}: {why}")]
    RefusedByServer {
        /// The destination.
        host: String,
        /// What was asked for.
        what: String,
        /// The server's words, or the reason it gave.
        why: String,
    },
    /// The connection ended.
    #[error("the connection to {host} ended: {why}")]
    Lost {
        /// The destination.
        host: String,
        /// Why, as far as it is known.
        why: String,
    },
}

impl Error {
    /// The stable code, `MF06xx`, under which `docs/errors/ssh.md` lists this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Error::Read { .. } => "MF0601",
            Error::TooLarge { .. } => "MF0602",
            Error::Permissions { .. } => "MF0603",
            Error::Syntax { .. } => "MF0604",
            Error::UnknownKeyword { .. } => "MF0605",
            Error::BadValue { .. } => "MF0606",
            Error::Unsupported { .. } => "MF0607",
            Error::BadOption { .. } => "MF0608",
            Error::Expand { .. } => "MF0609",
            Error::MatchExec { .. } => "MF0610",
            Error::Refused { .. } => "MF0611",
            Error::JumpLoop { .. } => "MF0612",
            Error::HostKeyChanged { .. } => "MF0630",
            Error::HostKeyRevoked { .. } => "MF0631",
            Error::HostKeyUnknown { .. } => "MF0632",
            Error::HostKeyTooSmall { .. } => "MF0633",
            Error::RevokedHostKeys { .. } => "MF0634",
            Error::HostKeyOfOtherType { .. } => "MF0635",
            Error::Unreachable { .. } => "MF0650",
            Error::Timeout { .. } => "MF0651",
            Error::Dropped { .. } => "MF0652",
            Error::NoAlgorithm { .. } => "MF0653",
            Error::KeyExchange { .. } => "MF0654",
            Error::ProxyCommand { .. } => "MF0655",
            Error::Jump { .. } => "MF0656",
            Error::JumpTooLong { .. } => "MF0657",
            Error::Authentication { .. } => "MF0658",
            Error::TooManyKeys { .. } => "MF0659",
            Error::RefusedByServer { .. } => "MF0670",
            Error::Lost { .. } => "MF0671",
        }
    }
}
