//! The host as an instance sees it: what it may ask, how long it may run, and the answers of each call, kept so that the
//! same call run again is told the same. It decides nothing about actors.

use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{StoreLimits, StoreLimitsBuilder, UpdateDeadline};

use crate::{
    bindings::{FrameError, Level, Reader, Wire},
    node::Shared,
    table::Pid,
};

/// Milliseconds between two looks at the clock of all running handlers.
pub(crate) const TICK_MS: u64 = 5;

/// A call that the machine does not let run may take so many times its time.
const STARVED: u64 = 20;

/// What the host may have to remember of one call, for running it again.
const ANSWER_BYTES: usize = 8 << 20;

const OTHER: &str = "the handler asked the host for other things when it was run again";

/// What the host said while a handler ran. Run again, it is told the same.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Whereis(Option<Pid>),
    Members(Vec<Pid>),
    Reserve(Pid),
}

impl Answer {
    fn bytes(&self) -> usize {
        let pids = match self {
            Answer::Members(pids) => pids.len(),
            Answer::Whereis(_) | Answer::Reserve(_) => 0,
        };
        size_of::<Answer>() + pids * size_of::<Pid>()
    }
}

/// The host as one instance sees it.
pub(crate) struct Door {
    limits: StoreLimits,
    shared: Arc<Shared>,
    /// Closed for calls that must be pure.
    open: bool,
    /// Nobody is behind it: what is not recorded has no answer.
    sealed: bool,
    answers: Vec<Answer>,
    cursor: usize,
    /// Bytes of the answers of this call.
    weight: usize,
    logs: Vec<(Level, String)>,
    log_lines: usize,
    /// Half of the time that a call has, in milliseconds.
    half_ms: u64,
    late: Option<Late>,
}

/// A call that has used up the first half of its time by the wall clock. The second half is counted in the thread's own
/// time: a busy machine must not end a handler that hardly ran, and reading that clock costs a call that is late alone.
#[derive(Clone, Copy)]
struct Late {
    cpu_ms: u64,
    ticks: u64,
}

fn thread_ms() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

impl Door {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let limits = StoreLimitsBuilder::new()
            .memory_size(shared.limits.instance_memory_mb << 20)
            .table_elements(100_000)
            .instances(16)
            .memories(4)
            .tables(16)
            .build();
        Door {
            limits,
            shared: shared.clone(),
            open: false,
            sealed: false,
            answers: Vec::new(),
            cursor: 0,
            weight: 0,
            logs: Vec::new(),
            log_lines: shared.limits.log_lines,
            half_ms: shared.limits.handler_ms / 2,
            late: None,
        }
    }

    /// What the instance may use.
    pub(crate) fn limits(&mut self) -> &mut StoreLimits {
        &mut self.limits
    }

    /// A call begins. `open`: it may ask the host. `again`: it goes on in the answers that are there.
    pub(crate) fn ready(&mut self, open: bool, again: bool) {
        self.open = open;
        self.late = None;
        if !again {
            self.cursor = 0;
            self.weight = 0;
            self.answers.clear();
        }
        self.logs.clear();
    }

    /// What the limits are those of.
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Asked at each tick after the first half.
    pub(crate) fn deadline(&mut self) -> UpdateDeadline {
        let now = thread_ms();
        let late = self.late.get_or_insert(Late {
            cpu_ms: now,
            ticks: 0,
        });
        late.ticks += 1;
        let ran = now - late.cpu_ms >= self.half_ms;
        if ran || late.ticks * TICK_MS > 2 * self.half_ms * STARVED {
            UpdateDeadline::Interrupt
        } else {
            UpdateDeadline::Continue(1)
        }
    }

    fn answer(
        &mut self,
        call: &str,
        ask: impl FnOnce(&Shared) -> wasmtime::Result<Answer>,
    ) -> wasmtime::Result<Answer> {
        if !self.open {
            wasmtime::bail!("host.{call} is for init and handlers only");
        }
        if let Some(answer) = self.answers.get(self.cursor) {
            self.cursor += 1;
            return Ok(answer.clone());
        }
        if self.sealed {
            wasmtime::bail!(OTHER);
        }
        let answer = ask(&self.shared)?;
        self.weight += answer.bytes();
        if self.weight > ANSWER_BYTES {
            wasmtime::bail!("its answers from the host pass {ANSWER_BYTES} bytes in one call");
        }
        self.answers.push(answer.clone());
        self.cursor += 1;
        Ok(answer)
    }
}

/// What is known of the last call.
impl Door {
    /// Lines logged by the last call.
    pub(crate) fn take_logs(&mut self) -> Vec<(Level, String)> {
        std::mem::take(&mut self.logs)
    }

    /// The last call used up the first half of its time.
    pub(crate) fn was_late(&self) -> bool {
        self.late.is_some()
    }

