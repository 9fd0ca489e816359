//! The P4Runtime server of the switch.
//!
//! The standard, version 1.5, is followed to the letter, with these choices where it leaves some: every role is of
//! the whole pipeline, whatever its configuration (which is kept and told to all); batches may be rolled back and may
//! be atomic for packets; pipelines may be saved and committed later, and reconciled; values wider than 128 bits and
//! types translated to strings are refused with the P4Info.
//!
//! Who connects is bounded before it is known: places, shares and deadlines (`outplane_admission`), room for messages
//! (`gate`). A peer is known while it has a client's certificate, or for an hour after it was primary.

mod accept;
pub mod arbitration;
mod gate;
pub mod packet_io;
mod service;
mod status;
mod stream;
mod witness;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outplane_admission::{Admission, Counts, Quota};
use outplane_p4runtime::p4::v1::IdleTimeoutNotification;
use outplane_p4runtime::p4::v1::p4_runtime_server::P4RuntimeServer;
use outplane_p4runtime::p4::v1::stream_message_response::Update as Response;
use outplane_p4runtime::wire::Limits as WireLimits;
use tokio::net::TcpListener;
use tokio::sync::{RwLock, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::dataplane::PacketIn;
use crate::state::Shared;
use arbitration::Arbiter;
use stream::Sessions;

pub use packet_io::SendPacket;
pub use service::API_VERSION;
pub use witness::{Event, Requester, Witness};

/// How often idle entries are looked for.
const IDLE_SCAN: Duration = Duration::from_millis(100);
/// A connection that doesn't answer to pings for twice this long is dead, and its clients with it.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long answers that are being sent may take after a shutdown.
const GRACE: Duration = Duration::from_secs(5);

/// How the server is reached, and by how many.
#[derive(Clone, Debug)]
pub struct Config {
    /// The device id that it answers to, not 0.
    pub device_id: u64,
    /// Plain text if there is none.
    pub tls: Option<Tls>,
    /// Connections, and what they may take of the server.
    pub admission: outplane_admission::Settings,
    /// Streams at a time, and as many clients of a role.
    pub streams: usize,
    /// Roles that clients may ever take.
    pub roles: usize,
    /// Reads that are answered at a time.
    pub reads: usize,
    /// Told of every change.
    pub witness: Option<Witness>,
}

impl Config {
    /// Plain text, and limits that no honest client comes near.
    pub fn new(device_id: u64) -> Self {
        let admission = outplane_admission::Settings::new(64);
        Self { device_id, tls: None, admission, streams: 64, roles: 64, reads: 16, witness: None }
    }
}

/// TLS, all in PEM.
#[derive(Clone)]
pub struct Tls {
    /// The server's certificate, with those that lead to its authority.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// Authorities that clients' certificates must come from; without any, clients need none.
    pub client_ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tls").field("client_ca", &self.client_ca.is_some()).finish_non_exhaustive()
    }
}

/// Why the server did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// No device has the id 0.
    #[error("the device id is 0: the standard reserves it; give another")]
    DeviceId,
    /// Certificates or key.
    #[error(
        "the TLS certificate, key or authority can't be used: check that they are PEM and belong together"
    )]
    Tls(#[source] tonic::transport::Error),
    /// The listener.
    #[error("the listener has no address")]
    Listener(#[source] std::io::Error),
    /// The transport.
    #[error("the server has failed")]
    Transport(#[source] tonic::transport::Error),
}

/// What all calls share.
pub(crate) struct Server {
    device_id: u64,
    state: Shared,
    /// Writes one by one, reads between them.
    gate: Arc<RwLock<()>>,
    reads: Quota,
    streams: Quota,
    sessions: Mutex<Sessions>,
    send_packet: Option<SendPacket>,
    witness: Option<Witness>,
    dropped: AtomicU64,
    shutdown: CancellationToken,
}

impl Server {
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the witness, if there is one.
    fn witness(&self, event: &Event<'_>) {
        if let Some(witness) = &self.witness {
            witness.tell(event);
        }
    }

    /// Tells primaries which entries are idle, until the server ends.
    async fn tell_idle_entries(&self) {
        let mut ticks = tokio::time::interval(IDLE_SCAN);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while self.shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            let idle = self.state.read().idle_entries();
            for table_entry in idle {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let timestamp = i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX);
                self.tell(&Response::IdleTimeoutNotification(IdleTimeoutNotification {
                    table_entry,
                    timestamp,
                }));
            }
        }
    }
}

