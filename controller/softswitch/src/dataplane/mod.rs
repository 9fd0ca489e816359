//! The data plane: real frames between ports by the model of `outplane.p4`.
//!
//! A port's thread takes a frame from its interface, runs it through [`pipeline`] under one read guard of the table
//! state (so that it sees all of an update or nothing of it), and sends it where the pipeline says. Frames for the
//! controller go into a bounded channel; frames from the controller come through a bounded queue with a thread of
//! its own. What cannot be queued is dropped and counted, as is everything else that ends here ([`Discard`]).
//!
//! [`parse`], [`pipeline`] and [`meter`](crate::meter) are pure: `outplane.p4` in Rust. [`ports`] is the shell around them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Instant;

use outplane_p4::CPU_PORT;
use tokio::sync::mpsc;

mod binding;
pub mod counters;
mod drops;
pub mod parse;
pub mod pipeline;
pub mod ports;
pub mod tables;

#[cfg(test)]
#[path = "../../tests/support/frames.rs"]
mod frames;
#[cfg(test)]
mod memory;

pub use binding::StateSource;
pub use counters::{Discard, PortCounters};
pub use pipeline::PacketInHeader;
pub use ports::{PortSpec, PortSpecError, PortStatus, PortsError};

use parse::PacketOut;
use pipeline::{Outcome, Processed, flood_ports, process};
use ports::offload::Offload;
use ports::{Frame, Port, Ports};
use tables::Tables;

/// Packet-outs that may wait; more are refused.
const PACKET_OUT_QUEUE: usize = 1024;

/// A frame for the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketIn {
    /// Why, and from where.
    pub header: PacketInHeader,
    /// The frame as it came in.
    pub frame: Vec<u8>,
}

/// Where the table state comes from.
pub trait Source: Send + Sync + 'static {
    /// Runs `run` over the state of one moment: nothing changes until it returns. `None` when no pipeline has been
    /// pushed that the data plane has a model of.
    fn read<R>(&self, run: impl FnOnce(Option<&dyn Tables>) -> R) -> R;
}

/// The packet-out queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the switch has {PACKET_OUT_QUEUE} packet-outs waiting: send them slower")]
pub struct Busy;

/// What the threads share.
struct Shared<S> {
    source: S,
    /// By number.
    ports: BTreeMap<u16, Arc<Port>>,
    packet_in: mpsc::Sender<PacketIn>,
    packet_out_discards: Arc<AtomicU64>,
    started: Instant,
}

/// A running data plane. Dropping it ends its threads and closes its ports; that may take 100 ms.
pub struct Dataplane {
    ports: Ports,
    packet_out: Option<SyncSender<(u16, Vec<u8>)>>,
    packet_out_thread: Option<thread::JoinHandle<()>>,
    packet_out_discards: Arc<AtomicU64>,
}

impl Dataplane {
    /// Opens the ports and starts to forward; a port whose interface is away is down until it is there. Packet-ins go to `packet_in`, whose bound is the caller's; when it is
    /// full they are dropped.
    pub fn start<S: Source>(
        specs: &[PortSpec],
        source: S,
        packet_in: mpsc::Sender<PacketIn>,
    ) -> Result<Self, PortsError> {
        let mut ports = Ports::open(specs)?;
        let shared = Arc::new(Shared {
            source,
            ports: ports.list().iter().map(|port| (port.number(), port.clone())).collect(),
            packet_in,
            packet_out_discards: Arc::default(),
            started: Instant::now(),
        });
        let (packet_out, queue) = sync_channel(PACKET_OUT_QUEUE);
        let packet_out_thread = thread::Builder::new()
            .name("packet-out".to_owned())
            .spawn({
                let shared = shared.clone();
                move || shared.send_packet_outs(&queue)
            })
            .map_err(PortsError::PacketOutThread)?;
        ports.start(|| {
            let shared = shared.clone();
            let mut flood = Vec::new();
            move |port: &Port, frame: Frame<'_>| shared.receive(port, frame, &mut flood)
        })?;
        Ok(Self {
            ports,
            packet_out: Some(packet_out),
            packet_out_thread: Some(packet_out_thread),
            packet_out_discards: shared.packet_out_discards.clone(),
        })
    }

