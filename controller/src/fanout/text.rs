//! Answers as people see them: under the names of the nodes that gave them, or as what differs from what most said. What a node
//! said cannot drive the terminal: control characters are shown, not sent.

use std::fmt::Write as _;

use midflight_inventory::fold_to_string;

use crate::fanout::answer::{Answer, End, Stream};
use crate::fanout::diff;
use crate::fanout::groups::Group;
use crate::output::count;

/// Bytes as a line of text. Control characters but tabs become `\x1b` and the like; bytes that are no UTF-8 become `\xff`.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\t' || !c.is_control() {
                text.push(c);
            } else {
                let _ = write!(text, "\\x{:02x}", u32::from(c));
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// What came from a node, a line each: standard output, then standard error with `! ` in front, then what was cut.
#[must_use]
pub fn lines(answer: &Answer) -> Vec<String> {
    let of = |stream, sign| {
        let bytes = answer.output.of(stream);
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let whole = (!bytes.is_empty()).then_some(bytes);
        let lines = whole
            .into_iter()
            .flat_map(|bytes| bytes.split(|&byte| byte == b'\n'));
        lines.map(move |line| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            format!("{sign}{}", shown(line))
        })
    };
    let mut lines: Vec<String> = of(Stream::Stdout, "")
        .chain(of(Stream::Stderr, "! "))
        .collect();
    match answer.output.cut() {
        0 => {}
        more => lines.push(format!("(cut here: {} more came)", count(more, "byte"))),
    }
    lines
}

/// How it ended, in a few words.
#[must_use]
pub fn end(end: &End) -> String {
    match end {
        End::Exit(status) => format!("exit {status}"),
        End::Signal(name) => format!("ended by signal {name}"),
        End::Failed(failure) if failure.began => {
            format!("broken off: {}: {}", failure.code, failure.what)
        }
        End::Failed(failure) => format!("not run: {}: {}", failure.code, failure.what),
        End::TimedOut => "timed out; it may still run there".to_owned(),
        End::Interrupted => "interrupted; it may still run there".to_owned(),
        End::NotStarted => "not run: interrupted before".to_owned(),
    }
}

fn names<'a>(group: &Group, all: &'a [String]) -> impl Iterator<Item = &'a str> {
    group.nodes.iter().map(|&node| all[node].as_str())
}

fn head(group: &Group, all: &[String]) -> String {
    let mut head = fold_to_string(names(group, all));
    let mut notes = Vec::new();
    if group.nodes.len() > 1 {
        notes.push(count(group.nodes.len() as u64, "node"));
    }
    if group.answer.end != End::Exit(0) {
        notes.push(end(&group.answer.end));
    }
    if !notes.is_empty() {
        let _ = write!(head, " ({})", notes.join(", "));
    }
    head
}

/// Each answer once, under the folded names of the nodes that gave it.
#[must_use]
pub fn folded(groups: &[Group], all: &[String]) -> String {
    let mut text = String::new();
    for group in groups {
        let lines = lines(&group.answer);
        let nothing = if lines.is_empty() { " no output" } else { "" };
        let _ = writeln!(text, "{}:{nothing}", head(group, all));
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

/// What most nodes said, and how the others differ from it. Nodes on which the command did not come to its end are no majority.
#[must_use]
pub fn against_majority(groups: &[Group], all: &[String]) -> String {
    let ended = |group: &&Group| matches!(group.answer.end, End::Exit(_) | End::Signal(_));
    let candidates = groups.iter().filter(ended);
    // Of two that are as many, the first.
    let Some(most) = candidates.rev().max_by_key(|group| group.nodes.len()) else {
        return folded(groups, all);
    };
    let mut text = folded(std::slice::from_ref(most), all);
    let with_end = |group: &Group| {
        let mut lines = lines(&group.answer);
        if group.answer.end != End::Exit(0) {
            lines.push(format!("({})", end(&group.answer.end)));
        }
        lines
    };
    let majority = with_end(most);
    for group in groups {
        if std::ptr::eq(group, most) {
            continue;
        }
        if !ended(&group) {
            text.push_str(&folded(std::slice::from_ref(group), all));
            continue;
        }
        let _ = writeln!(text, "--- {}", head(most, all));
        let _ = writeln!(text, "+++ {}", head(group, all));
        text.push_str(&diff::unified(&majority, &with_end(group)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::answer::{Budget, Failure, Output};
    use crate::fanout::groups::Groups;

    fn answer(stdout: &str, stderr: &str, end: End) -> Answer {
        let mut output = Output::new(60, Budget::new(10_000));
        output.push(Stream::Stdout, stdout.as_bytes());
        output.push(Stream::Stderr, stderr.as_bytes());
        Answer { output, end }
    }

    fn fleet() -> (Vec<Group>, Vec<String>) {
        let all: Vec<String> = (1..=9).map(|n| format!("web{n:02}.eu")).collect();
        let mut groups = Groups::default();
        for node in [0, 1, 2, 4] {
            groups.add(node, answer("one\ntwo\nthree\n", "", End::Exit(0)));
        }
        groups.add(3, answer("one\n2\nthree\n", "what?\n", End::Exit(3)));
        groups.add(5, answer("", "", End::Exit(0)));
        groups.add(6, answer(&"x".repeat(70), "", End::Signal("KILL".into())));
        let failure = Failure {
            code: "MF0601".into(),
            what: "nobody listens".into(),
            hint: String::new(),
            began: false,
        };
        groups.add(7, answer("", "", End::Failed(failure)));
        groups.add(8, answer("one\n", "", End::TimedOut));
        (groups.in_order(), all)
    }

    #[test]
    fn answers_stand_once_under_the_nodes_that_gave_them() {
        let (groups, all) = fleet();
        insta::assert_snapshot!(folded(&groups, &all));
    }

    #[test]
    fn what_differs_from_what_most_said_is_shown_as_a_diff() {
        let (groups, all) = fleet();
        insta::assert_snapshot!(against_majority(&groups, &all));
    }

    #[test]
    fn where_the_command_ended_nowhere_there_is_no_majority() {
        let mut groups = Groups::default();
        groups.add(0, answer("", "", End::NotStarted));
        let text = against_majority(&groups.in_order(), &["a".to_owned()]);
        assert_eq!(text, "a (not run: interrupted before): no output\n");
    }

    #[test]
    fn what_a_node_said_cannot_drive_the_terminal_and_no_byte_of_it_is_hidden() {
        assert_eq!(
            shown(b"a\tb\x1b[2J\xff\xc3\xa9\x07"),
            "a\tb\\x1b[2J\\xffé\\x07"
        );
        let lines = lines(&answer("a\r\nb\n\n", "", End::Exit(0)));
        assert_eq!(lines, ["a", "b", ""]);
    }
}
