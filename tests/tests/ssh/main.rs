//! The command line over real SSH servers: commands on many hosts, agents for hosts that have none, and a key that may dial an
//! agent and nothing else.
#![allow(clippy::unwrap_used)]

mod bootstrap;
mod dial;
mod exec;
mod kit;
mod machines;
