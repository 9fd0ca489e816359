//! The daemon's side of the ring.
#![expect(unsafe_code, reason = "a descriptor is given to the reactor")]

use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::abi;
use crate::attach::{attach, detach};
use crate::control::XdpControl;
use crate::error::XdpError;
use crate::kernel::{Kernel, program};
use crate::logs;
use crate::pins::Pins;
use crate::settings::{Mode, Settings};

/// An authentic datagram that is no replay, and in case of a task the first copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// When it came, nanoseconds of `CLOCK_MONOTONIC`.
    pub arrival: u64,
    /// The datagram with its tag.
    pub bytes: Vec<u8>,
}

/// The program on an interface. Dropping this leaves it there, so that the next start finds what came meanwhile;
/// [`Self::detach`] removes it.
#[derive(Debug)]
pub struct XdpReceiver {
    ring: AsyncFd<Ring>,
    control: XdpControl,
    mode: Mode,
    pins: Pins,
    logs: Option<JoinHandle<()>>,
}

impl XdpReceiver {
    /// Loads the program and attaches it, or takes over from the last start.
    pub async fn attach(settings: Settings) -> Result<Self, XdpError> {
        let interface = settings.interface.clone();
        let loaded = spawn_blocking(move || {
            let pins = Pins::open(&settings)?;
            let Kernel { mut ebpf, maps, ring } = Kernel::load(&settings, Some(&pins))?;
            let control = XdpControl::new(maps, &settings)?;
            let mode = attach(program(&mut ebpf, "rmdp")?, &settings, &pins)?;
            Ok::<_, XdpError>((ebpf, ring, control, mode, pins))
        });
        let (mut ebpf, ring, control, mode, pins) =
            loaded.await.map_err(|error| XdpError::Ended(error.to_string()))??;
        let logs = logs::follow(&mut ebpf, &interface);
        // SAFETY: the ring owns its descriptor, which stays open and the same until the ring is dropped.
        let ring = unsafe { AsyncFd::register_with_interest(Ring(ring), Interest::READABLE) }
            .map_err(|error| XdpError::call("epoll_ctl", "the ring")(error.into()))?;
        tracing::info!(interface, mode = mode.name(), "XDP attached");
        Ok(Self { ring, control, mode, pins, logs })
    }

    /// The next datagram. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Delivered, XdpError> {
        loop {
            if let Some(delivered) = self.ring.get_mut().take() {
                return Ok(delivered);
            }
            let mut guard =
                self.ring.readable_mut().await.map_err(XdpError::call("epoll_wait", "the ring"))?;
            if let Some(delivered) = guard.get_inner_mut().take() {
                return Ok(delivered);
            }
            guard.clear_ready();
        }
    }

    /// A datagram that is there by now.
    pub fn try_next(&mut self) -> Option<Delivered> {
        self.ring.get_mut().take()
    }

    /// Settings, counters and the tick; may be kept elsewhere.
    pub fn control(&self) -> XdpControl {
        self.control.clone()
    }

    /// How the program is attached.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Takes the program off the interface and removes all pins: what the maps remember is gone.
    pub fn detach(mut self) -> Result<(), XdpError> {
        self.stop_logs();
        detach(&self.pins.link(self.mode))?;
        self.pins.remove()
    }

    fn stop_logs(&mut self) {
        if let Some(logs) = self.logs.take() {
            logs.abort();
        }
    }
}

impl Drop for XdpReceiver {
    fn drop(&mut self) {
        self.stop_logs();
    }
}

/// The ring's records, as values.
pub(crate) struct Ring(pub(crate) RingBuf<MapData>);

impl Ring {
    /// The next record that makes sense; the program writes no others.
    pub(crate) fn take(&mut self) -> Option<Delivered> {
        while let Some(record) = self.0.next() {
            if let Some(delivered) = delivered(&record) {
                return Some(delivered);
            }
        }
        None
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ring")
    }
}

/// Reads a record: [`abi::RecordHead`], then the datagram.
fn delivered(record: &[u8]) -> Option<Delivered> {
    let (arrival, rest) = record.split_first_chunk()?;
    let (length, _) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
    let bytes = record.get(size_of::<abi::RecordHead>()..)?.get(..length)?.to_vec();
    Some(Delivered { arrival: u64::from_ne_bytes(*arrival), bytes })
}
