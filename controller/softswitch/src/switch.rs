//! Server, state and data plane put together.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::dataplane::{Dataplane, PortSpec, PortStatus, PortsError, StateSource};
use crate::server::{self, Handle, PacketIo, ServerError};
use crate::state::{Limits, Shared};

/// Frames for the controller that may wait; more are dropped and counted at their port.
const PACKET_IN_QUEUE: usize = 1024;

/// What a switch is to be.
#[derive(Debug)]
pub struct SwitchConfig {
    /// Where controllers connect.
    pub listener: TcpListener,
    /// How they are served.
    pub server: server::Config,
    /// Its ports. Without any there is no data plane: a switch for tables alone, which needs no privileges.
    pub ports: Vec<PortSpec>,
    /// What clients can make it hold.
    pub limits: Limits,
}

/// Why a switch did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwitchError {
    /// A port.
    #[error(transparent)]
    Ports(#[from] PortsError),
    /// The server.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// A running switch. Dropping it ends it.
pub struct Switch {
    server: Handle,
    dataplane: Option<Arc<Dataplane>>,
    state: Shared,
}

impl Switch {
    /// Opens the ports and starts to serve. Must be called within a Tokio runtime.
    pub fn start(config: SwitchConfig) -> Result<Self, SwitchError> {
        let state = Shared::new(config.limits);
        let mut packet_io = PacketIo::default();
        let dataplane = if config.ports.is_empty() {
            None
        } else {
            let (packet_ins, queue) = mpsc::channel(PACKET_IN_QUEUE);
            let dataplane = Dataplane::start(&config.ports, StateSource::new(state.clone()), packet_ins)?;
            let dataplane = Arc::new(dataplane);
            packet_io.packet_ins = Some(queue);
            let sink = Arc::downgrade(&dataplane);
            packet_io.send_packet = Some(Arc::new(move |port, frame| {
                sink.upgrade().map_or(Ok(()), |dataplane| dataplane.packet_out(port, frame))
            }));
            Some(dataplane)
        };
        let server = server::serve(config.listener, config.server, state.clone(), packet_io)?;
        Ok(Self { server, dataplane, state })
    }

    /// The server: where it listens, and what it dropped.
    pub fn server(&self) -> &Handle {
        &self.server
    }

    /// What controllers have written.
    pub fn state(&self) -> &Shared {
        &self.state
    }

    /// Every port, by number.
    pub fn ports(&self) -> Vec<PortStatus> {
        self.dataplane.as_ref().map(|dataplane| dataplane.ports()).unwrap_or_default()
    }

    /// Ends streams, answers and ports, in this order.
    pub async fn shutdown(self) -> Result<(), ServerError> {
        let result = self.server.shutdown().await;
        // Its threads take a moment to end.
        let dataplane = self.dataplane;
        if tokio::task::spawn_blocking(move || drop(dataplane)).await.is_err() {
            tracing::error!("the data plane has panicked");
        }
        result
    }
}
