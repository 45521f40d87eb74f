//! Patterns as `ssh_config(5)` (PATTERNS) and `sshd(8)` (SSH_KNOWN_HOSTS FILE FORMAT) have them: `*`, `?`, lists with `!`.
//!
//! Matching takes time proportional to pattern times text at worst, never more, whatever the pattern.

/// Whether all of `text` matches `pattern`, byte by byte: `*` is any number of bytes, `?` one.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on after a mismatch: behind the last star, with one more byte given to it.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    p = after;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// What a list of patterns says of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A pattern matches, and no negated one does.
    Match,
    /// A negated pattern matches.
    Negated,
    /// No pattern matches.
    No,
}

/// A list of patterns, each perhaps with `!` before it.
pub(crate) fn list<'a>(patterns: impl IntoIterator<Item = &'a str>, text: &str) -> Verdict {
    let mut found = Verdict::No;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(negated) if matches(negated, text) => return Verdict::Negated,
            None if matches(pattern, text) => found = Verdict::Match,
            _ => {}
        }
    }
    found
}

/// A comma-separated list against a text, both as written.
pub(crate) fn commas(patterns: &str, text: &str) -> bool {
    list(patterns.split(','), text) == Verdict::Match
}

/// A comma-separated list against a host name, whatever their case.
pub(crate) fn hostname(patterns: &str, name: &str) -> bool {
    commas(&patterns.to_ascii_lowercase(), &name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_openssh_has_them() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?", "", false),
            ("a*c", "abbc", true),
            ("a*c", "abbcd", false),
            ("*.example.com", "a.b.example.com", true),
            ("10.0.?.*", "10.0.5.77", true),
            ("a**b", "ab", true),
            ("[ab]", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(!matches(&"a*".repeat(200), &"a".repeat(150)));
    }

    #[test]
    fn a_negated_pattern_excludes_whatever_its_place_in_the_list() {
        assert!(commas("*.a,!x.a", "y.a"));
        assert!(!commas("*.a,!x.a", "x.a"));
        assert!(!commas("!x.a,*.a", "x.a"));
        assert!(!commas("!x.a", "y.a"));
    }
}
