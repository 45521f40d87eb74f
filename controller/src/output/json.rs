//! One event a line, as JSON, in the same words as the journal. A reader that goes away does not stop a rollout.

use std::io::Write;

use crate::engine::Reporter;
use crate::engine::event::Event;
use crate::engine::view::View;

/// Writes events as JSON lines; those that happened together, together.
pub struct Json<W> {
    out: W,
    lines: Vec<u8>,
}

impl<W: Write + Send> Json<W> {
    /// To this writer.
    pub fn new(out: W) -> Self {
        Self {
            out,
            lines: Vec::new(),
        }
    }
}

impl<W: Write + Send> Reporter for Json<W> {
    fn event(&mut self, event: &Event, _: &View) {
        let before = self.lines.len();
        match serde_json::to_writer(&mut self.lines, event) {
            Ok(()) => self.lines.push(b'\n'),
            Err(_) => self.lines.truncate(before),
        }
    }

    fn flush(&mut self) {
        // The journal has it; a closed pipe must not end the rollout half-way.
        let _ = self
            .out
            .write_all(&self.lines)
            .and_then(|()| self.out.flush());
        self.lines.clear();
    }
}
