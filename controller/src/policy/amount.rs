//! Amounts and durations as people write them in a policy: `3`, `25%`, `0.5%`, `500ms`, `5m`. They read with a reason when
//! they do not, and write themselves back in the same words.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::policy::units;

/// A number of nodes, or a part of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many nodes.
    Nodes(u32),
    /// So many hundredths of a per cent, 0 to 10,000.
    Share(u32),
}

impl Amount {
    /// Of `total` nodes, rounded down and at most all: how many may fail.
    #[must_use]
    pub fn at_most(self, total: u32) -> u32 {
        match self {
            Self::Nodes(nodes) => nodes.min(total),
            // At most `total`, which fits.
            Self::Share(share) => (u64::from(total) * u64::from(share) / 10_000) as u32,
        }
    }

    /// Of `total` nodes, rounded up and at most all: how many a wave reaches.
    #[must_use]
    pub fn at_least(self, total: u32) -> u32 {
        match self {
            Self::Nodes(nodes) => nodes.min(total),
            // At most `total`, which fits.
            Self::Share(share) => (u64::from(total) * u64::from(share)).div_ceil(10_000) as u32,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes(nodes) => write!(f, "{nodes}"),
            Self::Share(share) if share % 100 == 0 => write!(f, "{}%", share / 100),
            Self::Share(share) => {
                let text = format!("{}.{:02}", share / 100, share % 100);
                write!(f, "{}%", text.trim_end_matches('0'))
            }
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no amount; write a number of nodes such as 3, or a share such as 25%"
            )
        };
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let Some(share) = text.strip_suffix('%') else {
            return if digits(text) {
                text.parse().map(Self::Nodes).map_err(|_| wrong())
            } else {
                Err(wrong())
            };
        };
        let (whole, part) = share
            .trim_end()
            .split_once('.')
            .unwrap_or((share.trim_end(), "0"));
        if !digits(whole) || !digits(part) || part.len() > 2 {
            return Err(wrong());
        }
        let whole: u32 = whole.parse().map_err(|_| wrong())?;
        let part: u32 = format!("{part:0<2}").parse().map_err(|_| wrong())?;
        match whole
            .checked_mul(100)
            .and_then(|whole| whole.checked_add(part))
        {
            Some(share) if share <= 10_000 => Ok(Self::Share(share)),
            _ => Err(format!("`{text}` is more than 100%")),
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nodes(nodes) => serializer.serialize_u32(*nodes),
            Self::Share(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountVisitor;
        impl Visitor<'_> for AmountVisitor {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of nodes such as 3, or a share such as 25%")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Amount, E> {
                let nodes = u32::try_from(number)
                    .map_err(|_| E::custom(format!("{number} nodes are too many")))?;
                Ok(Amount::Nodes(nodes))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Amount, E> {
                let nodes = u32::try_from(number)
                    .map_err(|_| E::custom(format!("{number} is no number of nodes")))?;
                Ok(Amount::Nodes(nodes))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(AmountVisitor)
    }
}

/// A length of time, at most 30 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    const UNITS: [(&'static str, u64); 5] = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];

    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// As the standard library has it.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// In whole milliseconds; 30 days fit 32 bits.
    #[must_use]
    pub fn millis(self) -> u32 {
        u32::try_from(self.0.as_millis()).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&units::show(u64::from(self.millis()), &Self::UNITS, "0s"))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no duration; write 500ms, 30s, 5m, 2h or 7d");
        match units::read(text, &Self::UNITS).ok_or_else(wrong)? {
            millis if millis <= 30 * 86_400_000 => Ok(Self::from_millis(millis)),
            _ => Err(format!("`{text}` is longer than 30 days")),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpanVisitor;
        impl Visitor<'_> for SpanVisitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, such as 500ms, 30s or 5m")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(SpanVisitor)
    }
}

/// The greatest that a number of nodes at a time can be.
pub(super) const MOST_NODES: u32 = 10_000;

/// A number of nodes from 1 to 10,000.
pub(super) fn some_nodes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let nodes = u32::deserialize(deserializer)?;
    if (1..=MOST_NODES).contains(&nodes) {
        return Ok(nodes);
    }
    Err(de::Error::custom(format!(
        "{nodes} is not within 1 to {MOST_NODES}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_round_against_the_patch_for_failures_and_for_it_in_waves() {
        let share: Amount = "25%".parse().unwrap();
        assert_eq!((share.at_most(10), share.at_least(10)), (2, 3));
        let one: Amount = "1%".parse().unwrap();
        assert_eq!(
            (one.at_most(99), one.at_most(100), one.at_least(1)),
            (0, 1, 1)
        );
        assert_eq!(Amount::Nodes(5).at_least(3), 3);
        assert_eq!("0.5%".parse::<Amount>().unwrap(), Amount::Share(50));
        for text in ["0.5%", "100%", "12.25%", "7"] {
            assert_eq!(text.parse::<Amount>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_amount_or_duration_says_so() {
        for text in [
            "",
            "%",
            "x",
            "-1",
            "101%",
            "1.234%",
            "1.%",
            "+3",
            "99999999999%",
        ] {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
        for text in [
            "",
            "5",
            "ms",
            "5 s",
            "-5s",
            "1.5s",
            "31d",
            "99999999999999999999s",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_write_themselves_in_the_largest_unit_that_fits() {
        for text in ["500ms", "1500ms", "30s", "5m", "2h", "7d", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("120s".parse::<Span>().unwrap().to_string(), "2m");
    }
}
