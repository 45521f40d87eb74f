//! gRPC inside SSH: one connection a node, and in it the first of three ways that leads to the agent: its Unix socket,
//! forwarded; its TCP port, forwarded, with mutual TLS inside; `midflight-agent dial-stdio`, which serves under a forced
//! command too. Which it was is remembered for the node and tried first the next time.
//!
//! Who the node is, its SSH host key says; over a forwarded port its certificate says it again. What the controller may do
//! there follows from the user it logs in as, or on the port from its certificate.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use midflight_ssh::{Client, Config, Destination, LastWords, Options, Session};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use crate::error::Error;
use crate::signing::ask_passphrase;
use crate::transport::grpc::{BoxError, meet};
use crate::transport::{Agent, CallError, Credentials, Target, Transport};

/// Where an agent's socket is unless its configuration says otherwise (docs/agent.md).
const SOCKET: &str = "/run/midflight/agent.sock";
/// What is run on the node where nothing may be forwarded.
const COMMAND: &str = "midflight-agent dial-stdio";

/// A way from the SSH server to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The agent's Unix socket.
    Socket,
    /// The agent's TCP port on 127.0.0.1.
    Port,
    /// The standard input and output of a program.
    Stdio,
}

impl Way {
    const ALL: [Self; 3] = [Self::Socket, Self::Port, Self::Stdio];

    fn name(self) -> &'static str {
        match self {
            Self::Socket => "by the socket",
            Self::Port => "by the port",
            Self::Stdio => "by dial-stdio",
        }
    }
}

/// The transport.
pub struct Ssh {
    /// Made for the first node, so that who has none reads no configuration.
    client: OnceCell<Client>,
    tls: Option<Arc<ClientConfig>>,
    chosen: Mutex<HashMap<String, Way>>,
}

/// Why a way does not lead there.
enum Not {
    /// Another may.
    ThisWay(String),
    /// It leads to another node's agent.
    ThisNode(String),
    /// The connection is gone.
    AtAll(midflight_ssh::Error),
}

impl From<midflight_ssh::Error> for Not {
    fn from(error: midflight_ssh::Error) -> Self {
        match error {
            midflight_ssh::Error::RefusedByServer { what, why, .. } => {
                Self::ThisWay(format!("{what}: {why}"))
            }
            other => Self::AtAll(other),
        }
    }
}

impl Ssh {
    /// A transport that dials with the user's own configuration of SSH. Without `tls` no forwarded port is used.
    #[must_use]
    pub fn new(tls: Option<Arc<ClientConfig>>) -> Self {
        Self {
            client: OnceCell::new(),
            tls,
            chosen: Mutex::default(),
        }
    }

    /// The same with credentials for forwarded ports.
    ///
    /// # Errors
    /// [`Error::Credentials`].
    pub fn with_credentials(credentials: &Credentials) -> Result<Self, Error> {
        Ok(Self::new(Some(credentials.client_config()?)))
    }

    /// The way that led to the agent of a node last.
    #[must_use]
    pub fn chosen(&self, node: &str) -> Option<Way> {
        self.ways().get(node).copied()
    }

    fn ways(&self) -> MutexGuard<'_, HashMap<String, Way>> {
        // Every step with the map leaves it whole.
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn client(&self) -> Result<&Client, midflight_ssh::Error> {
        self.client.get_or_try_init(|| async { client() }).await
    }

    async fn dial(&self, target: &Target, timeout: Duration) -> Result<Arc<dyn Agent>, CallError> {
        let failed = |source| CallError::Ssh {
            address: target.address.clone(),
            source: Box::new(source),
        };
        let client = self.client().await.map_err(failed)?;
        let session = client
            .connect(&destination(target), timeout)
            .await
            .map_err(failed)?;
        let late = || CallError::Unreachable {
            address: target.address.clone(),
            source: format!(
                "there is an SSH connection, and the agent did not answer over it within {} ms",
                timeout.as_millis()
            )
            .into(),
        };
        match tokio::time::timeout(timeout, self.agent(&session, target)).await {
            Ok(Ok(agent)) => Ok(agent),
            Ok(Err(Not::AtAll(error))) => Err(failed(error)),
            Ok(Err(Not::ThisWay(reasons) | Not::ThisNode(reasons))) => {
                Err(CallError::Unreachable {
                    address: target.address.clone(),
                    source: format!(
                        "there is an SSH connection, and no agent behind it: {reasons}"
                    )
                    .into(),
                })
            }
            Err(_) => Err(late()),
        }
    }

    /// The agent by the way that led there last, or by the first that does.
    async fn agent(&self, session: &Session, target: &Target) -> Result<Arc<dyn Agent>, Not> {
        let known = self.chosen(&target.name);
        let others = Way::ALL.into_iter().filter(|way| Some(*way) != known);
        let mut reasons = Vec::new();
        for way in known.into_iter().chain(others) {
            match self.by(way, session, target).await {
                Ok(agent) => {
                    self.ways().insert(target.name.clone(), way);
                    return Ok(agent);
                }
                Err(Not::ThisWay(reason)) => reasons.push(format!("{}: {reason}", way.name())),
                Err(other) => return Err(other),
            }
        }
        self.ways().remove(&target.name);
        Err(Not::ThisWay(reasons.join("; ")))
    }

