//! What happens in a rollout, as a sequence of events: the one source of the journal, of bars and lines, of `--output json`
//! and of `status`. Events are only ever added. A reader meets members that it does not know as `Unrecognised` and goes on;
//! fields that it does not know are skipped.

use std::path::PathBuf;

use midflight_proto::agent::v1 as pb;
use serde::{Deserialize, Serialize};

use crate::engine::control::Request;
use crate::engine::gate::Verdict;
use crate::engine::id::RolloutId;
use crate::engine::pauses::Pauses;
use crate::engine::words::{Barrier, Outcome, Phase, RolloutState, Status, WaveStage};
use crate::exit::Exit;

/// One thing that happened, or that is about to be done: it is in the journal before it is acted on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The rollout.
    pub rollout: RolloutId,
    /// Counts from 1 in each rollout, without gaps.
    pub seq: u64,
    /// Milliseconds since 1970-01-01 UTC on the controller's clock.
    pub time_ms: u64,
    /// What.
    #[serde(flatten)]
    pub fact: Fact,
}

impl Event {
    /// Facts of one moment as the events that come after number `after`.
    #[must_use]
    pub fn following(
        after: u64,
        rollout: &RolloutId,
        time_ms: u64,
        facts: impl IntoIterator<Item = Fact>,
    ) -> Vec<Self> {
        let event = |(seq, fact)| Self {
            rollout: rollout.clone(),
            seq,
            time_ms,
            fact,
        };
        (after + 1..).zip(facts).map(event).collect()
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fact {
    /// The plan; always the first event.
    Planned(Box<Planned>),
    /// Another process goes on with a rollout.
    Owned {
        /// That process.
        owner: Owner,
        /// How many processes have owned the rollout, this one included: what a node's claim is compared with.
        #[serde(default)]
        epoch: u64,
    },
    /// A person asked for something.
    Control {
        /// What, who and why.
        #[serde(flatten)]
        request: Request,
        /// Why nothing came of it, when it was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
    /// The rollout goes over to a state.
    State {
        /// The state.
        state: RolloutState,
        /// Why, in a sentence.
        reason: String,
    },
    /// A wave goes over to a stage.
    Wave {
        /// Counts from 1.
        wave: u32,
        /// The stage.
        stage: WaveStage,
        /// Nodes that it concerns.
        nodes: u32,
        /// How long the bake takes, in milliseconds; only while baking.
        #[serde(default, skip_serializing_if = "is_zero")]
        bake_ms: u64,
    },
    /// The controller is about to ask something of a node.
    Ask {
        /// The node.
        node: String,
        /// What: upgrade, confirm or rollback. What is asked of all nodes at the same time is not listed one by one: they
        /// confirm and finish with their wave, and go back with the rollout.
        phase: Phase,
        /// Counts from 1; a retry raises it.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        attempt: u32,
    },
    /// A batch that goes in lockstep passes a barrier.
    Batch {
        /// Counts from 1.
        wave: u32,
        /// Counts from 1 in each wave.
        batch: u32,
        /// What is opened for its nodes.
        barrier: Barrier,
        /// Nodes that it concerns.
        nodes: u32,
        /// From when its first node could run the new code until its last did, in milliseconds; with done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mixed_ms: Option<u64>,
        /// Why, with aborted.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// A phase on a node that takes long, or that fails, as its agent reports it.
    Step {
        /// The node.
        node: String,
        /// The phase.
        phase: Phase,
        /// How it is getting on.
        status: Status,
        /// Of this phase so far, in microseconds on the node's clock.
        elapsed_us: u64,
    },
    /// A node's outcome changes.
    Node {
        /// The node.
        node: String,
        /// The outcome from now on.
        outcome: Outcome,
        /// From the start of suspend until the last affected actor could run, in microseconds; with prepared, what it would be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause_us: Option<u64>,
        /// How long each phase of its upgrade took, in microseconds on the node's clock.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        steps: Vec<(Phase, u64)>,
        /// Why, when it is not what was wanted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
        /// What a rollback did to actors.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rollback: Option<RollbackCounts>,
    },
    /// A node is confirmed, and something beside that did not work.
    Trouble {
        /// The node.
        node: String,
        /// What.
        cause: Cause,
    },
    /// The verdict of a gate, when it is not the one before.
    Gate {
        /// Counts from 1.
        wave: u32,
        /// The verdict, and why.
        #[serde(flatten)]
        verdict: Verdict,
        /// Of the patched modules since resume, all nodes of the wave together.
        health: Health,
    },
    /// The last event of a process that ran the rollout to an end.
    Ended(Box<Summary>),
    /// Of a newer version.
    #[serde(other)]
    Unrecognised,
}

/// The plan of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// The application.
    pub name: String,
    /// The release that must run.
    pub from: String,
    /// The release that results.
    pub to: String,
    /// Digest of the patch's manifest.
    pub patch: String,
    /// Digests of the manifests of the patches that may stand on the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub through: Vec<String>,
    /// Digests of the bundles in the journal: the patch's, then those of the patches on the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<String>,
    /// Digest of the policy, under which the journal keeps it.
    pub policy: String,
    /// Which nodes were asked for.
    pub pattern: String,
    /// What a node does with an actor that cannot go back.
    pub on_down_failure: String,
    /// The process that runs the rollout.
    pub owner: Owner,
    /// Names of the nodes of each wave.
    pub waves: Vec<Vec<String>>,
    /// How long each wave bakes, in milliseconds.
    #[serde(default)]
    pub bakes_ms: Vec<u64>,
    /// In lockstep, how many nodes each batch of each wave has; empty otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<Vec<u32>>,
    /// The nodes with which the gate of each wave compares it; empty: no gate compares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<Vec<String>>,
    /// Stage and prepare alone: nothing is suspended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub prepare_only: bool,
    /// The rollout whose nodes this one may take over; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub supersedes: String,
    /// How long a gate may have too little data before the rollout pauses, in milliseconds.
    #[serde(default)]
    pub gate_ms: u64,
    /// How long after its success the rollout can be rolled back, in milliseconds.
    #[serde(default)]
    pub rollback_until_ms: u64,
    /// How the nodes are reached.
    pub nodes: Vec<Place>,
}

/// How a node is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// DNS name or IP address.
    pub address: String,
    /// TCP port of the agent; with `ssh` the one on the node itself.
    pub port: u16,
    /// How the SSH connection there is made; none: TLS over TCP. Journals from before SSH have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<Box<Ssh>>,
}

/// How the SSH connection to a node is made: what would stand on the command line of `ssh`, and where the agent is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ssh {
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The TCP port of the SSH server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// A private key, or the public half of one in the ssh-agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_file: Option<PathBuf>,
    /// Further arguments, one word each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The agent's Unix socket on the node, where it is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
}

/// The process that runs a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Host name.
    pub host: String,
    /// The user's name, when the environment says it.
    pub user: String,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.user.is_empty() {
            write!(f, "{} on ", self.user)?;
        }
        write!(f, "{} (pid {})", self.host, self.pid)
    }
}

