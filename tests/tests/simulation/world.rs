//! One run: a fleet, a controller and a network come up, things go wrong as the seed says, everything heals, the rollout comes
//! to its end, and then the truth is compared with what was told. Time is tokio's paused clock, so that minutes take
//! milliseconds, and all of it runs on one thread.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};
use std::time::Duration;

use midflight_controller::engine::control::{Answer, Verb};
use midflight_controller::engine::view::View;
use midflight_controller::engine::words::{Outcome, RolloutState};
use midflight_controller::transport::{Target, Transport as _};
use midflight_proto::agent::v1 as pb;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::bundles::bundles;
use crate::chance::Chance;
use crate::controller::{self, Controller, Which};
use crate::judge;
use crate::net::{Death, Net};
use crate::node::{Common, Node};
use crate::scenario::{Fault, Scenario};
use crate::truth::Truth;
use crate::wire::Wire;

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
    let simulated = AssertUnwindSafe(|| runtime.block_on(simulate(Scenario::of(seed))));
    let simulated = catch_unwind(simulated);
    drop(runtime);
    RUNNING.set(false);
    let mut outcomes = simulated.unwrap_or_else(|_| panic!("seed {seed}: {:#?}", PANICS.take()));
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
    let controller = |which, chance| {
        Controller::new(
            which,
            net.clone(),
            truth.clone(),
            policy.clone(),
            (count, scenario.batches),
            chance,
            scenario.disks.1,
        )
    };
    let rival = scenario.rival.map(|(at, takes)| {
        let chance = Chance::new(seed, 5);
        (at, controller(Which::Rival(takes), chance))
    });
    let controller = controller(Which::First, chance);
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
        net: common.net,
        nodes,
        controller,
        rival,
    };
    world.go().await
}

struct World {
    scenario: Arc<Scenario>,
    truth: Truth,
    net: Net,
    nodes: Vec<Arc<Node>>,
    controller: Arc<Controller>,
    /// A second rollout, and when it begins.
    rival: Option<(Duration, Arc<Controller>)>,
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
                self.controllers().cloned().collect(),
                self.truth.clone(),
            );
            faults.spawn(async move {
                sleep_until(start + at).await;
                work.await;
            });
        }
        let late = self.scenario.gray.unwrap_or_default();
        (0..self.nodes.len()).for_each(|node| self.net.slow(node, late));
        let running = begin(&self.controller, None);
        let rival = self.rival.clone().map(|(at, rival)| {
            tokio::spawn(async move {
                sleep(at).await;
                rival.run(None).await;
            })
        });
        while faults.join_next().await.is_some() {}
        if !self.scenario.is_calm() {
            sleep_until(start + CALM).await;
            self.nodes.iter().for_each(|node| node.disk.calm());
            (0..self.nodes.len()).for_each(|node| self.net.slow(node, 0));
            self.controllers()
                .for_each(|controller| controller.disk.calm());
            sleep(Duration::from_secs(20)).await;
        }
        self.truth.note("everything has healed".to_owned());
        if self.rival.is_some() {
            // The first may find nothing but what the second has brought.
            self.controller.lose_patience();
        }
        self.end(&self.controller, running).await;
        self.follow().await;
        if self.scenario.regret && view(&self.controller).await.state == RolloutState::Succeeded {
            let running = begin(&self.controller, Some(Verb::Rollback));
            self.end(&self.controller, running).await;
        }
        if let (Some(running), Some((_, controller))) = (rival, &self.rival) {
            controller.be_alone();
            self.end(controller, running).await;
        }
        self.compare().await
    }

    fn controllers(&self) -> impl Iterator<Item = &Arc<Controller>> {
        let rival = self.rival.iter().map(|(_, controller)| controller);
        std::iter::once(&self.controller).chain(rival)
    }

    /// What a server asks when nodes that were away answer again.
    async fn follow(&self) {
        let view = view(&self.controller).await;
        let away = view.nodes.iter().filter(|node| node.outcome.is_away());
        let nodes: Vec<String> = away.map(|node| node.name.clone()).collect();
        let succeeded = view.state == RolloutState::Succeeded && !nodes.is_empty();
        if self.scenario.follow && succeeded {
            self.truth.note(format!("{nodes:?} are to follow"));
            let running = begin(&self.controller, Some(Verb::Converge { nodes }));
            self.end(&self.controller, running).await;
        }
    }

    /// Until a rollout is over; a person decides what waits for one.
    async fn end(&self, controller: &Arc<Controller>, running: JoinHandle<()>) {
        let healed = Instant::now();
        let mut words = self.scenario.last_words.iter();
        while !running.is_finished() && !self.truth.is_broken() {
            if healed.elapsed() > STUCK {
                let view = view(controller).await;
                self.truth.broken(format!(
                    "the rollout is stuck: {}, {}",
                    view.state, view.reason
                ));
                running.abort();
                return;
            }
            sleep(Duration::from_secs(10)).await;
            if view(controller).await.state == RolloutState::Paused {
                let verb = words.next().cloned().unwrap_or(Verb::Abort { keep: false });
                if let Some(Answer::Refused(_)) = controller.ask(verb).await {
                    controller.ask(Verb::Resume).await;
                }
            }
        }
    }

    /// What each node says of itself.
    async fn ask_all(&self) -> Vec<pb::DescribeResponse> {
        let wire = Wire {
            net: self.net.clone(),
            truth: self.truth.clone(),
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
        let told = self.ask_all().await;
        let (mut broken, mut views) = (Vec::new(), Vec::new());
        for controller in self.controllers() {
            let events = controller.events().await;
            views.push(View::of(&events));
            broken.extend(judge::events(&events, policy, &controller.done()));
        }
        if self.scenario.errs.is_some_and(|errs| errs > 0) {
            broken.extend(judge::bad_code(&self.controller.events().await));
        }
        broken.extend(judge::report(&views[0], views.get(1), &told));
        let view = &views[0];
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
            && self.rival.is_none()
            && (view.state != RolloutState::Succeeded || !all)
        {
            broken.push(format!(
                "nothing went wrong, and {confirmed} nodes are confirmed: {}, {}",
                view.state, view.reason
            ));
        }
        let last = &views[views.len() - 1];
        let takes_over = self.scenario.rival.is_some_and(|(_, takes)| takes);
        if self.scenario.is_calm() && takes_over && last.state != RolloutState::Succeeded {
            broken.push(format!(
                "nothing went wrong, and the second rollout is {}: {}",
                last.state, last.reason
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
    controllers: Vec<Arc<Controller>>,
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
        Fault::Kill(death, down) => controllers.iter().for_each(|of| of.kill(death, down)),
        Fault::Usurp(after) => controllers.iter().for_each(|of| of.usurp(after)),
        Fault::SetWall(node, skew) => nodes[node].clock.set_wall(skew),
        Fault::Ask(verb) => {
            for controller in controllers {
                // Of the first that listens.
                if controller.ask(verb.clone()).await.is_some() {
                    break;
                }
            }
        }
    }
}

fn begin(controller: &Arc<Controller>, request: Option<Verb>) -> JoinHandle<()> {
    let controller = controller.clone();
    tokio::spawn(async move { controller.run(request).await })
}

async fn view(controller: &Controller) -> View {
    View::of(&controller.events().await)
}
