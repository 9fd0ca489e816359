//! What `outplane.p4` declares: tables with their keys and actions, actions with their parameters, counters.
//!
//! Whoever writes entries and whoever looks them up speak of these; a P4Info gives them their ids.

macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in `outplane.p4`: its alias in the P4Info.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// What has this name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|own| own.name() == name)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

names! {
    /// A table of `outplane.p4`, in the order in which packets meet them.
    Table {
        PolicyVersion = "policy_version",
        SegmentOf = "segment_of",
        SourceGuardV4 = "source_guard_v4",
        SourceGuardV6 = "source_guard_v6",
        SrcV4Class = "src_v4_class",
        DstV4Class = "dst_v4_class",
        SrcV6Class = "src_v6_class",
        DstV6Class = "dst_v6_class",
        SportClass = "sport_class",
        DportClass = "dport_class",
        FilterAdmin = "filter_admin",
        PodEgressAdmin = "pod_egress_admin",
        PodEgress = "pod_egress",
        PodEgressAdminReply = "pod_egress_admin_reply",
        PodEgressReply = "pod_egress_reply",
        PodIngressAdmin = "pod_ingress_admin",
        PodIngress = "pod_ingress",
        PodIngressAdminReply = "pod_ingress_admin_reply",
        PodIngressReply = "pod_ingress_reply",
        FilterBaseline = "filter_baseline",
        CrossConnect = "cross_connect",
        L2Forward = "l2_forward",
        Flood = "flood",
    }
}

names! {
    /// A match field of `outplane.p4`.
    Field {
        Version = "version",
        IngressPort = "ingress_port",
        VlanPresent = "vlan_present",
        VlanId = "vlan_id",
        Address = "address",
        Protocol = "protocol",
        Port = "port",
        Segment = "segment",
        Traffic = "traffic",
        SrcClass = "src_class",
        DstClass = "dst_class",
        Fragment = "fragment",
        SportClass = "sport_class",
        DportClass = "dport_class",
        TcpFlags = "tcp_flags",
        Established = "established",
        Reply = "reply",
        IcmpType = "icmp_type",
        IcmpCode = "icmp_code",
        EtherType = "ether_type",
        Related = "related",
        DstMac = "dst_mac",
    }
}

names! {
    /// An action of `outplane.p4`.
    ActionKind {
        SetVersion = "set_version",
        SetSegment = "set_segment",
        SourceV4Allow = "source_v4_allow",
        SourceV4Deny = "source_v4_deny",
        SourceV6Allow = "source_v6_allow",
        SourceV6Deny = "source_v6_deny",
        SetSrcClass = "set_src_class",
        SetDstClass = "set_dst_class",
        SetSportClass = "set_sport_class",
        SetDportClass = "set_dport_class",
        AdminPermit = "admin_permit",
        AdminPermitLimited = "admin_permit_limited",
        AdminDeny = "admin_deny",
        AdminDenyLog = "admin_deny_log",
        AdminPass = "admin_pass",
        BaselinePermit = "baseline_permit",
        BaselinePermitLimited = "baseline_permit_limited",
        BaselineDeny = "baseline_deny",
        BaselineDenyLog = "baseline_deny_log",
        BaselinePass = "baseline_pass",
        EgressAdminPermit = "egress_admin_permit",
        EgressAdminDeny = "egress_admin_deny",
        EgressAdminPass = "egress_admin_pass",
        EgressPermit = "egress_permit",
        EgressDeny = "egress_deny",
        EgressDenyLog = "egress_deny_log",
        EgressPass = "egress_pass",
        IngressAdminPermit = "ingress_admin_permit",
        IngressAdminDeny = "ingress_admin_deny",
        IngressAdminPass = "ingress_admin_pass",
        IngressPermit = "ingress_permit",
        IngressDeny = "ingress_deny",
        IngressDenyLog = "ingress_deny_log",
        IngressPass = "ingress_pass",
        EgressAdminReply = "egress_admin_reply",
        EgressAdminNoReply = "egress_admin_no_reply",
        EgressAdminReplyPass = "egress_admin_reply_pass",
        EgressReply = "egress_reply",
        EgressNoReply = "egress_no_reply",
        IngressAdminReply = "ingress_admin_reply",
        IngressAdminNoReply = "ingress_admin_no_reply",
        IngressAdminReplyPass = "ingress_admin_reply_pass",
        IngressReply = "ingress_reply",
        IngressNoReply = "ingress_no_reply",
        Forward = "forward",
        FloodTo = "flood_to",
        Drop = "drop",
    }
}

