//! From a well-formed datagram to the ring: sender, tag, replay, first copy.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_spin_lock, bpf_spin_unlock};
use aya_ebpf::programs::XdpContext;
use outplane_rmdp_wire::Replay;

use crate::abi::{self, Reason};
use crate::count::{self, End};
use crate::maps::{self, Stream};
use crate::packet::{Datagram, fresh};
use crate::verify;

/// Of all answers to an insert the only one that means "seen".
const EEXIST: i32 = -17;
/// Type of task announces, minus 1.
const ANNOUNCE: usize = 0;

/// A record with room for `N` bytes of datagram.
#[repr(C, align(8))]
struct Record<const N: usize> {
    head: abi::RecordHead,
    bytes: [u8; N],
}

/// What the steps share.
struct Case<'a> {
    context: &'a XdpContext,
    datagram: &'a Datagram,
    stream: *mut Stream,
    counts: *mut abi::SenderCounts,
    arrival: u64,
}

/// What becomes of a well-formed datagram.
#[inline(always)]
pub(crate) fn datagram(context: &XdpContext, datagram: &Datagram) -> End {
    match steps(context, datagram) {
        Ok(end) | Err(end) => end,
    }
}

#[inline(always)]
fn steps(context: &XdpContext, datagram: &Datagram) -> Result<End, End> {
    if !verify::network(datagram.network) {
        return Err(End::drop(Reason::ForeignNetwork));
    }
    // SAFETY: entries of this map are never removed, and their bytes change as a whole or not at all.
    let sender = match unsafe { maps::SENDERS.get(datagram.sender) } {
        Some(sender) if sender.enabled != 0 => *sender,
        _ => return Err(End::drop(Reason::UnknownSender)),
    };
    let Some(key) = verify::key(datagram.key) else { return Err(End::drop(Reason::UnknownKey)) };
    if !verify::tag(context, datagram, key) {
        return Err(End::drop(Reason::WrongTag));
    }
    // From here on the datagram is authentic.
    let (Some(stream), Some(counts)) = (maps::STREAMS.get_ptr_mut(sender.index), count::of(sender)) else {
        return Err(End::drop(Reason::UnknownSender));
    };
    // SAFETY: a clock.
    let arrival = unsafe { bpf_ktime_get_ns() };
    let case = Case { context, datagram, stream, counts, arrival };
    case.counts().received += 1;
    // A look without the lock saves replays the rest; the mark under the lock decides.
    // SAFETY: the value lives as long as the map. A torn read may let a replay through to the mark, or refuse a
    // datagram only if its number is marked by now.
    if let Err(replay) = unsafe { (*stream).state.window.check(datagram.epoch, datagram.sequence) } {
        return Err(case.replay(replay));
    }
    let generation = if datagram.kind == ANNOUNCE {
        let Some(&generation) = maps::ACTIVE.get(abi::Active::Generation as u32) else {
            return Err(End::drop(Reason::UnknownSender));
        };
        case.known(generation)?;
        Some(generation)
    } else {
        None
    };
    // Two sizes: room in the ring costs, and most datagrams are small.
    if datagram.length <= abi::SMALL {
        case.deliver::<{ abi::SMALL }>(generation)
    } else {
        case.deliver::<{ abi::FULL }>(generation)
    }
}

