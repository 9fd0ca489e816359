//! The controls of `outplane.p4` over [`Tables`]: what happens to one frame.
//!
//! [`Ingress::apply`] stands beside the program's `apply` block line by line, with the same names, so that the two
//! can be read together. Pure but for what the tables count.

use std::time::Duration;

use outplane_p4::{CPU_PORT, Dropped, REASON_DENY_LOG};

use super::parse::{
    Fields, Headers, PACKET_OUT_BYTES, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, Parsed, ParserError, Traffic,
    parse,
};
use super::tables::{Action, DropCounter, Table, Tables};
use crate::meter::Color;

const ICMP_ECHO_REPLY: u8 = 0;
const ICMPV6_ECHO_REPLY: u8 = 129;

const ICMP_UNREACHABLE: u8 = 3;
const ICMP_TIME_EXCEEDED: u8 = 11;
const ICMP_PARAMETER_PROBLEM: u8 = 12;
const ICMPV6_UNREACHABLE: u8 = 1;
const ICMPV6_PARAMETER_PROBLEM: u8 = 4;

const MLD_QUERY: u8 = 130;
const MLD_DONE: u8 = 132;
const ND_FIRST: u8 = 133;
const ND_LAST: u8 = 137;
const MLD_REPORT_V2: u8 = 143;

/// `v1model`'s drop port: where `mark_to_drop` sends a packet.
pub const DROP_PORT: u16 = 511;

/// Why the pipeline dropped a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// The parser gave up.
    Parser(ParserError),
    /// Version 0: no policy has been installed yet.
    NoPolicy,
    /// A TCP fragment at offset 1 (RFC 3128).
    TinyFragment,
    /// Its source address may not enter there.
    Spoofed,
    /// A policy denies it.
    Denied,
    /// Permitted, but above the rule's rate limit.
    RateLimited,
    /// An entry of `l2_forward` drops it.
    Blocked,
    /// No entry says where it goes: no cross-connect, unknown destination and no flood group for its segment.
    NoWayOut,
    /// An entry or a packet-out sends it to port 511.
    DropPort,
}

/// `packet_in_t`: why a frame goes to the controller, and whose rule sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketInHeader {
    /// 9 bits.
    pub ingress_port: u16,
    /// [`REASON_DENY_LOG`].
    pub reason: u8,
    /// The segment it entered in, 0 for none.
    pub segment: u16,
    /// The rule tag of the entry that sent it.
    pub rule: u32,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is dropped.
    Drop(DropReason),
    /// It leaves by one port.
    Forward {
        /// The port; there may be none of that number.
        port: u16,
    },
    /// It leaves by each port of a group but the one it came from; see [`flood_ports`].
    Flood {
        /// The multicast group, not 0; it may not exist.
        group: u16,
    },
    /// It goes to the controller, behind this header.
    PacketIn(PacketInHeader),
}

/// What becomes of a frame, and its bytes as they leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processed<'a> {
    /// The decision.
    pub outcome: Outcome,
    /// The frame: the program changes no byte, it only takes the packet-out header off.
    pub frame: &'a [u8],
}

/// Runs a frame that entered at `ingress_port` through parser, ingress and deparser. Frames from [`CPU_PORT`] start
/// with a packet-out header. `now` is the meters' clock.
pub fn process<'a, T: Tables + ?Sized>(
    tables: &T,
    ingress_port: u16,
    frame: &'a [u8],
    now: Duration,
) -> Processed<'a> {
    let Parsed { hdr, meta, error } = parse(frame, ingress_port);
    let mut ingress = Ingress {
        tables,
        bytes: frame.len(),
        now,
        hdr,
        meta: Metadata { fields: meta, ..Metadata::default() },
        std: StandardMetadata { ingress_port, parser_error: error, egress_spec: 0, mcast_grp: 0 },
        packet_in: None,
        reason: DropReason::DropPort,
    };
    ingress.apply();
    let frame = match hdr.packet_out {
        Some(_) => frame.get(PACKET_OUT_BYTES..).unwrap_or_default(),
        None => frame,
    };
    Processed { outcome: ingress.outcome(), frame }
}

