//! Which files an `Include` names: `*`, `?` and `[...]` within the parts of a path, as `glob(7)` has them.
//!
//! Files come sorted by name. A folder that cannot be read has no files, as for `ssh`. Names that begin with a dot match
//! only a pattern that does.

use std::path::{Component, Path, PathBuf};

/// The paths that exist and match, sorted; at most as many as there may be files, and one more.
pub(crate) fn paths(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let part = match component {
            Component::Normal(part) => part.to_string_lossy().into_owned(),
            other => {
                found.iter_mut().for_each(|path| path.push(other));
                continue;
            }
        };
        if !part.contains(['*', '?', '[', '\\']) {
            found.iter_mut().for_each(|path| path.push(&part));
            continue;
        }
        let mut next = Vec::new();
        for folder in found {
            let Ok(entries) = folder.read_dir() else {
                continue;
            };
            let names = entries
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok());
            let hidden = part.starts_with('.');
            next.extend(
                names
                    .filter(|name| hidden || !name.starts_with('.'))
                    .filter(|name| matches(&part, name))
                    .map(|name| folder.join(name)),
            );
        }
        found = next;
        found.sort();
        found.truncate(crate::limits::CONFIG_FILES + 1);
    }
    found.retain(|path| path.exists());
    found
}

/// Whether one part of a path matches; a `[` that is not closed stands for itself.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // reached[i]: the pattern so far matches the first i characters.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    let mut p = 0;
    while p < pattern.len() {
        let (accepts, used): (Box<dyn Fn(char) -> bool>, usize) = match pattern[p] {
            '*' => {
                let first = reached.iter().position(|&r| r).unwrap_or(reached.len());
                reached.iter_mut().skip(first).for_each(|r| *r = true);
                p += 1;
                continue;
            }
            '?' => (Box::new(|_| true), 1),
            '[' => match class(&pattern[p..]) {
                Some((accepts, used)) => (accepts, used),
                None => (Box::new(|c| c == '['), 1),
            },
            '\\' if p + 1 < pattern.len() => {
                let literal = pattern[p + 1];
                (Box::new(move |c| c == literal), 2)
            }
            literal => (Box::new(move |c| c == literal), 1),
        };
        for i in (0..name.len()).rev() {
            reached[i + 1] = reached[i] && accepts(name[i]);
        }
        reached[0] = false;
        p += used;
    }
    reached[name.len()]
}

type Class = (Box<dyn Fn(char) -> bool>, usize);

/// A `[...]` at the start of a pattern, and its length.
fn class(pattern: &[char]) -> Option<Class> {
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let start = if negated { 2 } else { 1 };
    let end = start + 1 + pattern.get(start + 1..)?.iter().position(|&c| c == ']')?;
    let members: Vec<char> = pattern[start..end].to_vec();
    let accepts = move |c: char| {
        let mut i = 0;
        let mut inside = false;
        while i < members.len() {
            if i + 2 < members.len() && members[i + 1] == '-' {
                inside |= (members[i]..=members[i + 2]).contains(&c);
                i += 3;
            } else {
                inside |= members[i] == c;
                i += 1;
            }
        }
        inside != negated
    };
    Some((Box::new(accepts), end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_paths_match_as_the_shell_matches_them() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf~", false),
            ("[0-9]?-*", "10-x", true),
            ("[!0-9]*", "1", false),
            ("[^0-9]*", "a", true),
            ("[]a]", "]", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
