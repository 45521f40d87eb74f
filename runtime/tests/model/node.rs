//! One node as small as it can be and still go wrong: two actors of two modules, a third that may be born at any moment,
//! and one upgrade of both modules. Whatever the upgrade or an actor decides, the runtime's own functions decide here; what
//! carries the decisions out is a few lines each, so that it can be read at once. A worker may start and end a handler
//! between any two steps of the upgrade, and inside each of its walks.

use midflight_runtime::{
    OnDownFailure,
    upgrade::machine::{self, Act, Back, Input, Part, Phase, Route, Stage, WayBack},
};

/// Messages from outside, all to the first actor; each makes it send one to the second.
pub const MESSAGES: u8 = 3;
/// The one that the new code of the first actor may fail at.
const POISON: u8 = 2;
/// The module of each actor.
const MODULE: [usize; 3] = [0, 1, 0];
/// The last actor is not there at first.
const UNBORN: usize = 2;

/// A version of the modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Old,
    New,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Life {
    Unborn,
    Alive,
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pause {
    No,
    Parked,
    Held,
}

/// A state: how many events made it, and which version can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub events: u8,
    pub form: Side,
}

/// An actor's part in the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Shadow {
    pub staged: Option<State>,
    pub pinned: Option<State>,
    pub way: Option<(WayBack, Option<State>)>,
    pub listed: bool,
    pub touched: bool,
    pub failed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    pub life: Life,
    pub version: Side,
    pub state: State,
    pub mail: Vec<u8>,
    /// The event inside its handler.
    pub runs: Option<u8>,
    pub pause: Pause,
    pub shadow: Option<Shadow>,
    /// Events that a lossy restore reported as discarded.
    pub discarded: u8,
    /// It committed on the new code.
    pub went_on: bool,
}

/// A walk over actors that copies their states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Walk {
    todo: [bool; 3],
    forward: bool,
    copied: Option<(usize, State)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub stage: Stage,
    pub phase: Phase,
    /// What is still to be done for the stage.
    pub acts: &'static [Act],
    /// How far a step is that goes module by module, or actor by actor.
    pub at: usize,
    pub walk: Option<Walk>,
    pub policy: OnDownFailure,
    pub gates: [bool; 2],
    pub current: Side,
    pub tracked: bool,
    pub list: [bool; 3],
    pub parked: [bool; 3],
    pub actors: [Actor; 3],
    /// Messages that were not sent yet.
    pub unsent: u8,
    /// Effects of the first actor that were released.
    pub released: u8,
    /// What the journal says a node boots.
    pub permanent: Side,
    pub purged: Option<Side>,
    pub free: bool,
    pub died: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The next order, with what becomes of an actor that cannot go back.
    Order(Input, OnDownFailure),
    /// The next piece of what an order does.
    Act,
    /// One step of a walk: the state is copied, or its migrated copy is stored. False: it could not be migrated down.
    Walk(bool),
    Send,
    Birth,
    Start(usize),
    /// True: it commits.
    End(usize, bool),
    Crash,
}

impl Node {
    pub fn new() -> Self {
        let actor = |life| Actor {
            life,
            version: Side::Old,
            state: State {
                events: 0,
                form: Side::Old,
            },
            mail: Vec::new(),
            runs: None,
            pause: Pause::No,
            shadow: None,
            discarded: 0,
            went_on: false,
        };
        Node {
            stage: Stage::Opened,
            phase: Phase::Open,
            acts: &[],
            at: 0,
            walk: None,
            policy: OnDownFailure::Hold,
            gates: [false; 2],
            current: Side::Old,
            tracked: false,
            list: [false; 3],
            parked: [false; 3],
            actors: [actor(Life::Alive), actor(Life::Alive), actor(Life::Unborn)],
            unsent: MESSAGES,
            released: 0,
            permanent: Side::Old,
            purged: None,
            free: false,
            died: false,
        }
    }

