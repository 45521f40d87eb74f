//! `ssh -G`: what the real program makes of a file, and whether that equals what this crate makes of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use midflight_ssh::Resolved;
use midflight_ssh::config::{AddressFamily, HostKeyChecking, IdentityAgent, Proxy};

/// The lines that it prints, by keyword.
#[derive(Debug)]
pub struct Settings(BTreeMap<String, Vec<String>>);

/// What `ssh` makes of a host with the given file alone.
pub fn run(file: &Path, host: &str, options: &[&str]) -> Result<Settings, String> {
    let mut command = Command::new("ssh");
    command
        .arg("-G")
        .arg("-F")
        .arg(file)
        .args(options)
        .arg(host)
        .stdin(Stdio::null());
    let output = command.output().expect("ssh is installed");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        settings
            .entry(key.to_ascii_lowercase())
            .or_default()
            .push(value.to_owned());
    }
    Ok(Settings(settings))
}

/// The files that `ssh` would take keys from, from its messages; `None` when it refuses the configuration.
pub fn identities(file: &Path, host: &str) -> Option<Vec<String>> {
    let mut command = Command::new("ssh");
    command
        .args(["-v", "-o", "ProxyCommand=false", "-F"])
        .arg(file)
        .args([host, "true"])
        .stdin(Stdio::null());
    let output = command
        .env_remove("SSH_AUTH_SOCK")
        .output()
        .expect("ssh is installed");
    let messages = String::from_utf8_lossy(&output.stderr);
    if messages.contains("expan") {
        return None;
    }
    let files = messages.lines().filter_map(|line| {
        line.strip_prefix("debug1: identity file ")?
            .split_once(" type ")
    });
    Some(
        files
            .map(|(file, _)| file.to_owned())
            .filter(|file| !file.ends_with("-cert"))
            .collect(),
    )
}

impl Settings {
    fn get(&self, key: &str) -> &str {
        self.0
            .get(key)
            .and_then(|values| values.first())
            .map_or("", String::as_str)
    }

