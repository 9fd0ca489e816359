//! Ports on real interfaces, through libpcap.
//!
//! A port sees and sends whole Ethernet frames without FCS, VLAN tags included, in promiscuous mode, and sees none
//! of those that the machine itself sends there. It neither computes nor checks checksums: a host whose interface
//! leaves checksums or segmentation to the hardware (veth does) hands over frames that no wire would carry, so
//! turn that off on hosts (`ethtool -K <interface> tx off`), as with BMv2.
//!
//! Each port has a thread that waits for frames. Sending is done by whoever has a frame, under the port's lock.
//! When an interface goes away its port is down until it is back; that is logged, and tried again once a second.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use outplane_p4::CPU_PORT;
use pcap::{Active, BreakLoop, Capture, Direction};
use socket2::{SockFilter, SockRef};

use super::counters::{Counters, Discard, PortCounters};

/// Longest frame, bytes: what fits, with libpcap's header, in one 64 KiB slot of the ring that it shares with the
/// kernel; a few bytes more would take two.
pub const MAX_FRAME: usize = 65_440;

/// The ring of each port, bytes: 256 slots, which is 25 ms of 10,000 frames/s.
const RING: i32 = 16 << 20;

/// How long a port's thread may sleep before it looks whether it shall end; libpcap before 1.10 is not woken.
const PATIENCE_MS: i32 = 100;

/// How long between attempts to open an interface that went away.
const RETRY: Duration = Duration::from_secs(1);

/// Largest number that an interface can have: the program keeps 510 for the controller, v1model 511 for drops.
pub const MAX_PORT: u16 = CPU_PORT - 1;

/// Longest interface name (Linux, IFNAMSIZ without the terminator).
const MAX_INTERFACE_NAME: usize = 15;

/// Which interface is which port: `<number>=<interface>`, as in `1=veth1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortSpec {
    number: u16,
    interface: String,
}

impl PortSpec {
    /// Checks number and name.
    pub fn new(number: u16, interface: &str) -> Result<Self, PortSpecError> {
        if !(1..=MAX_PORT).contains(&number) {
            return Err(PortSpecError::Number(number.to_string()));
        }
        let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if interface.is_empty()
            || interface.len() > MAX_INTERFACE_NAME
            || matches!(interface, "." | ".." | "any")
            || interface.contains(bad)
        {
            return Err(PortSpecError::Interface(interface.to_owned()));
        }
        Ok(Self { number, interface: interface.to_owned() })
    }

    /// 1 to [`MAX_PORT`].
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }
}

impl FromStr for PortSpec {
    type Err = PortSpecError;

    fn from_str(text: &str) -> Result<Self, PortSpecError> {
        let (number, interface) = text.split_once('=').ok_or_else(|| PortSpecError::Form(text.to_owned()))?;
        let number = number.parse().map_err(|_| PortSpecError::Number(number.to_owned()))?;
        Self::new(number, interface)
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.number, self.interface)
    }
}

/// What is wrong with a port's description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortSpecError {
    /// Not `<number>=<interface>`.
    #[error("port `{0}`: write `<number>=<interface>`, for example `1=veth1`")]
    Form(String),
    /// Not a port number.
    #[error("port number `{0}`: must be 1 to {MAX_PORT} (510 is the controller's, 511 drops)")]
    Number(String),
    /// Not an interface name.
    #[error("interface `{0}`: must be the name of one interface, 1 to {MAX_INTERFACE_NAME} characters")]
    Interface(String),
}

