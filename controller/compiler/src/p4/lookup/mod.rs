//! What compiled (or installed) entries do to one packet: the control flow of `outplane.p4` over entries as values.
//!
//! This is how `outplane trace` says which entries a packet hits. It stands beside the program's `apply` block.

mod index;
mod way;

use std::collections::BTreeMap;
use std::net::IpAddr;

use outplane_intent::deciders;
use outplane_intent::evaluate::Entrance;
use outplane_intent::packet::{ICMP, ICMPV6, Ingress, Packet, SCTP, Traffic, UDP};
use outplane_p4runtime::entry::{Action, Entry};

use crate::p4::space::is_filter;
use crate::program::{ActionKind, Field, Program, Table};
use crate::state::Origin;
use index::Index;

pub use way::Way;

/// Entries, indexed to be looked up.
#[derive(Debug)]
pub struct Lookup<'e> {
    program: &'e Program,
    entries: Vec<&'e Entry>,
    /// In the order of [`Table::ALL`].
    tables: Vec<Index>,
    version: u8,
}

/// What entries do to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each says something else")]
pub struct Trace<'e> {
    /// Whether it passes.
    pub allow: bool,
    /// The policy that decided; none: no policy had an opinion.
    pub policy: Option<String>,
    /// The policy's rule that decided.
    pub rule: Option<String>,
    /// The drop is reported to the controller.
    pub log: bool,
    /// The cell of the rate limiter that it has to pass.
    pub limiter: Option<u16>,
    /// The id of the segment that it enters in, 0 for none.
    pub segment: u16,
    /// The entries it hits, in the order of the tables.
    pub hits: Vec<Hit<'e>>,
    /// No policy has been installed: everything is dropped.
    pub no_policy: bool,
    /// Its source address may not enter there, whatever the policies say.
    pub spoofed: bool,
}

/// A packet hits an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit<'e> {
    /// In this table.
    pub table: Table,
    /// The entry.
    pub entry: &'e Entry,
    /// Who asked for the entry; none for others' entries.
    pub origin: Option<Origin>,
}

/// Looks up one packet. For more than one, keep a [`Lookup`].
pub fn trace<'e>(
    program: &'e Program,
    entries: impl IntoIterator<Item = &'e Entry>,
    version: Option<u8>,
    packet: &Packet,
    entrance: &Entrance,
    segments: &BTreeMap<String, u16>,
) -> Trace<'e> {
    Lookup::new(program, entries, version).trace(packet, entrance, segments)
}

impl<'e> Lookup<'e> {
    /// Indexes entries: of a desired state, which belong to no version yet (`None`), or installed ones and the version that
    /// packets see.
    pub fn new(
        program: &'e Program,
        entries: impl IntoIterator<Item = &'e Entry>,
        version: Option<u8>,
    ) -> Self {
        let entries: Vec<&Entry> = entries.into_iter().collect();
        let tables = Table::ALL.iter().map(|table| Index::new(program, *table, &entries)).collect();
        Self { program, entries, tables, version: version.unwrap_or(1) }
    }

    /// Looks up one packet. `entrance` is where it enters ([`outplane_intent::evaluate::Evaluator::entrance`]), `segments`
    /// the ids of segments ([`crate::compile::Compiled::segments`]).
    pub fn trace(&self, packet: &Packet, entrance: &Entrance, segments: &BTreeMap<String, u16>) -> Trace<'e> {
        let mut run = Run {
            lookup: self,
            seen: Seen::of(packet),
            hits: Vec::new(),
            log: false,
            limiter: None,
            spoofed: false,
        };
        let decision = run.apply(packet, entrance, segments);
        Trace {
            allow: decision.allow,
            policy: decision.by.as_ref().map(|by| by.policy.clone()),
            rule: decision.by.map(|by| by.rule),
            log: !decision.allow && run.log,
            limiter: run.limiter.filter(|_| decision.allow),
            segment: run.seen.segment,
            hits: run.hits,
            no_policy: self.version == 0,
            spoofed: run.spoofed,
        }
    }

    /// The entry that a packet hits in a table.
    fn hit(&self, table: Table, seen: &Seen) -> Option<Hit<'e>> {
        let number = self.tables[table as usize].find(|field| seen.value(table, field))?;
        let entry = self.entries[number];
        Some(Hit { table, entry, origin: Origin::decode(&entry.metadata) })
    }
}

