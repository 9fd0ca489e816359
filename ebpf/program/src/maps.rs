//! The maps. `ebpf/README.md` has them in a table.

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, bpf_spin_lock};
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;

use crate::abi;

/// A stream's state and the lock that holds while it is read and written.
#[repr(C)]
pub(crate) struct Stream {
    pub(crate) lock: bpf_spin_lock,
    pub(crate) reserved: u32,
    pub(crate) state: abi::StreamState,
}

/// Entries that a generation has unless the loader says otherwise.
const CAPACITY: usize = 327_680;
/// Bytes of the ring unless the loader says otherwise.
const RING: usize = 8 << 20;

type Generation = HashMap<[u64; 2], abi::First, CAPACITY, { BPF_F_NO_PREALLOC as usize }>;

#[btf_map(name = "settings")]
pub(crate) static SETTINGS: Array<abi::Settings, 2> = Array::new();

#[btf_map(name = "active")]
pub(crate) static ACTIVE: Array<u32, { abi::ACTIVES }> = Array::new();

#[btf_map(name = "senders")]
pub(crate) static SENDERS: HashMap<u32, abi::Sender, { abi::SENDERS }> = HashMap::new();

#[btf_map(name = "streams")]
pub(crate) static STREAMS: Array<Stream, { abi::SENDERS }> = Array::new();

#[btf_map(name = "counts")]
pub(crate) static COUNTS: PerCpuArray<abi::SenderCounts, { abi::SENDERS }> = PerCpuArray::new();

#[btf_map(name = "reasons")]
pub(crate) static REASONS: PerCpuArray<u64, { abi::REASONS }> = PerCpuArray::new();

#[btf_map(name = "first_0")]
pub(crate) static FIRST_0: Generation = Generation::new();

#[btf_map(name = "first_1")]
pub(crate) static FIRST_1: Generation = Generation::new();

#[btf_map(name = "ring")]
pub(crate) static RING_BUFFER: RingBuf<u8, RING> = RingBuf::new();
