//! The lease of an upgrade in probation: from resume on, the node waits so long for a confirm or a renewal. Of a renewal and
//! the end of the lease exactly one comes first; whoever comes second is told. What the end of a lease means for the node
//! stands in `orders/contact.rs`.

use std::time::Duration;

use midflight_proto::agent::v1 as pb;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock::Clock;

/// What a node does whose controller is silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLostContact {
    /// It rolls back by itself.
    #[default]
    Rollback,
    /// It stays in probation until it is given an order.
    Hold,
}

impl OnLostContact {
    /// As it travels.
    pub fn to_pb(self) -> pb::OnLostContact {
        match self {
            Self::Rollback => pb::OnLostContact::Rollback,
            Self::Hold => pb::OnLostContact::Hold,
        }
    }
}

/// What an order says of the lease. Without a word: 60 s, then roll back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub lease_ms: u32,
    pub on_lost_contact: OnLostContact,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            lease_ms: 60_000,
            on_lost_contact: OnLostContact::Rollback,
        }
    }
}

impl Terms {
    /// How long it lasts.
    pub fn length(self) -> Duration {
        Duration::from_millis(self.lease_ms.into())
    }
}

/// How a lease stands. Times are of the agent's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// The upgrade has not resumed.
    Waiting,
    Runs {
        until: Duration,
    },
    Expired,
    /// Confirmed or rolled back.
    Over,
}

/// A lease.
pub struct Lease {
    terms: Terms,
    stand: watch::Sender<Stand>,
}

impl Lease {
    /// It does not run yet.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            stand: watch::Sender::new(Stand::Waiting),
        }
    }

    /// What was ordered.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// It runs from now on.
    pub fn start(&self, now: Duration) {
        let until = now + self.terms.length();
        self.stand.send_replace(Stand::Runs { until });
    }

    /// It ends without an effect.
    pub fn close(&self) {
        self.stand.send_replace(Stand::Over);
    }

    /// It runs from the start again. False: it had run out, and what follows from that cannot be taken back.
    pub fn renew(&self, now: Duration) -> bool {
        let until = now + self.terms.length();
        let mut renewed = true;
        self.stand.send_if_modified(|stand| {
            let again = match *stand {
                Stand::Runs { until } if now < until => true,
                Stand::Runs { .. } | Stand::Expired => {
                    self.terms.on_lost_contact == OnLostContact::Hold
                }
                // Before resume and after confirm there is nothing to renew, and nothing lost.
                Stand::Waiting | Stand::Over => return false,
            };
            if again {
                *stand = Stand::Runs { until };
            }
            renewed = again;
            again
        });
        renewed
    }

    /// Ends it if it is time. True: it has run out, now or before.
    pub fn expire(&self, now: Duration) -> bool {
        self.stand.send_if_modified(|stand| match *stand {
            Stand::Runs { until } if now >= until => {
                *stand = Stand::Expired;
                true
            }
            _ => false,
        });
        *self.stand.borrow() == Stand::Expired
    }

    /// Waits until it runs out. False: it is over.
    pub async fn ran_out(&self, clock: &dyn Clock) -> bool {
        let mut changes = self.stand.subscribe();
        loop {
            let stand = *changes.borrow_and_update();
            match stand {
                Stand::Expired => return true,
                Stand::Over => return false,
                Stand::Waiting => changed(&mut changes).await,
                Stand::Runs { until } => tokio::select! {
                    biased;
                    () = clock.until(until) => drop(self.expire(clock.now())),
                    () = changed(&mut changes) => {}
                },
            }
        }
    }

    /// Waits, after it ran out, until it was renewed or is over.
    pub async fn contact(&self) {
        let mut changes = self.stand.subscribe();
        let _ = changes.wait_for(|stand| *stand != Stand::Expired).await; // the sender lives in self
    }

    /// As it travels.
    pub fn to_pb(&self, now: Duration) -> pb::Lease {
        let stand = *self.stand.borrow();
        let left = match stand {
            Stand::Runs { until } => until.saturating_sub(now),
            _ => Duration::ZERO,
        };
        pb::Lease {
            lease_ms: self.terms.lease_ms.into(),
            left_ms: left.as_millis().try_into().unwrap_or(u64::MAX),
            on_lost_contact: self.terms.on_lost_contact.to_pb().into(),
            expired: match stand {
                Stand::Runs { until } => now >= until,
                stand => stand == Stand::Expired,
            },
        }
    }
}

async fn changed(changes: &mut watch::Receiver<Stand>) {
    let _ = changes.changed().await; // the sender lives in the lease, which whoever waits holds
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lease(on_lost_contact: OnLostContact) -> Lease {
        let lease = Lease::new(Terms {
            lease_ms: 10_000,
            on_lost_contact,
        });
        lease.start(SECOND);
        lease
    }

    #[test]
    fn a_renewal_starts_it_again_and_one_that_comes_too_late_is_told_so() {
        let lease = lease(OnLostContact::Rollback);
        assert!(lease.renew(10 * SECOND));
        assert_eq!(lease.to_pb(12 * SECOND).left_ms, 8_000);
        // The very moment at which it ends is too late, whether or not anybody has noticed.
        assert!(lease.to_pb(20 * SECOND).expired);
        assert!(!lease.renew(20 * SECOND));
        assert!(lease.expire(20 * SECOND));
        assert!(!lease.renew(19 * SECOND));
    }

    #[test]
    fn a_lease_that_holds_can_be_taken_up_again() {
        let lease = lease(OnLostContact::Hold);
        assert!(lease.expire(11 * SECOND));
        assert!(lease.renew(50 * SECOND));
        assert!(!lease.expire(59 * SECOND));
    }

    #[test]
    fn a_lease_that_is_over_does_not_run_out() {
        let lease = lease(OnLostContact::Rollback);
        lease.close();
        assert!(!lease.expire(100 * SECOND));
        assert!(lease.renew(100 * SECOND));
        assert_eq!(lease.to_pb(100 * SECOND).left_ms, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_woken_when_it_runs_out_and_not_by_the_end_that_was_renewed() {
        let clock = crate::clock::TokioClock::new(std::time::SystemTime::UNIX_EPOCH);
        let lease = lease(OnLostContact::Rollback);
        let renewing = async {
            clock.until(9 * SECOND).await;
            assert!(lease.renew(clock.now()));
        };
        let (ran_out, ()) = tokio::join!(lease.ran_out(&clock), renewing);
        assert!(ran_out);
        assert_eq!(clock.now(), 19 * SECOND);
    }
}