    /// Sends a frame of the controller's by `egress_port` (9 bits), in the order of the calls. Does not wait.
    pub fn packet_out(&self, egress_port: u16, frame: Vec<u8>) -> Result<(), Busy> {
        match self.packet_out.as_ref().map(|queue| queue.try_send((egress_port, frame))) {
            Some(Err(TrySendError::Full(_))) => Err(Busy),
            _ => Ok(()),
        }
    }

    /// Packet-outs that reached no port: it does not exist or is the drop port, or there is no pipeline.
    pub fn packet_out_discards(&self) -> u64 {
        self.packet_out_discards.load(Ordering::Relaxed)
    }

    /// Every port, by number.
    pub fn ports(&self) -> Vec<PortStatus> {
        self.ports.list().iter().map(|port| port.status()).collect()
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.packet_out = None; // ends its thread
        if let Some(Err(_)) = self.packet_out_thread.take().map(thread::JoinHandle::join) {
            tracing::error!("the packet-out thread has panicked");
        }
    }
}

impl<S: Source> Shared<S> {
    /// One frame from a port to where the pipeline sends it. `flood` is scratch space.
    fn receive(&self, ingress: &Port, Frame { bytes, mut offload }: Frame<'_>, flood: &mut Vec<u16>) {
        let processed = self.process(ingress.number(), bytes, flood);
        // The program takes nothing off a frame that comes from a port, so what is left to do on it stays true.
        let Some(Processed { outcome, frame }) = processed else {
            return ingress.discard(Discard::NoProgram, bytes);
        };
        match outcome {
            Outcome::Drop(reason) => ingress.discard(reason.into(), frame),
            Outcome::Forward { port } => match self.ports.get(&port) {
                Some(egress) => egress.send(Frame { bytes: frame, offload }),
                None => ingress.discard(Discard::NoSuchPort, frame),
            },
            Outcome::Flood { .. } => {
                for port in flood.iter() {
                    match self.ports.get(port) {
                        Some(egress) => egress.send(Frame { bytes: frame, offload }),
                        None => ingress.discard(Discard::NoSuchPort, frame),
                    }
                }
            }
            Outcome::PacketIn(header) => {
                let mut whole = frame.to_vec();
                offload.complete(&mut whole);
                match self.packet_in.try_send(PacketIn { header, frame: whole }) {
                    Ok(()) => ingress.counters.sent_to_controller(),
                    Err(_) => ingress.discard(Discard::ControllerBusy, frame),
                }
            }
        }
    }

    /// The pipeline under one read guard; leaves the egress ports of a flood in `flood`. The guard is gone before
    /// the frame is sent.
    fn process<'a>(&self, ingress_port: u16, frame: &'a [u8], flood: &mut Vec<u16>) -> Option<Processed<'a>> {
        self.source.read(|tables| {
            let tables = tables?;
            let processed = process(tables, ingress_port, frame, self.started.elapsed());
            if let Outcome::Flood { group } = processed.outcome {
                flood_ports(tables, group, ingress_port, flood);
            }
            Some(processed)
        })
    }

    /// The controller's frames, until its queue is gone.
    fn send_packet_outs(&self, queue: &Receiver<(u16, Vec<u8>)>) {
        let mut flood = Vec::new();
        let mut bytes = Vec::new();
        for (egress_port, frame) in queue {
            bytes.clear();
            bytes.extend(PacketOut { egress_port }.to_bytes());
            bytes.extend(frame);
            let egress = match self.process(CPU_PORT, &bytes, &mut flood) {
                Some(Processed { outcome: Outcome::Forward { port }, frame }) => {
                    let offload = Offload::default();
                    self.ports.get(&port).map(|egress| egress.send(Frame { bytes: frame, offload }))
                }
                _ => None,
            };
            if egress.is_none() {
                self.packet_out_discards.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
