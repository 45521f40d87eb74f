//! The controller: one process after the other runs the real engine over a journal on a simulated disk. A process dies with
//! everything it had in memory; the next folds the journal and goes on. What a person asks goes to whichever process lives.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use midflight_controller::engine::begin::Begin;
use midflight_controller::engine::control::{self, Answer, Control, Request, Verb};
use midflight_controller::engine::event::{Event, Fact, Owner};
use midflight_controller::engine::rollout::Input;
use midflight_controller::engine::view::View;
use midflight_controller::engine::{self, Ended, Run, survey};
use midflight_controller::journal::{Journal as _, Memory};
use midflight_controller::output::Silent;
use midflight_controller::plan;
use midflight_controller::policy::Policy;
use midflight_controller::transport::{Agent, CallError, Target, Transport, grpc};
use midflight_inventory::Inventory;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::bundles::bundles;
use crate::chance::Chance;
use crate::disk::Disk;
use crate::net::{Death, Net};
use crate::truth::Truth;

/// The rollout's name.
pub const ROLLOUT: &str = "simulated-rollout";
/// How long a person waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Controller {
    net: Net,
    truth: Truth,
    policy: Policy,
    nodes: usize,
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
}

/// What happens to the process that lives.
enum Order {
    Kill(Death, Duration),
    Usurp(Duration),
}

impl Controller {
    pub fn new(
        net: Net,
        truth: Truth,
        policy: Policy,
        nodes: usize,
        mut chance: Chance,
        crashes: u64,
    ) -> Arc<Self> {
        let (orders, received) = mpsc::channel(16);
        Arc::new(Self {
            net,
            truth,
            policy,
            nodes,
            disk: Disk::new(Chance::new(chance.next(), 1), crashes),
            chance: Mutex::new(chance),
            journal: Mutex::new(None),
            controls: Mutex::new(None),
            orders,
            received: tokio::sync::Mutex::new(received),
            done: Mutex::default(),
        })
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
            process: id,
        });
        let before = events(&journal).await;
        let run = match before.is_empty() {
            true => self.begin(id, &wire).await,
            false => Some(self.go_on(id, &wire, before, request)),
        };
        let Some((before, preface, first, links)) = run else {
            return false;
        };
        self.truth.note(format!("process {id} drives"));
        let Ended { view, error, .. } = engine::run(Run {
            id: ROLLOUT.parse().unwrap(),
            policy: self.policy.clone(),
            before,
            preface,
            first,
            on_down_failure: None,
            links,
            payload: Some(bundles().patch.clone()),
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
            .map(|node| format!("n{node}: null"))
            .collect();
        let text = format!(
            "groups: {{all_of_them: {{hosts: {{{}}}}}}}\n",
            hosts.join(", ")
        );
        let inventory = Inventory::parse(&text, "fleet.yaml").unwrap();
        let targets = plan::targets(&inventory, "all", true).unwrap();
        let links = survey::links(&targets, wire, &self.policy);
        let answers = survey::survey(&links, &self.policy).await;
        let payload = &bundles().patch;
        let plan = plan::plan(
            "",
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
                return None;
            }
        };
        let preface = Begin {
            plan: &plan,
            payload,
            policy: &self.policy,
            pattern: "all",
            owner: owner(id),
            prepare_only: false,
            supersedes: "",
            bundles: &[],
        }
        .facts();
        Some((Vec::new(), preface, Input::Start, links))
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
            Some(journal) => events(&journal).await,
            None => Vec::new(),
        }
    }
}

/// What a run starts from: events, further facts, the first input and the nodes.
type Start = (
    Vec<Event>,
    Vec<Fact>,
    Input,
    Vec<Arc<midflight_controller::engine::link::Link>>,
);

async fn events(journal: &Memory) -> Vec<Event> {
    let all = journal.events(&ROLLOUT.parse().unwrap(), 0, usize::MAX);
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

/// Nodes over the simulated network, HTTP/2 and gRPC as in production. Who a node is, its place says: there is no TLS.
pub struct Wire {
    pub net: Net,
    pub process: u64,
}

impl Transport for Wire {
    fn connect<'a>(
        &'a self,
        target: &'a Target,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Arc<dyn Agent>, CallError>> {
        let unreachable = |source: grpc::BoxError| CallError::Unreachable {
            address: target.name.clone(),
            source,
        };
        async move {
            let node = target
                .name
                .trim_start_matches('n')
                .parse()
                .unwrap_or(usize::MAX);
            let dial = async {
                let stream = self.net.connect(self.process, node).await?;
                grpc::over(stream).await
            };
            match timeout(limit, dial).await {
                Ok(agent) => agent.map_err(unreachable),
                Err(late) => Err(unreachable(late.into())),
            }
        }
        .boxed()
    }
}
