//! Inventories as Ansible has them: INI, YAML, what executable inventories print, and files of variables.
//!
//! Each is read with the meaning that `ansible-inventory` of ansible-core 2.14 gives it, and [`list`] writes what that
//! prints. What Ansible only warns about, and then guesses, is an error here. Vaults are not opened, and no plugin and no `ansible.cfg` is read.

pub(crate) mod address;
pub(crate) mod connection;
mod files;
pub(crate) mod groups;
pub(crate) mod ini;
pub(crate) mod list;
mod literal;
mod python;
pub(crate) mod script;
mod template;
pub(crate) mod yaml;

pub(crate) use files::vars_file;
pub(crate) use python::{float, key_text};

/// The key of the mapping that stands for an encrypted value, as Ansible writes it in JSON.
pub(crate) const VAULT: &str = "__ansible_vault";
/// The key of the mapping that stands for a text that is never a template.
pub(crate) const UNSAFE: &str = "__ansible_unsafe";
/// The first characters of a file that `ansible-vault` has encrypted.
pub(crate) const VAULT_HEADER: &str = "$ANSIBLE_VAULT";
