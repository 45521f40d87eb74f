//! The checker of one connection to the gateway. It alone increments its share of a node's counters, so every count that is
//! answered must be exactly the number of increments that it sent to that counter. It is pure: it makes the requests and
//! judges the answers, and touches no socket.

use std::collections::{BTreeMap, VecDeque};

/// Which greeting the code that runs answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Hello: version 1.
    Hello,
    /// Either: code changes meanwhile.
    Either,
    /// Howdy: version 2.
    Howdy,
}

impl Greeting {
    fn allows(self, answer: &str, name: &str) -> bool {
        let hello = answer == format!("Hello, {name}!");
        let howdy = answer.starts_with(&format!("Howdy, {name}!"));
        match self {
            Self::Hello => hello,
            Self::Either => hello || howdy,
            Self::Howdy => howdy,
        }
    }
}

/// What an open request asked for.
#[derive(Debug)]
enum Asked {
    /// A count, after an increment or as it is: of which counter (index into `counters`), and what it must be.
    Count(usize, u64),
    Greeting(Greeting),
    Pi,
}

/// A counter of this client's share.
#[derive(Debug)]
struct Counter {
    number: u32,
    sent: u64,
    /// Answered minus expected, at the last answer.
    drift: i64,
    /// Answered since the last audit began.
    seen: bool,
}

/// One connection's requests.
#[derive(Debug)]
pub struct Counts {
    name: String,
    greeting: Greeting,
    counters: Vec<Counter>,
    /// Requests sent; their numbers count from 1.
    sent: u64,
    due: BTreeMap<u64, Asked>,
    audit: VecDeque<usize>,
    mark: u64,
    fresh: u64,
    /// Increments that a counter did not see.
    pub uncounted: u64,
    /// Increments that a counter saw twice.
    pub counted_twice: u64,
    /// Answers that came once more, or to nothing that was asked.
    pub duplicated: u64,
    /// Requests that were answered with an error.
    pub failed: u64,
    /// Answers of the greeter or the pi server that were not what the code in force says.
    pub misformed: u64,
    /// The first thing that was wrong, for a person.
    pub first_wrong: Option<String>,
}

/// The pi server's number, in both versions.
const PI: &str = "3.14";

impl Counts {
    /// Of a client that owns these counters of its node, by number.
    pub fn new(name: String, counters: impl Iterator<Item = u32>, greeting: Greeting) -> Self {
        let counter = |number| Counter {
            number,
            sent: 0,
            drift: 0,
            seen: false,
        };
        Self {
            name,
            greeting,
            counters: counters.map(counter).collect(),
            sent: 0,
            due: BTreeMap::new(),
            audit: VecDeque::new(),
            mark: 0,
            fresh: 0,
            uncounted: 0,
            counted_twice: 0,
            duplicated: 0,
            failed: 0,
            misformed: 0,
            first_wrong: None,
        }
    }

    /// How many counters it owns.
    pub fn counters(&self) -> usize {
        self.counters.len()
    }

    /// The least and the greatest number of increments that were sent to counters up to and beyond number `hot`; `None`
    /// where there is no such counter.
    pub fn extremes(&self, hot: u32) -> (Option<u64>, Option<u64>) {
        let sent = |of_hot: bool| {
            self.counters
                .iter()
                .filter(move |c| (c.number <= hot) == of_hot)
                .map(|c| c.sent)
        };
        (sent(true).min(), sent(false).max())
    }

    fn ask(&mut self, asked: Asked) -> u64 {
        self.sent += 1;
        self.due.insert(self.sent, asked);
        self.sent
    }

    /// Increments one of its counters, by index.
    pub fn increment(&mut self, index: usize) -> String {
        let counter = &mut self.counters[index];
        counter.sent += 1;
        let (number, sent) = (counter.number, counter.sent);
        format!(
            "inc {} counter.{number}\n",
            self.ask(Asked::Count(index, sent))
        )
    }

    /// Greets.
    pub fn greet(&mut self) -> String {
        let greeting = self.greeting;
        let seq = self.ask(Asked::Greeting(greeting));
        format!("greet {seq} {}\n", self.name)
    }

    /// Asks for the number.
    pub fn pi(&mut self) -> String {
        format!("pi {}\n", self.ask(Asked::Pi))
    }

