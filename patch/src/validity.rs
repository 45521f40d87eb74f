//! Times in an allowed signers file: `YYYYMMDD[HHMM[SS]]`, in local time, or in UTC with `Z` or `UTC` after it
//! (ssh-keygen(1), ALLOWED SIGNERS).

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// From when until when something is valid, in seconds since 1970 UTC; both ends are valid themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) after: Option<u64>,
    pub(crate) before: Option<u64>,
}

impl Window {
    /// Why `now` is outside, if it is.
    pub(crate) fn breach(&self, now: u64) -> Option<String> {
        match (self.after, self.before) {
            (Some(after), _) if now < after => Some(format!(
                "is valid from {} on, and it is {} now",
                show(after),
                show(now)
            )),
            (_, Some(before)) if now > before => Some(format!(
                "was valid until {}, and it is {} now",
                show(before),
                show(now)
            )),
            _ => None,
        }
    }
}

/// Reads a time. `local` is the time zone for those without `Z`.
pub(crate) fn parse(text: &str, local: &TimeZone) -> Result<u64, String> {
    let refuse = || {
        format!(
            "{text:?} is not a time; write YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, with Z for UTC"
        )
    };
    let upper = text.to_ascii_uppercase();
    let (digits, zone) = match upper
        .strip_suffix("UTC")
        .or_else(|| upper.strip_suffix('Z'))
    {
        Some(digits) => (digits, &TimeZone::UTC),
        None => (upper.as_str(), local),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || ![8, 12, 14].contains(&digits.len()) {
        return Err(refuse());
    }
    // All are digits, so that every slice of at most four is a number of 16 bits.
    let number = |from: usize, to: usize| {
        digits
            .get(from..to)
            .map_or(Ok(0), str::parse::<i16>)
            .map_err(|_| refuse())
    };
    let small = |from: usize| Ok::<i8, String>(number(from, from + 2)? as i8);
    let civil = DateTime::new(
        number(0, 4)?,
        small(4)?,
        small(6)?,
        small(8)?,
        small(10)?,
        small(12)?,
        0,
    )
    .map_err(|_| refuse())?;
    let time = zone.to_timestamp(civil).map_err(|_| refuse())?;
    u64::try_from(time.as_second()).map_err(|_| refuse())
}

/// Seconds since 1970 UTC; a clock before that reads as 1970, when nothing was valid yet.
pub(crate) fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A time for people, in UTC.
pub(crate) fn show(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(|| "the end of time".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_in_utc_and_in_local_time() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (text, want) in [
            ("19700101Z", 0),
            ("20261121Z", 1_795_219_200),
            ("20261121utc", 1_795_219_200),
            ("202611211230Z", 1_795_219_200 + 45_000),
            ("20261121123059Z", 1_795_219_200 + 45_059),
            ("20261121", 1_795_219_200 - 3_600),
            ("202607011200", 1_782_907_200 - 7_200),
        ] {
            assert_eq!(parse(text, &berlin), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "Z",
            "2026",
            "20261301Z",
            "20260230Z",
            "2026112124",
            "202611212460Z",
            "20261121 Z",
            "19691231Z",
            "+2026112Z",
        ] {
            assert!(parse(text, &TimeZone::UTC).is_err(), "{text}");
        }
    }

    #[test]
    fn a_window_includes_both_its_ends() {
        let window = Window {
            after: Some(10),
            before: Some(20),
        };
        assert_eq!(
            [9, 10, 20, 21].map(|now| window.breach(now).is_none()),
            [false, true, true, false]
        );
        assert_eq!(
            window.breach(21).unwrap(),
            "was valid until 1970-01-01T00:00:20Z, and it is 1970-01-01T00:00:21Z now"
        );
    }
}
