//! Every keyword that OpenSSH knows, and what becomes of it here: used, without a meaning, or refused by name.
//!
//! This table is the one place that decides; `docs/ssh.md` lists the same, and a test holds the two together. A keyword
//! has no meaning here when leaving it out can at most ask for less than `ssh` would give: nothing is forwarded, no
//! terminal is asked, no connection is shared with other programs. What would make a connection other than the one that
//! `ssh` makes is refused.

use super::value::Kind::{self, *};

/// The keywords that are used. Several values may be collected for `IdentityFile`, `CertificateFile` and `SendEnv`; of
/// the others the first one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Key {
    AddressFamily,
    BindAddress,
    CaSignatureAlgorithms,
    CertificateFile,
    CheckHostIp,
    Ciphers,
    Compression,
    ConnectionAttempts,
    ConnectTimeout,
    GlobalKnownHostsFile,
    HashKnownHosts,
    HostKeyAlgorithms,
    HostKeyAlias,
    HostName,
    IdentitiesOnly,
    IdentityAgent,
    IdentityFile,
    IgnoreUnknown,
    KexAlgorithms,
    Macs,
    NoHostAuthenticationForLocalhost,
    Port,
    PreferredAuthentications,
    /// `ProxyCommand` and `ProxyJump`: whichever comes first counts.
    Proxy,
    PubkeyAcceptedAlgorithms,
    PubkeyAuthentication,
    RefuseConnection,
    RekeyLimit,
    RequiredRsaSize,
    RevokedHostKeys,
    SendEnv,
    ServerAliveCountMax,
    ServerAliveInterval,
    SetEnv,
    StrictHostKeyChecking,
    Tag,
    TcpKeepAlive,
    User,
    UserKnownHostsFile,
}

impl Key {
    /// How many there are.
    pub(crate) const COUNT: usize = Key::UserKnownHostsFile as usize + 1;
}

/// What becomes of a keyword.
#[derive(Debug)]
pub(crate) enum Class {
    /// `Host`, `Match`, `Include`.
    Structure,
    /// It is followed.
    Used(Key, Kind),
    /// It is read over: what it asks for does not exist here.
    NoMeaning,
    /// It is refused under a host that it applies to, unless its first argument is one of these (which are OpenSSH's
    /// defaults).
    Refused(&'static [&'static str], &'static str),
}

use Class::{NoMeaning, Refused, Structure, Used};

/// The entry of a keyword, whatever its case; with the name as `ssh_config(5)` spells it.
pub(crate) fn find(keyword: &str) -> Option<&'static (&'static str, Class)> {
    TABLE
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(keyword))
}

const FLAG: &[(&str, &str)] = &[
    ("yes", "yes"),
    ("true", "yes"),
    ("no", "no"),
    ("false", "no"),
];

