//! Connections to real servers: Debian's sshd on loopback addresses, ssh-agent and ssh-keygen, each as the test needs it.
#![allow(clippy::unwrap_used)]

mod channels;
mod fido;
mod fixture;
mod hosts;
mod login;
mod offers;
mod ways;
