//! Chances and times that a seed decides: the same seed, node and order of questions give the same answers, on every
//! machine. It is not for secrets.

use std::{f64::consts::TAU, fmt, time::Duration};

use serde::{Deserialize, Deserializer, de};

/// SplitMix64 (Steele, Lea, Flood 2014): small enough for one a node.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice of one node.
    pub fn new(seed: u64, node: u64) -> Self {
        let mut dice = Self(seed);
        let start = dice.next();
        Self(start ^ node.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Whether what has this chance happens.
    pub fn happens(&mut self, share: Share) -> bool {
        self.part() < share.0
    }

    /// How long it takes this time.
    pub fn time(&mut self, time: &Time) -> Duration {
        match *time {
            Time::Between(least, most) => least + (most - least).mul_f64(self.part()),
            Time::Tail { median, p99 } => {
                // Log-normal: 2.326 standard deviations above the median lies the 99th of a hundred.
                let radius = (-2.0 * (1.0 - self.part()).ln()).sqrt();
                let normal = radius * (TAU * self.part()).cos();
                let spread = (p99.as_secs_f64() / median.as_secs_f64()).ln() / 2.326;
                let factor = (spread * normal).exp().min(1e6);
                median.mul_f64(factor)
            }
        }
    }
}

/// A share from 0 to 1, written `0.5%`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share(f64);

impl Share {
    /// This share of `whole`, as a number.
    pub fn of(self, whole: f64) -> f64 {
        self.0 * whole
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.strip_suffix('%').and_then(|n| n.trim().parse().ok());
        match number {
            Some(percent) if (0.0..=100.0).contains(&percent) => Ok(Self(percent / 100.0)),
            _ => Err(de::Error::custom(format!("{text:?}: 0% to 100%"))),
        }
    }
}

/// How long something takes: always the same (`5ms`), anything between (`5ms..20ms`), or with a long tail
/// (`{median: 20ms, p99: 300ms}`, log-normal). At most an hour.
#[derive(Clone, Debug, PartialEq)]
pub enum Time {
    /// Evenly between the two.
    Between(Duration, Duration),
    /// Log-normal.
    Tail {
        /// Half take less.
        median: Duration,
        /// One of a hundred takes more.
        p99: Duration,
    },
}

impl Default for Time {
    fn default() -> Self {
        Self::Between(Duration::ZERO, Duration::ZERO)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl<'de> de::Visitor<'de> for Words {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("5ms, 5ms..20ms, or {median: 20ms, p99: 300ms}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                let (least, most) = text.split_once("..").unwrap_or((text, text));
                let (least, most) = (span(least)?, span(most)?);
                if least > most {
                    return Err(E::custom(format!("{text:?} ends before it begins")));
                }
                Ok(Time::Between(least, most))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Time, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Tail {
                    median: String,
                    p99: String,
                }
                let tail = Tail::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let (median, p99) = (span(&tail.median)?, span(&tail.p99)?);
                if median.is_zero() || p99 < median {
                    return Err(de::Error::custom("median is above 0, and p99 not below it"));
                }
                Ok(Time::Tail { median, p99 })
            }
        }

        deserializer.deserialize_any(Words)
    }
}

/// `500us`, `5ms`, `1.5s` or `2m`, at most an hour.
pub fn span<E: de::Error>(text: &str) -> Result<Duration, E> {
    let text = text.trim();
    let at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ if text == "0" => 1.0,
        _ => f64::NAN,
    };
    let seconds = number.parse::<f64>().map_or(f64::NAN, |n| n * unit);
    if !(0.0..=3_600.0).contains(&seconds) {
        return Err(E::custom(format!(
            "{text:?}: a time is 500us, 5ms, 1.5s or 2m, at most an hour"
        )));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(yaml: &str) -> Result<Time, serde_saphyr::Error> {
        serde_saphyr::from_str(yaml)
    }

    #[test]
    fn one_seed_gives_one_sequence_and_nodes_differ() {
        let draw = |seed, node| {
            let mut dice = Dice::new(seed, node);
            [dice.next(), dice.next(), dice.next()]
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn times_lie_where_the_scenario_says() {
        let mut dice = Dice::new(7, 0);
        let between = time("5ms..20ms").unwrap();
        let tail = time("{median: 20ms, p99: 300ms}").unwrap();
        let (mut above, mut far) = (0, 0);
        for _ in 0..10_000 {
            let time = dice.time(&between);
            assert!((5..=20).contains(&time.as_millis()), "{time:?}");
            let time = dice.time(&tail);
            above += u32::from(time > Duration::from_millis(20));
            far += u32::from(time > Duration::from_millis(300));
        }
        assert!((4_800..5_200).contains(&above), "{above}");
        assert!((60..150).contains(&far), "{far}");
        assert_eq!(
            dice.time(&time("1.5s").unwrap()),
            Duration::from_millis(1_500)
        );
    }

    #[test]
    fn what_is_no_time_and_no_share_is_refused() {
        for bad in [
            "5",
            "5h",
            "-1s",
            "20ms..5ms",
            "61m",
            "{median: 0ms, p99: 1s}",
        ] {
            assert!(time(bad).is_err(), "{bad}");
        }
        for bad in ["5", "101%", "-1%", "x%"] {
            assert!(serde_saphyr::from_str::<Share>(bad).is_err(), "{bad}");
        }
        let share: Share = serde_saphyr::from_str("0.5%").unwrap();
        assert_eq!(share.of(1_000.0), 5.0);
    }
}
