//! TCP and TLS, up to a channel that calls can go through.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outplane_p4runtime::p4::v1::p4_runtime_client::P4RuntimeClient;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncReadExt;
use tonic::Request;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};

use crate::errors::{Error, Peer, Problem};
use crate::status::reason;
use crate::target::{Options, Target, TlsFiles};

/// Largest message from the switch that is no answer to a read: a packet, arbitration, a cookie.
const MAX_OTHER: usize = 4 << 20;

/// Largest list of headers from the switch. The errors of a chunk come as one header: about 100 bytes an update, more
/// where the switch is wordy.
const MAX_HEADERS: u32 = 8 << 20;

/// Says so to switches that ask: our soft switch sends others no more than the 8 KiB that gRPC's libraries take.
const METADATA_LIMIT: &str = "outplane-metadata-limit";

/// A request that says how long the errors in its answer may be.
pub(crate) fn with_metadata_limit<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(METADATA_LIMIT, MAX_HEADERS.into());
    request
}

/// Largest PEM file that is read.
const MAX_PEM: u64 = 1 << 20;

/// Flow control window of a read.
const WINDOW: u32 = 8 << 20;

/// Connects, once.
pub(crate) async fn connect(
    peer: &Arc<Peer>,
    target: &Target,
    options: &Options,
) -> Result<P4RuntimeClient<Channel>, Error> {
    let endpoint = endpoint(peer, target, options).await?;
    // The connect timeout of the endpoint covers TCP; this one also TLS and HTTP/2.
    let unreachable = |reason| peer.error(Problem::Unreachable { reason });
    let channel = match tokio::time::timeout(options.connect_deadline, endpoint.connect()).await {
        Err(_) => {
            return Err(unreachable(format!(
                "no answer within {} s",
                options.connect_deadline.as_secs_f32()
            )));
        }
        Ok(Err(error)) => return Err(unreachable(reason(&error))),
        Ok(Ok(channel)) => channel,
    };
    Ok(P4RuntimeClient::new(channel).max_decoding_message_size(MAX_OTHER))
}

async fn endpoint(peer: &Arc<Peer>, target: &Target, options: &Options) -> Result<Endpoint, Error> {
    let address = |problem: String| peer.error(Problem::Address { problem });
    let scheme = if target.tls.is_some() { "https" } else { "http" };
    let uri: Uri =
        format!("{scheme}://{}", target.address).parse().map_err(|error| address(format!("{error}")))?;
    if uri.port_u16().is_none_or(|port| port == 0) {
        return Err(address("it has no port".into()));
    }
    if uri.host().is_none_or(str::is_empty) || uri.path() != "/" || uri.query().is_some() {
        return Err(address("it is not a host and a port".into()));
    }
    let mut endpoint = Endpoint::from(uri)
        .connect_timeout(options.connect_deadline)
        .tcp_keepalive(Some(Duration::from_secs(15)))
        .tcp_keepalive_interval(Some(Duration::from_secs(5)))
        .tcp_keepalive_retries(Some(3))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .http2_max_header_list_size(MAX_HEADERS);
    if let Some(interval) = options.http2_ping {
        endpoint = endpoint
            .http2_keep_alive_interval(interval)
            .keep_alive_timeout(options.call_deadline)
            .keep_alive_while_idle(true);
    }
    let Some(files) = &target.tls else { return Ok(endpoint) };
    let config = tls(peer, files, options).await?;
    endpoint.tls_config(config).map_err(|error| {
        let file = files.identity.as_ref().map_or_else(|| files.ca.clone(), |(cert, _)| cert.clone());
        let mut problem = reason(&error);
        if let Some((_, key)) = &files.identity {
            problem = format!("{problem} (its key is {})", key.display());
        }
        peer.error(Problem::Tls { file, problem })
    })
}

async fn tls(peer: &Arc<Peer>, files: &TlsFiles, options: &Options) -> Result<ClientTlsConfig, Error> {
    let mut config = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(certificates(peer, &files.ca).await?))
        .timeout(options.connect_deadline);
    if let Some((cert, key)) = &files.identity {
        let cert = certificates(peer, cert).await?;
        let pem = pem(peer, key).await?;
        PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
            peer.error(Problem::Tls {
                file: key.clone(),
                problem: format!("no private key in PEM form: {error}"),
            })
        })?;
        config = config.identity(Identity::from_pem(cert, pem));
    }
    if let Some(name) = &files.server_name {
        config = config.domain_name(name.clone());
    }
    Ok(config)
}

/// A file with at least one certificate, and nothing else that claims to be one.
async fn certificates(peer: &Arc<Peer>, file: &Path) -> Result<Vec<u8>, Error> {
    let pem = pem(peer, file).await?;
    let wrong = |problem| peer.error(Problem::Tls { file: file.to_owned(), problem });
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        certificate.map_err(|error| wrong(format!("not a certificate in PEM form: {error}")))?;
        count += 1;
    }
    if count == 0 {
        return Err(wrong("no certificate in PEM form".into()));
    }
    Ok(pem)
}

async fn pem(peer: &Arc<Peer>, file: &Path) -> Result<Vec<u8>, Error> {
    let wrong = |problem| peer.error(Problem::Tls { file: file.to_owned(), problem });
    let read = async {
        let mut bytes = Vec::new();
        tokio::fs::File::open(file).await?.take(MAX_PEM + 1).read_to_end(&mut bytes).await?;
        Ok(bytes)
    };
    let bytes = read.await.map_err(|error: std::io::Error| wrong(error.to_string()))?;
    if bytes.len() as u64 > MAX_PEM {
        return Err(wrong(format!("it has more than {MAX_PEM} bytes, which no PEM file has")));
    }
    Ok(bytes)
}
