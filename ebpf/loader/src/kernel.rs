//! The loaded program and its maps, typed.
#![expect(unsafe_code, reason = "values of maps are plain bytes")]

use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, Pod};
use outplane_rmdp_wire::TransactionId;

use crate::abi;
use crate::error::XdpError;
use crate::pins::{Pins, SHAPES};
use crate::settings::{LogLevel, Settings};

/// The compiled program.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../rmdp.bpf.o");

/// A stream with the lock before it, as user space sees it.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Stream {
    lock: [u32; 2],
    pub(crate) state: abi::StreamState,
}

/// A transaction id as a key.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Id(pub(crate) [u8; 16]);

impl From<TransactionId> for Id {
    fn from(id: TransactionId) -> Self {
        Self(id.to_bytes())
    }
}

// SAFETY: numbers without padding, `repr(C)`; any bytes are a value.
unsafe impl Pod for abi::Settings {}
// SAFETY: as above.
unsafe impl Pod for abi::Sender {}
// SAFETY: as above.
unsafe impl Pod for abi::First {}
// SAFETY: as above.
unsafe impl Pod for abi::SenderCounts {}
// SAFETY: as above.
unsafe impl Pod for Stream {}
// SAFETY: as above.
unsafe impl Pod for Id {}

/// The maps that user space writes and reads, but the ring.
pub(crate) struct Maps {
    pub(crate) settings: Array<MapData, abi::Settings>,
    pub(crate) active: Array<MapData, u32>,
    pub(crate) senders: HashMap<MapData, u32, abi::Sender>,
    pub(crate) streams: Array<MapData, Stream>,
    pub(crate) counts: PerCpuArray<MapData, abi::SenderCounts>,
    pub(crate) reasons: PerCpuArray<MapData, u64>,
    pub(crate) generations: [HashMap<MapData, Id, abi::First>; 2],
}

/// A loaded program that is not attached yet.
pub(crate) struct Kernel {
    pub(crate) ebpf: Ebpf,
    pub(crate) maps: Maps,
    pub(crate) ring: RingBuf<MapData>,
}

impl Kernel {
    /// Loads it; with pins, on the maps that are there, and pins those that are not.
    pub(crate) fn load(settings: &Settings, pins: Option<&Pins>) -> Result<Self, XdpError> {
        settings.check()?;
        let level: u8 = match settings.log_level {
            LogLevel::Off => 0,
            LogLevel::Warn => aya_log::Level::Warn as u8,
            LogLevel::Info => aya_log::Level::Info as u8,
        };
        let mut loader = EbpfLoader::new();
        loader
            .override_global(aya_log::LEVEL, &level, false)
            .map_max_entries("first_0", settings.capacity)
            .map_max_entries("first_1", settings.capacity)
            .map_max_entries("ring", settings.ring_bytes);
        if let Some(pins) = pins {
            pins.check(settings)?;
            for shape in &SHAPES {
                loader.map_pin_path(shape.name, pins.map(shape.name));
            }
        }
        let failed = |error| XdpError::load(&settings.interface, error);
        let mut ebpf = loader.load(OBJECT).map_err(failed)?;
        program(&mut ebpf, "rmdp")?.load().map_err(|error| failed(error.into()))?;

        macro_rules! map {
            ($name:literal) => {
                ebpf.take_map($name)
                    .ok_or(XdpError::Object($name))?
                    .try_into()
                    .map_err(XdpError::map(concat!("opening map ", $name)))?
            };
        }
        let maps = Maps {
            settings: map!("settings"),
            active: map!("active"),
            senders: map!("senders"),
            streams: map!("streams"),
            counts: map!("counts"),
            reasons: map!("reasons"),
            generations: [map!("first_0"), map!("first_1")],
        };
        let ring = map!("ring");
        Ok(Self { ebpf, maps, ring })
    }
}

/// A program of the object.
pub(crate) fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, XdpError> {
    ebpf.program_mut(name).ok_or(XdpError::Object(name))?.try_into().map_err(|_| XdpError::Object(name))
}
