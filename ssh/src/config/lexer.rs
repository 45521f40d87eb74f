//! One line of `ssh_config`: its keyword, and its arguments with OpenSSH's quoting.
//!
//! `Keyword argument ...`, `Keyword=argument` and `Keyword = argument` are the same. Arguments are split at blanks,
//! except within single or double quotes; a backslash before a quote, a backslash or (outside quotes) a space stands for
//! that character; `#` at the start of an argument begins a comment.

/// A line that is neither empty nor a comment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lexed<'a> {
    pub keyword: &'a str,
    /// All after the keyword, as keywords that take a command want it.
    pub rest: &'a str,
}

const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

/// Splits the keyword off; `None` for an empty line or a comment.
pub(crate) fn line(text: &str) -> Result<Option<Lexed<'_>>, String> {
    let text = text
        .trim_end_matches([' ', '\t', '\r', '\n', '\x0c'])
        .trim_start_matches(BLANK);
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let (keyword, rest) = match text.strip_prefix('"') {
        Some(quoted) => {
            let (keyword, rest) = quoted.split_once('"').ok_or("a quote is not closed")?;
            (keyword, rest.trim_start_matches(BLANK))
        }
        None => {
            let end = text
                .find([' ', '\t', '\r', '\n', '='])
                .unwrap_or(text.len());
            let (keyword, rest) = text.split_at(end);
            let rest = rest.trim_start_matches(BLANK);
            // One equals sign, and no more, stands between keyword and arguments.
            (
                keyword,
                rest.strip_prefix('=')
                    .unwrap_or(rest)
                    .trim_start_matches(BLANK),
            )
        }
    };
    if keyword.is_empty() {
        return Err("there is no keyword".to_owned());
    }
    Ok(Some(Lexed { keyword, rest }))
}

/// The arguments of a line.
pub(crate) fn arguments(rest: &str) -> Result<Vec<String>, String> {
    let mut arguments = Vec::new();
    let mut chars = rest.chars().peekable();
    loop {
        while chars.next_if(|c| [' ', '\t'].contains(c)).is_some() {}
        match chars.peek() {
            None | Some('#') => return Ok(arguments),
            Some(_) => {}
        }
        let mut argument = String::new();
        let mut quote = None;
        while let Some(c) = chars.next_if(|c| quote.is_some() || ![' ', '\t'].contains(c)) {
            match (c, quote) {
                ('\\', _) => {
                    let escaped = chars.next_if(|&c| {
                        matches!(c, '\'' | '"' | '\\') || (quote.is_none() && c == ' ')
                    });
                    argument.push(escaped.unwrap_or('\\'));
                }
                ('\'' | '"', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                (c, _) => argument.push(c),
            }
        }
        if quote.is_some() {
            return Err("a quote is not closed".to_owned());
        }
        arguments.push(argument);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_is_followed_by_blanks_or_one_equals_sign() {
        for text in [
            "Port 22",
            "Port=22",
            "  Port = 22  ",
            "\tPort\t=22\r",
            "\"Port\" 22",
        ] {
            let lexed = line(text).expect("no error").expect("a line");
            assert_eq!((lexed.keyword, lexed.rest), ("Port", "22"), "{text:?}");
        }
        assert_eq!(
            line("User ==x").expect("no error").expect("a line").rest,
            "=x"
        );
        assert_eq!(line("   # Port 22"), Ok(None));
        assert_eq!(line(" \t\r"), Ok(None));
        assert!(line("\"Port 22").is_err());
        assert!(line("= 22").is_err());
    }

    #[test]
    fn arguments_are_quoted_as_openssh_quotes_them() {
        let split = |rest: &str| arguments(rest).expect("closed quotes");
        assert_eq!(
            split(r#"a "b c" 'd e' f"g h"i"#),
            ["a", "b c", "d e", "fg hi"]
        );
        assert_eq!(
            split(r#"a\ b "\"x\"" \x '\''"#),
            ["a b", "\"x\"", "\\x", "'"]
        );
        assert_eq!(split("a # b"), ["a"]);
        assert_eq!(split("a#b"), ["a#b"]);
        assert_eq!(split(r#""""#), [""]);
        assert_eq!(split(r#""a\ b""#), ["a\\ b"]);
        assert!(arguments("'a").is_err());
    }
}