    /// Fails unless each setting is the same as the real one.
    pub fn assert_equals(&self, ours: &Resolved, context: &str) {
        let same = |key: &str, ours: &str| assert_eq!(ours, self.get(key), "{key} of {context}");
        let flag = |value: bool| if value { "yes" } else { "no" };
        same("hostname", &ours.hostname);
        same("user", &ours.user);
        same("port", &ours.port.to_string());
        same("hostkeyalias", ours.host_key_alias.as_deref().unwrap_or(""));
        same("bindaddress", ours.bind_address.as_deref().unwrap_or(""));
        let family = match ours.address_family {
            AddressFamily::Any => "any",
            AddressFamily::Inet => "inet",
            AddressFamily::Inet6 => "inet6",
        };
        same("addressfamily", family);
        // No bound is written as "none" or 0.
        let seconds = |time: Option<Duration>| time.map_or(0, |t| t.as_secs()).to_string();
        assert_eq!(
            seconds(ours.connect_timeout),
            self.get("connecttimeout").replace("none", "0"),
            "{context}"
        );
        same("serveraliveinterval", &seconds(ours.server_alive_interval));
        same(
            "serveralivecountmax",
            &ours.server_alive_count_max.to_string(),
        );
        same("connectionattempts", &ours.connection_attempts.to_string());
        same("tcpkeepalive", flag(ours.tcp_keep_alive));
        same("compression", flag(ours.compression));
        same("identitiesonly", flag(ours.identities_only));
        same("checkhostip", flag(ours.check_host_ip));
        same("hashknownhosts", flag(ours.hash_known_hosts));
        same(
            "nohostauthenticationforlocalhost",
            flag(ours.no_host_authentication_for_localhost),
        );
        same("requiredrsasize", &ours.required_rsa_size.to_string());
        let limit = format!(
            "{} {}",
            ours.rekey_bytes.unwrap_or(0),
            seconds(ours.rekey_time)
        );
        same("rekeylimit", &limit);
        assert_eq!(
            ours.pubkey_authentication,
            !["false", "no"].contains(&self.get("pubkeyauthentication")),
            "{context}"
        );
        let checking = match ours.strict_host_key_checking {
            HostKeyChecking::Yes => "true",
            HostKeyChecking::Ask => "ask",
            HostKeyChecking::AcceptNew => "accept-new",
            HostKeyChecking::No => "false",
        };
        same("stricthostkeychecking", checking);
        if self.0.contains_key("preferredauthentications") {
            same(
                "preferredauthentications",
                &ours.preferred_authentications.join(","),
            );
        }
        let revoked = ours
            .revoked_host_keys
            .as_ref()
            .map(|p| p.display().to_string());
        let files = |files: &[std::path::PathBuf]| match files {
            [] => "none".to_owned(),
            files => files
                .iter()
                .map(|f| f.display().to_string())
                .collect::<Vec<_>>()
                .join(" "),
        };
        // It prints some of them before `~` is expanded.
        let home = midflight_ssh::Account::current().home;
        let expanded = |key: &str| {
            let words = self
                .get(key)
                .split(' ')
                .map(|word| word.replace("~/", &format!("{}/", home.display())));
            words.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            files(&ours.global_known_hosts),
            expanded("globalknownhostsfile"),
            "{context}"
        );
        assert_eq!(
            revoked.unwrap_or_default(),
            expanded("revokedhostkeys"),
            "{context}"
        );
        same("userknownhostsfile", &files(&ours.user_known_hosts));
        if self.get("identityagent") == "none" {
            assert_eq!(ours.identity_agent, IdentityAgent::None, "{context}");
        }
        let environment: Vec<String> = ours
            .set_env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            environment,
            self.0.get("setenv").cloned().unwrap_or_default(),
            "{context}"
        );
        let written: Vec<&String> = self
            .0
            .get("identityfile")
            .into_iter()
            .flatten()
            .filter(|f| f.as_str() != "none")
            .collect();
        if !ours.identity_files_are_defaults {
            assert_eq!(
                ours.identity_files.len(),
                written.len(),
                "identityfile of {context}"
            );
        }
        assert_eq!(
            ours.certificate_files.len(),
            self.0.get("certificatefile").map_or(0, Vec::len),
            "{context}"
        );
        self.proxy(ours, context);
        self.algorithms(ours, context);
    }

    fn proxy(&self, ours: &Resolved, context: &str) {
        match &ours.proxy {
            Proxy::None => assert_eq!(
                (self.get("proxycommand"), self.get("proxyjump")),
                ("", ""),
                "{context}"
            ),
            Proxy::Jump(hops) => {
                let hops: Vec<String> = hops.iter().map(ToString::to_string).collect();
                assert_eq!(hops.join(","), self.get("proxyjump"), "{context}");
            }
            Proxy::Command(command) => {
                let theirs = self.get("proxycommand").replace("%h", &ours.hostname);
                assert_eq!(
                    *command,
                    theirs.replace("%p", &ours.port.to_string()),
                    "{context}"
                );
            }
        }
    }

    fn algorithms(&self, ours: &Resolved, context: &str) {
        for (key, query, list) in [
            ("kexalgorithms", "kex", &ours.algorithms.kex),
            ("ciphers", "cipher", &ours.algorithms.ciphers),
            ("macs", "mac", &ours.algorithms.macs),
            (
                "hostkeyalgorithms",
                "HostKeyAlgorithms",
                &ours.algorithms.host_key,
            ),
            (
                "pubkeyacceptedalgorithms",
                "HostKeyAlgorithms",
                &ours.algorithms.pubkey_accepted,
            ),
            (
                "casignaturealgorithms",
                "HostKeyAlgorithms",
                &ours.algorithms.ca_signature,
            ),
        ] {
            // This OpenSSH may be older than the newest that the names are taken from.
            let mut known: Vec<&str> = list.iter().map(String::as_str).collect();
            known.retain(|name| knows(query, name));
            let mut theirs: Vec<&str> = self
                .get(key)
                .split(',')
                .filter(|name| !name.is_empty())
                .collect();
            // Before OpenSSH 10.0 AES-CTR came before AES-GCM where the configuration does not say otherwise.
            if key == "ciphers" && version() < 10 {
                known.sort_unstable();
                theirs.sort_unstable();
            }
            assert_eq!(known, theirs, "{key} of {context}");
        }
    }
}

/// The first number of the installed version.
fn version() -> u32 {
    static VERSION: OnceLock<u32> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let output = Command::new("ssh")
            .arg("-V")
            .output()
            .expect("ssh is installed");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let number = said
            .strip_prefix("OpenSSH_")
            .and_then(|rest| rest.split('.').next());
        number
            .and_then(|number| number.parse().ok())
            .expect("OpenSSH says its version")
    })
}

/// Whether the installed `ssh` has an algorithm.
fn knows(query: &'static str, name: &str) -> bool {
    static LISTS: OnceLock<BTreeMap<&str, Vec<String>>> = OnceLock::new();
    let lists = LISTS.get_or_init(|| {
        let list = |query| {
            let output = Command::new("ssh")
                .args(["-Q", query])
                .output()
                .expect("ssh is installed");
            String::from_utf8_lossy(&output.stdout)
                .lines()
                .map(str::to_owned)
                .collect()
        };
        ["kex", "cipher", "mac", "HostKeyAlgorithms"]
            .map(|query| (query, list(query)))
            .into()
    });
    lists[query].iter().any(|known| known == name)
}
