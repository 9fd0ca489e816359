//! The rules of filter policies in the order in which they are asked, each with the packets that it takes.
//!
//! This is the part of docs/policy-semantics.md that can be told by boxes ([`super::space`]): FilterPolicies for IP
//! packets. What pods' policies say in between is not here.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Work;
use super::addresses::{Addresses, nobody};
use super::space::{Field, Full, Range, Region, Set};
use crate::evaluate::{answers, provokes};
use crate::model::{
    FilterAction, FilterPolicy, FilterRule, FilterTier, IcmpMatch, Intent, RelatedErrors, Replies,
    TrafficMatch,
};
use crate::packet::{ICMP, ICMP_ERRORS, ICMPV6, ICMPV6_ERRORS, SCTP, TCP, UDP, tcp_flags};

/// A rule, or a policy's default.
#[derive(Debug)]
pub(super) struct Taker<'i> {
    pub(super) name: &'i str,
    pub(super) policy: &'i FilterPolicy,
    /// None: the default.
    pub(super) rule: Option<&'i FilterRule>,
    pub(super) action: FilterAction,
    /// What it says it matches.
    pub(super) direct: Vec<Region>,
    /// What looks like an answer to that.
    pub(super) replies: Vec<Region>,
    /// ICMP errors about that.
    pub(super) errors: Vec<Region>,
    /// It does not expire.
    pub(super) lasting: bool,
    /// Its addresses were too many to look at, so nothing of it is here.
    pub(super) unknown: bool,
    hulls: [Option<[Range; 2]>; 2],
}

impl Taker<'_> {
    pub(super) fn regions(&self) -> impl Iterator<Item = &Region> {
        self.direct.iter().chain(&self.replies).chain(&self.errors)
    }

    /// Whether it may take something of this: a quick no for most.
    fn may_take(&self, region: &Region) -> bool {
        self.reach().may_take(region)
    }

    fn reach(&self) -> Reach {
        let (replies, errors) = (!self.replies.is_empty(), !self.errors.is_empty());
        Reach { hulls: self.hulls, replies, errors, unknown: self.unknown }
    }

    /// `rule web`, with its policy if that is another.
    pub(super) fn text(&self, policy: &str) -> String {
        let of = if self.name == policy { String::new() } else { format!(" of FilterPolicy/{}", self.name) };
        match self.rule {
            Some(rule) => format!("rule {}{of}", rule.name),
            None => format!("the default{of}"),
        }
    }
}

/// From where to where rules take something, at most: a quick no for most packets.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    /// From the first to the last source and destination, of IPv6 and IPv4.
    hulls: [Option<[Range; 2]>; 2],
    replies: bool,
    errors: bool,
    unknown: bool,
}

impl Reach {
    fn may_take(&self, region: &Region) -> bool {
        let Some(own) = &self.hulls[usize::from(region.v4)] else { return self.errors || self.unknown };
        let meets = |field: Field, range: Range| {
            region.get(field).hull().is_some_and(|hull| hull.0 <= range.1 && range.0 <= hull.1)
        };
        let number = if region.v4 { ICMP } else { ICMPV6 };
        self.unknown
            || meets(Field::Source, own[0]) && meets(Field::Destination, own[1])
            || self.replies && meets(Field::Source, own[1]) && meets(Field::Destination, own[0])
            || self.errors
                && region.get(Field::Protocol).has(number.into())
                && own.iter().any(|end| meets(Field::Destination, *end))
    }

    fn or(self, other: Self) -> Self {
        let wider = |one: Range, other: Range| (one.0.min(other.0), one.1.max(other.1));
        let both = |one: [Range; 2], other: [Range; 2]| [wider(one[0], other[0]), wider(one[1], other[1])];
        let hulls = [0, 1].map(|family| match (self.hulls[family], other.hulls[family]) {
            (Some(one), Some(other)) => Some(both(one, other)),
            (one, other) => one.or(other),
        });
        Self {
            hulls,
            replies: self.replies || other.replies,
            errors: self.errors || other.errors,
            unknown: self.unknown || other.unknown,
        }
    }
}

/// So many takers are passed over at once where none of them may take anything.
const BLOCK: usize = 64;

/// Everything in order: tier admin, then tier baseline.
#[derive(Debug)]
pub(super) struct Order<'i> {
    pub(super) takers: Vec<Taker<'i>>,
    /// Of each block of them.
    blocks: Vec<Reach>,
    /// The first of tier baseline.
    pub(super) baseline: usize,
    pub(super) segments: Vec<&'i str>,
    pub(super) switches: Vec<&'i str>,
    pub(super) full: Full,
    addresses: Addresses<'i>,
}