impl Case<'_> {
    #[inline(always)]
    fn counts(&self) -> &mut abi::TypeCounts {
        // SAFETY: a per-processor value; XDP programs don't interrupt one another on a processor. The type is 0 to 2, and
        // the verifier sees it.
        unsafe { &mut *(&raw mut (*self.counts).types).cast::<abi::TypeCounts>().add(self.datagram.kind) }
    }

    #[inline(always)]
    fn replay(&self, replay: Replay) -> End {
        self.counts().replays += 1;
        End::drop(match replay {
            Replay::OldEpoch => Reason::OldEpoch,
            Replay::TooOld => Reason::TooOld,
            Replay::Seen => Reason::Seen,
        })
    }

    #[inline(always)]
    fn duplicate(&self) -> End {
        self.counts().duplicates += 1;
        End::usual()
    }

    /// Ends with a verdict when the task was delivered before.
    #[inline(always)]
    fn known(&self, generation: u32) -> Result<(), End> {
        let id = self.datagram.id;
        let seen = if generation & 2 == 0 {
            maps::FIRST_0.get_ptr(id).or_else(|| maps::FIRST_1.get_ptr(id))
        } else {
            maps::FIRST_1.get_ptr(id).or_else(|| maps::FIRST_0.get_ptr(id))
        };
        let Some(first) = seen else { return Ok(()) };
        // SAFETY: an entry's memory stays readable, also while it is removed.
        let (arrival, by) = unsafe { ((*first).arrival, (*first).sender) };
        // A sender's own repetition says nothing about its path.
        let lateness =
            if by == self.datagram.sender { None } else { Some(microseconds(self.arrival, arrival)) };
        self.mark(lateness)?;
        Err(self.duplicate())
    }

    /// Marks the sequence as seen and notes how late the copy is; ends with a verdict when another processor was first.
    #[inline(always)]
    fn mark(&self, lateness: Option<u32>) -> Result<(), End> {
        // SAFETY: the value lives as long as the map; lock and unlock are a pair on every way.
        let marked = unsafe {
            let lock = &raw mut (*self.stream).lock;
            bpf_spin_lock(lock);
            let state = &mut (*self.stream).state;
            let marked = state.window.accept(self.datagram.epoch, self.datagram.sequence);
            if let (Ok(()), Some(lateness)) = (marked, lateness) {
                state.recent[state.noted as usize & (abi::RECENT - 1)] = lateness;
                state.noted += 1;
            }
            bpf_spin_unlock(lock);
            marked
        };
        if let Err(replay) = marked {
            return Err(self.replay(replay));
        }
        if let Some(lateness) = lateness {
            let class = count::class(lateness);
            // SAFETY: as in `counts`; classes end where the array does.
            unsafe { *(&raw mut (*self.counts).lateness).cast::<u64>().add(class) += 1 };
        }
        Ok(())
    }

    /// Reserve, copy, mark, insert, submit. Until the insert nothing is lost by giving up, after it nothing can fail.
    #[inline(always)]
    fn deliver<const N: usize>(&self, generation: Option<u32>) -> Result<End, End> {
        let Some(mut record) = maps::RING_BUFFER.reserve_untyped::<Record<N>>(0) else {
            self.counts().ring_full += 1;
            return Err(End::pass(Reason::RingFull));
        };
        if let Err(verdict) = self.fill(record.as_mut_ptr()) {
            record.discard(0);
            return Err(verdict);
        }
        if let Err(verdict) = self.mark(generation.map(|_| 0)) {
            record.discard(0);
            return Err(verdict);
        }
        let end = match generation.map_or(Ok(End::usual()), |generation| self.first(generation)) {
            Ok(end) => end,
            Err(end) => {
                record.discard(0);
                return Err(end);
            }
        };
        record.submit(0);
        self.counts().delivered += 1;
        Ok(end)
    }

    /// Copies the datagram by words; the last one may overlap the one before.
    #[inline(always)]
    fn fill<const N: usize>(&self, record: *mut Record<N>) -> Result<(), End> {
        let length = self.datagram.length;
        let end = self.context.data_end();
        // SAFETY: the record has room for N bytes, and each read lies before the frame's end.
        unsafe {
            (*record).head = abi::RecordHead { arrival: self.arrival, length: length as u32, reserved: 0 };
            let to = (&raw mut (*record).bytes).cast::<u8>();
            let mut at = self.datagram.at(self.context, 0);
            let tail = fresh(length - 8);
            let last = self.datagram.at(self.context, tail);
            let whole = length / 8;
            let mut copied = 0;
            while copied + 8 <= N {
                if copied / 8 >= whole || at + 8 > end {
                    break;
                }
                to.add(copied).cast::<u64>().write((at as *const u64).read_unaligned());
                at += 8;
                copied += 8;
            }
            if tail > N - 8 || last + 8 > end {
                return Err(End::drop(Reason::Truncated));
            }
            to.add(tail).cast::<u64>().write_unaligned((last as *const u64).read_unaligned());
        }
        Ok(())
    }

    /// Marks the task as delivered; an error if another processor did in the meantime.
    #[inline(always)]
    fn first(&self, generation: u32) -> Result<End, End> {
        let id = self.datagram.id;
        let first = abi::First { arrival: self.arrival, sender: self.datagram.sender, reserved: 0 };
        let (deciding, next) = if generation & 2 == 0 {
            (maps::FIRST_0.insert(id, first, u64::from(BPF_NOEXIST)), generation & 1)
        } else {
            (maps::FIRST_1.insert(id, first, u64::from(BPF_NOEXIST)), generation & 1)
        };
        let decided = if deciding != Err(EEXIST) && next != 0 {
            // The switch comes: who already decides by the other generation must know.
            if generation & 2 == 0 {
                maps::FIRST_1.insert(id, first, u64::from(BPF_NOEXIST))
            } else {
                maps::FIRST_0.insert(id, first, u64::from(BPF_NOEXIST))
            }
        } else {
            deciding
        };
        match decided {
            Ok(()) => Ok(End::usual()),
            Err(EEXIST) => Err(self.duplicate()),
            Err(_) => {
                // Full, or no memory: better twice than never.
                self.counts().unmarked += 1;
                Ok(End::drop(Reason::Unmarked))
            }
        }
    }
}

#[inline(always)]
fn microseconds(later: u64, earlier: u64) -> u32 {
    // Processors may read the clock in another order than they come here.
    let nanoseconds = if later > earlier { later - earlier } else { 0 };
    let microseconds = nanoseconds / 1000;
    if microseconds > 0xffff_ffff { 0xffff_ffff } else { microseconds as u32 }
}
