//! What each port counts.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::parse::ParserError;
use super::pipeline::DropReason;

/// Why a frame ended in the switch: the pipeline's reasons, then those of the ports around it.
///
/// Counted where the frame came in, but for the last three, which are counted at the port that it should have left by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Discard {
    /// The frame ends inside a header.
    TooShort,
    /// More VLAN tags than the program looks behind.
    TooManyTags,
    /// IPv4 with a wrong version or header length.
    Ipv4Header,
    /// IPv6 with a wrong version.
    Ipv6Header,
    /// By its own length the IP packet ends inside a header.
    IpLength,
    /// More IPv6 extension headers than the program walks.
    Ipv6Extensions,
    /// No policy has been installed yet.
    NoPolicy,
    /// A TCP fragment at offset 1.
    TinyFragment,
    /// Its source address may not enter by this port.
    Spoofed,
    /// A policy denies it.
    Denied,
    /// Above a rule's rate limit.
    RateLimited,
    /// An entry of `l2_forward` drops it.
    Blocked,
    /// No entry says where it goes.
    NoWayOut,
    /// An entry or the controller sent it to the drop port, 511.
    DropPort,
    /// No pipeline has been pushed, or one that this data plane has no model of.
    NoProgram,
    /// It should leave by a port that the switch does not have.
    NoSuchPort,
    /// It should have gone to the controller, which takes none or is too slow.
    ControllerBusy,
    /// It came in longer than the ports take.
    Truncated,
    /// Several segments in one frame, of a kind that the kernel cannot pass on.
    UnnamedSegments,
    /// It is longer than the egress interface takes.
    TooLong,
    /// The egress interface is away.
    PortDown,
    /// The system did not take it.
    SendFailed,
}

impl Discard {
    /// Every reason, in order.
    pub const ALL: [Self; 22] = [
        Self::TooShort,
        Self::TooManyTags,
        Self::Ipv4Header,
        Self::Ipv6Header,
        Self::IpLength,
        Self::Ipv6Extensions,
        Self::NoPolicy,
        Self::TinyFragment,
        Self::Spoofed,
        Self::Denied,
        Self::RateLimited,
        Self::Blocked,
        Self::NoWayOut,
        Self::DropPort,
        Self::NoProgram,
        Self::NoSuchPort,
        Self::ControllerBusy,
        Self::Truncated,
        Self::UnnamedSegments,
        Self::TooLong,
        Self::PortDown,
        Self::SendFailed,
    ];

    /// A stable name, snake case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::TooManyTags => "too_many_tags",
            Self::Ipv4Header => "ipv4_header",
            Self::Ipv6Header => "ipv6_header",
            Self::IpLength => "ip_length",
            Self::Ipv6Extensions => "ipv6_extensions",
            Self::NoPolicy => "no_policy",
            Self::TinyFragment => "tiny_fragment",
            Self::Spoofed => "spoofed",
            Self::Denied => "denied",
            Self::RateLimited => "rate_limited",
            Self::Blocked => "blocked",
            Self::NoWayOut => "no_way_out",
            Self::DropPort => "drop_port",
            Self::NoProgram => "no_program",
            Self::NoSuchPort => "no_such_port",
            Self::ControllerBusy => "controller_busy",
            Self::Truncated => "truncated",
            Self::UnnamedSegments => "unnamed_segments",
            Self::TooLong => "too_long",
            Self::PortDown => "port_down",
            Self::SendFailed => "send_failed",
        }
    }
}

impl Discard {
    /// The reason in words, with the cure where there is one.
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::TooShort => "it ends inside a header",
            Self::TooManyTags => "it has more than two VLAN tags",
            Self::Ipv4Header => "its IPv4 header has a wrong version or length",
            Self::Ipv6Header => "its IPv6 header has a wrong version",
            Self::IpLength => "by its own length the IP packet ends inside a header",
            Self::Ipv6Extensions => "it has more than four IPv6 extension headers",
            Self::NoPolicy => "no policy has been installed yet: `outplane apply` does that",
            Self::TinyFragment => "it is a TCP fragment at offset 1 (RFC 3128)",
            Self::Spoofed => {
                "its source address may not enter by this port (antiSpoofing): `outplane trace --port` says why"
            }
            Self::Denied => "a policy denies it: `outplane trace` says which",
            Self::RateLimited => "it is above a rule's rate limit",
            Self::Blocked => "an entry of l2_forward drops it",
            Self::NoWayOut => {
                "nothing says where it goes: its segment has no other port here, or it is in no segment \
                 (`outplane trace` says which)"
            }
            Self::DropPort => "an entry or the controller sent it to port 511, which drops",
            Self::NoProgram => "no pipeline has been pushed, or another program's",
            Self::NoSuchPort => "it should leave by a port that this switch does not have",
            Self::ControllerBusy => "it should go to the controller, which takes none or is too slow",
            Self::Truncated => "it is longer than a port takes",
            Self::UnnamedSegments => {
                "it is several segments in one, of a kind that the kernel cannot pass on: turn that off at its sender \
                 (`ethtool -K <interface> gso off tso off`)"
            }
            Self::TooLong => "it is longer than the egress interface takes (its MTU)",
            Self::PortDown => "the egress interface is away or down",
            Self::SendFailed => "the system did not take it",
        }
    }
}

