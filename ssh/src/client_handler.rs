//! What a server says on its own, and what a connection learns of it: its host key, a banner, why it ended, why it refused
//! a channel. Whatever channel a server would open towards us is refused.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::client::{ChannelOpenHandle, DisconnectReason, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelId, ChannelOpenFailure};

use crate::client_hostkey::HostKeys;
use crate::error::Error;

/// Most characters kept of what a server says.
const SAID: usize = 400;
/// Refusals whose words nobody has asked for yet.
const REFUSALS: usize = 64;

/// Why a connection ended.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// The server said goodbye, with these words.
    Disconnected(String),
    /// No answer to keepalives.
    Silent,
    /// Anything else.
    Broken(String),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected(what) => write!(f, "the server ended it: {what}"),
            Self::Silent => write!(f, "the server no longer answers (ServerAliveInterval)"),
            Self::Broken(what) => f.write_str(what),
        }
    }
}

/// What was seen of a server.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Facts>>);

#[derive(Default)]
struct Facts {
    banner: Option<String>,
    ending: Option<Ending>,
    refusals: VecDeque<(u32, String)>,
}

impl Seen {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        // Every step with the facts leaves them whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the connection ended, if it did.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.facts().ending.clone()
    }

    /// What the server said before authentication.
    pub(crate) fn banner(&self) -> Option<String> {
        self.facts().banner.clone()
    }

    /// The words that came with a refusal of this reason. Where several were refused at once with different words, nobody
    /// can say whose they are: then there are none.
    pub(crate) fn refusal(&self, code: u32) -> Option<String> {
        let mut facts = self.facts();
        let at = facts
            .refusals
            .iter()
            .position(|(other, _)| *other == code)?;
        let (_, words) = facts.refusals.remove(at)?;
        if facts
            .refusals
            .iter()
            .any(|(other, others)| *other == code && *others != words)
        {
            facts.refusals.retain(|(other, _)| *other != code);
            return None;
        }
        Some(words).filter(|words| !words.is_empty())
    }
}

/// One line, no control characters, of bounded length: for a terminal.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(SAID)
        .collect()
}

/// Why there is no connection: something that russh says, or something that we do.
#[derive(Debug)]
pub(crate) enum Broken {
    Ssh(russh::Error),
    Ours(Error),
}

impl From<russh::Error> for Broken {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

/// The other end of a connection's events.
pub(crate) struct Handler {
    pub(crate) seen: Seen,
    pub(crate) host_keys: HostKeys,
}

impl russh::client::Handler for Handler {
    type Error = Broken;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Broken> {
        self.host_keys.check(key).await.map_err(Broken::Ours)?;
        Ok(true)
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), Broken> {
        self.seen.facts().banner = Some(one_line(banner)).filter(|banner| !banner.is_empty());
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        _: ChannelId,
        reason: ChannelOpenFailure,
        description: &str,
        _: &str,
        _: &mut Session,
    ) -> Result<(), Broken> {
        let mut facts = self.seen.facts();
        if facts.refusals.len() == REFUSALS {
            facts.refusals.pop_front();
        }
        facts
            .refusals
            .push_back((reason.code(), one_line(description)));
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Broken>) -> Result<(), Broken> {
        let ending = match &reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                Ending::Disconnected(one_line(&info.message))
            }
            DisconnectReason::Error(Broken::Ssh(russh::Error::KeepaliveTimeout)) => Ending::Silent,
            DisconnectReason::Error(Broken::Ssh(russh::Error::Disconnect | russh::Error::HUP)) => {
                Ending::Broken("it was closed".to_owned())
            }
            DisconnectReason::Error(Broken::Ssh(error)) => Ending::Broken(error.to_string()),
            DisconnectReason::Error(Broken::Ours(error)) => Ending::Broken(error.to_string()),
        };
        self.seen.facts().ending.get_or_insert(ending);
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }

    // A dropped handle refuses the channel.
    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        Ok(())
    }
}
