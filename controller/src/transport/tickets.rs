//! What lets a connection to a known node begin without certificates and signatures: the newest TLS ticket of each node,
//! used once. Bounded in number and age, in memory alone; they end with the process and with the credentials.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Most tickets, each about 2.5 KB.
const MOST: usize = 20_000;
/// A node whose certificate has run out is known for so long still.
const AGE: Duration = Duration::from_secs(3600);

/// The tickets of all nodes.
#[derive(Default)]
pub struct Tickets(Mutex<HashMap<ServerName<'static>, (Instant, Tls13ClientSessionValue)>>);

impl Tickets {
    fn lock(
        &self,
    ) -> MutexGuard<'_, HashMap<ServerName<'static>, (Instant, Tls13ClientSessionValue)>> {
        // Every step with the map leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tickets", self.lock().len())
    }
}

impl ClientSessionStore for Tickets {
    // There is one group that all agents take first.
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    // TLS 1.2 is not spoken.
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, node: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut tickets = self.lock();
        if tickets.len() >= MOST && !tickets.contains_key(&node) {
            tickets.retain(|_, (since, _)| since.elapsed() < AGE);
            // In a fleet larger than this, nodes known first are as good as others.
            if tickets.len() >= MOST {
                return;
            }
        }
        tickets.insert(node, (Instant::now(), ticket));
    }

    fn take_tls13_ticket(&self, node: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let (since, ticket) = self.lock().remove(node)?;
        (since.elapsed() < AGE).then_some(ticket)
    }
}
