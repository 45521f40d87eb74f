//! The one error of this crate. Every variant says what failed and where in its message, keeps a lower-level cause as its
//! source and never repeats it, and carries a stable code; `docs/errors/patch.md` says what to do about each.

use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::names::{ModuleName, Vsn};
use crate::plan::PlanRule;
use crate::vsn_pattern::VsnPattern;

/// What can go wrong with bundles and signatures. Print the chain of sources to see all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A digest or a name is not spelled as it must be.
    #[error("{what} {value:?} is not valid: {rule}")]
    Invalid {
        /// What kind of text: "digest", "vsn", "module name", …
        what: &'static str,
        /// The text, cut to 80 characters.
        value: String,
        /// The rule that it breaks.
        rule: &'static str,
    },

    /// The operating system refused to read or write a file.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb: "read", "write", …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// The patch description is not what it must be.
    #[error("{file}:{line}:{column}: {problem}")]
    Spec {
        /// The file as it was named.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The column in characters, from 1.
        column: u64,
        /// What is wrong there, and what is expected.
        problem: String,
    },

    /// A manifest reads, but does not describe a bundle.
    #[error("manifest{pointer}: {problem}")]
    Manifest {
        /// A JSON pointer to the place, with a space in front, or nothing.
        pointer: String,
        /// What is wrong there.
        problem: String,
    },

    /// An application or its supervision tree contradicts itself or the rest of the release.
    #[error("{place}: {problem}")]
    Tree {
        /// The rule that it breaks.
        rule: TreeRule,
        /// "manifest" and a JSON pointer, or file, line and column of the description.
        place: String,
        /// What is wrong there.
        problem: String,
    },

    /// Instructions break a rule, or contradict the rest of the manifest.
    #[error("{place}: {problem}")]
    Instructions {
        /// The rule that they break.
        rule: PlanRule,
        /// "manifest" and a JSON pointer, or file, line and column of the description.
        place: String,
        /// What is wrong there, and what to do about it.
        problem: String,
    },

    /// A manifest is JSON, but not spelled canonically.
    #[error(
        "the manifest is not canonical JSON: it differs from its canonical form at byte {offset}"
    )]
    NotCanonical {
        /// The first byte that differs, from 0.
        offset: usize,
    },

    /// A module's file is neither a component nor a core module that can be made one.
    #[error("module {module} ({file}): {problem}")]
    Component {
        /// The module.
        module: ModuleName,
        /// Its file, or its blob in a bundle.
        file: String,
        /// What is wrong, with what the tools said.
        problem: String,
    },

    /// A component lacks a function of the world.
    #[error("module {module} ({file}) does not export `{export}`, which world {world} demands")]
    MissingExport {
        /// The module.
        module: ModuleName,
        /// Its file, or its blob in a bundle.
        file: String,
        /// The function that is missing.
        export: String,
        /// The world.
        world: &'static str,
    },

    /// A component exports something that the world does not have.
    #[error("module {module} ({file}) exports `{export}`, which world {world} does not have")]
    UnknownExport {
        /// The module.
        module: ModuleName,
        /// Its file, or its blob in a bundle.
        file: String,
        /// The export that does not belong.
        export: String,
        /// The world.
        world: &'static str,
    },

    /// A component asks for something that no host gives.
    #[error(
        "module {module} ({file}) imports `{import}`, which no host offers; modules may import {allowed} only"
    )]
    UnknownImport {
        /// The module.
        module: ModuleName,
        /// Its file, or its blob in a bundle.
        file: String,
        /// The import.
        import: String,
        /// What may be imported.
        allowed: &'static str,
    },

    /// A bound of the bundle format is exceeded.
    #[error("{file}: {what} is {found}, the limit is {limit}")]
    Limit {
        /// The file as it was named.
        file: String,
        /// What is counted, with its unit.
        what: String,
        /// What was found; a reader that stopped at the limit gives limit + 1.
        found: u64,
        /// The most that is allowed.
        limit: u64,
    },

    /// A bundle is truncated, altered, or something else altogether.
    #[error("{file}: at byte {offset}: {problem}")]
    Layout {
        /// The file as it was named.
        file: String,
        /// Where in the file, in bytes from 0.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },

    /// Bytes do not have the digest under which they are named.
    #[error("{file}: {what} should have digest {want}, but has {have}")]
    DigestMismatch {
        /// The file as it was named.
        file: String,
        /// The entry or blob.
        what: String,
        /// The digest in its name.
        want: Box<Digest>,
        /// The digest of its bytes.
        have: Box<Digest>,
    },

    /// The bundle carries no signature at all.
    #[error("{subject} is unsigned")]
    Unsigned {
        /// What should have been signed.
        subject: String,
    },

    /// A signature cannot be read, is of an unknown kind, or does not fit the bytes.
    #[error("signature {index} is broken: {problem}")]
    SignatureBroken {
        /// Which signature, from 1.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },

    /// No line of the allowed signers names the key.
    #[error("signature {index} is by {key}, which {file} does not allow")]
    SignerNotAllowed {
        /// Which signature, from 1.
        index: usize,
        /// The key's algorithm and fingerprint.
        key: String,
        /// The allowed signers file.
        file: String,
    },

    /// The signature, or the line that allows its signer, is for another namespace.
    #[error("signature {index} by {signer}: {problem}")]
    NamespaceNotAllowed {
        /// Which signature, from 1.
        index: usize,
        /// Principal or key.
        signer: String,
        /// Which namespace was found where.
        problem: String,
    },

    /// The signer's line or certificate is not valid now.
    #[error("signature {index} by {signer}: {problem}")]
    OutOfValidity {
        /// Which signature, from 1.
        index: usize,
        /// Principal or key.
        signer: String,
        /// The window and the time now, in UTC.
        problem: String,
    },

    /// A certificate cannot vouch for its signer.
    #[error("signature {index} by {signer}: the certificate {problem}")]
    Certificate {
        /// Which signature, from 1.
        index: usize,
        /// The certificate's key id and key.
        signer: String,
        /// Why it is refused.
        problem: String,
    },

    /// A line of an allowed signers file cannot be read.
    #[error("{file}:{line}: {problem}")]
    AllowedSigners {
        /// The file as it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },

    /// A key file cannot be used to sign.
    #[error("key {}: {problem}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, or what it needs.
        problem: String,
        /// What the key library said, if it was asked.
        source: Option<Box<ssh_key::Error>>,
    },

    /// A signer could not make a signature.
    #[error("{signer} could not sign: {problem}")]
    Sign {
        /// The key's algorithm and fingerprint.
        signer: String,
        /// Why.
        problem: String,
    },

    /// A bundle of the wrong kind: a release where a patch is needed, or the other way round.
    #[error("{name} {vsn} is a {have}, and a {want} is needed here")]
    WrongKind {
        /// The application.
        name: String,
        /// The bundle's `to`.
        vsn: Vsn,
        /// "release" or "patch".
        have: &'static str,
        /// "release" or "patch".
        want: &'static str,
    },

    /// A patch of one application was applied to another.
    #[error("the patch is for application {want}, but {have} runs")]
    OtherApplication {
        /// The application that the patch names.
        want: String,
        /// The application that runs.
        have: String,
    },

    /// A patch starts from another release than the one that runs.
    #[error("the patch of {name} is from {want}, but {have} runs")]
    OtherRelease {
        /// The application.
        name: String,
        /// The patch's `from`.
        want: VsnPattern,
        /// The vsn that runs.
        have: Vsn,
    },

    /// A patch names a module that the release does not have.
    #[error(
        "the patch of {name} is about module {module}, but release {release} has no such module"
    )]
    NoSuchModule {
        /// The application.
        name: String,
        /// The module.
        module: ModuleName,
        /// The release that runs.
        release: Vsn,
    },

    /// A patch changes a module from another vsn than the one that runs.
    #[error("the patch of {name} changes module {module} from {want}, but {have} runs")]
    OtherModuleVsn {
        /// The application.
        name: String,
        /// The module.
        module: ModuleName,
        /// The module's `from`.
        want: VsnPattern,
        /// The vsn that runs.
        have: Vsn,
    },

    /// A patch adds a module that the release has.
    #[error("the patch of {name} adds module {module}, but {have} of it runs")]
    ModuleExists {
        /// The release's name.
        name: String,
        /// The module.
        module: ModuleName,
        /// The vsn that runs.
        have: Vsn,
    },

    /// A patch does something with an application that the release does not have, or adds one that it has.
    #[error("the patch of {name} {problem}")]
    OtherApplications {
        /// The release's name.
        name: String,
        /// Which application, and what is wrong with it.
        problem: String,
    },

    /// The patches at hand do not lead to a release.
    #[error(
        "no chain of the {patches} patches at hand leads from {name} {from} to {to}: {problem}"
    )]
    NoPath {
        /// The release's name.
        name: String,
        /// What runs.
        from: Vsn,
        /// What is wanted.
        to: Vsn,
        /// How many patches there are.
        patches: usize,
        /// What they reach, and what is missing.
        problem: String,
    },

    /// Several patches cannot be one upgrade.
    #[error("the patches from {name} {from} to {to} cannot be one upgrade: {problem}")]
    NotOneUpgrade {
        /// The release's name.
        name: String,
        /// Where the first starts.
        from: Vsn,
        /// Where the last leads.
        to: Vsn,
        /// Which of them is in the way, and why.
        problem: String,
    },
}

