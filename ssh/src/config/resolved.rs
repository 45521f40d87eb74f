//! What a connection needs to know, typed: the outcome of reading the configuration for one destination.
//!
//! Every token, `~` and variable is expanded. Names of algorithms are those of OpenSSH, in order of preference; which of
//! them this build can do is for the connection to say.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::destination::Destination;

/// The settings of one destination. Each field is named for its keyword in `ssh_config(5)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The name as given, token `%n`.
    pub alias: String,
    /// `HostName`: what is dialled.
    pub hostname: String,
    /// `User`, or the local user's name.
    pub user: String,
    /// `Port`.
    pub port: u16,
    /// `HostKeyAlias`: the name to look up in `known_hosts` instead of the host name.
    pub host_key_alias: Option<String>,
    /// `AddressFamily`.
    pub address_family: AddressFamily,
    /// `BindAddress`.
    pub bind_address: Option<String>,
    /// `ConnectTimeout`, for dialling and the key exchange of one attempt; `None`: the operating system's.
    pub connect_timeout: Option<Duration>,
    /// `ConnectionAttempts`, a second apart; at least 1.
    pub connection_attempts: u32,
    /// `TCPKeepAlive`.
    pub tcp_keep_alive: bool,
    /// `ServerAliveInterval`; `None`: no questions are asked.
    pub server_alive_interval: Option<Duration>,
    /// `ServerAliveCountMax`: after so many questions without an answer the connection is given up.
    pub server_alive_count_max: u32,
    /// `Compression`.
    pub compression: bool,
    /// `RekeyLimit`: bytes after which keys are changed; `None`: the cipher's default.
    pub rekey_bytes: Option<u64>,
    /// `RekeyLimit`: time after which keys are changed.
    pub rekey_time: Option<Duration>,
    /// `ProxyJump` or `ProxyCommand`: the way there.
    pub proxy: Proxy,
    /// `IdentityFile`, in the order to try them. Files that do not exist are still in it.
    pub identity_files: Vec<PathBuf>,
    /// Whether `identity_files` are those a user has by default, so that a missing file means nothing.
    pub identity_files_are_defaults: bool,
    /// `CertificateFile`.
    pub certificate_files: Vec<PathBuf>,
    /// `IdentitiesOnly`: of the agent's keys only those of `identity_files` and `certificate_files` are offered.
    pub identities_only: bool,
    /// `IdentityAgent`.
    pub identity_agent: IdentityAgent,
    /// `PubkeyAuthentication`: `yes`, `unbound` and `host-bound` are true; the last two tell `ssh` which of two forms of
    /// the protocol to use.
    pub pubkey_authentication: bool,
    /// `PreferredAuthentications`, in order, as written or as OpenSSH has it by default.
    pub preferred_authentications: Vec<String>,
    /// `UserKnownHostsFile`; empty after `none`.
    pub user_known_hosts: Vec<PathBuf>,
    /// `GlobalKnownHostsFile`; empty after `none`.
    pub global_known_hosts: Vec<PathBuf>,
    /// `RevokedHostKeys`.
    pub revoked_host_keys: Option<PathBuf>,
    /// `StrictHostKeyChecking`.
    pub strict_host_key_checking: HostKeyChecking,
    /// `CheckHostIP`.
    pub check_host_ip: bool,
    /// `HashKnownHosts`.
    pub hash_known_hosts: bool,
    /// `NoHostAuthenticationForLocalhost`.
    pub no_host_authentication_for_localhost: bool,
    /// `RequiredRSASize` in bits.
    pub required_rsa_size: u32,
    /// The algorithm lists.
    pub algorithms: Algorithms,
    /// `SendEnv`: names and values, taken from this process, of the variables that match.
    pub send_env: Vec<(String, String)>,
    /// `SetEnv`: names and values; they come before `send_env`.
    pub set_env: Vec<(String, String)>,
    /// The file after `-F`, which holds for the hosts on the way too.
    pub config_file: Option<PathBuf>,
}

impl Resolved {
    /// The host to connect to first, when there is a `ProxyJump`: its last hop, to be reached through the others. From
    /// there [`hostname`](Self::hostname) and [`port`](Self::port) are dialled. As `ssh` does it (`ssh -J others -W
    /// host:port last`), the files apply to each hop by itself, and of the options only `-F` is passed on. Files can
    /// send hops in a circle: whoever follows them stops after [`limits::JUMPS`](crate::limits::JUMPS).
    #[must_use]
    pub fn jump(&self) -> Option<Destination> {
        let Proxy::Jump(hops) = &self.proxy else {
            return None;
        };
        let (last, others) = hops.split_last()?;
        let mut options = Vec::new();
        if let Some(file) = &self.config_file {
            options.extend(["-F".to_owned(), file.to_string_lossy().into_owned()]);
        }
        if !others.is_empty() {
            let others: Vec<String> = others.iter().map(Hop::to_string).collect();
            options.extend(["-J".to_owned(), others.join(",")]);
        }
        Some(Destination {
            host: last.host.clone(),
            user: last.user.clone(),
            port: last.port,
            identity_files: Vec::new(),
            options,
        })
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Lists of algorithms by OpenSSH's names, the preferred one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms {
    /// `KexAlgorithms`.
    pub kex: Vec<String>,
    /// `Ciphers`.
    pub ciphers: Vec<String>,
    /// `MACs`.
    pub macs: Vec<String>,
    /// `HostKeyAlgorithms`.
    pub host_key: Vec<String>,
    /// Whether a file or option says what comes first in `host_key`, so that what `known_hosts` has does not reorder it.
    pub host_key_order_is_set: bool,
    /// `PubkeyAcceptedAlgorithms`.
    pub pubkey_accepted: Vec<String>,
    /// `CASignatureAlgorithms`.
    pub ca_signature: Vec<String>,
}

/// `AddressFamily`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressFamily {
    /// `any`.
    #[default]
    Any,
    /// `inet`.
    Inet,
    /// `inet6`.
    Inet6,
}

/// How the server is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// Straight.
    #[default]
    None,
    /// `ProxyJump`: through these hosts, the first one dialled first.
    Jump(Vec<Hop>),
    /// `ProxyCommand`: over the standard input and output of this command, given to the user's shell.
    Command(String),
}

/// A host on the way, itself resolved against the configuration when it is dialled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The user, when one was written.
    pub user: Option<String>,
    /// The name as written.
    pub host: String,
    /// The port, when one was written.
    pub port: Option<u16>,
}

/// `IdentityAgent`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IdentityAgent {
    /// `none`, or `SSH_AUTH_SOCK` is not set: no agent is asked.
    None,
    /// The agent that listens on this socket.
    Socket(PathBuf),
}

/// `StrictHostKeyChecking`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKeyChecking {
    /// `yes`: a host that is not in a file is refused.
    Yes,
    /// `ask`: as `yes` here, where nobody can be asked.
    Ask,
    /// `accept-new`: a host that is in no file is added; a changed key is refused.
    AcceptNew,
    /// `no` or `off`: as `accept-new`. `ssh` would go on after a warning about a changed key; Midflight refuses it.
    No,
}
