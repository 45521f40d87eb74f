//! A pattern for somebody who reads no files: what its lists name, written into it.
//!
//! It promises that the pattern that comes out names what the one that went in would name, for any inventory. It knows no
//! inventory itself, so that a name after an `@` which could be a group there and is a file here is refused.

use std::path::Path;

use super::{DEPTH, in_parentheses, scan};
use crate::error::Error;
use crate::files;
use crate::limits;
use crate::place::{Pos, Source};

/// What names no host.
const NOTHING: &str = "(all:!all)";

/// A pattern in which each `@file` is replaced by what the file names. `@name` stays, unless there is a file of that name.
///
/// # Errors
///
/// [`Error::ReadList`] for a file that cannot be read, [`Error::BadPattern`] for a line in it that is no pattern, and
/// [`Error::Ambiguous`] for `@name` where there is a file of that name: only with a `/` in it it is certainly one.
pub fn with_lists(pattern: &str) -> Result<String, Error> {
    within(&Source::new("pattern", pattern), 0, pattern, 0)
}

/// The same for a part of the source that begins so many characters into it.
fn within(source: &Source, offset: usize, pattern: &str, depth: usize) -> Result<String, Error> {
    let mut text = String::with_capacity(pattern.len());
    let mut rest = pattern;
    // What is no pattern here is none for who reads it.
    let Ok((mut terms, _)) = scan::scan(pattern, |_| false) else {
        return Ok(pattern.to_owned());
    };
    terms.sort_unstable_by_key(|term| term.offset);
    let mut read = 0;
    for term in terms {
        let before = term.offset - read;
        let (kept, after) = split_at_char(rest, before);
        text.push_str(kept);
        (rest, read) = (
            &after[term.text.len()..],
            term.offset + term.text.chars().count(),
        );
        let at = offset + term.offset;
        let inside = { term.text.strip_prefix('(') }.and_then(|inside| inside.strip_suffix(')'));
        match (term.text.strip_prefix('@'), inside) {
            (Some(name), _) => text.push_str(&at_sign(source, at, name)?),
            (None, Some(inside)) if depth < DEPTH => {
                text.push('(');
                text.push_str(&within(source, at + 1, inside, depth + 1)?);
                text.push(')');
            }
            (None, _) => text.push_str(term.text),
        }
    }
    text.push_str(rest);
    Ok(text)
}

fn split_at_char(text: &str, count: usize) -> (&str, &str) {
    let at = text
        .char_indices()
        .nth(count)
        .map_or(text.len(), |(at, _)| at);
    text.split_at(at)
}

fn at_sign(source: &Source, offset: usize, name: &str) -> Result<String, Error> {
    let at = || {
        let column = u32::try_from(offset + 1).unwrap_or(u32::MAX);
        source.place(Pos { line: 1, column })
    };
    if !name.contains('/') {
        if !Path::new(name).is_file() {
            return Ok(format!("@{name}"));
        }
        return Err(Error::Ambiguous {
            at: at(),
            term: format!("@{name}"),
            readings: format!(
                "write {name} for a group of the server, or @./{name} for the file here"
            ),
        });
    }
    let list = files::source(Path::new(name), limits::FILE_BYTES);
    let list = list.map_err(|source| Error::ReadList {
        at: at(),
        path: name.into(),
        source: Box::new(source),
    })?;
    lines(&list)
}

