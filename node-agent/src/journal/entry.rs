//! What a journal line may say. Each entry is a fact that outlives the process: what was promised, what was about to be
//! done, and how it ended. The names of the fields are the file format: adding is safe, renaming is not.

use midflight_patch::{Digest, Plan, Release, Vsn};
use midflight_proto::agent::v1 as pb;
use serde::{Deserialize, Serialize};

use crate::{
    key::Key,
    lease::Terms,
    target::{Resumed, RolledBack},
};

/// One fact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// A release bundle was booted for the first time, and is permanent from here on.
    Installed {
        release: Release,
        manifest: Digest,
        signers: Vec<String>,
    },
    /// The agent started, and boots this release; whatever was open has ended.
    Boot {
        release: Digest,
        vsn: Vsn,
        agent: String,
    },
    /// A patch is here, verified and compiled.
    Staged {
        patch: StagedPatch,
        signers: Vec<String>,
    },
    /// An upgrade was admitted, and its rollout has the claim from here on. `from` is the release that runs, `back` leads
    /// from `to` to it.
    Opened {
        key: Key,
        from: Digest,
        to: Release,
        back: Box<Plan>,
        signers: Vec<String>,
        #[serde(default)]
        order: OrderNote,
        #[serde(default)]
        lease: Terms,
    },
    /// A later controller process of a rollout gives its orders from here on.
    Claimed { rollout: String, order: OrderNote },
    /// The claim of `key` ends here next, so that rollout `to` can have it.
    Superseding {
        key: Key,
        to: String,
        order: OrderNote,
    },
    /// The actors are about to be suspended.
    Suspending { key: Key },
    /// The new code runs, in probation.
    Resumed { key: Key, report: ResumeNote },
    /// No confirm and no renewal came in time; what the terms say comes next.
    LeaseExpired { key: Key, terms: Terms },
    /// The new release is permanent from here on; the target is told next.
    Confirming {
        key: Key,
        #[serde(default)]
        order: OrderNote,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// The target was told.
    Confirmed { key: Key, crashed: u64 },
    /// The old code is purged.
    Finished { key: Key },
    /// The release before is permanent from here on; the node goes back to it next.
    RollingBack {
        key: Key,
        reason: String,
        #[serde(default)]
        order: OrderNote,
    },
    /// How a rollback ended; also for a rollout that changed nothing here.
    RolledBack {
        key: Key,
        outcome: Outcome,
        report: RollbackNote,
        #[serde(default)]
        order: OrderNote,
    },
    /// A rollback did not happen: what was permanent before it is permanent again.
    RollbackFailed { key: Key, failure: FailureNote },
    /// A transaction ended before resume.
    Aborted { key: Key, failure: FailureNote },
    /// A release is no longer kept: the staged patches that lead to it are forgotten, and no rollback leads to it.
    Removed {
        release: Digest,
        vsn: Vsn,
        patches: Vec<Digest>,
        peer: String,
    },
    /// `sys` is about to change an actor, or all of a module.
    Sys {
        verb: String,
        subject: String,
        peer: String,
    },
    /// An order was refused. `suppressed` counts refusals before it that were too many to record.
    Refused {
        order: String,
        key: Option<Key>,
        peer: String,
        signers: Vec<String>,
        code: String,
        what: String,
        suppressed: u64,
    },
}

/// Who gave an order: which controller process of its rollout, and which peer. Entries from before there were epochs have 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderNote {
    pub epoch: u64,
    pub peer: String,
}

impl Default for OrderNote {
    fn default() -> Self {
        Self {
            epoch: 1,
            peer: String::new(),
        }
    }
}

impl std::fmt::Display for OrderNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "its last order is of epoch {}", self.epoch)?;
        match self.peer.as_str() {
            "" => Ok(()),
            peer => write!(f, ", by {peer}"),
        }
    }
}

/// A patch that is on the node. All of it lies in the blob store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedPatch {
    /// The digest of the manifest: also the patch's.
    pub manifest: Digest,
    /// A JSON list of the armored signatures.
    pub signatures: Digest,
    /// The components.
    pub blobs: Vec<Digest>,
}

