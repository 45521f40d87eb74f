//! What really happens in a simulation, and what must never: the trace of a run, every line of every journal as it is written,
//! every release that begins to run, and the promises that are looked at while it goes on. What can only be judged at the end
//! is in [`crate::judge`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use midflight_patch::Release;
use serde_json::Value;
use tokio::time::Instant;

use crate::bundles::bundles;

/// How much later than its lease a node may be noticed to have lost contact: what it does takes time.
const GRACE: Duration = Duration::from_secs(20);

/// Shared by everything.
#[derive(Clone)]
pub struct Truth(Arc<Mutex<Inner>>);

struct Inner {
    start: Instant,
    processes: u64,
    trace: Vec<String>,
    broken: Vec<String>,
    lease: Duration,
    nodes: Vec<Seen>,
    /// The nodes that recorded plans name, by the vsn that they lead to.
    planned: BTreeMap<String, Vec<String>>,
    /// In lockstep, the nodes of each wave, and how many of them each batch has.
    waves: Vec<Vec<String>>,
    batches: Vec<Vec<usize>>,
    /// In lockstep, the nodes whose batch was once let through to resume.
    let_through: BTreeSet<String>,
}

/// What is known of one node.
#[derive(Clone, Default)]
struct Seen {
    /// By key: when it resumed, while it is in probation and its lease has not run out.
    probation: BTreeMap<String, Instant>,
    /// When it last heard anything.
    heard: Option<Instant>,
    /// By rollout: the highest epoch that it has written down in this life.
    epochs: BTreeMap<String, u64>,
}

