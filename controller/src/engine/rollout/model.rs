//! The protocol of a rollout, model-checked: the engine's own step function against nodes that keep the agent's contract, over a
//! network that loses answers and delivers old orders late, with controllers that die before and after their facts are durable,
//! nodes that restart and leases that run out. Everything that can happen is tried, within small numbers.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use stateright::{Checker, Model, Property};

use super::*;
use crate::engine::event::{Health, Owner, Place, Planned, RollbackCounts};
use crate::engine::gate::Verdict;

/// What the controller has asked and not yet heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Ask {
    Upgrade(usize, u32, bool),
    Inquire(usize),
    Confirm(usize, u32),
    Finish(usize, u32),
    Rollback(usize, u32),
    Judge,
    Bake,
}

/// What a node answered, on its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Reply {
    Probation,
    Confirmed,
    Failed,
    Cancelled,
    Cut,
    RolledBack,
    Untouched,
    Silence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Job {
    ask: Ask,
    /// The transaction is open on the node.
    open: bool,
    reply: Option<Reply>,
}

/// What one attempt is in on a node, as the agent's journal has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stand {
    Open,
    Probation,
    Confirmed,
    Finished,
    RolledBack,
    Failed,
    Cut,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Agent {
    attempts: Vec<(u32, Stand)>,
    epoch: u64,
    on_new: bool,
    permanent_new: bool,
    resumes: u32,
}

impl Agent {
    fn stand(&self, attempt: u32) -> Option<Stand> {
        let found = self.attempts.iter().find(|(known, _)| *known == attempt);
        found.map(|(_, stand)| *stand)
    }

    fn set(&mut self, attempt: u32, stand: Stand) {
        self.attempts.retain(|(known, _)| *known != attempt);
        self.attempts.push((attempt, stand));
        self.attempts.sort_unstable();
    }

    fn resume(&mut self, attempt: u32) {
        self.set(attempt, Stand::Probation);
        self.on_new = true;
        self.resumes += 1;
    }

    fn back(&mut self, attempt: u32) -> Reply {
        match self.stand(attempt) {
            Some(Stand::Probation | Stand::Confirmed | Stand::Finished) => {
                (self.on_new, self.permanent_new) = (false, false);
                self.set(attempt, Stand::RolledBack);
                Reply::RolledBack
            }
            Some(Stand::RolledBack) => Reply::RolledBack,
            Some(Stand::Failed | Stand::Cut) => Reply::Untouched,
            Some(Stand::Open) | None => {
                self.set(attempt, Stand::Cut);
                Reply::Untouched
            }
        }
    }

    /// A restart, or the end of a lease, before confirm.
    fn leave_probation(&mut self) {
        let in_probation =
            |(attempt, stand): &(u32, Stand)| (*stand == Stand::Probation).then_some(*attempt);
        if let Some(attempt) = self.attempts.iter().find_map(in_probation) {
            self.on_new = false;
            self.set(attempt, Stand::RolledBack);
        }
    }

    fn open_attempt(&self) -> Option<u32> {
        let open = |(attempt, stand): &(u32, Stand)| (*stand == Stand::Open).then_some(*attempt);
        self.attempts.iter().find_map(open)
    }
}

/// A controller process; two that behave the same are the same.
#[derive(Clone, Debug)]
struct Process(Rollout);

impl Process {
    fn same(&self) -> (&State, bool, bool) {
        (&self.0.state, self.0.measured, self.0.due)
    }
}

impl PartialEq for Process {
    fn eq(&self, other: &Self) -> bool {
        self.same() == other.same()
    }
}