    /// Everything that may happen next.
    pub fn steps(&self, steps: &mut Vec<Step>) {
        if self.died {
            return;
        }
        steps.push(Step::Crash);
        let busy = !self.acts.is_empty() || self.walk.is_some();
        for input in [
            Input::Prepare,
            Input::Refresh,
            Input::Suspend,
            Input::Load,
            Input::Migrate,
            Input::Resume,
            Input::Confirm,
            Input::Finish,
        ] {
            let idle = input == Input::Refresh && self.list == [false; 3];
            if !busy && !idle && machine::next(self.stage, input).is_ok() {
                steps.push(Step::Order(input, self.policy));
            }
        }
        // Giving up may come in the middle of anything.
        if machine::next(self.stage, Input::GiveUp).is_ok() {
            steps.push(Step::Order(Input::GiveUp, self.policy));
        }
        let fails = self.acts == [Act::FollowUp];
        if (!busy || fails) && machine::next(self.stage, Input::Rollback).is_ok() {
            use OnDownFailure::{Hold, Restore, Stop};
            steps.extend([Hold, Restore, Stop].map(|p| Step::Order(Input::Rollback, p)));
        }
        match self.walk {
            Some(walk) => self.walk_steps(walk, steps),
            None if self.can_act() => steps.push(Step::Act),
            None => {}
        }
        if self.unsent > 0 {
            steps.push(Step::Send);
        }
        if self.actors[UNBORN].life == Life::Unborn && !self.gates[MODULE[UNBORN]] {
            steps.push(Step::Birth);
        }
        for (n, actor) in self.actors.iter().enumerate() {
            if let Some(event) = actor.runs {
                steps.push(Step::End(n, true));
                if n == 0 && event == POISON && actor.version == Side::New {
                    steps.push(Step::End(n, false));
                }
            } else if actor.life == Life::Alive
                && actor.pause == Pause::No
                && !actor.mail.is_empty()
                && !self.gates[MODULE[n]]
            {
                steps.push(Step::Start(n));
            }
        }
    }

    fn walk_steps(&self, walk: Walk, steps: &mut Vec<Step>) {
        match walk.copied {
            Some((0, _)) if !walk.forward => steps.extend([Step::Walk(true), Step::Walk(false)]),
            Some(_) => steps.push(Step::Walk(true)),
            // Whoever runs holds the lock that a copy needs.
            None if walk.next().is_none_or(|n| self.actors[n].runs.is_none()) => {
                steps.push(Step::Walk(true));
            }
            None => {}
        }
    }

    fn can_act(&self) -> bool {
        match self.acts.first() {
            None => false,
            Some(Act::AwaitHandlers) => self.actors.iter().all(|a| a.runs.is_none()),
            Some(Act::Close) => self.actors[self.at].runs.is_none(),
            Some(_) => true,
        }
    }

    pub fn take(&mut self, step: Step) {
        match step {
            Step::Order(input, policy) => self.order(input, policy),
            Step::Act => self.act(),
            Step::Walk(well) => self.walk_on(well),
            Step::Send => {
                self.unsent -= 1;
                let message = MESSAGES - self.unsent;
                self.deliver(0, message);
            }
            Step::Birth => {
                let (current, tracked) = (self.current, self.tracked);
                let actor = &mut self.actors[UNBORN];
                actor.life = Life::Alive;
                actor.version = current;
                actor.state.form = current;
                if tracked {
                    actor.shadow = Some(Shadow::default());
                    self.mark(UNBORN);
                }
            }
            Step::Start(n) => {
                self.settle(n);
                let actor = &mut self.actors[n];
                if actor.life == Life::Alive && actor.pause == Pause::No {
                    actor.runs = Some(actor.mail.remove(0));
                }
            }
            Step::End(n, true) => self.commit(n),
            Step::End(n, false) => self.fail(n),
            Step::Crash => {
                // State dies with the process; the journal says what is booted.
                let booted = Node::new();
                *self = Node {
                    permanent: self.permanent,
                    purged: self.purged,
                    current: self.permanent,
                    died: true,
                    ..booted
                };
            }
        }
    }

