//! HTTP around the operations: connections, TLS, signatures, deadlines, and an orderly end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use outplane_admission::{Admission, Admitted, Counts, Guarded, Place};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{HttpResponse, S3Error, S3Result, s3_error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_util::sync::CancellationToken;

use crate::body::{Lent, Rest, Signed};
use crate::engine::{Limits, Op};
use crate::error::Error;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::s3::Frontend;
use crate::store::Store;

/// How long a connection may be silent between requests: longer than clients keep idle ones, so that they close first.
const IDLE: Duration = Duration::from_mins(2);
/// Longest time for a request up to its answer's first byte, its body among it.
const REQUEST: Duration = Duration::from_mins(1);
/// How long requests may go on after a shutdown has begun.
const GRACE: Duration = Duration::from_secs(10);
/// How often what has come of connections is noted.
const NOTED: Duration = Duration::from_secs(1);
/// Connections that can be allowed at most.
const MAX_CONNECTIONS: usize = 65_536;
/// Largest XML of a request, bytes: 1,000 keys to delete.
const XML: usize = 4 << 20;
/// Requests with XML that are read at a time.
const XML_REQUESTS: usize = 16;

/// What a store is to be.
#[derive(Debug)]
pub struct Settings {
    /// Where everything is kept; made if it is not there.
    pub folder: PathBuf,
    /// What clients must sign with.
    pub keys: Keys,
    /// Plain HTTP if there is none.
    pub tls: Option<Tls>,
    /// Most bytes that objects may take, with their keys and some 40 bytes for each. The folder takes at most twice
    /// that and five segments, and during uploads of large objects up to 512 MiB more.
    pub max_bytes: u64,
    /// Most objects. Each takes some 200 bytes of memory, whatever its size.
    pub max_objects: u64,
    /// Connections at a time. An idle one makes room for a newcomer; a quarter is kept for who has signed a request.
    pub connections: usize,
    /// Buckets that are made if they are not there.
    pub buckets: Vec<String>,
    /// Size of a segment of the log, bytes; without one 1/128 of `max_bytes`, 16 to 128 MiB. Each is an open file.
    pub segment: Option<u64>,
}

impl Settings {
    /// 8 GiB, 4,000,000 objects, 512 connections, plain HTTP.
    pub fn new(folder: impl Into<PathBuf>, keys: Keys) -> Self {
        Self {
            folder: folder.into(),
            keys,
            tls: None,
            max_bytes: 8 << 30,
            max_objects: 4_000_000,
            connections: 512,
            buckets: Vec::new(),
            segment: None,
        }
    }
}

/// TLS, in PEM.
#[derive(Clone)]
pub struct Tls {
    /// The server's certificate, with those that lead to its authority.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tls")
    }
}

/// A running store. Call [`Server::shutdown`] to end it; dropping it ends it without waiting for anything, which
/// loses nothing that was acknowledged.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    store: StoreHandle,
    stop: CancellationToken,
    admission: Admission,
    /// Closed when the last connection is.
    connections: mpsc::Receiver<Infallible>,
    accepting: JoinHandle<()>,
}

struct StoreHandle(Arc<Store>);

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Store")
    }
}

