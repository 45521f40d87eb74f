//! The one error of this crate. Every variant says what failed and where, keeps a lower-level cause as its source and never
//! repeats it, and has a stable code, a hint and a gRPC code. `docs/errors/agent.md` explains each.

mod report;

use std::{io, path::PathBuf};

use midflight_patch::{Digest, Vsn};

use crate::{journal::OrderNote, target::TargetError};

/// What can go wrong in the agent. Print the chain of sources to see all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration file is not what it must be.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// In characters, from 1.
        column: u64,
        /// What is wrong there.
        problem: String,
    },

    /// The operating system refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// A verb: "read", "create", …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A certificate or key cannot be used.
    #[error("{}: {problem}", path.display())]
    Tls {
        /// The PEM file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// An address or socket cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// TCP address or socket path.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },

    /// Another agent holds the data directory.
    #[error("another agent uses the data directory {}", path.display())]
    DataDirInUse {
        /// The directory.
        path: PathBuf,
    },

    /// The journal was altered or damaged before its last line.
    #[error("journal {place}, line {line}: {problem}")]
    JournalCorrupt {
        /// The journal file.
        place: String,
        /// From 1.
        line: u64,
        /// What is wrong with that line.
        problem: String,
    },

    /// The journal could not be written, so that no promise can be given.
    #[error("cannot write the journal {place}")]
    JournalWrite {
        /// The journal file.
        place: String,
        /// What the operating system said.
        source: io::Error,
    },

    /// An earlier write of the journal failed in a way that leaves unknown what is on disk.
    #[error("the journal {place} takes no more entries after a failed write")]
    JournalClosed {
        /// The journal file.
        place: String,
    },

    /// There is no space left for a blob; what was written of the chunk has been removed.
    #[error("no space left for blob {digest} in {}", path.display())]
    DiskFull {
        /// The blob.
        digest: Digest,
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A stored blob does not have the digest that it is named by.
    #[error("blob {digest} in {} is damaged: its bytes have digest {have}", path.display())]
    BlobDamaged {
        /// The name.
        digest: Digest,
        /// The digest of what is there.
        have: Digest,
        /// The folder.
        path: PathBuf,
    },

    /// A blob is not on the node.
    #[error("blob {digest} is not on this node")]
    BlobMissing {
        /// The blob.
        digest: Digest,
    },

    /// A chunk does not continue what is on the node.
    #[error("chunk at offset {offset} of blob {digest}: {problem}")]
    Chunk {
        /// As the request spells it.
        digest: String,
        /// In bytes from 0.
        offset: u64,
        /// What is wrong with it.
        problem: String,
    },

    /// All bytes of a blob arrived, and they are other bytes.
    #[error("the bytes received as blob {digest} have digest {have}, and were dropped")]
    DigestMismatch {
        /// What the signed manifest names.
        digest: Digest,
        /// What came.
        have: Digest,
    },

    /// A bundle, manifest or signature is refused; the code is the patch crate's.
    #[error("{what} is refused")]
    Patch {
        /// Which patch or file.
        what: String,
        /// Why.
        source: Box<midflight_patch::Error>,
    },

    /// Too few different people signed.
    #[error("{what} is signed by {} only, which is not enough on this node", signers.join(", "))]
    TooFewSigners {
        /// Which patch or file.
        what: String,
        /// Who signed.
        signers: Vec<String>,
    },

    /// A field of a request cannot be understood.
    #[error("the request's {field} {problem}")]
    Request {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },

    /// The peer's certificate gives it no right to ask this.
    #[error("{peer} may not ask this of node {node}")]
    Forbidden {
        /// Who asks.
        peer: String,
        /// This node.
        node: String,
    },

    /// `sys` is off in the configuration.
    #[error("sys is off on node {node}")]
    SysOff {
        /// This node.
        node: String,
    },

    /// `sys` is on for looking alone.
    #[error("sys is read-only on node {node}")]
    SysReadOnly {
        /// This node.
        node: String,
    },

    /// A patch was opened that is not completely staged.
    #[error("patch {patch} is not completely staged on this node")]
    NotStaged {
        /// The patch.
        patch: String,
    },

    /// Another rollout holds the node.
    #[error("rollout {rollout} (attempt {attempt}) holds this node: it {state}; {owner}")]
    Held {
        /// The rollout that holds it.
        rollout: String,
        /// Its attempt.
        attempt: u32,
        /// What it is doing.
        state: &'static str,
        /// Who gave its last order.
        owner: OrderNote,
    },

    /// A later controller process drives the rollout.
    #[error(
        "the order is of epoch {epoch} of rollout {rollout}, and epoch {owner} has taken it over on this node, with an order of {peer}"
    )]
    Fenced {
        /// The rollout.
        rollout: String,
        /// Of the order.
        epoch: u64,
        /// The highest that the node has met.
        owner: u64,
        /// Who gave the order of that epoch.
        peer: String,
    },

    /// Another rollout has taken the claim.
    #[error("rollout {rollout} was superseded on this node by rollout {by}")]
    Superseded {
        /// The rollout.
        rollout: String,
        /// The other one.
        by: String,
    },

    /// A node in probation heard nothing in time, and goes back to what ran before.
    #[error(
        "no confirm and no renewal of rollout {rollout} came within {lease_ms} ms: the node rolls back by itself"
    )]
    LeaseExpired {
        /// The rollout.
        rollout: String,
        /// How long the node waited.
        lease_ms: u32,
    },

    /// Nobody answers on the node itself.
    #[error("no agent answers at {}", path.display())]
    NoAgent {
        /// The socket in the data directory.
        path: PathBuf,
        /// What the operating system or the agent said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The agent takes no connection of this user.
    #[error("the agent at {} ended the connection before it said a word", path.display())]
    Dropped {
        /// Its socket.
        path: PathBuf,
    },

    /// The agent has no Unix socket that could be dialled.
    #[error("{} gives the agent no Unix socket", path.display())]
    NoSocket {
        /// The configuration file.
        path: PathBuf,
    },

    /// The configuration names a user whom the machine does not know.
    #[error("listen.unix.peers names the user {user}, whom this machine does not know")]
    UnknownUser {
        /// The name.
        user: String,
    },

    /// There is no rollout that an order on the node itself could be for.
    #[error("{rollout} node {node}, which runs {runs}")]
    NothingOpen {
        /// This node.
        node: String,
        /// "no rollout holds", or which one does not.
        rollout: String,
        /// The release that runs.
        runs: String,
    },

    /// An order that was given on the node itself was not carried out.
    #[error("the agent did not {order}: {failure}")]
    LocalOrder {
        /// A verb.
        order: &'static str,
        /// What it said.
        failure: Box<midflight_proto::agent::v1::Failure>,
    },

    /// No release on the node is named so.
    #[error("release {release} is not on this node")]
    NoSuchRelease {
        /// Vsn or digest.
        release: String,
    },

    /// A release cannot be removed as long as something needs it.
    #[error("release {release} cannot be removed: {why}")]
    ReleaseNeeded {
        /// Its vsn.
        release: Vsn,
        /// What needs it.
        why: String,
    },

    /// A phase was asked for out of order.
    #[error("phase {asked} cannot come here; {expected}")]
    PhaseOrder {
        /// The phase asked for.
        asked: String,
        /// What would come next.
        expected: String,
    },

    /// The actors were suspended longer than the order allows.
    #[error(
        "the actors were suspended for {suspended_ms} ms, and the pause budget is {budget_ms} ms"
    )]
    PauseExceeded {
        /// So far.
        suspended_ms: u64,
        /// What the order allows.
        budget_ms: u64,
    },

    /// The transaction was aborted by its controller, by a broken stream, by another order, or because the agent stops.
    #[error("the transaction was aborted before resume: {reason}")]
    Aborted {
        /// Why.
        reason: String,
    },

    /// No upgrade of this key ever reached the node.
    #[error("rollout {rollout} (attempt {attempt}) is unknown on this node")]
    UnknownRollout {
        /// The rollout.
        rollout: String,
        /// The attempt.
        attempt: u32,
    },

    /// The node restarted before confirm.
    #[error("the node restarted before confirm, and runs its permanent release {release}")]
    LostInRestart {
        /// What runs.
        release: Vsn,
    },

    /// An order does not fit what the rollout is in on this node.
    #[error("rollout {rollout} cannot {order} here: it {state}")]
    WrongState {
        /// The rollout.
        rollout: String,
        /// A verb.
        order: &'static str,
        /// What it is in.
        state: &'static str,
    },

    /// As many patches as may be staged at a time are being staged.
    #[error("{most} patches are being staged at this moment")]
    TooManyStages {
        /// The bound.
        most: usize,
    },

    /// The target did not do it; the code is the target's.
    #[error("{}", .0.what)]
    Target(Box<TargetError>),

    /// Work of the target ended in a panic.
    #[error("the {what} ended in a panic: {message}")]
    Panicked {
        /// Which work.
        what: &'static str,
        /// What the panic said.
        message: String,
    },

    /// The simulator cannot make what a fleet needs.
    #[error("the simulated fleet does not start: {problem}")]
    Simulation {
        /// What cannot be made, and why.
        problem: String,
    },

    /// The agent is shutting down.
    #[error("node {node} is shutting down")]
    Stopping {
        /// This node.
        node: String,
    },

    /// The new code runs, and that could not be recorded.
    #[error("the new code runs, but the journal does not say so")]
    ResumedUnrecorded {
        /// What the journal said.
        source: Box<Error>,
    },

    /// The server ended by itself.
    #[error("the gRPC server ended")]
    Server {
        /// Why.
        source: tonic::transport::Error,
    },
}
