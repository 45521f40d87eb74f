//! A private authority, the agent's certificate, and clients.

use std::{fs, net::SocketAddr, path::Path};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::Client;

pub struct Pki {
    pub ca: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "test authority");
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), Issuer::new(params, key))
}

impl Pki {
    /// Writes `ca.pem`, `agent.pem` and `agent.key`.
    pub fn new(folder: &Path) -> Self {
        let (ca, issuer) = authority();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        fs::write(folder.join("ca.pem"), &ca).unwrap();
        fs::write(folder.join("agent.pem"), certificate.pem()).unwrap();
        fs::write(folder.join("agent.key"), key.serialize_pem()).unwrap();
        Self { ca, issuer }
    }

    /// The same authority to trust, another one to be issued by.
    pub fn forged(&self) -> Self {
        Self {
            ca: self.ca.clone(),
            issuer: authority().1,
        }
    }

    fn identity(&self, units: &[&str]) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "controller");
        for unit in units {
            params
                .distinguished_name
                .push(DnType::OrganizationalUnitName, *unit);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::from_pem(certificate.pem(), key.serialize_pem())
    }

    /// A client with a certificate of this role, or with none.
    pub async fn client(
        &self,
        address: SocketAddr,
        role: Option<&str>,
    ) -> Result<Client, tonic::transport::Error> {
        Ok(Client::new(self.channel(address, role).await?))
    }

    pub async fn channel(
        &self,
        address: SocketAddr,
        role: Option<&str>,
    ) -> Result<tonic::transport::Channel, tonic::transport::Error> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca))
            .domain_name("localhost");
        let tls = match role {
            Some(role) => tls.identity(self.identity(&[role])),
            None => tls,
        };
        Endpoint::from_shared(format!("https://{address}"))?
            .tls_config(tls)?
            .connect()
            .await
    }
}
