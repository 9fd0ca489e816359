//! TLS, with and without certificates of clients.

use std::time::Duration;

use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::p4::v1::p4_runtime_client::P4RuntimeClient;
use outplane_softswitch::server::{Config, PacketIo, ServerError, Tls, serve};
use outplane_softswitch::state::{Limits, Shared};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::support::{Bed, DEVICE};

/// An authority and what it has signed for `localhost`: certificate and key.
fn authority() -> (String, (String, String)) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    (ca.pem(), (leaf.pem(), key.serialize_pem()))
}

async fn capabilities(bed: &Bed, tls: Option<ClientTlsConfig>) -> Result<String, String> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint =
        Endpoint::from_shared(format!("{scheme}://localhost:{}", bed.handle.address().port())).unwrap();
    let mut endpoint = endpoint.timeout(Duration::from_secs(10)).connect_timeout(Duration::from_secs(10));
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls.domain_name("localhost")).unwrap();
    }
    let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
    let answer = P4RuntimeClient::new(channel).capabilities(proto::CapabilitiesRequest::default()).await;
    answer.map(|answer| answer.into_inner().p4runtime_api_version).map_err(|status| status.to_string())
}

#[tokio::test]
async fn only_clients_of_the_authority_get_in() {
    let (ca, (certificate, key)) = authority();
    let (_, (stranger_certificate, stranger_key)) = authority();
    let server_tls = |client_ca: Option<&str>| Tls {
        certificate: certificate.clone().into(),
        key: key.clone().into(),
        client_ca: client_ca.map(|ca| ca.to_owned().into()),
    };
    let start = |tls| {
        Bed::with(Config { tls: Some(tls), ..Config::new(DEVICE) }, Limits::default(), PacketIo::default())
    };
    let trusting = || ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&ca));

    let open = start(server_tls(None)).await;
    capabilities(&open, Some(trusting())).await.unwrap();
    capabilities(&open, None).await.unwrap_err();
    capabilities(&open, Some(ClientTlsConfig::new())).await.unwrap_err();

    let mutual = start(server_tls(Some(&ca))).await;
    capabilities(&mutual, Some(trusting())).await.unwrap_err();
    let stranger = trusting().identity(Identity::from_pem(&stranger_certificate, &stranger_key));
    capabilities(&mutual, Some(stranger)).await.unwrap_err();
    let ours = trusting().identity(Identity::from_pem(&certificate, &key));
    capabilities(&mutual, Some(ours)).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_served_is_an_error() {
    let listener = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
    let tls = Tls { certificate: b"nonsense".to_vec(), key: b"nonsense".to_vec(), client_ca: None };
    assert!(!format!("{tls:?}").contains("nonsense"));
    let config = Config { tls: Some(tls), ..Config::new(DEVICE) };
    let result = serve(listener().await, config, Shared::new(Limits::default()), PacketIo::default());
    assert!(matches!(result.err().unwrap(), ServerError::Tls(_)));
    let result = serve(listener().await, Config::new(0), Shared::new(Limits::default()), PacketIo::default());
    assert!(matches!(result.err().unwrap(), ServerError::DeviceId));
}
