//! The ssh-agent (draft-ietf-sshm-ssh-agent): which keys and certificates it holds, and signatures by them.
//!
//! One connection for all dials, one question at a time: an agent answers no faster when it is asked twice at once. A
//! question that is given up takes the connection with it, so that no answer is taken for another's. Whatever key the
//! agent holds may sign, keys on FIDO tokens among them. Keys that are constrained to destinations are not used.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use ssh_key::HashAlg;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// For so long the agent's list is taken to be the same: a wave of dials asks once.
const FRESH: Duration = Duration::from_secs(1);

/// What an agent holds.
pub(crate) type Identities = Arc<Vec<AgentIdentity>>;

/// The agent behind one socket.
pub(crate) struct Agent {
    socket: PathBuf,
    turn: Mutex<Turn>,
}

#[derive(Default)]
struct Turn {
    connection: Option<AgentClient<UnixStream>>,
    known: Option<(Instant, Identities)>,
}

impl Agent {
    pub(crate) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            turn: Mutex::default(),
        }
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> String {
        format!("the ssh-agent at {}: {error}", self.socket.display())
    }

    /// The connection, a new one where there is none; its caller puts it back after an answer.
    async fn connection(&self, turn: &mut Turn) -> Result<AgentClient<UnixStream>, String> {
        match turn.connection.take() {
            Some(connection) => Ok(connection),
            None => AgentClient::connect_uds(&self.socket)
                .await
                .map_err(|error| self.failed(&error)),
        }
    }

    /// What it holds, in its order.
    pub(crate) async fn identities(&self) -> Result<Identities, String> {
        let mut turn = self.turn.lock().await;
        if let Some((then, known)) = &turn.known
            && then.elapsed() < FRESH
        {
            return Ok(known.clone());
        }
        // The agent may have been started anew since: then the old connection fails, and a second one is made.
        for last in [false, true] {
            let mut connection = self.connection(&mut turn).await?;
            match connection.request_identities().await {
                Ok(identities) => {
                    let identities = Arc::new(identities);
                    turn.connection = Some(connection);
                    turn.known = Some((Instant::now(), identities.clone()));
                    return Ok(identities);
                }
                Err(error) if last => return Err(self.failed(&error)),
                Err(_) => {}
            }
        }
        Err(self.failed(&"no answer"))
    }

    /// `data` with the signature behind it, as an authentication request carries it.
    pub(crate) async fn sign(
        &self,
        identity: &AgentIdentity,
        hash: Option<HashAlg>,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, String> {
        let mut turn = self.turn.lock().await;
        let mut connection = self.connection(&mut turn).await?;
        match connection.sign_request(identity, hash, data).await {
            Ok(signed) => {
                turn.connection = Some(connection);
                Ok(signed)
            }
            Err(error) => Err(self.failed(&format_args!(
                "{error}; is it locked, or was the use of the key not confirmed?"
            ))),
        }
    }
}
