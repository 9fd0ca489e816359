//! What the pipeline asks of the table state: the tables, actions, meter and groups of `outplane.p4`, by name.

use std::cell::RefCell;
use std::time::Duration;

use super::meter::Color;

/// A table of `outplane.p4`, in the program's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "p4/README.md explains each table; the names are the program's")]
pub enum Table {
    PolicyVersion,
    SegmentOf,
    SourceGuardV4,
    SourceGuardV6,
    SrcV4Class,
    DstV4Class,
    SrcV6Class,
    DstV6Class,
    SportClass,
    DportClass,
    FilterAdmin,
    FilterBaseline,
    PodEgressAdmin,
    PodIngressAdmin,
    PodEgress,
    PodIngress,
    PodEgressAdminReply,
    PodIngressAdminReply,
    PodEgressReply,
    PodIngressReply,
    CrossConnect,
    L2Forward,
    Flood,
}

/// A key field's name in the P4Info and its width in bits.
pub type Field = (&'static str, u32);

/// Bits of the `version` key field and of `set_version`'s parameter.
const VERSION: Field = ("version", 8);

const FILTER_KEY: &[Field] = &[
    VERSION,
    ("segment", 16),
    ("traffic", 3),
    ("src_class", 16),
    ("dst_class", 16),
    ("protocol", 8),
    ("fragment", 1),
    ("sport_class", 16),
    ("dport_class", 16),
    ("tcp_flags", 8),
    ("established", 1),
    ("reply", 1),
    ("icmp_type", 8),
    ("icmp_code", 8),
    ("ether_type", 16),
    ("related", 1),
];

const POD_KEY: &[Field] =
    &[VERSION, ("src_class", 16), ("dst_class", 16), ("protocol", 8), ("fragment", 1), ("dport_class", 16)];

const REPLY_KEY: &[Field] = &[
    VERSION,
    ("src_class", 16),
    ("dst_class", 16),
    ("protocol", 8),
    ("sport_class", 16),
    ("established", 1),
    ("related", 1),
];

impl Table {
    /// Every table, in the program's order.
    pub const ALL: [Self; 23] = [
        Self::PolicyVersion,
        Self::SegmentOf,
        Self::SourceGuardV4,
        Self::SourceGuardV6,
        Self::SrcV4Class,
        Self::DstV4Class,
        Self::SrcV6Class,
        Self::DstV6Class,
        Self::SportClass,
        Self::DportClass,
        Self::FilterAdmin,
        Self::FilterBaseline,
        Self::PodEgressAdmin,
        Self::PodIngressAdmin,
        Self::PodEgress,
        Self::PodIngress,
        Self::PodEgressAdminReply,
        Self::PodIngressAdminReply,
        Self::PodEgressReply,
        Self::PodIngressReply,
        Self::CrossConnect,
        Self::L2Forward,
        Self::Flood,
    ];

    /// The alias in the P4Info.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PolicyVersion => "policy_version",
            Self::SegmentOf => "segment_of",
            Self::SourceGuardV4 => "source_guard_v4",
            Self::SourceGuardV6 => "source_guard_v6",
            Self::SrcV4Class => "src_v4_class",
            Self::DstV4Class => "dst_v4_class",
            Self::SrcV6Class => "src_v6_class",
            Self::DstV6Class => "dst_v6_class",
            Self::SportClass => "sport_class",
            Self::DportClass => "dport_class",
            Self::FilterAdmin => "filter_admin",
            Self::FilterBaseline => "filter_baseline",
            Self::PodEgressAdmin => "pod_egress_admin",
            Self::PodIngressAdmin => "pod_ingress_admin",
            Self::PodEgress => "pod_egress",
            Self::PodIngress => "pod_ingress",
            Self::PodEgressAdminReply => "pod_egress_admin_reply",
            Self::PodIngressAdminReply => "pod_ingress_admin_reply",
            Self::PodEgressReply => "pod_egress_reply",
            Self::PodIngressReply => "pod_ingress_reply",
            Self::CrossConnect => "cross_connect",
            Self::L2Forward => "l2_forward",
            Self::Flood => "flood",
        }
    }

    /// The key, in the order of the match fields' ids: what [`Tables::lookup`] takes.
    pub const fn key(self) -> &'static [Field] {
        match self {
            Self::PolicyVersion => &[],
            Self::SegmentOf => &[VERSION, ("ingress_port", 9), ("vlan_present", 1), ("vlan_id", 12)],
            Self::SourceGuardV4 => &[VERSION, ("ingress_port", 9), ("segment", 16), ("address", 32)],
            Self::SourceGuardV6 => &[VERSION, ("ingress_port", 9), ("segment", 16), ("address", 128)],
            Self::SrcV4Class | Self::DstV4Class => &[VERSION, ("address", 32)],
            Self::SrcV6Class | Self::DstV6Class => &[VERSION, ("address", 128)],
            Self::SportClass | Self::DportClass => &[VERSION, ("protocol", 8), ("port", 16)],
            Self::FilterAdmin | Self::FilterBaseline => FILTER_KEY,
            Self::PodEgressAdmin | Self::PodIngressAdmin | Self::PodEgress | Self::PodIngress => POD_KEY,
            Self::PodEgressAdminReply
            | Self::PodIngressAdminReply
            | Self::PodEgressReply
            | Self::PodIngressReply => REPLY_KEY,
            Self::CrossConnect => &[("ingress_port", 9)],
            Self::L2Forward => &[("segment", 16), ("dst_mac", 48)],
            Self::Flood => &[("segment", 16)],
        }
    }
}

