//! One gate of a policy: a measure of the patched modules with its bound (`{traps: 0}`, `{p99: 1.2x, against: control}`), or a
//! question to something else (`{promql: …}`, `{exec: …}`). What a bound means for a measure is in `engine::gate`.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::policy::Amount;
use crate::policy::custom::{Exec, Promql};
use crate::policy::number::{Micros, Times};

/// A gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// On what nodes measured.
    Measured(Measured),
    /// On the answer of a Prometheus server.
    Promql(Promql),
    /// On the exit code of a program.
    Exec(Exec),
}

/// A bound on what the patched modules did since resume, all nodes of the wave together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// What.
    pub measure: Measure,
    /// How much at most.
    pub bound: Bound,
    /// Fewer samples than these, on either side, give no verdict. Of latencies and mailboxes a sample is one measured event, of all
    /// else it is a handled event.
    pub min_samples: u64,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Actors that hold an event on which the new code failed.
    Parked,
    /// Handlers that trapped.
    Traps,
    /// Handlers that returned an error.
    Errors,
    /// Actors started again by their supervisor.
    Restarts,
    /// Applications of the nodes that ended by themselves.
    Ended,
    /// Handlers that trapped or returned an error, as a part of all.
    ErrorRate,
    /// Half of the events took no longer, from when they could be handled until they were.
    P50,
    /// The same for 90 % of the events.
    P90,
    /// The same for 99 % of the events.
    P99,
    /// Events that wait in one mailbox.
    Mailbox,
}

/// How much a measure may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// So many.
    Count(u64),
    /// Such a part, in hundredths of a per cent.
    Rate(u32),
    /// So long.
    Latency(Micros),
    /// So much more than in the control set, in hundredths of a percentage point.
    More(u32),
    /// So many times what it is in the control set.
    Times(Times),
}

impl Measure {
    const ALL: [(&'static str, Self); 10] = [
        ("parked", Self::Parked),
        ("traps", Self::Traps),
        ("errors", Self::Errors),
        ("restarts", Self::Restarts),
        ("ended", Self::Ended),
        ("error_rate", Self::ErrorRate),
        ("p50", Self::P50),
        ("p90", Self::P90),
        ("p99", Self::P99),
        ("mailbox", Self::Mailbox),
    ];

    /// The key in a policy.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Traps => "traps",
            Self::Errors => "errors",
            Self::Restarts => "restarts",
            Self::Ended => "ended",
            Self::ErrorRate => "error_rate",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::Mailbox => "mailbox",
        }
    }

    /// What its bound may look like.
    fn forms(self) -> &'static str {
        match self {
            Self::Parked | Self::Ended => "a number such as 0",
            Self::Traps | Self::Errors | Self::Restarts | Self::Mailbox => {
                "a number such as 10, or a factor such as 1.5x"
            }
            Self::ErrorRate => {
                "a share such as 1%, a difference such as +0.5%, or a factor such as 1.5x"
            }
            Self::P50 | Self::P90 | Self::P99 => "a latency such as 20ms, or a factor such as 1.2x",
        }
    }

    fn takes(self, bound: Bound) -> bool {
        match (self, bound) {
            (Self::Parked | Self::Ended, bound) => matches!(bound, Bound::Count(_)),
            (Self::Traps | Self::Errors | Self::Restarts | Self::Mailbox, bound) => {
                matches!(bound, Bound::Count(_) | Bound::Times(_))
            }
            (Self::ErrorRate, bound) => {
                matches!(bound, Bound::Rate(_) | Bound::More(_) | Bound::Times(_))
            }
            (Self::P50 | Self::P90 | Self::P99, bound) => {
                matches!(bound, Bound::Latency(_) | Bound::Times(_))
            }
        }
    }

    /// How many samples a bound needs unless the policy says otherwise: what is counted needs none, and a quantile enough to
    /// be told from its neighbours.
    fn min_samples(self, bound: Bound) -> u64 {
        match (self, bound) {
            (_, Bound::Count(_)) | (Self::Restarts, _) => 0,
            (Self::P99, _) => 1_000,
            (Self::P90 | Self::Mailbox, _) => 200,
            (Self::P50, _) => 100,
            _ => 500,
        }
    }
}

impl Bound {
    /// Whether it compares with nodes that have not been patched.
    #[must_use]
    pub fn is_relative(self) -> bool {
        matches!(self, Self::More(_) | Self::Times(_))
    }

    fn parse(measure: Measure, text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no bound of {}; write {}",
                measure.as_str(),
                measure.forms()
            )
        };
        let share = |text: &str| match text.parse() {
            Ok(Amount::Share(share)) => Ok(share),
            _ => Err(wrong()),
        };
        let bound = if text.ends_with('x') {
            Self::Times(text.parse()?)
        } else if let Some(more) = text.strip_prefix('+') {
            Self::More(share(more)?)
        } else if text.ends_with('%') {
            Self::Rate(share(text)?)
        } else if let Ok(count) = text.parse() {
            Self::Count(count)
        } else if matches!(measure, Measure::P50 | Measure::P90 | Measure::P99) {
            Self::Latency(text.parse()?)
        } else {
            return Err(wrong());
        };
        if measure.takes(bound) {
            Ok(bound)
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Rate(share) => Amount::Share(*share).fmt(f),
            Self::Latency(latency) => latency.fmt(f),
            Self::More(share) => write!(f, "+{}", Amount::Share(*share)),
            Self::Times(times) => times.fmt(f),
        }
    }
}

