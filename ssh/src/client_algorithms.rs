//! Which algorithms are offered to a server: those of the configuration that this build has, in its order.
//!
//! What it does not have: RSA host keys and certificates (verifying them needs a library with an open advisory,
//! RUSTSEC-2023-0071), DSA, sntrup761, CBC and SHA-1 unless they are asked for by name and russh has them.

use std::borrow::Cow;
use std::time::Duration;

use russh::client::Config;
use russh::{Limits, Preferred, SshId, cipher, compression, kex, mac};
use ssh_key::{Algorithm, EcdsaCurve};

use crate::config::Resolved;
use crate::error::Error;
use crate::stream_inbox::WINDOW;

/// A packet of a channel, at most (RFC 4253, 6.1).
const PACKET: u32 = 32 << 10;
/// Messages that wait for a channel's reader.
const MESSAGES: usize = 64;
/// After so many bytes keys are changed (RFC 4253, 9), unless `RekeyLimit` says otherwise.
const REKEY_BYTES: usize = 1 << 30;
/// Keys are not changed for their age, as in OpenSSH, unless `RekeyLimit` says otherwise.
const NO_AGE: Duration = Duration::from_secs(u32::MAX as u64);

/// The types of host keys that can be verified here.
pub(crate) fn host_key(name: &str) -> Option<Algorithm> {
    let name = name.strip_suffix("-cert-v01@openssh.com").unwrap_or(name);
    let curve = |curve| Some(Algorithm::Ecdsa { curve });
    match name {
        "ssh-ed25519" => Some(Algorithm::Ed25519),
        "ecdsa-sha2-nistp256" => curve(EcdsaCurve::NistP256),
        "ecdsa-sha2-nistp384" => curve(EcdsaCurve::NistP384),
        "ecdsa-sha2-nistp521" => curve(EcdsaCurve::NistP521),
        _ => None,
    }
}

/// What a connection is opened with. `host_keys` and `certificates` are the types to ask for, in order.
pub(crate) fn config(
    to: &Resolved,
    host_keys: Vec<Algorithm>,
    certificates: Vec<Algorithm>,
) -> Result<Config, Error> {
    let missing = |keyword: &'static str, names: &[String]| Error::NoAlgorithm {
        host: to.alias.clone(),
        what: keyword,
        ours: format!("of {keyword} ({}) none is known here", names.join(", ")),
    };
    let lists = &to.algorithms;
    let mut kex = known(&lists.kex, kex::Name::try_from);
    if kex.is_empty() {
        return Err(missing("KexAlgorithms", &lists.kex));
    }
    kex.extend([
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    ]);
    let ciphers = known(&lists.ciphers, cipher::Name::try_from);
    if ciphers.is_empty() {
        return Err(missing("Ciphers", &lists.ciphers));
    }
    let macs = known(&lists.macs, mac::Name::try_from);
    if host_keys.is_empty() && certificates.is_empty() {
        return Err(missing("HostKeyAlgorithms", &lists.host_key));
    }
    let compression: &[compression::Name] = match to.compression {
        true => &[
            compression::ZLIB_LEGACY,
            compression::ZLIB,
            compression::NONE,
        ],
        false => &[compression::NONE],
    };
    let bytes = to.rekey_bytes.map_or(REKEY_BYTES, |bytes| {
        usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .min(REKEY_BYTES)
    });
    Ok(Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!(
            "SSH-2.0-Midflight_",
            env!("CARGO_PKG_VERSION")
        ))),
        limits: Limits::new(bytes, bytes, to.rekey_time.unwrap_or(NO_AGE)),
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: MESSAGES,
        preferred: Preferred {
            kex: kex.into(),
            key: host_keys.into(),
            host_key_certificates: certificates.into(),
            cipher: ciphers.into(),
            mac: macs.into(),
            compression: compression.into(),
        },
        keepalive_interval: to.server_alive_interval,
        keepalive_max: usize::try_from(to.server_alive_count_max).unwrap_or(usize::MAX),
        nodelay: true,
        ..Config::default()
    })
}

fn known<'a, T>(names: &'a [String], parse: impl Fn(&'a str) -> Result<T, ()>) -> Vec<T> {
    let real = names
        .iter()
        .filter(|name| !["none", "clear"].contains(&name.as_str()));
    real.filter_map(|name| parse(name).ok()).collect()
}
