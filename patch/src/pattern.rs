//! OpenSSH's patterns (ssh_config(5), PATTERNS): `*` stands for any characters, `?` for one, and in a list a pattern after
//! `!` takes away what others give.

/// Whether `text` matches one pattern.
pub(crate) fn matches(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let (mut at, mut p) = (0, 0);
    // Where the last `*` was, and how much of the text it stands for; a mismatch makes it stand for one byte more. Later
    // stars never need an earlier one to give way, so that the work is at most the product of the lengths.
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, at));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[at] => {
                at += 1;
                p += 1;
            }
            _ => {
                let Some((position, stood_for)) = star else {
                    return false;
                };
                star = Some((position, stood_for + 1));
                at = stood_for + 1;
                p = position + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Whether `text` matches a list: at least one pattern of it, and none of those after a `!`.
pub(crate) fn list_matches(text: &str, list: &str) -> bool {
    let mut positive = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(negated) if matches(text, negated) => return false,
            Some(_) => {}
            None => positive |= matches(text, pattern),
        }
    }
    positive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_in_openssh() {
        for (text, pattern) in [
            ("", ""),
            ("", "*"),
            ("abc", "a*c"),
            ("abc", "a?c"),
            ("aXbXc", "a*b*c"),
            ("aab", "*ab"),
            ("a", "**a**"),
        ] {
            assert!(matches(text, pattern), "{text} {pattern}");
        }
        for (text, pattern) in [
            ("", "?"),
            ("abc", "ab"),
            ("abc", "a?"),
            ("abc", "A*"),
            ("aXbX", "a*b*c"),
        ] {
            assert!(!matches(text, pattern), "{text} {pattern}");
        }
    }

    #[test]
    fn a_negated_pattern_wins_and_does_not_match_alone() {
        assert!(list_matches("alice@example.org", "bob@*,*@example.org"));
        assert!(!list_matches("alice@example.org", "*@example.org,!alice@*"));
        assert!(!list_matches("alice@example.org", "!bob@*"));
    }

    #[test]
    fn a_pattern_of_many_stars_is_matched_without_backtracking_for_ever() {
        assert!(!matches(
            &"a".repeat(4000),
            &format!("{}*b", "*a".repeat(2000))
        ));
    }
}
