//! One event a line, as JSON, in the same words as the journal. A reader that goes away does not stop a rollout.

use std::io::Write;

use crate::engine::Reporter;
use crate::engine::event::Event;
use crate::engine::view::View;

/// Writes events as JSON lines.
pub struct Json<W> {
    out: W,
}

impl<W: Write + Send> Json<W> {
    /// To this writer.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write + Send> Reporter for Json<W> {
    fn event(&mut self, event: &Event, _: &View) {
        if let Ok(line) = serde_json::to_string(event) {
            // The journal has it; a closed pipe must not end the rollout half-way.
            let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        }
    }
}
