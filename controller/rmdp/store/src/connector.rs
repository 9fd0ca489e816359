//! The HTTP client under the SDK: one pool of connections for all endpoints, TLS by rustls with ring, bounded answers.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::{HttpClient, RuntimeComponents};
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat, SdkBody};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use http_body_util::Limited;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::skew::Skew;
use crate::{Error, Settings};

/// What an answer may have beside an object: a listing of 1,000 keys, with room.
const LISTING: usize = 4 << 20;
/// What an answer may have that is no success: an error's XML, or a page of something in between.
const REFUSAL: usize = 64 << 10;

/// Hands the same connector to every client and operation, so that they share its pool.
#[derive(Clone, Debug)]
pub(crate) struct Http(SharedHttpConnector);

impl Http {
    pub(crate) fn new(settings: &Settings, skew: Arc<Skew>) -> Result<Self, Error> {
        let context = TlsContext::builder()
            .with_trust_store(trust(settings)?)
            .build()
            .map_err(|error| Error::Settings(format!("TLS: {error}")))?;
        let connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(context)
            // As many as can be busy at once: after a burst nothing is closed that the next burst would open again.
            .pool_max_idle_per_host(settings.max_requests)
            .build();
        let bounded = Bounded { inner: connector, object: settings.max_object, skew };
        Ok(Self(SharedHttpConnector::new(bounded)))
    }
}

impl HttpClient for Http {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        self.0.clone()
    }
}

/// The SDK reads most answers whole before it parses them; this is what keeps them from growing without end. Objects
/// are read by [`fetch`](crate::store::fetch), which holds each to the bound of its key.
#[derive(Debug)]
struct Bounded {
    inner: Connector,
    object: usize,
    skew: Arc<Skew>,
}

/// An answer that took longer says too little of when it was given.
const PROMPT: Duration = Duration::from_secs(2);

impl HttpConnector for Bounded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        // Whatever else is read is short: a listing, the versioning. The SDK names an object's GET in the query.
        let is_object = request.method() == "GET" && request.uri().ends_with("?x-id=GetObject");
        let success = if is_object { self.object.max(LISTING) } else { LISTING };
        let (answer, skew, started) = (self.inner.call(request), Arc::clone(&self.skew), Instant::now());
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            if started.elapsed() < PROMPT
                && let Some(date) = answer.headers().get("date")
                && let Ok(date) = DateTime::from_str(date, DateTimeFormat::HttpDate)
                && let Ok(own) = SystemTime::now().duration_since(UNIX_EPOCH)
            {
                skew.answered(date.secs(), own, started.elapsed());
            }
            let max = if answer.status().is_success() { success } else { REFUSAL };
            Ok(bound(answer, max))
        })
    }
}

fn bound(response: HttpResponse, max: usize) -> HttpResponse {
    let stated = response.headers().get("content-length").and_then(|length| length.parse().ok());
    // A stated length is what the HTTP layer delivers at most.
    if stated.is_some_and(|length: usize| length <= max) {
        return response;
    }
    response.map(|body| SdkBody::from_body_1_x(Limited::new(body, max)))
}

/// Whom to believe about certificates. The SDK's client panics on bad ones, so they are looked at here.
fn trust(settings: &Settings) -> Result<TrustStore, Error> {
    if let Some(ca) = &settings.ca {
        let pem = std::fs::read(ca)
            .map_err(|error| Error::Settings(format!("cannot read `ca` {}: {error}", ca.display())))?;
        check(ca, &pem)?;
        return Ok(TrustStore::empty().with_pem_certificate(pem));
    }
    if !settings.endpoints.iter().any(|endpoint| endpoint.starts_with("https://")) {
        return Ok(TrustStore::empty());
    }
    if rustls_native_certs::load_native_certs().certs.is_empty() {
        return Err(Error::Settings(
            "this system has no certificate authorities: install them (Debian package ca-certificates) or set `ca`"
                .to_owned(),
        ));
    }
    Ok(TrustStore::default())
}

fn check(ca: &Path, pem: &[u8]) -> Result<(), Error> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate
            .map_err(|error| Error::Settings(format!("`ca` {} is not PEM: {error:?}", ca.display())))?;
        roots.add(certificate).map_err(|error| {
            Error::Settings(format!("`ca` {} has a certificate that is none: {error}", ca.display()))
        })?;
    }
    if roots.is_empty() {
        return Err(Error::Settings(format!("`ca` {} has no certificate in it", ca.display())));
    }
    Ok(())
}
