//! Advice holds: nothing that is said to be unreached decides about any packet, and every answer that is said to be lost
//! is denied.

use std::fmt::Write as _;
use std::time::Instant;

use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::prelude::*;

use super::addresses::bits;
use super::order::Order;
use super::space::{Field, Region, Set};
use super::{Kind, WORK, Work, find, find_within};
use crate::evaluate::{Evaluator, Stage, Step};
use crate::model::{FilterTier, Intent, Replies};
use crate::packet::{ICMP, ICMPV6, Packet, Traffic};
use crate::reader::parse;
use crate::testing::universe::now;
use crate::testing::{config, intents, large_filter, packets_for};

/// An intent, and packets at the corners of what it says.
fn cases() -> impl Strategy<Value = (Intent, Vec<Packet>)> {
    intents().prop_flat_map(|intent| {
        let packets = vec(packets_for(&intent), 40);
        (Just(intent), packets)
    })
}

const SWITCHES: [Option<&str>; 3] = [None, Some("s1"), Some("s2")];

/// A packet as a box.
fn point(order: &Order<'_>, switch: Option<&str>, segment: Option<&str>, packet: &Packet) -> Region {
    let (src, dst) = packet.addresses().unwrap();
    let number = |name: Option<&str>, of: &dyn Fn(&str) -> u128| Set::one(name.map_or(0, of));
    let segment = number(segment, &|name| order.segment(name));
    let switch = number(switch, &|name| order.switch(name));
    let mut region = Region::all(src.is_ipv4(), &order.full, &segment, &switch);
    let fields = match (packet.ports(), packet.icmp_header()) {
        (Some((source, destination)), _) => (source, destination),
        (_, Some((_, icmp_type, code))) => (icmp_type.into(), code.into()),
        _ => (7, 7),
    };
    for (field, value) in [
        (Field::Source, bits(src)),
        (Field::Destination, bits(dst)),
        (Field::Protocol, packet.protocol().unwrap().into()),
        (Field::SourcePort, fields.0.into()),
        (Field::DestinationPort, fields.1.into()),
        (Field::TcpFlags, packet.tcp_flags().unwrap_or(7).into()),
        (Field::Fragment, packet.is_later_fragment().into()),
    ] {
        region = region.with(field, Set::one(value));
    }
    region
}

/// The first of a tier that takes a packet.
fn first(order: &Order<'_>, tier: FilterTier, point: &Region) -> Option<(String, String)> {
    let here = order.takers.iter().filter(|taker| taker.policy.tier == tier);
    let taker = here.into_iter().find(|taker| taker.regions().any(|region| region.meets(point)))?;
    let rule = taker.rule.map_or("default", |rule| &rule.name);
    Some((format!("FilterPolicy/{}", taker.name), rule.to_owned()))
}

fn is_of(step: &Step, object: &str, rule: &str) -> bool {
    matches!(step.stage, Stage::FilterAdmin | Stage::FilterBaseline)
        && step.policy.as_deref() == Some(object)
        && step.rule.as_deref() == Some(rule)
}

proptest! {
    #![proptest_config(config(400))]

    /// Boxes say what the evaluator says, for every packet and rule.
    #[test]
    fn boxes_are_what_rules_match((intent, packets) in cases()) {
        let order = Order::new(&intent, now(), &mut Work::new(WORK));
        let evaluator = Evaluator::new(&intent);
        for packet in packets.iter().filter(|packet| packet.traffic() == Traffic::Ip && !packet.is_overtagged()) {
            for switch in SWITCHES {
                let verdict = evaluator.evaluate(switch, now(), packet);
                let point = point(&order, switch, verdict.segment.as_deref(), packet);
                for step in &verdict.steps {
                    let tier = match step.stage {
                        Stage::FilterAdmin => FilterTier::Admin,
                        Stage::FilterBaseline => FilterTier::Baseline,
                        _ => continue,
                    };
                    let said = step.policy.clone().zip(step.rule.clone());
                    prop_assert_eq!(first(&order, tier, &point), said, "{:?} {:#?}", packet, verdict);
                }
            }
        }
    }

    /// What is said to be unreached decides about no IP packet, now and when rules have expired.
    #[test]
    fn unreached_rules_decide_nothing((intent, packets) in cases()) {
        let advice = find(&intent, now());
        prop_assert_eq!(&advice.incomplete, &None);
        let evaluator = Evaluator::new(&intent);
        for item in &advice.items {
            let Kind::Unreached { answers } = item.kind else { continue };
            let rule = item.rule.as_deref().unwrap();
            for packet in packets.iter().filter(|packet| packet.traffic() == Traffic::Ip) {
                for (switch, later) in SWITCHES.into_iter().flat_map(|switch| [(switch, 0), (switch, 5)]) {
                    let at = now() + SignedDuration::from_secs(later);
                    let verdict = evaluator.evaluate(switch, at, packet);
                    for step in verdict.steps.iter().filter(|step| is_of(step, &item.object, rule)) {
                        let indirect = step.text.contains(", as a reply") || step.text.contains(", as an ICMP error");
                        prop_assert!(answers && indirect, "{}: {:?} {:#?}", item.message, packet, verdict);
                    }
                }
            }
        }
    }

    /// A rule of tier admin that is not said to be unreached decides about some packet.
    #[test]
    fn other_rules_decide_something(intent in intents()) {
        let order = Order::new(&intent, now(), &mut Work::new(WORK));
        let evaluator = Evaluator::new(&intent);
        for (place, taker) in order.takers[..order.baseline].iter().enumerate() {
            let Some(rule) = taker.rule else { continue };
            for region in &taker.direct {
                let mut left = None;
                order.follow(region.clone(), place, false, &mut Work::new(WORK), |leaf| {
                    left = leaf.by.is_none().then_some(leaf.region);
                    left.is_none()
                });
                let Some((packet, switch)) = left.and_then(|left| packet_of(&order, &left)) else { continue };
                let verdict = evaluator.evaluate(switch, now(), &packet);
                let object = format!("FilterPolicy/{}", taker.name);
                prop_assert!(
                    // The packet is made for the rule, and its source may not enter in every segment.
                    verdict.spoofed().is_some() || verdict.steps.iter().any(|step| is_of(step, &object, &rule.name)),
                    "{} {}: {:?} {:#?}", object, rule.name, packet, verdict
                );
            }
        }
    }

    /// What is said to be lost passes, and its answer does not.
    #[test]
    fn lost_answers_are_denied(intent in intents()) {
        let evaluator = Evaluator::new(&intent);
        for item in find(&intent, now()).items {
            let Kind::RepliesLost(lost) = &item.kind else { continue };
            let judge = |packet: &Packet| evaluator.evaluate(Some(&lost.switch), now(), packet);
            prop_assert!(judge(&lost.packet).allow, "{:#?}", item);
            let answer = judge(&lost.answer);
            prop_assert!(!answer.allow, "{:#?}", item);
            let why = answer.policy.as_deref().or(answer.spoofed()).unwrap();
            prop_assert!(item.message.contains(why), "{:#?}", item);
            let ends = lost.packet.addresses().map(|(src, dst)| (dst, src));
            prop_assert_eq!(lost.answer.addresses(), ends);
        }
    }
}

