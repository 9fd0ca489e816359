//! From a frame to a datagram's header. Every byte that is read was compared with the frame's end before.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use outplane_rmdp_wire::datagram::{HEADER_LENGTH, MAGIC, MAX_PAYLOAD, TAG_LENGTH, VERSION, offset};

use crate::abi::{Active, Reason, Settings, TARGETS};
use crate::count::End;
use crate::maps;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q customer and service tags, and the pre-standard service tag.
const ETHERTYPE_TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const PROTOCOL_UDP: u8 = 17;
const ETHERNET: usize = 14;
const TAG: usize = 4;
const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: usize = 8;
/// More fragments (0x2000) and the fragment's offset (0x1fff).
const IPV4_FRAGMENT: u16 = 0x3fff;
/// What an IPv4 address begins with when mapped into IPv6 (RFC 4291, 2.5.5.2), in memory order.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

/// A well-formed datagram in the frame.
pub(crate) struct Datagram {
    /// Where it begins in the frame; `length` bytes from there lie within.
    offset: usize,
    /// With its tag.
    pub(crate) length: usize,
    /// Type minus 1.
    pub(crate) kind: usize,
    pub(crate) key: u32,
    pub(crate) network: u64,
    pub(crate) epoch: u64,
    pub(crate) sender: u32,
    pub(crate) sequence: u64,
    /// As it lies in memory, in two halves.
    pub(crate) id: [u64; 2],
}

impl Datagram {
    /// The address of a byte of it, as a new one for the verifier: what is learnt of it in a loop differs with each
    /// iteration, and would make a state to check of each.
    #[inline(always)]
    pub(crate) fn at(&self, context: &XdpContext, byte: usize) -> usize {
        context.data() + fresh(self.offset) + byte
    }
}

/// What a frame is.
pub(crate) enum Parsed {
    /// RMDP, well formed.
    Datagram(Datagram),
    /// Nothing for us; not even counted.
    Foreign,
    /// To a destination of ours, and not to be delivered.
    Bad(End),
}

/// The same address, about which the compiler knows nothing. It would leave out comparisons with the frame's end that
/// follow from others; the verifier wants one for each address.
#[inline(always)]
pub(crate) fn fresh(mut at: usize) -> usize {
    // SAFETY: copies a register to itself. (No instruction at all would give two lines of the source one place.)
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) at, options(nomem, nostack, preserves_flags)) };
    at
}

/// A value in the frame, if it lies within.
#[inline(always)]
fn load<T: Copy>(at: usize, end: usize) -> Option<T> {
    if at + size_of::<T>() > end {
        return None;
    }
    // SAFETY: the bytes lie before the frame's end; packets have no alignment.
    Some(unsafe { (at as *const T).read_unaligned() })
}

#[inline(always)]
fn pass(reason: Reason) -> Parsed {
    Parsed::Bad(End::pass(reason))
}

#[inline(always)]
fn drop(reason: Reason) -> Parsed {
    Parsed::Bad(End::drop(reason))
}

/// What [`rmdp_find`] found: nothing of ours,
const FOREIGN: u64 = 0;
/// a fragment to an address of ours,
const FRAGMENT: u64 = 1;
/// or a UDP payload to a destination of ours. Then bits 16 to 31 have its offset in the frame, 32 to 47 its length by
/// the UDP header, and 48 to 63 what the network layer has for it.
const FOUND: u64 = 2;

/// No header is so long: two tags, options, extension headers that we don't take.
const MOST_HEADERS: usize = 255;

#[inline(always)]
pub(crate) fn parse(context: &XdpContext) -> Parsed {
    let found = rmdp_find(context.ctx);
    match found & 0xffff {
        FOREIGN => Parsed::Foreign,
        FRAGMENT => pass(Reason::Fragment),
        _ => {
            let at = (found >> 16 & 0xffff) as usize;
            if at > MOST_HEADERS {
                return Parsed::Foreign;
            }
            let length = (found >> 32 & 0xffff) as usize;
            let available = (found >> 48) as usize;
            datagram(context, at, length, available)
        }
    }
}

/// Looks for a UDP payload to a destination of ours. A global function (Linux 5.6): the verifier checks it by itself and
/// the rest once, not once for each way through the headers.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rmdp_find(context: *mut xdp_md) -> u64 {
    let context = XdpContext::new(context);
    let end = context.data_end();
    let settings = match maps::ACTIVE.get(Active::Settings as u32) {
        // The mask is for the verifier.
        Some(&index) => maps::SETTINGS.get(index & 1),
        None => None,
    };
    let Some(settings) = settings else { return FOREIGN };
    let Some((udp, address, fragment, available)) = network(context.data(), end) else { return FOREIGN };
    if fragment {
        return if ours(settings, address, None) { FRAGMENT } else { FOREIGN };
    }
    // Source port, destination port, length, checksum.
    let Some([_, port, length, _]) = load::<[u16; 4]>(udp, end) else { return FOREIGN };
    if !ours(settings, address, Some(u32::from(port))) {
        return FOREIGN;
    }
    let (length, available) = (usize::from(u16::from_be(length)), available & 0xffff);
    if length < UDP || available < UDP {
        return FOREIGN;
    }
    let at = udp + UDP - context.data();
    FOUND | (at as u64) << 16 | ((length - UDP) as u64) << 32 | ((available - UDP) as u64) << 48
}

