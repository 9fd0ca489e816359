//! What a node, or the embedded store, serves over HTTP, for monitoring and for people: nothing here changes anything.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | metrics in the Prometheus text format (`OpenMetrics` 1.0) |
//! | `/health` | 200 while the process lives |
//! | `/ready` | 200 when it does its work; else 503 and why not, a line each |
//! | `/status` | JSON: what the daemon says of itself |
//!
//! There is no password: it listens on loopback unless the node's file says otherwise, and no answer has a secret.

pub(crate) mod ask;
mod listener;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub use ask::{Told, told};
use listener::{At, Bounded};

/// Connections at a time; an idle one makes room for a newcomer, and one peer has a quarter of them.
const MAX_CONNECTIONS: usize = 32;
/// How long one connection lives at most, whatever goes over it.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(30);

/// Why a node cannot serve.
#[derive(Debug, Error)]
#[error(
    "cannot listen on {address} for HTTP: {source}; is the port another process's? name another (`listen` in [http] of a \
     node's file, `--http` of the store)"
)]
pub struct HttpError {
    address: SocketAddr,
    source: std::io::Error,
}

/// What a node is not ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lacking {
    /// The shared configuration.
    Configuration,
    /// The store.
    Store,
    /// Rights in the store.
    Rights,
    /// Datagrams, ring or sockets.
    Datagrams,
    /// The will: it is draining.
    Draining,
    /// A disk that takes what is written.
    Disk,
}

/// Why a daemon is not ready, if it is not. Cheap to share; a new one is ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    lacking: Arc<Mutex<BTreeMap<Lacking, String>>>,
}

impl Readiness {
    /// Of a node that starts: it lacks the configuration.
    pub fn of_node() -> Self {
        let readiness = Self::default();
        readiness.lacks(Lacking::Configuration, "no shared configuration has been read yet");
        readiness
    }

    /// Not ready, for this reason, until [`Self::has`].
    pub fn lacks(&self, what: Lacking, why: impl Into<String>) {
        self.lock().insert(what, why.into());
    }

    /// What was lacking is there.
    pub fn has(&self, what: Lacking) {
        self.lock().remove(&what);
    }

    /// Whether nothing is lacking.
    pub fn is_ready(&self) -> bool {
        self.lock().is_empty()
    }

    /// Why not, in a fixed order; empty if ready.
    pub fn reasons(&self) -> Vec<String> {
        self.lock().values().cloned().collect()
    }

    /// What is lacking, and why.
    pub(crate) fn each(&self) -> BTreeMap<Lacking, String> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Lacking, String>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the JSON of `/status`. Called for each request: it must not block, and must not hold what the daemon needs.
pub type StatusSource = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// Media type of encoded metrics.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Gives the text of `/metrics`, [`CONTENT_TYPE`]. The same holds.
pub type MetricsSource = Arc<dyn Fn() -> String + Send + Sync>;

/// What is served.
#[derive(Clone)]
pub struct Pages {
    /// `/metrics`.
    pub metrics: MetricsSource,
    /// `/ready`.
    pub readiness: Readiness,
    /// `/status`.
    pub status: StatusSource,
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: tokio::net::TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens. Port 0 takes one that is free.
    pub async fn bind(address: SocketAddr) -> Result<Self, HttpError> {
        let failed = |source| HttpError { address, source };
        let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; then finishes the answers under way, for a second at most.
    pub async fn run(self, pages: Pages, stop: CancellationToken) {
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/health", get(|| async { "alive\n" }))
            .route("/ready", get(ready))
            .route("/status", get(status))
            .layer(axum::middleware::from_fn(listener::busy))
            .with_state(pages)
            .into_make_service_with_connect_info::<At>();
        let listener = Bounded::new(self.listener, MAX_CONNECTIONS, CONNECTION_LIFETIME);
        let graceful = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        let last_call = async {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        tokio::select! {
            _ = graceful.into_future() => {}
            () = last_call => {}
        }
    }
}

async fn metrics(State(pages): State<Pages>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], (pages.metrics)())
}

async fn ready(State(pages): State<Pages>) -> impl IntoResponse {
    let reasons = pages.readiness.reasons();
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
}

async fn status(State(pages): State<Pages>) -> impl IntoResponse {
    let mut text = (pages.status)().to_string();
    text.push('\n');
    ([(header::CONTENT_TYPE, "application/json")], text)
}
