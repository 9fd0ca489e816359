//! Ports on real interfaces, through packet sockets.
//!
//! A port sees and sends whole Ethernet frames without FCS, VLAN tags included, in promiscuous mode, and sees none
//! of those that the machine itself sends there. What the sender has left to its interface's hardware, checksums and
//! segmentation (veth does), is passed on to the egress interface: see [`offload`].
//!
//! Each port has a thread that waits for frames. Sending is done by whoever has a frame, under the port's lock.
//! While an interface is away its port is down: that is logged once, and tried again once a second.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;

use super::counters::{Counters, Discard, PortCounters};
use super::drops::DropLog;

pub mod offload;
pub mod socket;
mod spec;

use offload::Offload;
use socket::{OpenError, Receiver, Sender};

pub use socket::MAX_FRAME;
pub use spec::{MAX_PORT, PortSpec, PortSpecError};

/// How long between attempts to open an interface that is away.
const RETRY: Duration = Duration::from_secs(1);

/// Why ports could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    /// Two ports have one number.
    #[error("port {0} is given twice: give each interface a number of its own")]
    SameNumber(u16),
    /// Two ports are one interface.
    #[error("interface {0} is given twice: an interface can be one port only")]
    SameInterface(String),
    /// An interface that waiting will not open.
    #[error("port {port}: {source}")]
    Open {
        /// Which.
        port: PortSpec,
        /// Why.
        source: OpenError,
    },
    /// The system refused a thread.
    #[error("port {port}: cannot start its thread: {source}")]
    Thread {
        /// Which.
        port: PortSpec,
        /// What the system says.
        source: io::Error,
    },
    /// The system refused the controller's thread.
    #[error("cannot start the thread for packet-outs: {0}")]
    PacketOutThread(io::Error),
}

/// A frame in the switch, and what is left to do on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) offload: Offload,
}

/// One port: its description, its sending half, its counters.
pub(super) struct Port {
    spec: PortSpec,
    sender: Mutex<Option<Sender>>,
    /// Whether the interface is there and up.
    up: AtomicBool,
    stop: AtomicBool,
    pub(super) counters: Counters,
    drops: DropLog,
}

/// A port's state, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// Number.
    pub number: u16,
    /// Interface.
    pub interface: String,
    /// Whether the interface is there and up.
    pub up: bool,
    /// Counters.
    pub counters: PortCounters,
}

