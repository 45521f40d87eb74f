//! Cuts a pattern into terms, and tells the two languages apart that patterns are written in.
//!
//! Ansible joins terms by `:` or `,` and puts `&` or `!` before one; ClusterShell puts `!`, `&` and `^` between two, and reads
//! from left to right. An operator that follows a name at once is ClusterShell's. A pattern that has both is refused.

use crate::chosen::Operator;
use crate::limits;

/// A stretch of a pattern that names hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term<'a> {
    pub operator: Operator,
    /// Where it begins in the pattern, in characters.
    pub offset: usize,
    /// Without sign and surrounding space.
    pub text: &'a str,
}

/// What is wrong with a pattern, and where, in characters.
pub(crate) type Flaw = (usize, &'static str);

const MIXED: &str = "operators between names, as in a node set, and ':', ~regex or a sign before a name cannot stand in one pattern";

/// The terms in the order in which they apply; and whether the first of them applies to all hosts rather than to none.
pub(crate) fn scan<'a>(
    pattern: &'a str,
    is_host: impl Fn(&str) -> bool,
) -> Result<(Vec<Term<'a>>, bool), Flaw> {
    let mut scan = Scan::default();
    let mut rest = pattern;
    let mut offset = 0;
    // After a separator a sign may follow, after an operator none.
    let mut before = Before::Nothing;
    loop {
        rest = skip_spaces(rest, &mut offset);
        let operator = match (before, rest.chars().next()) {
            (Before::Operator(operator), _) => operator,
            (_, Some(sign @ ('&' | '!'))) => {
                scan.sign.get_or_insert(offset);
                rest = skip_spaces(&rest[1..], &mut offset);
                offset += 1;
                if sign == '&' {
                    Operator::Keep
                } else {
                    Operator::Drop
                }
            }
            _ => Operator::Join,
        };
        if rest.starts_with(['&', '!']) {
            return Err((offset, "a term has one sign"));
        }
        // A name with colons, such as an IPv6 address, stands between commas.
        let whole = match before {
            Before::Nothing | Before::Comma => rest.split(',').next(),
            Before::Colon | Before::Operator(_) => None,
        };
        let whole = whole.filter(|item| item.contains(':') && is_host(item.trim()));
        let end = whole.map_or_else(|| end_of_term(rest), str::len);
        let text = rest[..end].trim_end();
        if text.is_empty() {
            return Err((offset, "this term is empty"));
        }
        if text.starts_with('~') {
            scan.regex.get_or_insert(offset);
        }
        if scan.terms.len() == limits::TERMS {
            return Err((offset, "it has more than 131072 terms"));
        }
        scan.terms.push(Term {
            operator,
            offset,
            text,
        });
        offset += rest[..end].chars().count();
        before = match rest[end..].chars().next() {
            None => return scan.finish(),
            Some(':') => {
                scan.colon.get_or_insert(offset);
                Before::Colon
            }
            Some('!') => Before::Operator(Operator::Drop),
            Some('&') => Before::Operator(Operator::Keep),
            Some('^') => Before::Operator(Operator::Either),
            Some(_) => Before::Comma,
        };
        if matches!(before, Before::Operator(_)) {
            scan.infix.get_or_insert(offset);
        }
        (rest, offset) = (&rest[end + 1..], offset + 1);
    }
}

/// The text after spaces, which count as characters that were read.
fn skip_spaces<'a>(text: &'a str, offset: &mut usize) -> &'a str {
    *offset += text.chars().take_while(|c| c.is_whitespace()).count();
    text.trim_start()
}

#[derive(Clone, Copy)]
enum Before {
    Nothing,
    Comma,
    Colon,
    Operator(Operator),
}

#[derive(Default)]
struct Scan<'a> {
    terms: Vec<Term<'a>>,
    /// Where the first of each stands.
    sign: Option<usize>,
    colon: Option<usize>,
    regex: Option<usize>,
    infix: Option<usize>,
}

impl<'a> Scan<'a> {
    fn finish(mut self) -> Result<(Vec<Term<'a>>, bool), Flaw> {
        if let Some(infix) = self.infix {
            let ansible = [self.sign, self.colon, self.regex];
            return match ansible.into_iter().flatten().min() {
                Some(other) => Err((other.max(infix), MIXED)),
                None => Ok((self.terms, false)),
            };
        }
        // A stable sort: first all that join, then all that keep, then all that drop.
        self.terms.sort_by_key(|term| match term.operator {
            Operator::Join => 0,
            Operator::Keep => 1,
            Operator::Drop | Operator::Either => 2,
        });
        let from_all = self
            .terms
            .first()
            .is_some_and(|term| term.operator != Operator::Join);
        Ok((self.terms, from_all))
    }
}

