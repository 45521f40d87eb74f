//! SSH connections as `ssh` would make them, without a terminal and without a process for each.
//!
//! It promises that what `ssh_config` and `known_hosts` say is followed as OpenSSH follows it, or refused by name; that
//! a host key which is not the one on record never goes unnoticed; and that no file, however hostile, costs more than
//! [`limits`] allow. It asks nobody anything but the passphrase of a key, and that only by way of its caller: another
//! question that `ssh` would put on a terminal is an error here. It knows nothing of inventories, gRPC or rollouts.
//!
//! Read in this order: [`Destination`] (what a caller asks for), [`config`] (what `ssh_config` makes of it, a
//! [`Resolved`]), [`known_hosts`] (whether the server is the one that it should be), [`Client`] (how a connection is
//! made), [`Session`] (what runs over it).
#![forbid(unsafe_code)]

mod account;
mod agent;
mod auth;
mod client;
mod client_algorithms;
mod client_attempt;
mod client_bastion;
mod client_handler;
mod client_hostkey;
mod client_wire;
pub mod config;
mod destination;
mod dial;
mod error;
mod exec;
mod keys;
mod keys_rsa;
pub mod known_hosts;
pub mod limits;
mod pattern;
mod session;
mod short;
mod stream;
mod stream_inbox;

pub use account::Account;
pub use client::{Client, Options};
pub use config::{Config, Resolved};
pub use destination::Destination;
pub use error::{Error, Place};
pub use exec::{Event, Exec, Exit, Stdin};
pub use keys::AskPassphrase;
pub use known_hosts::{HostKey, KnownHosts};
pub use session::Session;
pub use stream::{LastWords, Stream};
