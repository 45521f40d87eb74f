//! Names with ranges: `web[001:500].eu`, `[0:10:2]`, `[a:f]`.
//!
//! A [`Template`] is a parsed name with any number of ranges in it; it knows how many names it stands for before it makes
//! one, so that limits cost no memory. The last range varies fastest, as digits do. It knows nothing of hosts: which
//! characters a name may have is for others to say.

use crate::limits;

/// Digits that a number in a range may have; they fit 64 bits.
const DIGITS: usize = 18;

/// A name in which every range is parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pub parts: Vec<Part>,
}

/// A stretch of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Text that every name has.
    Text(String),
    /// Numbers, padded with zeros to `width` digits.
    Numbers {
        first: u64,
        last: u64,
        step: u64,
        width: usize,
    },
    /// Letters of one case.
    Letters { first: u8, last: u8, step: u64 },
    /// The stretches of a node set's bracket, one after another.
    Set(Set),
}

/// Several stretches that stand in one bracket: `[001-500,600]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    parts: Vec<Part>,
    /// How many names the stretches up to and with each one have, so that a name is found without walking all of them.
    ends: Vec<u64>,
}

impl Set {
    pub(crate) fn new(parts: Vec<Part>) -> Set {
        let ends = parts.iter().scan(0u64, |sum, part| {
            *sum = sum.saturating_add(part.count());
            Some(*sum)
        });
        Set {
            ends: ends.collect(),
            parts,
        }
    }

    fn count(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn write(&self, index: u64, name: &mut String) {
        let at = self.ends.partition_point(|end| *end <= index);
        let before = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        if let Some(part) = self.parts.get(at) {
            part.write(index - before, name);
        }
    }
}

/// What is wrong with a range, and where in the text, in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub offset: usize,
    pub reason: String,
}

impl Part {
    fn count(&self) -> u64 {
        match self {
            Part::Text(_) => 1,
            Part::Numbers {
                first, last, step, ..
            } => (last - first) / step + 1,
            Part::Letters { first, last, step } => u64::from(last - first) / step + 1,
            Part::Set(set) => set.count(),
        }
    }

    fn longest(&self) -> usize {
        match self {
            Part::Text(text) => text.len(),
            Part::Numbers { last, width, .. } => {
                (last.checked_ilog10().unwrap_or(0) as usize + 1).max(*width)
            }
            Part::Letters { .. } => 1,
            Part::Set(set) => set.parts.iter().map(Part::longest).max().unwrap_or(0),
        }
    }

    fn write(&self, index: u64, name: &mut String) {
        match self {
            Part::Text(text) => name.push_str(text),
            Part::Numbers {
                first, step, width, ..
            } => {
                let digits = (first + index * step).to_string();
                name.extend(std::iter::repeat_n('0', width.saturating_sub(digits.len())));
                name.push_str(&digits);
            }
            // The index is below the count, so the letter stays at or before `last`.
            Part::Letters { first, step, .. } => {
                name.push(char::from(first.wrapping_add((index * step) as u8)))
            }
            Part::Set(set) => set.write(index, name),
        }
    }
}

impl Template {
    /// Parses a name. A text without brackets is a template of one name.
    pub(crate) fn parse(text: &str) -> Result<Template, Flaw> {
        Template::parse_with(text, |inside, _| range(inside))
    }