/// Why ports could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    /// Two ports have one number.
    #[error("port {0} is given twice: give each interface a number of its own")]
    SameNumber(u16),
    /// Two ports are one interface.
    #[error("interface {0} is given twice: an interface can be one port only")]
    SameInterface(String),
    /// libpcap refused.
    #[error(
        "port {port}: cannot open the interface: {source}; it must exist and be up, and opening it needs root or \
         CAP_NET_RAW"
    )]
    Open {
        /// Which.
        port: PortSpec,
        /// What libpcap says.
        source: pcap::Error,
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

/// One port: its description, its sending half, its counters.
pub(super) struct Port {
    spec: PortSpec,
    sender: Mutex<Option<Capture<Active>>>,
    wake: Mutex<Option<BreakLoop>>,
    stop: AtomicBool,
    pub(super) counters: Counters,
}

/// A port's state, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// Number.
    pub number: u16,
    /// Interface.
    pub interface: String,
    /// Whether the interface is there.
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
        self.spec.number
    }

    pub(super) fn status(&self) -> PortStatus {
        PortStatus {
            number: self.spec.number,
            interface: self.spec.interface.clone(),
            up: lock(&self.sender).is_some(),
            counters: self.counters.read(),
        }
    }

    /// Sends a frame and counts what became of it.
    pub(super) fn send(&self, frame: &[u8]) {
        let result = match &*lock(&self.sender) {
            Some(sender) => {
                let socket = SockRef::from(sender);
                let send = || socket.send(frame).map_err(|error| why_not_sent(&error));
                // A socket tells once more that its interface was down, when it is already up again.
                match send() {
                    Err(Discard::PortDown) => send(),
                    result => result,
                }
            }
            None => Err(Discard::PortDown),
        };
        match result {
            Ok(_) => self.counters.sent(frame.len()),
            Err(reason) => {
                tracing::debug!(port = %self.spec, bytes = frame.len(), %reason, "frame not sent");
                self.counters.dropped(reason);
            }
        }
    }

    /// Opens both halves: the receiving one is returned, the sending one kept.
    fn open(&self) -> Result<Capture<Active>, pcap::Error> {
        let receiver = open_receiver(&self.spec.interface)?;
        let sender = open_sender(&self.spec.interface)?;
        let mut receiver = receiver;
        *lock(&self.wake) = Some(receiver.breakloop_handle());
        *lock(&self.sender) = Some(sender);
        Ok(receiver)
    }

    fn close(&self) {
        *lock(&self.sender) = None;
        *lock(&self.wake) = None;
    }

    /// Runs until told to stop: hands each frame to `receive`, opens the interface anew when it went away.
    fn run(&self, mut receiver: Capture<Active>, receive: &mut dyn FnMut(&Self, &[u8])) {
        loop {
            let error = self.receive_until_error(&mut receiver, receive);
            drop(receiver);
            self.close();
            let Some(error) = error else { return };
            tracing::warn!(port = %self.spec, %error, "interface lost, trying again every second");
            receiver = loop {
                thread::park_timeout(RETRY);
                if self.stop.load(Ordering::Acquire) {
                    return;
                }
                match self.open() {
                    Ok(receiver) => break receiver,
                    Err(error) => tracing::debug!(port = %self.spec, %error, "interface still away"),
                }
            };
            tracing::info!(port = %self.spec, "interface is back");
        }
    }

    /// The error that ended it, or none when told to stop.
    fn receive_until_error(
        &self,
        receiver: &mut Capture<Active>,
        receive: &mut dyn FnMut(&Self, &[u8]),
    ) -> Option<pcap::Error> {
        let mut missed = 0;
        let mut frames = 0_u32;
        while !self.stop.load(Ordering::Acquire) {
            match receiver.next_packet() {
                Ok(packet) => {
                    self.counters.received(packet.header.len as usize);
                    if (packet.data.len() as u64) < u64::from(packet.header.len) {
                        self.counters.dropped(Discard::Truncated);
                    } else {
                        receive(self, packet.data);
                    }
                    frames = frames.wrapping_add(1);
                    if !frames.is_multiple_of(1024) {
                        continue;
                    }
                }
                Err(pcap::Error::TimeoutExpired | pcap::Error::NoMorePackets) => {}
                Err(error) => return Some(error),
            }
            // Now and then, and whenever there is nothing else to do.
            if let Ok(stat) = receiver.stats() {
                let fresh = stat.dropped.wrapping_sub(missed);
                if fresh != 0 {
                    tracing::debug!(port = %self.spec, frames = fresh, "more frames than the switch can take");
                    self.counters.missed(u64::from(fresh));
                }
                missed = stat.dropped;
            }
        }
        None
    }
}

fn why_not_sent(error: &io::Error) -> Discard {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMSGSIZE) => Discard::TooLong,
        Some(Errno::ENETDOWN | Errno::ENXIO | Errno::ENODEV) => Discard::PortDown,
        _ => Discard::SendFailed,
    }
}

fn open_receiver(interface: &str) -> Result<Capture<Active>, pcap::Error> {
    let receiver = Capture::from_device(interface)?
        .immediate_mode(true)
        .promisc(true)
        .snaplen(i32::try_from(MAX_FRAME).unwrap_or(i32::MAX))
        .buffer_size(RING)
        .timeout(PATIENCE_MS)
        .open()?;
    ethernet(&receiver)?;
    receiver.direction(Direction::In)?;
    // The same again in the kernel, so that frames that the switch sends take no slots of the ring and wake nobody.
    // Not through libpcap, which loses a frame whenever it changes a filter that it cannot run by itself.
    SockRef::from(&receiver)
        .attach_filter(&NOT_OUTGOING)
        .map_err(|error| pcap::Error::IoError(error.kind()))?;
    Ok(receiver)
}

/// Only sends: nothing passes its filter, so the kernel queues no frames that nobody would read.
fn open_sender(interface: &str) -> Result<Capture<Active>, pcap::Error> {
    let sender =
        Capture::from_device(interface)?.immediate_mode(true).snaplen(64).buffer_size(1 << 16).open()?;
    ethernet(&sender)?;
    SockRef::from(&sender).attach_filter(&NOTHING).map_err(|error| pcap::Error::IoError(error.kind()))?;
    Ok(sender)
}

