//! How hosts are reached, as groups, host entries and the top of a file say it, each setting on its own.
//!
//! The nearest place that gives a setting counts. What comes out for a host is [`Ssh`], or that it has none.

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{Ssh, Transport};

/// What one place (a group, a host entry, the top of a file) says about how hosts are reached; all of it optional.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    pub transport: Option<Transport>,
    pub user: Option<String>,
    pub port: Option<u16>,
    pub identity_file: Option<PathBuf>,
    pub args: Option<Vec<String>>,
}

impl Reach {
    /// Takes over what a nearer place sets, each setting as a whole.
    pub(crate) fn overlay(&mut self, nearer: &Reach) {
        fn over<T: Clone>(slot: &mut Option<T>, nearer: &Option<T>) {
            if nearer.is_some() {
                slot.clone_from(nearer);
            }
        }
        over(&mut self.transport, &nearer.transport);
        over(&mut self.user, &nearer.user);
        over(&mut self.port, &nearer.port);
        over(&mut self.identity_file, &nearer.identity_file);
        over(&mut self.args, &nearer.args);
    }

    /// Whether anything is said about SSH itself.
    pub(crate) fn has_ssh(&self) -> bool {
        self.user.is_some()
            || self.port.is_some()
            || self.identity_file.is_some()
            || self.args.is_some()
    }

    /// The settings of the connection, if it is one over SSH.
    pub(crate) fn ssh(&self) -> Option<Arc<Ssh>> {
        (self.transport == Some(Transport::Ssh)).then(|| {
            Arc::new(Ssh {
                user: self.user.clone(),
                port: self.port,
                identity_file: self.identity_file.clone(),
                common_args: self.args.clone().unwrap_or_default(),
            })
        })
    }
}
