//! Runs of handlers, written down. All that a run learns from the host comes through one door (`cx` and the answers of
//! `host`), so a run is a function of (module digest, state, events, cx, answers), and a record of these replays it
//! anywhere: on this node, on another, on a desk. Taken of every run that fails, and of others on request; bounded in
//! number and bytes.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use midflight_patch::{Digest, ModuleName, Vsn};
use parking_lot::Mutex;

use crate::{
    Config, Error, Limits, Node,
    actor::Item,
    bindings::{
        Batch, BatchRoom, Cx, FrameError, Handle, Init, Reader, Started, Wire, decode, encode,
    },
    code::Version,
    door::Answers,
    instance::{Fault, Instance},
    sys::ActorRef,
    table::Pid,
};

/// Bytes of one record; a longer one is not kept.
const RECORD_BYTES: usize = 1 << 20;
/// Bytes of all that are taken on request.
const SAMPLE_BYTES: usize = 64 << 20;
/// Runs that one request may record.
const SAMPLES: usize = 100_000;
/// Failures that are kept of one module: the last ones.
const CRASHES: usize = 4;
/// Items in one list of a record.
const ITEMS: u32 = 1 << 21;

/// One run of `init` or `handle`, with all that it was told and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The module.
    pub module: String,
    /// The vsn of the code that ran.
    pub vsn: String,
    /// Digest of the component that ran.
    pub blob: String,
    /// It was `init`.
    start: bool,
    /// The frame that the function got: cx, and arguments or state and events.
    input: Vec<u8>,
    answers: Answers,
    /// What it came to.
    pub outcome: Outcome,
}

/// What a run came to: equal outcomes are equal states and equal effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The frame that came out: effects, state, and for events of which one failed the reason.
    Done(Vec<u8>),
    /// `init` said no.
    Error(String),
    /// It trapped, or ran out of its time or memory.
    Trap(String),
}

/// A run that failed, and whose.
#[derive(Debug, Clone)]
pub struct Crash {
    /// The actor.
    pub pid: u64,
    /// Its registered name, or its pid.
    pub actor: String,
    /// Why it failed; what the host would not take of a run that ended well, too.
    pub reason: String,
    /// The run.
    pub record: Record,
}

impl Outcome {
    fn of<T: for<'a> Wire<'a>>(result: &Result<T, Fault>) -> Self {
        match result {
            Ok(value) => {
                let mut frame = Vec::new();
                encode(value, &mut frame);
                Outcome::Done(frame)
            }
            Err(Fault::Error(reason)) => Outcome::Error(reason.clone()),
            Err(Fault::Trap(reason)) => Outcome::Trap(reason.clone()),
        }
    }
}

impl Record {
    fn new(
        version: &Version,
        start: bool,
        input: Vec<u8>,
        answers: Answers,
        outcome: Outcome,
    ) -> Self {
        Self {
            module: version.name.to_string(),
            vsn: version.vsn.to_string(),
            blob: version.blob.to_string(),
            start,
            input,
            answers,
            outcome,
        }
    }

    pub(crate) fn of_init(
        version: &Version,
        cx: Cx,
        args: &[u8],
        answers: Answers,
        result: &Result<Started, Fault>,
    ) -> Self {
        let mut input = Vec::new();
        encode(&Init { cx, args }, &mut input);
        Self::new(version, true, input, answers, Outcome::of(result))
    }

    pub(crate) fn of_handle(
        version: &Version,
        cx: &[Cx],
        state: &[u8],
        items: &[Item],
        answers: Answers,
        result: &Result<Batch, Fault>,
    ) -> Self {
        let mut input = Vec::new();
        let events = items.iter().map(|item| &item.envelope);
        crate::bindings::put_handle(state, cx.iter().zip(events), &mut input);
        Self::new(version, false, input, answers, Outcome::of(result))
    }

    fn bytes(&self) -> usize {
        let outcome = match &self.outcome {
            Outcome::Done(frame) => frame.len(),
            Outcome::Error(reason) | Outcome::Trap(reason) => reason.len(),
        };
        self.input.len() + outcome + self.answers.bytes()
    }

    /// The record as bytes, for a file or another node.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        encode(self, &mut frame);
        frame
    }

    /// The way back; strict.
    pub fn from_bytes(bytes: &[u8]) -> Result<Record, Error> {
        decode(bytes, ITEMS).map_err(|e| Error::Replay(format!("these bytes are no record: {e}")))
    }
}

impl<'a> Wire<'a> for Record {
    fn put(&self, out: &mut Vec<u8>) {
        self.module.put(out);
        self.vsn.put(out);
        self.blob.put(out);
        self.start.put(out);
        self.input.put(out);
        self.answers.put(out);
        let (kind, bytes) = match &self.outcome {
            Outcome::Done(frame) => (0_u32, &frame[..]),
            Outcome::Error(reason) => (1, reason.as_bytes()),
            Outcome::Trap(reason) => (2, reason.as_bytes()),
        };
        kind.put(out);
        bytes.put(out);
    }

    fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| FrameError::Utf8);
        Ok(Self {
            module: Wire::take(frame)?,
            vsn: Wire::take(frame)?,
            blob: Wire::take(frame)?,
            start: Wire::take(frame)?,
            input: Wire::take(frame)?,
            answers: Wire::take(frame)?,
            outcome: match (u32::take(frame)?, Wire::take(frame)?) {
                (0, frame) => Outcome::Done(frame),
                (1, reason) => Outcome::Error(text(reason)?),
                (2, reason) => Outcome::Trap(text(reason)?),
                (kind, _) => {
                    return Err(FrameError::Tag {
                        what: "outcome",
                        tag: kind as u8,
                    });
                }
            },
        })
    }
}

