//! How connections are made: from a name to a [`Session`].
//!
//! A [`Client`] holds what all connections share: the configuration, known hosts, keys, agents, and one connection to each
//! bastion. It promises that dials are bounded, in all and behind each bastion; that one slow or dead host holds up no
//! other; and that every dial ends within the time it is given, not counting the time in which it waits for its turn or
//! for a person.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::agent::Agent;
use crate::client_attempt::{Attempt, Failed, Under};
use crate::client_bastion::Bastion;
use crate::config::{Config, IdentityAgent, Resolved};
use crate::destination::Destination;
use crate::dial::{Lanes, Patience, backoff, spread};
use crate::error::Error;
use crate::keys::{AskPassphrase, KeyFiles};
use crate::known_hosts::KnownHosts;
use crate::limits::JUMPS;
use crate::session::{Link, Session};

/// What a client is made with.
pub struct Options {
    /// The files that were read.
    pub config: Config,
    /// Who is asked for the passphrase of a key; without one, such a key is used through the agent alone.
    pub ask_passphrase: Option<AskPassphrase>,
    /// Most dials at a time that go straight to their hosts, or by a `ProxyCommand`.
    pub dials: usize,
    /// Most dials at a time behind one bastion.
    pub dials_per_bastion: usize,
}

impl Options {
    /// 64 dials at a time, 32 behind one bastion, and nobody to ask.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            ask_passphrase: None,
            dials: 64,
            dials_per_bastion: 32,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Options({}, {})", self.dials, self.dials_per_bastion)
    }
}

