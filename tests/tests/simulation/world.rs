//! One run: a fleet, a controller and a network come up, things go wrong as the seed says, everything heals, the rollout comes
//! to its end, and then the truth is compared with what was told. Time is tokio's paused clock, so that minutes take
//! milliseconds, and all of it runs on one thread.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Once};
use std::time::Duration;

use midflight_controller::engine::control::Verb;
use midflight_controller::engine::view::View;
use midflight_controller::engine::words::{Outcome, RolloutState};
use midflight_controller::transport::{Target, Transport as _};
use midflight_proto::agent::v1 as pb;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::bundles::bundles;
use crate::chance::Chance;
use crate::controller::{self, Controller, Wire};
use crate::judge;
use crate::net::{Death, Net};
use crate::node::{Common, Node};
use crate::scenario::{Fault, Scenario};
use crate::truth::Truth;

/// From when on disks do not fail any more.
const CALM: Duration = Duration::from_secs(60);
/// How long a rollout may take once everything has healed.
const STUCK: Duration = Duration::from_secs(2_400);

/// What came of a seed.
pub struct Outcomes {
    /// What happened, a line each, with the time in milliseconds.
    pub trace: Vec<String>,
    /// The promises that were broken.
    pub broken: Vec<String>,
    /// How the rollout ended.
    pub state: RolloutState,
}

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Panics of tasks count as broken promises, each in the run of its thread.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match RUNNING.get() {
            true => PANICS.with_borrow_mut(|panics| panics.push(panic.to_string())),
            false => others(panic),
        }));
    });
}

/// Runs one seed.
pub fn run(seed: u64) -> Outcomes {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    note_panics();
    RUNNING.set(true);
    let mut outcomes = runtime.block_on(simulate(Scenario::of(seed)));
    drop(runtime);
    RUNNING.set(false);
    outcomes.broken.extend(PANICS.take());
    outcomes
}

async fn simulate(scenario: Scenario) -> Outcomes {
    controller::begin_time();
    let (seed, count, policy) = (scenario.seed, scenario.nodes.len(), scenario.policy.clone());
    let truth = Truth::new(count, policy.probation.lease.get());
    truth.note(format!("{scenario:?}"));
    let common = Common {
        net: Net::new(Chance::new(seed, 1), truth.clone(), count),
        truth: truth.clone(),
        trust: bundles().trust.clone(),
        release: bundles().boot.clone(),
    };
    let node = |(index, (nature, slow)): (usize, &(_, u64))| {
        let chance = Chance::new(seed, 100 + index as u64);
        Node::new(&common, index, *nature, *slow, chance, scenario.disks.0)
    };
    let nodes: Vec<Arc<Node>> = scenario.nodes.iter().enumerate().map(node).collect();
    for node in &nodes {
        tokio::spawn(node.clone().watch());
        node.boot();
    }
    let chance = Chance::new(seed, 2);
    let net = common.net.clone();
    let controller = Controller::new(
        net.clone(),
        truth.clone(),
        policy.clone(),
        count,
        chance,
        scenario.disks.1,
    );
    let looking = truth.clone();
    tokio::spawn(async move {
        loop {
            sleep(Duration::from_millis(500)).await;
            looking.look();
        }
    });
    let world = World {
        scenario: Arc::new(scenario),
        truth,
        net,
        nodes,
        controller,
    };
    world.go().await
}

struct World {
    scenario: Arc<Scenario>,
    truth: Truth,
    net: Net,
    nodes: Vec<Arc<Node>>,
    controller: Arc<Controller>,
}

impl World {
    async fn go(self) -> Outcomes {
        let start = Instant::now();
        let mut faults = JoinSet::new();
        for (at, fault) in self.scenario.faults.clone() {
            let work = apply(
                fault,
                self.net.clone(),
                self.nodes.clone(),
                self.controller.clone(),
                self.truth.clone(),
            );
            faults.spawn(async move {
                sleep_until(start + at).await;
                work.await;
            });
        }
        let running = self.start(None);
        while faults.join_next().await.is_some() {}
        if !self.scenario.is_calm() {
            sleep_until(start + CALM).await;
            self.nodes.iter().for_each(|node| node.disk.calm());
            self.controller.disk.calm();
            sleep(Duration::from_secs(20)).await;
        }
        self.truth.note("everything has healed".to_owned());
        self.end(running).await;
        if self.scenario.regret && self.view().await.state == RolloutState::Succeeded {
            let running = self.start(Some(Verb::Rollback));
            self.end(running).await;
        }
        self.compare().await
    }

    fn start(&self, request: Option<Verb>) -> tokio::task::JoinHandle<()> {
        let controller = self.controller.clone();
        tokio::spawn(async move { controller.run(request).await })
    }