/// The bytes up to the separator or operator after a term. Neither counts inside brackets, braces and parentheses, so that
/// `~web\d{1,3}` and `[1:3]` stay whole, nor after a backslash; operators do not count inside a `~regex`.
fn end_of_term(text: &str) -> usize {
    let is_regex = text.starts_with('~');
    let (mut depth, mut in_bracket, mut escaped) = (0usize, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' => in_bracket = false,
            _ if in_bracket => {}
            '[' => in_bracket = true,
            '{' | '(' => depth += 1,
            '}' | ')' => depth = depth.saturating_sub(1),
            ':' | ',' if depth == 0 => return at,
            '!' | '&' | '^' if depth == 0 && !is_regex => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(pattern: &str) -> Result<String, Flaw> {
        let (terms, from_all) = scan(pattern, |name| name == "fe80::1")?;
        let shown = terms.iter().map(|term| {
            let sign = match term.operator {
                Operator::Join => "",
                Operator::Keep => "&",
                Operator::Drop => "!",
                Operator::Either => "^",
            };
            format!("{}{sign}{}", term.offset, term.text)
        });
        let all = if from_all { "all: " } else { "" };
        Ok(format!("{all}{}", shown.collect::<Vec<_>>().join(" ")))
    }

    #[test]
    fn signs_before_names_are_ansibles_and_apply_in_their_own_order() {
        assert_eq!(terms("a:&b,!c").as_deref(), Ok("0a 3&b 6!c"));
        assert_eq!(terms("!c:a:&b,d").as_deref(), Ok("3a 8d 6&b 1!c"));
        assert_eq!(terms(" a , & b").as_deref(), Ok("1a 7&b"));
        assert_eq!(terms("!c:&b").as_deref(), Ok("all: 4&b 1!c"));
    }

    #[test]
    fn separators_inside_brackets_do_not_split() {
        assert_eq!(terms("db[01:50]:x").as_deref(), Ok("0db[01:50] 10x"));
        assert_eq!(terms("n[1-3,7],x").as_deref(), Ok("0n[1-3,7] 9x"));
        assert_eq!(
            terms(r"~w\d{1,3}(?:a|b):y").as_deref(),
            Ok(r"0~w\d{1,3}(?:a|b) 17y")
        );
        assert_eq!(terms(r"~a\:b:c").as_deref(), Ok(r"0~a\:b 6c"));
        assert_eq!(terms("~[(]a,b").as_deref(), Ok("0~[(]a 6b"));
        assert_eq!(terms("~^a&b!c,d").as_deref(), Ok("0~^a&b!c 8d"));
        assert_eq!(terms("ä:b").as_deref(), Ok("0ä 2b"));
        assert_eq!(terms("w[!a]*").as_deref(), Ok("0w[!a]*"));
        assert_eq!(terms("fe80::1,b:c").as_deref(), Ok("0fe80::1 8b 10c"));
    }

    #[test]
    fn operators_between_names_are_clustershells_and_apply_from_left_to_right() {
        assert_eq!(terms("a!b,c&d^e").as_deref(), Ok("0a 2!b 4c 6&d 8^e"));
        assert_eq!(terms("a ! b").as_deref(), Ok("0a 4!b"));
        assert_eq!(terms("(a:b)!c").as_deref(), Ok("0(a:b) 6!c"));
    }

    #[test]
    fn what_is_neither_is_pointed_at() {
        assert_eq!(terms("a:b!c"), Err((3, MIXED)));
        assert_eq!(terms("a!b,!c"), Err((4, MIXED)));
        assert_eq!(terms("a&~b"), Err((2, MIXED)));
        assert_eq!(terms("a:&!b"), Err((3, "a term has one sign")));
        assert_eq!(terms("a!"), Err((2, "this term is empty")));
        assert_eq!(terms("^a"), Err((0, "this term is empty")));
        assert_eq!(terms(""), Err((0, "this term is empty")));
        assert_eq!(terms("a::b"), Err((2, "this term is empty")));
    }
}
