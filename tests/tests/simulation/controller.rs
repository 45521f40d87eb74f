//! The controller: one process after the other runs the real engine over a journal on a simulated disk. A process dies with
//! everything it had in memory; the next folds the journal and goes on. What a person asks goes to whichever process lives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use midflight_controller::engine::begin::Begin;
use midflight_controller::engine::control::{self, Answer, Control, Request, Verb};
use midflight_controller::engine::event::{Event, Fact, Owner, Planned};
use midflight_controller::engine::id::RolloutId;
use midflight_controller::engine::link::Link;
use midflight_controller::engine::node;
use midflight_controller::engine::payload::Payload;
use midflight_controller::engine::rollout::Input;
use midflight_controller::engine::view::View;
use midflight_controller::engine::{self, Ended, Run, survey};
use midflight_controller::journal::{Journal as _, Memory};
use midflight_controller::output::Silent;
use midflight_controller::plan::{self, Plan};
use midflight_controller::policy::Policy;
use midflight_controller::transport::{Target, Transport};
use midflight_inventory::Inventory;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::bundles::bundles;
use crate::chance::Chance;
use crate::disk::Disk;
use crate::net::{Death, Net};
use crate::truth::Truth;
use crate::wire::Wire;

/// The rollout's name, and that of the one that comes in its way.
const ROLLOUTS: [&str; 2] = ["simulated-rollout", "rival-rollout"];
/// After so many attempts without a plan a rollout is not begun at all, once nothing stands in its way.
const ATTEMPTS: u32 = 30;
/// How long a person waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    First,
    /// To the same nodes; with true it takes them over from the first.
    Rival(bool),
}

pub struct Controller {
    which: Which,
    net: Net,
    truth: Truth,
    policy: Policy,
    nodes: usize,
    /// See the scenario.
    batches: usize,
    pub disk: Disk,
    chance: Mutex<Chance>,
    /// The journal as the processes that live have it.
    journal: Mutex<Option<Memory>>,
    /// To the process that lives.
    controls: Mutex<Option<mpsc::Sender<Control>>>,
    orders: mpsc::Sender<Order>,
    received: tokio::sync::Mutex<mpsc::Receiver<Order>>,
    /// What was asked and answered with done.
    done: Mutex<Vec<Request>>,
    /// How often it may still ask in vain for a plan.
    attempts: Mutex<u32>,
    /// The other one has ended.
    alone: AtomicBool,
}

/// What happens to the process that lives.
enum Order {
    Kill(Death, Duration),
    Usurp(Duration),
}

impl Controller {
    pub fn new(
        which: Which,
        net: Net,
        truth: Truth,
        policy: Policy,
        (nodes, batches): (usize, usize),
        mut chance: Chance,
        crashes: u64,
    ) -> Arc<Self> {
        let (orders, received) = mpsc::channel(16);
        Arc::new(Self {
            which,
            net,
            truth,
            policy,
            nodes,
            batches,
            disk: Disk::new(Chance::new(chance.next(), 1), crashes),
            chance: Mutex::new(chance),
            journal: Mutex::new(None),
            controls: Mutex::new(None),
            orders,
            received: tokio::sync::Mutex::new(received),
            done: Mutex::default(),
            attempts: Mutex::new(u32::MAX),
            alone: AtomicBool::new(false),
        })
    }

    fn rollout(&self) -> RolloutId {
        let which = usize::from(self.which != Which::First);
        ROLLOUTS[which].parse().unwrap()
    }