/// The replication engine and the egress control over a multicast group: leaves in `ports` where the copies go,
/// which is never back to `ingress_port`.
pub fn flood_ports<T: Tables + ?Sized>(tables: &T, group: u16, ingress_port: u16, ports: &mut Vec<u16>) {
    ports.clear();
    tables.group(group, ports);
    ports.retain(|&egress_port| egress_port != ingress_port);
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Verdict {
    #[default]
    None,
    Permit,
    Deny,
}

/// `metadata_t`: the parser's part and the ingress control's.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "one-bit fields of the program")]
struct Metadata {
    fields: Fields,
    reply: bool,
    related: bool,
    version: u8,
    segment: u16,
    src_class: u16,
    dst_class: u16,
    src_pod_class: u16,
    dst_pod_class: u16,
    sport_class: u16,
    dport_class: u16,
    verdict: Verdict,
    egress_verdict: Verdict,
    ingress_verdict: Verdict,
    log: bool,
    rule: u32,
    color: Color,
    limiter: u16,
    spoofed: bool,
    same_host: bool,
}

/// What of `standard_metadata_t` the program uses.
struct StandardMetadata {
    ingress_port: u16,
    parser_error: Option<ParserError>,
    egress_spec: u16,
    mcast_grp: u16,
}

/// Whose verdict an action sets.
#[derive(Clone, Copy)]
enum Side {
    Filter,
    Egress,
    Ingress,
}

/// `OutplaneIngress`.
struct Ingress<'t, T: ?Sized> {
    tables: &'t T,
    bytes: usize,
    now: Duration,
    hdr: Headers,
    meta: Metadata,
    std: StandardMetadata,
    packet_in: Option<PacketInHeader>,
    /// Of the last `drop`.
    reason: DropReason,
}

