//! FilterPolicies: the packets that a rule lets through, and what becomes of their answers, told by boxes and confirmed
//! by the evaluator.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    ANYBODY, CLIENT, DNS, LET_IN, MOST_FOUND, ONE_WAY, SYMMETRIC, Scene, by, example, name_of, request,
};
use crate::advice::addresses::{address, bits};
use crate::advice::order::Taker;
use crate::advice::space::{Field, Region, Set};
use crate::advice::{Item, Kind, Lost, Work};
use crate::deciders;
use crate::evaluate::Verdict;
use crate::model::{FilterAction, FilterRule, PortProtocol, Replies, TrafficMatch};
use crate::packet::{ECHO_REQUEST, ECHO_REQUEST_V6, ICMP, ICMPV6, Packet, tcp_flags};

/// Parts of a rule whose answers are followed. A rule that others cut into more is not looked at whole.
const PARTS: usize = 64;
/// Denied answers that are tried.
const TRIES: usize = 8;

pub(super) fn find(scene: &Scene<'_, '_>, work: &mut Work) -> Vec<Item> {
    let places = Places::new(scene);
    let mut found = Vec::new();
    for (place, taker) in scene.order.takers.iter().enumerate() {
        let Some(rule) = taker.rule.filter(|rule| rule.action == FilterAction::Allow) else { continue };
        // A rule about all traffic is about TCP, too, whose answers come back: it may be meant so.
        if rule.traffic.is_empty() || taker.unknown {
            continue;
        }
        if found.len() >= MOST_FOUND {
            work.spare();
            continue;
        }
        if !work.next() {
            continue;
        }
        let subject = Subject { scene, places: &places, taker, rule, place };
        found.extend(rule.traffic.iter().find_map(|traffic| subject.lost(traffic, work)));
        if work.is_over() {
            work.miss();
        }
    }
    found
}

/// The addresses of segments, by how policies tell them apart.
struct Places {
    /// Of each segment that policies name, from 1; of all others together, 0. IPv6 and IPv4.
    of: Vec<[Set; 2]>,
    /// Of no segment.
    outside: [Set; 2],
    pods: [Set; 2],
    /// What is for many is answered by each as it likes, and nobody has such an address.
    many: [Set; 2],
}

impl Places {
    fn new(scene: &Scene<'_, '_>) -> Self {
        let mut of = vec![[Set::empty(), Set::empty()]; scene.order.segments.len() + 1];
        for name in scene.intent.segments.keys() {
            let own = scene.order.addresses().of_segment(name);
            let number = usize::try_from(scene.order.segment(name)).unwrap_or_default();
            of[number] = [of[number][0].or(&own[0]), of[number][1].or(&own[1])];
        }
        let full = &scene.order.full;
        let mut outside = [full.v6.clone(), full.v4.clone()];
        for own in &of {
            outside = [outside[0].without(&own[0]), outside[1].without(&own[1])];
        }
        let last = bits(IpAddr::V4(Ipv4Addr::BROADCAST));
        let many =
            [Set::of(0xff << 120, u128::MAX), Set::new(vec![(0xe000_0000, 0xefff_ffff), (last, last)])];
        Self { of, outside, pods: scene.order.addresses().of_all_pods(), many }
    }
}

/// A rule that is looked at.
struct Subject<'s, 'i> {
    scene: &'s Scene<'s, 'i>,
    places: &'s Places,
    taker: &'s Taker<'i>,
    rule: &'s FilterRule,
    place: usize,
}

/// What a rule lets through, and asks for an answer.
struct Asked {
    what: &'static str,
    protocol: u8,
    region: Region,
}

/// An answer that is denied, as a box.
struct Denied {
    region: Region,
    /// By this one; none: not by a FilterPolicy.
    by: Option<usize>,
    switch: usize,
    /// The segment, if neither side is known to be in one.
    segment: Option<String>,
}