/// Why something failed on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Stable code.
    pub code: String,
    /// The phase in which it failed.
    pub phase: Phase,
    /// What failed.
    pub what: String,
    /// Module, actor, file or blob; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// What to do next; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// Actors that fail, the first few, each as "name or pid (module): reason".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actors: Vec<String>,
    /// How many actors the agent listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub actor_count: u64,
}

/// What a rollback did, in actors and events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RollbackCounts {
    /// Actors put back exactly.
    pub pinned: u64,
    /// Actors that went through `code_change(down)`.
    pub migrated: u64,
    /// Actors put back to a state from before, with what they did since discarded.
    pub restored: u64,
    /// Events discarded by that.
    pub events_discarded: u64,
    /// Actors stopped.
    pub stopped: u64,
    /// Actors held on the newer code.
    pub held: u64,
    /// Events that had failed on the newer code and were given to the older.
    pub redelivered: u64,
    /// In microseconds.
    pub pause_us: u64,
}

/// Counts of the patched modules since resume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Events handled.
    pub events: u64,
    /// Handlers that trapped.
    pub traps: u64,
    /// Handlers that returned an error.
    pub errors: u64,
    /// Actors started again.
    pub restarts: u64,
    /// Actors that hold a failed event.
    pub parked: u64,
    /// Applications that ended by themselves.
    #[serde(skip_serializing_if = "is_zero")]
    pub ended: u64,
    /// How long actors with events waiting had to wait.
    #[serde(skip_serializing_if = "Pauses::is_empty")]
    pub pauses: Pauses,
}

