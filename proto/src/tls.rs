//! The server's half of mutual TLS, for agents and controllers: TLS 1.3 only, ring's cryptography, and a client certificate from
//! a known authority or no connection. It says who may connect; what they may ask, [`crate::peer`] says.

use std::sync::Arc;

use tokio_rustls::rustls::{
    ConfigBuilder, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::CertificateDer,
    server::{NoServerSessionStorage, WantsServerCert, WebPkiClientVerifier},
    version::TLS13,
};

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