/// A poisoned lock guards nothing that a panic could have left half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Port {
    pub(super) fn number(&self) -> u16 {
        self.spec.number()
    }

    pub(super) fn status(&self) -> PortStatus {
        PortStatus {
            number: self.spec.number(),
            interface: self.spec.interface().to_owned(),
            up: self.up.load(Ordering::Acquire),
            counters: self.counters.read(),
        }
    }

    /// Sends a frame and counts what became of it.
    pub(super) fn send(&self, frame: Frame<'_>) {
        let result = match &*lock(&self.sender) {
            Some(sender) => {
                let send = || sender.send(frame.bytes, frame.offload).map_err(why_not_sent);
                // A socket tells once more that its interface was down, when it is already up again.
                match send() {
                    Err(Discard::PortDown) => send(),
                    result => result,
                }
            }
            None => Err(Discard::PortDown),
        };
        match result {
            Ok(()) => self.counters.sent(frame.bytes.len()),
            Err(reason) => self.discard(reason, frame.bytes),
        }
    }

    /// Counts a frame that ends here, and says so now and then.
    pub(super) fn discard(&self, reason: Discard, frame: &[u8]) {
        let frames = self.counters.dropped(reason);
        self.drops.say(&self.spec, reason, frames, frame);
    }

    /// Opens both halves: the receiving one is returned, the sending one kept.
    fn open(&self) -> Result<Receiver, OpenError> {
        let receiver = Receiver::open(self.spec.interface())?;
        *lock(&self.sender) = Some(Sender::open(self.spec.interface())?);
        self.up.store(true, Ordering::Release);
        Ok(receiver)
    }

    /// Runs until told to stop: hands each frame to `receive`, opens the interface when it is there again.
    fn run(&self, mut receiver: Option<Receiver>, receive: &mut dyn FnMut(&Self, Frame<'_>)) {
        loop {
            let opened = match receiver.take() {
                Some(receiver) => Some(receiver),
                None => self.wait_for_interface(),
            };
            let Some(mut opened) = opened else { return };
            let error = self.receive_until_error(&mut opened, receive);
            *lock(&self.sender) = None;
            self.up.store(false, Ordering::Release);
            let Some(error) = error else { return };
            tracing::warn!(port = %self.spec, %error, "interface lost: the port is down until it is back");
        }
    }

    /// None when told to stop.
    fn wait_for_interface(&self) -> Option<Receiver> {
        let mut told = None;
        loop {
            thread::park_timeout(RETRY);
            if self.stop.load(Ordering::Acquire) {
                return None;
            }
            match self.open() {
                Ok(receiver) => {
                    tracing::info!(port = %self.spec, "the interface is there");
                    return Some(receiver);
                }
                // Absence has been told when the port went down.
                Err(error) if error.is_absence() => tracing::debug!(port = %self.spec, %error, "still down"),
                Err(error) => {
                    if told.as_ref() != Some(&error) {
                        tracing::warn!(port = %self.spec, %error, "the interface cannot be opened");
                        told = Some(error);
                    }
                }
            }
        }
    }

    /// Why the interface has to be opened anew, or none when told to stop. One that is down for a while has not to.
    fn receive_until_error(
        &self,
        receiver: &mut Receiver,
        receive: &mut dyn FnMut(&Self, Frame<'_>),
    ) -> Option<OpenError> {
        let mut frames = 0_u32;
        while !self.stop.load(Ordering::Acquire) {
            match receiver.receive() {
                Ok(mut arrived) => {
                    self.counters.received(arrived.bytes);
                    if arrived.frame.len() < arrived.bytes {
                        self.discard(Discard::Truncated, arrived.frame);
                    } else {
                        arrived.offload.settle(arrived.frame);
                        receive(self, Frame { bytes: arrived.frame, offload: arrived.offload });
                    }
                    frames = frames.wrapping_add(1);
                    if !frames.is_multiple_of(1024) {
                        continue;
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // Segments of a kind that the kernel has no name for: SCTP's, or those in a tunnel.
                Err(Errno::EINVAL) => self.discard(Discard::UnnamedSegments, &[]),
                // The socket says this once, whether the interface is down or gone, and goes on when it is up again.
                Err(Errno::ENETDOWN) => {
                    if self.up.swap(false, Ordering::AcqRel) {
                        tracing::warn!(port = %self.spec, "the interface is down, or gone: so is the port");
                    }
                }
                Err(error) => return Some(OpenError::System { call: "receiving", error }),
            }
            // Now and then, and whenever there is nothing else to do.
            if !self.up.load(Ordering::Acquire) {
                match receiver.is_up(self.spec.interface()) {
                    Ok(()) => {
                        tracing::info!(port = %self.spec, "the interface is up again");
                        self.up.store(true, Ordering::Release);
                    }
                    Err(OpenError::Down) => {}
                    Err(error) => return Some(error),
                }
            }
            let missed = receiver.missed();
            if missed != 0 {
                tracing::info!(port = %self.spec, frames = missed, "more frames than the switch can take");
                self.counters.missed(missed);
            }
        }
        None
    }
}

fn why_not_sent(error: Errno) -> Discard {
    match error {
        Errno::EMSGSIZE => Discard::TooLong,
        Errno::ENETDOWN | Errno::ENXIO | Errno::ENODEV => Discard::PortDown,
        _ => Discard::SendFailed,
    }
}

/// Ports, each with its thread. Dropping it ends the threads and waits for them: up to 100 ms, as long as they sleep.
pub(super) struct Ports {
    all: Vec<Arc<Port>>,
    threads: Vec<thread::JoinHandle<()>>,
    /// Until the threads start; without a receiver where the interface is away.
    opened: Vec<(Arc<Port>, Option<Receiver>)>,
}

impl Ports {
    /// Opens all ports whose interface is there, or none if one is there and cannot be opened. Frames that come in from
    /// now on wait for [`Ports::start`].
    pub(super) fn open(specs: &[PortSpec]) -> Result<Self, PortsError> {
        let mut numbers = BTreeSet::new();
        let mut interfaces = BTreeSet::new();
        for spec in specs {
            if !numbers.insert(spec.number()) {
                return Err(PortsError::SameNumber(spec.number()));
            }
            if !interfaces.insert(spec.interface()) {
                return Err(PortsError::SameInterface(spec.interface().to_owned()));
            }
        }
        let mut opened = Vec::with_capacity(specs.len());
        for spec in specs {
            let port = Arc::new(Port {
                spec: spec.clone(),
                sender: Mutex::default(),
                up: AtomicBool::new(false),
                stop: AtomicBool::new(false),
                counters: Counters::default(),
                drops: DropLog::default(),
            });
            let receiver = match port.open() {
                Ok(receiver) => Some(receiver),
                Err(error) if error.is_absence() => {
                    tracing::warn!(port = %spec, "{error}: the port is down until the interface is there and up");
                    None
                }
                Err(source) => return Err(PortsError::Open { port: spec.clone(), source }),
            };
            opened.push((port, receiver));
        }
        opened.sort_by_key(|(port, _)| port.number());
        let all = opened.iter().map(|(port, _)| port.clone()).collect();
        Ok(Self { all, threads: Vec::new(), opened })
    }

    /// The ports, by number.
    pub(super) fn list(&self) -> &[Arc<Port>] {
        &self.all
    }

    /// Starts the threads: each hands its frames to a `receive` of its own, made by `receiver`.
    pub(super) fn start<R>(&mut self, receiver: impl Fn() -> R) -> Result<(), PortsError>
    where
        R: FnMut(&Port, Frame<'_>) + Send + 'static,
    {
        for (port, opened) in std::mem::take(&mut self.opened) {
            let mut receive = receiver();
            let spec = port.spec.clone();
            let thread = thread::Builder::new()
                .name(format!("port-{}", port.number()))
                .spawn(move || port.run(opened, &mut receive))
                .map_err(|source| PortsError::Thread { port: spec, source })?;
            self.threads.push(thread);
        }
        Ok(())
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        for port in &self.all {
            port.stop.store(true, Ordering::Release);
        }
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("a port's thread has panicked");
            }
        }
        for port in &self.all {
            tracing::info!(port = %port.spec, counters = %port.counters.read(), "port closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_interfaces_are_given_once() {
        let open = |specs: &[&str]| {
            let specs: Vec<PortSpec> = specs.iter().map(|spec| spec.parse().unwrap()).collect();
            Ports::open(&specs).err().unwrap().to_string()
        };
        assert_eq!(
            open(&["1=no-such-a", "1=no-such-b"]),
            "port 1 is given twice: give each interface a number of its own"
        );
        assert_eq!(
            open(&["1=no-such-a", "2=no-such-a"]),
            "interface no-such-a is given twice: an interface can be one port only"
        );
    }
}
