//! How much of a file is read before it is refused. The bounds are far above what people have, and far below what hurts.

/// Bytes of all configuration files that one file leads to, by `Include`.
pub const CONFIG_BYTES: u64 = 16 << 20;
/// Configuration files that one file leads to, by `Include`.
pub const CONFIG_FILES: usize = 1024;
/// How deep `Include` may nest, as in OpenSSH (`READCONF_MAX_DEPTH`).
pub const CONFIG_DEPTH: usize = 16;
/// Bytes of one `known_hosts` file: about half a million lines.
pub const KNOWN_HOSTS_BYTES: u64 = 64 << 20;
/// Jumps on the way to one host.
pub const JUMPS: usize = 16;
/// How long the command of one `Match exec` may run, in seconds.
pub const MATCH_EXEC_SECONDS: u64 = 10;
