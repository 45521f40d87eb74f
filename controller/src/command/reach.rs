//! Who is asked: a server that is named, or the journal of this machine with the process that runs a rollout of it.

use std::path::PathBuf;

use clap::Args;

use crate::client::Client;
use crate::command::fleet::PkiArgs;
use crate::engine::control::{Answer, Verb};
use crate::engine::id::RolloutId;
use crate::error::Error;
use crate::journal::{Head, Journal as _, Lock, Sqlite};

/// A controller that serves.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// Ask this controller, `midflight serve`, instead of doing it here. Its certificate must carry HOST.
    #[arg(long, value_name = "HOST:PORT", env = "MIDFLIGHT_SERVER")]
    pub server: Option<String>,
}

/// Where rollouts are.
#[derive(Clone, Debug, Args)]
pub struct ReachArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    journal: JournalArgs,
}

/// Where rollouts are remembered.
#[derive(Clone, Debug, Args)]
pub struct JournalArgs {
    /// The journal; default $XDG_STATE_HOME/midflight/journal.db, or ~/.local/state/midflight/journal.db.
    #[arg(long, value_name = "PATH", env = "MIDFLIGHT_JOURNAL")]
    pub journal: Option<PathBuf>,
}

impl JournalArgs {
    /// The file.
    ///
    /// # Errors
    /// [`Error::Usage`] when neither the option nor the environment names a place.
    pub fn path(&self) -> Result<PathBuf, Error> {
        let state = || {
            let set = |name: &str| {
                std::env::var_os(name)
                    .filter(|value| !value.is_empty())
                    .map(PathBuf::from)
            };
            let folder =
                set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
            Some(folder.join("midflight/journal.db"))
        };
        self.journal
            .clone()
            .or_else(state)
            .ok_or_else(|| Error::Usage {
                problem: "there is no place for the journal".to_owned(),
                hint: "name one with --journal PATH, or set HOME",
            })
    }
}

/// Where a rollout is.
pub enum Place {
    /// With a process that answers: a server, or the one that runs it.
    There(Client),
    /// In the journal; no process runs it.
    Here(Sqlite, Box<Head>),
}

impl ServerArgs {
    /// The server, when one is named.
    ///
    /// # Errors
    /// What connecting gives.
    pub async fn client(&self, pki: &PkiArgs) -> Result<Option<Client>, Error> {
        match &self.server {
            Some(address) => Ok(Some(Client::tls(address, &pki.credentials()?).await?)),
            None => Ok(None),
        }
    }
}

impl ReachArgs {
    /// The server, when one is named.
    ///
    /// # Errors
    /// What connecting gives.
    pub async fn server(&self, pki: &PkiArgs) -> Result<Option<Client>, Error> {
        self.server.client(pki).await
    }

    /// The journal of this machine.
    ///
    /// # Errors
    /// What opening it gives.
    pub fn journal(&self) -> Result<Sqlite, Error> {
        Sqlite::open(&self.journal.path()?)
    }

    /// Where a rollout is.
    ///
    /// # Errors
    /// [`Error::NoSuchRollout`], and what connecting or reading gives.
    pub async fn place(&self, pki: &PkiArgs, rollout: &RolloutId) -> Result<Place, Error> {
        if let Some(server) = self.server(pki).await? {
            return Ok(Place::There(server));
        }
        let journal = self.journal()?;
        let head = journal.head(rollout).await?;
        let head = head.ok_or_else(|| Error::NoSuchRollout {
            rollout: rollout.to_string(),
        })?;
        if Lock::is_held(journal.path(), rollout)? {
            let owner = Client::owner(journal.path(), rollout).await;
            // It may have ended in this moment.
            if owner.is_ok() || Lock::is_held(journal.path(), rollout)? {
                return owner.map(Place::There);
            }
        }
        Ok(Place::Here(journal, Box::new(head)))
    }
}

/// Asks something of a rollout that lives; refused, it is an error.
///
/// # Errors
/// [`Error::Refused`], and what connecting gives.
pub async fn ask(
    client: &Client,
    rollout: &RolloutId,
    verb: &Verb,
    reason: &str,
) -> Result<(), Error> {
    match client.control(rollout, verb, reason).await? {
        Answer::Done => Ok(()),
        Answer::Refused(why) => Err(refused(rollout, verb, why)),
    }
}

/// The error of a request that was refused.
pub fn refused(rollout: &RolloutId, verb: &Verb, why: String) -> Error {
    Error::Refused {
        rollout: rollout.to_string(),
        verb: verb.as_str(),
        why,
    }
}