impl Subject<'_, '_> {
    /// What is to be said about one sort of traffic of the rule.
    fn lost(&self, traffic: &TrafficMatch, work: &mut Work) -> Option<Item> {
        for asked in self.asked(traffic) {
            let (mut passes, mut denied) = (false, Vec::new());
            for (switch, (_, number)) in self.scene.switches.iter().enumerate() {
                let here = asked.region.clone().within(Field::Switch, &Set::one(*number));
                for (region, segment) in self.where_it_enters(&here) {
                    let asked = Asked { region, ..asked };
                    passes |= self.answers(&asked, switch, segment.as_deref(), &mut denied, work);
                    if work.is_over() {
                        return None;
                    }
                }
            }
            let blocks = |denied: &Denied| {
                let rule = denied.by.and_then(|by| self.scene.order.takers[by].rule);
                rule.is_some_and(|rule| rule.traffic.is_empty())
            };
            // Who denies all that some addresses say means it: they are not to answer.
            let said = denied.iter().filter(|denied| !passes || !blocks(denied)).take(TRIES);
            for denied in said {
                if let Some((lost, verdict)) = self.confirmed(&asked, denied, work) {
                    return Some(self.item(&asked, passes, lost, &verdict));
                }
            }
        }
        None
    }

    /// What of the rule's traffic asks for answers, by family.
    fn asked(&self, traffic: &TrafficMatch) -> Vec<Asked> {
        let ports = |protocol| (protocol, None, None, None);
        let (protocol, source, destination, flags) = match *traffic {
            TrafficMatch::Ports { protocol, source, destination, tcp_flags } => {
                (protocol, source, destination, tcp_flags)
            }
            TrafficMatch::Protocol(6) => ports(PortProtocol::Tcp),
            TrafficMatch::Protocol(17) => ports(PortProtocol::Udp),
            TrafficMatch::Protocol(132) => ports(PortProtocol::Sctp),
            TrafficMatch::Icmp(matched) => return self.echo(true, matched.icmp_type, matched.code),
            TrafficMatch::IcmpV6(matched) => return self.echo(false, matched.icmp_type, matched.code),
            TrafficMatch::Protocol(ICMP) => return self.echo(true, None, None),
            TrafficMatch::Protocol(ICMPV6) => return self.echo(false, None, None),
            _ => return Vec::new(),
        };
        // Who opens no connection, or answers himself from a port of his own, awaits no answer.
        let answers = flags
            .is_some_and(|flags| flags.set & !tcp_flags::SYN != 0 || flags.clear & tcp_flags::SYN != 0)
            || source.is_some() && destination.is_none();
        if answers {
            return Vec::new();
        }
        let set = |range: (u16, u16)| Set::of(range.0.into(), range.1.into());
        let mut to = set(destination.unwrap_or((0, u16::MAX)));
        if protocol != PortProtocol::Tcp {
            to = to.without(&Set::new(ONE_WAY.iter().map(|port| ((*port).into(), (*port).into())).collect()));
        }
        let own = destination.filter(|(low, high)| low == high && SYMMETRIC.contains(low));
        let from = set(source.or(own).unwrap_or(CLIENT));
        let of_family = |v4: bool| {
            let region = self.between(v4)?.with(Field::Protocol, Set::one(protocol.number().into()));
            let region =
                region.with(Field::SourcePort, from.clone()).with(Field::DestinationPort, to.clone());
            let region = if protocol == PortProtocol::Tcp {
                region.with(Field::TcpFlags, Set::one(tcp_flags::SYN.into()))
            } else {
                region
            };
            Some(Asked { what: name_of(protocol), protocol: protocol.number(), region })
        };
        [true, false].into_iter().filter_map(of_family).collect()
    }

    fn echo(&self, v4: bool, icmp_type: Option<u8>, code: Option<u8>) -> Vec<Asked> {
        let (protocol, request) = if v4 { (ICMP, ECHO_REQUEST) } else { (ICMPV6, ECHO_REQUEST_V6) };
        if icmp_type.is_some_and(|of| of != request) {
            return Vec::new();
        }
        let code = Set::one(code.unwrap_or_default().into());
        let region = self.between(v4).map(|region| {
            let region = region.with(Field::Protocol, Set::one(protocol.into()));
            region.with(Field::SourcePort, Set::one(request.into())).with(Field::DestinationPort, code)
        });
        region.map(|region| Asked { what: "echo requests", protocol, region }).into_iter().collect()
    }

    /// Everything between the rule's addresses of a family that is no fragment.
    fn between(&self, v4: bool) -> Option<Region> {
        let own = self.taker.direct.iter().find(|region| region.v4 == v4)?;
        let many = &self.places.many[usize::from(v4)];
        let (src, dst) = (own.get(Field::Source).without(many), own.get(Field::Destination).without(many));
        let scope = (own.get(Field::Segment), own.get(Field::Switch));
        let region = Region::all(v4, &self.scene.order.full, scope.0, scope.1);
        let region = region.with(Field::Source, src).with(Field::Destination, dst);
        Some(region.with(Field::Fragment, Set::one(0)))
    }

