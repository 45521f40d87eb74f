//! How a command runs on a node, whatever carries it there. What it says comes through a bounded channel: who does not listen
//! holds it up, and nothing piles up in between.

use std::ops::Range;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::fanout::answer::{Failure, Stream};

/// One command on one node.
#[derive(Clone, Debug)]
pub struct Job {
    /// The node's position.
    pub node: usize,
    /// For the login shell there to read.
    pub command: Arc<str>,
    /// What the command reads; without it, its standard input ends at once.
    pub input: Option<Input>,
}

/// Bytes that many commands may read.
#[derive(Clone, Debug)]
pub struct Input {
    bytes: Arc<[u8]>,
    part: Range<usize>,
}

impl Input {
    /// All of them.
    #[must_use]
    pub fn new(bytes: Arc<[u8]>) -> Self {
        let part = 0..bytes.len();
        Self { bytes, part }
    }

    /// These from a position on; none when it is beyond the end.
    #[must_use]
    pub fn from(mut self, start: usize) -> Self {
        self.part.start = self.part.end.min(self.part.start.saturating_add(start));
        self
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.part.clone()]
    }
}

/// What is heard of a command.
#[derive(Debug)]
pub enum Heard {
    /// It was begun: from here on it may have changed something.
    Began,
    /// It said something.
    Said(Stream, Vec<u8>),
}

/// How a command ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Exit(u32),
    /// By a signal of this name, without `SIG`.
    Signal(String),
}

/// Runs commands on nodes.
pub trait Shell: Send + Sync + 'static {
    /// Runs one until it ends. Who drops this breaks the connection off, or at least its use for this command.
    fn run<'a>(
        &'a self,
        job: Job,
        heard: mpsc::Sender<Heard>,
    ) -> BoxFuture<'a, Result<Ended, Failure>>;
}
