//! Every bound that this crate puts on its input, in one place.
//!
//! They are far above any fleet that one controller drives, and low enough that a hostile file is refused within a
//! second and 100 MB. They cannot be configured: an inventory that needs more is better split in two.

/// Bytes of all inventory files of one [`load`](crate::Inventory::load) together, and of one `@file` list.
pub const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Hosts that one range expression may name.
pub const RANGE_HOSTS: u64 = 1_000_000;
/// Terms of a pattern, and items of a node set, that are written out one by one.
pub const TERMS: usize = 131_072;
/// Hosts that the terms of one pattern may look at, where a host that several of them look at counts for each. A glob or a regular
/// expression looks at all.
pub const PATTERN_HOSTS: u64 = 50_000_000;
/// Hosts that an inventory may list, where a host listed under three groups counts three times.
pub const LISTED_HOSTS: u64 = 2_000_000;
/// Characters of a host name, a group name or an address; the longest name that DNS allows.
pub const NAME_LENGTH: usize = 253;
/// Groups on the longest chain from a group without parent down to a group without children.
pub const GROUP_DEPTH: usize = 64;
/// Parent links followed while the groups of all hosts are resolved.
pub const GROUP_LINKS: usize = 1_000_000;
/// Nodes (mappings, sequences, keys and values) of the YAML documents of one file.
pub const YAML_NODES: usize = 500_000;
/// Nested mappings and sequences in a YAML file.
pub const YAML_DEPTH: usize = 32;
/// Bytes of all keys and values of one YAML file.
pub const YAML_TEXT: usize = 32 * 1024 * 1024;
/// YAML events that aliases (`*name`) may add to a file.
pub const YAML_ALIAS_EVENTS: usize = 100_000;
/// Groups of Ansible's sources.
pub const GROUPS: usize = 100_000;
/// Words of a line of INI: a host's name and its variables.
pub const LINE_WORDS: usize = 1_000;
/// `=` and `,` in an INI file, which bound its variables and the items of their values.
pub const INI_VALUES: usize = 4_000_000;
/// Folders that are looked into, for sources and for files of variables.
pub const FOLDERS: usize = 10_000;
/// Nodes of the JSON that one executable inventory prints. A program that runs here is trusted more than a file.
pub const PRINTED_NODES: usize = 8_000_000;
/// Seconds that one executable inventory may run in all.
pub const PROGRAM_SECONDS: u64 = 60;