/// Where a packet ends: by which taker it is taken; none: by none.
pub(super) struct Leaf {
    pub(super) region: Region,
    pub(super) by: Option<usize>,
}

impl<'i> Order<'i> {
    pub(super) fn new(intent: &'i Intent, at: Timestamp, work: &mut Work) -> Self {
        let full = Full::new();
        let mut order = Self {
            takers: Vec::new(),
            blocks: Vec::new(),
            baseline: 0,
            segments: named(intent, |policy| &policy.segments),
            switches: named(intent, |policy| &policy.switches),
            addresses: Addresses::new(intent, &full),
            full,
        };
        for tier in [FilterTier::Admin, FilterTier::Baseline] {
            order.baseline = order.takers.len();
            let mut policies: Vec<_> =
                intent.filters.iter().filter(|(_, policy)| policy.tier == tier).collect();
            policies.sort_by_key(|(name, policy)| (policy.priority, *name));
            for (name, policy) in policies {
                let segments = scope(&policy.segments, &order.segments);
                let switches = scope(&policy.switches, &order.switches);
                let everything = [true, false].map(|v4| Region::all(v4, &order.full, &segments, &switches));
                for rule in policy.rules.iter().filter(|rule| rule.is_in_force(at)) {
                    let taker = order.taker((name, policy), rule, &everything, work);
                    order.takers.push(taker);
                }
                if let Some(action) = policy.default {
                    let direct = everything.to_vec();
                    let hulls = hulls(&direct);
                    let (replies, errors) = Default::default();
                    let (rule, lasting, unknown) = (None, true, false);
                    order.takers.push(Taker {
                        name,
                        policy,
                        rule,
                        action,
                        direct,
                        replies,
                        errors,
                        lasting,
                        unknown,
                        hulls,
                    });
                }
            }
        }
        let reach = |block: &[Taker<'_>]| block.iter().map(Taker::reach).fold(Reach::default(), Reach::or);
        order.blocks = order.takers.chunks(BLOCK).map(reach).collect();
        order
    }

    fn taker(
        &mut self,
        (name, policy): (&'i str, &'i FilterPolicy),
        rule: &'i FilterRule,
        everything: &[Region; 2],
        work: &mut Work,
    ) -> Taker<'i> {
        let sides = (self.addresses.of_side(&rule.from, work), self.addresses.of_side(&rule.to, work));
        let unknown = sides.0.is_none() || sides.1.is_none();
        let (from, to) = (sides.0.unwrap_or_else(nobody), sides.1.unwrap_or_else(nobody));
        let (mut direct, mut replies, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for all in everything {
            let (src, dst) = (&from[usize::from(all.v4)], &to[usize::from(all.v4)]);
            let base = all.clone().with(Field::Source, src.clone()).with(Field::Destination, dst.clone());
            let kinds = matched(rule, &base);
            if rule.action == FilterAction::Allow {
                replies.extend(kinds.iter().flat_map(|kind| answers_to(kind, policy.replies)));
                errors.extend(errors_about(rule, policy, all, (src, dst)));
            }
            direct.extend(kinds.into_iter().map(|kind| kind.region));
        }
        for regions in [&mut direct, &mut replies, &mut errors] {
            regions.retain(|region| !region.is_empty());
        }
        let hulls = hulls(&direct);
        let (action, lasting) = (rule.action, rule.expires.is_none());
        Taker { name, policy, rule: Some(rule), action, direct, replies, errors, lasting, unknown, hulls }
    }

    /// Follows a region from a place in the order to a place before which it has to be taken, and says where each part
    /// of it ends, until somebody has heard enough. False: there was too much to look at.
    ///
    /// What a rule of tier admin passes goes on in tier baseline, if the end is there. With `later`, what is told holds
    /// now and after rules have expired.
    pub(super) fn follow(
        &self,
        region: Region,
        end: usize,
        later: bool,
        work: &mut Work,
        mut tell: impl FnMut(Leaf) -> bool,
    ) -> bool {
        let to_baseline = end >= self.baseline;
        let mut open = vec![(region, 0)];
        'regions: while let Some((region, start)) = open.pop() {
            let mut left = region;
            let mut next = start;
            while next < end {
                let place = next;
                work.step(1);
                if place % BLOCK == 0 && !self.blocks[place / BLOCK].may_take(&left) {
                    next += BLOCK;
                    continue;
                }
                next += 1;
                let taker = &self.takers[place];
                let diverts = to_baseline && place < self.baseline && taker.action == FilterAction::Pass;
                if taker.unknown {
                    // Whatever it takes, both ways are gone.
                    if later && diverts {
                        open.push((left.clone(), self.baseline));
                    }
                    continue;
                }
                let unsure = later && !taker.lasting;
                if unsure && !diverts || !taker.may_take(&left) {
                    continue;
                }
                let mut pieces = vec![left];
                for theirs in taker.regions() {
                    let mut rest = Vec::new();
                    for piece in pieces {
                        work.step(8);
                        let Some((inside, outside)) = piece.cut(theirs) else {
                            rest.push(piece);
                            continue;
                        };
                        work.step(200 + piece.weight() + theirs.weight());
                        rest.extend(outside);
                        if diverts {
                            open.push((inside.clone(), self.baseline));
                        }
                        if unsure {
                            rest.push(inside);
                        } else if !diverts && !tell(Leaf { region: inside, by: Some(place) }) {
                            return true;
                        }
                    }
                    pieces = rest;
                }
                if work.is_over() {
                    return false;
                }
                let Some(piece) = pieces.pop() else { continue 'regions };
                left = piece;
                open.extend(pieces.into_iter().map(|piece| (piece, place + 1)));
            }
            if work.is_over() {
                return false;
            }
            if !tell(Leaf { region: left, by: None }) {
                return true;
            }
        }
        true
    }

    /// The number of a segment in [`Field::Segment`].
    pub(super) fn segment(&self, name: &str) -> u128 {
        number(&self.segments, name)
    }

    /// The number of a switch in [`Field::Switch`].
    pub(super) fn switch(&self, name: &str) -> u128 {
        number(&self.switches, name)
    }

    pub(super) fn addresses(&self) -> &Addresses<'i> {
        &self.addresses
    }
}