/// All keywords, by the alphabet; aliases that OpenSSH still reads stand under their own name.
pub(crate) const TABLE: &[(&str, Class)] = &[
    ("AddKeysToAgent", NoMeaning),
    (
        "AddressFamily",
        Used(
            Key::AddressFamily,
            Choice(&[("any", "any"), ("inet", "inet"), ("inet6", "inet6")]),
        ),
    ),
    ("BatchMode", NoMeaning),
    ("BindAddress", Used(Key::BindAddress, Text)),
    (
        "BindInterface",
        Refused(&[], "use BindAddress with an address of that interface"),
    ),
    ("CanonicalDomains", NoMeaning),
    ("CanonicalizeFallbackLocal", NoMeaning),
    (
        "CanonicalizeHostname",
        Refused(
            &["no", "false"],
            "write full names, or a HostName with %h and the domain",
        ),
    ),
    ("CanonicalizeMaxDots", NoMeaning),
    ("CanonicalizePermittedCNAMEs", NoMeaning),
    (
        "CASignatureAlgorithms",
        Used(Key::CaSignatureAlgorithms, Names(super::algorithms::CA)),
    ),
    ("CertificateFile", Used(Key::CertificateFile, Text)),
    ("ChallengeResponseAuthentication", NoMeaning),
    ("ChannelTimeout", NoMeaning),
    ("CheckHostIP", Used(Key::CheckHostIp, Choice(FLAG))),
    ("Cipher", NoMeaning),
    (
        "Ciphers",
        Used(Key::Ciphers, Names(super::algorithms::CIPHERS)),
    ),
    ("ClearAllForwardings", NoMeaning),
    (
        "Compression",
        Used(Key::Compression, Choice(&[("yes", "yes"), ("no", "no")])),
    ),
    ("CompressionLevel", NoMeaning),
    (
        "ConnectionAttempts",
        Used(Key::ConnectionAttempts, Number { least: 1 }),
    ),
    ("ConnectTimeout", Used(Key::ConnectTimeout, Time)),
    ("ControlMaster", NoMeaning),
    ("ControlPath", NoMeaning),
    ("ControlPersist", NoMeaning),
    (
        "DSAAuthentication",
        Used(Key::PubkeyAuthentication, Choice(FLAG)),
    ),
    ("DynamicForward", NoMeaning),
    ("EnableEscapeCommandline", NoMeaning),
    ("EnableSSHKeysign", NoMeaning),
    ("EscapeChar", NoMeaning),
    ("ExitOnForwardFailure", NoMeaning),
    ("FallBackToRsh", NoMeaning),
    ("FingerprintHash", NoMeaning),
    ("ForkAfterAuthentication", NoMeaning),
    ("ForwardAgent", NoMeaning),
    ("ForwardX11", NoMeaning),
    ("ForwardX11Timeout", NoMeaning),
    ("ForwardX11Trusted", NoMeaning),
    ("GatewayPorts", NoMeaning),
    (
        "GlobalKnownHostsFile",
        Used(Key::GlobalKnownHostsFile, Words),
    ),
    ("GSSAPIAuthentication", NoMeaning),
    ("GSSAPIClientIdentity", NoMeaning),
    ("GSSAPIDelegateCredentials", NoMeaning),
    ("GSSAPIKexAlgorithms", NoMeaning),
    (
        "GSSAPIKeyExchange",
        Refused(
            &["no", "false"],
            "hosts are known by their keys only: use known_hosts or @cert-authority",
        ),
    ),
    ("GSSAPIRenewalForcesRekey", NoMeaning),
    ("GSSAPIServerIdentity", NoMeaning),
    ("GSSAPITrustDNS", NoMeaning),
    ("HashKnownHosts", Used(Key::HashKnownHosts, Choice(FLAG))),
    ("Host", Structure),
    ("HostbasedAcceptedAlgorithms", NoMeaning),
    (
        "HostbasedAuthentication",
        Refused(
            &["no", "false"],
            "only public keys and certificates of users are offered: give this host a key",
        ),
    ),
    ("HostbasedKeyTypes", NoMeaning),
    (
        "HostKeyAlgorithms",
        Used(Key::HostKeyAlgorithms, Names(super::algorithms::HOST_KEYS)),
    ),
    ("HostKeyAlias", Used(Key::HostKeyAlias, Text)),
    ("HostName", Used(Key::HostName, Text)),
    ("IdentitiesOnly", Used(Key::IdentitiesOnly, Choice(FLAG))),
    ("IdentityAgent", Used(Key::IdentityAgent, Text)),
    ("IdentityFile", Used(Key::IdentityFile, Text)),
    ("IdentityFile2", Used(Key::IdentityFile, Text)),
    ("IgnoreUnknown", Used(Key::IgnoreUnknown, Text)),
    ("Include", Structure),
    ("IPQoS", NoMeaning),
    ("KbdInteractiveAuthentication", NoMeaning),
    ("KbdInteractiveDevices", NoMeaning),
    ("KeepAlive", Used(Key::TcpKeepAlive, Choice(FLAG))),
    (
        "KexAlgorithms",
        Used(Key::KexAlgorithms, Names(super::algorithms::KEX)),
    ),
    (
        "KnownHostsCommand",
        Refused(
            &["none"],
            "host keys are read from files only: write its output to a UserKnownHostsFile",
        ),
    ),
    ("LocalCommand", NoMeaning),
    ("LocalForward", NoMeaning),
    ("LogLevel", NoMeaning),
    ("LogVerbose", NoMeaning),
    ("MACs", Used(Key::Macs, Names(super::algorithms::MACS))),
    ("Match", Structure),
    (
        "NoHostAuthenticationForLocalhost",
        Used(Key::NoHostAuthenticationForLocalhost, Choice(FLAG)),
    ),
    ("NumberOfPasswordPrompts", NoMeaning),
    ("ObscureKeystrokeTiming", NoMeaning),
    ("PasswordAuthentication", NoMeaning),
    (
        "PermitLocalCommand",
        Refused(&["no", "false"], "no LocalCommand is run after connecting"),
    ),
    ("PermitRemoteOpen", NoMeaning),
    (
        "PKCS11Provider",
        Refused(
            &["none"],
            "load the token's keys into an ssh-agent with ssh-add -s",
        ),
    ),
    ("Port", Used(Key::Port, Kind::Port)),
    (
        "PreferredAuthentications",
        Used(Key::PreferredAuthentications, Text),
    ),
    ("Protocol", NoMeaning),
    ("ProxyCommand", Used(Key::Proxy, Command)),
    ("ProxyJump", Used(Key::Proxy, Jump)),
    (
        "ProxyUseFdpass",
        Refused(
            &["no", "false"],
            "the command must pass data on its standard input and output",
        ),
    ),
    (
        "PubkeyAcceptedAlgorithms",
        Used(
            Key::PubkeyAcceptedAlgorithms,
            Names(super::algorithms::HOST_KEYS),
        ),
    ),
    (
        "PubkeyAcceptedKeyTypes",
        Used(
            Key::PubkeyAcceptedAlgorithms,
            Names(super::algorithms::HOST_KEYS),
        ),
    ),
    (
        "PubkeyAuthentication",
        Used(
            Key::PubkeyAuthentication,
            Choice(&[
                ("yes", "yes"),
                ("true", "yes"),
                ("no", "no"),
                ("false", "no"),
                ("unbound", "yes"),
                ("host-bound", "yes"),
            ]),
        ),
    ),
    ("RefuseConnection", Used(Key::RefuseConnection, Text)),
    ("RekeyLimit", Used(Key::RekeyLimit, Rekey)),
    (
        "RemoteCommand",
        Refused(&["none"], "Midflight runs commands of its own there"),
    ),
    ("RemoteForward", NoMeaning),
    ("RequestTTY", NoMeaning),
    (
        "RequiredRSASize",
        Used(Key::RequiredRsaSize, Number { least: 0 }),
    ),
    ("RevokedHostKeys", Used(Key::RevokedHostKeys, Text)),
    ("RhostsAuthentication", NoMeaning),
    ("RhostsRSAAuthentication", NoMeaning),
    ("RSAAuthentication", NoMeaning),
    ("SecurityKeyProvider", NoMeaning),
    ("SendEnv", Used(Key::SendEnv, Words)),
    (
        "ServerAliveCountMax",
        Used(Key::ServerAliveCountMax, Number { least: 0 }),
    ),
    ("ServerAliveInterval", Used(Key::ServerAliveInterval, Time)),
    (
        "SessionType",
        Refused(&["default"], "Midflight opens sessions of its own there"),
    ),
    ("SetEnv", Used(Key::SetEnv, Assignments)),
    ("SkeyAuthentication", NoMeaning),
    (
        "SmartcardDevice",
        Refused(
            &["none"],
            "load the token's keys into an ssh-agent with ssh-add -s",
        ),
    ),
    ("StdinNull", NoMeaning),
    ("StreamLocalBindMask", NoMeaning),
    ("StreamLocalBindUnlink", NoMeaning),
    (
        "StrictHostKeyChecking",
        Used(
            Key::StrictHostKeyChecking,
            Choice(&[
                ("yes", "yes"),
                ("true", "yes"),
                ("no", "no"),
                ("false", "no"),
                ("off", "no"),
                ("ask", "ask"),
                ("accept-new", "accept-new"),
            ]),
        ),
    ),
    ("SyslogFacility", NoMeaning),
    ("Tag", Used(Key::Tag, Text)),
    ("TCPKeepAlive", Used(Key::TcpKeepAlive, Choice(FLAG))),
    ("TISAuthentication", NoMeaning),
    ("Tunnel", NoMeaning),
    ("TunnelDevice", NoMeaning),
    ("UpdateHostKeys", NoMeaning),
    ("UsePrivilegedPort", NoMeaning),
    ("User", Used(Key::User, Text)),
    ("UserKnownHostsFile", Used(Key::UserKnownHostsFile, Words)),
    ("UseRoaming", NoMeaning),
    ("UseRsh", NoMeaning),
    (
        "VerifyHostKeyDNS",
        Refused(
            &["no", "false", "ask"],
            "host keys in DNS are not asked for: use known_hosts or @cert-authority",
        ),
    ),
    ("VersionAddendum", NoMeaning),
    ("VisualHostKey", NoMeaning),
    ("WarnWeakCrypto", NoMeaning),
    ("XAuthLocation", NoMeaning),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_the_document_lists_each_keyword_under_its_class() {
        let names: Vec<String> = TABLE
            .iter()
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect();
        assert!(names.is_sorted(), "{names:?}");
        let document = include_str!("../../../docs/ssh.md");
        let section = |title: &str| {
            let from = document.split_once(title).expect("the section").1;
            from.split("\n## ").next().expect("its text").to_owned()
        };
        let (used, nothing, refused) = (
            section("## Keywords that are used"),
            section("## Keywords without a meaning here"),
            section("## Refused by name"),
        );
        for (name, class) in TABLE {
            let (there, title) = match class {
                Structure | Used(..) => (&used, "used"),
                NoMeaning => (&nothing, "without a meaning"),
                Refused(..) => (&refused, "refused"),
            };
            assert!(
                there.contains(&format!("`{name}`")),
                "docs/ssh.md does not list {name} as {title}"
            );
        }
    }
}
