//! The one error of this crate. Every variant says what failed and where in its message, keeps a lower-level cause as its
//! source and never repeats it, and has a stable code and a hint for what to do next; `docs/errors/controller.md` lists them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::event::{Cause, Owner};
use crate::exit::Exit;
use crate::transport::CallError;

/// What can go wrong on the controller's side. Print the chain of sources to see all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A policy is not what it must be.
    #[error("{file}:{line}:{column}: {problem}")]
    Policy {
        /// The file as it was named.
        file: String,
        /// From 1.
        line: u64,
        /// In characters, from 1.
        column: u64,
        /// What is wrong there, and what is expected.
        problem: String,
    },
    /// Neither the command line nor the environment names an inventory.
    #[error("no inventory is named")]
    NoInventory,
    /// A pattern leaves no node.
    #[error("the pattern {pattern:?} names no node")]
    NoTargets {
        /// The pattern.
        pattern: String,
    },
    /// A pattern names the whole inventory.
    #[error("the pattern {pattern:?} names all {nodes} nodes of the inventory")]
    AllNodes {
        /// The pattern.
        pattern: String,
        /// How many.
        nodes: usize,
    },
    /// The waves leave nodes out.
    #[error("the policy's waves never reach {count} nodes: {nodes}")]
    Waves {
        /// Folded names.
        nodes: String,
        /// How many.
        count: usize,
    },
    /// Nodes of a lockstep rollout are in no batch.
    #[error(
        "the policy's mode is lockstep, and {count} nodes have no {label:?} that names their batch: {nodes}"
    )]
    NoBatch {
        /// Folded names.
        nodes: String,
        /// How many.
        count: usize,
        /// Zone, or the variable.
        label: String,
    },
    /// Another rollout is open on nodes of this one.
    #[error("rollout {rollout} has not ended on {nodes}")]
    Overlap {
        /// Folded names.
        nodes: String,
        /// The other rollout.
        rollout: String,
    },
    /// Another process drives the rollout by now: a node refused an order of this one.
    #[error("another process has taken rollout {rollout} over: {what}")]
    Fenced {
        /// The rollout.
        rollout: String,
        /// What the node said.
        what: String,
    },
    /// Nodes run something that the patch does not start from.
    #[error("the patch of {patch} does not fit {nodes}: {runs} runs there")]
    DoesNotFit {
        /// Folded names.
        nodes: String,
        /// What runs there.
        runs: String,
        /// The patch, in words.
        patch: String,
    },
    /// Too many nodes are dead at plan time.
    #[error("{count} of {total} nodes do not answer, and at most {allowed} may be dead: {nodes}: {}", first.what)]
    TooManyUnreachable {
        /// Folded names.
        nodes: String,
        /// How many.
        count: usize,
        /// Of how many.
        total: usize,
        /// What the budget allows.
        allowed: usize,
        /// Why the first does not answer.
        first: Box<Cause>,
    },
    /// The operating system refused something with a file.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// A verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// SQLite refused something.
    #[error("cannot {action} the journal {}", path.display())]
    Journal {
        /// A verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What SQLite said; shared by all that one commit was for.
        source: Arc<rusqlite::Error>,
    },
    /// The thread that writes the journal has ended.
    #[error("the thread that writes the journal has ended")]
    JournalGone,
    /// Somebody else wrote events of the same rollout.
    #[error("event {seq} of rollout {rollout} does not follow {last}, the last in the journal")]
    JournalConflict {
        /// The rollout.
        rollout: String,
        /// The number.
        seq: u64,
        /// The number of the last event that is there.
        last: u64,
    },
    /// Bytes that a rollout needs are not in the journal.
    #[error("{digest} cannot be had from the journal: {problem}")]
    NoBlob {
        /// Their digest.
        digest: midflight_patch::Digest,
        /// Why not.
        problem: &'static str,
    },
    /// The journal was written by a newer version.
    #[error("the journal {} has layout {layout}, which this version does not know", path.display())]
    JournalLayout {
        /// The file.
        path: PathBuf,
        /// Its layout.
        layout: i64,
    },
    /// An event cannot be read or written.
    #[error("event {seq} of rollout {rollout} in the journal does not read")]
    JournalRecord {
        /// The rollout.
        rollout: String,
        /// The number.
        seq: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// Text is no rollout id.
    #[error("{text:?} is no rollout id: 1 to 64 characters of a-z 0-9 -")]
    BadRolloutId {
        /// The text, cut.
        text: String,
    },
    /// The journal knows no such rollout.
    #[error("there is no rollout {rollout} in the journal")]
    NoSuchRollout {
        /// The rollout.
        rollout: String,
    },
    /// Another process runs the rollout.
    #[error("rollout {rollout} is run by {owner}")]
    Owned {
        /// The rollout.
        rollout: String,
        /// That process.
        owner: Owner,
    },
    /// A certificate or key cannot be used.
    #[error("{}: {problem}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No certificates are named.
    #[error("no certificates are named to reach the nodes with")]
    NoCredentials,
    /// A certificate cannot be made.
    #[error("cannot make the certificate of {subject}")]
    Certificate {
        /// Whose.
        subject: String,
        /// Why.
        source: rcgen::Error,
    },
    /// A file that would be overwritten.
    #[error("{} exists and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// An ssh-agent cannot be used.
    #[error("the ssh-agent cannot be used: {problem}")]
    SshAgent {
        /// What is wrong, or what it said.
        problem: String,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {problem}")]
    Random {
        /// Why.
        problem: String,
    },
    /// The command line asks for something that cannot be.
    #[error("{problem}")]
    Usage {
        /// What, and what is expected.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// The demo cannot be played, or an agent of it ended.
    #[error("the demo: {problem}")]
    Demo {
        /// What, and where.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// There is no rollout at all.
    #[error("no rollout was ever run with this journal")]
    NoRollouts,
    /// A server refused, or failed: its own error.
    #[error("{what}")]
    Server {
        /// What failed.
        what: String,
        /// The code.
        code: String,
        /// What to do next.
        hint: String,
        /// The exit code.
        exit: u8,
    },
    /// A server cannot be reached, or the connection to it broke.
    #[error("the controller at {server} does not answer: {problem}")]
    ServerLost {
        /// Its address or socket.
        server: String,
        /// What was said.
        problem: String,
    },
    /// A peer of the server may not ask this.
    #[error("{peer} has no role that allows this")]
    NotAllowed {
        /// Who.
        peer: String,
    },
    /// A server cannot listen.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address or the socket.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// A living process is asked for, and there is none.
    #[error("rollout {rollout} is run by no process")]
    NoOwner {
        /// The rollout.
        rollout: String,
    },
    /// A rollout did not do what was asked.
    #[error("rollout {rollout} refused to {verb}: {why}")]
    Refused {
        /// The rollout.
        rollout: String,
        /// What was asked.
        verb: &'static str,
        /// Why not.
        why: String,
    },
    /// Output cannot be written.
    #[error("cannot write the output")]
    Output {
        /// Why.
        source: std::io::Error,
    },
    /// A node did not do what was asked of it.
    #[error("node {node} did not do it")]
    Node {
        /// The node.
        node: String,
        /// Why.
        source: CallError,
    },
    /// A part of the controller ended in a panic.
    #[error("a part of the controller ended in a panic")]
    Panicked {
        /// What was said.
        source: tokio::task::JoinError,
    },
    /// A bundle, a signature or a signer.
    #[error("{what}")]
    Patch {
        /// What was tried with what.
        what: String,
        /// Why not.
        source: Box<midflight_patch::Error>,
    },
    /// The settings of SSH connections, or one of them.
    #[error("SSH")]
    Ssh(#[from] midflight_ssh::Error),
    /// The inventory or a pattern.
    #[error("the inventory or pattern is refused")]
    Inventory(#[from] midflight_inventory::Error),
}

impl Error {
    /// The stable code, one for each kind of failure; the other crates' codes for their failures.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Policy { .. } => "MF0501",
            Self::NoInventory => "MF0502",
            Self::NoTargets { .. } => "MF0503",
            Self::AllNodes { .. } => "MF0504",
            Self::Waves { .. } | Self::NoBatch { .. } => "MF0505",
            Self::Overlap { .. } => "MF0506",
            Self::Fenced { .. } => "MF0550",
            Self::DoesNotFit { .. } => "MF0507",
            Self::TooManyUnreachable { .. } => "MF0508",
            Self::Io { .. } => "MF0509",
            Self::Journal { .. } | Self::JournalGone => "MF0510",
            Self::JournalConflict { .. } => "MF0541",
            Self::NoBlob { .. } => "MF0542",
            Self::JournalLayout { .. } | Self::JournalRecord { .. } => "MF0511",
            Self::BadRolloutId { .. } | Self::NoSuchRollout { .. } | Self::NoRollouts => "MF0512",
            Self::Server { code, .. } => code,
            Self::ServerLost { .. } => "MF0543",
            Self::NotAllowed { .. } => "MF0544",
            Self::Listen { .. } => "MF0545",
            Self::NoOwner { .. } => "MF0546",
            Self::Refused { .. } => "MF0547",
            Self::Owned { .. } => "MF0513",
            Self::Credentials { .. } | Self::NoCredentials => "MF0514",
            Self::Certificate { .. } => "MF0515",
            Self::Exists { .. } => "MF0516",
            Self::SshAgent { .. } => "MF0517",
            Self::Random { .. } | Self::Panicked { .. } | Self::Output { .. } => "MF0518",
            Self::Usage { .. } => "MF0519",
            Self::Demo { .. } => "MF0540",
            Self::Node { source, .. } => source.code(),
            Self::Patch { source, .. } => source.code(),
            Self::Ssh(source) => source.code(),
            Self::Inventory(source) => source.code(),
        }
    }

    /// What to do next, for a person.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Policy { .. } => "correct the policy; docs/operations.md lists every key",
            Self::NoInventory => "name one with -i FILE, or in MIDFLIGHT_INVENTORY",
            Self::NoTargets { .. } => "see what the inventory holds with: midflight inventory graph",
            Self::AllNodes { .. } => "add --all if that is meant",
            Self::Waves { .. } => "let the last wave be 100%",
            Self::NoBatch { .. } => "give each host a zone, or name another variable with the policy's `batch`",
            Self::Overlap { rollout, .. } => {
                return format!("see it with: midflight status {rollout}; put its nodes back with: midflight rollback {rollout}; or take them over with: midflight apply --supersede {rollout}");
            }
            Self::Fenced { .. } => "this process has stopped; see who drives it with: midflight status",
            Self::DoesNotFit { .. } => "leave these nodes out with ':!NAME', or bring them to that release first",
            Self::TooManyUnreachable { first, .. } => return format!("{}; or leave them out with ':!NAME'", first.hint),
            Self::Io { .. } => "check the path, its permissions and the space on the disk",
            Self::Journal { .. } => "check the file, its permissions and the space on the disk, or name another with --journal",
            Self::JournalGone => "this is a defect of the program: report it; what was recorded is safe, and midflight resume goes on",
            Self::JournalConflict { .. } => "another process runs the rollout: see midflight status",
            Self::NoBlob { .. } => "roll the rollout back, which needs no patch, and apply the patch again",
            Self::JournalLayout { .. } => "use the newer version of midflight, or name another file with --journal",
            Self::JournalRecord { .. } => "keep the file for an audit, and name another with --journal",
            Self::NoRollouts => "begin one with: midflight apply; or name another journal with --journal, or a server with --server",
            Self::Server { hint, .. } => hint,
            Self::ServerLost { .. } => "see that it runs and listens there, and that both certificates are of one CA and in date",
            Self::NotAllowed { .. } => "use a certificate with the role operator; a viewer may list, look and watch",
            Self::Listen { .. } => "see who listens there, and choose another address",
            Self::NoOwner { rollout } => {
                return format!("go on with it with: midflight resume {rollout}; or put its nodes back with: midflight rollback {rollout}");
            }
            Self::Refused { rollout, .. } => return format!("see where it is with: midflight status {rollout}"),
            Self::BadRolloutId { .. } | Self::NoSuchRollout { .. } => "list the rollouts with: midflight history",
            Self::Owned { .. } => "interrupt that process (Ctrl-C or SIGTERM aborts its rollout), or wait for its end",
            Self::Credentials { .. } => "issue certificate and key again with: midflight pki issue",
            Self::NoCredentials => "name a folder with --pki DIR or in MIDFLIGHT_PKI, or the files with --ca, --cert and --key",
            Self::Certificate { .. } => "check the names and addresses",
            Self::Exists { .. } => "choose another place, or add --force",
            Self::SshAgent { .. } => "start one, add the key with ssh-add, and see it with: ssh-add -L; or sign with --key FILE",
            Self::Random { .. } | Self::Panicked { .. } => "this is a defect of the system or the program: report it",
            Self::Output { .. } => "see why nobody reads the output",
            Self::Usage { hint, .. } => hint,
            Self::Demo { hint, .. } => hint,
            Self::Node { source, .. } => source.hint(),
            Self::Patch { source, .. } => patch_hint(source),
            // Their messages end with what to do.
            Self::Ssh(_) | Self::Inventory(_) => "",
        }
        .to_owned()
    }

    /// How the process ends: 2 where something was refused before a node was changed, else 1.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Server { exit, .. } => Exit::from_code(*exit),
            Self::Policy { .. }
            | Self::NotAllowed { .. }
            | Self::NoOwner { .. }
            | Self::Refused { .. }
            | Self::NoTargets { .. }
            | Self::AllNodes { .. }
            | Self::Waves { .. }
            | Self::NoBatch { .. }
            | Self::Overlap { .. }
            | Self::DoesNotFit { .. }
            | Self::TooManyUnreachable { .. }
            | Self::Owned { .. }
            | Self::Node { .. }
            | Self::Patch { .. }
            | Self::Ssh(_)
            | Self::Inventory(_) => Exit::REFUSED,
            _ => Exit::USAGE,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path: path.clone(),
            source,
        }
    }

    pub(crate) fn patch(what: impl Into<String>) -> impl FnOnce(midflight_patch::Error) -> Self {
        let what = what.into();
        move |source| Self::Patch {
            what,
            source: Box::new(source),
        }
    }
}