    /// From now on every counter is asked for its count once, while increments go on.
    pub fn begin_audit(&mut self) {
        self.counters
            .iter_mut()
            .for_each(|counter| counter.seen = false);
        self.audit = (0..self.counters.len()).collect();
    }

    /// The next question of the audit, when there is one.
    pub fn audit(&mut self) -> Option<String> {
        let index = self.audit.pop_front()?;
        let Counter { number, sent, .. } = self.counters[index];
        Some(format!(
            "get {} counter.{number}\n",
            self.ask(Asked::Count(index, sent))
        ))
    }

    /// Counters that have not answered since the audit began.
    pub fn unseen(&self) -> u64 {
        self.counters.iter().filter(|counter| !counter.seen).count() as u64
    }

    /// Counters that have not answered since the audit began, or whose last answer was not what was sent to them.
    pub fn wrong_counters(&self) -> u64 {
        self.counters
            .iter()
            .filter(|counter| !counter.seen || counter.drift != 0)
            .count() as u64
    }

    /// What the greeter says from now on. Requests under way may meet either code.
    pub fn expect(&mut self, greeting: Greeting) {
        self.greeting = greeting;
        for asked in self.due.values_mut() {
            if let Asked::Greeting(greeting) = asked {
                *greeting = Greeting::Either;
            }
        }
    }

    /// Takes in an answer, without its line break.
    pub fn answered(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        let mut words = text.splitn(3, ' ');
        let (verb, seq, rest) = (words.next(), words.next(), words.next().unwrap_or_default());
        let asked = seq
            .and_then(|seq| seq.parse::<u64>().ok())
            .and_then(|seq| Some((seq, self.due.remove(&seq)?)));
        let Some((seq, asked)) = asked else {
            self.duplicated += 1;
            return self.wrong("an answer to nothing that is open", &text);
        };
        if verb != Some("ok") {
            self.failed += 1;
            return self.wrong("a request failed", &text);
        }
        match asked {
            Asked::Count(index, expected) => match rest.parse() {
                Ok(count) => self.count(index, expected, count),
                Err(_) => self.misform("an answer that is no count", &text),
            },
            Asked::Greeting(greeting) if !greeting.allows(rest, &self.name) => {
                self.misform("not the greeting of the code in force", &text);
            }
            Asked::Pi if rest != PI => self.misform("not the number", &text),
            Asked::Greeting(_) | Asked::Pi => {}
        }
        if seq > self.mark {
            self.fresh += 1;
        }
    }

    fn count(&mut self, index: usize, expected: u64, count: u64) {
        let counter = &mut self.counters[index];
        // Counts of a demo stay far below 2^63.
        let drift = count as i64 - expected as i64;
        let change = drift - counter.drift;
        (counter.drift, counter.seen) = (drift, true);
        let number = counter.number;
        match change {
            ..0 => self.uncounted += change.unsigned_abs(),
            0 => return,
            _ => self.counted_twice += change.unsigned_abs(),
        }
        self.wrong(
            "a wrong count",
            &format!("counter.{number} answered {count} where {expected} was right"),
        );
    }

    fn misform(&mut self, what: &str, text: &str) {
        self.misformed += 1;
        self.wrong(what, text);
    }

    fn wrong(&mut self, what: &str, text: &str) {
        if self.first_wrong.is_none() {
            self.first_wrong = Some(format!("{}: {what}: {text:?}", self.name));
        }
    }

    /// Requests that were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Requests without an answer. At the end they are lost.
    pub fn due(&self) -> u64 {
        self.due.len() as u64
    }

    /// Begins to count requests that were sent from now on and answered.
    pub fn mark(&mut self) {
        (self.mark, self.fresh) = (self.sent, 0);
    }

