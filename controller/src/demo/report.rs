//! What a person or a program gets to see of a demo, apart from the rollouts' own output: for a person a story on stdout, for
//! a program one JSON object as the last line of stdout, with the story on stderr.

use std::fmt::Write as _;

use serde::Serialize;

use crate::command::{print, print_json, tell};
use crate::demo::acts::Played;
use crate::demo::traffic::Figures;
use crate::engine::event::PauseMs;
use crate::engine::words::Outcome;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Format;

/// Tells the story.
#[derive(Clone, Copy, Debug)]
pub struct Told(Format);

impl Told {
    /// For this format.
    pub fn new(format: Format) -> Self {
        Self(format)
    }

    /// The format.
    pub fn format(self) -> Format {
        self.0
    }

    /// A line of the story.
    pub fn line(self, text: &str) {
        match self.0 {
            // A reader that went away does not stop the demo; the last object says so.
            Format::Text => drop(print(&format!("{text}\n"))),
            Format::Json => tell(text),
        }
    }

    /// An act begins.
    pub fn act(self, number: u32, about: &str, expected: Exit) {
        self.line(&format!(
            "\nAct {number}: {about}\n       to end with exit code {}: {}",
            expected.code(),
            expected.meaning()
        ));
    }

    /// The command line that is run.
    pub fn command(self, text: &str) {
        self.line(&format!("$ {text}"));
    }

    /// Something is as it should be.
    pub fn good(self, text: &str) {
        self.line(&format!("  ok   {text}"));
    }

    /// Something is not as it should be.
    pub fn bad(self, text: &str) {
        self.line(&format!("  BAD  {text}"));
    }
}

/// What a demo came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    nodes: u64,
    confirmed: u64,
    rolled_back: u64,
    connections: u64,
    dropped_connections: u64,
    messages_sent: u64,
    messages_lost: u64,
    messages_duplicated: u64,
    messages_wrong: u64,
    counters: u64,
    counters_wrong: u64,
    pause_ms: Option<PauseMs>,
    seconds: f64,
    acts: Vec<Played>,
    ok: bool,
    #[serde(skip)]
    said: Vec<String>,
}

impl Report {
    /// From what the acts came to and what the clients saw. `acts` is how many there are to be.
    pub fn new(
        nodes: usize,
        counters: u64,
        seconds: f64,
        played: Vec<Played>,
        acts: usize,
        figures: Figures,
    ) -> Self {
        let outcome = |outcome| {
            played
                .iter()
                .filter_map(|act| act.outcomes.get(&outcome))
                .sum()
        };
        let ok = played.len() == acts && played.iter().all(|act| act.fleet_ok) && figures.is_good();
        Self {
            nodes: nodes as u64,
            confirmed: outcome(Outcome::Confirmed),
            rolled_back: outcome(Outcome::RolledBack),
            connections: figures.connections,
            dropped_connections: figures.dropped,
            messages_sent: figures.sent,
            messages_lost: figures.lost,
            messages_duplicated: figures.duplicated,
            messages_wrong: figures.wrong,
            counters,
            counters_wrong: figures.counters_wrong,
            pause_ms: percentiles(
                played
                    .iter()
                    .flat_map(|act| &act.pauses_us)
                    .copied()
                    .collect(),
            ),
            seconds,
            acts: played,
            ok,
            said: figures.said,
        }
    }

    /// Whether everything was as it should be.
    pub fn is_ok(&self) -> bool {
        self.ok
    }

    /// Something went wrong after all.
    pub fn spoil(&mut self, what: String) {
        self.ok = false;
        self.said.push(what);
    }

