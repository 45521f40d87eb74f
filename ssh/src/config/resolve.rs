//! From the values that apply to a host to the settings of its connection: defaults, tokens, types.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::algorithms;
use super::evaluate::{Evaluation, Given};
use super::expand::{self, PROXY, Tokens};
use super::keywords::Key;
use super::resolved::{
    AddressFamily, Algorithms, Hop, HostKeyChecking, IdentityAgent, Proxy, Resolved,
};
use super::value::Value;
use crate::account::Account;
use crate::error::Error;
use crate::pattern;

/// The keys that a user has by default, in the order in which `ssh` tries them.
const IDENTITIES: [&str; 5] = [
    "id_rsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
];

const USER_KNOWN_HOSTS: [&str; 2] = ["known_hosts", "known_hosts2"];
const GLOBAL_KNOWN_HOSTS: [&str; 2] = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];

/// `PreferredAuthentications` as `ssh_config(5)` has it by default.
const METHODS: &str = "gssapi-with-mic,hostbased,publickey,keyboard-interactive,password";

/// The settings of the host that was evaluated.
pub(crate) fn resolve(
    found: &Evaluation<'_>,
    account: &Account,
    alias: &str,
    config_file: Option<PathBuf>,
) -> Result<Resolved, Error> {
    let hostname = found.hostname()?;
    let values = Values {
        found,
        account,
        tokens: found.tokens(&hostname),
    };
    if let Some((Value::Text(reason), at)) = found.get(Key::RefuseConnection) {
        return Err(Error::Refused {
            at: at.clone(),
            host: alias.to_owned(),
            reason: reason.clone(),
        });
    }
    let (rekey_bytes, rekey_time) = match found.get(Key::RekeyLimit) {
        Some((Value::Rekey(bytes, time), _)) => (bytes.filter(|&b| b > 0), *time),
        _ => (None, None),
    };
    let identity_files = values.paths(Key::IdentityFile, "IdentityFile")?;
    let no_identities = found.all(Key::IdentityFile).next().is_none();
    Ok(Resolved {
        alias: alias.to_owned(),
        user: found.user().to_owned(),
        port: found.port(),
        host_key_alias: values.text(Key::HostKeyAlias),
        address_family: match found.text(Key::AddressFamily) {
            Some("inet") => AddressFamily::Inet,
            Some("inet6") => AddressFamily::Inet6,
            _ => AddressFamily::Any,
        },
        bind_address: values.text(Key::BindAddress),
        connect_timeout: values.time(Key::ConnectTimeout),
        connection_attempts: values.number(Key::ConnectionAttempts, 1),
        tcp_keep_alive: values.flag(Key::TcpKeepAlive, true),
        server_alive_interval: values.time(Key::ServerAliveInterval),
        server_alive_count_max: values.number(Key::ServerAliveCountMax, 3),
        compression: values.flag(Key::Compression, false),
        rekey_bytes,
        rekey_time,
        proxy: values.proxy(alias)?,
        identity_files: match no_identities {
            true => IDENTITIES
                .iter()
                .map(|name| account.home.join(".ssh").join(name))
                .collect(),
            false => identity_files,
        },
        identity_files_are_defaults: no_identities,
        certificate_files: values.paths(Key::CertificateFile, "CertificateFile")?,
        identities_only: values.flag(Key::IdentitiesOnly, false),
        identity_agent: values.agent()?,
        pubkey_authentication: values.flag(Key::PubkeyAuthentication, true),
        preferred_authentications: {
            let methods = found.text(Key::PreferredAuthentications).unwrap_or(METHODS);
            methods.split(',').map(str::to_owned).collect()
        },
        user_known_hosts: match values.known_hosts(
            Key::UserKnownHostsFile,
            "UserKnownHostsFile",
            true,
        )? {
            Some(files) => files,
            None => USER_KNOWN_HOSTS
                .iter()
                .map(|name| account.home.join(".ssh").join(name))
                .collect(),
        },
        global_known_hosts: match values.known_hosts(
            Key::GlobalKnownHostsFile,
            "GlobalKnownHostsFile",
            false,
        )? {
            Some(files) => files,
            None => GLOBAL_KNOWN_HOSTS.iter().map(PathBuf::from).collect(),
        },
        revoked_host_keys: match found.get(Key::RevokedHostKeys) {
            Some(given) => values.path(given, "RevokedHostKeys")?,
            None => None,
        },
        strict_host_key_checking: match found.text(Key::StrictHostKeyChecking) {
            Some("yes") => HostKeyChecking::Yes,
            Some("no") => HostKeyChecking::No,
            Some("accept-new") => HostKeyChecking::AcceptNew,
            _ => HostKeyChecking::Ask,
        },
        check_host_ip: values.flag(Key::CheckHostIp, false),
        hash_known_hosts: values.flag(Key::HashKnownHosts, false),
        no_host_authentication_for_localhost: values
            .flag(Key::NoHostAuthenticationForLocalhost, false),
        required_rsa_size: values.number(Key::RequiredRsaSize, 1024),
        algorithms: Algorithms {
            kex: algorithms::KEX.assemble(found.text(Key::KexAlgorithms)),
            ciphers: algorithms::CIPHERS.assemble(found.text(Key::Ciphers)),
            macs: algorithms::MACS.assemble(found.text(Key::Macs)),
            host_key: algorithms::HOST_KEYS.assemble(found.text(Key::HostKeyAlgorithms)),
            host_key_order_is_set: {
                let written = found.text(Key::HostKeyAlgorithms);
                written.is_some_and(|list| !list.starts_with(['+', '-']))
            },
            pubkey_accepted: algorithms::HOST_KEYS
                .assemble(found.text(Key::PubkeyAcceptedAlgorithms)),
            ca_signature: algorithms::CA.assemble(found.text(Key::CaSignatureAlgorithms)),
        },
        send_env: values.send_env(),
        set_env: match found.get(Key::SetEnv) {
            Some((Value::Words(words), _)) => {
                let pairs = words.iter().filter_map(|word| word.split_once('='));
                pairs
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect()
            }
            _ => Vec::new(),
        },
        config_file,
        hostname,
    })
}