    /// The parts of a region that enter in a segment because one side is there, or in none. With a segment: neither side
    /// is known to be there, but the policy looks at nothing else.
    fn where_it_enters(&self, region: &Region) -> Vec<(Region, Option<String>)> {
        let family = usize::from(region.v4);
        let mut parts = Vec::new();
        // A segment that the policy does not name is told by its addresses; one that it names also if those are unknown.
        let bound = !self.taker.policy.segments.is_empty();
        for (number, places) in self.places.of.iter().enumerate() {
            let here = region.clone().within(Field::Segment, &Set::one(number as u128));
            let ends =
                [Field::Source, Field::Destination].map(|end| here.clone().within(end, &places[family]));
            let of_ends = parts.len();
            parts.extend(ends.into_iter().filter(|part| !part.is_empty()).map(|part| (part, None)));
            if number == 0 {
                let outside = &self.places.outside[family];
                let part = here.within(Field::Source, outside).within(Field::Destination, outside);
                parts.extend((!part.is_empty()).then_some((part, None)));
            } else if parts.len() == of_ends && bound && !here.is_empty() {
                parts.push((here, Some(self.scene.order.segments[number - 1].to_owned())));
            }
        }
        parts
    }

    /// Follows the answers to what reaches the rule. Whether some pass; those that may not are added.
    fn answers(
        &self,
        asked: &Asked,
        switch: usize,
        segment: Option<&str>,
        denied: &mut Vec<Denied>,
        work: &mut Work,
    ) -> bool {
        let order = self.scene.order;
        let mut reaching = Vec::new();
        order.follow(asked.region.clone(), self.place, false, work, |leaf| {
            reaching.extend(leaf.by.is_none().then_some(leaf.region));
            reaching.len() < PARTS
        });
        if reaching.len() == PARTS {
            work.miss();
        }
        let pods = &self.places.pods[usize::from(asked.region.v4)];
        let judged_by_pods =
            !self.scene.intent.network_policies.is_empty() || !self.scene.intent.cluster_policies.is_empty();
        let mut passes = false;
        for (answer, elsewhere) in
            reaching.into_iter().flat_map(|part| self.ways(&answer(asked.protocol, part)))
        {
            order.follow(answer, order.takers.len(), false, work, |leaf| {
                let add = |denied: &mut Vec<Denied>, region: Region, by: Option<usize>| {
                    let segment = segment.map(str::to_owned);
                    denied.extend((!region.is_empty()).then_some(Denied { region, by, switch, segment }));
                };
                match leaf.by.map(|by| (by, order.takers[by].action)) {
                    Some((by, FilterAction::Deny)) => add(denied, leaf.region, Some(by)),
                    Some((by, FilterAction::Allow)) if by < order.baseline => passes |= !elsewhere,
                    _ if judged_by_pods => {
                        add(denied, leaf.region.clone().within(Field::Source, pods), None);
                        add(denied, leaf.region.clone().within(Field::Destination, pods), None);
                        passes |= !elsewhere && !leaf.region.get(Field::Source).without(pods).is_empty();
                    }
                    _ => passes |= !elsewhere,
                }
                denied.len() < 4 * TRIES
            });
        }
        passes
    }

    /// Where answers pass the switch: in the segment in which the packet did that they answer, and, if the policy does not
    /// look there, in that of either end.
    fn ways(&self, answer: &Region) -> Vec<(Region, bool)> {
        let mut ways = vec![(answer.clone(), false)];
        if !self.taker.policy.segments.is_empty() {
            let own = answer.get(Field::Segment);
            for (number, places) in
                self.places.of.iter().enumerate().filter(|(number, _)| !own.has(*number as u128))
            {
                let there = answer.clone().with(Field::Segment, Set::one(number as u128));
                let ends = [Field::Source, Field::Destination];
                let parts = ends.map(|end| there.clone().within(end, &places[usize::from(answer.v4)]));
                ways.extend(parts.into_iter().filter(|part| !part.is_empty()).map(|part| (part, true)));
            }
        }
        ways
    }

