//! What a controller needs to reach a simulated fleet, written into a folder: a CA and an operator's certificate, the
//! inventories, who may sign, and a signed release with patches for it. Certificates of nodes stay in memory. The folder is
//! private to its owner, and of no use once the simulator has ended.

use std::{
    collections::BTreeMap,
    fs::{DirBuilder, OpenOptions},
    io::Write as _,
    net::Ipv4Addr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use midflight_patch::{
    Bundle, Digest, KeyFile, Manifest, ModuleEntry, ModuleName, Restart, SCHEMA, Start, Update,
    Vsn, WORLD,
    plan::Direction,
    ssh_key::{
        LineEnding, PrivateKey,
        private::{Ed25519Keypair, KeypairData},
    },
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType,
};
use rustls::{
    crypto::ring::sign::any_eddsa_type,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use serde_json::json;
use time::{Duration, OffsetDateTime};

use super::Sockets;
use crate::error::Error;

/// How long certificates are valid.
const DAYS: i64 = 7;
/// Who signs, in `allowed_signers`.
const SIGNER: &str = "oncall@sim.invalid";
/// The release's one module.
const MODULE: &str = "counter";

/// A folder being filled.
pub struct Folder {
    path: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// The CA's certificate.
    pub ca: CertificateDer<'static>,
}

/// One node as the inventory has it.
pub struct Place<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it is dialled.
    pub address: Ipv4Addr,
    /// Its zone.
    pub zone: &'a str,
}

impl Folder {
    /// Makes the folder, if it is not there, and in it `pki/` with a new CA, an operator, and a server for `midflight serve`.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Simulation`].
    pub fn new(path: &Path) -> Result<Self, Error> {
        let pki = path.join("pki");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&pki);
        made.map_err(Error::io("create", &pki))?;
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(failed("the CA's key"))?;
        let mut ca = params("midflight sim CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = ca.self_signed(&key).map_err(failed("the CA"))?;
        let folder = Self {
            path: path.to_owned(),
            ca: certificate.der().clone(),
            issuer: Issuer::new(ca, key),
        };
        folder.write("pki/ca.pem", certificate.pem().as_bytes())?;
        let mut operator = params("controller");
        operator
            .distinguished_name
            .push(DnType::OrganizationalUnitName, "operator");
        operator.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let mut server = params("server");
        server.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for (name, params) in [("controller", operator), ("server", server)] {
            let (key, certificate) = folder.issue(params)?;
            folder.write(&format!("pki/{name}.pem"), certificate.pem().as_bytes())?;
            folder.write(&format!("pki/{name}.key"), key.serialize_pem().as_bytes())?;
        }
        Ok(folder)
    }

    fn issue(&self, params: CertificateParams) -> Result<(KeyPair, rcgen::Certificate), Error> {
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(failed("a key"))?;
        let certificate = params.signed_by(&key, &self.issuer);
        Ok((key, certificate.map_err(failed("a certificate"))?))
    }

    /// The certificate of a node, and its key.
    ///
    /// # Errors
    /// [`Error::Simulation`].
    pub fn node(&self, name: &str) -> Result<Arc<CertifiedKey>, Error> {
        let mut params = params(name);
        let dns = name.try_into().map_err(failed("a node's name"))?;
        params.subject_alt_names = vec![SanType::DnsName(dns)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (key, certificate) = self.issue(params)?;
        let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(key.serialize_der()))
            .map_err(failed("a node's key"))?;
        let chain = vec![certificate.der().clone()];
        Ok(Arc::new(CertifiedKey::new(chain, key)))
    }

    /// Writes `fleet.yaml`, and with sockets `fleet-ssh.yaml`: the same nodes, reached over SSH.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn inventories<'a>(
        &self,
        port: u16,
        places: impl Iterator<Item = Place<'a>>,
        sockets: Option<&Sockets>,
    ) -> Result<(), Error> {
        const HOSTS: &str = "groups:\n  sim:\n    hosts:\n";
        let mut tls = HOSTS.to_owned();
        let mut ssh = format!("transport: ssh\n{HOSTS}");
        for Place {
            name,
            address,
            zone,
        } in places
        {
            tls.push_str(&format!(
                "      {name}: {{address: {address}, port: {port}, zone: {zone}}}\n"
            ));
            if let Some(sockets) = sockets {
                // A text of JSON is one of YAML.
                let socket = json!(sockets.path(name).to_string_lossy());
                ssh.push_str(&format!(
                    "      {name}: {{address: {address}, zone: {zone}, vars: {{midflight_socket: {socket}}}}}\n"
                ));
            }
        }
        self.write("fleet.yaml", tls.as_bytes())?;
        if sockets.is_some() {
            self.write("fleet-ssh.yaml", ssh.as_bytes())?;
        }
        Ok(())
    }

    /// Writes `signer` and `allowed_signers`, `release.bundle` of vsn 1, and for each further vsn up to `newest` a patch from
    /// the one before, `patch-2.bundle` and so on, whose one component has `bytes` bytes. Gives the release and the signers.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Patch`] and [`Error::Simulation`].
    pub fn bundles(&self, newest: u32, bytes: usize) -> Result<(PathBuf, PathBuf), Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(failed("a random seed"))?;
        let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
        let key = PrivateKey::new(pair, SIGNER).map_err(failed("a signing key"))?;
        let openssh = key.to_openssh(LineEnding::LF);
        let openssh = openssh.map_err(failed("a signing key"))?;
        let public = key.public_key().to_openssh();
        let public = public.map_err(failed("a signing key"))?;
        let signer = self.write("signer", openssh.as_bytes())?;
        let line = format!("{SIGNER} namespaces=\"patch@midflight\" {public}\n");
        let allowed = self.write("allowed_signers", line.as_bytes())?;
        let what = || Error::patch("the simulator's bundle");
        let signer = KeyFile::open(&signer, |_| None).map_err(what())?;
        let mut release = PathBuf::new();
        for vsn in 1..=newest {
            let mut bundle = bundle(vsn, bytes)?;
            bundle.sign(&signer).map_err(what())?;
            let path = match vsn {
                1 => self.path.join("release.bundle"),
                _ => self.path.join(format!("patch-{vsn}.bundle")),
            };
            bundle.write(&path).map_err(what())?;
            if vsn == 1 {
                release = path;
            }
        }
        Ok((release, allowed))
    }

    /// Writes a file that its owner alone may read.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(bytes));
        written.map_err(Error::io("write", &path))?;
        Ok(path)
    }
}

