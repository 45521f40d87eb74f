//! The gRPC transport against sockets: a node is believed only by the name in its certificate.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use midflight_controller::error::chain;
use midflight_controller::pki::{self, Role, Subject};
use midflight_controller::transport::grpc::Grpc;
use midflight_controller::transport::{CallError, Credentials, Target, Transport};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(10);

fn make_pki(folder: &Path) -> Grpc {
    pki::init(folder, "test", false).unwrap();
    pki::issue(
        folder,
        &Subject::Client {
            name: "controller".into(),
            role: Role::Operator,
        },
        1,
        false,
    )
    .unwrap();
    Grpc::new(&Credentials::in_folder(folder)).unwrap()
}

/// A TLS server under a node's name, and its port. It speaks no gRPC.
async fn serve(folder: &Path, node: &str) -> u16 {
    let subject = Subject::Node {
        name: node.into(),
        addresses: Vec::new(),
    };
    let (cert, key) = pki::issue(folder, &subject, 1, false).unwrap();
    let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            // Whether the client went away is for the client to say.
            let _ = acceptor.accept(tcp).await;
        }
    });
    port
}

async fn refusal(grpc: &Grpc, name: &str, port: u16) -> CallError {
    let target = Target {
        name: name.into(),
        address: "127.0.0.1".into(),
        port,
        ssh: None,
    };
    match grpc.connect(&target, PATIENCE).await {
        Err(error) => error,
        // The connection stands before the server is heard; the first call finds out.
        Ok(agent) => agent.describe().await.unwrap_err(),
    }
}

#[tokio::test]
async fn a_certificate_of_another_node_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let grpc = make_pki(folder.path());
    let port = serve(folder.path(), "n2").await;
    let error = refusal(&grpc, "n1", port).await;
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
    assert!(
        chain(&error).contains("not valid for name"),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn a_node_of_another_ca_is_not_believed() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let grpc = make_pki(folder.path());
    make_pki(other.path());
    let port = serve(other.path(), "n1").await;
    let error = refusal(&grpc, "n1", port).await;
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
    assert!(chain(&error).contains("certificate"), "{}", chain(&error));
}

#[tokio::test]
async fn a_port_where_nobody_listens_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let grpc = make_pki(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = refusal(&grpc, "n1", port).await;
    assert_eq!(error.code(), "MF0520");
    assert!(chain(&error).contains("refused"), "{}", chain(&error));
}

#[tokio::test]
async fn a_server_that_breaks_off_is_silence_and_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let grpc = make_pki(folder.path());
    let port = serve(folder.path(), "n1").await;
    assert!(refusal(&grpc, "n1", port).await.is_silence());
}
