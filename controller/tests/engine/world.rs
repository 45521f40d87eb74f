//! A fleet in memory, and everything that a rollout over it needs: plan, journal, processes that die, people who ask.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use midflight_controller::engine::begin::Begin;
use midflight_controller::engine::control::{Control, Request, Verb};
use midflight_controller::engine::event::{Event, Fact, Owner};
use midflight_controller::engine::payload::Payload;
use midflight_controller::engine::rollout::Input;
use midflight_controller::engine::view::View;
use midflight_controller::engine::words::{Outcome, Phase};
use midflight_controller::engine::{self, Ended, Reporter, Run, survey};
use midflight_controller::journal::{Journal, Memory};
use midflight_controller::output::{self, Silent};
use midflight_controller::plan;
use midflight_controller::policy::{self, Policy};
use midflight_controller::transport::Transport;
use midflight_controller::transport::memory::{Fleet, Script};
use midflight_inventory::Inventory;
use midflight_patch::{Bundle, Manifest};
use tokio::sync::mpsc;

pub const FAST: &str = "waves: [1, 25%, 100%]\n";

pub fn bundle() -> Bundle {
    let component = b"not run here".to_vec();
    let blob = midflight_patch::Digest::of(&component);
    let manifest: Manifest = serde_json::from_value(serde_json::json!({
        "schema": 1, "name": "demo", "from": "1", "to": "2", "world": midflight_patch::WORLD,
        "modules": [{
            "name": "counter", "vsn": "2", "from": "1", "update": "advanced", "extra": null, "config": null,
            "blob": blob, "size": component.len(),
        }],
        "start": [], "listen": null,
    }))
    .unwrap();
    let blobs = [(blob, component)].into();
    Bundle::assemble(manifest.to_bytes().unwrap(), blobs, Vec::new()).unwrap()
}

/// A fleet of `n1` to `n<size>`, where some nodes misbehave.
#[derive(Clone)]
pub struct World {
    pub fleet: Arc<Fleet>,
    pub size: usize,
    pub policy: Policy,
    pub journal: Memory,
    pub prepare_only: bool,
    /// Zones of the nodes, in turn; 0: none.
    pub zones: usize,
    /// Goes on as the process that it was, not as another one.
    pub wakes_up: bool,
}

impl World {
    pub fn new(size: usize, policy: &str, misbehave: impl Fn(usize) -> Script) -> Self {
        let mut fleet = Fleet::default();
        for number in 1..=size {
            fleet.add(&format!("n{number}"), "demo", "1", "2", misbehave(number));
        }
        let policy = policy::parse(policy, "policy.yaml").unwrap();
        Self {
            fleet: Arc::new(fleet),
            size,
            policy,
            journal: Memory::default(),
            prepare_only: false,
            zones: 0,
            wakes_up: false,
        }
    }

    pub async fn apply(&mut self) -> Ended {
        let (_keep, controls) = mpsc::channel(1);
        self.apply_until(controls, &mut Silent).await.unwrap()
    }

    pub async fn apply_until(
        &mut self,
        controls: mpsc::Receiver<Control>,
        reporter: &mut dyn Reporter,
    ) -> Result<Ended, midflight_controller::Error> {
        let host = |number: usize| match self.zones {
            0 => format!("n{number}: null"),
            zones => format!("n{number}: {{zone: z{}}}", number % zones),
        };
        let hosts: Vec<String> = (1..=self.size).map(host).collect();
        let text = format!(
            "groups: {{all_of_them: {{hosts: {{{}}}}}}}\n",
            hosts.join(", ")
        );
        let inventory = Inventory::parse(&text, "fleet.yaml").unwrap();
        let targets = plan::targets(&inventory, "all", true)?;
        let transport: Arc<dyn Transport> = self.fleet.clone();
        let links = survey::links(&targets, &transport, &self.policy);
        let answers = survey::survey(&links, &self.policy).await;
        let payload = Arc::new(Payload::from(bundle()));
        let plan = plan::plan(
            "",
            targets,
            answers,
            &payload.manifest,
            &[],
            &self.policy,
            &inventory,
        )?;
        let preface = Begin {
            plan: &plan,
            payload: &payload,
            policy: &self.policy,
            pattern: "all",
            owner: owner(1, "eve"),
            prepare_only: self.prepare_only,
            supersedes: "",
            bundles: &[],
        }
        .facts();
        Ok(engine::run(Run {
            now_ms: midflight_controller::engine::id::now_ms,
            id: id(),
            policy: self.policy.clone(),
            before: Vec::new(),
            preface,
            first: Input::Start,
            on_down_failure: None,
            links,
            payload: Some(payload),
            journal: Arc::new(self.journal.clone()),
            reporter,
            controls,
        })
        .await)
    }

