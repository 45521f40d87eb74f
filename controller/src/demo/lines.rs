//! The checker of one TCP connection to the echo server: every line that was sent must come back exactly once, in order, in
//! the form of the code that answers. It is pure: it makes the lines and judges what came back, and touches no socket.

use std::collections::VecDeque;

/// How the code that runs answers a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it came: version 1.
    AsSent,
    /// Either, also within one line: code changes meanwhile.
    Either,
    /// In upper case: version 2.
    Upper,
}

/// A line that has not come back.
#[derive(Debug)]
struct Due {
    seq: u64,
    form: Form,
    /// A later one came back already.
    passed: bool,
}

/// One connection's lines.
#[derive(Debug)]
pub struct Lines {
    /// What every line of this connection begins with, in lower case.
    name: String,
    form: Form,
    /// Lines sent; their numbers count from 1.
    sent: u64,
    /// Sent and not come back yet, in order.
    due: VecDeque<Due>,
    mark: u64,
    fresh: u64,
    /// Lines that came back once more.
    pub duplicated: u64,
    /// Lines that came back before an earlier one did.
    pub overtook: u64,
    /// Lines that nobody sent: altered, cut or mixed up.
    pub foreign: u64,
    /// Lines in the form of the other version.
    pub misformed: u64,
    /// The first thing that was wrong, for a person.
    pub first_wrong: Option<String>,
}

impl Lines {
    /// Of a connection that nothing was sent on; `name` must be in lower case.
    pub fn new(name: String, form: Form) -> Self {
        Self {
            name,
            form,
            sent: 0,
            due: VecDeque::new(),
            mark: 0,
            fresh: 0,
            duplicated: 0,
            overtook: 0,
            foreign: 0,
            misformed: 0,
            first_wrong: None,
        }
    }

    /// The next line, with its line break. It is due from now on.
    pub fn send(&mut self) -> String {
        self.sent += 1;
        self.due.push_back(Due {
            seq: self.sent,
            form: self.form,
            passed: false,
        });
        self.text(self.sent) + "\n"
    }

    fn text(&self, seq: u64) -> String {
        format!("{} seq {seq:06} abc", self.name)
    }

    /// What the code answers like from now on. Lines under way may meet either code.
    pub fn expect(&mut self, form: Form) {
        self.form = form;
        self.due.iter_mut().for_each(|due| due.form = Form::Either);
    }

    /// Takes in a line that came back, without its line break.
    pub fn received(&mut self, line: &[u8]) {
        let Some(seq) = self.number(line) else {
            self.foreign += 1;
            return self.wrong("a line that was never sent", line);
        };
        let Some(place) = self.due.iter().position(|due| due.seq == seq) else {
            self.duplicated += 1;
            return self.wrong("a line came back twice", line);
        };
        let passes = self.due.iter_mut().take(place).filter(|due| !due.passed);
        if passes.map(|due| due.passed = true).count() > 0 {
            self.overtook += 1;
            self.wrong("a line came back before an earlier one", line);
        }
        let form = self.due.remove(place).map_or(Form::Either, |due| due.form);
        let good = match form {
            Form::AsSent => !line.iter().any(u8::is_ascii_uppercase),
            Form::Either => true,
            Form::Upper => !line.iter().any(u8::is_ascii_lowercase),
        };
        if !good {
            self.misformed += 1;
            self.wrong("a line came back from the other version", line);
        }
        if seq > self.mark {
            self.fresh += 1;
        }
    }

    /// The number of a line that is, but for upper case, one that was sent.
    fn number(&self, line: &[u8]) -> Option<u64> {
        let text = std::str::from_utf8(line).ok()?.to_ascii_lowercase();
        let rest = text.strip_prefix(&self.name)?.strip_prefix(" seq ")?;
        let seq: u64 = rest.split(' ').next()?.parse().ok()?;
        (seq <= self.sent && seq > 0 && text == self.text(seq)).then_some(seq)
    }

    fn wrong(&mut self, what: &str, line: &[u8]) {
        let said = || format!("{}: {what}: {:?}", self.name, String::from_utf8_lossy(line));
        if self.first_wrong.is_none() {
            self.first_wrong = Some(said());
        }
    }

    /// Lines that were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Lines that have not come back. At the end they are lost.
    pub fn due(&self) -> u64 {
        self.due.len() as u64
    }

    /// Begins to count lines that were sent from now on and came back.
    pub fn mark(&mut self) {
        (self.mark, self.fresh) = (self.sent, 0);
    }

    /// How many did.
    pub fn fresh(&self) -> u64 {
        self.fresh
    }
}

/// Where a line is cut when it is sent in two halves.
pub fn half(line: &str) -> (&str, &str) {
    // The lines are ASCII: every index is a boundary.
    line.split_at(line.len() / 2)
}

/// Collects bytes until they are lines.
#[derive(Debug, Default)]
pub struct Splitter(Vec<u8>);

