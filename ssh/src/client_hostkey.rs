//! The host key of one connection: which to ask for, and whether the one that came is the right one.
//!
//! The verdict is that of [`known_hosts`](crate::known_hosts), before anything of ours goes to the server.

use std::net::IpAddr;
use std::sync::Arc;

use russh::keys::PublicKeyOrCertificate;
use ssh_key::{Algorithm, Certificate, PublicKey};

use crate::client_algorithms::host_key;
use crate::config::Resolved;
use crate::error::Error;
use crate::known_hosts::{HostKey, KnownHosts};

/// What is known of a server before it is met.
pub(crate) struct HostKeys {
    pub(crate) to: Arc<Resolved>,
    /// Its address, when it was dialled straight.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) known: KnownHosts,
}

/// What a server offered, on its way to where files may be waited for.
enum Offered {
    Key(Box<PublicKey>),
    Certificate(Box<Certificate>),
}

impl HostKeys {
    /// The types of keys, and of keys with certificates, to ask for. russh asks for certificates first: those that come
    /// after a key in the order are left out.
    pub(crate) async fn preferred(&self) -> Result<(Vec<Algorithm>, Vec<Algorithm>), Error> {
        let (known, to) = (self.known.clone(), self.to.clone());
        let names = waiting(&self.to, move || known.algorithms(&to)).await?;
        let is_certificate = |name: &str| name.contains("-cert-v");
        let certificates = names.iter().take_while(|name| is_certificate(name));
        let keys = names.iter().filter(|name| !is_certificate(name));
        let types = |name: &String| host_key(name);
        Ok((
            keys.filter_map(types).collect(),
            certificates.filter_map(types).collect(),
        ))
    }

    /// Whether the server is the one that it should be.
    pub(crate) async fn check(&self, offered: &PublicKeyOrCertificate) -> Result<(), Error> {
        let offered = match offered {
            PublicKeyOrCertificate::PublicKey { key, .. } => Offered::Key(Box::new(key.clone())),
            PublicKeyOrCertificate::Certificate(certificate) => {
                Offered::Certificate(Box::new(certificate.clone()))
            }
        };
        let (known, to, peer) = (self.known.clone(), self.to.clone(), self.peer);
        waiting(&self.to, move || {
            let key = match &offered {
                Offered::Key(key) => HostKey::Key(key),
                Offered::Certificate(certificate) => HostKey::Certificate(certificate),
            };
            known.verify(&to, peer, key).map(drop)
        })
        .await
    }
}

/// Does what reads files.
async fn waiting<T: Send + 'static>(
    to: &Resolved,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(Error::Lost {
            host: to.alias.clone(),
            why: error.to_string(),
        })
    })
}