/// What the lines of a list name, as one term.
fn lines(list: &Source) -> Result<String, Error> {
    let mut terms = Vec::new();
    for (number, text) in (1u32..).zip(list.text.lines()) {
        let text = text.split('#').next().unwrap_or("");
        let pattern = text.trim();
        if pattern.is_empty() {
            continue;
        }
        let indent = text.chars().take_while(|c| c.is_whitespace()).count();
        let bad = |at: usize, reason| Error::BadPattern {
            at: list.place(Pos {
                line: number,
                column: u32::try_from(indent + at + 1).unwrap_or(u32::MAX),
            }),
            reason,
        };
        let (parts, from_all) =
            scan::scan(pattern, |_| false).map_err(|(at, reason)| bad(at, reason))?;
        if from_all {
            return Err(bad(0, super::FROM_ALL));
        }
        let is_list = |name: &str| name.contains('/') || Path::new(name).is_file();
        let list = { parts.iter() }.find(|part| part.text.strip_prefix('@').is_some_and(is_list));
        if let Some(part) = list {
            return Err(bad(part.offset, super::LIST_IN_LIST));
        }
        if !is_closed(pattern) {
            return Err(bad(0, "its brackets or parentheses do not match"));
        }
        terms.push(in_parentheses(pattern));
    }
    Ok(match &terms[..] {
        [] => NOTHING.to_owned(),
        [term] => term.clone(),
        terms => format!("({})", terms.join(",")),
    })
}

/// Whether every bracket is closed within the text, and none besides, as the terms of a pattern are cut: else the parentheses around
/// it would end elsewhere.
fn is_closed(text: &str) -> bool {
    let (mut depth, mut in_bracket, mut escaped) = (0usize, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' => in_bracket = false,
            _ if in_bracket => {}
            '[' => in_bracket = true,
            '{' | '(' => depth += 1,
            '}' | ')' => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            _ => {}
        }
    }
    depth == 0 && !in_bracket && !escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Inventory;

    #[test]
    fn what_a_list_names_stands_in_the_pattern_and_means_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let list = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            format!("@{}", path.display())
        };
        let some = list("some", " web1 # a comment\n\nweb[3-4]:!web3\n~web(5|6)\n");
        let none = list("none", "# nobody\n");
        let inventory = Inventory::parse_any("[web]\nweb[1:9]\n", "hosts").expect("good");
        for (pattern, written) in [
            (some.clone(), "(web1,(web[3-4]:!web3),(~web(5|6)))"),
            (
                format!("~ü?web[12]$ , {some}:!(web1:{some})"),
                "~ü?web[12]$ , (web1,(web[3-4]:!web3),(~web(5|6))):!(web1:(web1,(web[3-4]:!web3),(~web(5|6))))",
            ),
            (format!("web!{none}"), "web!(all:!all)"),
            ("@web".to_owned(), "@web"),
        ] {
            let inlined = with_lists(&pattern).expect("a pattern");
            assert_eq!(inlined, written);
            let names = |pattern: &str| -> Vec<String> {
                let hosts = inventory.select(pattern).expect("a pattern");
                hosts.iter().map(|host| host.name().to_owned()).collect()
            };
            assert_eq!(names(&inlined), names(&pattern), "{pattern}");
        }
    }

    #[test]
    fn a_list_that_would_mean_something_else_in_a_pattern_is_refused_with_its_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        let refused = |text: &str| {
            std::fs::write(&path, text).expect("written");
            let error = with_lists(&format!("@{}", path.display())).expect_err("refused");
            let place = error.place().expect("a place");
            format!("{}:{} {error}", place.line(), place.column())
        };
        let all = refused("web1\n !web2\n");
        assert!(
            all.starts_with("2:2 ") && all.contains("all but some"),
            "{all}"
        );
        for line in ["web1)\n", "web[1\n", "~web\\\n"] {
            let closed = refused(line);
            assert!(
                closed.starts_with("1:1 ") && closed.contains("do not match"),
                "{closed}"
            );
        }
        let list = refused("a,@./other\n");
        assert!(
            list.starts_with("1:3 ") && list.contains("another list"),
            "{list}"
        );
        let missing = with_lists("web:@./there/is/none").expect_err("refused");
        assert_eq!(
            (missing.code(), missing.place().map(|at| at.column())),
            ("MF0122", Some(5))
        );
    }

    #[test]
    fn a_name_that_could_be_a_group_there_and_is_a_file_here_is_refused() {
        // Tests run in the folder of their crate.
        let error = with_lists("@Cargo.toml").expect_err("refused");
        assert_eq!(error.code(), "MF0141");
        assert!(error.to_string().contains("@./Cargo.toml"), "{error}");
    }
}