/// What a supervision tree must keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeRule {
    /// Every module that is named exists, and belongs to one application.
    Module,
    /// Every name is spelled by its rule and given once.
    Name,
    /// The child list fits the strategy and the kind of bundle.
    Pattern,
    /// Applications depend on applications of the release, and never in a cycle.
    Depends,
    /// Depth, number of children, intensity and period have bounds.
    Size,
}

impl TreeRule {
    fn code(self) -> &'static str {
        match self {
            Self::Module => "MF0240",
            Self::Name => "MF0241",
            Self::Pattern => "MF0242",
            Self::Depends => "MF0243",
            Self::Size => "MF0244",
        }
    }
}

impl Error {
    /// The stable code, `MF02` and two digits, one for each kind of failure.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "MF0201",
            Self::Io { .. } => "MF0202",
            Self::Spec { .. } => "MF0203",
            Self::Manifest { .. } => "MF0204",
            Self::NotCanonical { .. } => "MF0205",
            Self::Component { .. } => "MF0206",
            Self::MissingExport { .. } => "MF0207",
            Self::UnknownExport { .. } => "MF0208",
            Self::UnknownImport { .. } => "MF0209",
            Self::Limit { .. } => "MF0210",
            Self::Layout { .. } => "MF0211",
            Self::DigestMismatch { .. } => "MF0212",
            Self::Unsigned { .. } => "MF0213",
            Self::SignatureBroken { .. } => "MF0214",
            Self::SignerNotAllowed { .. } => "MF0215",
            Self::NamespaceNotAllowed { .. } => "MF0216",
            Self::OutOfValidity { .. } => "MF0217",
            Self::Certificate { .. } => "MF0218",
            Self::AllowedSigners { .. } => "MF0219",
            Self::Key { .. } => "MF0220",
            Self::Sign { .. } => "MF0221",
            Self::WrongKind { .. } => "MF0222",
            Self::OtherApplication { .. } => "MF0223",
            Self::OtherRelease { .. } => "MF0224",
            Self::NoSuchModule { .. } => "MF0225",
            Self::OtherModuleVsn { .. } => "MF0226",
            Self::Tree { rule, .. } => rule.code(),
            Self::Instructions { rule, .. } => rule.code(),
            Self::NoPath { .. } => "MF0263",
            Self::NotOneUpgrade { .. } => "MF0264",
            Self::ModuleExists { .. } => "MF0265",
            Self::OtherApplications { .. } => "MF0266",
        }
    }

    pub(crate) fn invalid(what: &'static str, value: &str, rule: &'static str) -> Self {
        Self::Invalid {
            what,
            value: cut(value, 80),
            rule,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn manifest(pointer: &str, problem: impl Into<String>) -> Self {
        let pointer = if pointer.is_empty() {
            String::new()
        } else {
            format!(" {pointer}")
        };
        Self::Manifest {
            pointer,
            problem: problem.into(),
        }
    }
}

/// Text of unknown origin for a terminal: 500 characters at most, control characters spelled out.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::new();
    for character in cut(text, 500).chars() {
        if character.is_control() {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The first `most` characters of text that somebody else wrote.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