impl Hash for Process {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.same().hash(hasher);
    }
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct World {
    process: Process,
    /// The fold of what is durable.
    journal: State,
    jobs: BTreeSet<Job>,
    agents: Vec<Agent>,
    /// Orders of dead processes that may still arrive, with their epoch.
    late: BTreeSet<(Ask, u64)>,
    cut: bool,
    over: bool,
    overran: bool,
    /// How often each kind of mishap may still happen.
    left: Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Left {
    crashes: u8,
    losses: u8,
    failures: u8,
    restarts: u8,
    trips: u8,
    aborts: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Move {
    /// The node begins with an order; a transaction stays open for a while.
    Open(Job),
    /// The node does what it was asked, well or with a failure.
    Do(Job, bool),
    /// The answer is lost, after the node did it or before.
    Lose(Job, bool),
    /// The answer arrives; and the process dies as soon as what follows is durable.
    Hear(Job, bool),
    /// The gate trips.
    Trip(Job),
    Crash,
    Abort,
    /// A node restarts, or its lease runs out.
    Restart(usize),
    /// An open transaction whose process died: cut, or resumed just before.
    Orphan(usize, bool),
    /// An order of a dead process arrives.
    Late((Ask, u64)),
}

struct Protocol {
    base: Rollout,
    left: Left,
}

impl Protocol {
    fn new(waves: &[usize], policy: &str, left: Left) -> Self {
        let policy = crate::policy::parse(policy, "policy.yaml").unwrap();
        let mut names = (0..).map(|node| format!("n{node}"));
        let waves: Vec<Vec<String>> = waves
            .iter()
            .map(|size| names.by_ref().take(*size).collect())
            .collect();
        let place = |name: &String| Place {
            name: name.clone(),
            address: String::new(),
            port: 0,
            ssh: None,
        };
        let planned = Planned {
            nodes: waves.iter().flatten().map(place).collect(),
            bakes_ms: vec![0; waves.len()],
            waves,
            ..Planned::default()
        };
        let mut base = Rollout::new(&policy);
        base.fold(0, &Fact::Planned(Box::new(planned)));
        Self { base, left }
    }

    /// One step; with `dies` the process ends when the facts are durable, and nothing of what follows is done.
    fn step(&self, world: &mut World, input: Input, dies: bool) {
        let actions = world.process.0.step(0, input);
        let mut asks = Vec::new();
        for action in actions {
            match action {
                Action::Record(fact) => {
                    let Rollout { names, policy, .. } = &self.base;
                    world.journal.fold(0, &fact, names, policy);
                }
                Action::Upgrade {
                    node,
                    attempt,
                    again,
                } => {
                    let budget = &world.process.0.state;
                    world.overran |= !again && budget.nodes.upgrading > budget.budget.in_flight();
                    asks.push(Ask::Upgrade(node, attempt, again));
                }
                Action::Inquire(node) => asks.push(Ask::Inquire(node)),
                Action::Confirm(node) => {
                    asks.push(Ask::Confirm(node, world.process.0.attempt(node)));
                }
                Action::Finish(node) => {
                    asks.push(Ask::Finish(node, world.process.0.attempt(node)));
                }
                Action::Rollback(node) => {
                    asks.push(Ask::Rollback(node, world.process.0.attempt(node)));
                }
                Action::Judge => asks.push(Ask::Judge),
                Action::Wait(Timer::Bake, _) => asks.push(Ask::Bake),
                Action::CancelUpgrades => world.cut = true,
                Action::End(_) => world.over = true,
                _ => {}
            }
        }
        if dies {
            self.crash(world);
        } else {
            world.jobs.extend(asks.into_iter().map(|ask| Job {
                ask,
                open: false,
                reply: None,
            }));
        }
    }

    /// The process dies, and another goes on from the journal.
    fn crash(&self, world: &mut World) {
        let epoch = world.journal.epoch;
        for job in std::mem::take(&mut world.jobs) {
            if matches!(
                job.ask,
                Ask::Confirm(..) | Ask::Finish(..) | Ask::Rollback(..)
            ) && job.reply.is_none()
            {
                world.late.insert((job.ask, epoch));
            }
        }
        if world.over {
            return;
        }
        world.cut = false;
        let mut next = self.base.clone();
        let owned = Fact::Owned {
            owner: Owner::default(),
            epoch: epoch + 1,
        };
        world.journal.fold(0, &owned, &next.names, &next.policy);
        next.state = world.journal.clone();
        world.process = Process(next);
        self.step(world, Input::Recover(None), false);
    }

    /// What a node does when an order reaches it, and what it answers; `None` when it has to wait.
    fn reach(&self, world: &mut World, job: Job, good: bool) -> Option<Reply> {
        let (epoch, cut) = (world.journal.epoch, world.cut);
        let (Ask::Upgrade(node, ..)
        | Ask::Inquire(node)
        | Ask::Confirm(node, _)
        | Ask::Finish(node, _)
        | Ask::Rollback(node, _)) = job.ask
        else {
            return Some(Reply::Probation);
        };
        let agent = &mut world.agents[node];
        if job.ask != Ask::Inquire(node) || agent.open_attempt().is_none() {
            agent.epoch = agent.epoch.max(epoch);
        }
        let standing = |agent: &Agent, attempt| match agent.stand(attempt) {
            Some(Stand::Probation) => Reply::Probation,
            Some(Stand::Confirmed | Stand::Finished) => Reply::Confirmed,
            _ => Reply::RolledBack,
        };
        Some(match job.ask {
            Ask::Upgrade(_, attempt, again) => match agent.stand(attempt) {
                Some(Stand::Open) if !job.open => return None,
                Some(Stand::Probation | Stand::Confirmed | Stand::Finished) => Reply::Probation,
                Some(Stand::RolledBack) => Reply::RolledBack,
                Some(Stand::Failed) => Reply::Failed,
                Some(Stand::Cut) if again => Reply::Cut,
                Some(Stand::Cut) => Reply::Failed,
                Some(Stand::Open) | None if cut => {
                    if job.open {
                        agent.set(attempt, Stand::Cut);
                    }
                    Reply::Cancelled
                }
                Some(Stand::Open) | None => {
                    if attempt > 1 && !again {
                        agent.back(attempt - 1);
                    }
                    if good {
                        agent.resume(attempt);
                        Reply::Probation
                    } else {
                        agent.set(attempt, Stand::Failed);
                        Reply::Failed
                    }
                }
            },
            Ask::Inquire(_) => standing(agent, world.process.0.attempt(node)),
            Ask::Confirm(_, attempt) => {
                if agent.stand(attempt) == Some(Stand::Probation) {
                    agent.set(attempt, Stand::Confirmed);
                    agent.permanent_new = true;
                }
                standing(agent, attempt)
            }
            Ask::Finish(_, attempt) => {
                if agent.stand(attempt) == Some(Stand::Confirmed) {
                    agent.set(attempt, Stand::Finished);
                }
                Reply::Confirmed
            }
            Ask::Rollback(_, attempt) => agent.back(attempt),
            Ask::Judge | Ask::Bake => Reply::Probation,
        })
    }

    fn input(ask: Ask, reply: Reply) -> Input {
        let cause = |code: &str| Cause {
            code: code.to_owned(),
            phase: Phase::Upgrade,
            what: String::new(),
            subject: String::new(),
            hint: String::new(),
            actors: Vec::new(),
            actor_count: 0,
        };
        let standing = || match reply {
            Reply::Probation => Standing::Probation,
            Reply::Confirmed => Standing::Confirmed,
            Reply::Silence => Standing::Unknown(cause("MF0521")),
            _ => Standing::RolledBack(cause("MF0524")),
        };
        match ask {
            Ask::Upgrade(node, ..) => Input::Upgraded(
                node,
                match reply {
                    Reply::Probation | Reply::Confirmed => Upgraded::Probation {
                        pause_us: None,
                        steps: Vec::new(),
                    },
                    Reply::Cut => Upgraded::Interrupted(cause("MF0422")),
                    Reply::Cancelled => Upgraded::Untouched(cause(CANCELLED)),
                    Reply::RolledBack => Upgraded::RolledBack(cause("MF0524")),
                    Reply::Silence => Upgraded::Unknown(cause("MF0521")),
                    Reply::Failed | Reply::Untouched => Upgraded::Untouched(cause("MF0301")),
                },
            ),
            Ask::Inquire(node) => Input::Told(node, standing()),
            Ask::Confirm(node, _) => Input::Confirmed(node, standing()),
            Ask::Finish(node, _) if reply == Reply::Silence => {
                Input::Finished(node, Err(cause("MF0521")))
            }
            Ask::Finish(node, _) => Input::Finished(node, Ok(())),
            Ask::Rollback(node, _) => Input::RolledBack(
                node,
                match reply {
                    Reply::Untouched => Back::Untouched,
                    Reply::Silence => Back::Unreached(cause("MF0521")),
                    _ => Back::RolledBack(RollbackCounts::default()),
                },
            ),
            Ask::Judge => Input::Judged(Judged {
                verdict: match reply {
                    Reply::Failed => Verdict::Trip(vec!["1 trap".to_owned()]),
                    _ => Verdict::Pass,
                },
                health: Health::default(),
                lost: Vec::new(),
            }),
            Ask::Bake => Input::Elapsed(Timer::Bake),
        }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Move;

    fn init_states(&self) -> Vec<World> {
        let nodes = self.base.names.len();
        let mut world = World {
            process: Process(self.base.clone()),
            journal: self.base.state.clone(),
            jobs: BTreeSet::new(),
            agents: vec![Agent::default(); nodes],
            late: BTreeSet::new(),
            cut: false,
            over: false,
            overran: false,
            left: self.left,
        };
        self.step(&mut world, Input::Start, false);
        vec![world]
    }

    fn actions(&self, world: &World, moves: &mut Vec<Move>) {
        let left = &world.left;
        for job in &world.jobs {
            if job.reply.is_some() {
                moves.push(Move::Hear(*job, false));
                if left.crashes > 0 {
                    moves.push(Move::Hear(*job, true));
                }
                continue;
            }
            moves.push(Move::Do(*job, true));
            match job.ask {
                Ask::Bake => {}
                Ask::Judge if left.trips > 0 => moves.push(Move::Trip(*job)),
                Ask::Judge => {}
                ask => {
                    if let Ask::Upgrade(node, attempt, _) = ask {
                        if left.failures > 0 {
                            moves.push(Move::Do(*job, false));
                        }
                        let is_new = world.agents[node].stand(attempt).is_none();
                        if !job.open && is_new && !world.cut && left.crashes > 0 {
                            moves.push(Move::Open(*job));
                        }
                    }
                    if left.losses > 0 {
                        moves.push(Move::Lose(*job, true));
                        moves.push(Move::Lose(*job, false));
                    }
                }
            }
        }
        if left.crashes > 0 && !world.over {
            moves.push(Move::Crash);
        }
        if left.aborts > 0 && !world.over {
            moves.push(Move::Abort);
        }
        for (node, agent) in world.agents.iter().enumerate() {
            let in_probation = agent.on_new && !agent.permanent_new;
            if left.restarts > 0 && in_probation && !world.over {
                moves.push(Move::Restart(node));
            }
            let driven =
                |job: &Job| matches!(job.ask, Ask::Upgrade(of, ..) if of == node) && job.open;
            if agent.open_attempt().is_some() && !world.jobs.iter().any(driven) {
                moves.push(Move::Orphan(node, false));
                moves.push(Move::Orphan(node, true));
            }
        }
        moves.extend(world.late.iter().copied().map(Move::Late));
    }

    fn next_state(&self, last: &World, next: Move) -> Option<World> {
        let mut world = last.clone();
        match next {
            Move::Open(job) => {
                let Ask::Upgrade(node, attempt, _) = job.ask else {
                    return None;
                };
                let epoch = world.journal.epoch;
                let agent = &mut world.agents[node];
                agent.epoch = agent.epoch.max(epoch);
                if attempt > 1 {
                    agent.back(attempt - 1);
                }
                agent.set(attempt, Stand::Open);
                world.jobs.remove(&job);
                world.jobs.insert(Job { open: true, ..job });
            }
            Move::Do(job, good) => {
                let reply = self.reach(&mut world, job, good)?;
                world.left.failures -= u8::from(!good);
                world.jobs.remove(&job);
                let reply = Some(reply);
                world.jobs.insert(Job { reply, ..job });
            }
            Move::Lose(job, done) => {
                world.left.losses -= 1;
                if done {
                    self.reach(&mut world, job, true)?;
                } else if let Ask::Upgrade(node, attempt, _) = job.ask
                    && job.open
                {
                    world.agents[node].set(attempt, Stand::Cut);
                }
                world.jobs.remove(&job);
                let reply = Some(Reply::Silence);
                world.jobs.insert(Job { reply, ..job });
            }
            Move::Trip(job) => {
                world.left.trips -= 1;
                world.jobs.remove(&job);
                let reply = Some(Reply::Failed);
                world.jobs.insert(Job { reply, ..job });
            }
            Move::Hear(job, dies) => {
                world.jobs.remove(&job);
                world.left.crashes -= u8::from(dies);
                let input = Self::input(job.ask, job.reply?);
                self.step(&mut world, input, dies);
            }
            Move::Crash => {
                world.left.crashes -= 1;
                self.crash(&mut world);
            }
            Move::Abort => {
                world.left.aborts -= 1;
                let request = crate::engine::control::Request {
                    verb: crate::engine::control::Verb::Abort { keep: false },
                    who: "eve".to_owned(),
                    reason: String::new(),
                };
                self.step(&mut world, Input::Control(request), false);
            }
            Move::Restart(node) => {
                world.left.restarts -= 1;
                world.agents[node].leave_probation();
            }
            Move::Orphan(node, resumed) => {
                let agent = &mut world.agents[node];
                let attempt = agent.open_attempt()?;
                match resumed {
                    true => agent.resume(attempt),
                    false => agent.set(attempt, Stand::Cut),
                }
            }
            Move::Late((ask, epoch)) => {
                world.late.remove(&(ask, epoch));
                let (Ask::Confirm(node, _) | Ask::Finish(node, _) | Ask::Rollback(node, _)) = ask
                else {
                    return None;
                };
                // The node lets through orders of the highest epoch that it has met.
                if world.agents[node].epoch <= epoch {
                    let job = Job {
                        ask,
                        open: false,
                        reply: None,
                    };
                    self.reach(&mut world, job, true);
                    world.agents[node].epoch = epoch;
                }
            }
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn nodes(world: &World) -> impl Iterator<Item = (&Agent, Node)> {
            let states = world.journal.nodes.iter().map(|(_, state)| state);
            world.agents.iter().zip(states)
        }
        fn ends(world: &World, state: RolloutState) -> bool {
            world.over && world.journal.stage == Stage::Ended(state)
        }
        vec![
            Property::always(
                "no node runs what the journal does not say",
                |_, world: &World| {
                    nodes(world).all(|(agent, node)| !agent.on_new || node != Node::Pending)
                },
            ),
            Property::always("no phase runs twice", |_, world: &World| {
                let attempts = |agent: &Agent| agent.attempts.len() as u32;
                nodes(world).all(|(agent, _)| agent.resumes <= attempts(agent))
            }),
            Property::always(
                "nothing is permanent before its gate",
                |_, world: &World| {
                    let early =
                        |node| matches!(node, Node::Pending | Node::Upgrading | Node::Probation);
                    nodes(world).all(|(agent, node)| !agent.permanent_new || !early(node))
                },
            ),
            Property::always("what is permanent is what runs", |_, world: &World| {
                nodes(world).all(|(agent, _)| !agent.permanent_new || agent.on_new)
            }),
            Property::always(
                "no more are in flight than the rule allows",
                |_, world: &World| !world.overran,
            ),
            Property::always("the report is the truth", |_, world: &World| {
                let is_true = |(agent, node): (&Agent, Node)| match node {
                    Node::Settled(Outcome::Confirmed) | Node::Finishing => {
                        agent.on_new && agent.permanent_new
                    }
                    Node::Settled(Outcome::RolledBack | Outcome::Untouched | Outcome::Refused)
                    | Node::Pending => !agent.on_new,
                    Node::Settled(Outcome::Unknown | Outcome::RollbackFailed) => true,
                    _ => false,
                };
                !world.over || !world.late.is_empty() || nodes(world).all(is_true)
            }),
            Property::sometimes("it succeeds", |_, world| {
                ends(world, RolloutState::Succeeded)
            }),
            Property::sometimes("it goes back", |_, world| {
                ends(world, RolloutState::RolledBack)
            }),
            Property::sometimes("it fails", |_, world| ends(world, RolloutState::Failed)),
            Property::sometimes("it is aborted", |_, world| {
                ends(world, RolloutState::Aborted)
            }),
        ]
    }
}

/// Checks everything that can happen, and that no rollout stands still before its end.
fn check(waves: &[usize], policy: &str, left: Left) {
    let protocol = Protocol::new(waves, policy, left);
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    println!(
        "{waves:?} {left:?}: {} states",
        checker.unique_state_count()
    );
    checker.assert_properties();
}

const NONE: Left = Left {
    crashes: 0,
    losses: 0,
    failures: 1,
    restarts: 0,
    trips: 1,
    aborts: 1,
};

#[test]
fn every_order_of_events_over_two_waves_keeps_the_promises_though_the_controller_dies_twice() {
    let left = Left { crashes: 2, ..NONE };
    check(&[1, 1], "failure_budget: {min_sample: 1}\n", left);
}

#[test]
fn every_order_of_events_keeps_the_promises_though_answers_are_lost_and_nodes_restart() {
    let left = Left {
        crashes: 1,
        losses: 1,
        restarts: 1,
        ..NONE
    };
    check(&[2], "failure_budget: {max: 1, min_sample: 1}\n", left);
}

#[test]
fn three_nodes_in_two_waves_keep_the_promises() {
    let left = Left {
        crashes: 1,
        aborts: 1,
        ..NONE
    };
    check(&[1, 2], "failure_budget: {min_sample: 1}\n", left);
}