struct Decision {
    allow: bool,
    by: Option<Origin>,
}

/// What a table of the sides or filters says.
enum Said {
    Permit(Option<Origin>),
    Deny(Option<Origin>),
    /// A hit that leaves the decision to others, or none.
    Nothing,
}

/// `metadata_t`, as far as tables match on it.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one-bit match fields of the program")]
struct Seen {
    version: u8,
    segment: u16,
    port: u16,
    vlan: Option<u16>,
    traffic: u8,
    src: u128,
    dst: u128,
    protocol: u8,
    fragment: bool,
    sport: u16,
    dport: u16,
    tcp_flags: u8,
    established: bool,
    reply: bool,
    related: bool,
    ether_type: u16,
    icmp_type: u8,
    icmp_code: u8,
    src_class: u16,
    dst_class: u16,
    src_pod_class: u16,
    dst_pod_class: u16,
    sport_class: u16,
    dport_class: u16,
    dst_mac: u64,
}

impl Seen {
    fn of(packet: &Packet) -> Self {
        let (src, dst) = packet.addresses().unzip();
        let bits = |address: Option<IpAddr>| match address {
            Some(IpAddr::V4(address)) => address.to_bits().into(),
            Some(IpAddr::V6(address)) => address.to_bits(),
            None => 0,
        };
        let (sport, dport) = packet.ports().unwrap_or_default();
        let (_, icmp_type, icmp_code) = packet.icmp_header().unwrap_or_default();
        let whole = !packet.is_later_fragment();
        let answers = match packet.protocol() {
            Some(UDP | SCTP) => whole,
            Some(ICMP | ICMPV6) => packet.is_echo_reply(),
            _ => packet.is_established(),
        };
        Self {
            traffic: match packet.traffic() {
                Traffic::Ip => 0,
                Traffic::Arp => 1,
                Traffic::NeighborDiscovery => 2,
                Traffic::NonIp => 3,
                Traffic::Unread => 4,
            },
            src: bits(src),
            dst: bits(dst),
            protocol: packet.protocol().unwrap_or(0),
            fragment: !whole,
            sport,
            dport,
            tcp_flags: packet.tcp_flags().unwrap_or(0),
            established: packet.is_established(),
            reply: answers,
            related: packet.is_error(),
            // A length where LLC follows; no entry asks for one.
            ether_type: packet.ether_type().unwrap_or(0),
            icmp_type,
            icmp_code,
            ..Self::default()
        }
    }

    /// A field's value, as a table of this kind sees it.
    fn value(&self, table: Table, field: Field) -> u128 {
        let filter = is_filter(table);
        let source = matches!(
            table,
            Table::SrcV4Class | Table::SrcV6Class | Table::SourceGuardV4 | Table::SourceGuardV6
        );
        match field {
            Field::Version => self.version.into(),
            Field::IngressPort => self.port.into(),
            Field::VlanPresent => self.vlan.is_some().into(),
            Field::VlanId => self.vlan.unwrap_or(0).into(),
            Field::Address if source => self.src,
            Field::Address => self.dst,
            Field::Protocol => self.protocol.into(),
            Field::Port if table == Table::SportClass => self.sport.into(),
            Field::Port => self.dport.into(),
            Field::Segment => self.segment.into(),
            Field::Traffic => self.traffic.into(),
            Field::SrcClass if filter => self.src_class.into(),
            Field::SrcClass => self.src_pod_class.into(),
            Field::DstClass if filter => self.dst_class.into(),
            Field::DstClass => self.dst_pod_class.into(),
            Field::Fragment => self.fragment.into(),
            Field::SportClass => self.sport_class.into(),
            Field::DportClass => self.dport_class.into(),
            Field::TcpFlags => self.tcp_flags.into(),
            Field::Established => self.established.into(),
            Field::Reply => self.reply.into(),
            Field::IcmpType => self.icmp_type.into(),
            Field::IcmpCode => self.icmp_code.into(),
            Field::EtherType => self.ether_type.into(),
            Field::Related => self.related.into(),
            Field::DstMac => self.dst_mac.into(),
        }
    }
}

