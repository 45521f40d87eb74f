//! The files of the agent's half of mutual TLS, read into what [`midflight_proto::tls`] makes of them.

use std::{path::Path, sync::Arc};

use midflight_proto::tls::{base, finish};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
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
