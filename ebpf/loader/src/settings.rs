//! What the program is told.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use outplane_rmdp_wire::{DEFAULT_GROUP_V4, DEFAULT_GROUP_V6, DEFAULT_PORT, Key, NetworkId};

use crate::error::XdpError;
use crate::{MAX_GROUPS, MAX_KEYS, MAX_SENDERS, abi};

/// How to attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver; where that cannot be, generic.
    #[default]
    Auto,
    /// In the driver or not at all.
    Driver,
    /// In the network stack, behind the driver: works on every interface, costs more.
    Generic,
}

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Driver,
    /// In the network stack, behind the driver.
    Generic,
}

impl Mode {
    /// Its name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Generic => "generic",
        }
    }
}

/// Which of the program's rare messages are logged: a counter that reaches a power of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// None.
    Off,
    /// That the ring or a generation is full.
    #[default]
    Warn,
    /// Bad and foreign datagrams as well.
    Info,
}

/// Everything that [`crate::XdpReceiver::attach`] needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The interface's name.
    pub interface: String,
    /// Folder of the pins, in a bpffs; one for each network namespace.
    pub pin_root: PathBuf,
    /// Destinations that are ours: groups and own addresses, at most [`MAX_GROUPS`].
    pub groups: Vec<(IpAddr, u16)>,
    /// The network whose datagrams are taken; others are dropped and counted.
    pub network: NetworkId,
    /// Keys that are accepted, at most [`MAX_KEYS`].
    pub keys: Vec<Key>,
    /// Senders that are accepted, at most [`MAX_SENDERS`].
    pub senders: Vec<u32>,
    /// How long a task is remembered at least; at most it is twice as long.
    pub window: Duration,
    /// How many tasks a generation takes: those of one window. What does not fit is delivered and counted.
    pub capacity: u32,
    /// Size of the ring: a power of two, at least a page.
    pub ring_bytes: u32,
    /// How to attach.
    pub mode: AttachMode,
    /// What is logged.
    pub log_level: LogLevel,
}

impl Default for Settings {
    /// The default groups, no network, no keys, no senders; 30 seconds at 10,000 tasks a second.
    fn default() -> Self {
        Self {
            interface: String::new(),
            pin_root: PathBuf::from("/sys/fs/bpf/outplane"),
            groups: vec![(DEFAULT_GROUP_V4.into(), DEFAULT_PORT), (DEFAULT_GROUP_V6.into(), DEFAULT_PORT)],
            network: NetworkId::NONE,
            keys: Vec::new(),
            senders: Vec::new(),
            window: Duration::from_secs(30),
            capacity: 327_680,
            ring_bytes: 8 << 20,
            mode: AttachMode::default(),
            log_level: LogLevel::default(),
        }
    }
}

impl Settings {
    pub(crate) fn check(&self) -> Result<(), XdpError> {
        let wrong = |what: String| Err(XdpError::Settings(what));
        targets(&self.groups)?;
        keys(&self.keys)?;
        if self.senders.len() > MAX_SENDERS {
            return wrong(format!("{} senders: at most {MAX_SENDERS} are possible", self.senders.len()));
        }
        if self.window.is_zero() || self.capacity == 0 {
            return wrong("window and capacity of the deduplication must not be zero".to_owned());
        }
        if !self.ring_bytes.is_power_of_two() || self.ring_bytes < 4096 {
            return wrong(format!(
                "a ring of {} bytes: a power of two of at least 4096 is needed",
                self.ring_bytes
            ));
        }
        Ok(())
    }
}

/// Destinations as the program compares them.
pub(crate) fn targets(groups: &[(IpAddr, u16)]) -> Result<[abi::Target; abi::TARGETS], XdpError> {
    if groups.len() > MAX_GROUPS {
        return Err(XdpError::Settings(format!(
            "{} groups and addresses: at most {MAX_GROUPS} are possible",
            groups.len()
        )));
    }
    let mut targets = [abi::Target::default(); abi::TARGETS];
    for (target, (address, port)) in targets.iter_mut().zip(groups) {
        if *port == 0 {
            return Err(XdpError::Settings(format!("{address} with port 0: no datagram goes there")));
        }
        let octets = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        target.address = halves(octets).map(u64::from_ne_bytes);
        target.port = u32::from(port.to_be());
    }
    Ok(targets)
}

/// Keys as the program takes them.
pub(crate) fn keys(keys: &[Key]) -> Result<[abi::KeySlot; abi::KEYS], XdpError> {
    if keys.len() > MAX_KEYS {
        return Err(XdpError::Settings(format!(
            "{} keys: at most {MAX_KEYS} are accepted at the same time",
            keys.len()
        )));
    }
    if let [one, two] = keys
        && one.id == two.id
    {
        return Err(XdpError::Settings(format!("two keys have the id {}", one.id)));
    }
    let mut slots = [abi::KeySlot::default(); abi::KEYS];
    for (slot, key) in slots.iter_mut().zip(keys) {
        *slot = abi::KeySlot {
            id: u32::from(key.id),
            used: 1,
            halves: halves(key.secret).map(u64::from_ne_bytes),
        };
    }
    Ok(slots)
}

fn halves(bytes: [u8; 16]) -> [[u8; 8]; 2] {
    let [mut low, mut high] = [[0; 8]; 2];
    low.copy_from_slice(&bytes[..8]);
    high.copy_from_slice(&bytes[8..]);
    [low, high]
}