/// What looks like an answer to packets of this kind, if answers get through in this mode.
fn answers_to(kind: &Kind, replies: Replies) -> Vec<Region> {
    let unseen = !kind.region.get(Field::Fragment).has(0);
    if replies == Replies::None || kind.has_flags || unseen {
        return Vec::new();
    }
    let mirror = kind.region.clone().mirrored().with(Field::Fragment, Set::one(0));
    let protocol = |number: u8| mirror.clone().within(Field::Protocol, &Set::one(number.into()));
    let mut found = vec![protocol(TCP).with(Field::TcpFlags, established())];
    if replies == Replies::Reverse {
        found.extend([protocol(UDP), protocol(SCTP)]);
        for (number, request, reply) in [(ICMP, 8, 0), (ICMPV6, 128, 129)] {
            // What was the type is the destination port now, and the code the source port.
            let echo = protocol(number);
            if echo.get(Field::DestinationPort).has(request) {
                let code = echo.get(Field::SourcePort).clone();
                found.push(echo.with(Field::SourcePort, Set::one(reply)).with(Field::DestinationPort, code));
            }
        }
    }
    found
}

fn errors_about(
    rule: &FilterRule,
    policy: &FilterPolicy,
    all: &Region,
    (from, to): (&Set, &Set),
) -> Option<Region> {
    if policy.related_errors == RelatedErrors::None {
        return None;
    }
    let any =
        |counts: &dyn Fn(&TrafficMatch) -> bool| rule.traffic.is_empty() || rule.traffic.iter().any(counts);
    let mut receivers = Set::empty();
    if any(&|traffic| provokes(traffic, all.v4)) && !to.is_empty() {
        receivers = receivers.or(from);
    }
    let answered = policy.replies != Replies::None
        && any(&|traffic| answers(traffic, policy.replies, all.v4))
        && !from.is_empty();
    if answered {
        receivers = receivers.or(to);
    }
    let (number, types) = if all.v4 { (ICMP, &ICMP_ERRORS[..]) } else { (ICMPV6, &ICMPV6_ERRORS[..]) };
    let types = types.iter().map(|of| (u128::from(*of), u128::from(*of))).collect();
    let region = all.clone().with(Field::Destination, receivers);
    let region = region.with(Field::Protocol, Set::one(number.into()));
    Some(region.with(Field::SourcePort, Set::new(types)).with(Field::Fragment, Set::one(0)))
}

