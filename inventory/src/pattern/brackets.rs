//! What a bracket at the end of a term can mean: a subscript, as in `web[0:20]`, or a part of names, as in `web[01:20]`.
//!
//! `[0]`, `[-1]`, `[1:]` and `[0:20]` can be subscripts; a number with zeros in front cannot, nor can a bracket of a node set
//! such as `[1-3]`. This looks at text alone.

use std::ops::Range;

/// A subscript: which of the hosts that stand in an order, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subscript {
    /// `[0]`
    One(usize),
    /// `[-1]`: counted from the end, from 1.
    FromEnd(usize),
    /// `[0:20]`, both ends included.
    Span(usize, usize),
    /// `[1:]`
    From(usize),
}

impl Subscript {
    /// Splits a term into what it begins with and its subscript, if it ends with one.
    pub(super) fn split(term: &str) -> Option<(&str, Subscript)> {
        let (base, inside) = term.strip_suffix(']')?.rsplit_once('[')?;
        (!base.is_empty()).then_some(())?;
        let number = |digits: &str| {
            let padded = digits.len() > 1 && digits.starts_with('0');
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && !padded;
            is_number.then(|| digits.parse::<usize>().ok()).flatten()
        };
        let subscript = match inside.split_once(':') {
            None => match inside.strip_prefix('-') {
                Some(digits) => Subscript::FromEnd(number(digits).filter(|n| *n > 0)?),
                None => Subscript::One(number(inside)?),
            },
            Some((first, "")) => Subscript::From(number(first)?),
            Some((first, last)) => Subscript::Span(number(first)?, number(last)?),
        };
        Some((base, subscript))
    }

    /// Whether the bracket could be part of a name: `[5]`, `[1:3]`.
    pub(super) fn is_of_names_too(self) -> bool {
        matches!(self, Subscript::One(_) | Subscript::Span(..))
    }

    /// The names that the bracket stands for after a beginning, written so that nothing else can be meant.
    pub(super) fn as_names(self, base: &str) -> Option<String> {
        match self {
            Subscript::One(number) => Some(format!("{base}{number}")),
            Subscript::Span(first, last) => Some(format!("{base}[{first}-{last}]")),
            Subscript::FromEnd(_) | Subscript::From(_) => None,
        }
    }

    /// The positions that it picks out of `count`; empty when there are none.
    pub(super) fn positions(self, count: usize) -> Range<usize> {
        let (first, end) = match self {
            Subscript::One(at) => (at, at.saturating_add(1)),
            Subscript::FromEnd(back) if back > count => (0, 0),
            Subscript::FromEnd(back) => (count - back, count - back + 1),
            Subscript::Span(first, last) => (first, last.saturating_add(1)),
            Subscript::From(first) => (first, count),
        };
        let end = end.min(count);
        first.min(end)..end
    }
}

/// Splits a glob that ends with a class such as `[0-9]`, which Ansible takes for a subscript of old.
pub(super) fn dashed_subscript(glob: &str) -> Option<(&str, &str, &str)> {
    let (base, inside) = glob.strip_suffix(']')?.rsplit_once('[')?;
    let (first, last) = inside.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (!base.is_empty() && is_number(first) && (last.is_empty() || is_number(last)))
        .then_some((base, first, last))
}

/// Whether a class of a glob, such as the one in `web[10-12]*`, would be read as single characters where numbers were meant.
pub(super) fn has_number_in_class(glob: &str) -> bool {
    crate::nodeset::brackets(glob).any(|inside| {
        let mut fields = inside.split(|c: char| !c.is_ascii_digit());
        crate::nodeset::is_inside(inside) && fields.any(|digits| digits.len() > 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscript_is_told_from_a_range_of_names() {
        assert_eq!(Subscript::split("web[0]"), Some(("web", Subscript::One(0))));
        assert_eq!(
            Subscript::split("w*[-2]"),
            Some(("w*", Subscript::FromEnd(2)))
        );
        assert_eq!(
            Subscript::split("web[0:20]"),
            Some(("web", Subscript::Span(0, 20)))
        );
        assert_eq!(
            Subscript::split("web[1:]"),
            Some(("web", Subscript::From(1)))
        );
        for other in [
            "web",
            "[0]",
            "web[01]",
            "web[1:3:2]",
            "web[1-3]",
            "web[a:c]",
            "w[1:2]x",
            "w[:3]",
            "w[-0]",
            "w[]",
        ] {
            assert_eq!(Subscript::split(other), None, "{other}");
        }
    }

    #[test]
    fn positions_stop_where_the_hosts_do() {
        assert_eq!(Subscript::One(2).positions(3), 2..3);
        assert!(Subscript::One(3).positions(3).is_empty());
        assert_eq!(Subscript::FromEnd(3).positions(3), 0..1);
        assert!(Subscript::FromEnd(4).positions(3).is_empty());
        assert_eq!(Subscript::Span(1, 20).positions(3), 1..3);
        assert!(Subscript::Span(2, 1).positions(3).is_empty());
        assert_eq!(Subscript::From(1).positions(3), 1..3);
    }

    #[test]
    fn a_subscript_of_old_is_noticed() {
        assert_eq!(dashed_subscript("web*[0-9]"), Some(("web*", "0", "9")));
        assert_eq!(dashed_subscript("web*[0-]"), Some(("web*", "0", "")));
        assert_eq!(
            (dashed_subscript("web*[a-f]"), dashed_subscript("w[0-9]*")),
            (None, None)
        );
    }

    #[test]
    fn numbers_in_a_class_are_noticed() {
        assert!(has_number_in_class("web[10-12]*") && has_number_in_class("*[1,20]"));
        assert!(!has_number_in_class("web[0-9]*") && !has_number_in_class("web[a-f10]*"));
    }
}