/// One packet on its way.
struct Run<'l, 'e> {
    lookup: &'l Lookup<'e>,
    seen: Seen,
    hits: Vec<Hit<'e>>,
    log: bool,
    limiter: Option<u16>,
    spoofed: bool,
}

impl Run<'_, '_> {
    fn apply(&mut self, packet: &Packet, entrance: &Entrance, segments: &BTreeMap<String, u16>) -> Decision {
        self.seen.version = self.lookup.version;
        if self.seen.version == 0 || packet.is_overtagged() {
            return Decision { allow: false, by: None };
        }
        self.segment(packet, entrance, segments);
        if self.source_guard(packet) {
            self.spoofed = true;
            return Decision { allow: false, by: None };
        }
        self.classes(packet);

        match self.said(Table::FilterAdmin) {
            Said::Permit(by) => return Decision { allow: true, by },
            Said::Deny(by) => return Decision { allow: false, by },
            Said::Nothing => {}
        }
        let (egress, ingress) = match self.sides(packet) {
            (Said::Deny(by), _) | (_, Said::Deny(by)) => return Decision { allow: false, by },
            (Said::Permit(_), Said::Permit(by)) => return Decision { allow: true, by },
            sides => sides,
        };
        match self.said(Table::FilterBaseline) {
            Said::Permit(by) => return Decision { allow: true, by },
            Said::Deny(by) => return Decision { allow: false, by },
            Said::Nothing => {}
        }
        let by = match (ingress, egress) {
            (Said::Permit(by), _) | (_, Said::Permit(by)) => by,
            _ => None,
        };
        Decision { allow: true, by }
    }

    /// Port 0 is none that a frame enters by, so an unknown port matches entries for every port only.
    fn segment(&mut self, packet: &Packet, entrance: &Entrance, segments: &BTreeMap<String, u16>) {
        self.seen.port = entrance.port.unwrap_or(0);
        self.seen.vlan = entrance.vlan;
        let hits = self.hits.len();
        if let Some((_, action)) = self.find(Table::SegmentOf) {
            self.seen.segment = self.argument(&action, 0);
        }
        // Who names the segment means it, even if no frame could enter there.
        let named = entrance.segment.as_ref().and_then(|name| segments.get(name)).copied();
        let by_port = matches!(packet.ingress, Some(Ingress::Port(_)));
        if let Some(named) = named.filter(|named| !by_port && *named != self.seen.segment) {
            self.seen.segment = named;
            self.hits.truncate(hits);
        }
    }

    /// Whether the packet's source address may not enter where it does.
    fn source_guard(&mut self, packet: &Packet) -> bool {
        let table = match packet.addresses() {
            Some((IpAddr::V4(_), _)) => Table::SourceGuardV4,
            Some((IpAddr::V6(_), _)) => Table::SourceGuardV6,
            None => return false,
        };
        let action = self.find(table).and_then(|(_, action)| self.lookup.program.action_of(action.id));
        matches!(action, Some(ActionKind::SourceV4Deny | ActionKind::SourceV6Deny))
    }

    fn classes(&mut self, packet: &Packet) {
        let tables = match packet.addresses() {
            Some((IpAddr::V4(_), _)) => Some((Table::SrcV4Class, Table::DstV4Class)),
            Some((IpAddr::V6(_), _)) => Some((Table::SrcV6Class, Table::DstV6Class)),
            None => None,
        };
        if let Some((source, destination)) = tables {
            if let Some((_, action)) = self.find(source) {
                self.seen.src_class = self.argument(&action, 0);
                self.seen.src_pod_class = self.argument(&action, 1);
            }
            if let Some((_, action)) = self.find(destination) {
                self.seen.dst_class = self.argument(&action, 0);
                self.seen.dst_pod_class = self.argument(&action, 1);
            }
        }
        if packet.ports().is_some() {
            if let Some((_, action)) = self.find(Table::SportClass) {
                self.seen.sport_class = self.argument(&action, 0);
            }
            if let Some((_, action)) = self.find(Table::DportClass) {
                self.seen.dport_class = self.argument(&action, 0);
            }
        }
    }

