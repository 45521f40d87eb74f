//! The protocol of a rollout, model-checked: the engine's own step function against nodes that keep the agent's contract, over a
//! network that loses answers and delivers old orders late, with controllers that die before and after their facts are durable,
//! nodes that restart and leases that run out, free or in lockstep, with gates that trip or have too little data. Everything
//! that can happen is tried, within small numbers.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use stateright::{Checker, Model, Property};

use super::*;
use crate::engine::control::{Request, Verb};
use crate::engine::event::{Health, Owner, Place, Planned, RollbackCounts};
use crate::engine::gate::Verdict;
use crate::engine::words::Barrier;

/// What the controller has asked and not yet heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Ask {
    Upgrade(usize, u32, bool),
    Inquire(usize),
    Confirm(usize, u32),
    Finish(usize, u32),
    Rollback(usize, u32),
    Judge,
    Wait(Timer),
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
    /// In lockstep, the node is through what was opened.
    Reached,
    /// A gate has too little data; or still has, after all the time that it may take.
    Lacking(bool),
}

/// In the order in which they are opened.
const BARRIERS: [Barrier; 4] = [
    Barrier::Prepare,
    Barrier::Suspend,
    Barrier::Migrate,
    Barrier::Resume,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Job {
    ask: Ask,
    /// The transaction is open on the node.
    open: bool,
    /// In lockstep, how many barriers the node is through.
    passed: usize,
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
    /// The open transaction was told to resume, should nobody tell it anything else.
    ready: bool,
}

impl Job {
    fn new(ask: Ask) -> Self {
        Self {
            ask,
            open: false,
            passed: 0,
            reply: None,
        }
    }
}

impl Agent {
    fn stand(&self, attempt: u32) -> Option<Stand> {
        let found = self.attempts.iter().find(|(known, _)| *known == attempt);
        found.map(|(_, stand)| *stand)
    }

    fn set(&mut self, attempt: u32, stand: Stand) {
        self.ready &= stand == Stand::Open;
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
    /// In lockstep, how many barriers are open.
    opened: usize,
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
    lacks: u8,
    late: u8,
    pauses: u8,
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
    /// In lockstep, the node does what was opened last, short of resume.
    Pass(Job),
    /// The gate trips.
    Trip(Job),
    /// The gate has too little data, and no more time.
    Lack(Job, bool),
    /// A person pauses the rollout.
    Pause,
    /// A person takes what a gate could not say for a pass, or has it looked at again.
    Decide(bool),
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
        let in_lockstep = policy.contains("lockstep");
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
            // One batch a wave.
            batches: match in_lockstep {
                true => waves.iter().map(|nodes| vec![nodes.len() as u32]).collect(),
                false => Vec::new(),
            },
            waves,
            ..Planned::default()
        };
        let mut base = Rollout::new(&policy);
        base.fold(0, &Fact::Planned(Box::new(planned)));
        Self { base, left }
    }

    /// One step; with `dies` the process ends when the facts are durable, and nothing of what follows is done.
    fn step(&self, world: &mut World, input: Input, dies: bool) {
        self.step_at(0, world, input, dies);
    }

    fn step_at(&self, now_ms: u64, world: &mut World, input: Input, dies: bool) {
        let actions = world.process.0.step(now_ms, input);
        let mut asks = Vec::new();
        for action in actions {
            match action {
                Action::Record(fact) => {
                    let Rollout { names, policy, .. } = &self.base;
                    world.journal.fold(now_ms, &fact, names, policy);
                }
                Action::Upgrade {
                    node,
                    attempt,
                    again,
                } => {
                    let budget = &world.process.0.state;
                    let free = !again && !budget.lockstep;
                    world.overran |= free && budget.nodes.upgrading > budget.budget.in_flight();
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
                Action::Wait(timer, _) => asks.push(Ask::Wait(timer)),
                Action::CancelUpgrades | Action::CancelBatch => world.cut = true,
                Action::Open(barrier) => {
                    world.cut = false;
                    let at = BARRIERS.iter().position(|open| *open == barrier);
                    world.opened = at.map_or(0, |at| at + 1);
                }
                Action::End(_) => world.over = true,
                _ => {}
            }
        }
        if dies {
            self.crash(world);
        } else {
            world.jobs.extend(asks.into_iter().map(Job::new));
        }
    }

    /// The process dies, and another goes on from the journal.
    fn crash(&self, world: &mut World) {
        let epoch = world.journal.epoch;
        for job in &world.jobs {
            let last = job.passed + 1 == BARRIERS.len() && world.opened == BARRIERS.len();
            if let (Ask::Upgrade(node, ..), true) = (job.ask, last) {
                world.agents[node].ready = true;
            }
        }
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
        (world.cut, world.opened) = (false, 0);
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

    /// Whether a node of a batch has to wait for the others before it may resume.
    fn waits(&self, world: &World, job: &Job) -> bool {
        let Ask::Upgrade(node, attempt, _) = job.ask else {
            return false;
        };
        let stand = world.agents[node].stand(attempt);
        let under_way = matches!(stand, None | Some(Stand::Open));
        let before_resume = job.passed + 1 < BARRIERS.len() || world.opened < BARRIERS.len();
        self.base.state.lockstep && under_way && before_resume && !world.cut
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
            Ask::Judge | Ask::Wait(_) => Reply::Probation,
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
                    Reply::Failed | Reply::Untouched | Reply::Reached | Reply::Lacking(_) => {
                        Upgraded::Untouched(cause("MF0301"))
                    }
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
                    Reply::Lacking(_) => Verdict::Inconclusive(vec!["no event".to_owned()]),
                    _ => Verdict::Pass,
                },
                health: Health::default(),
                lost: Vec::new(),
            }),
            Ask::Wait(timer) => Input::Elapsed(timer),
        }
    }
}