struct Values<'a> {
    found: &'a Evaluation<'a>,
    account: &'a Account,
    tokens: Tokens<'a>,
}

impl Values<'_> {
    fn text(&self, key: Key) -> Option<String> {
        self.found.text(key).map(str::to_owned)
    }

    fn flag(&self, key: Key, default: bool) -> bool {
        self.found.text(key).map_or(default, |text| text == "yes")
    }

    fn number(&self, key: Key, default: u32) -> u32 {
        match self.found.get(key) {
            Some((Value::Number(n), _)) => u32::try_from(*n).unwrap_or(u32::MAX),
            _ => default,
        }
    }

    fn time(&self, key: Key) -> Option<Duration> {
        match self.found.get(key) {
            // Zero and none both mean that there is no bound.
            Some((Value::Time(time), _)) => time.filter(|t| !t.is_zero()),
            _ => None,
        }
    }

    /// A path, or `None` for `none`.
    fn path(
        &self,
        (value, at): Given<'_>,
        keyword: &'static str,
    ) -> Result<Option<PathBuf>, Error> {
        let Value::Text(text) = value else {
            return Ok(None);
        };
        if text.eq_ignore_ascii_case("none") {
            return Ok(None);
        }
        self.tokens
            .path(text)
            .map(Some)
            .map_err(|why| Error::Expand {
                at: at.clone(),
                keyword,
                value: text.clone(),
                why,
            })
    }

    fn paths(&self, key: Key, keyword: &'static str) -> Result<Vec<PathBuf>, Error> {
        let paths = self.found.all(key).map(|given| self.path(given, keyword));
        paths.filter_map(Result::transpose).collect()
    }

    fn known_hosts(
        &self,
        key: Key,
        keyword: &'static str,
        tokens: bool,
    ) -> Result<Option<Vec<PathBuf>>, Error> {
        let Some((Value::Words(words), at)) = self.found.get(key) else {
            return Ok(None);
        };
        if let [only] = words.as_slice()
            && only.eq_ignore_ascii_case("none")
        {
            return Ok(Some(Vec::new()));
        }
        let expand = |word: &String| {
            let path = match tokens {
                true => self.tokens.path(word),
                false => expand::tilde(word, self.account).map(PathBuf::from),
            };
            path.map_err(|why| Error::Expand {
                at: at.clone(),
                keyword,
                value: word.clone(),
                why,
            })
        };
        words.iter().map(expand).collect::<Result<_, _>>().map(Some)
    }

    fn agent(&self) -> Result<IdentityAgent, Error> {
        let variable = |name: &str| match std::env::var_os(name).filter(|value| !value.is_empty()) {
            Some(path) => IdentityAgent::Socket(PathBuf::from(path)),
            None => IdentityAgent::None,
        };
        let Some((Value::Text(text), at)) = self.found.get(Key::IdentityAgent) else {
            return Ok(variable("SSH_AUTH_SOCK"));
        };
        if text == "SSH_AUTH_SOCK" {
            return Ok(variable(text));
        }
        if let Some(name) = text.strip_prefix('$').filter(|name| !name.starts_with('{')) {
            return Ok(variable(name));
        }
        let path = self.path((&Value::Text(text.clone()), at), "IdentityAgent")?;
        Ok(path.map_or(IdentityAgent::None, IdentityAgent::Socket))
    }

    fn proxy(&self, alias: &str) -> Result<Proxy, Error> {
        let Some((value, at)) = self.found.get(Key::Proxy) else {
            return Ok(Proxy::None);
        };
        let expand = |keyword, text: &str| {
            self.tokens
                .expand(text, PROXY, false)
                .map_err(|why| Error::Expand {
                    at: at.clone(),
                    keyword,
                    value: text.to_owned(),
                    why,
                })
        };
        match value {
            Value::Command(Some(command)) => expand("ProxyCommand", command).map(Proxy::Command),
            Value::Jump(hops) if !hops.is_empty() => {
                let hop = |hop: &Hop| {
                    let user = hop.user.as_deref().map(|user| expand("ProxyJump", user));
                    Ok(Hop {
                        user: user.transpose()?,
                        host: expand("ProxyJump", &hop.host)?,
                        port: hop.port,
                    })
                };
                let hops = hops.iter().map(hop).collect::<Result<Vec<_>, Error>>()?;
                // A `Host *` with a ProxyJump applies to the bastion too, which would then be reached through itself.
                if let Some(last) = hops.last()
                    && last.host == self.tokens.hostname
                    && last.port.unwrap_or(22) == self.tokens.port
                    && last
                        .user
                        .as_deref()
                        .is_none_or(|user| user == self.tokens.user)
                {
                    return Err(Error::JumpLoop {
                        at: at.clone(),
                        host: alias.to_owned(),
                        through: last.host.clone(),
                    });
                }
                Ok(Proxy::Jump(hops))
            }
            _ => Ok(Proxy::None),
        }
    }

    /// The variables of this process that `SendEnv` names; `-PATTERN` takes back what lines before it named.
    fn send_env(&self) -> Vec<(String, String)> {
        let mut patterns: Vec<&str> = Vec::new();
        for (value, _) in self.found.all(Key::SendEnv) {
            let Value::Words(words) = value else { continue };
            for word in words {
                match word.strip_prefix('-') {
                    Some(removed) => patterns.retain(|named| !pattern::matches(removed, named)),
                    None => patterns.push(word),
                }
            }
        }
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        variables
            .filter(|(name, _)| patterns.iter().any(|p| pattern::matches(p, name)))
            .collect()
    }
}

/// Whether a path is the `none` of `-F none`.
pub(crate) fn is_none(path: &Path) -> bool {
    path.as_os_str().eq_ignore_ascii_case("none")
}
