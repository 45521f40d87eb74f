//! SSH connections as `ssh` would make them, without a terminal and without a process for each.
//!
//! It promises that what `ssh_config` and `known_hosts` say is followed as OpenSSH follows it, or refused by name; that
//! a host key which is not the one on record never goes unnoticed; and that no file, however hostile, costs more than
//! [`limits`] allow. It asks nobody anything: a question that `ssh` would put on a terminal is an error here. It knows
//! nothing of inventories, gRPC or rollouts.
//!
//! Read in this order: [`Destination`] (what a caller asks for), [`config`] (what `ssh_config` makes of it, a
//! [`Resolved`]), [`known_hosts`] (whether the server is the one that it should be).
#![forbid(unsafe_code)]

mod account;
pub mod config;
mod destination;
mod error;
pub mod known_hosts;
pub mod limits;
mod pattern;

pub use account::Account;
pub use config::{Config, Resolved};
pub use destination::Destination;
pub use error::{Error, Place};
pub use known_hosts::{HostKey, KnownHosts};