/// A person's request.
fn asked(verb: Verb) -> Request {
    Request {
        verb,
        who: "eve".to_owned(),
        reason: String::new(),
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
            opened: 0,
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
            if self.waits(world, job) {
                if job.passed < world.opened {
                    moves.push(Move::Pass(*job));
                }
            } else if job.ask != Ask::Wait(Timer::Barrier) || left.late > 0 {
                moves.push(Move::Do(*job, true));
            }
            match job.ask {
                Ask::Wait(_) => {}
                Ask::Judge => {
                    if left.trips > 0 {
                        moves.push(Move::Trip(*job));
                    }
                    if left.lacks > 0 {
                        moves.extend([false, true].map(|late| Move::Lack(*job, late)));
                    }
                }
                ask => {
                    if let Ask::Upgrade(node, attempt, _) = ask {
                        if left.failures > 0 {
                            moves.push(Move::Do(*job, false));
                        }
                        let is_new = world.agents[node].stand(attempt).is_none();
                        let free = !self.base.state.lockstep;
                        if free && !job.open && is_new && !world.cut && left.crashes > 0 {
                            moves.push(Move::Open(*job));
                        }
                    }
                    if left.losses > 0 {
                        if !self.waits(world, job) {
                            moves.push(Move::Lose(*job, true));
                        }
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
        if left.pauses > 0 && !world.process.0.state.paused && !world.over {
            moves.push(Move::Pause);
        }
        if world.process.0.state.paused && !world.over {
            moves.extend([Move::Decide(true), Move::Decide(false)]);
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
                if agent.ready {
                    moves.push(Move::Orphan(node, true));
                }
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
                agent.ready = true;
                world.jobs.remove(&job);
                world.jobs.insert(Job { open: true, ..job });
            }
            Move::Pass(job) => {
                let Ask::Upgrade(node, attempt, _) = job.ask else {
                    return None;
                };
                let epoch = world.journal.epoch;
                let agent = &mut world.agents[node];
                agent.epoch = agent.epoch.max(epoch);
                if !job.open && attempt > 1 {
                    agent.back(attempt - 1);
                }
                agent.set(attempt, Stand::Open);
                agent.ready = false;
                world.jobs.remove(&job);
                world.jobs.insert(Job {
                    open: true,
                    passed: job.passed + 1,
                    reply: Some(Reply::Reached),
                    ..job
                });
            }
            Move::Do(job, good) => {
                let reply = self.reach(&mut world, job, good)?;
                world.left.failures -= u8::from(!good);
                world.left.late -= u8::from(job.ask == Ask::Wait(Timer::Barrier));
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
            Move::Lack(job, late) => {
                world.left.lacks -= 1;
                world.jobs.remove(&job);
                let reply = Some(Reply::Lacking(late));
                world.jobs.insert(Job { reply, ..job });
            }
            Move::Hear(job, dies) => {
                world.jobs.remove(&job);
                world.left.crashes -= u8::from(dies);
                let (reply, mut now_ms) = (job.reply?, 0);
                let mut input = Self::input(job.ask, reply);
                if let (Ask::Upgrade(node, ..), Reply::Reached) = (job.ask, reply) {
                    input = Input::Reached(node, BARRIERS[job.passed - 1]);
                    world.jobs.insert(Job { reply: None, ..job });
                }
                if reply == Reply::Lacking(true) {
                    now_ms =
                        u64::try_from(self.base.policy.timeouts.gate.get().as_millis()).ok()?;
                }
                self.step_at(now_ms, &mut world, input, dies);
            }
            Move::Pause => {
                world.left.pauses -= 1;
                self.step(&mut world, Input::Control(asked(Verb::Pause)), false);
            }
            Move::Decide(takes) => {
                let verb = match takes {
                    true => Verb::Promote {
                        accept_inconclusive: Some("it is late".to_owned()),
                    },
                    false => Verb::Resume,
                };
                self.step(&mut world, Input::Control(asked(verb)), false);
            }
            Move::Crash => {
                world.left.crashes -= 1;
                self.crash(&mut world);
            }
            Move::Abort => {
                world.left.aborts -= 1;
                let verb = Verb::Abort { keep: false };
                self.step(&mut world, Input::Control(asked(verb)), false);
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
                    self.reach(&mut world, Job::new(ask), true);
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
            Property::always(
                "in lockstep nobody resumes before all can",
                |_, world: &World| {
                    let early = |barrier| {
                        !matches!(barrier, Barrier::Resume | Barrier::Done | Barrier::Aborted)
                    };
                    let under_way = world.journal.batch.filter(|batch| early(batch.barrier));
                    let nodes = under_way.map(|batch| world.journal.batch_nodes(batch.index));
                    nodes
                        .into_iter()
                        .flatten()
                        .all(|node| !world.agents[node].on_new)
                },
            ),
            Property::always(
                "no wave is confirmed but by its gate or by a person",
                |_, world: &World| {
                    let State {
                        stage,
                        verdict,
                        accepted,
                        ..
                    } = &world.journal;
                    *stage != Stage::Confirming
                        || *verdict == Some(Verdict::Pass)
                        || accepted.is_some()
                },
            ),
            Property::always("no rollout stands still", |protocol: &Self, world| {
                let mut moves = Vec::new();
                protocol.actions(world, &mut moves);
                let goes_on = |next: &Move| {
                    matches!(
                        next,
                        Move::Do(..)
                            | Move::Hear(..)
                            | Move::Pass(_)
                            | Move::Decide(_)
                            | Move::Orphan(..)
                    )
                };
                let mut moves = moves.into_iter().filter(goes_on);
                world.over || moves.any(|next| protocol.next_state(world, next).is_some())
            }),
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

/// Checks everything that can happen.
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
    lacks: 0,
    late: 0,
    pauses: 0,
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

#[test]
fn a_gate_without_enough_data_waits_for_a_person_who_may_pause_though_the_controller_dies() {
    let left = Left {
        crashes: 1,
        lacks: 2,
        pauses: 1,
        ..NONE
    };
    check(&[1, 1], "failure_budget: {min_sample: 1}\n", left);
}

#[test]
fn batches_in_lockstep_keep_the_promises_though_nodes_are_late_and_the_controller_dies() {
    let left = Left {
        crashes: 1,
        losses: 1,
        late: 1,
        ..NONE
    };
    let policy = "mode: lockstep\nfailure_budget: {max: 1, min_sample: 1}\n";
    check(&[2], policy, left);
}
