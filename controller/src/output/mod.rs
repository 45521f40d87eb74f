//! What people and programs see of a rollout. All of it is made from events: bars on a terminal, plain lines elsewhere, one
//! event a line as JSON. Data goes to stdout, everything else to stderr.

mod aside;
mod bars;
mod json;
mod lines;
mod rendered;
pub mod screen;
mod status;
mod summary;
pub mod sys;
mod table;

use std::io::IsTerminal as _;

use crate::engine::Reporter;
use crate::engine::event::Event;
use crate::engine::view::View;

pub use aside::{Aside, Shown, aside};
pub use json::Json;
pub use lines::Lines;
pub use rendered::{Rendered, json_lines};
pub use status::status;
pub use summary::summary;
pub use table::{plain, table};

/// How output is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// The reporter for a format and for where the output goes.
#[must_use]
pub fn reporter(format: Format) -> Box<dyn Reporter> {
    match format {
        Format::Json => Box::new(Json::new(std::io::stdout())),
        Format::Text if std::io::stderr().is_terminal() => Box::new(bars::Bars::new()),
        Format::Text => Box::new(Lines::new(std::io::stderr())),
    }
}

/// Tells nobody.
pub struct Silent;

impl Reporter for Silent {
    fn event(&mut self, _: &Event, _: &View) {}
}

/// `1 node`, `3 nodes`.
#[must_use]
pub fn count(number: impl Into<u64>, what: &str) -> String {
    match number.into() {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

/// Milliseconds for people: `740 ms`, `3.2 s`, `4 min 05 s`.
#[must_use]
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1_000.0), // Small enough to be exact.
        _ => format!("{} min {:02} s", ms / 60_000, ms / 1_000 % 60),
    }
}