impl<T: Tables + ?Sized> Ingress<'_, T> {
    #[expect(clippy::too_many_lines, reason = "stands beside the program's one block")]
    fn apply(&mut self) {
        if let Some(packet_out) = self.hdr.packet_out {
            self.std.egress_spec = packet_out.egress_port;
            return;
        }
        if let Some(error) = self.std.parser_error {
            let cell = match error {
                ParserError::PacketTooShort => Dropped::TooShort,
                ParserError::TooManyTags => Dropped::TooManyTags,
                ParserError::Ipv4HeaderInvalid => Dropped::Ipv4Header,
                ParserError::Ipv6HeaderInvalid => Dropped::Ipv6Header,
                ParserError::IpLengthInvalid => Dropped::IpLength,
                ParserError::Ipv6TooManyExtensionHeaders => Dropped::Ipv6Extensions,
            };
            return self.discard(cell, DropReason::Parser(error));
        }

        self.policy_version();
        if self.meta.version == 0 {
            return self.discard(Dropped::NoPolicy, DropReason::NoPolicy);
        }
        if self.hdr.ipv4.is_some_and(|ipv4| ipv4.fragment_offset == 1)
            && self.meta.fields.protocol == PROTO_TCP
        {
            return self.discard(Dropped::TinyFragment, DropReason::TinyFragment);
        }

        if let (Some(inner), 0) = (self.hdr.vlan_inner, self.meta.fields.vlan_id) {
            self.meta.fields.vlan_id = inner.vid;
        }
        self.segment_of();

        let icmp_type = self.meta.fields.icmp_type;
        if self.hdr.ipv6.is_some() && self.hdr.icmp && self.meta.fields.protocol == PROTO_ICMPV6 {
            if (MLD_QUERY..=MLD_DONE).contains(&icmp_type)
                || (ND_FIRST..=ND_LAST).contains(&icmp_type)
                || icmp_type == MLD_REPORT_V2
            {
                self.meta.fields.traffic = Traffic::NeighbourDiscovery;
            } else if (ICMPV6_UNREACHABLE..=ICMPV6_PARAMETER_PROBLEM).contains(&icmp_type) {
                self.meta.related = true;
            }
        }
        if self.hdr.ipv4.is_some()
            && self.hdr.icmp
            && self.meta.fields.protocol == PROTO_ICMP
            && matches!(icmp_type, ICMP_UNREACHABLE | ICMP_TIME_EXCEEDED | ICMP_PARAMETER_PROBLEM)
        {
            self.meta.related = true;
        }
        if self.meta.fields.established
            || self.hdr.ports
            || (self.hdr.icmp
                && self.meta.fields.protocol == PROTO_ICMP
                && self.meta.fields.icmp_type == ICMP_ECHO_REPLY)
            || (self.hdr.icmp
                && self.meta.fields.protocol == PROTO_ICMPV6
                && self.meta.fields.icmp_type == ICMPV6_ECHO_REPLY)
        {
            self.meta.reply = true;
        }
        let mut v4 = None;
        if let Some(ipv4) = self.hdr.ipv4 {
            v4 = Some((ipv4.src, ipv4.dst));
            self.meta.same_host = ipv4.src == ipv4.dst;
        } else if let Some(arp) = self.hdr.arp {
            v4 = Some((arp.sender_ip, arp.target_ip));
        }
        if let Some((src_v4, _)) = v4 {
            self.source_guard(Table::SourceGuardV4, src_v4.into());
        } else if let Some(ipv6) = self.hdr.ipv6 {
            self.source_guard(Table::SourceGuardV6, ipv6.src);
        }
        if self.meta.spoofed {
            return self.discard_in_segment(Dropped::Spoofed, DropReason::Spoofed);
        }
        if let Some((src_v4, dst_v4)) = v4 {
            self.address_class(Table::SrcV4Class, src_v4.into());
            self.address_class(Table::DstV4Class, dst_v4.into());
        } else if let Some(ipv6) = self.hdr.ipv6 {
            self.meta.same_host = ipv6.src == ipv6.dst;
            self.address_class(Table::SrcV6Class, ipv6.src);
            self.address_class(Table::DstV6Class, ipv6.dst);
        }
        if self.hdr.tcp || self.hdr.ports {
            self.port_class(Table::SportClass, self.meta.fields.sport);
            self.port_class(Table::DportClass, self.meta.fields.dport);
        }

        self.filter(Table::FilterAdmin);
        if self.meta.verdict == Verdict::None {
            if self.meta.fields.traffic == Traffic::Ip && !self.meta.same_host {
                match self.pod(Table::PodEgressAdmin, Side::Egress) {
                    Action::Permit | Action::Deny => {}
                    _ => _ = self.pod(Table::PodEgress, Side::Egress),
                }
                if self.meta.egress_verdict == Verdict::Deny && (self.meta.reply || self.meta.related) {
                    match self.reply(Table::PodEgressAdminReply, Side::Egress) {
                        Action::Reply | Action::NoReply => {}
                        _ => _ = self.reply(Table::PodEgressReply, Side::Egress),
                    }
                }
                if self.meta.egress_verdict != Verdict::Deny {
                    match self.pod(Table::PodIngressAdmin, Side::Ingress) {
                        Action::Permit | Action::Deny => {}
                        _ => _ = self.pod(Table::PodIngress, Side::Ingress),
                    }
                    if self.meta.ingress_verdict == Verdict::Deny && (self.meta.reply || self.meta.related) {
                        match self.reply(Table::PodIngressAdminReply, Side::Ingress) {
                            Action::Reply | Action::NoReply => {}
                            _ => _ = self.reply(Table::PodIngressReply, Side::Ingress),
                        }
                    }
                }
            }
            if self.meta.egress_verdict == Verdict::Deny || self.meta.ingress_verdict == Verdict::Deny {
                self.meta.verdict = Verdict::Deny;
            } else if self.meta.egress_verdict == Verdict::None || self.meta.ingress_verdict == Verdict::None
            {
                self.filter(Table::FilterBaseline);
            }
        }

        if self.meta.verdict == Verdict::Deny {
            if self.meta.log {
                self.discard_in_segment(Dropped::DeniedLogged, DropReason::Denied);
                self.send_to_controller(REASON_DENY_LOG);
            } else {
                self.discard_in_segment(Dropped::Denied, DropReason::Denied);
            }
        } else if self.meta.color == Color::Red {
            self.tables.count(DropCounter::LimiterDrops, self.meta.limiter.into(), self.bytes);
            self.discard_in_segment(Dropped::RateLimited, DropReason::RateLimited);
        } else if !self.forwarding(Table::CrossConnect, &[self.std.ingress_port.into()]).0 {
            let ethernet_dst = self.hdr.ethernet.map_or(0, |ethernet| ethernet.dst);
            let to = [self.meta.segment.into(), ethernet_dst.into()];
            match self.forwarding(Table::L2Forward, &to) {
                (_, Action::Forward { .. }) => {}
                (_, Action::Drop) => self.discard_in_segment(Dropped::Blocked, DropReason::Blocked),
                _ => {
                    if !self.forwarding(Table::Flood, &[self.meta.segment.into()]).0 {
                        self.discard_in_segment(Dropped::NoWayOut, DropReason::NoWayOut);
                    }
                }
            }
        }
    }

    // --- Tables -------------------------------------------------------------------------------------

    fn policy_version(&mut self) {
        if let Action::SetVersion { version } = self.lookup(Table::PolicyVersion, &[]).1 {
            self.meta.version = version;
        }
    }

    fn segment_of(&mut self) {
        let key = [
            self.meta.version.into(),
            self.std.ingress_port.into(),
            self.meta.fields.vlan_present.into(),
            self.meta.fields.vlan_id.into(),
        ];
        if let (_, Action::SetSegment { segment }) = self.lookup(Table::SegmentOf, &key) {
            self.meta.segment = segment;
        }
    }

    /// `source_guard_v4`, `source_guard_v6`.
    fn source_guard(&mut self, table: Table, source: u128) {
        let key = [self.meta.version.into(), self.std.ingress_port.into(), self.meta.segment.into(), source];
        if self.lookup(table, &key).1 == Action::SourceDeny {
            self.meta.spoofed = true;
        }
    }

    /// `src_v4_class`, `dst_v4_class`, `src_v6_class`, `dst_v6_class`.
    fn address_class(&mut self, table: Table, address: u128) {
        match self.lookup(table, &[self.meta.version.into(), address]).1 {
            Action::SetSrcClass { filter_class, pod_class } => {
                self.meta.src_class = filter_class;
                self.meta.src_pod_class = pod_class;
            }
            Action::SetDstClass { filter_class, pod_class } => {
                self.meta.dst_class = filter_class;
                self.meta.dst_pod_class = pod_class;
            }
            _ => {}
        }
    }

    /// `sport_class`, `dport_class`.
    fn port_class(&mut self, table: Table, port: u16) {
        let key = [self.meta.version.into(), self.meta.fields.protocol.into(), port.into()];
        match self.lookup(table, &key).1 {
            Action::SetSportClass { port_class } => self.meta.sport_class = port_class,
            Action::SetDportClass { port_class } => self.meta.dport_class = port_class,
            _ => {}
        }
    }

    /// `filter_admin`, `filter_baseline`: `FILTER_KEY` and `FILTER_ACTIONS`.
    fn filter(&mut self, table: Table) {
        let key = [
            self.meta.version.into(),
            self.meta.segment.into(),
            (self.meta.fields.traffic as u8).into(),
            self.meta.src_class.into(),
            self.meta.dst_class.into(),
            self.meta.fields.protocol.into(),
            self.meta.fields.fragment.into(),
            self.meta.sport_class.into(),
            self.meta.dport_class.into(),
            self.meta.fields.tcp_flags.into(),
            self.meta.fields.established.into(),
            self.meta.reply.into(),
            self.meta.fields.icmp_type.into(),
            self.meta.fields.icmp_code.into(),
            self.meta.fields.ether_type.into(),
            self.meta.related.into(),
        ];
        let (_, action) = self.lookup(table, &key);
        self.decide(Side::Filter, action);
    }

    /// `pod_egress_admin` and the three like it: `POD_KEY` and `SIDE_ACTIONS`. Returns the action run.
    fn pod(&mut self, table: Table, side: Side) -> Action {
        let key = [
            self.meta.version.into(),
            self.meta.src_pod_class.into(),
            self.meta.dst_pod_class.into(),
            self.meta.fields.protocol.into(),
            self.meta.fields.fragment.into(),
            self.meta.dport_class.into(),
        ];
        let (_, action) = self.lookup(table, &key);
        self.decide(side, action);
        action
    }

    /// `pod_egress_admin_reply` and the three like it: `REPLY_KEY` and `REPLY_ACTIONS`. Returns the action run.
    fn reply(&mut self, table: Table, side: Side) -> Action {
        let key = [
            self.meta.version.into(),
            self.meta.src_pod_class.into(),
            self.meta.dst_pod_class.into(),
            self.meta.fields.protocol.into(),
            self.meta.sport_class.into(),
            self.meta.fields.established.into(),
            self.meta.related.into(),
        ];
        let (_, action) = self.lookup(table, &key);
        self.decide(side, action);
        action
    }

    /// `cross_connect`, `l2_forward`, `flood`: whether an entry matched, and the action run.
    fn forwarding(&mut self, table: Table, key: &[u128]) -> (bool, Action) {
        let (hit, action) = self.lookup(table, key);
        match action {
            Action::Forward { port } => self.std.egress_spec = port,
            Action::FloodTo { group } => self.std.mcast_grp = group,
            Action::Drop => self.drop(if hit { DropReason::Blocked } else { DropReason::NoWayOut }),
            _ => {}
        }
        (hit, action)
    }

    fn lookup(&self, table: Table, key: &[u128]) -> (bool, Action) {
        let lookup = self.tables.lookup(table, key, self.bytes);
        (lookup.hit, lookup.action)
    }

    // --- Actions ------------------------------------------------------------------------------------

    fn decide(&mut self, side: Side, action: Action) {
        match action {
            Action::Permit => *self.verdict(side) = Verdict::Permit,
            Action::PermitLimited { limiter } => {
                if let Some(color) = self.tables.rate_limiter(limiter, self.bytes, self.now) {
                    self.meta.color = color;
                }
                self.meta.limiter = limiter;
                *self.verdict(side) = Verdict::Permit;
            }
            Action::Deny => *self.verdict(side) = Verdict::Deny,
            Action::DenyLog { rule } => {
                *self.verdict(side) = Verdict::Deny;
                self.meta.log = true;
                self.meta.rule = rule;
            }
            Action::Reply => {
                *self.verdict(side) = Verdict::Permit;
                self.meta.log = false;
            }
            _ => {} // NoAction, Pass, NoReply, ReplyPass: they only count
        }
    }

    fn verdict(&mut self, side: Side) -> &mut Verdict {
        match side {
            Side::Filter => &mut self.meta.verdict,
            Side::Egress => &mut self.meta.egress_verdict,
            Side::Ingress => &mut self.meta.ingress_verdict,
        }
    }

    fn discard(&mut self, cell: Dropped, reason: DropReason) {
        self.tables.count(DropCounter::Drops, cell as usize, self.bytes);
        self.drop(reason);
    }

    fn discard_in_segment(&mut self, cell: Dropped, reason: DropReason) {
        self.tables.count(DropCounter::Drops, cell as usize, self.bytes);
        self.tables.count(DropCounter::SegmentDrops, self.meta.segment.into(), self.bytes);
        self.drop(reason);
    }

    /// `mark_to_drop`.
    fn drop(&mut self, reason: DropReason) {
        self.std.egress_spec = DROP_PORT;
        self.std.mcast_grp = 0;
        self.reason = reason;
    }

    fn send_to_controller(&mut self, reason: u8) {
        self.packet_in = Some(PacketInHeader {
            ingress_port: self.std.ingress_port,
            reason,
            segment: self.meta.segment,
            rule: self.meta.rule,
        });
        self.std.egress_spec = CPU_PORT;
    }

    // --- What v1model does between ingress and egress -----------------------------------------------

    fn outcome(&self) -> Outcome {
        match (self.std.mcast_grp, self.std.egress_spec, self.packet_in) {
            (0, DROP_PORT, _) => Outcome::Drop(self.reason),
            (0, _, Some(header)) => Outcome::PacketIn(header),
            (0, port, None) => Outcome::Forward { port },
            (group, _, _) => Outcome::Flood { group },
        }
    }
}

#[cfg(test)]
mod tests;
