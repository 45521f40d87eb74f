//! The configuration of one agent, read from YAML. What is wrong is refused with file, line and column, unknown keys
//! included; relative paths are relative to the file. It reads the file and nothing that the file names.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de};

use crate::{
    error::Error,
    limits::{Limits, Within},
    peers::Peers,
};

/// Where the configuration is when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/midflight/agent.yaml";
/// The socket of `listen.unix` when nobody says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/midflight/agent.sock";
/// Most bytes of a configuration file.
const MAX_BYTES: u64 = 1 << 20;

/// Everything an agent needs to know. `docs/agent.md` explains each key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node's name.
    pub node: NodeName,
    /// Blobs, journal, and the runtime's cache of compiled code.
    pub data_dir: PathBuf,
    /// Compiled code, private to the agent's user; agents of one user may share it. Default: `code` in `data_dir`.
    #[serde(default)]
    pub code_cache: Option<PathBuf>,
    /// A signed release bundle: booted, and made permanent, when the journal names no permanent release.
    pub boot: PathBuf,
    /// Where controllers reach the agent.
    pub listen: Listen,
    /// OpenSSH allowed signers; read again for each check.
    pub allowed_signers: PathBuf,
    /// How many different principals must have signed. Default 1.
    #[serde(default = "one")]
    pub signers_required: Within<1, 64>,
    /// Where the listeners of actors bind. Default 127.0.0.1.
    #[serde(default = "loopback")]
    pub guest_address: IpAddr,
    /// Whether actors may be looked at, and changed. Default off.
    #[serde(default)]
    pub sys: Sys,
    /// What the actors may use.
    #[serde(default)]
    pub limits: Limits,
    /// How long SIGTERM waits for mailboxes to run empty. Default 10,000.
    #[serde(default = "ten_seconds")]
    pub drain_ms: Within<0, 3_600_000>,
}

/// How far `sys` is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sys {
    /// Everything is refused. Also `false`.
    #[default]
    Off,
    /// How things stand may be asked: status, list, statistics, top, old code.
    Read,
    /// Everything. Also `true`.
    Full,
}

impl<'de> Deserialize<'de> for Sys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;

        impl de::Visitor<'_> for Word {
            type Value = Sys;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("off, read or full")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Sys, E> {
                Ok(if on { Sys::Full } else { Sys::Off })
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Sys, E> {
                match word {
                    "off" | "false" => Ok(Sys::Off),
                    "read" => Ok(Sys::Read),
                    "full" | "true" => Ok(Sys::Full),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
        }

        deserializer.deserialize_any(Word)
    }
}

/// The listeners; at least one.
#[derive(Clone, Debug)]
pub struct Listen {
    /// TCP, always with mutual TLS.
    pub tcp: Option<Tcp>,
    /// A Unix socket, for the agent's own user, root, and who else is listed.
    pub unix: Option<Unix>,
}

/// A TCP listener. There is no way to leave the TLS parts out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// Port 0: one of the operating system's choice.
    pub address: SocketAddr,
    /// The node's certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Who issues the certificates of clients, PEM.
    pub client_ca: PathBuf,
}

/// A Unix listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unix {
    /// The socket. Default [`DEFAULT_SOCKET`].
    #[serde(default = "default_socket")]
    pub path: PathBuf,
    /// Users of this machine who may use it too, by name or id, and their roles.
    #[serde(default)]
    pub peers: Peers,
}

/// A node's name: 1 to 253 characters of letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeName(String);

