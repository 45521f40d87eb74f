//! Bundles: what an engineer signs and a node runs. Read [`manifest`] first (what a bundle says), then [`bundle`] (the file),
//! [`release`] (what results on a node), [`instructions`] and [`plan`] (how it gets there), [`sshsig`] (how it is signed) and [`verify`] (whose signature counts).
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that cannot go on should end where it stands"
    )
)]

mod archive;
mod files;
mod inspect;
mod pattern;
mod script;
mod spec;
mod validity;

pub mod allowed_signers;
pub mod bundle;
pub mod canonical;
pub mod component;
pub mod digest;
pub mod error;
pub mod instructions;
pub mod key_file;
pub mod layout;
pub mod limits;
pub mod manifest;
pub mod names;
pub mod plan;
pub mod release;
pub mod sshsig;
pub mod targets;
pub mod tree;
pub mod verify;
pub mod vsn_pattern;

pub use allowed_signers::AllowedSigners;
pub use bundle::Bundle;
pub use component::{EXPORTS, IMPORTS};
pub use digest::Digest;
pub use error::{Error, TreeRule};
pub use key_file::KeyFile;
pub use manifest::{Manifest, ModuleEntry, Restart, SCHEMA, Start, Update, WORLD};
pub use names::{ModuleName, Vsn};
pub use plan::Plan;
pub use release::{Release, ReleaseModule};
pub use spec::check as check_spec;
pub use ssh_key;
pub use sshsig::{Armored, PATCH_NAMESPACE, Signer, sign};
pub use targets::ConnectTarget;
pub use tree::{Application, Child, Shutdown, Strategy, Supervisor, Worker};
pub use verify::Principal;
pub use vsn_pattern::VsnPattern;