    /// Parses a name whose brackets `bracket` reads; it gets what stands between them, and the text before since the last one.
    pub(crate) fn parse_with(
        text: &str,
        bracket_of: impl Fn(&str, &str) -> Result<Part, String>,
    ) -> Result<Template, Flaw> {
        // Exactly as many as there can be: texts without brackets are by far the most.
        let ranges = text.bytes().filter(|byte| *byte == b'[').count();
        let mut parts = Vec::with_capacity(1 + 2 * ranges.min(limits::NAME_LENGTH));
        let mut rest = text;
        let mut offset = 0;
        while let Some(open) = rest.find(['[', ']']) {
            let (before, bracket) = rest.split_at(open);
            offset += before.chars().count();
            if bracket.starts_with(']') {
                return Err(Flaw {
                    offset,
                    reason: "this ']' closes nothing".to_owned(),
                });
            }
            // Every range is at least a character of each name.
            if parts.len() > 2 * limits::NAME_LENGTH {
                return Err(Flaw {
                    offset,
                    reason: "there are more ranges than a name may have characters".to_owned(),
                });
            }
            let inside = &bracket[1..];
            let Some(close) = inside.find(']') else {
                return Err(Flaw {
                    offset,
                    reason: "this '[' is never closed".to_owned(),
                });
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let part = bracket_of(&inside[..close], before);
            parts.push(part.map_err(|reason| Flaw { offset, reason })?);
            offset += 2 + inside[..close].chars().count();
            rest = &inside[close + 1..];
        }
        if !rest.is_empty() || parts.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Template { parts })
    }

    /// How many names this stands for; `u64::MAX` when they cannot be counted in 64 bits.
    pub(crate) fn count(&self) -> u64 {
        self.parts
            .iter()
            .fold(1, |count: u64, part| count.saturating_mul(part.count()))
    }

    /// The bytes of the longest name.
    pub(crate) fn longest(&self) -> usize {
        self.parts.iter().map(Part::longest).sum()
    }

    /// The names, in order. Ask for [`count`](Self::count) and [`longest`](Self::longest) first.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let capacity = self.longest();
        (0..self.count()).map(move |index| {
            let mut name = String::with_capacity(capacity);
            let mut below = self.count();
            let mut index = index;
            for part in &self.parts {
                below /= part.count();
                part.write(index / below, &mut name);
                index %= below;
            }
            name
        })
    }
}

/// Parses what stands between the brackets.
fn range(inside: &str) -> Result<Part, String> {
    let mut fields = inside.split(':');
    let (first, last, step) = match (fields.next(), fields.next(), fields.next(), fields.next()) {
        (Some(first), Some(last), step, None) => (first, last, step),
        (_, None, ..) => return Err(format!("{} has no ':'", shown(inside))),
        _ => return Err(format!("{} has more than three fields", shown(inside))),
    };
    let step = match step {
        None => 1,
        Some(step) => match number(step)? {
            0 => return Err("the step is 0".to_owned()),
            step => step,
        },
    };
    if let ([first], [last]) = (first.as_bytes(), last.as_bytes())
        && first.is_ascii_alphabetic()
        && last.is_ascii_alphabetic()
    {
        if first.is_ascii_lowercase() != last.is_ascii_lowercase() {
            return Err("one end is a capital letter and the other is not".to_owned());
        }
        if last < first {
            return Err(format!(
                "it ends ({}) before it begins ({})",
                char::from(*last),
                char::from(*first)
            ));
        }
        return Ok(Part::Letters {
            first: *first,
            last: *last,
            step,
        });
    }
    numbers(first, last, step)
}

/// The numbers from one end to the other, padded as both are written.
pub(crate) fn numbers(first: &str, last: &str, step: u64) -> Result<Part, String> {
    let (low, high) = (number(first)?, number(last)?);
    if high < low {
        return Err(format!("it ends ({last}) before it begins ({first})"));
    }
    let padded = |digits: &str| digits.len() > 1 && digits.starts_with('0');
    if (padded(first) || padded(last)) && first.len() != last.len() {
        return Err(format!("{first} and {last} are padded to different widths"));
    }
    let width = if padded(first) { first.len() } else { 1 };
    Ok(Part::Numbers {
        first: low,
        last: high,
        step,
        width,
    })
}

pub(crate) fn number(digits: &str) -> Result<u64, String> {
    if digits.is_empty() {
        return Err("a field is empty".to_owned());
    }
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "{} is neither a number nor, with the other end, a pair of letters",
            shown(digits)
        ));
    }
    if digits.len() > DIGITS {
        return Err(format!(
            "a number has {} digits; {DIGITS} are the most",
            digits.len()
        ));
    }
    digits
        .parse()
        .map_err(|_| format!("{} is too large", shown(digits)))
}

