//! How a rollout proceeds: waves, budget, timeouts and gates, read from YAML. An unknown key, a misspelled duration or an
//! impossible wave is an error with file, line and column; what is left out has the defaults below. It touches no node.

mod amount;
mod bounds;
mod custom;
mod gate;
mod number;
mod read;
mod units;
mod wave;

use midflight_patch::Digest;
use serde::{Deserialize, Serialize};

pub use amount::{Amount, Span};
pub use bounds::{FailureBudget, OnLostContact, Probation, Timeouts};
pub use custom::{Exec, Promql};
pub use gate::{Bound, Gate, Measure, Measured};
pub use number::{Micros, Number, Times};
pub use read::{from_inventory, load, parse, parse_submitted};
pub use wave::{Label, WaveSize, WaveSpec};

/// Waves that a policy may have.
const MOST_WAVES: usize = 100;
/// Gates that a policy may have.
const MOST_GATES: usize = 50;

/// A policy. `docs/operations.md` explains each key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Each names how much of the fleet has the patch after it; the last reaches all of it. Default 1, 1%, 10%, 50%, 100%.
    pub waves: Vec<WaveSpec>,
    /// How long a wave runs the new code before its gate, unless the wave says otherwise. Default 5s.
    pub bake: Span,
    /// Nodes that are asked something at a time, at most; 1 to 10,000. Default 512.
    #[serde(deserialize_with = "amount::some_nodes")]
    pub concurrency: u32,
    /// How many nodes may fail.
    pub failure_budget: FailureBudget,
    /// How long each phase may take.
    pub timeouts: Timeouts,
    /// The lease of nodes that are not confirmed.
    pub probation: Probation,
    /// What must hold of each wave before it is confirmed. Default: no parked actor, no trap, no restart, no
    /// application that ended.
    pub gates: Vec<Gate>,
    /// What a tripped gate or an exceeded budget leads to. Default rollback.
    pub on_failure: OnFailure,
    /// What a rollback does with an actor whose `code_change(down)` fails. Default hold.
    pub on_down_failure: OnDownFailure,
    /// Whether nodes go through the phases by themselves or together. Default free.
    pub mode: Mode,
    /// In lockstep: the variable of a host whose value names its batch; `zone` is the host's zone. Default zone.
    pub batch: Label,
    /// How long after its success a rollout can be rolled back. Default 7d.
    pub rollback_until: Span,
    /// How long after its success a server still brings the release to nodes that were away. 0s: it does not. Default 7d.
    pub converge_until: Span,
}

/// What a tripped gate or an exceeded budget leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Every changed node is put back.
    #[default]
    Rollback,
    /// Nothing new is started, leases are renewed, and a person decides.
    Pause,
}

/// How the nodes of a wave go through the phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Each by itself, one phase after the other.
    #[default]
    Free,
    /// All nodes of a batch together: the controller opens each phase when the last node is through the one before.
    Lockstep,
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
        let shares = [100, 1_000, 5_000, 10_000].map(Amount::Share);
        let sizes = [Amount::Nodes(1)].into_iter().chain(shares);
        Self {
            waves: sizes.map(|size| WaveSize::UpTo(size).into()).collect(),
            bake: Span::from_secs(5),
            concurrency: 512,
            failure_budget: FailureBudget::default(),
            timeouts: Timeouts::default(),
            probation: Probation::default(),
            gates: [
                Measure::Parked,
                Measure::Traps,
                Measure::Restarts,
                Measure::Ended,
            ]
            .map(|measure| Gate::from((measure, Bound::Count(0))))
            .to_vec(),
            on_failure: OnFailure::Rollback,
            on_down_failure: OnDownFailure::Hold,
            mode: Mode::Free,
            batch: Label::zone(),
            rollback_until: Span::from_secs(7 * 86_400),
            converge_until: Span::from_secs(7 * 86_400),
        }
    }
}

impl Policy {
    /// The digest of the policy as it is in force, defaults included: two files that mean the same have the same.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Serialising plain structs of numbers and text into memory does not fail.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Whether a gate compares with nodes that have not been patched.
    #[must_use]
    pub fn needs_control(&self) -> bool {
        self.gates
            .iter()
            .any(|gate| matches!(gate, Gate::Measured(gate) if gate.bound.is_relative()))
    }

    /// Whether a gate needs more than what nodes count anyway: distributions, mailboxes, or a comparison.
    #[must_use]
    pub fn needs_measures(&self) -> bool {
        use Measure::{Mailbox, P50, P90, P99};
        self.needs_control()
            || self.gates.iter().any(|gate| {
                matches!(gate, Gate::Measured(gate) if matches!(gate.measure, P50 | P90 | P99 | Mailbox))
            })
    }

    /// The same policy for an emergency: a tenth of each bake, but 5s of what was longer, and as many nodes at a time as the
    /// healthy ones allow. A canary of one node, with its gates, is always first.
    #[must_use]
    pub fn emergency(&self) -> Self {
        const LEAST: Span = Span::from_secs(5);
        let shorter =
            |bake: Span| Span::from_millis((bake.millis() / 10).into()).max(bake.min(LEAST));
        let mut waves = self.waves.clone();
        for wave in &mut waves {
            wave.bake = wave.bake.map(shorter);
        }
        if waves.len() == 1 {
            waves.insert(0, WaveSize::UpTo(Amount::Nodes(1)).into());
        }
        Self {
            waves,
            bake: shorter(self.bake),
            concurrency: amount::MOST_NODES,
            ..self.clone()
        }
    }

    /// What the types alone do not keep.
    fn check(&self) -> Result<(), String> {
        if self.waves.is_empty() {
            return Err(
                "waves: there must be at least one wave; leave the key out for the default"
                    .to_owned(),
            );
        }
        if self.waves.len() > MOST_WAVES {
            return Err(format!(
                "waves: {} are more than {MOST_WAVES}",
                self.waves.len()
            ));
        }
        if self.gates.len() > MOST_GATES {
            return Err(format!(
                "gates: {} are more than {MOST_GATES}",
                self.gates.len()
            ));
        }
        self.probation.check()?;
        self.timeouts.check()
    }
}