/// Where a UDP header begins, the destination address, whether it is a fragment (then there may be no header), and how
/// many bytes the network layer has for it.
#[inline(always)]
fn network(start: usize, end: usize) -> Option<(usize, [u64; 2], bool, usize)> {
    let mut at = start + ETHERNET;
    let mut ethertype: u16 = u16::from_be(load(at - 2, end)?);
    let mut tags = 0;
    while tags < 2 && ETHERTYPE_TAGS.contains(&ethertype) {
        at += TAG;
        ethertype = u16::from_be(load(at - 2, end)?);
        tags += 1;
    }
    match ethertype {
        ETHERTYPE_IPV4 => {
            let header: [u8; IPV4] = load(at, end)?;
            if header[0] >> 4 != 4 || header[9] != PROTOCOL_UDP {
                return None;
            }
            let options = usize::from(header[0] & 15) * 4;
            if options < IPV4 {
                return None;
            }
            let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let fragment = u16::from_be_bytes([header[6], header[7]]) & IPV4_FRAGMENT != 0;
            let to = u32::from_ne_bytes([header[16], header[17], header[18], header[19]]);
            let address = if cfg!(target_endian = "little") {
                [0, u64::from(to) << 32 | u64::from(MAPPED)]
            } else {
                [0, u64::from(MAPPED) << 32 | u64::from(to)]
            };
            Some((at + options, address, fragment, total.wrapping_sub(options)))
        }
        ETHERTYPE_IPV6 => {
            let version: u8 = load(at, end)?;
            let next: u8 = load(at + 6, end)?;
            let length: u16 = u16::from_be(load(at + 4, end)?);
            // Extension headers, fragments among them, are left to the stack.
            if version >> 4 != 6 || next != PROTOCOL_UDP {
                return None;
            }
            let address: [u64; 2] = load(at + 24, end)?;
            Some((at + IPV6, address, false, usize::from(length)))
        }
        _ => None,
    }
}

/// Whether this is a destination of ours; without a port, whether it is the address of one.
#[inline(always)]
fn ours(settings: &Settings, address: [u64; 2], port: Option<u32>) -> bool {
    let mut index = 0;
    while index < TARGETS {
        let target = &settings.targets[index];
        // The settings have no gaps.
        if target.port == 0 {
            return false;
        }
        if port.is_none_or(|port| port == target.port)
            && target.address[1] == address[1]
            && target.address[0] == address[0]
        {
            return true;
        }
        index += 1;
    }
    false
}

/// The header's rules, in the order of `outplane_rmdp_wire::Datagram::parse`.
#[inline(always)]
fn datagram(context: &XdpContext, at: usize, length: usize, available: usize) -> Parsed {
    let (start, end) = (context.data() + at, context.data_end());
    if length < size_of_val(&MAGIC) || length > available {
        return pass(Reason::NotRmdp);
    }
    match load::<u32>(start, end) {
        Some(magic) if magic == u32::from_ne_bytes(MAGIC) => {}
        _ => return pass(Reason::NotRmdp),
    }
    match load::<u8>(start + offset::VERSION, end) {
        Some(VERSION) if length > offset::VERSION => {}
        Some(_) if length > offset::VERSION => return pass(Reason::UnknownVersion),
        _ => return drop(Reason::Truncated),
    }
    if length < HEADER_LENGTH {
        return drop(Reason::Truncated);
    }
    let Some(fields) = load::<[u64; HEADER_LENGTH / 8]>(start, end) else {
        return drop(Reason::Truncated);
    };
    let payload = (u64::from_be(fields[3]) >> 16 & 0xffff) as usize;
    if payload > MAX_PAYLOAD {
        return drop(Reason::TooLong);
    }
    let needed = HEADER_LENGTH + payload + TAG_LENGTH;
    if length < needed || start + needed > end {
        return drop(Reason::Truncated);
    }
    if length > needed {
        return drop(Reason::TrailingBytes);
    }
    let first = u64::from_be(fields[0]);
    let kind = (first >> 16 & 0xff) as usize;
    if kind == 0 || kind > 3 {
        return drop(Reason::UnknownType);
    }
    if u64::from_be(fields[3]) & 0xffff != 0 {
        return drop(Reason::NotZero);
    }
    let sequence = u64::from_be(fields[4]);
    if sequence == 0 {
        return drop(Reason::NoSequence);
    }
    let id = [fields[5], fields[6]];
    if (id == [0, 0]) == (kind == 1) {
        return drop(Reason::WrongId);
    }
    Parsed::Datagram(Datagram {
        offset: at,
        length: needed,
        kind: kind - 1,
        key: (first & 0xffff) as u32,
        network: u64::from_be(fields[1]),
        epoch: u64::from_be(fields[2]),
        sender: (u64::from_be(fields[3]) >> 32) as u32,
        sequence,
        id,
    })
}
