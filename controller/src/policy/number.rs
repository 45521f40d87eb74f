//! The numbers in gates: a factor such as `1.2x`, a latency such as `20ms`, and the bound of a query, which is any finite
//! number. They read with a reason when they do not, and write themselves back in the same words.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use crate::policy::units;

/// A factor, from `1x` to `1000x`, in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Times(u32);

impl Times {
    /// So many hundredths.
    #[must_use]
    pub const fn from_hundredths(hundredths: u32) -> Self {
        Self(hundredths)
    }

    /// As a number.
    #[must_use]
    pub fn get(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:02}", self.0 / 100, self.0 % 100);
        write!(f, "{}x", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl FromStr for Times {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no factor; write 1.2x");
        let number = text.strip_suffix('x').ok_or_else(wrong)?;
        let hundredths = hundredths(number).ok_or_else(wrong)?;
        if (100..=100_000).contains(&hundredths) {
            return Ok(Self(hundredths));
        }
        Err(format!("`{text}` is not within 1x to 1000x"))
    }
}

/// A decimal number with at most two digits after the point, in hundredths.
pub(super) fn hundredths(text: &str) -> Option<u32> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if !digits(whole) || !digits(part) || part.len() > 2 {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let part: u32 = format!("{part:0<2}").parse().ok()?;
    whole.checked_mul(100)?.checked_add(part)
}

/// A latency in microseconds, from 1us to 10m.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(u64);

impl Micros {
    const UNITS: [(&'static str, u64); 4] = [
        ("us", 1),
        ("ms", 1_000),
        ("s", 1_000_000),
        ("m", 60_000_000),
    ];

    /// So many microseconds.
    #[must_use]
    pub const fn new(micros: u64) -> Self {
        Self(micros)
    }

    /// In microseconds.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&units::show(self.0, &Self::UNITS, "0us"))
    }
}

impl FromStr for Micros {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no latency; write 750us, 20ms or 2s");
        match units::read(text, &Self::UNITS).ok_or_else(wrong)? {
            micros @ 1..=600_000_000 => Ok(Self(micros)),
            _ => Err(format!("`{text}` is not within 1us to 10m")),
        }
    }
}

/// A finite number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(f64);

// No NaN gets in.
impl Eq for Number {}

impl Number {
    /// The number; `None` when it is not finite.
    #[must_use]
    pub fn new(number: f64) -> Option<Self> {
        number.is_finite().then_some(Self(number))
    }

    /// As a number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        Self::new(number).ok_or_else(|| de::Error::custom(format!("{number} is not finite")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_and_latencies_write_themselves_as_they_were_read() {
        for text in ["1x", "1.2x", "1.25x", "10x", "1000x"] {
            assert_eq!(text.parse::<Times>().unwrap().to_string(), text);
        }
        for text in ["1us", "750us", "20ms", "2s", "5m"] {
            assert_eq!(text.parse::<Micros>().unwrap().to_string(), text);
        }
        assert_eq!("1.20x".parse(), Ok(Times::from_hundredths(120)));
        assert_eq!("1500us".parse(), Ok(Micros::new(1_500)));
    }

    #[test]
    fn what_is_no_factor_or_latency_says_so() {
        for text in [
            "",
            "x",
            "1.2",
            "0.9x",
            "1001x",
            "1.234x",
            "-1x",
            "1.x",
            ".5x",
            "99999999999x",
        ] {
            assert!(text.parse::<Times>().is_err(), "{text}");
        }
        for text in [
            "",
            "5",
            "0ms",
            "11m",
            "1.5ms",
            "-1s",
            "5 ms",
            "99999999999999999999s",
        ] {
            assert!(text.parse::<Micros>().is_err(), "{text}");
        }
    }
}