/// An action of `outplane.p4` with its parameters. Actions that one macro of the program makes for several
/// tables are one here; the table says whose verdict they set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "p4/README.md explains each action; the names are the program's")]
pub enum Action {
    #[default]
    NoAction,
    SetVersion {
        version: u8,
    },
    SetSegment {
        segment: u16,
    },
    SourceAllow,
    SourceDeny,
    SetSrcClass {
        filter_class: u16,
        pod_class: u16,
    },
    SetDstClass {
        filter_class: u16,
        pod_class: u16,
    },
    SetSportClass {
        port_class: u16,
    },
    SetDportClass {
        port_class: u16,
    },
    Permit,
    PermitLimited {
        limiter: u16,
    },
    Deny,
    DenyLog {
        rule: u32,
    },
    Pass,
    Reply,
    NoReply,
    ReplyPass,
    Forward {
        port: u16,
    },
    FloodTo {
        group: u16,
    },
    Drop,
}

/// An indexed counter of `outplane.p4`, in the program's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexedCounter {
    /// By reason.
    Drops,
    /// By the segment that the frame entered in.
    SegmentDrops,
    /// By the cell of the rate limiter that said red.
    LimiterDrops,
}

impl IndexedCounter {
    /// Every counter, in the program's order.
    pub const ALL: [Self; 3] = [Self::Drops, Self::SegmentDrops, Self::LimiterDrops];

    /// The alias in the P4Info.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drops => "drops",
            Self::SegmentDrops => "segment_drops",
            Self::LimiterDrops => "limiter_drops",
        }
    }
}

/// What a lookup says: an entry's action, or the table's default action after a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// An entry matched.
    pub hit: bool,
    /// What it does.
    pub action: Action,
}

/// The table state that one packet sees. An implementation stands for one moment: nothing may change while a
/// packet is in the pipeline, or it could see half an update.
pub trait Tables {
    /// Looks `key` (one value for each of [`Table::key`]) up. A hit counts one packet and `bytes` bytes for its
    /// entry where the table has direct counters; a miss counts nothing.
    fn lookup(&self, table: Table, key: &[u128], bytes: usize) -> Lookup;

    /// Asks cell `limiter` of the meter `rate_limiter` for the colour of a packet of `bytes` bytes at `now`. `None`,
    /// which leaves the packet as it is, when there is no such cell.
    fn rate_limiter(&self, limiter: u16, bytes: usize, now: Duration) -> Option<Color>;

    /// Counts one packet of `bytes` bytes in a cell of an indexed counter; there may be no such cell.
    fn count(&self, counter: IndexedCounter, index: usize, bytes: usize);

    /// Appends the egress port of each copy that multicast group `group` makes; none when there is no such group.
    fn group(&self, group: u16, ports: &mut Vec<u16>);
}

/// One lookup as [`Traced`] saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub table: Table,
    /// What for.
    pub key: Vec<u128>,
    /// With what result.
    pub lookup: Lookup,
}

/// Tables that remember what was asked of them: which entries a packet hit, in order.
#[derive(Debug)]
pub struct Traced<'a, T: ?Sized> {
    tables: &'a T,
    steps: RefCell<Vec<Step>>,
}

impl<'a, T: Tables + ?Sized> Traced<'a, T> {
    /// An empty trace over `tables`.
    pub fn new(tables: &'a T) -> Self {
        Self { tables, steps: RefCell::default() }
    }

    /// The lookups so far.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps.into_inner()
    }
}

impl<T: Tables + ?Sized> Tables for Traced<'_, T> {
    fn lookup(&self, table: Table, key: &[u128], bytes: usize) -> Lookup {
        let lookup = self.tables.lookup(table, key, bytes);
        self.steps.borrow_mut().push(Step { table, key: key.to_vec(), lookup });
        lookup
    }

    fn rate_limiter(&self, limiter: u16, bytes: usize, now: Duration) -> Option<Color> {
        self.tables.rate_limiter(limiter, bytes, now)
    }

    fn count(&self, counter: IndexedCounter, index: usize, bytes: usize) {
        self.tables.count(counter, index, bytes);
    }

    fn group(&self, group: u16, ports: &mut Vec<u16>) {
        self.tables.group(group, ports);
    }
}
