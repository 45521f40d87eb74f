//! The controller: plan, rollout engine, transports and the command line.
//!
//! A newcomer reads [`plan`] and [`policy`] (what is to happen), [`engine`] (how it happens), [`transport`] (how nodes are
//! asked), [`journal`] (what is remembered) and `command` (one file a verb). It links no runtime: what nodes do is theirs.
#![forbid(unsafe_code)]

#[macro_use]
mod mutants;

pub mod bootstrap;
pub mod client;
pub mod command;
pub mod demo;
pub mod engine;
pub mod error;
pub mod exit;
pub mod fanout;
pub mod journal;
pub mod launch;
pub mod output;
pub mod pki;
pub mod plan;
pub mod policy;
pub mod server;
pub mod signing;
pub mod transport;

pub use error::Error;
pub use exit::Exit;