/// Makes connections. Cheap to clone; all clones share everything.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    config: Arc<Config>,
    known_hosts: KnownHosts,
    keys: KeyFiles,
    ask: Option<AskPassphrase>,
    lanes: Lanes,
    dials_per_bastion: usize,
    agents: Mutex<HashMap<PathBuf, Arc<Agent>>>,
    bastions: Mutex<HashMap<Destination, Arc<Bastion>>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// A client; nothing is dialled yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Shared {
            config: Arc::new(options.config),
            known_hosts: KnownHosts::default(),
            keys: KeyFiles::default(),
            ask: options.ask_passphrase,
            lanes: Lanes::new(options.dials),
            dials_per_bastion: options.dials_per_bastion,
            agents: Mutex::default(),
            bastions: Mutex::default(),
        }))
    }

    /// Connects and authenticates. A server that drops the connection because it has too many is asked again within
    /// `timeout`, or within `ConnectTimeout` where that is shorter. To be called within a tokio runtime.
    ///
    /// # Errors
    /// Any [`Error`] of the configuration, of host keys and of connecting.
    pub async fn connect(&self, to: &Destination, timeout: Duration) -> Result<Session, Error> {
        let resolved = self.resolve(to.clone()).await?;
        let link = self.link(resolved, timeout).await?;
        Ok(Session { link })
    }

    /// The settings for a destination, as `ssh -G` prints them.
    ///
    /// # Errors
    /// Any [`Error`] of the configuration.
    pub async fn resolve(&self, to: Destination) -> Result<Resolved, Error> {
        let config = self.0.config.clone();
        let host = to.host.clone();
        // A `Match exec` runs a program.
        let resolving = tokio::task::spawn_blocking(move || config.resolve(&to));
        match resolving.await {
            Ok(resolved) => resolved,
            Err(error) => Err(Error::Lost {
                host,
                why: error.to_string(),
            }),
        }
    }

    /// A connection to a host, and on the way there to those that lead to it.
    async fn link(&self, to: Resolved, timeout: Duration) -> Result<Arc<Link>, Error> {
        let mut under: Option<(Arc<Link>, Lanes)> = None;
        for (jump, resolved) in self.way(&to).await? {
            let via = jump.host.clone();
            let bastion = self.bastion(&jump);
            let dial = self.in_turn(resolved, under.take(), timeout);
            let made = bastion.link(dial).await.map_err(|source| Error::Jump {
                host: to.alias.clone(),
                via,
                source,
            });
            under = Some((made?, bastion.lanes.clone()));
        }
        self.in_turn(to, under, timeout).await
    }

    /// The hosts on the way, the first to dial first.
    async fn way(&self, to: &Resolved) -> Result<Vec<(Destination, Resolved)>, Error> {
        let mut way: Vec<(Destination, Resolved)> = Vec::new();
        while let Some(jump) = way.last().map_or(to, |(_, resolved)| resolved).jump() {
            if way.len() == JUMPS {
                return Err(Error::JumpTooLong {
                    host: to.alias.clone(),
                });
            }
            let resolved = self.resolve(jump.clone()).await?;
            way.push((jump, resolved));
        }
        way.reverse();
        Ok(way)
    }

    /// Dials when there is a place, `under` a connection that leads there or straight.
    async fn in_turn(
        &self,
        to: Resolved,
        under: Option<(Arc<Link>, Lanes)>,
        timeout: Duration,
    ) -> Result<Arc<Link>, Error> {
        let time = to.connect_timeout.map_or(timeout, |own| own.min(timeout));
        let (under, place) = match under {
            Some((link, lanes)) => {
                let place = lanes.place().await;
                spread().await;
                (Under::Link(link), place)
            }
            None => (Under::Nothing, self.0.lanes.place().await),
        };
        let dial = self.dial(to, under, time);
        Lanes::run(place, dial).await.map(Arc::new)
    }

    async fn dial(&self, to: Resolved, under: Under, time: Duration) -> Result<Link, Error> {
        let host = to.alias.clone();
        let (agent, attempts) = (self.agent(&to.identity_agent), to.connection_attempts);
        let patience = Patience::default();
        let attempt = Attempt {
            to: Arc::new(to),
            under: &under,
            known_hosts: &self.0.known_hosts,
            keys: &self.0.keys,
            agent,
            ask: self.0.ask.as_ref(),
            patience: &patience,
            phase: Mutex::new("it did not accept the connection"),
        };
        let drops = Mutex::new((0, String::new()));
        let dialled = patience.limit(time, async {
            let mut tries = 1;
            loop {
                match attempt.run().await {
                    Ok(link) => return Ok(link),
                    // `ConnectionAttempts`, a second apart as for `ssh`.
                    Err(Failed::For(Error::Unreachable { .. })) if tries < attempts => {
                        tries += 1;
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    Err(Failed::For(error)) => return Err(error),
                    Err(Failed::Dropped(said)) => {
                        let so_far = {
                            let mut drops = drops.lock().unwrap_or_else(PoisonError::into_inner);
                            drops.0 += 1;
                            drops.1 = said;
                            drops.0
                        };
                        tokio::time::sleep(backoff(so_far)).await;
                    }
                }
            }
        });
        if let Some(dialled) = dialled.await {
            return dialled;
        }
        let (drops, said) = drops.into_inner().unwrap_or_else(PoisonError::into_inner);
        Err(match drops {
            0 => Error::Timeout {
                host,
                after: time,
                phase: attempt.phase(),
            },
            drops => Error::Dropped {
                host,
                drops,
                said: match said.is_empty() {
                    true => said,
                    false => format!(", saying {said:?}"),
                },
            },
        })
    }

    fn bastion(&self, way: &Destination) -> Arc<Bastion> {
        // Every step with the map leaves it whole.
        let mut bastions = self
            .0
            .bastions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = bastions.get(way) {
            return known.clone();
        }
        let new = Arc::new(Bastion::new(self.0.dials_per_bastion));
        bastions.insert(way.clone(), new.clone());
        new
    }

    fn agent(&self, which: &IdentityAgent) -> Option<Arc<Agent>> {
        let IdentityAgent::Socket(socket) = which else {
            return None;
        };
        // Every step with the map leaves it whole.
        let mut agents = self.0.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = agents.get(socket) {
            return Some(known.clone());
        }
        let agent = Arc::new(Agent::new(socket));
        agents.insert(socket.clone(), agent.clone());
        Some(agent)
    }
}
