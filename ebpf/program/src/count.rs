//! Counters, and a log line when one of the rare ones reaches a power of two.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::{info, warn};

use crate::abi::{self, Reason};
use crate::maps;

/// No reason.
const USUAL: u32 = u32::MAX;

/// What becomes of a packet, and why.
#[derive(Clone, Copy)]
pub(crate) struct End {
    reason: u32,
    action: u32,
}

impl End {
    #[inline(always)]
    pub(crate) fn pass(reason: Reason) -> Self {
        Self { reason: reason as u32, action: XDP_PASS }
    }

    #[inline(always)]
    pub(crate) fn drop(reason: Reason) -> Self {
        Self { reason: reason as u32, action: XDP_DROP }
    }

    /// Delivered, or a duplicate: the sender's counters have it, and the others are spared the time.
    #[inline(always)]
    pub(crate) fn usual() -> Self {
        Self { reason: USUAL, action: XDP_DROP }
    }

    /// Counts the reason; gives the action for the kernel.
    #[inline(always)]
    pub(crate) fn count(self, context: &XdpContext) -> u32 {
        if self.reason == USUAL {
            return self.action;
        }
        let count = add(self.reason);
        // Rare, whoever sends whatever. The loader makes words of it.
        if count & count.wrapping_sub(1) == 0 {
            if self.reason == Reason::RingFull as u32 || self.reason == Reason::Unmarked as u32 {
                warn!(context, "{} {}", self.reason, count);
            } else {
                info!(context, "{} {}", self.reason, count);
            }
        }
        self.action
    }
}

/// Counts; gives what the counter of this processor shows now.
#[inline(always)]
fn add(reason: u32) -> u64 {
    let Some(counter) = maps::REASONS.get_ptr_mut(reason) else { return 0 };
    // SAFETY: a per-processor value; XDP programs don't interrupt one another on a processor.
    unsafe {
        *counter += 1;
        *counter
    }
}

/// A sender's counters on this processor.
#[inline(always)]
pub(crate) fn of(sender: abi::Sender) -> Option<*mut abi::SenderCounts> {
    maps::COUNTS.get_ptr_mut(sender.index)
}

/// The class of a lateness, microseconds: its length in bits.
#[inline(always)]
pub(crate) fn class(microseconds: u32) -> usize {
    let mut class = 0;
    let mut rest = microseconds;
    // Five steps of a bit search; eBPF has no instruction for it.
    if rest >> 16 != 0 {
        class += 16;
        rest >>= 16;
    }
    if rest >> 8 != 0 {
        class += 8;
        rest >>= 8;
    }
    if rest >> 4 != 0 {
        class += 4;
        rest >>= 4;
    }
    if rest >> 2 != 0 {
        class += 2;
        rest >>= 2;
    }
    class += if rest >> 1 != 0 { 2 } else { rest as usize };
    if class < abi::CLASSES { class } else { abi::CLASSES - 1 }
}
