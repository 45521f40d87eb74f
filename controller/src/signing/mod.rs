//! Where signatures over patches come from: a key file, with its passphrase from the terminal, or an ssh-agent. Either is a
//! [`midflight_patch::Signer`]; the private key of an agent is never seen.

mod agent;
mod passphrase;

pub use agent::SshAgent;
pub use passphrase::ask as ask_passphrase;