names! {
    /// An indexed counter of `outplane.p4`: what is dropped.
    DropCounter {
        Drops = "drops",
        SegmentDrops = "segment_drops",
        LimiterDrops = "limiter_drops",
    }
}

names! {
    /// Why the program drops a frame: the cells of [`DropCounter::Drops`], in their order.
    Dropped {
        TooShort = "too_short",
        TooManyTags = "too_many_tags",
        Ipv4Header = "ipv4_header",
        Ipv6Header = "ipv6_header",
        IpLength = "ip_length",
        Ipv6Extensions = "ipv6_extensions",
        Parser = "parser",
        NoPolicy = "no_policy",
        TinyFragment = "tiny_fragment",
        Spoofed = "spoofed",
        Denied = "denied",
        DeniedLogged = "denied_logged",
        RateLimited = "rate_limited",
        Blocked = "blocked",
        NoWayOut = "no_way_out",
    }
}

/// The meter whose cells limit rates.
pub const RATE_LIMITER: &str = "rate_limiter";

/// The action that does nothing: tables name it, entries don't use it.
pub const NO_ACTION: &str = "NoAction";

/// How a match field matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchKind {
    /// One value.
    Exact,
    /// The bits under a mask.
    Ternary,
    /// From a lowest to a highest value.
    Range,
}

/// Match fields and their widths in bits.
type KeyFields = &'static [(Field, u32)];

const SEGMENT_KEY: KeyFields =
    &[(Field::Version, 8), (Field::IngressPort, 9), (Field::VlanPresent, 1), (Field::VlanId, 12)];
const GUARD_KEY_V4: KeyFields =
    &[(Field::Version, 8), (Field::IngressPort, 9), (Field::Segment, 16), (Field::Address, 32)];
const GUARD_KEY_V6: KeyFields =
    &[(Field::Version, 8), (Field::IngressPort, 9), (Field::Segment, 16), (Field::Address, 128)];
const CLASS_KEY_V4: KeyFields = &[(Field::Version, 8), (Field::Address, 32)];
const CLASS_KEY_V6: KeyFields = &[(Field::Version, 8), (Field::Address, 128)];
const PORT_KEY: KeyFields = &[(Field::Version, 8), (Field::Protocol, 8), (Field::Port, 16)];
const FILTER_KEY: KeyFields = &[
    (Field::Version, 8),
    (Field::Segment, 16),
    (Field::Traffic, 3),
    (Field::SrcClass, 16),
    (Field::DstClass, 16),
    (Field::Protocol, 8),
    (Field::Fragment, 1),
    (Field::SportClass, 16),
    (Field::DportClass, 16),
    (Field::TcpFlags, 8),
    (Field::Established, 1),
    (Field::Reply, 1),
    (Field::IcmpType, 8),
    (Field::IcmpCode, 8),
    (Field::EtherType, 16),
    (Field::Related, 1),
];
const POD_KEY: KeyFields = &[
    (Field::Version, 8),
    (Field::SrcClass, 16),
    (Field::DstClass, 16),
    (Field::Protocol, 8),
    (Field::Fragment, 1),
    (Field::DportClass, 16),
];
const REPLY_KEY: KeyFields = &[
    (Field::Version, 8),
    (Field::SrcClass, 16),
    (Field::DstClass, 16),
    (Field::Protocol, 8),
    (Field::SportClass, 16),
    (Field::Established, 1),
    (Field::Related, 1),
];

