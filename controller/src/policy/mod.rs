//! How a rollout proceeds: waves, budget, timeouts and gates, read from YAML. An unknown key, a misspelled duration or an
//! impossible wave is an error with file, line and column; what is left out has the defaults below. It touches no node.

mod amount;
mod read;
mod wave;

use std::time::Duration;

use midflight_patch::Digest;
use serde::{Deserialize, Serialize};

pub use amount::{Amount, Span};
pub use read::{from_inventory, load, parse};
pub use wave::{WaveSize, WaveSpec};

/// A policy. `docs/operations.md` explains each key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Each names how much of the fleet has the patch after it; the last reaches all of it. Default 1, 1%, 10%, 50%, 100%.
    pub waves: Vec<WaveSpec>,
    /// How long a wave runs the new code before its gate, unless the wave says otherwise. Default 5s.
    pub bake: Span,
    /// Nodes that are asked something at a time, at most; 1 to 10,000. Default 512.
    #[serde(deserialize_with = "some_nodes")]
    pub concurrency: u32,
    /// How many nodes may fail.
    pub failure_budget: FailureBudget,
    /// How long each phase may take.
    pub timeouts: Timeouts,
    /// What must hold of each wave before it is confirmed. Default: no parked actor, no trap, no restart.
    pub gates: Vec<Gate>,
    /// What a rollback does with an actor whose `code_change(down)` fails. Default hold.
    pub on_down_failure: OnDownFailure,
}

/// How many nodes may fail before the rollout is rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FailureBudget {
    /// Nodes that may fail, be lost after first contact, or be in an unknown state; a share is of the nodes of the waves,
    /// rounded down. Default 1%.
    pub max: Amount,
    /// Until so many nodes have finished, not one may fail; and twice the healthy nodes, but at least so many, may be in
    /// flight. 1 to 10,000. Default 20.
    #[serde(deserialize_with = "some_nodes")]
    pub min_sample: u32,
    /// Nodes that may be dead at plan time; a share is of the nodes asked for, rounded down. Default 5%.
    pub unreachable: Amount,
}

/// How long each phase may take on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// TCP, TLS and the first answer. Default 5s.
    pub connect: Span,
    /// Bringing the patch to the node, retries included. Default 60s.
    pub stage: Span,
    /// Migrating copies of all states while the actors run. Default 30s.
    pub prepare: Span,
    /// From the start of suspend until the last affected actor may run. Default 500ms.
    pub pause: Span,
    /// How long a node that had been reached may be silent, in its upgrade or at the gate, before it counts as lost. Default 30s.
    pub gate: Span,
    /// Confirm and finish, retries included. Default 30s.
    pub confirm: Span,
    /// Rollback, retries included. Default 5m.
    pub rollback: Span,
}

/// A bound on what the patched modules did since resume, all nodes of the wave together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Actors that hold an event on which the new code failed.
    Parked(u64),
    /// Handlers that trapped.
    Traps(u64),
    /// Handlers that returned an error.
    Errors(u64),
    /// Actors started again by their supervisor.
    Restarts(u64),
}

/// What a rollback does with an actor whose `code_change(down)` fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDownFailure {
    /// It stays on the newer code, suspended, its mailbox kept.
    #[default]
    Hold,
    /// It goes back to its state from before, and what it did since is discarded and counted.
    Restore,
    /// It is stopped.
    Stop,
}

impl OnDownFailure {
    /// The word in policies and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Restore => "restore",
            Self::Stop => "stop",
        }
    }

    /// The meaning of a word in an event; `hold`, which loses nothing, for a word of a newer version.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "restore" => Self::Restore,
            "stop" => Self::Stop,
            _ => Self::Hold,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        let cumulative = |amount| WaveSpec {
            nodes: WaveSize::UpTo(amount),
            bake: None,
        };
        let shares = [100, 1_000, 5_000, 10_000].map(|share| cumulative(Amount::Share(share)));
        Self {
            waves: [cumulative(Amount::Nodes(1))]
                .into_iter()
                .chain(shares)
                .collect(),
            bake: Span::from_secs(5),
            concurrency: 512,
            failure_budget: FailureBudget::default(),
            timeouts: Timeouts::default(),
            gates: vec![Gate::Parked(0), Gate::Traps(0), Gate::Restarts(0)],
            on_down_failure: OnDownFailure::Hold,
        }
    }
}

impl Default for FailureBudget {
    fn default() -> Self {
        Self {
            max: Amount::Share(100),
            min_sample: 20,
            unreachable: Amount::Share(500),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Span::from_secs(5),
            stage: Span::from_secs(60),
            prepare: Span::from_secs(30),
            pause: Span::from_millis(500),
            gate: Span::from_secs(30),
            confirm: Span::from_secs(30),
            rollback: Span::from_secs(300),
        }
    }
}

impl Timeouts {
    /// From opening an upgrade to its end: what the agent may take, and ten seconds for the way there and back.
    #[must_use]
    pub fn upgrade(&self) -> Duration {
        self.prepare.get() + self.pause.get() + Duration::from_secs(10)
    }
}

impl Policy {
    /// The digest of the policy as it is in force, defaults included: two files that mean the same have the same.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Serialising plain structs of numbers and text into memory does not fail.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// What the types alone do not keep.
    fn check(&self) -> Result<(), String> {
        if self.waves.is_empty() {
            return Err(
                "waves: there must be at least one wave; leave the key out for the default"
                    .to_owned(),
            );
        }
        let Timeouts {
            connect,
            stage,
            prepare,
            pause,
            gate,
            confirm,
            rollback,
        } = self.timeouts;
        let spans = [
            ("connect", connect),
            ("stage", stage),
            ("prepare", prepare),
            ("pause", pause),
            ("gate", gate),
            ("confirm", confirm),
            ("rollback", rollback),
        ];
        match spans.iter().find(|(_, span)| span.get().is_zero()) {
            Some((key, _)) => Err(format!("timeouts.{key}: must be longer than nothing")),
            None => Ok(()),
        }
    }
}

/// A number of nodes from 1 to 10,000.
fn some_nodes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let nodes = u32::deserialize(deserializer)?;
    if (1..=10_000).contains(&nodes) {
        return Ok(nodes);
    }
    Err(serde::de::Error::custom(format!(
        "{nodes} is not within 1 to 10000"
    )))
}
