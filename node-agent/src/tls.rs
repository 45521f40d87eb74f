//! The server's half of mutual TLS: TLS 1.3 only, ring's cryptography, and a client certificate from the configured
//! authority or no connection. It says who may connect; what they may ask, [`midflight_proto::peer`] says.

use std::{path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::TLS13,
};

use crate::{config::Tcp, error::Error};

/// Reads the PEM files and makes the server's configuration of them.
///
/// # Errors
/// [`Error::Tls`] with the file that cannot be used.
pub fn server_config(tcp: &Tcp) -> Result<Arc<ServerConfig>, Error> {
    let bad = |path: &Path, problem: String| Error::Tls {
        path: path.to_owned(),
        problem,
    };
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tcp.client_ca)? {
        roots
            .add(certificate)
            .map_err(|error| bad(&tcp.client_ca, error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| bad(&tcp.client_ca, error.to_string()))?;
    let key =
        PrivateKeyDer::from_pem_file(&tcp.key).map_err(|error| bad(&tcp.key, error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| bad(&tcp.cert, error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&tcp.cert)?, key)
        .map_err(|error| {
            bad(
                &tcp.cert,
                format!("with the key {}: {error}", tcp.key.display()),
            )
        })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bad = |problem: String| Error::Tls {
        path: path.to_owned(),
        problem,
    };
    let found = CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?;
    let found = found
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(error.to_string()))?;
    if found.is_empty() {
        Err(bad("no certificate in it".to_owned()))
    } else {
        Ok(found)
    }
}