impl From<(Measure, Bound)> for Measured {
    /// With the minimum of samples that is usual for it.
    fn from((measure, bound): (Measure, Bound)) -> Self {
        Self {
            measure,
            bound,
            min_samples: measure.min_samples(bound),
        }
    }
}

impl From<(Measure, Bound)> for Gate {
    fn from(gate: (Measure, Bound)) -> Self {
        Self::Measured(gate.into())
    }
}

impl fmt::Display for Gate {
    /// As the plan shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured(Measured { measure, bound, .. }) if bound.is_relative() => {
                write!(f, "{} at most {bound} of the control set", measure.as_str())
            }
            Self::Measured(Measured { measure, bound, .. }) => {
                write!(f, "{} at most {bound}", measure.as_str())
            }
            Self::Promql(promql) => promql.fmt(f),
            Self::Exec(exec) => exec.fmt(f),
        }
    }
}

impl Serialize for Gate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Measured(gate) => {
                let key = gate.measure.as_str();
                match gate.bound {
                    Bound::Count(count) => map.serialize_entry(key, &count)?,
                    bound => map.serialize_entry(key, &bound.to_string())?,
                }
                if gate.bound.is_relative() {
                    map.serialize_entry("against", "control")?;
                }
                map.serialize_entry("min_samples", &gate.min_samples)?;
            }
            Self::Promql(promql) => map.serialize_entry("promql", promql)?,
            Self::Exec(exec) => map.serialize_entry("exec", exec)?,
        }
        map.end()
    }
}

/// Reads the bound of one measure, so that a mistake has the place of the bound.
struct BoundOf(Measure);

impl<'de> DeserializeSeed<'de> for BoundOf {
    type Value = Bound;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Bound, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for BoundOf {
    type Value = Bound;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.forms())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Bound, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Bound, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bound, E> {
        Bound::parse(self.0, text).map_err(E::custom)
    }
}

/// The only set of nodes that a bound can be against.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Against {
    Control,
}

struct GateVisitor;

impl<'de> Visitor<'de> for GateVisitor {
    type Value = Gate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a gate, such as {traps: 0} or {p99: 1.2x, against: control}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Gate, A::Error> {
        const KEYS: [&str; 14] = [
            "parked",
            "traps",
            "errors",
            "restarts",
            "ended",
            "error_rate",
            "p50",
            "p90",
            "p99",
            "mailbox",
            "promql",
            "exec",
            "against",
            "min_samples",
        ];
        let (mut gate, mut against, mut min_samples) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "against" if against.is_none() => against = Some(map.next_value::<Against>()?),
                "min_samples" if min_samples.is_none() => {
                    min_samples = Some(map.next_value::<u64>()?);
                }
                "against" | "min_samples" => {
                    return Err(de::Error::custom(format!("`{key}` stands here twice")));
                }
                what => {
                    let measure = Measure::ALL.iter().find(|(name, _)| *name == what);
                    let next = match (what, measure) {
                        (_, Some((_, measure))) => {
                            Gate::from((*measure, map.next_value_seed(BoundOf(*measure))?))
                        }
                        ("promql", _) => Gate::Promql(map.next_value()?),
                        ("exec", _) => Gate::Exec(map.next_value()?),
                        _ => return Err(de::Error::unknown_field(what, &KEYS)),
                    };
                    if gate.replace(next).is_some() {
                        return Err(de::Error::custom(
                            "one gate has one measure; write the other as a gate of its own",
                        ));
                    }
                }
            }
        }
        let Some(mut gate) = gate else {
            return Err(de::Error::custom(
                "a gate names what it looks at: parked, traps, errors, restarts, ended, error_rate, p50, p90, p99, mailbox, promql or exec",
            ));
        };
        match &mut gate {
            Gate::Measured(gate) => {
                if against.is_some() && !gate.bound.is_relative() {
                    return Err(de::Error::custom(format!(
                        "`against` fits a bound such as 1.2x or +0.5%, and {} is {}",
                        gate.measure.as_str(),
                        gate.bound
                    )));
                }
                gate.min_samples = min_samples.unwrap_or(gate.min_samples);
            }
            Gate::Promql(_) | Gate::Exec(_) if against.is_some() || min_samples.is_some() => {
                return Err(de::Error::custom(
                    "`against` and `min_samples` fit what nodes measure, not promql and exec",
                ));
            }
            Gate::Promql(_) | Gate::Exec(_) => {}
        }
        Ok(gate)
    }
}

impl<'de> Deserialize<'de> for Gate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GateVisitor)
    }
}
