//! A packet socket (`packet(7)`) on one interface: whole frames in and out, with what is left to do on them.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, GetSockOpt, LinkAddr, MsgFlags, SetSockOpt, SockFlag, SockProtocol,
    SockType, bind, recvmsg, sendmsg, socket, sockopt,
};
use nix::sys::time::TimeVal;
use nix::{cmsg_space, getsockopt_impl, setsockopt_impl};
use socket2::{SockFilter, SockRef};

use super::offload::{HEADER_BYTES, Offload, TAG_BYTES};

/// Longest frame, bytes: the longest IP packet behind Ethernet and two tags.
pub const MAX_FRAME: usize = 65_535 + 14 + 2 * TAG_BYTES;

/// What the kernel may queue for a port, bytes as it counts them: some 20,000 short frames.
const QUEUE: usize = 16 << 20;

/// How long a port's thread may sleep before it looks whether it shall end.
const PATIENCE: Duration = Duration::from_millis(100);

/// Why an interface could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It does not exist.
    #[error("there is no such interface")]
    Missing,
    /// It exists and is down.
    #[error("the interface is down")]
    Down,
    /// A tunnel, say.
    #[error("it carries no Ethernet frames")]
    NotEthernet,
    /// No rights.
    #[error("opening an interface needs root or CAP_NET_RAW")]
    NotAllowed,
    /// The system refused.
    #[error("{call}: {}", error.desc())]
    System {
        /// What was asked of it.
        call: &'static str,
        /// What it said.
        error: Errno,
    },
}

impl OpenError {
    /// Whether waiting may help.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Missing | Self::Down)
    }
}

fn failed(call: &'static str) -> impl Fn(Errno) -> OpenError {
    move |error| match error {
        Errno::EPERM | Errno::EACCES => OpenError::NotAllowed,
        // It went between two calls.
        Errno::ENODEV | Errno::ENXIO => OpenError::Missing,
        Errno::ENETDOWN => OpenError::Down,
        error => OpenError::System { call, error },
    }
}

/// `PACKET_VNET_HDR`: frames come and go behind an [`Offload`].
#[derive(Clone, Copy, Debug)]
struct OffloadHeader;
setsockopt_impl!(OffloadHeader, libc::SOL_PACKET, libc::PACKET_VNET_HDR, bool, sockopt::SetBool);

/// `PACKET_AUXDATA`: frames come with the tag that the kernel has taken off them.
#[derive(Clone, Copy, Debug)]
struct AuxiliaryData;
setsockopt_impl!(AuxiliaryData, libc::SOL_PACKET, libc::PACKET_AUXDATA, bool, sockopt::SetBool);

/// `PACKET_ADD_MEMBERSHIP`.
#[derive(Clone, Copy, Debug)]
struct Membership;
setsockopt_impl!(
    Membership,
    libc::SOL_PACKET,
    libc::PACKET_ADD_MEMBERSHIP,
    libc::packet_mreq,
    sockopt::SetStruct<'_, libc::packet_mreq>
);

/// `PACKET_STATISTICS`, since it was read last.
#[derive(Clone, Copy, Debug)]
struct Statistics;
getsockopt_impl!(
    Statistics,
    libc::SOL_PACKET,
    libc::PACKET_STATISTICS,
    libc::tpacket_stats,
    sockopt::GetStruct<libc::tpacket_stats>
);

/// Classic BPF: load the packet type (`SKF_AD_OFF + SKF_AD_PKTTYPE`), drop `PACKET_OUTGOING`, take all others whole.
const NOT_OUTGOING: [SockFilter; 4] = [
    SockFilter::new(0x30, 0, 0, 0xffff_f004),
    SockFilter::new(0x15, 1, 0, 4),
    SockFilter::new(0x06, 0, 0, u32::MAX),
    SockFilter::new(0x06, 0, 0, 0),
];

/// Classic BPF: drop.
const NOTHING: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