/// One sort of traffic that a rule names, or all.
struct Kind {
    region: Region,
    /// It is about TCP segments with certain flags.
    has_flags: bool,
}

/// What a rule matches by itself, of packets between its addresses.
fn matched(rule: &FilterRule, base: &Region) -> Vec<Kind> {
    if rule.traffic.is_empty() {
        return vec![Kind { region: base.clone(), has_flags: false }];
    }
    rule.traffic.iter().flat_map(|traffic| of_traffic(traffic, rule.action, base)).collect()
}

fn of_traffic(traffic: &TrafficMatch, action: FilterAction, base: &Region) -> Vec<Kind> {
    let protocol = |number: u8| base.clone().with(Field::Protocol, Set::one(number.into()));
    let icmp = |number: u8, wanted: IcmpMatch| {
        let one = |region: Region, field: Field, value: Option<u8>| match value {
            Some(value) => region.with(field, Set::one(value.into())),
            None => region,
        };
        let region = one(protocol(number), Field::SourcePort, wanted.icmp_type);
        (number, one(region, Field::DestinationPort, wanted.code), wanted != IcmpMatch::default(), false)
    };
    let (number, region, has_conditions, has_flags) = match traffic {
        TrafficMatch::Ports { protocol: of, source, destination, tcp_flags } => {
            let mut region = protocol(of.number());
            for (field, range) in [(Field::SourcePort, source), (Field::DestinationPort, destination)] {
                if let Some((low, high)) = range {
                    region = region.with(field, Set::of((*low).into(), (*high).into()));
                }
            }
            if let Some(wanted) = tcp_flags {
                region = region.with(
                    Field::TcpFlags,
                    flags(|seen| seen & wanted.set == wanted.set && seen & wanted.clear == 0),
                );
            }
            let has_conditions = source.is_some() || destination.is_some() || tcp_flags.is_some();
            (of.number(), region, has_conditions, tcp_flags.is_some())
        }
        TrafficMatch::Icmp(wanted) => icmp(ICMP, *wanted),
        TrafficMatch::IcmpV6(wanted) => icmp(ICMPV6, *wanted),
        TrafficMatch::Protocol(number) => (*number, protocol(*number), false, false),
        TrafficMatch::Arp
        | TrafficMatch::NeighborDiscovery
        | TrafficMatch::NonIp
        | TrafficMatch::EtherType(_) => return Vec::new(),
    };
    if !has_conditions {
        return vec![Kind { region, has_flags }];
    }
    let mut kinds = vec![Kind { region: region.with(Field::Fragment, Set::one(0)), has_flags }];
    // What a fragment does not show counts for rules that let through, and not for those that deny.
    if action != FilterAction::Deny {
        kinds.push(Kind { region: protocol(number).with(Field::Fragment, Set::one(1)), has_flags });
    }
    kinds
}

fn flags(wanted: impl Fn(u8) -> bool) -> Set {
    Set::new((0..=u8::MAX).filter(|seen| wanted(*seen)).map(|seen| (seen.into(), seen.into())).collect())
}

/// Flags of segments that cannot open a connection.
fn established() -> Set {
    flags(|seen| seen & (tcp_flags::ACK | tcp_flags::RST) != 0)
}

/// From the first to the last source and destination, by family.
fn hulls(regions: &[Region]) -> [Option<[Range; 2]>; 2] {
    [false, true].map(|v4| {
        let of_family = || regions.iter().filter(|region| region.v4 == v4);
        let hull = |field: Field| {
            let all = of_family().filter_map(|region| region.get(field).hull());
            all.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
        };
        Some([hull(Field::Source)?, hull(Field::Destination)?])
    })
}

/// The names that policies say, sorted.
fn named(intent: &Intent, names: fn(&FilterPolicy) -> &Vec<String>) -> Vec<&str> {
    let all: BTreeSet<_> = intent.filters.values().flat_map(names).map(String::as_str).collect();
    all.into_iter().collect()
}

/// Numbers of names; no names mean everything.
fn scope(names: &[String], known: &[&str]) -> Set {
    if names.is_empty() {
        return Set::of(0, known.len() as u128);
    }
    Set::new(names.iter().map(|name| number(known, name)).map(|number| (number, number)).collect())
}

/// From 1; 0 where nobody names it.
fn number(known: &[&str], name: &str) -> u128 {
    known.binary_search(&name).map_or(0, |place| place as u128 + 1)
}
