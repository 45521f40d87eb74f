//! A signer behind an ssh-agent (draft-ietf-sshm-ssh-agent), reached at `SSH_AUTH_SOCK`. It picks the one key that fits, and
//! refuses to guess among several. A FIDO token behind the agent may want to be touched.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use midflight_patch::Signer;
use midflight_patch::ssh_key::public::KeyData;
use midflight_patch::ssh_key::{HashAlg, PublicKey, Signature};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::error::Error;

/// How long an agent may take; a person may have to find the token.
const PATIENCE: Duration = Duration::from_secs(120);

/// One key in an ssh-agent. To be used outside of asynchronous code.
pub struct SshAgent {
    key: PublicKey,
    agent: Mutex<(Runtime, AgentClient<UnixStream>)>,
}

impl SshAgent {
    /// Connects to the agent at `socket`, and picks the key in the file `public`, or the only one that the agent has.
    ///
    /// # Errors
    /// [`Error::SshAgent`], [`Error::Io`].
    pub fn connect(socket: &Path, public: Option<&Path>) -> Result<Self, Error> {
        let refuse = |problem: String| Error::SshAgent { problem };
        let wanted = match public {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
                let key = PublicKey::from_openssh(text.trim()).map_err(|error| {
                    refuse(format!("{} is no public key: {error}", path.display()))
                })?;
                Some(key)
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| refuse(error.to_string()))?;
        let asked = runtime.block_on(async {
            let ask = async {
                let mut agent = AgentClient::connect_uds(socket).await?;
                let identities = agent.request_identities().await?;
                Ok::<_, russh::keys::Error>((agent, identities))
            };
            tokio::time::timeout(PATIENCE, ask).await
        });
        let (agent, identities) = match asked {
            Ok(Ok(both)) => both,
            Ok(Err(error)) => return Err(refuse(format!("{}: {error}", socket.display()))),
            Err(_) => return Err(refuse(format!("{}: no answer", socket.display()))),
        };
        let mut keys: Vec<PublicKey> = identities.into_iter().map(public_key).collect();
        if let Some(wanted) = &wanted {
            keys.retain(|key| key.key_data() == wanted.key_data());
        }
        match (keys.len(), keys.pop()) {
            (1, Some(key)) => Ok(Self {
                key,
                agent: Mutex::new((runtime, agent)),
            }),
            (_, None) if wanted.is_some() => {
                Err(refuse("it does not hold the key of that file".to_owned()))
            }
            (_, None) => Err(refuse("it holds no key".to_owned())),
            (count, _) => Err(refuse(format!(
                "it holds {count} keys; name one with --pubkey FILE"
            ))),
        }
    }
}

fn public_key(identity: AgentIdentity) -> PublicKey {
    match identity {
        AgentIdentity::PublicKey { key, .. } => key,
        AgentIdentity::Certificate { certificate, .. } => {
            PublicKey::from(KeyData::from(certificate))
        }
    }
}

impl Signer for SshAgent {
    fn public_key(&self) -> &PublicKey {
        &self.key
    }

    fn sign_blob(&self, data: &[u8]) -> Result<Signature, midflight_patch::Error> {
        // A panic in between leaves a connection that fails in its own words.
        let mut guard = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        let (runtime, agent) = &mut *guard;
        let failed = |problem: String| midflight_patch::Error::Sign {
            signer: format!(
                "the ssh-agent's key {}",
                self.key.fingerprint(HashAlg::Sha256)
            ),
            problem,
        };
        let signed = runtime.block_on(async {
            tokio::time::timeout(
                PATIENCE,
                agent.sign_request_signature(&self.key, None, data),
            )
            .await
        });
        match signed {
            Ok(Ok(signature)) => Ok(signature),
            Ok(Err(error)) => Err(failed(format!(
                "the agent refused ({error}); is it locked, or was it not confirmed?"
            ))),
            Err(_) => Err(failed("no answer from the agent".to_owned())),
        }
    }
}