/// An interface that is up and carries Ethernet, as an address to bind to.
fn find(interface: &str) -> Result<LinkAddr, OpenError> {
    let found = getifaddrs().map_err(failed("listing the interfaces"))?;
    let mut entries = found.filter(|entry| entry.interface_name == interface).peekable();
    if entries.peek().is_none() {
        return Err(OpenError::Missing);
    }
    let mut links = entries.filter_map(|entry| Some((*entry.address?.as_link_addr()?, entry.flags)));
    // What has no link address is a tunnel.
    let (link, flags) = links.next().ok_or(OpenError::NotEthernet)?;
    if ![libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK].contains(&link.hatype()) {
        return Err(OpenError::NotEthernet);
    }
    if flags.contains(InterfaceFlags::IFF_UP) { Ok(link) } else { Err(OpenError::Down) }
}

fn open(protocol: impl Into<Option<SockProtocol>>) -> Result<OwnedFd, OpenError> {
    socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
        .map_err(failed("opening a packet socket"))
}

fn set<O: SetSockOpt>(
    call: &'static str,
    socket: &OwnedFd,
    option: &O,
    value: &O::Val,
) -> Result<(), OpenError> {
    option.set(socket, value).map_err(failed(call))
}

/// Sends by one interface.
#[derive(Debug)]
pub struct Sender(OwnedFd);

impl Sender {
    /// Opens the interface, which must be up.
    pub fn open(interface: &str) -> Result<Self, OpenError> {
        let link = find(interface)?;
        let socket = open(None)?; // of no protocol, so that nothing is queued for it
        set("asking for segmentation", &socket, &OffloadHeader, &true)?;
        bind(socket.as_raw_fd(), &link).map_err(failed("binding the packet socket"))?;
        Ok(Self(socket))
    }

    /// Hands a frame to the interface.
    pub fn send(&self, frame: &[u8], offload: Offload) -> Result<(), Errno> {
        let header = offload.to_bytes();
        let parts = [IoSlice::new(&header), IoSlice::new(frame)];
        sendmsg::<()>(self.0.as_raw_fd(), &parts, &[], MsgFlags::empty(), None).map(drop)
    }
}

/// A frame that came in.
#[derive(Debug)]
pub struct Received<'b> {
    /// Its bytes, tags included; less than it had if it was longer than [`MAX_FRAME`].
    pub frame: &'b mut [u8],
    /// What is left to do on it.
    pub offload: Offload,
    /// How many bytes it had.
    pub bytes: usize,
}

/// Receives what comes in by one interface, in promiscuous mode: nothing of what the machine sends there.
#[derive(Debug)]
pub struct Receiver {
    socket: OwnedFd,
    /// The interface's number.
    index: usize,
    buffer: Box<[u8]>,
    control: Vec<u8>,
}