    fn payload(&self) -> &'static Arc<Payload> {
        match self.which {
            Which::First => &bundles().patch,
            Which::Rival(_) => &bundles().rival,
        }
    }

    /// Should it find no plan for long, there will be none.
    pub fn lose_patience(&self) {
        *self.attempts.lock().unwrap() = ATTEMPTS;
    }

    /// The other one has ended: what that left unfinished is finished.
    pub fn be_alone(&self) {
        self.alone.store(true, Ordering::Relaxed);
        self.lose_patience();
    }

    /// Ends the process, and starts the next after so long.
    pub fn kill(&self, death: Death, down: Duration) {
        let _ = self.orders.try_send(Order::Kill(death, down)); // more at a time than there is room for need not be
    }

    /// Starts another process after so long that takes this one's rollout.
    pub fn usurp(&self, after: Duration) {
        let _ = self.orders.try_send(Order::Usurp(after)); // see above
    }

    /// Asks what a person wants; gives the answer, when there is one.
    pub async fn ask(&self, verb: Verb) -> Option<Answer> {
        let to = self.controls.lock().unwrap().clone()?;
        let request = Request {
            verb,
            who: "eve".to_owned(),
            reason: String::new(),
        };
        let answer = timeout(PATIENCE, control::ask(&to, request.clone())).await;
        let answer = answer.ok().flatten();
        self.truth
            .note(format!("asked {:?}: {answer:?}", request.verb));
        if answer == Some(Answer::Done) {
            self.done.lock().unwrap().push(request);
        }
        answer
    }

    /// What was asked and answered with done.
    pub fn done(&self) -> Vec<Request> {
        self.done.lock().unwrap().clone()
    }

    /// Processes, one after the other, until the rollout is over. `request` is what a person asks of the first.
    pub async fn run(self: &Arc<Self>, mut request: Option<Verb>) {
        let mut received = self.received.lock().await;
        loop {
            let id = self.truth.process();
            let journal = self.open(id);
            let (to, controls) = mpsc::channel(control::WAITING);
            *self.controls.lock().unwrap() = Some(to);
            let process = self.clone().process(id, journal, request.take(), controls);
            let mut process = tokio::spawn(process);
            let order = tokio::select! {
                biased;
                order = received.recv() => order,
                ended = &mut process => match ended {
                    Ok(true) => break,
                    Ok(false) if *self.attempts.lock().unwrap() == 0 => break,
                    Ok(false) => None,
                    Err(error) => {
                        self.truth.broken(format!("the controller panicked: {error}"));
                        break;
                    }
                }
            };
            *self.controls.lock().unwrap() = None;
            let down = match order {
                Some(Order::Usurp(after)) => after,
                order => {
                    let (death, down) = match order {
                        Some(Order::Kill(death, down)) => (death, down),
                        _ => (
                            Death::Process,
                            self.chance.lock().unwrap().millis(100, 4_000),
                        ),
                    };
                    self.truth.note(format!("process {id} ends"));
                    self.net.kill(id, death);
                    process.abort();
                    self.journal.lock().unwrap().take();
                    self.disk.crash();
                    down
                }
            };
            sleep(down).await;
        }
        *self.controls.lock().unwrap() = None;
    }

    /// The journal that the processes share that live, or what is found on the disk.
    fn open(&self, process: u64) -> Memory {
        let mut journal = self.journal.lock().unwrap();
        if let Some(journal) = &*journal {
            return journal.clone();
        }
        let (truth, net) = (self.truth.clone(), self.net.clone());
        loop {
            let (truth, net) = (truth.clone(), net.clone());
            let handle = self.disk.open(
                move |line| truth.facts(line),
                move || net.kill(process, Death::Power),
            );
            match Memory::open(Box::new(handle)) {
                Ok(opened) => return journal.insert(opened).clone(),
                // It crashed once more while it cut what the crash before had torn.
                Err(_) => self.disk.crash(),
            }
        }
    }

    /// One process. True: the rollout is over.
    async fn process(
        self: Arc<Self>,
        id: u64,
        journal: Memory,
        request: Option<Verb>,
        controls: mpsc::Receiver<Control>,
    ) -> bool {
        let wire: Arc<dyn Transport> = Arc::new(Wire {
            net: self.net.clone(),
            truth: self.truth.clone(),
            process: id,
        });
        let before = events(&journal, &self.rollout()).await;
        let run = match before.is_empty() {
            true => self.begin(id, &wire).await,
            false => Some(self.go_on(id, &wire, before, request)),
        };
        let Some((before, preface, first, links)) = run else {
            return false;
        };
        self.truth.note(format!("process {id} drives"));
        let Ended { view, error, .. } = engine::run(Run {
            id: self.rollout(),
            policy: self.policy.clone(),
            before,
            preface,
            first,
            on_down_failure: None,
            links,
            payload: Some(self.payload().clone()),
            journal: Arc::new(journal),
            reporter: &mut Silent,
            controls,
            now_ms: wall_ms,
        })
        .await;
        let error = error.map(|error| error.code().to_owned());
        self.truth
            .note(format!("process {id} leaves it {}: {error:?}", view.state));
        error.is_none() && view.state.is_final()
    }

    /// As `midflight apply`; `None` when there is no plan now.
    async fn begin(&self, id: u64, wire: &Arc<dyn Transport>) -> Option<Start> {
        let hosts: Vec<String> = (0..self.nodes)
            .map(|node| match self.batches {
                0 => format!("n{node}: null"),
                batches => format!("n{node}: {{zone: z{}}}", node % batches),
            })
            .collect();
        let text = format!(
            "groups: {{all_of_them: {{hosts: {{{}}}}}}}\n",
            hosts.join(", ")
        );
        let inventory = Inventory::parse(&text, "fleet.yaml").unwrap();
        let targets = plan::targets(&inventory, "all", true).unwrap();
        let links = survey::links(&targets, wire, &self.policy);
        let answers = survey::survey(&links, &self.policy).await;
        let payload = self.payload();
        let supersedes = match self.which {
            Which::Rival(true) => ROLLOUTS[0],
            _ => "",
        };
        let plan = plan::plan(
            supersedes,
            targets,
            answers,
            &payload.manifest,
            &[],
            &self.policy,
            &inventory,
        );
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => {
                self.truth.note(format!("no plan: {}", error.code()));
                self.had_no_plan();
                return None;
            }
        };
        if !self.finish_leftovers(&plan, &links).await {
            self.truth.note("no plan: the other one runs".to_owned());
            self.had_no_plan();
            return None;
        }
        let preface = Begin {
            plan: &plan,
            payload,
            policy: &self.policy,
            pattern: "all",
            owner: owner(id),
            prepare_only: false,
            supersedes,
            bundles: &[],
        }
        .facts();
        Some((Vec::new(), preface, Input::Start, links))
    }

    fn had_no_plan(&self) {
        let mut attempts = self.attempts.lock().unwrap();
        *attempts = attempts.saturating_sub(1);
    }

    /// As `launch::leftovers`, which knows by a lock who runs.
    async fn finish_leftovers(&self, plan: &Plan, links: &[Arc<Link>]) -> bool {
        if !plan.unfinished.is_empty() && !self.alone.load(Ordering::Relaxed) {
            return false;
        }
        for (node, key, epoch) in &plan.unfinished {
            let planned = Planned {
                patch: key.patch_digest.clone(),
                ..Planned::default()
            };
            let id = key.rollout_id.parse().unwrap();
            let order = node::Order::new(&id, &planned, &self.policy, *epoch);
            if node::finish(&links[*node], &order, key).await.is_err() {
                return false;
            }
        }
        true
    }

    /// As a process that takes the rollout over.
    fn go_on(
        &self,
        id: u64,
        wire: &Arc<dyn Transport>,
        before: Vec<Event>,
        request: Option<Verb>,
    ) -> Start {
        let view = View::of(&before);
        let planned = view.planned.as_ref();
        let targets = planned
            .iter()
            .flat_map(|planned| &planned.nodes)
            .map(Target::from);
        let targets: Vec<Target> = targets.collect();
        let owned = Fact::Owned {
            owner: owner(id),
            epoch: view.epoch + 1,
        };
        let request = request.map(|verb| Request {
            verb,
            who: "eve".to_owned(),
            reason: String::new(),
        });
        let links = survey::links(&targets, wire, &self.policy);
        (before, vec![owned], Input::Recover(request), links)
    }

    /// Every event that is durable.
    pub async fn events(&self) -> Vec<Event> {
        let journal = self.journal.lock().unwrap().clone();
        match journal {
            Some(journal) => events(&journal, &self.rollout()).await,
            None => Vec::new(),
        }
    }
}

/// What a run starts from: events, further facts, the first input and the nodes.
type Start = (Vec<Event>, Vec<Fact>, Input, Vec<Arc<Link>>);

async fn events(journal: &Memory, rollout: &RolloutId) -> Vec<Event> {
    let all = journal.events(rollout, 0, usize::MAX);
    all.await.unwrap_or_default()
}

fn owner(process: u64) -> Owner {
    Owner {
        pid: process as u32,
        host: "simulated".to_owned(),
        user: "eve".to_owned(),
    }
}

thread_local! {
    static START: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

/// Begins the time of this thread's simulation.
pub fn begin_time() {
    START.set(Some(Instant::now()));
}

/// The simulation's wall clock, of which controllers have one.
fn wall_ms() -> u64 {
    let since = START.get().map_or(Duration::ZERO, |start| start.elapsed());
    1_790_000_000_000 + since.as_millis() as u64
}
