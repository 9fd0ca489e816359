//! Connections that are few and don't live long, whoever opens them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use outplane_admission::{Admission, Admitted, Guarded, Place, Settings};
use tokio::net::{TcpListener, TcpStream};

/// A listener with a bound on connections and on their lives.
pub(super) struct Bounded {
    listener: TcpListener,
    admission: Admission,
}

impl Bounded {
    /// Nobody shows who it is here, so nobody is known and no place is reserved.
    pub(super) fn new(listener: TcpListener, connections: usize, lifetime: Duration) -> Self {
        let settings = Settings { lifetime: Some(lifetime), reserved: 0, ..Settings::new(connections) };
        Self { listener, admission: Admission::new(settings) }
    }
}

impl Listener for Bounded {
    type Io = Admitted<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Admitted<TcpStream>, SocketAddr) {
        self.admission.accept(&self.listener).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The place of a request's connection.
#[derive(Clone, Debug)]
pub(super) struct At(Place);

impl Connected<IncomingStream<'_, Bounded>> for At {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self(stream.io().place().clone())
    }
}

/// Notes that a request is under way, until its answer is sent.
pub(super) async fn busy(ConnectInfo(At(place)): ConnectInfo<At>, request: Request, next: Next) -> Response {
    let busy = place.request();
    next.run(request).await.map(|body| Body::new(Guarded::new(body, busy)))
}