    /// A packet of which the evaluator says the same.
    fn confirmed(&self, asked: &Asked, denied: &Denied, work: &mut Work) -> Option<(Lost, Verdict)> {
        let v4 = denied.region.v4;
        let port = |field: Field| {
            let set = denied.region.get(field);
            let port = if set.has(DNS.into()) { u128::from(DNS) } else { set.hull()?.0 };
            u16::try_from(port).ok()
        };
        let (sport, dport) = (port(Field::DestinationPort)?, port(Field::SourcePort)?);
        let code = u8::try_from(sport).unwrap_or_default();
        let (object, switch) =
            (deciders::filter_policy(self.taker.name), self.scene.switches[denied.switch].0);
        let is_ours = |verdict: &Verdict| {
            verdict.policy.as_ref() == Some(&object) && verdict.rule.as_ref() == Some(&self.rule.name)
        };
        let some = |field: Field, anybody: usize| {
            some_of(denied.region.get(field), v4, ANYBODY[anybody + 2 * usize::from(!v4)])
        };
        for src in some(Field::Destination, 0) {
            for dst in some(Field::Source, 1).into_iter().filter(|dst| *dst != src) {
                let packet = match asked.protocol {
                    ICMP => Packet::icmp(src, dst, ECHO_REQUEST, code),
                    ICMPV6 => Packet::icmp(src, dst, ECHO_REQUEST_V6, code),
                    6 => request(PortProtocol::Tcp, (src, sport), (dst, dport)),
                    17 => request(PortProtocol::Udp, (src, sport), (dst, dport)),
                    _ => request(PortProtocol::Sctp, (src, sport), (dst, dport)),
                };
                let segment = denied.segment.as_deref();
                let found = self.scene.denied(switch, segment, &packet, &is_ours, work);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    fn item(&self, asked: &Asked, passes: bool, lost: Lost, verdict: &Verdict) -> Item {
        let (name, policy) = (&self.rule.name, self.taker.policy);
        let back = if passes { "and not every answer back" } else { "and no answer back" };
        let message = format!(
            "rule {name} lets {} through, {back}: for example, {} is denied by {}",
            asked.what,
            example(&lost),
            by(verdict)
        );
        let bound = !policy.segments.is_empty()
            && verdict.segment.as_ref().is_none_or(|segment| !policy.segments.contains(segment));
        let by_pods = verdict.policy.as_ref().is_some_and(|policy| !deciders::is_filter_policy(policy));
        let covered = if asked.protocol == 6 {
            policy.replies != Replies::None
        } else {
            policy.replies == Replies::Reverse
        };
        let help = if verdict.spoofed().is_some() {
            LET_IN
        } else if by_pods {
            "let policies of the pod say `outplane.dev/replies: reverse`, or allow the answers by a rule of their own"
        } else if bound {
            "this policy looks only at what enters in its segments: allow the answers where they enter"
        } else if covered {
            "what denies it is asked before this rule, or the rule is about TCP flags: allow the answers before that by a \
             rule of their own"
        } else if asked.protocol == 6 {
            "`replies: established` lets TCP's answers back"
        } else {
            "`replies: reverse` lets answers back that look like it; or allow them by a rule of their own"
        };
        Item {
            object: deciders::filter_policy(self.taker.name),
            rule: Some(name.clone()),
            kind: Kind::RepliesLost(Box::new(lost)),
            message,
            help: help.to_owned(),
        }
    }
}

/// The answers to packets of a region.
fn answer(protocol: u8, region: Region) -> Region {
    let code = region.get(Field::DestinationPort).clone();
    let mirror = region.mirrored();
    let echo = |reply: u128| {
        let typed = mirror.clone().with(Field::SourcePort, Set::one(reply));
        typed.with(Field::DestinationPort, code.clone())
    };
    match protocol {
        ICMP => echo(0),
        ICMPV6 => echo(129),
        6 => mirror.with(Field::TcpFlags, Set::one((tcp_flags::SYN | tcp_flags::ACK).into())),
        _ => mirror,
    }
}

/// One or two addresses of a set: whoever stands for anybody, if it is in it; no network's own, if there are others.
fn some_of(set: &Set, v4: bool, anybody: IpAddr) -> Vec<IpAddr> {
    let first = |range: &(u128, u128)| address(v4, range.0 + u128::from(range.1 - range.0 > 2));
    let mut found: Vec<_> = set.has(bits(anybody)).then_some(anybody).into_iter().collect();
    found.extend(set.ranges().iter().take(2 - found.len().min(1)).map(first));
    found.truncate(2);
    found
}