impl Splitter {
    /// Adds bytes, and gives each whole line to `take`, without its line break.
    pub fn push(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) {
        self.0.extend_from_slice(bytes);
        let mut done = 0;
        while let Some(length) = self.0[done..].iter().position(|byte| *byte == b'\n') {
            take(&self.0[done..done + length]);
            done += length + 1;
        }
        self.0.drain(..done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(form: Form) -> Lines {
        Lines::new("n01 c2".to_owned(), form)
    }

    fn verdict(lines: &Lines) -> [u64; 5] {
        [
            lines.due(),
            lines.duplicated,
            lines.overtook,
            lines.foreign,
            lines.misformed,
        ]
    }

    #[test]
    fn lines_that_come_back_once_and_in_order_are_fine() {
        let mut lines = lines(Form::AsSent);
        for _ in 0..3 {
            let line = lines.send();
            lines.received(line.trim_end().as_bytes());
        }
        assert_eq!(
            (lines.sent(), verdict(&lines), lines.first_wrong),
            (3, [0; 5], None)
        );
    }

    #[test]
    fn a_line_that_never_comes_back_stays_due() {
        let mut lines = lines(Form::AsSent);
        let (_lost, second, third) = (lines.send(), lines.send(), lines.send());
        lines.received(second.trim_end().as_bytes());
        // Those that follow are in order.
        lines.received(third.trim_end().as_bytes());
        assert_eq!(verdict(&lines), [1, 0, 1, 0, 0]);
    }

    #[test]
    fn a_line_that_comes_back_twice_is_a_duplicate() {
        let mut lines = lines(Form::AsSent);
        let line = lines.send();
        lines.received(line.trim_end().as_bytes());
        lines.received(line.trim_end().to_uppercase().as_bytes());
        assert_eq!(verdict(&lines), [0, 1, 0, 0, 0]);
    }

    #[test]
    fn lines_that_change_places_are_not_lost_but_wrong() {
        let mut lines = lines(Form::AsSent);
        let (first, second) = (lines.send(), lines.send());
        lines.received(second.trim_end().as_bytes());
        lines.received(first.trim_end().as_bytes());
        assert_eq!(verdict(&lines), [0, 0, 1, 0, 0]);
        assert!(
            lines.first_wrong.is_some_and(
                |text| text.contains("before an earlier one") && text.contains("000002")
            )
        );
    }

    #[test]
    fn an_altered_line_is_foreign_and_the_one_that_was_sent_stays_due() {
        let mut lines = lines(Form::AsSent);
        lines.send();
        for line in [
            "n01 c2 seq 000001 ab",
            "n01 c2 seq 000002 abc",
            "n01 c3 seq 000001 abc",
            "",
            "n01 c2 seq 1 abc",
        ] {
            lines.received(line.as_bytes());
        }
        assert_eq!(verdict(&lines), [1, 0, 0, 5, 0]);
    }

    #[test]
    fn each_version_must_answer_in_its_form_once_no_code_changes() {
        let mut lines = lines(Form::AsSent);
        let line = lines.send();
        lines.received(line.trim_end().to_uppercase().as_bytes());
        assert_eq!(lines.misformed, 1);
        lines.expect(Form::Either);
        lines.expect(Form::Upper);
        let line = lines.send();
        lines.received(line.trim_end().as_bytes());
        assert_eq!(lines.misformed, 2);
        let line = lines.send();
        lines.received(line.trim_end().to_uppercase().as_bytes());
        assert_eq!(verdict(&lines), [0, 0, 0, 0, 2]);
    }

    #[test]
    fn a_line_under_way_when_the_code_changes_may_come_back_in_both_forms_at_once() {
        let mut lines = lines(Form::AsSent);
        let line = lines.send();
        lines.expect(Form::Either);
        let (first, second) = half(line.trim_end());
        lines.received((first.to_owned() + &second.to_uppercase()).as_bytes());
        assert_eq!(verdict(&lines), [0; 5]);
    }

    #[test]
    fn only_lines_sent_after_the_mark_are_fresh() {
        let mut lines = lines(Form::AsSent);
        let before = lines.send();
        lines.mark();
        let after = lines.send();
        lines.received(before.trim_end().as_bytes());
        assert_eq!(lines.fresh(), 0);
        lines.received(after.trim_end().as_bytes());
        assert_eq!(lines.fresh(), 1);
    }

    #[test]
    fn halves_make_the_line_and_the_splitter_finds_it_however_it_is_cut() {
        let text = lines(Form::AsSent).send() + "second\n\nrest";
        let (first, second) = half(&text);
        assert!(!first.is_empty() && !second.is_empty());
        for cut in 0..text.len() {
            let (mut splitter, mut found) = (Splitter::default(), Vec::new());
            for part in [&text[..cut], &text[cut..]] {
                splitter.push(part.as_bytes(), |line| {
                    found.push(String::from_utf8_lossy(line).into_owned())
                });
            }
            assert_eq!(
                found,
                ["n01 c2 seq 000001 abc", "second", ""],
                "cut at {cut}"
            );
            assert_eq!(splitter.0, b"rest");
        }
    }
}
