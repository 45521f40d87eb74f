//! The last lines that an actor logged, kept with it. Bounded in lines and bytes; an actor that never logs has none, and
//! they go with the actor. The node's own log gets every line besides.

use std::{collections::VecDeque, time::Duration};

use crate::{
    Error, Node, actor::Body, bindings::Level, instance::Instance, node::Shared, sys::ActorRef,
    table::Pid,
};

/// Bytes of all lines that are kept for one actor.
const BYTES: usize = 16 << 10;

/// How loud a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// For whoever looks for something.
    Debug,
    /// What went well.
    Info,
    /// What should not go on.
    Warn,
    /// What went wrong.
    Error,
}

/// One line of an actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Nanoseconds since 1970-01-01 UTC.
    pub wall: u64,
    /// How loud.
    pub level: LogLevel,
    /// At most 4,096 bytes.
    pub text: String,
}

/// What one actor logged last, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    kept: VecDeque<LogLine>,
    bytes: usize,
}

impl Lines {
    fn push(&mut self, line: LogLine, bound: usize) {
        self.bytes += line.text.len();
        self.kept.push_back(line);
        while self.kept.len() > bound || self.bytes > BYTES {
            let Some(old) = self.kept.pop_front() else {
                break;
            };
            self.bytes -= old.text.len();
        }
    }
}

/// Moves the lines of an instance's last call to the node's log, and to the actor's own.
pub(crate) fn take(shared: &Shared, instance: &mut Instance, pid: Pid, body: &mut Body) {
    let logs = instance.door_mut().take_logs();
    if logs.is_empty() {
        return;
    }
    let module = shared.code.module(body.module);
    let (actor, module) = (
        body.label(pid),
        module.map_or_else(String::new, |m| m.name.to_string()),
    );
    let (wall, bound) = (Shared::wall(), shared.limits.actor_log_lines);
    for (level, text) in logs {
        let level = match level {
            Level::Debug => {
                tracing::debug!(target: "actor", actor, module, "{text}");
                LogLevel::Debug
            }
            Level::Info => {
                tracing::info!(target: "actor", actor, module, "{text}");
                LogLevel::Info
            }
            Level::Warn => {
                tracing::warn!(target: "actor", actor, module, "{text}");
                LogLevel::Warn
            }
            Level::Error => {
                tracing::error!(target: "actor", actor, module, "{text}");
                LogLevel::Error
            }
        };
        if bound > 0 {
            let lines = body.extras().log.get_or_insert_default();
            lines.lock().push(LogLine { wall, level, text }, bound);
        }
    }
}

impl Node {
    /// What an actor logged last, oldest first; at most `limits.actor_log_lines` lines and 16 KiB.
    pub fn log(&self, actor: &ActorRef, timeout: Duration) -> Result<Vec<LogLine>, Error> {
        self.at_boundary(actor, timeout, |_, _, body| {
            let lines = body.extras.as_ref().and_then(|e| e.log.as_ref());
            lines.map_or_else(Vec::new, |lines| {
                lines.lock().kept.iter().cloned().collect()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lines_give_way_by_number_and_by_bytes() {
        let line = |bytes: usize| LogLine {
            wall: 0,
            level: LogLevel::Info,
            text: "x".repeat(bytes),
        };
        let mut lines = Lines::default();
        (0..5).for_each(|n| lines.push(line(n), 3));
        let lengths: Vec<usize> = lines.kept.iter().map(|l| l.text.len()).collect();
        assert_eq!(lengths, [2, 3, 4]);
        (0..10).for_each(|_| lines.push(line(4_096), 100));
        assert_eq!((lines.kept.len(), lines.bytes), (4, BYTES));
    }
}
