//! What rows say: where they stand, what they match beside sets, what they do. In words of policies, of no switch.

/// Seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Direction {
    Egress,
    Ingress,
}

impl Direction {
    pub(crate) const ALL: [Self; 2] = [Self::Egress, Self::Ingress];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Egress => Self::Ingress,
            Self::Ingress => Self::Egress,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }
}

/// The tiers of a pod's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PodTier {
    Admin,
    /// NetworkPolicies and the Baseline tier.
    Main,
}

/// A list of rows: of those that match a packet the one with the highest priority decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Filter policies before the pods' policies.
    FilterAdmin,
    /// Filter policies after them.
    FilterBaseline,
    /// The policies of pods that send a packet (egress) or get it (ingress).
    Pods(Direction, PodTier),
    /// What a packet that this side denies may be an answer to, or an error about: the rules of the same pods' other
    /// side, mirrored.
    Answers(Direction, PodTier),
}

impl Stage {
    /// Whether it is one of filter policies; else of pods.
    pub(crate) fn is_filter(self) -> bool {
        matches!(self, Self::FilterAdmin | Self::FilterBaseline)
    }
}

/// What a row does with the packets that it decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// They may pass; among answers: past what the other side denies.
    Allow,
    /// As many of them may pass as a cell of the rate limiter lets through.
    AllowLimited { cell: u64 },
    /// They are dropped; among answers: they are none.
    Deny,
    /// They are dropped, and logged under this mark.
    DenyLog { tag: u32 },
    /// It is left to the stages below.
    Pass,
}

/// Kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Traffic {
    /// IP without what is neighbor discovery.
    Ip,
    Arp,
    /// Neighbor discovery of IPv6, multicast listener discovery included.
    NeighborDiscovery,
    /// What certainly holds no IP.
    NonIp,
    /// What the switch cannot read: some host may find IP in it.
    Unread,
}

/// What a packet has to be, beside its addresses, ports and segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Condition {
    Traffic(Traffic),
    EtherType(u16),
    Protocol(u8),
    /// Of the flags of TCP these are set, and these are not; they share none.
    TcpFlags {
        set: u8,
        clear: u8,
    },
    IcmpType(u8),
    IcmpCode(u8),
    /// A fragment that is not the first one: it has no ports, flags, type or code.
    LaterFragment(bool),
    /// TCP with ACK or RST.
    Established(bool),
    /// May be an answer: established TCP, UDP, SCTP, an echo reply.
    Reply(bool),
    /// An ICMP error.
    Related(bool),
}
