//! A line split into words, with quotes and backslashes as a POSIX shell has them.
//!
//! Lines of INI inventories and arguments for `ssh` are written this way. It promises the words of Python's
//! `shlex.split`, each with its place; it expands nothing: no variables, no globs, no `~`.

use crate::limits;
use crate::range::Flaw;

/// A word, unquoted, and where it begins in the line, in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub text: String,
    pub offset: usize,
}

/// Splits at blanks outside quotes, into at most [`limits::LINE_WORDS`] words. With `comments`, an unquoted `#` ends the line, even inside a word.
pub(crate) fn split(line: &str, comments: bool) -> Result<Vec<Word>, Flaw> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut chars = line.chars().enumerate();
    while let Some((offset, c)) = chars.next() {
        if matches!(c, ' ' | '\t' | '\r' | '\n') {
            words.extend(word.take());
            if words.len() > limits::LINE_WORDS {
                let reason = format!(
                    "there are more than {} words in one line",
                    limits::LINE_WORDS
                );
                return Err(Flaw { offset, reason });
            }
            continue;
        }
        if comments && c == '#' {
            break;
        }
        let open = word.get_or_insert_with(|| Word {
            text: String::new(),
            offset,
        });
        match c {
            '\'' | '"' => quoted(c, offset, &mut chars, &mut open.text)?,
            '\\' => match chars.next() {
                Some((_, escaped)) => open.text.push(escaped),
                None => return Err(flaw(offset, "nothing follows this backslash")),
            },
            c => open.text.push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads up to the closing quote. Between double quotes a backslash escapes only `"` and itself.
fn quoted(
    quote: char,
    offset: usize,
    chars: &mut impl Iterator<Item = (usize, char)>,
    text: &mut String,
) -> Result<(), Flaw> {
    while let Some((_, c)) = chars.next() {
        if c == quote {
            return Ok(());
        }
        if c != '\\' || quote == '\'' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
            Some((_, other)) => text.extend(['\\', other]),
            None => break,
        }
    }
    Err(flaw(offset, "this quote is never closed"))
}

fn flaw(offset: usize, reason: &str) -> Flaw {
    Flaw {
        offset,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        let words = split(line, true).expect("can be split");
        words.into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn quotes_and_backslashes_are_those_of_a_shell() {
        assert_eq!(texts("  a  b\tc "), ["a", "b", "c"]);
        assert_eq!(
            texts(r#"a='x y' b="p \"q\" \n" c=1\ 2"#),
            ["a=x y", r#"b=p "q" \n"#, "c=1 2"]
        );
        assert_eq!(texts(r#"'' "" x''y"#), ["", "", "xy"]);
        assert_eq!(texts("a # b"), ["a"]);
        assert_eq!(texts("a#b c"), ["a"]);
        assert_eq!(texts("a='#b'"), ["a=#b"]);
        assert_eq!(split("a #b", false).map(|words| words.len()), Ok(2));
    }

    #[test]
    fn an_open_quote_is_pointed_at() {
        assert_eq!(
            split("a b='c", true),
            Err(flaw(4, "this quote is never closed"))
        );
        assert_eq!(
            split("a \\", true),
            Err(flaw(2, "nothing follows this backslash"))
        );
    }
}
