//! Globs: `*` any text, `?` one character, `[ab]`, `[a-f]` and `[!a]` one character of a class, as Python's `fnmatch` has them.
//!
//! A glob matches whole names and is compiled once. Matching is linear but for going back to the last `*`, which the length of
//! a name bounds.

/// A compiled glob.
pub(crate) struct Glob {
    units: Vec<Unit>,
}

enum Unit {
    Any,
    One,
    Byte(u8),
    /// One byte inside, or outside, of any of these stretches.
    Class {
        inside: bool,
        stretches: Vec<(u8, u8)>,
    },
}

impl Unit {
    fn matches(&self, byte: u8) -> bool {
        match self {
            Unit::Any | Unit::One => true,
            Unit::Byte(own) => *own == byte,
            Unit::Class { inside, stretches } => {
                stretches
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&byte))
                    == *inside
            }
        }
    }
}

impl Glob {
    /// Compiles a glob. A `[` that is never closed means itself, and a `]` right after it belongs to the class.
    pub(crate) fn new(text: &str) -> Glob {
        let bytes = text.as_bytes();
        let mut units = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            units.push(match byte {
                b'*' => Unit::Any,
                b'?' => Unit::One,
                b'[' => match class(&bytes[at..]) {
                    Some((unit, length)) => {
                        at += length;
                        unit
                    }
                    None => Unit::Byte(b'['),
                },
                byte => Unit::Byte(byte),
            });
        }
        Glob { units }
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let name = name.as_bytes();
        let (mut unit, mut n) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while n < name.len() {
            match self.units.get(unit) {
                Some(Unit::Any) => {
                    star = Some((unit, n));
                    unit += 1;
                }
                Some(one) if one.matches(name[n]) => (unit, n) = (unit + 1, n + 1),
                _ => match star {
                    Some((at, from)) => {
                        star = Some((at, from + 1));
                        (unit, n) = (at + 1, from + 1);
                    }
                    None => return false,
                },
            }
        }
        self.units[unit..]
            .iter()
            .all(|unit| matches!(unit, Unit::Any))
    }
}

/// The class that begins after a `[`, and its length with the `]`.
fn class(rest: &[u8]) -> Option<(Unit, usize)> {
    let inside = rest.first() != Some(&b'!');
    let from = usize::from(!inside);
    let close = rest.iter().skip(from + 1).position(|byte| *byte == b']')? + from + 1;
    let mut body = &rest[from..close];
    let mut stretches = Vec::new();
    while let [first, after @ ..] = body {
        body = match after {
            [b'-', last, after @ ..] => {
                stretches.push((*first, *last));
                after
            }
            after => {
                stretches.push((*first, *first));
                after
            }
        };
    }
    Some((Unit::Class { inside, stretches }, close + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(glob: &str, name: &str) -> bool {
        Glob::new(glob).matches(name)
    }

    #[test]
    fn globs_match_whole_names() {
        assert!(
            matches("web*", "web01.eu")
                && matches("*eu", "web01.eu")
                && matches("w*0?.*", "web01.eu")
        );
        assert!(matches("*a*a*", "banana") && matches("web**", "web"));
        assert!(!matches("web", "web01") && !matches("?", "") && !matches("*b", "ba"));
    }

    #[test]
    fn classes_match_one_character() {
        assert!(matches("web[ab]", "webb") && !matches("web[ab]", "webc"));
        assert!(matches("[a-c]*[0-9]", "b17") && !matches("[a-c]*[0-9]", "d17"));
        assert!(matches("x[!0-3]", "x4") && !matches("x[!0-3]", "x2"));
        assert!(matches("x[]]", "x]") && matches("x[a", "x[a") && matches("x[a-]", "x-"));
    }
}
