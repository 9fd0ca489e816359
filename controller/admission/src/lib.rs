//! Who may have a connection to a server, for the servers of this project: the soft switch, the embedded store, a
//! node's pages.
//!
//! Whoever can reach a port can open connections, say nothing, and stay. So a connection is a place among few, and
//!
//! - a place is taken away from whoever has had no request within [`Settings::first_request`], counted from the first
//!   byte of TCP: TLS, preface and headers included;
//! - a newcomer that finds all places taken gets the place of a connection without a request under way, from the peer
//!   that has most; nobody waits in the kernel's queue behind connections that do nothing;
//! - one peer has a share of the places and no more, and among them its own oldest idle connection goes first;
//! - peers that have shown who they are ([`Place::authenticated`]) are known for [`Settings::known_for`]. Some places
//!   are kept for them alone, and they get those of strangers, busy ones too;
//! - whoever does not take what is sent to it for [`Settings::stall`] loses its connection.
//!
//! What else there is little of is shared by [`Quota`]s in the same way.
//!
//! A peer is an IPv4 address, or the /64 network of an IPv6 address: who has one of its addresses has all.
//!
//! ```text
//!   accept ──► Admission::admit ──► Place ──► Admitted<stream> ──► TLS, HTTP
//!                  │ no place          │ Busy for each request, until its answer is sent
//!                  └► closed           └ ended: place lost, deadline over
//! ```

mod book;
#[cfg(feature = "tonic")]
mod grpc;
mod guard;
mod quota;
mod stream;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use book::Book;

pub use book::Counts;
#[cfg(feature = "tonic")]
pub use grpc::Peer;
pub use guard::Guarded;
pub use quota::{Quota, Share};
pub use stream::Admitted;

/// How long to wait after the system has refused a connection: it is out of something.
const RETRY: Duration = Duration::from_millis(100);

/// Bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Connections at a time.
    pub connections: usize,
    /// Of one unknown peer.
    pub per_peer: usize,
    /// Places that strangers never get.
    pub reserved: usize,
    /// From accepting a connection to its first request.
    pub first_request: Duration,
    /// How long a peer may leave what is sent to it untaken.
    pub stall: Duration,
    /// How long a connection lives at most, whatever goes over it.
    pub lifetime: Option<Duration>,
    /// How long a peer is known after it has shown who it is.
    pub known_for: Duration,
}

impl Settings {
    /// So many connections: a quarter for one stranger, a quarter kept for known peers, 5 s to the first request, 30 s
    /// of stalling, known for an hour.
    pub fn new(connections: usize) -> Self {
        let connections = connections.max(1);
        Self {
            connections,
            per_peer: if connections >= 4 { connections / 4 } else { connections },
            reserved: connections / 4,
            first_request: Duration::from_secs(5),
            stall: Duration::from_secs(30),
            lifetime: None,
            known_for: Duration::from_hours(1),
        }
    }
}

/// Who has how many connections. Clones share it.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Settings,
    book: Mutex<Book>,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts as one peer.
pub(crate) fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Admission {
    /// Nobody is connected yet.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Shared { settings, book: Mutex::new(Book::new(settings)) }))
    }

    /// A place for a connection from this address, which may be another's until now; none if there is none to have.
    pub fn admit(&self, address: IpAddr) -> Option<Place> {
        let ended = CancellationToken::new();
        let id = self.0.book().admit(peer(address), ended.clone(), Instant::now())?;
        let place = PlaceInner { shared: Arc::clone(&self.0), id, address, ended };
        Some(Place(Arc::new(place)))
    }

    /// The next connection that gets a place.
    pub async fn accept(&self, listener: &TcpListener) -> (Admitted<TcpStream>, SocketAddr) {
        loop {
            let (tcp, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    // Out of file descriptors, say: the idle ones are worth less than newcomers.
                    self.0.book().evict_idle();
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            // Requests are small and answered at once.
            if let Err(error) = tcp.set_nodelay(true) {
                tracing::debug!(%error, "the connection's delay could not be turned off");
            }
            if let Some(place) = self.admit(address.ip()) {
                return (Admitted::new(tcp, place), address);
            }
            tracing::debug!(peer = %address, "no place for this connection");
        }
    }

    /// Whether a peer has shown who it is, not long ago.
    pub fn knows(&self, address: IpAddr) -> bool {
        self.0.book().knows(peer(address), Instant::now())
    }

    /// What has come of connections.
    pub fn counts(&self) -> Counts {
        self.0.book().counts()
    }
}

/// A connection's place. It is free again when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Place(Arc<PlaceInner>);

#[derive(Debug)]
struct PlaceInner {
    shared: Arc<Shared>,
    id: u64,
    address: IpAddr,
    ended: CancellationToken,
}

impl Drop for PlaceInner {
    fn drop(&mut self) {
        self.shared.book().leave(self.id);
    }
}

impl Place {
    /// The other end.
    pub fn address(&self) -> IpAddr {
        self.0.address
    }

    /// A request is under way, until the result is dropped.
    pub fn request(&self) -> Busy {
        self.0.shared.book().begin(self.0.id);
        Busy(self.clone())
    }

    /// The peer has shown who it is: it is known from now on, on all its connections.
    pub fn authenticated(&self) {
        self.0.shared.book().authenticated(self.0.id, peer(self.0.address), Instant::now());
    }

    /// Whether the peer is known.
    pub fn is_known(&self) -> bool {
        self.0.shared.book().knows(peer(self.0.address), Instant::now())
    }

    /// Cancelled when the place is lost to another.
    pub fn ended(&self) -> CancellationToken {
        self.0.ended.clone()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.shared.settings
    }

    /// Whether there has been a request.
    pub(crate) fn was_used(&self) -> bool {
        self.0.shared.book().was_used(self.0.id)
    }

    pub(crate) fn late(&self) {
        self.0.shared.book().late();
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Busy(Place);

impl Busy {
    /// The connection that it came by.
    pub fn place(&self) -> &Place {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let place = &self.0.0;
        place.shared.book().end(place.id, Instant::now());
    }
}