impl From<&pb::Health> for Health {
    fn from(health: &pb::Health) -> Self {
        let pauses = health.pauses.as_ref();
        Self {
            events: health.events,
            traps: health.traps,
            errors: health.errors,
            restarts: health.restarts,
            parked: health.parked,
            ended: health.ended,
            pauses: pauses
                .map(|pauses| Pauses::new(pauses.max_us, &pauses.buckets))
                .unwrap_or_default(),
        }
    }
}

impl std::ops::AddAssign for Health {
    fn add_assign(&mut self, other: Self) {
        self.events = self.events.saturating_add(other.events);
        self.traps = self.traps.saturating_add(other.traps);
        self.errors = self.errors.saturating_add(other.errors);
        self.restarts = self.restarts.saturating_add(other.restarts);
        self.parked = self.parked.saturating_add(other.parked);
        self.ended = self.ended.saturating_add(other.ended);
        self.pauses += other.pauses;
    }
}

/// What a rollout came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The state.
    pub state: RolloutState,
    /// The exit code of the process.
    pub exit: Exit,
    /// Nodes by outcome; outcomes without nodes are absent.
    pub outcomes: std::collections::BTreeMap<Outcome, u64>,
    /// The longest time in which a batch in lockstep ran both versions, in milliseconds; absent when none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixed_ms: Option<u64>,
    /// Pauses of the nodes that reached resume, in milliseconds; absent when none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<PauseMs>,
    /// From the plan to the end, in milliseconds.
    pub duration_ms: u64,
}

/// Percentiles over nodes, in milliseconds, nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PauseMs {
    /// Half of the nodes paused no longer.
    pub p50: f64,
    /// 99 % of the nodes paused no longer.
    pub p99: f64,
    /// No node paused longer.
    pub max: f64,
}

fn one() -> u32 {
    1
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Event {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_place_of_a_journal_from_before_ssh_reads_and_one_over_ssh_reads_back() {
        let old = r#"{"name":"web1","address":"10.0.0.1","port":7400}"#;
        let mut place: Place = serde_json::from_str(old).unwrap();
        assert_eq!((place.port, &place.ssh), (7400, &None));
        assert_eq!(serde_json::to_string(&place).unwrap(), old);
        place.ssh = Some(Box::new(Ssh {
            user: Some("deploy".into()),
            args: vec!["-J".into(), "bastion".into()],
            ..Ssh::default()
        }));
        let text = serde_json::to_string(&place).unwrap();
        insta::assert_snapshot!(text, @r#"{"name":"web1","address":"10.0.0.1","port":7400,"ssh":{"user":"deploy","args":["-J","bastion"]}}"#);
        assert_eq!(serde_json::from_str::<Place>(&text).unwrap(), place);
    }

    #[test]
    fn an_event_reads_back_what_it_writes() {
        let fact = Fact::Node {
            node: "web1".into(),
            outcome: Outcome::InProbation,
            pause_us: Some(740),
            steps: vec![(Phase::Suspend, 90)],
            cause: None,
            rollback: None,
        };
        let event = Event {
            rollout: "20261121-abc".parse().unwrap(),
            seq: 7,
            time_ms: 1,
            fact,
        };
        let text = serde_json::to_string(&event).unwrap();
        insta::assert_snapshot!(text, @r#"{"rollout":"20261121-abc","seq":7,"time_ms":1,"event":"node","node":"web1","outcome":"in_probation","pause_us":740,"steps":[["suspend",90]]}"#);
        assert_eq!(read(&text), event);
    }

    #[test]
    fn events_of_a_newer_controller_do_not_break_a_reader() {
        let event = read(
            r#"{"rollout":"r","seq":1,"time_ms":0,"event":"lease","node":"web1","renewed":true}"#,
        );
        assert_eq!(event.fact, Fact::Unrecognised);
        let event = read(
            r#"{"rollout":"r","seq":1,"time_ms":0,"event":"state","state":"levitating","reason":"","x":1}"#,
        );
        assert!(matches!(
            event.fact,
            Fact::State {
                state: RolloutState::Unrecognised,
                ..
            }
        ));
    }
}