    /// How many were.
    pub fn fresh(&self) -> u64 {
        self.fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Counts {
        Counts::new("n01-g1".to_owned(), (1..=5).step_by(2), Greeting::Hello)
    }

    fn verdict(client: &Counts) -> [u64; 6] {
        [
            client.due(),
            client.uncounted,
            client.counted_twice,
            client.duplicated,
            client.failed,
            client.misformed,
        ]
    }

    #[test]
    fn counts_that_are_the_increments_sent_are_fine() {
        let mut client = client();
        assert_eq!(client.increment(0), "inc 1 counter.1\n");
        assert_eq!(client.increment(1), "inc 2 counter.3\n");
        assert_eq!(client.increment(0), "inc 3 counter.1\n");
        // Answers of different counters may overtake each other.
        for answer in ["ok 2 1", "ok 1 1", "ok 3 2"] {
            client.answered(answer.as_bytes());
        }
        assert_eq!((client.sent(), verdict(&client)), (3, [0; 6]));
    }

    #[test]
    fn an_increment_that_was_not_counted_is_lost_once_and_its_counter_stays_wrong() {
        let mut client = client();
        (0..3).for_each(|_| drop(client.increment(0)));
        for answer in ["ok 1 1", "ok 2 1", "ok 3 2"] {
            client.answered(answer.as_bytes());
        }
        assert_eq!(verdict(&client), [0, 1, 0, 0, 0, 0]);
        client.begin_audit();
        while client.audit().is_some() {}
        for answer in ["ok 4 2", "ok 5 0", "ok 6 0"] {
            client.answered(answer.as_bytes());
        }
        assert_eq!((client.wrong_counters(), client.unseen()), (1, 0));
    }

    #[test]
    fn an_increment_that_was_counted_twice_is_a_duplicate() {
        let mut client = client();
        (0..2).for_each(|_| drop(client.increment(0)));
        client.answered(b"ok 1 1");
        client.answered(b"ok 2 3");
        assert_eq!(verdict(&client), [0, 0, 1, 0, 0, 0]);
        assert!(
            client
                .first_wrong
                .is_some_and(|text| text.contains("counter.1 answered 3 where 2 was right"))
        );
    }

    #[test]
    fn a_second_answer_and_an_answer_to_nothing_are_duplicates() {
        let mut client = client();
        client.increment(0);
        for answer in [
            "ok 1 1",
            "ok 1 1",
            "ok 9 1",
            "err - expected inc, get, greet or pi",
            "",
        ] {
            client.answered(answer.as_bytes());
        }
        assert_eq!(verdict(&client), [0, 0, 0, 4, 0, 0]);
    }

    #[test]
    fn a_failed_request_and_one_without_an_answer_are_told_apart() {
        let mut client = client();
        client.increment(0);
        client.increment(1);
        client.answered(b"err 1 timeout");
        assert_eq!(verdict(&client), [1, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn an_audit_asks_every_counter_once_also_those_that_were_never_incremented() {
        let mut client = client();
        client.increment(1);
        client.answered(b"ok 1 1");
        client.begin_audit();
        assert_eq!(client.unseen(), 3);
        let asked: Vec<_> = std::iter::from_fn(|| client.audit()).collect();
        assert_eq!(
            asked,
            [
                "get 2 counter.1\n",
                "get 3 counter.3\n",
                "get 4 counter.5\n"
            ]
        );
        for answer in ["ok 2 0", "ok 3 1"] {
            client.answered(answer.as_bytes());
        }
        assert_eq!((client.unseen(), client.wrong_counters()), (1, 1));
        client.answered(b"ok 4 7");
        assert_eq!(
            (
                client.unseen(),
                client.wrong_counters(),
                client.counted_twice
            ),
            (0, 1, 7)
        );
    }

    #[test]
    fn the_greeter_must_greet_as_the_code_in_force_does() {
        let mut client = client();
        let hello = "Hello, n01-g1!";
        let howdy = "Howdy, n01-g1! Welcome to Erlang!";
        assert_eq!(client.greet(), "greet 1 n01-g1\n");
        client.answered(format!("ok 1 {howdy}").as_bytes());
        assert_eq!(client.misformed, 1);
        client.greet();
        client.expect(Greeting::Either);
        client.answered(format!("ok 2 {howdy}").as_bytes());
        client.expect(Greeting::Howdy);
        client.greet();
        client.answered(format!("ok 3 {hello}").as_bytes());
        assert_eq!(client.misformed, 2);
        client.pi();
        client.answered(b"ok 4 3.14");
        client.pi();
        client.answered(b"ok 5 3.15");
        assert_eq!(verdict(&client), [0, 0, 0, 0, 0, 3]);
    }

    #[test]
    fn extremes_are_told_apart_by_the_hot_counters() {
        let mut client = client();
        (0..4).for_each(|_| drop(client.increment(0)));
        client.increment(2);
        assert_eq!(client.extremes(1), (Some(4), Some(1)));
        assert_eq!(client.extremes(0), (None, Some(4)));
    }
}