impl Receiver {
    /// Opens the interface, which must be up.
    pub fn open(interface: &str) -> Result<Self, OpenError> {
        let link = find(interface)?;
        let socket = open(SockProtocol::EthAll)?;
        let filter = |filter: &[SockFilter]| {
            let call = failed("attaching a filter");
            SockRef::from(&socket).attach_filter(filter).map_err(|error| call(errno(&error)))
        };
        // Until it is bound it is every interface's.
        filter(&NOTHING)?;
        set("asking for checksums", &socket, &OffloadHeader, &true)?;
        set("asking for tags", &socket, &AuxiliaryData, &true)?;
        // As much as the system allows where this is too much.
        if sockopt::RcvBufForce.set(&socket, &QUEUE).is_err() {
            set("asking for a queue", &socket, &sockopt::RcvBuf, &QUEUE)?;
        }
        let patience = TimeVal::new(0, PATIENCE.as_micros().try_into().unwrap_or(0));
        set("setting a timeout", &socket, &sockopt::ReceiveTimeout, &patience)?;
        bind(socket.as_raw_fd(), &link).map_err(failed("binding the packet socket"))?;
        let promiscuous = libc::packet_mreq {
            mr_ifindex: link.ifindex().try_into().unwrap_or(0),
            mr_type: libc::PACKET_MR_PROMISC.try_into().unwrap_or(0),
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set("promiscuous mode", &socket, &Membership, &promiscuous)?;
        let buffer = vec![0; TAG_BYTES + MAX_FRAME].into_boxed_slice();
        let index = link.ifindex();
        let mut receiver = Self { socket, index, buffer, control: cmsg_space!(libc::tpacket_auxdata) };
        // What came before the filter was there.
        while receiver.receive_now(MsgFlags::MSG_DONTWAIT).is_ok() {}
        let call = failed("attaching a filter");
        SockRef::from(&receiver.socket).attach_filter(&NOT_OUTGOING).map_err(|error| call(errno(&error)))?;
        Ok(receiver)
    }

    /// The next frame; `EAGAIN` when none comes for 100 ms, `EINVAL` for a frame with segments that have no name.
    pub fn receive(&mut self) -> Result<Received<'_>, Errno> {
        self.receive_now(MsgFlags::empty())
    }

    fn receive_now(&mut self, flags: MsgFlags) -> Result<Received<'_>, Errno> {
        let mut header = [0; HEADER_BYTES];
        let (bytes, tag) = {
            // Room in front for a tag that the kernel has taken off.
            let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(&mut self.buffer[TAG_BYTES..])];
            let message = recvmsg::<()>(
                self.socket.as_raw_fd(),
                &mut parts,
                Some(&mut self.control),
                flags | MsgFlags::MSG_TRUNC, // says the frame's whole length
            )?;
            (message.bytes.saturating_sub(HEADER_BYTES), message.cmsgs()?.find_map(tag))
        };
        let there = bytes.min(MAX_FRAME);
        let offload = Offload::from_bytes(header);
        match tag {
            Some(tag) if there >= ADDRESSES => {
                self.buffer.copy_within(TAG_BYTES..TAG_BYTES + ADDRESSES, 0);
                self.buffer[ADDRESSES..ADDRESSES + TAG_BYTES].copy_from_slice(&tag);
                let frame = &mut self.buffer[..TAG_BYTES + there];
                Ok(Received { frame, offload: offload.behind_a_tag(), bytes: bytes + TAG_BYTES })
            }
            _ => Ok(Received { frame: &mut self.buffer[TAG_BYTES..TAG_BYTES + there], offload, bytes }),
        }
    }

    /// Whether the interface of this name is up and still the one that was opened.
    pub fn is_up(&self, interface: &str) -> Result<(), OpenError> {
        if find(interface)?.ifindex() == self.index { Ok(()) } else { Err(OpenError::Missing) }
    }

    /// Frames that the kernel had to drop for want of room, since this was asked last.
    pub fn missed(&self) -> u64 {
        Statistics.get(&self.socket.as_fd()).map_or(0, |statistics| statistics.tp_drops.into())
    }
}

/// Bytes of the two addresses, which stand before a tag.
const ADDRESSES: usize = 12;

/// The tag that the kernel says it has taken off (`struct tpacket_auxdata`): EtherType and number.
fn tag(message: ControlMessageOwned) -> Option<[u8; TAG_BYTES]> {
    let ControlMessageOwned::Unknown(message) = message else { return None };
    let header = message.cmsg_header;
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    let data = message.data_bytes;
    let short = |at: usize| Some(u16::from_ne_bytes(*data.get(at..at + 2)?.first_chunk()?));
    let status = u32::from_ne_bytes(*data.first_chunk()?);
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    // Kernels that do not say the EtherType know one only.
    let says_type = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let ether_type = if says_type { short(18)? } else { 0x8100 };
    let ([t0, t1], [n0, n1]) = (ether_type.to_be_bytes(), short(16)?.to_be_bytes());
    Some([t0, t1, n0, n1])
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}