impl Table {
    /// Match fields and their widths in bits, in the order of their ids.
    pub const fn fields(self) -> &'static [(Field, u32)] {
        match self {
            Self::PolicyVersion => &[],
            Self::SegmentOf => SEGMENT_KEY,
            Self::SourceGuardV4 => GUARD_KEY_V4,
            Self::SourceGuardV6 => GUARD_KEY_V6,
            Self::SrcV4Class | Self::DstV4Class => CLASS_KEY_V4,
            Self::SrcV6Class | Self::DstV6Class => CLASS_KEY_V6,
            Self::SportClass | Self::DportClass => PORT_KEY,
            Self::FilterAdmin | Self::FilterBaseline => FILTER_KEY,
            Self::PodEgressAdmin | Self::PodEgress | Self::PodIngressAdmin | Self::PodIngress => POD_KEY,
            Self::PodEgressAdminReply
            | Self::PodEgressReply
            | Self::PodIngressAdminReply
            | Self::PodIngressReply => REPLY_KEY,
            Self::CrossConnect => &[(Field::IngressPort, 9)],
            Self::L2Forward => &[(Field::Segment, 16), (Field::DstMac, 48)],
            Self::Flood => &[(Field::Segment, 16)],
        }
    }

    /// The actions of its entries.
    pub const fn actions(self) -> &'static [ActionKind] {
        use ActionKind as A;
        match self {
            Self::PolicyVersion => &[A::SetVersion],
            Self::SegmentOf => &[A::SetSegment],
            Self::SourceGuardV4 => &[A::SourceV4Allow, A::SourceV4Deny],
            Self::SourceGuardV6 => &[A::SourceV6Allow, A::SourceV6Deny],
            Self::SrcV4Class | Self::SrcV6Class => &[A::SetSrcClass],
            Self::DstV4Class | Self::DstV6Class => &[A::SetDstClass],
            Self::SportClass => &[A::SetSportClass],
            Self::DportClass => &[A::SetDportClass],
            Self::FilterAdmin => {
                &[A::AdminPermit, A::AdminPermitLimited, A::AdminDeny, A::AdminDenyLog, A::AdminPass]
            }
            Self::FilterBaseline => &[
                A::BaselinePermit,
                A::BaselinePermitLimited,
                A::BaselineDeny,
                A::BaselineDenyLog,
                A::BaselinePass,
            ],
            Self::PodEgressAdmin => &[A::EgressAdminPermit, A::EgressAdminDeny, A::EgressAdminPass],
            Self::PodEgress => &[A::EgressPermit, A::EgressDeny, A::EgressDenyLog, A::EgressPass],
            Self::PodIngressAdmin => &[A::IngressAdminPermit, A::IngressAdminDeny, A::IngressAdminPass],
            Self::PodIngress => &[A::IngressPermit, A::IngressDeny, A::IngressDenyLog, A::IngressPass],
            Self::PodEgressAdminReply => {
                &[A::EgressAdminReply, A::EgressAdminNoReply, A::EgressAdminReplyPass]
            }
            Self::PodEgressReply => &[A::EgressReply, A::EgressNoReply],
            Self::PodIngressAdminReply => {
                &[A::IngressAdminReply, A::IngressAdminNoReply, A::IngressAdminReplyPass]
            }
            Self::PodIngressReply => &[A::IngressReply, A::IngressNoReply],
            Self::CrossConnect => &[A::Forward],
            Self::L2Forward => &[A::Forward, A::Drop],
            Self::Flood => &[A::FloodTo],
        }
    }

    /// How a field of this table matches.
    pub const fn match_kind(self, field: Field) -> MatchKind {
        match (self, field) {
            (Self::CrossConnect | Self::L2Forward | Self::Flood, _) => MatchKind::Exact,
            (_, Field::Port) => MatchKind::Range,
            _ => MatchKind::Ternary,
        }
    }

    /// Whether entries belong to a version of the policy, so that an update is seen at one instant.
    pub fn is_versioned(self) -> bool {
        self.fields().iter().any(|(field, _)| *field == Field::Version)
    }
}

impl ActionKind {
    /// Whether its argument is the cell of a rate limiter.
    pub const fn is_limited(self) -> bool {
        matches!(self, Self::AdminPermitLimited | Self::BaselinePermitLimited)
    }

    /// Names and widths in bits of the parameters.
    pub const fn params(self) -> &'static [(&'static str, u32)] {
        match self {
            Self::SetVersion => &[("version", 8)],
            Self::SetSegment => &[("segment", 16)],
            Self::SetSrcClass | Self::SetDstClass => &[("filter_class", 16), ("pod_class", 16)],
            Self::SetSportClass | Self::SetDportClass => &[("port_class", 16)],
            Self::AdminPermitLimited | Self::BaselinePermitLimited => &[("limiter", 16)],
            Self::AdminDenyLog | Self::BaselineDenyLog | Self::EgressDenyLog | Self::IngressDenyLog => {
                &[("rule", 32)]
            }
            Self::Forward => &[("port", 9)],
            Self::FloodTo => &[("group", 16)],
            _ => &[],
        }
    }
}
