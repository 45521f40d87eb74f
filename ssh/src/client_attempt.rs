//! One attempt at one connection: the wire, the key exchange, the host key, authentication.
//!
//! It tells a server that dropped the connection before a key exchange, which may take the next one, from everything
//! that will fail again.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use russh::AlgorithmKind;
use russh::client::Handle;

use crate::agent::Agent;
use crate::auth::{Means, authenticate};
use crate::client_algorithms::config;
use crate::client_handler::{Broken, Ending, Handler, Seen};
use crate::client_hostkey::HostKeys;
use crate::client_wire::{Cut, LastWords, Listening, Wire, command, tcp};
use crate::config::{Proxy, Resolved};
use crate::dial::Patience;
use crate::error::Error;
use crate::keys::{AskPassphrase, KeyFiles};
use crate::known_hosts::KnownHosts;
use crate::session::Link;
use crate::stream_inbox::Allowance;

/// What a connection goes through.
pub(crate) enum Under {
    /// A wire of its own.
    Nothing,
    /// A connection to a bastion.
    Link(Arc<Link>),
}

/// Why an attempt failed.
pub(crate) enum Failed {
    /// The server dropped it; what it said, if anything.
    Dropped(String),
    /// It will fail again.
    For(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::For(error)
    }
}

/// Everything that an attempt needs.
pub(crate) struct Attempt<'a> {
    pub(crate) to: Arc<Resolved>,
    pub(crate) under: &'a Under,
    pub(crate) known_hosts: &'a KnownHosts,
    pub(crate) keys: &'a KeyFiles,
    pub(crate) agent: Option<Arc<Agent>>,
    pub(crate) ask: Option<&'a AskPassphrase>,
    pub(crate) patience: &'a Patience,
    /// What is being waited for.
    pub(crate) phase: Mutex<&'static str>,
}

impl Attempt<'_> {
    fn enter(&self, phase: &'static str) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// What was being waited for last.
    pub(crate) fn phase(&self) -> &'static str {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self) -> String {
        match self.to.hostname.contains(':') {
            true => format!("[{}]:{}", self.to.hostname, self.to.port),
            false => format!("{}:{}", self.to.hostname, self.to.port),
        }
    }

    fn unreachable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Unreachable {
            host: self.to.alias.clone(),
            address: self.address(),
            source: source.into(),
        }
    }

    pub(crate) async fn run(&self) -> Result<Link, Failed> {
        self.enter("it did not accept the connection");
        let allowance = Allowance::default();
        let (wire, peer, words) = self.wire(&allowance).await?;
        let seen = Seen::default();
        let (mut handle, cut) = self.exchange_keys(wire, peer, words, &seen).await?;
        self.enter("it accepted the connection, exchanged keys, and did not finish authentication");
        let means = Means {
            files: self.keys,
            agent: self.agent.clone(),
            ask: self.ask,
            patience: self.patience,
        };
        authenticate(&mut handle, &self.to, &means, &seen).await?;
        Ok(Link {
            handle,
            resolved: self.to.clone(),
            seen,
            allowance,
            _cut: cut,
        })
    }

    async fn wire(
        &self,
        above: &Allowance,
    ) -> Result<(Box<dyn Wire>, Option<SocketAddr>, Option<LastWords>), Error> {
        if let Under::Link(link) = self.under {
            let hop = link
                .hop(&self.to.hostname, self.to.port, above.clone())
                .await;
            let stream = hop.map_err(|error| self.unreachable(error))?;
            return Ok((Box::new(stream), None, None));
        }
        if let Proxy::Command(line) = &self.to.proxy {
            let started = command(line).map_err(|error| Error::ProxyCommand {
                host: self.to.alias.clone(),
                command: line.clone(),
                why: error.to_string(),
            })?;
            return Ok((Box::new(started.0), None, Some(started.1)));
        }
        let (stream, peer) = tcp(&self.to)
            .await
            .map_err(|error| self.unreachable(error))?;
        Ok((Box::new(stream), Some(peer), None))
    }

    async fn exchange_keys(
        &self,
        wire: Box<dyn Wire>,
        peer: Option<SocketAddr>,
        words: Option<LastWords>,
        seen: &Seen,
    ) -> Result<(Handle<Handler>, Cut), Failed> {
        let host_keys = HostKeys {
            to: self.to.clone(),
            peer: peer.map(|peer| peer.ip()),
            known: self.known_hosts.clone(),
        };
        let (keys, certificates) = host_keys.preferred().await?;
        let config = Arc::new(config(&self.to, keys, certificates)?);
        let handler = Handler {
            seen: seen.clone(),
            host_keys,
        };
        let (wire, greeting, cut) = Listening::new(wire);
        self.enter("it accepted the connection and did not exchange keys");
        let error = match russh::client::connect_stream(config, wire, handler).await {
            Ok(handle) => return Ok((handle, cut)),
            Err(Broken::Ours(error)) => return Err(error.into()),
            Err(Broken::Ssh(error)) => error,
        };
        let host = self.to.alias.clone();
        if let Some(Ending::Disconnected(said)) = seen.ending() {
            return Err(Error::KeyExchange {
                host,
                why: format!("the server says: {said}"),
            }
            .into());
        }
        let failed = |why: String| {
            Failed::For(Error::KeyExchange {
                host: host.clone(),
                why,
            })
        };
        Err(match error {
            russh::Error::NoCommonAlgo { kind, ours, theirs } => Error::NoAlgorithm {
                host,
                what: kind_name(kind),
                ours: format!("here {}; there {}", ours.join(", "), theirs.join(", ")),
            }
            .into(),
            ref gone if is_gone(gone) => {
                if let (Some(words), Proxy::Command(line)) = (words, &self.to.proxy) {
                    let why = words.text();
                    if !why.is_empty() {
                        let command = line.clone();
                        return Err(Error::ProxyCommand { host, command, why }.into());
                    }
                }
                Failed::Dropped(greeting.words())
            }
            russh::Error::Version => failed(match greeting.words() {
                said if said.is_empty() => "its version is not one of SSH 2".to_owned(),
                said => format!("instead of a version it says {said:?}"),
            }),
            russh::Error::WrongServerSig => {
                failed("the server's signature is not by its host key".to_owned())
            }
            other => failed(other.to_string()),
        })
    }
}

fn kind_name(kind: AlgorithmKind) -> &'static str {
    match kind {
        AlgorithmKind::Kex => "key exchange (KexAlgorithms)",
        AlgorithmKind::Key => "host key algorithm (HostKeyAlgorithms)",
        AlgorithmKind::Cipher => "cipher (Ciphers)",
        AlgorithmKind::Compression => "compression",
        AlgorithmKind::Mac => "MAC (MACs)",
    }
}

/// Whether the other side closed the connection.
fn is_gone(error: &russh::Error) -> bool {
    match error {
        russh::Error::Disconnect | russh::Error::HUP | russh::Error::SendError => true,
        russh::Error::IO(error) => matches!(
            error.kind(),
            ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
        ),
        _ => false,
    }
}
