//! The server's half of mutual TLS: TLS 1.3 only, ring's cryptography, and a client certificate from the configured
//! authority or no connection. It says who may connect; what they may ask, [`midflight_proto::peer`] says.

use std::{path::Path, sync::Arc};

use rustls::{
    ConfigBuilder, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WantsServerCert, WebPkiClientVerifier},
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
    let base =
        base(certificates(&tcp.client_ca)?).map_err(|problem| bad(&tcp.client_ca, problem))?;
    let key =
        PrivateKeyDer::from_pem_file(&tcp.key).map_err(|error| bad(&tcp.key, error.to_string()))?;
    let mut config = base
        .with_single_cert(certificates(&tcp.cert)?, key)
        .map_err(|error| {
            bad(
                &tcp.cert,
                format!("with the key {}: {error}", tcp.key.display()),
            )
        })?;
    finish(&mut config).map_err(|problem| bad(&tcp.cert, problem))?;
    Ok(Arc::new(config))
}

/// A configuration that lacks its certificate. Peers must be known to one of these authorities.
///
/// # Errors
/// What is wrong with an authority.
pub fn base(
    authorities: Vec<CertificateDer<'static>>,
) -> Result<ConfigBuilder<ServerConfig, WantsServerCert>, String> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| error.to_string())?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?;
    Ok(builder.with_client_cert_verifier(verifier))
}

/// What holds for every server: HTTP/2, and one ticket a connection, with which a peer comes back without certificates and
/// signatures. The session is in the ticket, encrypted with a key that this process makes and changes every six hours, so
/// that it costs no memory. No early data: it could be replayed.
///
/// # Errors
/// There is no randomness.
pub fn finish(config: &mut ServerConfig) -> Result<(), String> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok(())
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