    fn sides(&mut self, packet: &Packet) -> (Said, Said) {
        let addresses = packet.addresses().filter(|_| packet.traffic() == Traffic::Ip);
        if addresses.is_none_or(|(src, dst)| src == dst) {
            return (Said::Nothing, Said::Nothing);
        }
        let egress = self.side(
            [Table::PodEgressAdmin, Table::PodEgress],
            [Table::PodEgressAdminReply, Table::PodEgressReply],
        );
        if matches!(egress, Said::Deny(_)) {
            return (egress, Said::Nothing);
        }
        let ingress = self.side(
            [Table::PodIngressAdmin, Table::PodIngress],
            [Table::PodIngressAdminReply, Table::PodIngressReply],
        );
        (egress, ingress)
    }

    fn side(&mut self, tables: [Table; 2], replies: [Table; 2]) -> Said {
        let said = self.first(tables);
        let Said::Deny(denier) = said else { return said };
        if (self.seen.reply || self.seen.related)
            && let Said::Permit(by) = self.first(replies)
        {
            self.log = false;
            let nobodys = |by: &Origin| {
                by.policy == Origin::COMMON
                    && [deciders::REPLY, deciders::RELATED].contains(&by.rule.as_str())
            };
            return Said::Permit(match by {
                Some(by) if nobodys(&by) => denier.map(|denier| Origin { rule: by.rule, ..denier }),
                by => by,
            });
        }
        Said::Deny(denier)
    }

    /// What the first of two tables says, or if it says nothing, the second.
    fn first(&mut self, [first, second]: [Table; 2]) -> Said {
        match self.said(first) {
            Said::Nothing => self.said(second),
            said => said,
        }
    }

    fn said(&mut self, table: Table) -> Said {
        use ActionKind as A;
        let Some((origin, action)) = self.find(table) else { return Said::Nothing };
        match self.lookup.program.action_of(action.id) {
            Some(A::AdminPermitLimited | A::BaselinePermitLimited) => {
                self.limiter = Some(self.argument(&action, 0));
                Said::Permit(origin)
            }
            Some(
                A::AdminPermit
                | A::BaselinePermit
                | A::EgressAdminPermit
                | A::EgressPermit
                | A::IngressAdminPermit
                | A::IngressPermit
                | A::EgressAdminReply
                | A::EgressReply
                | A::IngressAdminReply
                | A::IngressReply,
            ) => Said::Permit(origin),
            Some(A::AdminDenyLog | A::BaselineDenyLog | A::EgressDenyLog | A::IngressDenyLog) => {
                self.log = true;
                Said::Deny(origin)
            }
            Some(
                A::AdminDeny
                | A::BaselineDeny
                | A::EgressAdminDeny
                | A::EgressDeny
                | A::IngressAdminDeny
                | A::IngressDeny
                | A::EgressAdminNoReply
                | A::EgressNoReply
                | A::IngressAdminNoReply
                | A::IngressNoReply,
            ) => Said::Deny(origin),
            _ => Said::Nothing,
        }
    }

    fn find(&mut self, table: Table) -> Option<(Option<Origin>, Action)> {
        let hit = self.lookup.hit(table, &self.seen)?;
        let found = (hit.origin.clone(), hit.entry.action.clone());
        self.hits.push(hit);
        Some(found)
    }

    fn argument(&self, action: &Action, place: usize) -> u16 {
        let value = self.lookup.program.argument(action, place).unwrap_or(0);
        u16::try_from(value).unwrap_or(u16::MAX)
    }
}
