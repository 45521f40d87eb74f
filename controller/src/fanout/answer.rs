//! What one node said, within bounds, and how it ended. What does not fit is counted, never dropped silently: a bound for each
//! node, and one for all of them together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde::Serialize;

/// Which of a command's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How it ended on a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The command ended by itself, with this status.
    Exit(u32),
    /// A signal ended it, named as RFC 4254 section 6.10 does: `TERM`, `KILL`.
    Signal(String),
    /// Whatever kept it from running, or from telling how it ended.
    Failed(Failure),
    /// It took longer than it may. It may still run there.
    TimedOut,
    /// A person stopped the whole. The command may still run there.
    Interrupted,
    /// A person stopped the whole before it began here.
    NotStarted,
}

/// An error as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Failure {
    /// The stable code.
    pub code: String,
    /// What failed, with its causes.
    pub what: String,
    /// What to do next; may be empty.
    pub hint: String,
    /// Whether the command had begun.
    pub began: bool,
}

/// What is kept of all nodes together.
#[derive(Debug)]
pub struct Budget(AtomicUsize);

impl Budget {
    /// So many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(bytes)))
    }

    /// As much of `wanted` as there is.
    fn take(&self, wanted: usize) -> usize {
        let mut given = 0;
        let _ = self.0.fetch_update(Relaxed, Relaxed, |left| {
            given = wanted.min(left);
            Some(left - given)
        });
        given
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Relaxed);
    }
}

/// What came from a node.
#[derive(Debug)]
pub struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    cut: u64,
    most: usize,
    budget: Arc<Budget>,
}

impl Output {
    /// Nothing yet, and at most `most` bytes of both streams together.
    #[must_use]
    pub fn new(most: usize, budget: Arc<Budget>) -> Self {
        Self {
            stdout: Vec::new(),
            stderr: Vec::new(),
            cut: 0,
            most,
            budget,
        }
    }

    /// Keeps what fits. Once something did not, nothing that comes later is kept: what is shown is a beginning, without holes.
    pub fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let room = match self.cut {
            0 => self.most - self.stdout.len() - self.stderr.len(),
            _ => 0,
        };
        let kept = self.budget.take(bytes.len().min(room));
        let kind = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        kind.extend_from_slice(&bytes[..kept]);
        self.cut += (bytes.len() - kept) as u64; // usize has 64 bits at most
    }

    /// The bytes that are kept of one stream.
    #[must_use]
    pub fn of(&self, stream: Stream) -> &[u8] {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    /// How many bytes more came than are kept.
    #[must_use]
    pub fn cut(&self) -> u64 {
        self.cut
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.budget.give_back(self.stdout.len() + self.stderr.len());
    }
}

/// What came from a node, and how it ended.
#[derive(Debug)]
pub struct Answer {
    /// What came.
    pub output: Output,
    /// How it ended.
    pub end: End,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_the_bound_of_a_node_is_counted_and_leaves_no_hole() {
        let mut output = Output::new(5, Budget::new(100));
        output.push(Stream::Stdout, b"abcd");
        output.push(Stream::Stderr, b"xyz");
        output.push(Stream::Stdout, b"efg");
        assert_eq!(output.of(Stream::Stdout), b"abcd");
        assert_eq!(output.of(Stream::Stderr), b"x");
        assert_eq!(output.cut(), 5);
    }

    #[test]
    fn all_nodes_share_a_bound_and_what_is_dropped_makes_room() {
        let budget = Budget::new(6);
        let mut first = Output::new(100, budget.clone());
        first.push(Stream::Stdout, b"abcd");
        let mut second = Output::new(100, budget.clone());
        second.push(Stream::Stdout, b"efgh");
        assert_eq!((second.of(Stream::Stdout), second.cut()), (&b"ef"[..], 2));
        drop(first);
        let mut third = Output::new(100, budget);
        third.push(Stream::Stdout, b"ijklm");
        assert_eq!((third.of(Stream::Stdout), third.cut()), (&b"ijkl"[..], 1));
    }
}