    /// Applies, and is gone right after the event.
    pub async fn die_at(&mut self, when: impl FnMut(&Fact) -> bool + Send) {
        let (now, died) = tokio::sync::oneshot::channel();
        let mut reporter = DieAt {
            now: Some(now),
            when,
        };
        let (_keep, controls) = mpsc::channel(1);
        tokio::select! {
            biased;
            _ = died => {}
            ended = self.apply_until(controls, &mut reporter) => panic!("it ended: {ended:?}"),
        }
    }

    /// As `midflight rollback`: from the journal alone.
    pub async fn roll_back(&mut self) -> Ended {
        let request = request(Verb::Rollback);
        self.go_on(Some(request), None, &mut Silent).await
    }

    /// As a process that takes the rollout over: from the journal alone.
    pub async fn go_on(
        &mut self,
        request: Option<Request>,
        controls: Option<mpsc::Receiver<Control>>,
        reporter: &mut dyn Reporter,
    ) -> Ended {
        let before = self.events();
        let view = View::of(&before);
        let planned = view.planned.clone().unwrap();
        let targets: Vec<_> = planned.nodes.iter().map(Into::into).collect();
        let transport: Arc<dyn Transport> = self.fleet.clone();
        let (_keep, silent) = mpsc::channel(1);
        engine::run(Run {
            now_ms: midflight_controller::engine::id::now_ms,
            id: id(),
            policy: self.policy.clone(),
            before,
            preface: match self.wakes_up {
                true => Vec::new(),
                false => vec![Fact::Owned {
                    owner: owner(2, "bob"),
                    epoch: view.epoch + 1,
                }],
            },
            first: Input::Recover(request),
            on_down_failure: None,
            links: survey::links(&targets, &transport, &self.policy),
            payload: Some(Arc::new(Payload::from(bundle()))),
            journal: Arc::new(self.journal.clone()),
            reporter,
            controls: controls.unwrap_or(silent),
        })
        .await
    }

    pub fn events(&self) -> Vec<Event> {
        let all = self.journal.events(&id(), 0, usize::MAX);
        all.now_or_never().unwrap().unwrap()
    }

    pub fn on_new(&self) -> usize {
        (1..=self.size)
            .filter(|number| self.fleet.runs_new(&format!("n{number}")))
            .count()
    }
}

pub fn owner(pid: u32, user: &str) -> Owner {
    Owner {
        pid,
        host: "here".into(),
        user: user.into(),
    }
}

pub fn request(verb: Verb) -> Request {
    Request {
        verb,
        who: "eve".into(),
        reason: String::new(),
    }
}

pub fn id() -> midflight_controller::engine::id::RolloutId {
    "20261121-test".parse().unwrap()
}

pub fn good(_: usize) -> Script {
    Script {
        phase: Duration::from_millis(10),
        ..Script::default()
    }
}

/// One node misbehaves.
pub fn only(number: usize, script: Script) -> impl Fn(usize) -> Script {
    move |node| {
        if node == number {
            script.clone()
        } else {
            good(node)
        }
    }
}

pub fn count(ended: &Ended, outcome: Outcome) -> u64 {
    ended.view.outcomes().get(&outcome).copied().unwrap_or(0)
}

/// Asks for something when an event comes that it waits for.
pub struct AskAt<F> {
    to: mpsc::Sender<Control>,
    verb: Option<Verb>,
    when: F,
}

impl<F: FnMut(&Fact) -> bool + Send> AskAt<F> {
    pub fn new(to: mpsc::Sender<Control>, verb: Verb, when: F) -> Self {
        Self {
            to,
            verb: Some(verb),
            when,
        }
    }
}

impl<F: FnMut(&Fact) -> bool + Send> Reporter for AskAt<F> {
    fn event(&mut self, event: &Event, _: &View) {
        if (self.when)(&event.fact)
            && let Some(verb) = self.verb.take()
        {
            let (answer, _) = tokio::sync::oneshot::channel();
            let request = request(verb);
            self.to.try_send(Control { request, answer }).unwrap();
        }
    }
}

pub fn is_asked(fact: &Fact, wanted: &str, phase: Phase) -> bool {
    matches!(fact, Fact::Ask { node, phase: asked, .. } if node == wanted && *asked == phase)
}

/// Says when the process is to die.
pub struct DieAt<F> {
    now: Option<tokio::sync::oneshot::Sender<()>>,
    when: F,
}

impl<F: FnMut(&Fact) -> bool + Send> Reporter for DieAt<F> {
    fn event(&mut self, event: &Event, _: &View) {
        if (self.when)(&event.fact)
            && let Some(now) = self.now.take()
        {
            now.send(()).unwrap();
        }
    }
}

/// The summary without times.
pub fn shown(ended: &Ended) -> String {
    let text = output::summary(&id(), &ended.view);
    let (head, rest) = text.split_once('\n').unwrap();
    let (before, after) = head.split_once(" after ").unwrap();
    format!("{before}:{}\n{rest}", after.split_once(':').unwrap().1)
}