fn shown(text: &str) -> String {
    crate::place::quoted(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expand::expand;

    fn names(text: &str) -> Vec<String> {
        expand(text).expect("a good range")
    }

    fn flaw(text: &str) -> (usize, String) {
        let flaw = Template::parse(text).expect_err("a bad range");
        (flaw.offset, flaw.reason)
    }

    #[test]
    fn padding_is_kept() {
        assert_eq!(
            names("web[008:011].eu"),
            ["web008.eu", "web009.eu", "web010.eu", "web011.eu"]
        );
        assert_eq!(names("web[8:11]"), ["web8", "web9", "web10", "web11"]);
        assert_eq!(names("web[0:2]"), ["web0", "web1", "web2"]);
        assert_eq!(names("web[00:02]"), ["web00", "web01", "web02"]);
        assert_eq!(names("[10:12]"), ["10", "11", "12"]);
    }

    #[test]
    fn a_step_skips_and_letters_count() {
        assert_eq!(names("n[0:10:5]"), ["n0", "n5", "n10"]);
        assert_eq!(names("n[0:9:5]"), ["n0", "n5"]);
        assert_eq!(names("n[a:f:2]"), ["na", "nc", "ne"]);
        assert_eq!(names("n[X:Z]"), ["nX", "nY", "nZ"]);
        assert_eq!(names("n[a:z:300]"), ["na"]);
    }

    #[test]
    fn the_last_range_varies_fastest() {
        assert_eq!(names("r[1:2]-[a:b]"), ["r1-a", "r1-b", "r2-a", "r2-b"]);
        assert_eq!(names("a,b[1:2],c"), ["a", "b1", "b2", "c"]);
    }

    #[test]
    fn every_bad_range_says_what_is_wrong_and_where() {
        assert_eq!(flaw("web[1"), (3, "this '[' is never closed".to_owned()));
        assert_eq!(flaw("web1]"), (4, "this ']' closes nothing".to_owned()));
        assert_eq!(flaw("w[1:2]x[]"), (7, "\"\" has no ':'".to_owned()));
        assert_eq!(flaw("w[3]"), (1, "\"3\" has no ':'".to_owned()));
        assert_eq!(
            flaw("w[1:2:3:4]"),
            (1, "\"1:2:3:4\" has more than three fields".to_owned())
        );
        assert_eq!(flaw("w[:2]"), (1, "a field is empty".to_owned()));
        assert_eq!(
            flaw("w[5:2]"),
            (1, "it ends (2) before it begins (5)".to_owned())
        );
        assert_eq!(
            flaw("w[f:a]"),
            (1, "it ends (a) before it begins (f)".to_owned())
        );
        assert_eq!(
            flaw("w[a:F]"),
            (
                1,
                "one end is a capital letter and the other is not".to_owned()
            )
        );
        assert_eq!(flaw("w[1:2:0]"), (1, "the step is 0".to_owned()));
        assert_eq!(
            flaw("w[001:1000]"),
            (1, "001 and 1000 are padded to different widths".to_owned())
        );
        assert_eq!(
            flaw("w[1:010]"),
            (1, "1 and 010 are padded to different widths".to_owned())
        );
        assert_eq!(
            flaw("w[1:b]"),
            (
                1,
                "\"b\" is neither a number nor, with the other end, a pair of letters".to_owned()
            )
        );
        assert_eq!(
            flaw("w[0:9999999999999999999]"),
            (1, "a number has 19 digits; 18 are the most".to_owned())
        );
    }

    #[test]
    fn huge_ranges_are_refused_by_arithmetic_alone() {
        for text in [
            "w[1:1000001]",
            "w[0:999999999999999999]",
            "[0:999999999999999999][0:999999999999999999]",
        ] {
            assert_eq!(
                expand(text).expect_err("too many").code(),
                "MF0115",
                "{text}"
            );
        }
        assert_eq!(
            expand(&format!("{}[1:1000]", "x".repeat(251)))
                .expect_err("too long")
                .code(),
            "MF0109"
        );
        assert_eq!(names("w[1:1000000]").len(), 1_000_000);
    }
}
