//! The agent as its controllers meet it: a real server on a loopback port, real clients over mutual TLS, a data directory
//! that outlives restarts, and a target whose actors are plain values.
#![allow(clippy::unwrap_used)]

mod access;
mod claims;
mod embedded;
mod lease;
mod local;
mod releases;
mod restart;
mod rollback;
mod staging;
mod support;
mod upgrade;
