//! The closed sets of words that events are written in: states, outcomes, phases. Each reads back what it writes, and reads
//! any other word as `Unrecognised`, so that an older reader survives a newer controller's journal. They decide nothing.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
            /// A word that this version does not know.
            Unrecognised,
        }

        impl $name {
            /// The word as it stands in events and in output.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Unrecognised => "unrecognised",
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Ok(match &*word {
                    $($word => Self::$variant,)*
                    _ => Self::Unrecognised,
                })
            }
        }
    };
}

words! {
    /// Where a rollout is.
    RolloutState {
        /// The plan is recorded, and no node was asked to change.
        Planned = "planned",
        /// Waves are going on.
        Running = "running",
        /// Nothing new is started until a person resumes.
        Paused = "paused",
        /// The last wave is confirmed and the old code was dropped.
        Succeeded = "succeeded",
        /// Every changed node is being put back.
        RollingBack = "rolling_back",
        /// No node runs what this rollout brought.
        RolledBack = "rolled_back",
        /// Stopped by a person; what was confirmed stays.
        Aborted = "aborted",
        /// It failed: before it changed a node, or with nodes that could not be put back.
        Failed = "failed",
    }
}

impl RolloutState {
    /// Whether nothing more happens by itself.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::RolledBack | Self::Aborted | Self::Failed
        )
    }
}

words! {
    /// How one node fares in a rollout.
    Outcome {
        /// Not asked yet.
        Pending = "pending",
        /// Runs the new code; not confirmed.
        InProbation = "in_probation",
        /// Runs the new code, also after a restart.
        Confirmed = "confirmed",
        /// Ran the new code before the rollout began.
        AlreadyCurrent = "already_current",
        /// Ran the new code, and runs the old again.
        RolledBack = "rolled_back",
        /// Would take the new code: it was prepared as far as that goes without stopping anything, and nothing changed.
        Prepared = "prepared",
        /// Failed before anything changed.
        Untouched = "untouched",
        /// Said no before it did anything.
        Refused = "refused",
        /// Could not be reached at plan time.
        Unreachable = "unreachable",
        /// Was lost, and nobody knows what it runs.
        Unknown = "unknown",
        /// Some of its actors are held on the newer code.
        Held = "held",
        /// Runs the new code, and could not be put back.
        RollbackFailed = "rollback_failed",
        /// Runs something that came after this rollout.
        Superseded = "superseded",
    }
}

impl Outcome {
    /// All outcomes, in the order in which summaries list them.
    pub const ALL: [Outcome; 13] = [
        Self::Confirmed,
        Self::AlreadyCurrent,
        Self::Prepared,
        Self::InProbation,
        Self::Pending,
        Self::RolledBack,
        Self::Untouched,
        Self::Refused,
        Self::Unreachable,
        Self::Superseded,
        Self::Held,
        Self::Unknown,
        Self::RollbackFailed,
    ];

    /// Whether the node is neither confirmed nor back on the old code, nor untouched by the rollout.
    #[must_use]
    pub fn is_unresolved(self) -> bool {
        matches!(
            self,
            Self::InProbation
                | Self::Unknown
                | Self::Held
                | Self::RollbackFailed
                | Self::Superseded
                | Self::Unrecognised
        )
    }
}

impl Outcome {
    /// Whether the node was away, and nobody knows of anything that speaks against the patch on it.
    #[must_use]
    pub fn is_away(self) -> bool {
        matches!(self, Self::Unreachable | Self::Unknown)
    }

    /// Whether a retry takes the node up again, in a rollout that does not go back.
    #[must_use]
    pub fn is_retried(self) -> bool {
        matches!(
            self,
            Self::Untouched | Self::Refused | Self::Unreachable | Self::Unknown | Self::RolledBack
        )
    }
}

words! {
    /// What is done on a node: by the agent in an upgrade, or by the controller with the node.
    Phase {
        /// The node is asked what it runs.
        Describe = "describe",
        /// The patch is brought to the node.
        Stage = "stage",
        /// The stream of phases up to resume is open.
        Upgrade = "upgrade",
        /// States are migrated as copies.
        Prepare = "prepare",
        /// Affected actors stop at a message boundary.
        Suspend = "suspend",
        /// The new modules become current.
        Load = "load",
        /// What changed since prepare is migrated.
        Migrate = "migrate",
        /// The actors run, on the new code.
        Resume = "resume",
        /// The node's health is read after the bake.
        Gate = "gate",
        /// The release becomes permanent.
        Confirm = "confirm",
        /// The pinned states are dropped, the old code is purged.
        Finish = "finish",
        /// The node goes back to the old code.
        Rollback = "rollback",
    }
}

words! {
    /// How a phase is getting on.
    Status {
        /// It began.
        Started = "started",
        /// It is done.
        Done = "done",
        /// It failed.
        Failed = "failed",
        /// The transaction was aborted in it.
        Aborted = "aborted",
    }
}

words! {
    /// Where a wave is.
    WaveStage {
        /// Its nodes are upgraded.
        Upgrading = "upgrading",
        /// Its nodes run the new code, and it is waited.
        Baking = "baking",
        /// Its nodes are asked for their health.
        Gate = "gate",
        /// Its nodes make the new code permanent.
        Confirming = "confirming",
        /// All confirmed nodes of the rollout drop the old code.
        Finishing = "finishing",
        /// All of that is over.
        Done = "done",
    }
}

words! {
    /// Where the nodes of a batch that goes in lockstep wait for one another.
    Barrier {
        /// The patch is brought, and states are migrated as copies.
        Prepare = "prepare",
        /// Affected actors stop.
        Suspend = "suspend",
        /// The new modules become current, and what changed since prepare is migrated.
        Migrate = "migrate",
        /// The actors run, on the new code.
        Resume = "resume",
        /// All of that is over.
        Done = "done",
        /// A node failed or was late: those before resume are aborted, those after it are put back.
        Aborted = "aborted",
    }
}

impl Barrier {
    /// The one that is opened when every node of the batch is through this one.
    #[must_use]
    pub fn next(self) -> Barrier {
        match self {
            Self::Prepare => Self::Suspend,
            Self::Suspend => Self::Migrate,
            Self::Migrate => Self::Resume,
            _ => Self::Done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_and_an_unknown_one_does_not_break_a_reader() {
        for outcome in Outcome::ALL {
            let text = serde_json::to_string(&outcome).unwrap();
            assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
        }
        assert_eq!(
            serde_json::from_str::<Phase>("\"barrier\"").unwrap(),
            Phase::Unrecognised
        );
        assert_eq!(
            serde_json::to_string(&Outcome::Unknown).unwrap(),
            "\"unknown\""
        );
    }
}
