//! Receives RMDP in the kernel: loads the XDP program, sets it up, reads what it delivers and counts.
//!
//! ```text
//!   interface ─► XDP program (rmdp.bpf.o)     ─► ring ─► XdpReceiver::next() ─► the controller
//!                   ▲          │
//!     keys, groups, │          └─► counters, lateness ─► XdpControl::counters()
//!     senders       │
//!              XdpControl ── tick(): the other generation of the deduplication takes over
//! ```
//!
//! Link and maps are pinned in `<pin root>/v<ABI>/<interface>/`, so that the program goes on between two lives of the
//! daemon: what comes meanwhile waits in the ring. [`XdpReceiver::attach`] finds them again, checks that they are ours,
//! and replaces the program through the pinned link in one step. [`XdpReceiver::detach`] removes everything.
//!
//! Needs Linux 5.15, `CAP_BPF`, `CAP_NET_ADMIN` and `CAP_PERFMON`, and a mounted bpffs. `ebpf/README.md` in the
//! sources has the maps, their bounds and the flow in the kernel.
//!
//! # Licences
//! This crate and the sources of the program are MIT or Apache-2.0, at your choice. The compiled program, which is part
//! of this package, says "Dual MIT/GPL" to the kernel: the kernel lets only programs under a licence that goes with its
//! own call some of its functions, and of ours MIT does. Nothing of it is GPL for whoever links this crate.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[expect(dead_code, unreachable_pub, reason = "shared with the program")]
mod abi;
mod attach;
mod control;
mod counters;
mod error;
mod kernel;
mod logs;
mod pins;
mod program;
mod receiver;
mod settings;

pub use control::{StreamSeen, XdpControl};
pub use counters::{
    Counters, LATENESS_CLASSES, ReasonCounts, SenderCounters, TypeCounters, lateness_class_end,
};
pub use error::XdpError;
pub use program::{Program, Run, Verdict};
pub use receiver::{Delivered, XdpReceiver};
pub use settings::{AttachMode, LogLevel, Mode, Settings};

// The crate whose types stand in this one's interface: keys, networks, datagrams.
pub use outplane_rmdp_wire;

/// Most destinations (address, port).
pub const MAX_GROUPS: usize = abi::TARGETS;
/// Most keys that are accepted at the same time.
pub const MAX_KEYS: usize = abi::KEYS;
/// Most senders that were ever configured while the pins were there.
pub const MAX_SENDERS: usize = abi::SENDERS;
