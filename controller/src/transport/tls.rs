//! Who the controller is and whom it believes: one CA, one certificate and key, read once and shared by all connections.
//! TLS 1.3 only, with ring. It promises that a node is believed only with a certificate that carries the node's name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig};

use crate::error::Error;
use crate::transport::tickets::Tickets;

/// The files that prove who the controller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Who issues the certificates of nodes, PEM.
    pub ca: PathBuf,
    /// The controller's certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl Credentials {
    /// The usual names in a folder: `ca.pem`, `controller.pem`, `controller.key`.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            ca: folder.join("ca.pem"),
            cert: folder.join("controller.pem"),
            key: folder.join("controller.key"),
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`Error::Credentials`] with the file that cannot be used.
    pub(crate) fn client_config(&self) -> Result<Arc<ClientConfig>, Error> {
        let refuse = |path: &Path, problem: String| Error::Credentials {
            path: path.to_owned(),
            problem,
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots
                .add(certificate)
                .map_err(|error| refuse(&self.ca, error.to_string()))?;
        }
        let chain = certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| refuse(&self.key, error.to_string()))?;
        let mut provider = rustls::crypto::ring::default_provider();
        // Processors have instructions for SHA-256 and none for SHA-384, in which half of a resumed handshake would go.
        let preferred = CipherSuite::TLS13_AES_128_GCM_SHA256;
        provider
            .cipher_suites
            .sort_by_key(|suite| suite.suite() != preferred);
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| refuse(&self.ca, error.to_string()))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| refuse(&self.cert, format!("it does not go with its key: {error}")))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // No early data: it could be replayed.
        config.resumption = Resumption::store(Arc::new(Tickets::default()));
        Ok(Arc::new(config))
    }
}

impl Credentials {
    /// The same files as a server's: whoever the CA has certified may connect, and nobody without a certificate.
    ///
    /// # Errors
    /// [`Error::Credentials`] with the file that cannot be used.
    pub(crate) fn server_config(&self) -> Result<Arc<ServerConfig>, Error> {
        let refuse = |path: &Path, problem: String| Error::Credentials {
            path: path.to_owned(),
            problem,
        };
        let base = midflight_proto::tls::base(certificates(&self.ca)?)
            .map_err(|problem| refuse(&self.ca, problem))?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| refuse(&self.key, error.to_string()))?;
        let mut config = base
            .with_single_cert(certificates(&self.cert)?, key)
            .map_err(|error| refuse(&self.cert, format!("it does not go with its key: {error}")))?;
        midflight_proto::tls::finish(&mut config).map_err(|problem| refuse(&self.cert, problem))?;
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let refuse = |problem: String| Error::Credentials {
        path: path.to_owned(),
        problem,
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| refuse(error.to_string()))?
        .collect();
    match found {
        Ok(found) if found.is_empty() => Err(refuse("it holds no certificate".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(refuse(error.to_string())),
    }
}
