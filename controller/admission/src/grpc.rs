//! What tonic's server wants of a connection.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tonic::transport::server::Connected;

use crate::{Admitted, Place};

/// Who is at the other end, in the extensions of each request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Address and port.
    pub address: Option<SocketAddr>,
    /// The connection's place.
    pub place: Place,
}

impl Connected for Admitted<TcpStream> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer { address: self.stream().peer_addr().ok(), place: self.place().clone() }
    }
}