/// Where packets come from and go to.
#[derive(Default)]
pub struct PacketIo {
    /// The data plane's packets for the controller.
    pub packet_ins: Option<mpsc::Receiver<PacketIn>>,
    /// Takes the controller's packets.
    pub send_packet: Option<SendPacket>,
}

/// A running server. It ends when this is dropped, or with [`Handle::shutdown`].
pub struct Handle {
    address: SocketAddr,
    server: Arc<Server>,
    admission: Admission,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
    accepting: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Handle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Packet-ins and notifications that a primary was too slow to take.
    pub fn dropped(&self) -> u64 {
        self.server.dropped.load(Ordering::Relaxed)
    }

    /// What has come of connections.
    pub fn connections(&self) -> Counts {
        self.admission.counts()
    }

    /// Ends all streams, refuses new calls, gives those that are being answered a moment, and is done.
    pub async fn shutdown(mut self) -> Result<(), ServerError> {
        self.shutdown.cancel();
        // Whoever starts it again finds its address free.
        let _ = (&mut self.accepting).await;
        match tokio::time::timeout(GRACE, &mut self.task).await {
            Ok(Ok(result)) => result.map_err(ServerError::Transport),
            Ok(Err(_)) => Ok(()),
            Err(_) => {
                tracing::warn!("answers were still being sent when the server ended");
                self.task.abort();
                Ok(())
            }
        }
    }
}

/// Serves P4Runtime on a listener. Must be called within a Tokio runtime.
pub fn serve(
    listener: TcpListener,
    config: Config,
    state: Shared,
    packet_io: PacketIo,
) -> Result<Handle, ServerError> {
    if config.device_id == 0 {
        return Err(ServerError::DeviceId);
    }
    let address = listener.local_addr().map_err(ServerError::Listener)?;
    let admission = Admission::new(config.admission);
    let mut builder = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .concurrency_limit_per_connection(config.streams + config.reads)
        .max_concurrent_streams(u32::try_from(config.streams + config.reads).ok())
        .initial_stream_window_size(512 << 10)
        .initial_connection_window_size(1 << 20);
    let secure = config.tls.is_some();
    if let Some(tls) = config.tls {
        let mut tls_config =
            ServerTlsConfig::new().identity(Identity::from_pem(tls.certificate, tls.key)).timeout(HANDSHAKE);
        if let Some(ca) = tls.client_ca {
            tls_config = tls_config.client_ca_root(Certificate::from_pem(ca));
        }
        builder = builder.tls_config(tls_config).map_err(ServerError::Tls)?;
    }
    let shutdown = CancellationToken::new();
    let arbiter = Arbiter::new(config.device_id, config.streams, config.roles);
    let server = Arc::new(Server {
        device_id: config.device_id,
        state,
        gate: Arc::default(),
        // A quarter is left to known peers, half is one stranger's at most.
        reads: Quota::quartered(config.reads, 2),
        streams: Quota::quartered(config.streams, 4),
        sessions: Mutex::new(Sessions::new(arbiter, config.streams)),
        send_packet: packet_io.send_packet,
        witness: config.witness,
        dropped: AtomicU64::new(0),
        shutdown: shutdown.clone(),
    });
    if let Some(packet_ins) = packet_io.packet_ins {
        let server = server.clone();
        tokio::spawn(async move { server.send_packet_ins(packet_ins).await });
    }
    tokio::spawn({
        let server = server.clone();
        async move { server.tell_idle_entries().await }
    });
    let service = P4RuntimeServer::new(service::Service(server.clone()))
        // The largest of all; each call's own is looked at before.
        .max_decoding_message_size(WireLimits::of("p4.v1.SetForwardingPipelineConfigRequest").wire)
        .max_encoding_message_size(usize::MAX);
    let (connections, accepting) = accept::accept(listener, admission.clone(), shutdown.clone());
    let ended = shutdown.clone().cancelled_owned();
    let mut builder = builder.layer(gate::Gate::new());
    let router = builder.add_service(service);
    let task = tokio::spawn(router.serve_with_incoming_shutdown(connections, ended));
    tracing::info!(%address, device_id = config.device_id, tls = secure, "serving P4Runtime");
    Ok(Handle { address, server, admission, task, accepting, shutdown })
}
