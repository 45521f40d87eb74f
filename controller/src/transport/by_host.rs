//! The transport of a fleet: each node is reached as its host in the inventory says, by TLS over TCP or inside SSH.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};

use crate::error::Error;
use crate::transport::grpc::Grpc;
use crate::transport::ssh::Ssh;
use crate::transport::{Agent, CallError, Credentials, Target, Transport};

/// Both ways.
pub struct ByHost {
    grpc: Option<Grpc>,
    ssh: Ssh,
}

impl ByHost {
    /// Reads the credentials. A fleet that is reached over SSH alone needs none.
    ///
    /// # Errors
    /// [`Error::Credentials`].
    pub fn new(credentials: Option<&Credentials>) -> Result<Self, Error> {
        let grpc = credentials.map(Grpc::new).transpose()?;
        let ssh = Ssh::new(grpc.as_ref().map(Grpc::tls));
        Ok(Self { grpc, ssh })
    }
}

impl Transport for ByHost {
    fn check(&self, target: &Target) -> Result<(), Error> {
        match (&target.ssh, &self.grpc) {
            (None, None) => Err(Error::NoCredentials),
            _ => Ok(()),
        }
    }

    fn connect<'a>(
        &'a self,
        target: &'a Target,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Arc<dyn Agent>, CallError>> {
        match (&target.ssh, &self.grpc) {
            (Some(_), _) => self.ssh.connect(target, timeout),
            (None, Some(grpc)) => grpc.connect(target, timeout),
            (None, None) => async {
                Err(CallError::Unreachable {
                    address: target.address.clone(),
                    source: Box::new(Error::NoCredentials),
                })
            }
            .boxed(),
        }
    }
}
