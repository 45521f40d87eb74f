//! The numbers of a policy that are not waves or gates: the failure budget, how long each phase may take, and what happens to
//! a node in probation that its controller no longer speaks to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::amount::{Amount, Span, some_nodes};

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

/// How long each phase may take on one node, and how long a gate may be undecided.
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
    /// In lockstep: how long the nodes of a batch wait for the last of them at one barrier. Default 10s.
    pub barrier: Span,
    /// How long a node that had been reached may be silent, in its upgrade or at the gate, before it counts as lost. Default 30s.
    pub silence: Span,
    /// From the end of the bake: how long a gate may go without a verdict before the rollout pauses. Default 5m.
    pub gate: Span,
    /// Confirm and finish, retries included. Default 30s.
    pub confirm: Span,
    /// Rollback, retries included. Default 5m.
    pub rollback: Span,
}

/// What holds while a node runs the new code and has not confirmed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probation {
    /// How long the node waits for the controller, which renews the lease every third of it; 1s to 1d. Default 60s.
    pub lease: Span,
    /// What the node does when the lease runs out. Default rollback.
    pub on_lost_contact: OnLostContact,
}

/// What a node in probation does when its lease runs out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLostContact {
    /// It goes back to the old code.
    #[default]
    Rollback,
    /// It stays on the new code, unconfirmed, until somebody decides.
    Hold,
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
            barrier: Span::from_secs(10),
            silence: Span::from_secs(30),
            gate: Span::from_secs(300),
            confirm: Span::from_secs(30),
            rollback: Span::from_secs(300),
        }
    }
}

impl Default for Probation {
    fn default() -> Self {
        Self {
            lease: Span::from_secs(60),
            on_lost_contact: OnLostContact::Rollback,
        }
    }
}

impl Probation {
    /// What the type alone does not keep.
    pub(super) fn check(&self) -> Result<(), String> {
        if (Span::from_secs(1)..=Span::from_secs(86_400)).contains(&self.lease) {
            return Ok(());
        }
        Err(format!(
            "probation.lease: {} is not within 1s to 1d",
            self.lease
        ))
    }
}

impl Timeouts {
    /// From opening an upgrade to its end: what the agent may take, and ten seconds for the way there and back.
    #[must_use]
    pub fn upgrade(&self) -> Duration {
        self.prepare.get() + self.pause.get() + Duration::from_secs(10)
    }

    /// What the type alone does not keep.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self {
            connect,
            stage,
            prepare,
            pause,
            barrier,
            silence,
            gate,
            confirm,
            rollback,
        } = *self;
        let spans = [
            ("connect", connect),
            ("stage", stage),
            ("prepare", prepare),
            ("pause", pause),
            ("barrier", barrier),
            ("silence", silence),
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