    fn order(&mut self, input: Input, policy: OnDownFailure) {
        let Ok((stage, acts)) = machine::next(self.stage, input) else {
            unreachable!("only what is not refused is ordered")
        };
        // The agent's journal comes first, in both directions.
        match input {
            Input::Confirm => self.permanent = Side::New,
            Input::Rollback => self.permanent = Side::Old,
            _ => {}
        }
        (self.stage, self.acts, self.at, self.policy) = (stage, acts, 0, policy);
        self.walk = None;
    }

    fn deliver(&mut self, to: usize, message: u8) {
        let actor = &mut self.actors[to];
        if actor.life == Life::Alive {
            actor.mail.push(message);
        }
    }

    fn mark(&mut self, n: usize) {
        let mark = machine::mark(self.phase);
        let Some(shadow) = &mut self.actors[n].shadow else {
            return;
        };
        if mark.drop_staged {
            shadow.staged = None;
        }
        if mark.touch {
            shadow.touched = true;
            shadow.way = None;
        }
        if mark.list && !shadow.listed {
            shadow.listed = true;
            self.list[n] = true;
        }
    }

    fn commit(&mut self, n: usize) {
        let actor = &mut self.actors[n];
        let event = actor.runs.take();
        actor.state.events += 1;
        actor.went_on |= actor.version == Side::New;
        self.mark(n);
        if let (0, Some(event)) = (n, event) {
            self.released += 1;
            self.deliver(1, event);
        }
    }

    fn fail(&mut self, n: usize) {
        let phase = self.phase;
        let actor = &mut self.actors[n];
        if machine::parks(phase, actor.version == Side::New) {
            actor.mail.splice(0..0, actor.runs.take());
            actor.pause = Pause::Parked;
            if let Some(shadow) = &mut actor.shadow {
                shadow.failed = true;
            }
            self.parked[n] = true;
        } else {
            actor.die();
        }
    }

    fn settle(&mut self, n: usize) {
        let actor = &mut self.actors[n];
        let Some(shadow) = &mut actor.shadow else {
            return;
        };
        let part = Part {
            staged: shadow.staged.is_some(),
            pinned: shadow.pinned.is_some(),
            touched: shadow.touched,
            failed: shadow.failed,
            way: shadow.way.map(|(way, _)| way),
            on_from: actor.version == Side::Old,
            route: Route::Migrate,
        };
        let todo = machine::settle(self.phase, part);
        if todo.install
            && let Some(staged) = shadow.staged.take()
        {
            shadow.pinned = Some(actor.state);
            actor.state = staged;
            actor.version = Side::New;
        }
        if todo.crash {
            actor.die();
            return;
        }
        match (todo.back, shadow.way, shadow.pinned) {
            (None | Some(Back::Stay | Back::AsItIs), ..) => {}
            (Some(Back::Migrated), Some((_, Some(state))), _) => {
                actor.state = state;
                actor.version = Side::Old;
            }
            (Some(Back::Pinned), _, Some(state)) => {
                actor.state = state;
                actor.version = Side::Old;
            }
            (Some(Back::Restored), _, Some(state)) => {
                actor.discarded += actor.state.events - state.events;
                actor.state = state;
                actor.version = Side::Old;
            }
            (Some(Back::Held | Back::HeldNewborn | Back::HeldUnprepared), ..) => {
                actor.pause = Pause::Held;
            }
            (Some(Back::Stopped), ..) => {
                actor.die();
                return;
            }
            (Some(back), ..) => unreachable!("{back:?} without a state for it"),
        }
        if todo.forget {
            actor.shadow = None;
        }
    }

