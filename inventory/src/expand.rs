//! Text to names: `web[1:3],db[01-50,60]!db07` becomes every name it stands for, without an inventory.
//!
//! Names with ranges and node sets stand side by side, and the operators of node sets apply from left to right. Limits are
//! checked before a name is made. Which names exist, and groups, are for patterns.

use std::collections::HashMap;

use crate::chosen::{Chosen, Operator};
use crate::error::Error;
use crate::limits;
use crate::nodeset;
use crate::place::{Place, Pos, Source};
use crate::range::Template;

/// Expands names with ranges or node sets: the reverse of [`fold_to_string`](crate::fold_to_string) and of
/// [`fold_nodes`](crate::fold_nodes).
///
/// Items are joined by `,`; `a!b` leaves out, `a&b` keeps what is in both, `a^b` what is in one of the two, each applied to
/// all that stands to its left. No name is given twice. Empty text expands to no name. No characters are refused but misplaced
/// brackets and operators; this does not look at any inventory.
///
/// # Errors
///
/// [`Error::BadRange`], [`Error::BadNodeSet`] and [`Error::TooManyHosts`] ([`limits::RANGE_HOSTS`] names in all),
/// [`Error::BadName`] for a name longer than [`limits::NAME_LENGTH`].
pub fn expand(text: &str) -> Result<Vec<String>, Error> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    // All are counted before a name is made.
    let parsed = parse(&Source::new("range", text), 1, 0, text)?;
    Ok(names(&parsed))
}

/// One name, with ranges, of a text.
#[derive(Debug)]
pub(crate) struct Item {
    pub operator: Operator,
    /// Where it begins in the line, in characters.
    pub offset: usize,
    pub template: Template,
}

/// The names that are left when every operator has been applied, in the order in which they are written first.
pub(crate) fn names(parsed: &[Item]) -> Vec<String> {
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut chosen = Chosen::none(0);
    for Item {
        operator, template, ..
    } in parsed
    {
        let mut operand = Vec::new();
        for name in template.names() {
            // There are at most as many as the limit above.
            let next = numbers.len() as u32;
            operand.push(*numbers.entry(name).or_insert_with(|| {
                chosen.grow();
                next
            }));
        }
        chosen.apply(*operator, operand);
    }
    let mut names: Vec<(u32, String)> = numbers
        .into_iter()
        .filter_map(|(name, number)| chosen.has(number).then_some((number, name)))
        .collect();
    names.sort_unstable_by_key(|(number, _)| *number);
    names.into_iter().map(|(_, name)| name).collect()
}

/// The items of a text with the operators before them, which name at most [`limits::RANGE_HOSTS`] together.
///
/// # Errors
/// As [`expand`].
pub(crate) fn parse(
    source: &Source,
    line: u32,
    offset: usize,
    text: &str,
) -> Result<Vec<Item>, Error> {
    let mut count = 0u64;
    let mut parsed = Vec::new();
    for (operator, more, item) in items(text) {
        let place = |more: usize| at(source, line, offset + more);
        let spaces = item.chars().take_while(|c| c.is_whitespace()).count();
        let (more, item) = (more + spaces, item.trim());
        if item.is_empty() {
            let reason = "a name is missing here".to_owned();
            return Err(Error::BadNodeSet {
                at: place(more),
                reason,
            });
        }
        if parsed.len() == limits::TERMS {
            return Err(Error::TooManyHosts {
                at: place(more),
                count: parsed.len() as u64 + 1,
                limit: limits::TERMS as u64,
                within: "one text one by one",
            });
        }
        let template = template(item, |flaw| place(more + flaw))?;
        count = count.saturating_add(template.count());
        if count > limits::RANGE_HOSTS {
            return Err(Error::TooManyHosts {
                at: place(more),
                count,
                limit: limits::RANGE_HOSTS,
                within: "a range",
            });
        }
        if template.longest() > limits::NAME_LENGTH {
            return Err(Error::BadName {
                at: place(more),
                what: "name",
                name: item.to_owned(),
                reason: "it is longer than 253 characters",
                next: "shorten it",
            });
        }
        parsed.push(Item {
            operator,
            offset: offset + more,
            template,
        });
    }
    Ok(parsed)
}

fn at(source: &Source, line: u32, offset: usize) -> Box<Place> {
    let column = u32::try_from(offset + 1).unwrap_or(u32::MAX);
    source.place(Pos { line, column })
}

/// Parses one name, with the brackets of ranges or those of node sets.
///
/// # Errors
/// [`Error::BadRange`], [`Error::BadNodeSet`], at the place that `place` makes of an offset in characters.
pub(crate) fn template(item: &str, place: impl Fn(usize) -> Box<Place>) -> Result<Template, Error> {
    if nodeset::is_template(item) {
        nodeset::parse(item).map_err(|flaw| Error::BadNodeSet {
            at: place(flaw.offset),
            reason: flaw.reason,
        })
    } else {
        Template::parse(item).map_err(|flaw| Error::BadRange {
            at: place(flaw.offset),
            reason: flaw.reason,
        })
    }
}

/// Splits at operators outside brackets; each item with the operator before it, and its offset in characters.
fn items(text: &str) -> impl Iterator<Item = (Operator, usize, &str)> {
    let mut rest = Some((Operator::Join, 0usize, text));
    std::iter::from_fn(move || {
        let (operator, offset, text) = rest.take()?;
        let mut inside = false;
        for (chars, (at, c)) in text.char_indices().enumerate() {
            let next = match c {
                '[' | ']' => {
                    inside = c == '[';
                    continue;
                }
                _ if inside => continue,
                ',' => Operator::Join,
                '!' => Operator::Drop,
                '&' => Operator::Keep,
                '^' => Operator::Either,
                _ => continue,
            };
            rest = Some((next, offset + chars + 1, &text[at + c.len_utf8()..]));
            return Some((operator, offset, &text[..at]));
        }
        Some((operator, offset, text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> String {
        expand(text)
            .unwrap_or_else(|error| panic!("{error}"))
            .join(" ")
    }

    #[test]
    fn operators_apply_from_left_to_right() {
        assert_eq!(expanded("a[1-5],b1!a3"), "a1 a2 a4 a5 b1");
        assert_eq!(expanded("a[1-5]&a[3-9]"), "a3 a4 a5");
        assert_eq!(expanded("a[1-5]^a[4-7,7]"), "a1 a2 a3 a6 a7");
        assert_eq!(expanded("a[1-5],a7!a[2-3]&a[1-3]"), "a1");
        assert_eq!(expanded(" a , b ! a,a"), "a b");
    }

    #[test]
    fn no_name_is_given_twice() {
        assert_eq!(expanded("n[1-3,2],n2,n[1:2]"), "n1 n2 n3");
        assert_eq!(expanded(""), "");
    }

    #[test]
    fn an_operator_needs_a_name_on_both_sides() {
        for (text, column) in [("!a", 1), ("a!", 3), ("a,,b", 3), ("a&&b", 3), ("a,", 3)] {
            let error = expand(text).expect_err("refused");
            let column_found = error.place().map(crate::Place::column);
            assert_eq!(
                (error.code(), column_found),
                ("MF0142", Some(column)),
                "{text}"
            );
        }
    }
}