    /// How many answers of the host are recorded.
    pub(crate) fn told(&self) -> usize {
        self.answers.len()
    }

    /// Pids reserved by calls, the first so many answers left out.
    pub(crate) fn reserved(&self, since: usize) -> impl Iterator<Item = Pid> + '_ {
        let new = self.answers.iter().skip(since);
        new.filter_map(|a| match a {
            Answer::Reserve(pid) => Some(*pid),
            _ => None,
        })
    }

    /// How many of them were given by now.
    pub(crate) fn cursor(&self) -> usize {
        self.cursor
    }

    /// What was answered since.
    pub(crate) fn answered_since(&self, cursor: usize) -> Answers {
        Answers(self.answers[cursor.min(self.cursor)..self.cursor].to_vec())
    }

    /// From now on it is told what is recorded and nothing else.
    pub(crate) fn seal(&mut self) {
        self.sealed = true;
    }

    /// What the host answered to the last call.
    pub(crate) fn answers(&self) -> Answers {
        Answers(self.answers.clone())
    }

    /// The calls of `handle` that follow, with `again`, are told the same.
    pub(crate) fn replay(&mut self, answers: &Answers) {
        self.answers.clone_from(&answers.0);
        self.cursor = 0;
    }

    /// Lines logged by the last call.
    pub(crate) fn logs(&self) -> &[(Level, String)] {
        &self.logs
    }
}

/// The functions of `host`.
impl Door {
    pub(crate) fn log(&mut self, level: Level, text: String) {
        if self.logs.len() < self.log_lines {
            self.logs.push((level, short(text)));
        } else if self.logs.len() == self.log_lines {
            self.logs.push((
                Level::Warn,
                format!(
                    "more than {} lines for one call; the rest is dropped",
                    self.log_lines
                ),
            ));
        }
    }

    pub(crate) fn whereis(&mut self, name: &str) -> wasmtime::Result<Option<Pid>> {
        match self.answer("whereis", |shared| {
            Ok(Answer::Whereis(shared.names.whereis(name)))
        })? {
            Answer::Whereis(pid) => Ok(pid),
            _ => wasmtime::bail!(OTHER),
        }
    }

    pub(crate) fn members(&mut self, group: &str) -> wasmtime::Result<Vec<Pid>> {
        match self.answer("members", |shared| {
            Ok(Answer::Members(shared.groups.members(group)))
        })? {
            Answer::Members(pids) => Ok(pids),
            _ => wasmtime::bail!(OTHER),
        }
    }

    pub(crate) fn reserve(&mut self) -> wasmtime::Result<Pid> {
        let reserved = |a: &&Answer| matches!(a, Answer::Reserve(_));
        let full = self.answers.iter().filter(reserved).count() >= self.shared.limits.effects;
        let answer = self.answer("reserve", |shared| match shared.table.reserve() {
            Some(pid) if full => {
                shared.table.release(pid);
                wasmtime::bail!("more pids reserved in one call than limits.effects allows")
            }
            Some(pid) => Ok(Answer::Reserve(pid)),
            None => wasmtime::bail!("the node holds as many actors as limits.actors allows"),
        })?;
        match answer {
            Answer::Reserve(pid) => Ok(pid),
            _ => wasmtime::bail!(OTHER),
        }
    }
}

/// The answers of the host to one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answers(Vec<Answer>);

impl Answers {
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(Answer::bytes).sum()
    }
}

impl<'a> Wire<'a> for Answers {
    fn put(&self, out: &mut Vec<u8>) {
        let pairs = self.0.iter().map(|answer| match answer {
            Answer::Whereis(pid) => (0_u32, pid.iter().copied().collect()),
            Answer::Members(pids) => (1, pids.clone()),
            Answer::Reserve(pid) => (2, vec![*pid]),
        });
        let pairs: Vec<(u32, Vec<Pid>)> = pairs.collect();
        pairs.put(out);
    }

    fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
        let pairs: Vec<(u32, Vec<Pid>)> = Wire::take(frame)?;
        let answer = |(kind, pids): (u32, Vec<Pid>)| match (kind, &pids[..]) {
            (0, []) => Ok(Answer::Whereis(None)),
            (0, [pid]) => Ok(Answer::Whereis(Some(*pid))),
            (1, _) => Ok(Answer::Members(pids)),
            (2, [pid]) => Ok(Answer::Reserve(*pid)),
            _ => Err(FrameError::Tag {
                what: "answer",
                tag: kind as u8,
            }),
        };
        let answers: Result<Vec<Answer>, FrameError> = pairs.into_iter().map(answer).collect();
        answers.map(Answers)
    }
}

/// A line or a reason, at most 4,096 bytes of it.
pub(crate) fn short(mut text: String) -> String {
    const BYTES: usize = 4_096;
    if text.len() > BYTES {
        text.truncate(text.floor_char_boundary(BYTES));
        text.push('…');
    }
    text
}