    async fn view(&self) -> View {
        View::of(&self.controller.events().await)
    }

    /// Until the rollout is over; a person decides what waits for one.
    async fn end(&self, running: tokio::task::JoinHandle<()>) {
        let healed = Instant::now();
        let mut words = self.scenario.last_words.iter();
        while !running.is_finished() && !self.truth.is_broken() {
            if healed.elapsed() > STUCK {
                let view = self.view().await;
                self.truth.broken(format!(
                    "the rollout is stuck: {}, {}",
                    view.state, view.reason
                ));
                running.abort();
                return;
            }
            sleep(Duration::from_secs(10)).await;
            if self.view().await.state == RolloutState::Paused {
                let verb = words.next().cloned().unwrap_or(Verb::Abort { keep: false });
                self.controller.ask(verb).await;
            }
        }
    }

    /// What each node says of itself.
    async fn ask_all(&self) -> Vec<pb::DescribeResponse> {
        let wire = Wire {
            net: self.net.clone(),
            process: self.truth.process(),
        };
        let mut told = Vec::new();
        for node in &self.nodes {
            let target = Target {
                name: node.name.clone(),
                address: String::new(),
                port: 0,
                ssh: None,
            };
            let answer = match wire.connect(&target, Duration::from_secs(10)).await {
                Ok(agent) => agent.describe().await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) => told.push(answer),
                Err(error) => self
                    .truth
                    .broken(format!("{} does not answer in the end: {error}", node.name)),
            }
        }
        told
    }

    async fn compare(self) -> Outcomes {
        let policy = &self.scenario.policy;
        // Nodes that were lost have seen the end of their lease, and have tried to go back.
        sleep(policy.probation.lease.get() * 2 + Duration::from_secs(400)).await;
        let events = self.controller.events().await;
        let view = View::of(&events);
        let told = self.ask_all().await;
        let mut broken = judge::report(&view, &told);
        broken.extend(judge::events(&events, policy, &self.controller.done()));
        // What is permanent is what a restart boots.
        for node in &self.nodes {
            node.crash(Death::Power);
            node.boot();
        }
        let after = self.ask_all().await;
        let permanent =
            |told: &pb::DescribeResponse| told.permanent.clone().map(|release| release.vsn);
        for (before, after) in told.iter().zip(&after) {
            let (was, is) = (permanent(before), permanent(after));
            let boots = after.current.clone().map(|release| release.vsn);
            if was != is || boots != is {
                broken.push(format!(
                    "{}: {was:?} was permanent; a restart boots {boots:?}, and {is:?} is",
                    before.node
                ));
            }
        }
        for node in &self.nodes {
            broken.extend(judge::journal(&node.name, &node.disk.durable()));
        }
        let confirmed = view
            .outcomes()
            .get(&Outcome::Confirmed)
            .copied()
            .unwrap_or(0);
        let all = confirmed == self.nodes.len() as u64;
        if self.scenario.is_calm()
            && !self.scenario.regret
            && (view.state != RolloutState::Succeeded || !all)
        {
            broken.push(format!(
                "nothing went wrong, and {confirmed} nodes are confirmed: {}, {}",
                view.state, view.reason
            ));
        }
        broken
            .iter()
            .for_each(|what| self.truth.note(format!("BROKEN: {what}")));
        let (trace, before) = self.truth.result();
        broken.splice(0..0, before);
        Outcomes {
            trace,
            broken,
            state: view.state,
        }
    }
}

/// One fault, and its end.
async fn apply(
    fault: Fault,
    net: Net,
    nodes: Vec<Arc<Node>>,
    controller: Arc<Controller>,
    truth: Truth,
) {
    truth.note(format!("{fault:?}"));
    match fault {
        Fault::Cut(node, to, from, time) => {
            net.cut(node, to, from);
            sleep(time).await;
            net.cut(node, false, false);
        }
        Fault::CutAll(time) => {
            (0..nodes.len()).for_each(|node| net.cut(node, true, true));
            sleep(time).await;
            (0..nodes.len()).for_each(|node| net.cut(node, false, false));
        }
        Fault::Break(node) => net.break_all(node),
        Fault::Slow(node, millis, time) => {
            net.slow(node, millis);
            sleep(time).await;
            net.slow(node, 0);
        }
        Fault::Crash(node, death, time) => nodes[node].clone().restart(death, time).await,
        Fault::Kill(death, down) => controller.kill(death, down),
        Fault::Usurp(after) => controller.usurp(after),
        Fault::SetWall(node, skew) => nodes[node].clock.set_wall(skew),
        Fault::Ask(verb) => drop(controller.ask(verb).await),
    }
}