/// Classic BPF: load the packet type (`SKF_AD_OFF + SKF_AD_PKTTYPE`), drop `PACKET_OUTGOING`, take all others whole.
const NOT_OUTGOING: [SockFilter; 4] = [
    SockFilter::new(0x30, 0, 0, 0xffff_f004),
    SockFilter::new(0x15, 1, 0, 4),
    SockFilter::new(0x06, 0, 0, u32::MAX),
    SockFilter::new(0x06, 0, 0, 0),
];

/// Classic BPF: drop.
const NOTHING: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

fn ethernet(capture: &Capture<Active>) -> Result<(), pcap::Error> {
    match capture.get_datalink() {
        pcap::Linktype::ETHERNET => Ok(()),
        _ => Err(pcap::Error::InvalidLinktype),
    }
}

/// Open ports, each with its thread. Dropping it ends the threads and waits for them; woken, they end at once,
/// at worst after 100 ms.
pub(super) struct Ports {
    all: Vec<Arc<Port>>,
    threads: Vec<thread::JoinHandle<()>>,
    /// Until the threads start. Behind a lock because a capture can't be shared between threads, and this is.
    opened: Mutex<Vec<(Arc<Port>, Capture<Active>)>>,
}

impl Ports {
    /// Opens all ports or none. Frames that come in from now on wait for [`Ports::start`].
    pub(super) fn open(specs: &[PortSpec]) -> Result<Self, PortsError> {
        let mut numbers = BTreeSet::new();
        let mut interfaces = BTreeSet::new();
        for spec in specs {
            if !numbers.insert(spec.number) {
                return Err(PortsError::SameNumber(spec.number));
            }
            if !interfaces.insert(&spec.interface) {
                return Err(PortsError::SameInterface(spec.interface.clone()));
            }
        }
        let mut opened = Vec::with_capacity(specs.len());
        for spec in specs {
            let port = Arc::new(Port {
                spec: spec.clone(),
                sender: Mutex::default(),
                wake: Mutex::default(),
                stop: AtomicBool::new(false),
                counters: Counters::default(),
            });
            let receiver = port.open().map_err(|source| PortsError::Open { port: spec.clone(), source })?;
            opened.push((port, receiver));
        }
        opened.sort_by_key(|(port, _)| port.number());
        let all = opened.iter().map(|(port, _)| port.clone()).collect();
        Ok(Self { all, threads: Vec::new(), opened: Mutex::new(opened) })
    }

    /// The ports, by number.
    pub(super) fn list(&self) -> &[Arc<Port>] {
        &self.all
    }

    /// Starts the threads: each hands its frames to a `receive` of its own, made by `receiver`.
    pub(super) fn start<R>(&mut self, receiver: impl Fn() -> R) -> Result<(), PortsError>
    where
        R: FnMut(&Port, &[u8]) + Send + 'static,
    {
        for (port, capture) in std::mem::take(&mut *lock(&self.opened)) {
            let mut receive = receiver();
            let spec = port.spec.clone();
            let thread = thread::Builder::new()
                .name(format!("port-{}", port.number()))
                .spawn(move || port.run(capture, &mut receive))
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
            if let Some(wake) = &*lock(&port.wake) {
                wake.breakloop();
            }
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
    fn port_specs() {
        for (text, number, interface) in
            [("1=veth1", 1, "veth1"), ("509=eth0.100", 509, "eth0.100"), ("7=a=b", 7, "a=b")]
        {
            let spec: PortSpec = text.parse().unwrap();
            assert_eq!((spec.number(), spec.interface()), (number, interface));
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn bad_port_specs() {
        let number = |text: &str| PortSpecError::Number(text.to_owned());
        let interface = |text: &str| PortSpecError::Interface(text.to_owned());
        for (text, error) in [
            ("veth1", PortSpecError::Form("veth1".to_owned())),
            ("", PortSpecError::Form(String::new())),
            ("=veth1", number("")),
            ("0=veth1", number("0")),
            ("510=veth1", number("510")),
            ("511=veth1", number("511")),
            ("70000=veth1", number("70000")),
            ("-1=veth1", number("-1")),
            ("x=veth1", number("x")),
            ("1=", interface("")),
            ("1=any", interface("any")),
            ("1=..", interface("..")),
            ("1=a/b", interface("a/b")),
            ("1=a b", interface("a b")),
            ("1=a\0b", interface("a\0b")),
            ("1=sixteencharsname", interface("sixteencharsname")),
        ] {
            assert_eq!(text.parse::<PortSpec>(), Err(error), "{text}");
        }
    }

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
        assert!(open(&["1=no-such-a"]).starts_with("port 1=no-such-a: cannot open the interface: "));
    }
}