impl NodeName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for NodeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > 253 || !name.chars().all(good) {
            return Err(de::Error::custom(
                "a node's name is 1 to 253 characters of A-Z a-z 0-9 . _ -",
            ));
        }
        Ok(Self(name))
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            tcp: Option<Tcp>,
            unix: Option<Unix>,
        }
        let Raw { tcp, unix } = Raw::deserialize(deserializer)?;
        if tcp.is_none() && unix.is_none() {
            return Err(de::Error::custom(
                "an agent listens on tcp, on unix, or on both",
            ));
        }
        Ok(Self { tcp, unix })
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Config`] when it is not a configuration.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let size = fs::metadata(path).map_err(Error::io("read", path))?.len();
        if size > MAX_BYTES {
            let problem = format!("the file has {size} bytes, and {MAX_BYTES} is the most");
            return Err(Error::Config {
                path: path.to_owned(),
                line: 1,
                column: 1,
                problem,
            });
        }
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::parse(&text, path)
    }

    /// Reads text as if it stood in the file `path`.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let mut config: Self = serde_saphyr::from_str(text).map_err(|error| {
            let error = error.without_snippet();
            let (line, column) = error
                .location()
                .map_or((1, 1), |at| (at.line(), at.column()));
            Error::Config {
                path: path.to_owned(),
                line,
                column,
                problem: problem_of(error),
            }
        })?;
        let base = path.parent().unwrap_or(Path::new(""));
        let mut paths = vec![
            &mut config.data_dir,
            &mut config.boot,
            &mut config.allowed_signers,
        ];
        if let Some(tcp) = &mut config.listen.tcp {
            paths.extend([&mut tcp.cert, &mut tcp.key, &mut tcp.client_ca]);
        }
        if let Some(unix) = &mut config.listen.unix {
            paths.push(&mut unix.path);
        }
        paths.extend(&mut config.code_cache);
        for path in paths {
            *path = base.join(&*path);
        }
        Ok(config)
    }

    /// How long SIGTERM waits for mailboxes to run empty.
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms.get())
    }
}

/// The parser puts the place at the end of its message; it stands at the front of ours.
fn problem_of(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].trim_end_matches([',', ':']).to_owned(),
        None => text,
    }
}

fn default_socket() -> PathBuf {
    PathBuf::from(DEFAULT_SOCKET)
}

fn one() -> Within<1, 64> {
    Within::of(1)
}

fn ten_seconds() -> Within<0, 3_600_000> {
    Within::of(10_000)
}

fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

#[cfg(test)]
mod tests {
    use midflight_proto::peer::Role;

    use super::*;

    const GOOD: &str = "node: web1.eu
data_dir: data
boot: /srv/release.tar
listen:
  tcp: {address: 127.0.0.1:7400, cert: agent.pem, key: agent.key, client_ca: ca.pem}
  unix: {path: agent.sock}
allowed_signers: allowed_signers
";

    fn parse(text: &str) -> Result<Config, Error> {
        Config::parse(text, Path::new("/etc/midflight/agent.yaml"))
    }

    fn place(text: &str) -> (u64, u64, String) {
        match parse(text).unwrap_err() {
            Error::Config {
                line,
                column,
                problem,
                ..
            } => (line, column, problem),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn what_is_left_out_has_its_default_and_paths_are_relative_to_the_file() {
        let config = parse(GOOD).unwrap();
        assert_eq!(config.data_dir, Path::new("/etc/midflight/data"));
        assert_eq!(config.boot, Path::new("/srv/release.tar"));
        assert_eq!(
            config.listen.unix.unwrap().path,
            Path::new("/etc/midflight/agent.sock")
        );
        assert_eq!((config.signers_required.get(), config.sys), (1, Sys::Off));
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.guest_address, loopback());
        assert_eq!(config.drain_ms.get(), 10_000);
    }

    #[test]
    fn sys_is_off_for_reading_or_in_full_and_a_boolean_still_means_what_it_did() {
        let sys = |word: &str| parse(&format!("{GOOD}sys: {word}\n")).map(|config| config.sys);
        for (word, meant) in [
            ("off", Sys::Off),
            ("false", Sys::Off),
            ("read", Sys::Read),
            ("full", Sys::Full),
            ("true", Sys::Full),
        ] {
            assert_eq!(sys(word).unwrap(), meant, "{word}");
        }
        let (line, _, problem) = place(&format!("{GOOD}sys: some\n"));
        assert_eq!(line, 8, "{problem}");
        assert!(problem.contains("off, read or full"), "{problem}");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let (line, column, problem) = place(&format!("{GOOD}drian_ms: 5\n"));
        assert_eq!((line, column), (8, 1), "{problem}");
        assert!(problem.contains("drian_ms"), "{problem}");
    }

    #[test]
    fn a_limit_out_of_bounds_is_refused_with_its_place_and_its_bounds() {
        let (line, column, problem) = place(&format!("{GOOD}limits:\n  workers: 257\n"));
        assert_eq!((line, column), (9, 12), "{problem}");
        assert!(problem.contains("0 to 256"), "{problem}");
    }

    #[test]
    fn the_unix_socket_has_a_default_path_and_lists_its_users_with_their_roles() {
        let unix = |text: &str| parse(&GOOD.replace("{path: agent.sock}", text));
        let config = unix("{}").unwrap();
        let socket = config.listen.unix.unwrap();
        assert_eq!(socket.path, Path::new(DEFAULT_SOCKET));
        assert!(!socket.peers.locals().unwrap().has_others());
        let config = unix("{peers: {1: operator, '2': debugger, 3: viewer, 4: }}").unwrap();
        let locals = config.listen.unix.unwrap().peers.locals().unwrap();
        let roles = [1, 2, 3, 4, 5].map(|uid| locals.peer(uid).role);
        let (viewer, none) = (Some(Role::Viewer), None);
        let (operator, debugger) = (Some(Role::Operator), Some(Role::Debugger));
        assert_eq!(roles, [operator, debugger, viewer, viewer, none]);
        let refused = unix("{peers: {1: owner}}").unwrap_err().to_string();
        assert!(refused.contains("agent.yaml:6:"), "{refused}");
        let refused = unix("{peers: {'-x y': viewer}}").unwrap_err().to_string();
        assert!(refused.contains("agent.yaml:6:"), "{refused}");
    }

    #[test]
    fn malformed_yaml_is_refused_with_its_place() {
        let (line, _, problem) = place("node: web1\nlisten: {tcp: [\n");
        assert!(line >= 2, "{line}: {problem}");
    }

    #[test]
    fn tcp_without_all_tls_parts_is_refused() {
        let text = GOOD.replace(", client_ca: ca.pem", "");
        let (line, _, problem) = place(&text);
        assert_eq!(line, 5, "{problem}");
        assert!(problem.contains("client_ca"), "{problem}");
    }

    #[test]
    fn an_agent_without_a_listener_is_refused() {
        let text = "node: a\ndata_dir: d\nboot: b\nallowed_signers: s\nlisten: {}\n";
        let (line, _, problem) = place(text);
        assert_eq!(line, 5, "{problem}");
        assert!(problem.contains("tcp"), "{problem}");
    }
}
