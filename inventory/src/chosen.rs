//! A set of numbers that operators change one after another, each at the cost of its own operand.
//!
//! Patterns and node sets have as many operators as somebody cares to write; none of them walks the whole set.

/// How an operand changes the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    /// What is in either.
    Join,
    /// What is in both.
    Keep,
    /// What is in the set and not in the operand.
    Drop,
    /// What is in one of them and not in the other.
    Either,
}

/// The set. A number is in it when its stamp is that of now.
#[derive(Debug)]
pub(crate) struct Chosen {
    stamps: Vec<u32>,
    now: u32,
}

impl Chosen {
    /// The empty set, with room for the numbers below `count`.
    pub(crate) fn none(count: usize) -> Chosen {
        Chosen {
            stamps: vec![0; count],
            now: 1,
        }
    }

    /// The set of all numbers below `count`.
    pub(crate) fn all(count: usize) -> Chosen {
        Chosen {
            stamps: vec![1; count],
            now: 1,
        }
    }

    /// Makes room for one number more.
    pub(crate) fn grow(&mut self) {
        self.stamps.push(0);
    }

    pub(crate) fn has(&self, number: u32) -> bool {
        self.stamps[number as usize] == self.now
    }

    /// Applies an operand, which may name a number more than once.
    pub(crate) fn apply(&mut self, operator: Operator, mut operand: Vec<u32>) {
        match operator {
            Operator::Join => operand
                .iter()
                .for_each(|n| self.stamps[*n as usize] = self.now),
            Operator::Drop => operand.iter().for_each(|n| self.stamps[*n as usize] = 0),
            Operator::Keep => {
                for number in operand {
                    let stamp = &mut self.stamps[number as usize];
                    if *stamp == self.now {
                        *stamp = self.now + 1;
                    }
                }
                self.now += 1;
            }
            Operator::Either => {
                operand.sort_unstable();
                operand.dedup();
                for number in operand {
                    let stamp = &mut self.stamps[number as usize];
                    *stamp = if *stamp == self.now { 0 } else { self.now };
                }
            }
        }
    }
}