    fn act(&mut self) {
        let more = match self.acts[0] {
            Act::Track => {
                self.tracked = true;
                false
            }
            Act::CopyAll => {
                self.walk = Some(Walk::over(self.actors.each_ref().map(Actor::lives), true));
                false
            }
            Act::CopyListed => {
                self.walk_listed();
                false
            }
            Act::DrainList => {
                self.walk_listed();
                self.walk.is_some()
            }
            Act::CloseGates => {
                self.gates[self.at] = true;
                self.at + 1 < self.gates.len()
            }
            Act::AwaitHandlers | Act::FollowUp | Act::UndoFollowUp | Act::ForgetOld => false,
            Act::MakeCurrent => {
                self.current = Side::New;
                false
            }
            Act::RestoreCurrent => {
                self.current = Side::Old;
                false
            }
            Act::Enter(phase) => {
                self.phase = phase;
                false
            }
            // First the phase, then gate by gate.
            Act::Switch(phase) => {
                self.phase = phase;
                if self.at > 0 {
                    self.gates[self.at - 1] = false;
                }
                self.at < self.gates.len()
            }
            Act::Unpark => {
                for (actor, parked) in self.actors.iter_mut().zip(&mut self.parked) {
                    if std::mem::take(parked) && actor.pause == Pause::Parked {
                        actor.pause = Pause::No;
                    }
                }
                false
            }
            Act::Close => {
                self.tracked = false;
                self.settle(self.at);
                self.at + 1 < self.actors.len()
            }
            Act::PurgeFrom => {
                self.purged = Some(Side::Old);
                false
            }
            Act::PurgeTo => {
                if self.actors.iter().all(|a| a.pause != Pause::Held) {
                    self.purged = Some(Side::New);
                }
                false
            }
            Act::Free => {
                self.free = true;
                false
            }
        };
        // A walk over the list is looked at again when it is done.
        if more {
            self.at += usize::from(self.walk.is_none());
        } else {
            self.acts = &self.acts[1..];
            self.at = 0;
        }
    }

    fn walk_listed(&mut self) {
        let list = std::mem::take(&mut self.list);
        if list != [false; 3] {
            let forward = self.phase == Phase::Open;
            self.walk = Some(Walk::over(list, forward));
        }
    }

    fn walk_on(&mut self, well: bool) {
        let Some(walk) = &mut self.walk else { return };
        let forward = walk.forward;
        if let Some((n, state)) = walk.copied.take() {
            self.store(n, state, forward, well);
        } else if let Some(n) = walk.next() {
            walk.todo[n] = false;
            let actor = &mut self.actors[n];
            let stands_on = if forward { Side::Old } else { Side::New };
            if actor.life == Life::Alive && actor.version == stands_on {
                actor.shadow.get_or_insert_default().listed = false;
                walk.copied = Some((n, actor.state));
            }
        }
        self.walk = self
            .walk
            .filter(|w| w.copied.is_some() || w.next().is_some());
    }

    fn store(&mut self, n: usize, copy: State, forward: bool, well: bool) {
        let policy = self.policy;
        let actor = &mut self.actors[n];
        let (Life::Alive, Some(shadow)) = (actor.life, &mut actor.shadow) else {
            return;
        };
        if !machine::keep_copy(shadow.listed) {
            return;
        }
        let migrated = |form| State { form, ..copy };
        if forward {
            shadow.staged = Some(migrated(Side::New));
        } else if well {
            shadow.way = Some((WayBack::Migrated, Some(migrated(Side::Old))));
        } else {
            let way = machine::down_failed(policy, shadow.pinned.is_some());
            shadow.way = Some((way, None));
        }
    }
}

impl Walk {
    fn over(todo: [bool; 3], forward: bool) -> Self {
        Walk {
            todo,
            forward,
            copied: None,
        }
    }

    fn next(&self) -> Option<usize> {
        self.todo.iter().position(|&todo| todo)
    }
}

impl Actor {
    pub fn lives(&self) -> bool {
        self.life == Life::Alive
    }

    fn die(&mut self) {
        self.life = Life::Dead;
        self.mail.clear();
        self.runs = None;
        self.shadow = None;
        self.pause = Pause::No;
    }
}