/// One packet of a box, and the switch that it is on; none where it would be no IP packet.
fn packet_of<'i>(order: &Order<'i>, region: &Region) -> Option<(Packet, Option<&'i str>)> {
    use crate::packet::{Ingress, Kind as Carries, L4, SCTP, TCP, UDP};
    let value = |field: Field| region.get(field).ranges()[0].0;
    let (src, dst) = (
        super::addresses::address(region.v4, value(Field::Source)),
        super::addresses::address(region.v4, value(Field::Destination)),
    );
    // The last protocol is none with ports; the first one, 0, is an extension header.
    let protocol = u8::try_from(region.get(Field::Protocol).hull()?.1).ok()?;
    let fragment = value(Field::Fragment) == 1;
    let (first, second) = (value(Field::SourcePort), value(Field::DestinationPort));
    let l4 = match protocol {
        _ if fragment => L4::None,
        TCP | UDP | SCTP => L4::Ports {
            source: u16::try_from(first).ok()?,
            destination: u16::try_from(second).ok()?,
            tcp_flags: u8::try_from(value(Field::TcpFlags)).ok()?,
        },
        ICMP | ICMPV6 => L4::Icmp { icmp_type: u8::try_from(first).ok()?, code: u8::try_from(second).ok()? },
        _ => L4::None,
    };
    let segment = |number: u128| order.segments[usize::try_from(number - 1).unwrap()];
    let ingress = match value(Field::Segment) {
        // No segment has this name.
        0 => Ingress::Segment(String::new()),
        number => Ingress::Segment(segment(number).to_owned()),
    };
    let switch = match value(Field::Switch) {
        0 => "another",
        number => order.switches[usize::try_from(number - 1).unwrap()],
    };
    let kind = Carries::Ip { src, dst, protocol, fragment, l4 };
    let packet = Packet { ingress: Some(ingress), ..Packet::new(kind) };
    (packet.traffic() == Traffic::Ip).then_some((packet, Some(switch)))
}

/// A long list of rules is looked at whole; one that overlaps in every way ends, and says that it was too much.
#[test]
fn work_is_bounded() {
    let mut intent = large_filter(10_000);
    let start = Instant::now();
    let advice = find(&intent, now());
    println!("10,000 rules without replies: {:?}", start.elapsed());
    assert_eq!(advice.items.len(), 300);
    assert!(advice.incomplete.unwrap().contains("enough answers that are lost were found"));

    for policy in intent.filters.values_mut() {
        policy.replies = Replies::Established;
    }
    let start = Instant::now();
    let advice = find(&intent, now());
    println!("10,000 rules: {:?}", start.elapsed());
    assert_eq!(advice, super::Advice::default());

    // Rules that all cross each other, and one that they would have to cover.
    let mut rules = String::new();
    for n in 0..1000_u32 {
        let (side, net) = if n % 2 == 0 { ("from", 10) } else { ("to", 20) };
        let _ = writeln!(
            rules,
            "  - {{action: deny, {side}: [{net}.0.{}.0/24], ports: [{{protocol: UDP, port: {}, endPort: {}}}]}}",
            n % 250,
            n + 1,
            60_000 - n
        );
    }
    let text = format!(
        "apiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {{name: a}}\nspec:\n  rules:\n{rules}  - {{action: \
         deny, from: [10.0.0.0/24], to: [20.0.0.0/8], ports: [{{protocol: UDP, port: 500, endPort: 50000}}]}}\n"
    );
    let intent = parse([("a.yaml", text)]).unwrap().intent;
    let advice = find_within(&intent, now(), 10_000_000);
    let incomplete = advice.incomplete.expect("it is too much");
    assert!(incomplete.contains("they overlap in too many ways"), "{incomplete}");
}
