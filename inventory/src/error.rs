//! The errors of this crate, each with a stable code that `docs/errors/inventory.md` lists.
//!
//! `Display` says what failed, where, and what to do next; where there is a text to point into, it shows the line with
//! a caret. `Display` never repeats the source: whoever reports an error prints the chain.

use std::io;
use std::path::PathBuf;

use crate::place::{Place, Position, Report, quoted};

/// Why an inventory, a pattern or a range was refused. Nothing is half read: an error means no inventory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("{} cannot be read; check the path and its permissions", path.display())]
    Read {
        /// The path as given.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The files are larger than [`limits::FILE_BYTES`](crate::limits::FILE_BYTES). No more than that was read.
    #[error("{} is too large: inventory files may have {limit} bytes together; name hosts by ranges, or split the inventory", path.display())]
    FileTooLarge {
        /// The file that went over the limit.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file is not UTF-8.
    #[error("{}", Report(at, format_args!("this byte is not UTF-8"), "save the file as UTF-8"))]
    NotUtf8 {
        /// The first byte that is not.
        at: Box<Place>,
    },
    /// A file is not YAML.
    #[error("{}", Report(at, format_args!("not valid YAML: {message}"), "correct the syntax at this place"))]
    Yaml {
        /// Where the parser stopped.
        at: Box<Place>,
        /// What the parser said.
        message: String,
    },
    /// A YAML file has more nodes, nesting or aliases than [`limits`](crate::limits) allow.
    #[error("{}", Report(at, format_args!("the file is too complex: {message}"), "name hosts by ranges, use fewer aliases, or split the file"))]
    TooComplex {
        /// Where the limit was passed.
        at: Box<Place>,
        /// Which limit.
        message: String,
    },
    /// A mapping has a key that the inventory does not know.
    #[error("{}", Report(at, format_args!("unknown key {} in {within}", quoted(key)), &format!("known keys here: {known}")))]
    UnknownKey {
        /// The key.
        at: Box<Place>,
        /// The key's text.
        key: String,
        /// What it stands in, such as `a host`.
        within: &'static str,
        /// The keys that may stand there.
        known: String,
    },
    /// A value is of another kind, or outside the values allowed.
    #[error("{}", Report(at, format_args!("{what} must be {expected}, not {found}"), "write a value of that kind"))]
    BadValue {
        /// The value.
        at: Box<Place>,
        /// What the value is for.
        what: String,
        /// What would have been right.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A key is given twice: in one mapping, or as a variable or policy in two files.
    #[error("{}", Report(at, format_args!("{what} is given twice, first at {first}"), "keep one of the two"))]
    DuplicateKey {
        /// The second one.
        at: Box<Place>,
        /// What is given twice.
        what: String,
        /// The first one.
        first: Box<Place>,
    },
    /// A name or an address has characters that it cannot have.
    #[error("{}", Report(at, format_args!("{} is no {what}: {reason}", quoted(name)), next))]
    BadName {
        /// The name.
        at: Box<Place>,
        /// What it should name.
        what: &'static str,
        /// The text.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
        /// What to write instead.
        next: &'static str,
    },
    /// A host is listed twice in one group.
    #[error("{}", Report(at, format_args!("host {host} is listed twice in group {group}, first at {first}"), "keep one of the two entries"))]
    DuplicateHost {
        /// The second entry.
        at: Box<Place>,
        /// The host.
        host: String,
        /// The group.
        group: String,
        /// The first entry.
        first: Box<Place>,
    },
    /// A host has settings under two groups.
    #[error("{}", Report(at, format_args!("host {host} has settings in two places, first at {first}"), "keep the settings in one place, and list the bare name in the other"))]
    ConflictingSettings {
        /// The second entry.
        at: Box<Place>,
        /// The host.
        host: String,
        /// The first entry.
        first: Box<Place>,
    },
    /// `children` names a group that no file defines.
    #[error("{}", Report(at, format_args!("there is no group {}", quoted(group)), &did_you_mean(close, "define it under groups, or correct the name")))]
    UnknownGroup {
        /// The name in `children`.
        at: Box<Place>,
        /// The name.
        group: String,
        /// Groups with a name close to it.
        close: Vec<String>,
    },
    /// Groups contain each other.
    #[error("{}", Report(at, format_args!("these groups contain each other: {}", path.join(" > ")), "take one of them out of the other's children"))]
    Cycle {
        /// The entry of `children` that closes the cycle.
        at: Box<Place>,
        /// The groups along the cycle, the first one repeated at the end.
        path: Vec<String>,
    },
    /// A range is not of the form `[first:last]` or `[first:last:step]`, or makes no sense.
    #[error("{}", Report(at, format_args!("bad range: {reason}"), "write [first:last] or [first:last:step], such as [001:500], [0:10:2] or [a:f]"))]
    BadRange {
        /// The bracket, or the part of the range that is wrong.
        at: Box<Place>,
        /// What is wrong with it.
        reason: String,
    },
    /// A range or the whole inventory names more hosts than [`limits`](crate::limits) allow.
    #[error("{}", Report(at, format_args!("{count} hosts are more than the {limit} that {within} may name"), "check the range's ends, or split the inventory"))]
    TooManyHosts {
        /// The entry that went over the limit.
        at: Box<Place>,
        /// How many hosts there would be.
        count: u64,
        /// The limit.
        limit: u64,
        /// `a range` or `an inventory`.
        within: &'static str,
    },
    /// An entry for several hosts has another number of addresses.
    #[error("{}", Report(at, format_args!("{addresses} addresses for {hosts} hosts"), "give the address a range of the same length as the name's, or leave it out to use the names"))]
    AddressLength {
        /// The address.
        at: Box<Place>,
        /// How many addresses it names.
        addresses: u64,
        /// How many hosts the entry names.
        hosts: u64,
    },
    /// A host and a group have the same name, so that a pattern could mean either.
    #[error("{}", Report(at, format_args!("{name} is a host and a group; the group is at {group}"), "rename one of them"))]
    NameClash {
        /// The host.
        at: Box<Place>,
        /// The name.
        name: String,
        /// The group.
        group: Box<Place>,
    },
    /// Groups are nested too deeply, or too many groups contain too many others.
    #[error("{}", Report(at, format_args!("groups are nested too far: {reason}"), "flatten the groups"))]
    GroupsTooNested {
        /// The group where the limit was passed.
        at: Box<Place>,
        /// Which limit.
        reason: String,
    },
    /// A pattern cannot be understood.
    #[error("{}", Report(at, format_args!("bad pattern: {reason}"), "write terms joined by ':' or ',', each a name, a range, a node set, a glob, ~regex, group[0:20], @file or all, with & or ! before it to intersect or exclude"))]
    BadPattern {
        /// The term.
        at: Box<Place>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A term of a pattern means one thing to Ansible and another as names, or as a group and as a file.
    #[error("{}", Report(at, format_args!("{} can be read in two ways", quoted(term)), readings))]
    Ambiguous {
        /// The term.
        at: Box<Place>,
        /// The term's text.
        term: String,
        /// How to write each of the two.
        readings: String,
    },
    /// A node set is malformed.
    #[error("{}", Report(at, format_args!("bad node set: {reason}"), "write names such as node[001-500,600] or n[0-10/2]c[1-3], joined by ',' '!' '&' or '^'"))]
    BadNodeSet {
        /// The bracket, or the place where a name is missing.
        at: Box<Place>,
        /// What is wrong with it.
        reason: String,
    },
    /// A term of a pattern, or a line of a list file, matches nothing.
    #[error("{}", Report(at, format_args!("nothing in the inventory matches {}", quoted(term)), &did_you_mean(close, "list what there is with: midflight inventory graph")))]
    NoMatch {
        /// The term.
        at: Box<Place>,
        /// The term's text, or the first name of its range that does not exist.
        term: String,
        /// Hosts and groups with a name close to it.
        close: Vec<String>,
    },
    /// A `~regex` term is not a regular expression, or is too large to compile.
    #[error("{}", Report(at, format_args!("{} is not a usable regular expression", quoted(regex)), "correct it; its syntax is that of the Rust regex crate, without look-around"))]
    BadRegex {
        /// The term.
        at: Box<Place>,
        /// The expression as written.
        regex: String,
        /// What the regex compiler said.
        source: Box<regex::Error>,
    },
    /// The file of an `@file` term could not be read.
    #[error("{}", Report(at, format_args!("the list {} cannot be read", quoted(&path.to_string_lossy())), "check the path and its permissions"))]
    ReadList {
        /// The term.
        at: Box<Place>,
        /// The path as given.
        path: PathBuf,
        /// Why: the file could not be opened, is too large, or is not UTF-8.
        source: Box<Error>,
    },
    /// A line of an INI inventory is none of those that its section takes.
    #[error("{}", Report(at, format_args!("{reason}"), next))]
    BadLine {
        /// The part of the line that is wrong.
        at: Box<Place>,
        /// What is wrong with it.
        reason: String,
        /// What to write instead.
        next: &'static str,
    },
    /// A source is in no format that is read, or in two.
    #[error("{} is no inventory that is read here: {reason}; {next}", path.display())]
    UnknownFormat {
        /// The source.
        path: PathBuf,
        /// What it looks like.
        reason: &'static str,
        /// What to do.
        next: &'static str,
    },
    /// A connection variable of a host cannot be used.
    #[error("{}", Report(at, format_args!("{variable} of host {host} is {reason}"), "set it to plain text or a plain number, for instance in a source that is read after this one"))]
    Connection {
        /// Where the variable is set.
        at: Box<Place>,
        /// The variable.
        variable: String,
        /// The host.
        host: String,
        /// What is wrong with its value.
        reason: String,
    },
    /// A host is not reached by SSH, and nothing says how else.
    #[error(
        "{at}: ansible_connection of host {host} is {connection}; hosts of Ansible's are reached by SSH\n leave it out (--exclude {host}), or set midflight_transport to ssh or grpc for it"
    )]
    NotBySsh {
        /// Where the variable is set.
        at: Position,
        /// The host.
        host: String,
        /// Its value.
        connection: String,
    },
    /// An executable inventory could not be run, failed, or printed too much.
    #[error("{} {args}: {reason}{}{complaints}\n run it by hand to see what it prints", path.display(), if complaints.is_empty() { "" } else { "\n " })]
    Program {
        /// The program.
        path: PathBuf,
        /// The arguments it was called with.
        args: String,
        /// What happened.
        reason: String,
        /// The last lines of what it wrote to its standard error.
        complaints: String,
    },
    /// A file is encrypted by `ansible-vault` as a whole.
    #[error("{} is encrypted by ansible-vault, and vaults are not opened; keep what is secret in a file of its own, or decrypt it with ansible-vault", path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
}

impl Error {
    /// The stable code, `MF01xx`, under which `docs/errors/inventory.md` lists this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Error::Read { .. } => "MF0101",
            Error::FileTooLarge { .. } => "MF0102",
            Error::NotUtf8 { .. } => "MF0103",
            Error::Yaml { .. } => "MF0104",
            Error::TooComplex { .. } => "MF0105",
            Error::UnknownKey { .. } => "MF0106",
            Error::BadValue { .. } => "MF0107",
            Error::DuplicateKey { .. } => "MF0108",
            Error::BadName { .. } => "MF0109",
            Error::DuplicateHost { .. } => "MF0110",
            Error::ConflictingSettings { .. } => "MF0111",
            Error::UnknownGroup { .. } => "MF0112",
            Error::Cycle { .. } => "MF0113",
            Error::BadRange { .. } => "MF0114",
            Error::TooManyHosts { .. } => "MF0115",
            Error::AddressLength { .. } => "MF0116",
            Error::NameClash { .. } => "MF0117",
            Error::GroupsTooNested { .. } => "MF0118",
            Error::BadPattern { .. } => "MF0119",
            Error::NoMatch { .. } => "MF0120",
            Error::BadRegex { .. } => "MF0121",
            Error::ReadList { .. } => "MF0122",
            Error::Ambiguous { .. } => "MF0141",
            Error::BadNodeSet { .. } => "MF0142",
            Error::BadLine { .. } => "MF0123",
            Error::UnknownFormat { .. } => "MF0124",
            Error::Connection { .. } => "MF0125",
            Error::Program { .. } => "MF0126",
            Error::Encrypted { .. } => "MF0127",
            Error::NotBySsh { .. } => "MF0128",
        }
    }

    /// Where it failed, with the line that stands there; `None` when a whole file or a host was refused.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Error::Read { .. }
            | Error::FileTooLarge { .. }
            | Error::UnknownFormat { .. }
            | Error::Program { .. }
            | Error::NotBySsh { .. }
            | Error::Encrypted { .. } => None,
            Error::NotUtf8 { at }
            | Error::Yaml { at, .. }
            | Error::TooComplex { at, .. }
            | Error::UnknownKey { at, .. }
            | Error::BadValue { at, .. }
            | Error::DuplicateKey { at, .. }
            | Error::BadName { at, .. }
            | Error::DuplicateHost { at, .. }
            | Error::ConflictingSettings { at, .. }
            | Error::UnknownGroup { at, .. }
            | Error::Cycle { at, .. }
            | Error::BadRange { at, .. }
            | Error::TooManyHosts { at, .. }
            | Error::AddressLength { at, .. }
            | Error::NameClash { at, .. }
            | Error::GroupsTooNested { at, .. }
            | Error::BadPattern { at, .. }
            | Error::NoMatch { at, .. }
            | Error::BadRegex { at, .. }
            | Error::Ambiguous { at, .. }
            | Error::BadNodeSet { at, .. }
            | Error::ReadList { at, .. }
            | Error::BadLine { at, .. }
            | Error::Connection { at, .. } => Some(at),
        }
    }
}

fn did_you_mean(close: &[String], otherwise: &str) -> String {
    match close {
        [] => otherwise.to_owned(),
        names => format!("did you mean {}?", names.join(" or ")),
    }
}
