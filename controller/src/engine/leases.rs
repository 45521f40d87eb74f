//! When the lease of which node is renewed: each node once in a third of the lease, in turns of a wheel, so that the renewals
//! of ten thousand nodes are spread over time and a turn costs no more than the nodes that are due. It renews nothing itself.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Turns in a third of a lease.
const TURNS: usize = 32;

/// The wheel.
pub(super) struct Leases {
    slots: Vec<Vec<usize>>,
    /// The slot whose turn is next, and when.
    next: usize,
    due: Instant,
    turn: Duration,
    nodes: usize,
}

impl Leases {
    pub(super) fn new(lease: Duration) -> Self {
        // `TURNS` is small.
        let turn = lease / 3 / TURNS as u32;
        Self {
            slots: vec![Vec::new(); TURNS],
            next: 0,
            due: Instant::now(),
            turn: turn.max(Duration::from_millis(1)),
            nodes: 0,
        }
    }

    /// A node that has just got its lease: it is due in a third of it.
    pub(super) fn add(&mut self, node: usize) {
        if self.nodes == 0 {
            self.due = Instant::now() + self.turn;
        }
        self.nodes += 1;
        let last = (self.next + TURNS - 1) % TURNS;
        self.slots[last].push(node);
    }

    /// The nodes that are due now. Without nodes it waits for ever.
    pub(super) async fn due(&mut self) -> Vec<usize> {
        loop {
            if self.nodes == 0 {
                std::future::pending::<()>().await;
            }
            sleep_until(self.due).await;
            self.due += self.turn;
            let due = std::mem::take(&mut self.slots[self.next]);
            self.next = (self.next + 1) % TURNS;
            self.nodes -= due.len();
            if !due.is_empty() {
                return due;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_node_is_due_once_in_a_third_of_the_lease() {
        let (start, mut leases) = (Instant::now(), Leases::new(Duration::from_secs(96)));
        for node in 0..100 {
            leases.add(node);
            tokio::time::advance(Duration::from_millis(300)).await;
        }
        let mut renewed = [0; 100];
        while start.elapsed() < Duration::from_secs(320) {
            for node in leases.due().await {
                renewed[node] += 1;
                leases.add(node);
            }
        }
        assert!(
            renewed.iter().all(|times| (8..=10).contains(times)),
            "{renewed:?}"
        );
    }
}
