//! Node sets: `node[001-500,600]`, `n[1-2]c[1-3]`, `n[0-10/2]`, as ClusterShell's `nodeset` reads them.
//!
//! What stands in a bracket becomes the same [`Template`] that `[001:500]` becomes, so that limits, padding and order are
//! those of all ranges. This reads single names; operators between them are for `pattern` and `expand`.

use crate::limits;
use crate::range::{self, Flaw, Part, Set, Template};

/// Whether what stands in a bracket is of a node set: numbers with `-`, `,` and `/`, and no `:`.
pub(crate) fn is_inside(inside: &str) -> bool {
    let of_sets = |c: char| c.is_ascii_digit() || matches!(c, '-' | ',' | '/' | ' ');
    inside.chars().all(of_sets) && inside.contains(|c: char| c.is_ascii_digit())
}

/// What stands in the brackets of a text, one after another, up to the first that is never closed.
pub(crate) fn brackets(text: &str) -> impl Iterator<Item = &str> {
    text.split('[')
        .skip(1)
        .filter_map(|rest| rest.split_once(']'))
        .map(|(inside, _)| inside)
}

/// Whether a name has a bracket, and every bracket is one of a node set.
pub(crate) fn is_template(text: &str) -> bool {
    let mut all = brackets(text).peekable();
    all.peek().is_some() && all.all(is_inside)
}

/// Parses a name whose brackets are of node sets.
pub(crate) fn parse(text: &str) -> Result<Template, Flaw> {
    Template::parse_with(text, bracket)
}

fn bracket(inside: &str, before: &str) -> Result<Part, String> {
    let mut parts = Vec::new();
    for field in inside.split(',') {
        if parts.len() == limits::TERMS {
            return Err(format!(
                "more than {} stretches in one bracket",
                limits::TERMS
            ));
        }
        let part = stretch(field.trim())?;
        // `n1[9-10]` is n19, n110 to some and n19, n20, … n110 to `nodeset`.
        if before.ends_with(|c: char| c.is_ascii_digit())
            && let Part::Numbers {
                first, last, width, ..
            } = part
            && digits(first).max(width) != digits(last).max(width)
        {
            return Err(format!(
                "after a digit, {} must have ends of the same width",
                crate::place::quoted(field.trim())
            ));
        }
        parts.push(part);
    }
    Ok(match parts.len() {
        // A single stretch needs no list.
        1 => parts.remove(0),
        _ => Part::Set(Set::new(parts)),
    })
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// `5`, `1-3` or `0-10/2`.
fn stretch(field: &str) -> Result<Part, String> {
    let (ends, step) = match field.split_once('/') {
        None => (field, 1),
        Some((ends, step)) => match range::number(step)? {
            0 => return Err("the step is 0".to_owned()),
            _ if !ends.contains('-') => {
                return Err(format!(
                    "{} has a step and one end",
                    crate::place::quoted(field)
                ));
            }
            step => (ends, step),
        },
    };
    let (first, last) = ends.split_once('-').unwrap_or((ends, ends));
    range::numbers(first.trim(), last.trim(), step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> String {
        let template = parse(text).unwrap_or_else(|flaw| panic!("{text}: {flaw:?}"));
        template.names().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn stretches_follow_each_other_and_keep_their_padding() {
        assert_eq!(names("node[001-003,7]"), "node001 node002 node003 node7");
        assert_eq!(names("n[9-11,09-11]x"), "n9x n10x n11x n09x n10x n11x");
        assert_eq!(names("n[0-10/5, 3]"), "n0 n5 n10 n3");
        assert_eq!(names("n[1-2]c[1,3]"), "n1c1 n1c3 n2c1 n2c3");
        assert_eq!(names("n[9-10]0"), "n90 n100");
        assert_eq!(names("n[5]"), "n5");
    }

    #[test]
    fn what_is_wrong_is_said_and_where() {
        let flaw = |text| parse(text).map_err(|flaw| (flaw.offset, flaw.reason));
        let wrong = |offset, reason: &str| Err((offset, reason.to_owned()));
        assert_eq!(flaw("n[1"), wrong(1, "this '[' is never closed"));
        assert_eq!(
            flaw("n[1-2]x[3-1]"),
            wrong(7, "it ends (1) before it begins (3)")
        );
        assert_eq!(
            flaw("n[01-100]"),
            wrong(1, "01 and 100 are padded to different widths")
        );
        assert_eq!(flaw("n[1,,2]"), wrong(1, "a field is empty"));
        assert_eq!(flaw("n[1-3/0]"), wrong(1, "the step is 0"));
        assert_eq!(flaw("n[1/2]"), wrong(1, "\"1/2\" has a step and one end"));
        assert_eq!(
            flaw("n1[9-10]"),
            wrong(
                2,
                "after a digit, \"9-10\" must have ends of the same width"
            )
        );
    }
}