/// What resume did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeNote {
    pub actors: u64,
    pub migrated_in_pause: u64,
    pub pause_us: u64,
}

/// How a rollback ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    RolledBack,
    Untouched,
    Superseded,
    Held,
}

/// What a rollback did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackNote {
    pub pinned: u64,
    pub migrated: u64,
    pub restored: u64,
    pub events_discarded: u64,
    pub stopped: u64,
    pub held: Vec<ActorNote>,
    pub redelivered: u64,
    pub pause_us: u64,
}

/// One actor that fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorNote {
    pub pid: u64,
    pub name: String,
    pub module: String,
    pub reason: String,
}

/// A failure as it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureNote {
    pub code: String,
    /// The number of the phase in the protocol.
    pub phase: i32,
    pub what: String,
    pub subject: String,
    pub hint: String,
    pub changed: bool,
    pub refused: bool,
    pub actors: Vec<ActorNote>,
}

impl From<Resumed> for ResumeNote {
    fn from(r: Resumed) -> Self {
        Self {
            actors: r.actors,
            migrated_in_pause: r.migrated_in_pause,
            pause_us: micros(r.pause),
        }
    }
}

impl ResumeNote {
    /// As it travels.
    pub fn to_pb(self) -> pb::ResumeReport {
        pb::ResumeReport {
            actors: self.actors,
            migrated_in_pause: self.migrated_in_pause,
            pause_us: self.pause_us,
        }
    }
}

impl From<RolledBack> for RollbackNote {
    fn from(r: RolledBack) -> Self {
        Self {
            pinned: r.pinned,
            migrated: r.migrated,
            restored: r.restored,
            events_discarded: r.events_discarded,
            stopped: r.stopped,
            held: r.held.into_iter().take(100).map(ActorNote::from).collect(),
            redelivered: r.redelivered,
            pause_us: micros(r.pause),
        }
    }
}

impl RollbackNote {
    /// As it travels.
    pub fn to_pb(&self) -> pb::RollbackReport {
        pb::RollbackReport {
            pinned: self.pinned,
            migrated: self.migrated,
            restored: self.restored,
            events_discarded: self.events_discarded,
            stopped: self.stopped,
            held: self.held.iter().map(ActorNote::to_pb).collect(),
            redelivered: self.redelivered,
            pause_us: self.pause_us,
        }
    }
}

impl Outcome {
    /// As it travels.
    pub fn to_pb(self) -> pb::RollbackOutcome {
        match self {
            Self::RolledBack => pb::RollbackOutcome::RolledBack,
            Self::Untouched => pb::RollbackOutcome::Untouched,
            Self::Superseded => pb::RollbackOutcome::Superseded,
            Self::Held => pb::RollbackOutcome::Held,
        }
    }
}

impl From<pb::ActorFailure> for ActorNote {
    fn from(a: pb::ActorFailure) -> Self {
        Self {
            pid: a.pid,
            name: a.name,
            module: a.module,
            reason: a.reason,
        }
    }
}

impl ActorNote {
    /// As it travels.
    pub fn to_pb(&self) -> pb::ActorFailure {
        let Self {
            pid,
            name,
            module,
            reason,
        } = self.clone();
        pb::ActorFailure {
            pid,
            name,
            module,
            reason,
        }
    }
}

impl From<&pb::Failure> for FailureNote {
    fn from(f: &pb::Failure) -> Self {
        Self {
            code: f.code.clone(),
            phase: f.phase,
            what: f.what.clone(),
            subject: f.subject.clone(),
            hint: f.hint.clone(),
            changed: f.changed,
            refused: f.refused,
            actors: f.actors.iter().cloned().map(ActorNote::from).collect(),
        }
    }
}

impl FailureNote {
    /// As it travels.
    pub fn to_pb(&self) -> pb::Failure {
        pb::Failure {
            code: self.code.clone(),
            phase: self.phase,
            what: self.what.clone(),
            subject: self.subject.clone(),
            hint: self.hint.clone(),
            changed: self.changed,
            actors: self.actors.iter().map(ActorNote::to_pb).collect(),
            refused: self.refused,
        }
    }
}

pub(crate) fn micros(duration: std::time::Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}