/// What to do about a failure of the patch crate, by its code.
fn patch_hint(error: &midflight_patch::Error) -> &'static str {
    match error.code() {
        "MF0202" => "check the path and its permissions",
        "MF0203" => "correct the description at that place",
        "MF0206" | "MF0207" | "MF0208" | "MF0209" => "build the module with the SDK for this world",
        "MF0204" | "MF0205" | "MF0210" | "MF0211" | "MF0212" => {
            "the bundle is not what was built: fetch it again, or build and sign it again"
        }
        "MF0213" => "sign it with: midflight patch sign",
        "MF0214" => "sign the bundle again",
        "MF0215" | "MF0216" | "MF0217" | "MF0218" => {
            "have it signed by somebody who may sign patches now"
        }
        "MF0219" => "correct that line; its format is that of ssh-keygen(1), ALLOWED SIGNERS",
        "MF0220" | "MF0221" => "name another key, or sign by way of an ssh-agent with --agent",
        "MF0222" => "name a patch: its description has a `from`",
        "MF0263" => "add the bundle that is missing, or build a patch between the two",
        "MF0264" => "apply the patches one after the other",
        _ => "see docs/errors/patch.md",
    }
}

/// An error and its sources in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        // Some libraries repeat their source in their own text.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = error.source();
    }
    text
}
