//! A private CA for fleets that have none: one key, short-lived certificates for nodes and for people. Files from any other CA
//! work the same. The CA's key stays where it was made; this module neither revokes nor renews.

mod files;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::error::Error;

/// How far back validity begins, for clocks that are behind.
const SKEW: Duration = Duration::minutes(5);
/// How long a CA is valid.
const CA_DAYS: i64 = 3650;

/// What the holder of a certificate may ask of agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Read.
    Viewer,
    /// Read, and drive rollouts.
    Operator,
    /// Read, and look into actors.
    Debugger,
}

impl Role {
    /// The word in the certificate's organisational unit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Debugger => "debugger",
        }
    }
}

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A node: its name in the inventory, and addresses that other tools dial it at.
    Node {
        /// The name.
        name: String,
        /// Addresses; the controller needs none of them.
        addresses: Vec<IpAddr>,
    },
    /// A person or a controller.
    Client {
        /// For the agents' journals.
        name: String,
        /// What it may ask.
        role: Role,
    },
}

impl Subject {
    fn name(&self) -> &str {
        match self {
            Self::Node { name, .. } | Self::Client { name, .. } => name,
        }
    }
}

/// Makes a CA in a folder: `ca.pem`, and `ca.key` for its owner alone.
///
/// # Errors
/// [`Error::Exists`] unless `force`, [`Error::Io`], [`Error::Certificate`].
pub fn init(folder: &Path, fleet: &str, force: bool) -> Result<(), Error> {
    let subject = format!("the CA of fleet {fleet}");
    let failed = |source| Error::Certificate {
        subject: subject.clone(),
        source,
    };
    check_name("fleet", fleet)?;
    let (cert, key_file) = (folder.join("ca.pem"), folder.join("ca.key"));
    files::check_absent(&[&cert, &key_file], force)?;
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = params(&format!("{fleet} midflight CA"), CA_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(failed)?;
    files::write(&key_file, key.serialize_pem().as_bytes(), true)?;
    files::write(&cert, certificate.pem().as_bytes(), false)
}

/// Issues a certificate by the CA in a folder, as `NAME.pem` and `NAME.key` beside it. Gives the two paths.
///
/// # Errors
/// [`Error::Credentials`] when the CA cannot be used, [`Error::Exists`] unless `force`, [`Error::Io`],
/// [`Error::Certificate`], [`Error::Usage`] for a name that cannot stand in a certificate.
pub fn issue(
    folder: &Path,
    subject: &Subject,
    days: u16,
    force: bool,
) -> Result<(PathBuf, PathBuf), Error> {
    let name = subject.name();
    let failed = |source| Error::Certificate {
        subject: name.to_owned(),
        source,
    };
    check_name("name", name)?;
    if name == "ca" {
        return Err(Error::Usage {
            problem: "`ca` is the CA's own name".to_owned(),
            hint: "choose another name",
        });
    }
    let (cert, key_file) = (
        folder.join(format!("{name}.pem")),
        folder.join(format!("{name}.key")),
    );
    files::check_absent(&[&cert, &key_file], force)?;
    let issuer = read_ca(folder)?;
    let mut params = params(name, i64::from(days));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    match subject {
        Subject::Node { addresses, .. } => {
            let dns = name.try_into().map_err(failed)?;
            params.subject_alt_names.push(SanType::DnsName(dns));
            params
                .subject_alt_names
                .extend(addresses.iter().copied().map(SanType::IpAddress));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }
        Subject::Client { role, .. } => {
            params
                .distinguished_name
                .push(DnType::OrganizationalUnitName, role.as_str());
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
    }
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
    files::write(&key_file, key.serialize_pem().as_bytes(), true)?;
    files::write(&cert, certificate.pem().as_bytes(), false)?;
    Ok((cert, key_file))
}

fn params(common_name: &str, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - SKEW;
    params.not_after = now + Duration::days(days);
    params.use_authority_key_identifier_extension = true;
    params
}

fn read_ca(folder: &Path) -> Result<Issuer<'static, KeyPair>, Error> {
    let refuse = |path: &Path| {
        let path = path.to_owned();
        move |error: rcgen::Error| Error::Credentials {
            path,
            problem: error.to_string(),
        }
    };
    let (cert, key) = (folder.join("ca.pem"), folder.join("ca.key"));
    let pem = std::fs::read_to_string(&key).map_err(Error::io("read", &key))?;
    let key_pair = KeyPair::from_pem(&pem).map_err(refuse(&key))?;
    let pem = std::fs::read_to_string(&cert).map_err(Error::io("read", &cert))?;
    Issuer::from_ca_cert_pem(&pem, key_pair).map_err(refuse(&cert))
}

/// Names stand in certificates and in file names.
fn check_name(what: &str, name: &str) -> Result<(), Error> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty()
        || name.len() > 253
        || name.starts_with(['.', '-'])
        || !name.chars().all(good)
    {
        let problem = format!("{what} {name:?} cannot stand in a certificate");
        return Err(Error::Usage {
            problem,
            hint: "use 1 to 253 characters of A-Z a-z 0-9 . _ - and begin with none of . -",
        });
    }
    Ok(())
}