/// A release of vsn 1, or the patch to a later vsn from the one before. The component is no component: nothing runs it.
fn bundle(vsn: u32, bytes: usize) -> Result<Bundle, Error> {
    let what = || Error::patch("the simulator's bundle");
    let mut component = vec![0; bytes];
    getrandom::fill(&mut component).map_err(failed("random bytes"))?;
    let name = || ModuleName::new(MODULE).map_err(what());
    let from = match vsn {
        1 => None,
        _ => Some((vsn - 1).to_string().parse().map_err(what())?),
    };
    let to = Vsn::new(vsn.to_string()).map_err(what())?;
    let start = Start {
        name: MODULE.to_owned(),
        module: name()?,
        args: serde_json::Value::Null,
        count: 100,
        restart: Restart::Permanent,
    };
    let manifest = Manifest {
        schema: SCHEMA,
        name: "sim".to_owned(),
        from: from.clone(),
        to: to.clone(),
        world: WORLD.to_owned(),
        modules: vec![ModuleEntry {
            name: name()?,
            vsn: to,
            from: from.clone(),
            update: Update::Advanced,
            extra: serde_json::Value::Null,
            config: serde_json::Value::Null,
            blob: Digest::of(&component),
            size: component.len() as u64,
        }],
        start: if from.is_none() {
            vec![start]
        } else {
            Vec::new()
        },
        applications: Vec::new(),
        listen: None,
        connect: None,
        direction: Direction::Up,
        instructions: Vec::new(),
        relup: None,
    };
    let blobs = BTreeMap::from([(Digest::of(&component), component)]);
    Bundle::assemble(manifest.to_bytes().map_err(what())?, blobs, Vec::new()).map_err(what())
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::minutes(5);
    params.not_after = now + Duration::days(DAYS);
    params.use_authority_key_identifier_extension = true;
    params
}

fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::Simulation {
        problem: format!("{what} cannot be made: {error}"),
    }
}