    /// Shows it: the last thing on stdout.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn show(&self, format: Format) -> Result<(), Error> {
        match format {
            Format::Text => print(&self.text()),
            Format::Json => print_json(self),
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "\n{:<32} {:>4} {:>9} {:>8}  outcomes\n",
            "act", "exit", "expected", "seconds"
        );
        for act in &self.acts {
            let Played {
                name,
                exit_code,
                expected_exit_code,
                seconds,
                ..
            } = act;
            let outcomes: Vec<String> = act
                .outcomes
                .iter()
                .map(|(outcome, nodes)| format!("{nodes} {outcome}"))
                .collect();
            let outcomes = outcomes.join(", ");
            let line = format!(
                "{name:<32} {exit_code:>4} {expected_exit_code:>9} {seconds:>8.1}  {outcomes}"
            );
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let pause = self.pause_ms.map_or_else(
            || "no node paused".to_owned(),
            |pause| {
                format!(
                    "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
                    pause.p50, pause.p99, pause.max
                )
            },
        );
        let (lost, twice, wrong) = (
            self.messages_lost,
            self.messages_duplicated,
            self.messages_wrong,
        );
        let rows = [
            (
                "nodes",
                format!(
                    "{}, of which {} confirmed and {} rolled back",
                    self.nodes, self.confirmed, self.rolled_back
                ),
            ),
            (
                "connections",
                format!("{}, dropped {}", self.connections, self.dropped_connections),
            ),
            (
                "messages",
                format!(
                    "{} sent, {lost} lost, {twice} duplicated, {wrong} wrong",
                    self.messages_sent
                ),
            ),
            (
                "counters",
                format!("{}, wrong {}", self.counters, self.counters_wrong),
            ),
            ("pause", pause),
            ("took", format!("{:.1} s", self.seconds)),
        ];
        text.push('\n');
        for (name, value) in rows {
            let _ = writeln!(text, "{name:<12} {value}");
        }
        for said in &self.said {
            let _ = writeln!(text, "  BAD  {said}");
        }
        text.push_str(if self.ok {
            "\nAll is as it should be.\n"
        } else {
            "\nThis is not as it should be.\n"
        });
        text
    }
}

/// Nearest rank; `None` of nothing.
fn percentiles(mut micros: Vec<u64>) -> Option<PauseMs> {
    micros.sort_unstable();
    let last = micros.len().checked_sub(1)?;
    // Pauses are far below 2^52 microseconds.
    let ms = |percent: usize| {
        micros[(micros.len() * percent)
            .div_ceil(100)
            .saturating_sub(1)
            .min(last)] as f64
            / 1_000.0
    };
    Some(PauseMs {
        p50: ms(50),
        p99: ms(99),
        max: ms(100),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(exit_code: u8, fleet_ok: bool) -> Played {
        Played {
            name: "an act",
            rollout: None,
            exit_code,
            expected_exit_code: 0,
            seconds: 1.0,
            outcomes: [(Outcome::Confirmed, 2)].into(),
            fleet_ok,
            pauses_us: vec![1_000, 3_000],
        }
    }

    fn ok(acts: Vec<Played>, of: usize, figures: Figures) -> bool {
        Report::new(2, 20, 1.0, acts, of, figures).is_ok()
    }

    #[test]
    fn a_demo_is_good_only_if_all_acts_are_and_no_message_was_lost_or_duplicated() {
        let fine = Figures {
            connections: 4,
            sent: 100,
            ..Figures::default()
        };
        assert!(ok(vec![played(0, true)], 1, fine.clone()));
        assert!(!ok(vec![played(0, true)], 2, fine.clone()));
        assert!(!ok(vec![played(3, false)], 1, fine.clone()));
        for spoil in [
            |figures: &mut Figures| figures.dropped = 1,
            |figures: &mut Figures| figures.lost = 1,
            |figures: &mut Figures| figures.duplicated = 1,
            |figures: &mut Figures| figures.wrong = 1,
            |figures: &mut Figures| figures.counters_wrong = 1,
        ] {
            let mut figures = fine.clone();
            spoil(&mut figures);
            assert!(!ok(vec![played(0, true)], 1, figures));
        }
    }

    #[test]
    fn percentiles_are_of_all_acts_and_absent_without_a_pause() {
        let report = Report::new(
            2,
            20,
            1.0,
            vec![played(0, true), played(0, true)],
            2,
            Figures::default(),
        );
        assert_eq!(
            report.pause_ms,
            Some(PauseMs {
                p50: 1.0,
                p99: 3.0,
                max: 3.0
            })
        );
        assert_eq!((report.confirmed, report.rolled_back), (4, 0));
        assert_eq!(percentiles(Vec::new()), None);
    }
}