/// What a node has written down.
#[derive(Default)]
pub(crate) struct Recorder {
    /// Runs that are still wanted, and of whom; nobody: of all.
    wanted: AtomicUsize,
    of: AtomicU64,
    samples: Mutex<(Vec<Record>, usize)>,
    crashes: Mutex<VecDeque<Crash>>,
}

impl Recorder {
    /// Is this actor's next run wanted? A load for a node that records nothing.
    pub(crate) fn wants(&self, pid: Pid) -> bool {
        if self.wanted.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let of = self.of.load(Ordering::Relaxed);
        of == 0 || of == pid
    }

    pub(crate) fn sample(&self, record: Record) {
        let mut samples = self.samples.lock();
        samples.1 += record.bytes();
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted == 0 || samples.1 > SAMPLE_BYTES {
            self.wanted.store(0, Ordering::Relaxed);
            return;
        }
        self.wanted.store(wanted - 1, Ordering::Relaxed);
        samples.0.push(record);
    }

    pub(crate) fn keep(&self, crash: Crash) {
        if crash.record.bytes() > RECORD_BYTES {
            return;
        }
        let mut crashes = self.crashes.lock();
        let same = |c: &Crash| c.record.module == crash.record.module;
        if crashes.iter().filter(|c| same(c)).count() >= CRASHES
            && let Some(oldest) = crashes.iter().position(same)
        {
            crashes.remove(oldest);
        }
        crashes.push_back(crash);
    }
}

impl Node {
    /// Writes down the next runs, at most 100,000 of them and 64 MiB, of one actor or of all. What was written down before
    /// and not fetched is dropped.
    pub fn record(&self, actor: Option<&ActorRef>, runs: usize) -> Result<(), Error> {
        let of = actor.map_or(Ok(0), |actor| self.find(actor))?;
        let recorder = &self.shared.recorder;
        let mut samples = recorder.samples.lock();
        *samples = (Vec::new(), 0);
        recorder.of.store(of, Ordering::Relaxed);
        recorder.wanted.store(runs.min(SAMPLES), Ordering::Relaxed);
        Ok(())
    }

    /// Ends `record`, and gives what was written down, in the order in which the runs ended.
    pub fn recorded(&self) -> Vec<Record> {
        let recorder = &self.shared.recorder;
        let mut samples = recorder.samples.lock();
        recorder.wanted.store(0, Ordering::Relaxed);
        std::mem::take(&mut *samples).0
    }

    /// The last runs that failed, oldest first: at most 4 of each module, none longer than 1 MiB. They outlive their
    /// actors.
    pub fn crashes(&self) -> Vec<Crash> {
        self.shared
            .recorder
            .crashes
            .lock()
            .iter()
            .cloned()
            .collect()
    }
}

/// Runs records again, each in a fresh instance, without actors and without a world: what a run asks of the host is
/// answered from its record.
pub struct Replayer {
    node: Node,
    versions: Mutex<HashMap<Digest, Arc<Version>>>,
}

impl Replayer {
    /// With the limits of the node that recorded, or a run that hit one may come to something else. Compiled code is kept in
    /// the folder `cache`; without one it is compiled for each replayer.
    pub fn new(limits: Limits, cache: Option<PathBuf>) -> Result<Self, Error> {
        let limits = Limits {
            workers: 1,
            ..limits
        };
        let node = Node::start(Config {
            limits,
            cache,
            address: std::net::Ipv4Addr::LOCALHOST.into(),
        })?;
        Ok(Self {
            node,
            versions: Mutex::default(),
        })
    }

    /// Runs a record again, on the component that it names.
    pub fn replay(&self, component: &[u8], record: &Record) -> Result<Outcome, Error> {
        let version = self.version(component, record)?;
        let broken = |e: FrameError| Error::Replay(format!("its input is no frame: {e}"));
        let mut instance = Instance::new(&self.node.shared, &version)
            .map_err(|fault| Error::Replay(fault.reason().to_owned()))?;
        instance.door_mut().replay(&record.answers);
        instance.door_mut().seal();
        if record.start {
            let Init { cx, args } = decode::<Init>(&record.input, ITEMS).map_err(broken)?;
            return Ok(Outcome::of(&instance.init(cx, &args, true)));
        }
        let Handle { state, events } = decode::<Handle>(&record.input, ITEMS).map_err(broken)?;
        let events = events
            .into_iter()
            .map(|(cx, envelope)| (cx, Item::of(envelope)));
        let (cx, items): (Vec<Cx>, Vec<Item>) = events.unzip();
        Ok(Outcome::of(&instance.handle(
            &cx,
            &state,
            &items,
            true,
            &mut BatchRoom::default(),
        )))
    }

    fn version(&self, component: &[u8], record: &Record) -> Result<Arc<Version>, Error> {
        let blob = Digest::of(component);
        if blob.to_string() != record.blob {
            return Err(Error::Replay(format!(
                "the record is of component {}, this is {blob}",
                record.blob
            )));
        }
        let mut versions = self.versions.lock();
        if let Some(version) = versions.get(&blob) {
            return Ok(version.clone());
        }
        let bad = |e: midflight_patch::Error| Error::Replay(e.to_string());
        let name = ModuleName::new(record.module.as_str()).map_err(bad)?;
        let vsn = Vsn::new(record.vsn.as_str()).map_err(bad)?;
        self.node.stage(&name, &blob, component)?;
        let version = self.node.shared.code.add_version(&name, &vsn, &blob)?;
        versions.insert(blob, version.clone());
        Ok(version)
    }
}