impl fmt::Display for Discard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<DropReason> for Discard {
    fn from(reason: DropReason) -> Self {
        match reason {
            DropReason::Parser(ParserError::PacketTooShort) => Self::TooShort,
            DropReason::Parser(ParserError::TooManyTags) => Self::TooManyTags,
            DropReason::Parser(ParserError::Ipv4HeaderInvalid) => Self::Ipv4Header,
            DropReason::Parser(ParserError::Ipv6HeaderInvalid) => Self::Ipv6Header,
            DropReason::Parser(ParserError::IpLengthInvalid) => Self::IpLength,
            DropReason::Parser(ParserError::Ipv6TooManyExtensionHeaders) => Self::Ipv6Extensions,
            DropReason::NoPolicy => Self::NoPolicy,
            DropReason::TinyFragment => Self::TinyFragment,
            DropReason::Spoofed => Self::Spoofed,
            DropReason::Denied => Self::Denied,
            DropReason::RateLimited => Self::RateLimited,
            DropReason::Blocked => Self::Blocked,
            DropReason::NoWayOut => Self::NoWayOut,
            DropReason::DropPort => Self::DropPort,
        }
    }
}

/// One port's counters, written by several threads.
#[derive(Debug, Default)]
pub(super) struct Counters {
    rx_frames: AtomicU64,
    rx_bytes: AtomicU64,
    tx_frames: AtomicU64,
    tx_bytes: AtomicU64,
    to_controller: AtomicU64,
    missed: AtomicU64,
    drops: [AtomicU64; Discard::ALL.len()],
}

impl Counters {
    pub(super) fn received(&self, bytes: usize) {
        self.rx_frames.fetch_add(1, Ordering::Relaxed);
        self.rx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.tx_frames.fetch_add(1, Ordering::Relaxed);
        self.tx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn sent_to_controller(&self) {
        self.to_controller.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn missed(&self, frames: u64) {
        self.missed.fetch_add(frames, Ordering::Relaxed);
    }

    /// Returns how often this reason has been counted with this one.
    pub(super) fn dropped(&self, reason: Discard) -> u64 {
        self.drops[reason as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn read(&self) -> PortCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PortCounters {
            rx_frames: read(&self.rx_frames),
            rx_bytes: read(&self.rx_bytes),
            tx_frames: read(&self.tx_frames),
            tx_bytes: read(&self.tx_bytes),
            to_controller: read(&self.to_controller),
            missed: read(&self.missed),
            drops: Discard::ALL
                .into_iter()
                .zip(self.drops.iter().map(read))
                .filter(|&(_, frames)| frames != 0)
                .collect(),
        }
    }
}

/// A port's counters at one time; the fields are not read at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames that came in.
    pub rx_frames: u64,
    /// Their bytes, without FCS.
    pub rx_bytes: u64,
    /// Frames that went out.
    pub tx_frames: u64,
    /// Their bytes, without FCS.
    pub tx_bytes: u64,
    /// Frames that came in here and went to the controller.
    pub to_controller: u64,
    /// Frames that the system had to drop because the switch did not fetch them in time.
    pub missed: u64,
    /// Frames dropped, by reason; reasons that never happened are left out.
    pub drops: Vec<(Discard, u64)>,
}

impl PortCounters {
    /// Frames dropped for `reason`.
    pub fn dropped(&self, reason: Discard) -> u64 {
        self.drops.iter().find(|(dropped, _)| *dropped == reason).map_or(0, |&(_, frames)| frames)
    }
}

impl fmt::Display for PortCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rx_frames, tx_frames, to_controller, missed, .. } = self;
        write!(f, "rx={rx_frames} tx={tx_frames} to_controller={to_controller} missed={missed}")?;
        for (reason, frames) in &self.drops {
            write!(f, " {reason}={frames}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_at_their_index_and_have_names_of_their_own() {
        let mut names: Vec<&str> = Vec::new();
        for (index, reason) in Discard::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(!names.contains(&reason.name()), "{reason}");
            names.push(reason.name());
        }
    }

    #[test]
    fn counters_read_back() {
        let counters = Counters::default();
        counters.received(60);
        counters.received(1500);
        counters.sent(60);
        counters.dropped(Discard::SendFailed);
        counters.dropped(Discard::Denied);
        counters.dropped(Discard::Denied);
        let read = counters.read();
        assert_eq!((read.rx_frames, read.rx_bytes, read.tx_frames, read.tx_bytes), (2, 1560, 1, 60));
        assert_eq!(read.drops, [(Discard::Denied, 2), (Discard::SendFailed, 1)]);
        assert_eq!(read.dropped(Discard::NoPolicy), 0);
        assert_eq!(read.to_string(), "rx=2 tx=1 to_controller=0 missed=0 denied=2 send_failed=1");
    }
}
