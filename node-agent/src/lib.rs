//! The agent of one node. Read [`target`] first (what it drives), then `journal` and `book` (what it promises), `orders` and
//! `transaction` (what it does), `service` (how it is asked) and `server` (how it lives and ends).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[macro_use]
mod mutants;

mod agent;
mod audit;
mod book;
pub mod cli;
pub mod clock;
pub mod config;
mod data_dir;
mod dial;
pub mod embed;
mod error;
mod events;
mod journal;
mod key;
mod lease;
pub mod limits;
pub mod local;
mod openmetrics;
mod orders;
mod peers;
mod runtime_sys;
pub mod runtime_target;
mod server;
mod service;
mod sim;
mod steps;
mod store;
#[allow(missing_docs)] // fields that the protocol documents under the same names
pub mod target;
mod tls;
mod transaction;
mod trust;
mod work;

pub use agent::{VERSION, check};
pub use book::check_journal;
pub use config::Config;
pub use error::Error;
pub use key::Key;
pub use limits::Limits;
pub use server::Server;