impl Server {
    /// Opens the folder and starts to serve. Must be called within a Tokio runtime.
    pub async fn start(listener: TcpListener, settings: Settings) -> Result<Self, Error> {
        let listening = |error| Error::Listener(Arc::new(error));
        let address = listener.local_addr().map_err(listening)?;
        let tls = settings.tls.as_ref().map(acceptor).transpose()?;
        let metrics: Arc<Metrics> = Arc::default();
        if let Some(name) = settings.buckets.iter().find(|name| !s3s::path::check_bucket_name(name)) {
            return Err(Error::BucketName(name.clone()));
        }
        let segment = settings.segment.unwrap_or((settings.max_bytes / 128).clamp(16 << 20, 128 << 20));
        let limits = Limits { bytes: settings.max_bytes, objects: settings.max_objects, segment };
        let (folder, counters) = (settings.folder, Arc::clone(&metrics));
        let opening = tokio::task::spawn_blocking(move || Store::open(&folder, limits, counters));
        let store = Arc::new(opening.await.unwrap_or(Err(Error::Stopping))?);
        for name in settings.buckets {
            match store.commit(Op::CreateBucket { name }).await {
                Ok(_) | Err(Error::BucketExists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            service: service(&store, settings.keys),
            store: Arc::clone(&store),
            xml: Arc::new(Semaphore::new(XML_REQUESTS)),
            stop: stop.clone(),
        });
        let connections = settings.connections.clamp(1, MAX_CONNECTIONS);
        let admission = Admission::new(outplane_admission::Settings::new(connections));
        let (open, connections) = mpsc::channel(1);
        let accepting = tokio::spawn(accept(listener, tls, shared, admission.clone(), open));
        tracing::info!(%address, "serving S3");
        Ok(Self { address, metrics, store: StoreHandle(store), stop, admission, connections, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What has come of connections.
    pub fn connections(&self) -> Counts {
        self.admission.counts()
    }

    /// Back when the disk has failed a write; then nothing is acknowledged any more, and the process should end.
    pub async fn failed(&self) -> Error {
        let mut failed = self.store.0.failed();
        match failed.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or(Error::Stopping),
            Err(_) => Error::Stopping,
        }
    }

    /// Takes no more requests, finishes those under way, makes everything durable, and is done. The folder is free
    /// then.
    pub async fn shutdown(mut self) -> Result<(), Error> {
        self.stop.cancel();
        let _ = (&mut self.accepting).await;
        if tokio::time::timeout(GRACE, self.connections.recv()).await.is_err() {
            let open = self.admission.counts().open;
            tracing::warn!(connections = open, "requests were still under way when the store ended");
        }
        self.store.0.close().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        self.accepting.abort();
    }
}

fn service(store: &Arc<Store>, keys: Keys) -> S3Service {
    let mut builder = S3ServiceBuilder::new(Frontend { store: Arc::clone(store) });
    builder.set_auth(OneKey(keys));
    builder.set_access(SignedOnly);
    let mut config = S3Config::default();
    config.xml_max_body_size = XML;
    // Forms are refused before they get there.
    config.post_object_max_file_size = 0;
    config.form_max_fields_size = 0;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.build()
}

/// The one access key.
struct OneKey(Keys);

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.0.access {
            return Ok(SecretKey::from(self.0.secret.as_str()));
        }
        Err(s3_error!(InvalidAccessKeyId, "the access key is not the one that this store has"))
    }
}

/// Asked when the signature of a request's head was found to be good, before its body is read.
struct SignedOnly;

#[async_trait::async_trait]
impl S3Access for SignedOnly {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        }
        if let Some(signed) = context.extensions_mut().get::<Arc<Signed>>() {
            signed.confirm();
        }
        Ok(())
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Tls(error.to_string());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&tls.certificate).collect();
    let chain = chain.map_err(|error| wrong(&error))?;
    if chain.is_empty() {
        return Err(Error::Tls("there is no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&tls.key).map_err(|error| wrong(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What all connections share.
struct Shared {
    service: S3Service,
    store: Arc<Store>,
    xml: Arc<Semaphore>,
    stop: CancellationToken,
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    admission: Admission,
    open: mpsc::Sender<Infallible>,
) {
    let accepting = async {
        while !open.is_closed() {
            let (tcp, peer) = admission.accept(&listener).await;
            let (tls, shared, open) = (tls.clone(), Arc::clone(&shared), open.clone());
            tokio::spawn(async move {
                connection(tcp, peer, tls, shared).await;
                drop(open);
            });
        }
    };
    let noting = async {
        while !open.is_closed() {
            let (counts, metrics) = (admission.counts(), shared.store.metrics());
            metrics.connections_refused.set(counts.refused);
            metrics.connections_evicted.set(counts.evicted);
            metrics.connections_late.set(counts.late);
            tokio::time::sleep(NOTED).await;
        }
    };
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = accepting => {}
        () = noting => {}
    }
}

async fn connection(
    tcp: Admitted<TcpStream>,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
) {
    let place = tcp.place().clone();
    let open = &shared.store.metrics().connections;
    open.increment();
    let serving = async {
        match tls {
            None => serve(tcp, peer, &place, &shared).await,
            // The time to the first request is over all of this.
            Some(tls) => match tls.accept(tcp).await {
                Ok(stream) => serve(stream, peer, &place, &shared).await,
                Err(error) => tracing::debug!(%peer, %error, "no TLS came about"),
            },
        }
    };
    place.ended().run_until_cancelled(serving).await;
    open.decrement();
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    place: &Place,
    shared: &Arc<Shared>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, busy) = (Arc::clone(shared), place.request());
        async move {
            let response = shared.answer(request, busy.place()).await;
            Ok::<_, Infallible>(response.map(|body| Guarded::new(body, busy)))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shared.stop.cancelled() => {
            // The request under way is answered, then the connection is closed.
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>, place: &Place) -> HttpResponse {
        let metrics = self.store.metrics();
        metrics.requests.add(1);
        let response = match refused(&request) {
            Some(error) => to_response(error),
            None => match tokio::time::timeout(REQUEST, self.call(request, place)).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => to_response(error),
                Err(_) => to_response(s3_error!(
                    RequestTimeout,
                    "the request took longer than {} seconds; a write may have been done",
                    REQUEST.as_secs()
                )),
            },
        };
        match response.status() {
            status if status.is_server_error() => metrics.failed.add(1),
            StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => {}
            status if status.is_client_error() => metrics.refused.add(1),
            _ => {}
        }
        response
    }

    async fn call(&self, request: Request<Incoming>, place: &Place) -> S3Result<HttpResponse> {
        let (mut parts, incoming) = request.into_parts();
        // Operations on buckets have XML, if anything, which is held in memory as a whole.
        let bucket = !parts.uri.path().trim_start_matches('/').contains('/');
        let is_xml = parts.method == Method::POST || parts.method == Method::PUT && bucket;
        let signed = Arc::new(Signed::new(place.clone()));
        parts.extensions.insert(Arc::clone(&signed));
        let (lent, rest) = if is_xml {
            Lent::xml(incoming, &parts.headers, &signed, &self.xml, XML)
        } else {
            Lent::new(incoming, &signed)
        };
        let response = self.serve(Request::from_parts(parts, s3s::Body::http_body_unsync(lent))).await;
        // Refused before all of it was read: who still sends would not see the answer.
        let Rest { trouble } = rest.drain(&signed).await;
        match trouble {
            Some(trouble) if !response.as_ref().is_ok_and(|it| !it.status().is_server_error()) => {
                Err(trouble.answer())
            }
            _ => response,
        }
    }

    async fn serve(&self, request: Request<s3s::Body>) -> S3Result<HttpResponse> {
        self.service.call(request).await.map_err(|error| {
            tracing::error!(?error, "a request could not be answered");
            s3_error!(InternalError)
        })
    }
}

/// What is not even looked at: signatures of version 2, which say little of the request and can be replayed, and
/// forms, which would be held in memory before it is known who sends them.
fn refused(request: &Request<Incoming>) -> Option<S3Error> {
    let header = |name| request.headers().get(name).map_or(&b""[..], |value| value.as_bytes());
    let query = request.uri().query().unwrap_or("");
    let old = header(AUTHORIZATION).starts_with(b"AWS ")
        || query.split('&').any(|pair| pair.split('=').next() == Some("Signature"));
    if old {
        return Some(s3_error!(NotImplemented, "requests are signed with version 4 here (AWS4-HMAC-SHA256)"));
    }
    let form = header(CONTENT_TYPE).to_ascii_lowercase().starts_with(b"multipart/form-data");
    if form && request.method() == Method::POST {
        return Some(s3_error!(NotImplemented, "objects are put, not posted"));
    }
    None
}

fn to_response(error: S3Error) -> HttpResponse {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = HttpResponse::new(s3s::Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}