    async fn by(
        &self,
        way: Way,
        session: &Session,
        target: &Target,
    ) -> Result<Arc<dyn Agent>, Not> {
        let socket = target.ssh.as_ref().and_then(|ssh| ssh.socket.as_deref());
        match way {
            Way::Socket => {
                let stream = session.unix(socket.unwrap_or(SOCKET)).await?;
                let words = stream.last_words();
                met(stream, &target.name, |_| not_let_in(&words)).await
            }
            Way::Port => {
                let Some(tls) = &self.tls else {
                    return Err(Not::ThisWay("no certificates are named".to_owned()));
                };
                let name = ServerName::try_from(target.name.clone())
                    .map_err(|error| Not::ThisWay(error.to_string()))?;
                let stream = session.tcp("127.0.0.1", target.port).await?;
                let tls = TlsConnector::from(tls.clone()).connect(name, stream).await;
                let tls = tls.map_err(|error| Not::ThisWay(error.to_string()))?;
                met(tls, &target.name, |error| crate::error::chain(&*error)).await
            }
            Way::Stdio => {
                let command = match socket {
                    Some(path) => format!("{COMMAND} --socket {}", quoted(path)),
                    None => COMMAND.to_owned(),
                };
                let stream = session.exec_stream(&command).await?;
                let words = stream.last_words();
                met(stream, &target.name, |_| not_let_in(&words)).await
            }
        }
    }
}

/// The agent at the other end of a stream, once it has said that it is the node's: the host key says no more than which machine
/// it is. `silent` says why a stream may have ended before its first byte.
async fn met(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    name: &str,
    silent: impl FnOnce(BoxError) -> String,
) -> Result<Arc<dyn Agent>, Not> {
    let heard = Arc::new(AtomicBool::new(false));
    let stream = Heard {
        stream,
        heard: heard.clone(),
    };
    match meet(stream).await {
        Ok((agent, Ok(node))) if node == name => Ok(agent),
        Ok((_, Ok(other))) => Err(Not::ThisNode(format!(
            "the agent there is that of {other:?}; correct the inventory, or `node` in the agent's configuration"
        ))),
        // Who answers no question does nothing either; why, the call that counts will say.
        Ok((agent, Err(_))) => Ok(agent),
        Err(error) if heard.load(Ordering::Relaxed) => {
            Err(Not::ThisWay(crate::error::chain(&*error)))
        }
        Err(error) => Err(Not::ThisWay(silent(error))),
    }
}

/// Whoever an agent does not let in is hung up on before its first byte; a program may have said why.
fn not_let_in(words: &LastWords) -> String {
    let silent =
        "it closed the connection; see whether listen.unix.peers of the agent lists this user";
    match words.text() {
        said if said.is_empty() => silent.to_owned(),
        said => said,
    }
}

/// A stream that knows whether anything came.
struct Heard<S> {
    stream: S,
    heard: Arc<AtomicBool>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A client with the files of this user. Passphrases of keys are asked for on the terminal.
///
/// # Errors
/// What those files say.
pub(crate) fn client() -> Result<Client, midflight_ssh::Error> {
    let mut options = Options::new(Config::load(None)?);
    options.ask_passphrase = Some(Arc::new(|key: &Path| ask_passphrase(key)));
    Ok(Client::new(options))
}

/// What is known of a node, as `ssh` would be told it. One whose agent is reached without SSH is logged in to at its address all
/// the same.
pub(crate) fn destination(target: &Target) -> Destination {
    let ssh = target.ssh.as_deref().cloned().unwrap_or_default();
    Destination {
        host: target.address.clone(),
        user: ssh.user,
        port: ssh.port,
        identity_files: ssh.identity_file.into_iter().collect(),
        options: ssh.args,
    }
}

/// For a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

impl Transport for Ssh {
    fn connect<'a>(
        &'a self,
        target: &'a Target,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Arc<dyn Agent>, CallError>> {
        self.dial(target, timeout).boxed()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Why an agent that says `first` and hangs up is none.
    async fn why_not(first: &'static [u8]) -> String {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        let agent = tokio::spawn(async move {
            theirs.write_all(first).await.unwrap();
            // Heard before it is hung up.
            theirs.shutdown().await.unwrap();
        });
        let met = met(ours, "n1", |_| "not let in".to_owned()).await;
        agent.await.unwrap();
        match met {
            Err(Not::ThisWay(why)) => why,
            _ => panic!("it was believed"),
        }
    }

    #[tokio::test]
    async fn who_is_hung_up_on_before_the_first_byte_is_not_let_in_and_later_it_is_what_broke() {
        assert_eq!(why_not(b"").await, "not let in");
        assert_ne!(why_not(b"no agent speaks so\n").await, "not let in");
    }
}