impl Truth {
    pub fn new(nodes: usize, lease: Duration) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            start: Instant::now(),
            processes: 0,
            trace: Vec::new(),
            broken: Vec::new(),
            lease,
            nodes: vec![Seen::default(); nodes],
            planned: BTreeMap::new(),
            waves: Vec::new(),
            batches: Vec::new(),
            let_through: BTreeSet::new(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// A number for one more process.
    pub fn process(&self) -> u64 {
        let mut inner = self.inner();
        inner.processes += 1;
        inner.processes
    }

    /// Adds to the trace.
    pub fn note(&self, text: String) {
        self.inner().note(text);
    }

    /// A promise does not hold.
    pub fn broken(&self, what: String) {
        let mut inner = self.inner();
        inner.note(format!("BROKEN: {what}"));
        inner.broken.push(what);
    }

    /// A release begins to run on a node.
    pub fn runs(&self, node: usize, release: &Release) {
        let vsn = release.vsn.as_str();
        let number: usize = vsn.parse().unwrap_or_default();
        let is_whole = bundles()
            .releases
            .get(number - 1)
            .is_some_and(|known| known.modules == release.modules);
        let planned = self.inner().planned.get(vsn).cloned().unwrap_or_default();
        let named = is_whole && (vsn == "1" || planned.contains(&format!("n{node}")));
        self.note(format!("n{node} runs {vsn}"));
        if !named {
            self.broken(format!("n{node} runs {vsn}, which no rollout named there"));
        }
    }

    /// A node heard something of a controller.
    pub fn heard(&self, node: usize) {
        self.inner().nodes[node].heard = Some(Instant::now());
    }

    /// A node's process is gone.
    pub fn died(&self, node: usize) {
        let mut inner = self.inner();
        let seen = &mut inner.nodes[node];
        seen.probation.clear();
        seen.epochs.clear();
    }

    /// The highest epoch of a rollout that a node has met for certain.
    pub fn met(&self, node: usize, rollout: &str) -> u64 {
        let inner = self.inner();
        inner.nodes[node].epochs.get(rollout).copied().unwrap_or(0)
    }

    /// A node writes a line to its journal.
    pub fn entry(&self, node: usize, line: &[u8]) {
        let Ok(line) = serde_json::from_slice::<Value>(line) else {
            return self.broken(format!("n{node} writes a line that is none"));
        };
        let entry = &line["entry"];
        let kind = entry["kind"].as_str().unwrap_or_default().to_owned();
        let key = key_of(&entry["key"]);
        let mut text = format!("n{node} writes {kind}");
        for (name, value) in [
            ("", &key),
            (" epoch ", &entry["order"]["epoch"].to_string()),
        ] {
            if value != "null" && !value.is_empty() {
                text = format!(
                    "{text}{}{name}{value}",
                    if name.is_empty() { " " } else { "" }
                );
            }
        }
        for name in ["code", "outcome"] {
            if let Some(word) = entry[name].as_str().or(entry["failure"][name].as_str()) {
                text = format!("{text} {word}");
            }
        }
        if kind == "claimed"
            && let (Some(rollout), Some(epoch)) =
                (entry["rollout"].as_str(), entry["order"]["epoch"].as_u64())
        {
            let mut inner = self.inner();
            let met = inner.nodes[node]
                .epochs
                .entry(rollout.to_owned())
                .or_default();
            *met = epoch.max(*met);
        }
        let name = format!("n{node}");
        let alone = {
            let inner = self.inner();
            !inner.batches.is_empty() && !inner.let_through.contains(&name)
        };
        if kind == "resumed" && alone {
            self.broken(format!("{name} resumes before the others of its batch can"));
        }
        let early = self.inner().take_in(node, &kind, &key, text);
        if let Some(after) = early {
            self.broken(format!(
                "n{node}: the lease of {key} ran out {} ms after resume",
                after.as_millis()
            ));
        }
    }

    /// The controller writes a line to its journal.
    pub fn facts(&self, line: &[u8]) {
        let Ok(line) = serde_json::from_slice::<Value>(line) else {
            return self.broken("the controller writes a line that is none".to_owned());
        };
        let mut inner = self.inner();
        for event in line["events"].as_array().into_iter().flatten() {
            if event["event"] == "planned" {
                let to = event["to"].as_str().unwrap_or_default().to_owned();
                let nodes = event["nodes"].as_array().into_iter().flatten();
                let names = nodes.filter_map(|node| Some(node["name"].as_str()?.to_owned()));
                inner.planned.insert(to, names.collect());
                inner.waves = serde_json::from_value(event["waves"].clone()).unwrap();
                inner.batches =
                    serde_json::from_value(event["batches"].clone()).unwrap_or_default();
            }
            if event["event"] == "batch" && event["barrier"] == "resume" {
                inner.let_through(event);
            }
            inner.note(format!("fact {event}"));
        }
    }

    /// Looks at what must hold at every moment.
    pub fn look(&self) {
        let mut late = Vec::new();
        {
            let mut inner = self.inner();
            let (now, most) = (Instant::now(), inner.lease + GRACE);
            for (node, seen) in inner.nodes.iter_mut().enumerate() {
                let heard = seen.heard;
                seen.probation.retain(|key, resumed| {
                    let last = heard.map_or(*resumed, |heard| heard.max(*resumed));
                    let alone = now - last;
                    if alone > most {
                        late.push(format!(
                            "n{node} is in probation of {key}, {} ms after it last heard anything",
                            alone.as_millis()
                        ));
                    }
                    alone <= most
                });
            }
        }
        for what in late {
            self.broken(what);
        }
    }

    /// The trace, and the promises that did not hold.
    pub fn result(&self) -> (Vec<String>, Vec<String>) {
        let inner = self.inner();
        (inner.trace.clone(), inner.broken.clone())
    }

    pub fn is_broken(&self) -> bool {
        !self.inner().broken.is_empty()
    }
}

impl Inner {
    fn note(&mut self, text: String) {
        let at = self.start.elapsed().as_millis();
        self.trace.push(format!("{at:>8} {text}"));
    }

    /// A batch may resume.
    fn let_through(&mut self, event: &Value) {
        let index = |name: &str| event[name].as_u64().unwrap_or_default() as usize - 1;
        let (wave, batch) = (index("wave"), index("batch"));
        match (self.waves.get(wave), self.batches.get(wave)) {
            (Some(nodes), Some(sizes)) => {
                let before: usize = sizes[..batch].iter().sum();
                let batch = nodes.iter().skip(before).take(sizes[batch]);
                self.let_through.extend(batch.cloned());
            }
            // A wave of nodes that are tried again.
            _ => self
                .let_through
                .extend(self.planned.values().flatten().cloned()),
        }
    }

    /// Gives how long after resume a lease ran out, when that was too early.
    fn take_in(&mut self, node: usize, kind: &str, key: &str, text: String) -> Option<Duration> {
        self.note(text);
        let now = Instant::now();
        let probation = &mut self.nodes[node].probation;
        match kind {
            "resumed" => drop(probation.insert(key.to_owned(), now)),
            "lease_expired" => {
                let after = now - probation.remove(key)?;
                return (after < self.lease).then_some(after);
            }
            "confirming" | "rolling_back" | "rolled_back" => drop(probation.remove(key)),
            _ => {}
        }
        None
    }
}

/// `rollout#attempt`.
pub fn key_of(key: &Value) -> String {
    match (key["rollout"].as_str(), key["attempt"].as_u64()) {
        (Some(rollout), Some(attempt)) => format!("{rollout}#{attempt}"),
        _ => String::new(),
    }
}
