//! The door to the host: log, whereis, members, reserve. Answers are kept for the length of a batch, so that events can be run
//! again within it and see the same (`module.rs` says when). On a development machine a double stands in for the host,
//! which lets an actor's handlers be tested as ordinary functions.

#[cfg(target_arch = "wasm32")]
use crate::bindings::midflight::actor::host;
#[cfg(not(target_arch = "wasm32"))]
use crate::native as host;

use crate::event::Pid;

/// How serious a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For whoever looks for it.
    Debug,
    /// What an operator may want to see.
    Info,
    /// Something unexpected that was dealt with.
    Warn,
    /// Something that failed.
    Error,
}

pub(crate) fn log(level: Level, text: &str) {
    #[cfg(target_arch = "wasm32")]
    let level = match level {
        Level::Debug => host::Level::Debug,
        Level::Info => host::Level::Info,
        Level::Warn => host::Level::Warn,
        Level::Error => host::Level::Error,
    };
    host::log(level, text);
}

enum Answer {
    Whereis(Option<u64>),
    Reserve(u64),
    Members(Vec<u64>),
}

/// The host's answers in one batch. While `replaying`, they come from the record and nothing is logged.
#[derive(Default)]
pub(crate) struct Lookups {
    answers: Vec<Answer>,
    replaying: Option<usize>,
}

impl Lookups {
    pub(crate) fn replay(&mut self) {
        self.replaying = Some(0);
    }

    pub(crate) fn log(&self, level: Level, text: &str) {
        if self.replaying.is_none() {
            log(level, text);
        }
    }

    pub(crate) fn whereis(&mut self, name: &str) -> Option<u64> {
        match self.next(|| Answer::Whereis(host::whereis(name))) {
            Answer::Whereis(pid) => *pid,
            _ => diverged(),
        }
    }

    pub(crate) fn members(&mut self, group: &str) -> Vec<Pid> {
        match self.next(|| Answer::Members(host::members(group))) {
            Answer::Members(pids) => pids.iter().copied().map(Pid).collect(),
            _ => diverged(),
        }
    }

    pub(crate) fn reserve(&mut self) -> u64 {
        match self.next(|| Answer::Reserve(host::reserve())) {
            Answer::Reserve(pid) => *pid,
            _ => diverged(),
        }
    }

    fn next(&mut self, ask: impl FnOnce() -> Answer) -> &Answer {
        let at = match &mut self.replaying {
            Some(at) => {
                *at += 1;
                *at - 1
            }
            None => {
                self.answers.push(ask());
                self.answers.len() - 1
            }
        };
        self.answers.get(at).unwrap_or_else(|| diverged())
    }
}

/// A handler that asks the host for something else the second time is not a function of its event. The trap makes the
/// runtime run the batch's events one by one.
pub(crate) fn diverged() -> ! {
    panic!(
        "the handler did something else when its event was run again: it depends on more than its state and event"
    )
}
