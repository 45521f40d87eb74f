//! How a simulated fleet behaves, read from YAML: zones of nodes that lie beside each other, and for each what its orders
//! take, how often they fail and how often they stall. What is left out is healthy and takes no time.

use std::{path::Path, time::Duration};

use serde::Deserialize;

use super::chance::{Share, Time};
use crate::error::Error;

/// A scenario. `docs/operations.md` explains each key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Decides everything that chance decides. Default 1.
    pub seed: u64,
    /// At least one; shares are of the fleet, and the last zone takes the nodes that are left. Default: one, healthy.
    pub zones: Vec<Zone>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 1,
            zones: vec![Zone::default()],
        }
    }
}

/// Nodes that behave alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Zone {
    /// As the inventory has it.
    pub name: String,
    /// Of the fleet.
    pub share: Share,
    /// Nodes that take connections and say nothing, as behind a firewall that drops packets.
    pub silent: Share,
    /// Added to every order and every question.
    pub latency: Time,
    /// Bringing the patch, checked and compiled.
    pub stage: Order,
    /// From prepare on; a failure is one of prepare: nothing changed.
    pub upgrade: Order,
    /// What the report says that actors were suspended for.
    pub pause: Time,
    /// Confirm and finish.
    pub confirm: Order,
    /// Back.
    pub rollback: Order,
    /// How long a stall lasts. Default 10m.
    pub stall: Stall,
    /// What the modules do before the patch.
    pub old: Load,
    /// What they do after it; left out: the same.
    pub new: Option<Load>,
}

impl Default for Zone {
    fn default() -> Self {
        Self {
            name: "a".to_owned(),
            share: Share::default(),
            silent: Share::default(),
            latency: Time::default(),
            stage: Order::default(),
            upgrade: Order::default(),
            pause: Time::default(),
            confirm: Order::default(),
            rollback: Order::default(),
            stall: Stall::default(),
            old: Load::default(),
            new: None,
        }
    }
}

/// What becomes of one kind of order.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Order {
    /// Until it is done.
    pub takes: Time,
    /// Orders that fail.
    pub fails: Share,
    /// Orders that do not begin until the stall is over.
    pub stalls: Share,
}

/// How long a stall lasts.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Stall(pub Time);

impl Default for Stall {
    fn default() -> Self {
        let ten_minutes = Duration::from_secs(600);
        Self(Time::Between(ten_minutes, ten_minutes))
    }
}

/// What the handlers of a node do.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// Events a second.
    pub events: u32,
    /// Of these, handlers that return an error.
    pub errors: Share,
    /// Of these, handlers that trap.
    pub traps: Share,
    /// How long an event takes, on average and in microseconds; the times are distributed exponentially. 0: they are not measured.
    pub latency_us: u32,
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Config`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let wrong = |line, column, problem| Error::Config {
            path: path.to_owned(),
            line,
            column,
            problem,
        };
        let scenario: Self = serde_saphyr::from_str(text).map_err(|error| {
            let error = error.without_snippet();
            let at = error.location();
            let (line, column) = at.map_or((1, 1), |at| (at.line(), at.column()));
            wrong(line, column, error.to_string())
        })?;
        if scenario.zones.is_empty() {
            return Err(wrong(1, 1, "a fleet has at least one zone".to_owned()));
        }
        let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        for (index, zone) in scenario.zones.iter().enumerate() {
            let named = |other: &Zone| other.name == zone.name;
            if zone.name.is_empty() || !zone.name.chars().all(good) {
                let problem = format!("zone {:?}: a name has letters, digits, . _ -", zone.name);
                return Err(wrong(1, 1, problem));
            }
            if scenario.zones[..index].iter().any(named) {
                return Err(wrong(
                    1,
                    1,
                    format!("two zones have the name {}", zone.name),
                ));
            }
        }
        Ok(scenario)
    }

    /// For each of so many nodes, the number of its zone.
    pub fn places(&self, nodes: usize) -> Vec<usize> {
        let mut places = Vec::with_capacity(nodes);
        for (index, zone) in self.zones.iter().enumerate() {
            let left = nodes - places.len();
            let count = if index + 1 == self.zones.len() {
                left
            } else {
                (zone.share.of(nodes as f64).round() as usize).min(left)
            };
            places.extend(std::iter::repeat_n(index, count));
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario, Error> {
        Scenario::parse(text, Path::new("fleet.yaml"))
    }

    #[test]
    fn zones_lie_beside_each_other_and_the_last_takes_what_is_left() {
        let text = "zones:\n- {name: far, share: 5%, silent: 100%}\n- {name: near}\n";
        let places = parse(text).unwrap().places(30);
        assert_eq!(places.iter().filter(|zone| **zone == 0).count(), 2);
        assert_eq!((places[1], places[2], places.len()), (0, 1, 30));
        assert_eq!(Scenario::default().places(3), [0, 0, 0]);
    }

    #[test]
    fn mistakes_are_refused_with_their_place() {
        for (text, place, words) in [
            ("zones:\n- {name: a, stage: {fail: 1%}}\n", 2, "fail"),
            ("zones: []\n", 1, "at least one zone"),
            ("zones:\n- {name: a}\n- {name: a}\n", 1, "two zones"),
            ("zones:\n- {name: 'a b'}\n", 1, "letters"),
            ("zones:\n- name: a\n  upgrade: {takes: soon}\n", 3, "soon"),
        ] {
            match parse(text).unwrap_err() {
                Error::Config { line, problem, .. } => {
                    assert_eq!(line, place, "{problem}");
                    assert!(problem.contains(words), "{problem}");
                }
                other => panic!("{other}"),
            }
        }
    }
}
