//! Rate limits that count a packet twice: what a router takes from one segment to another passes the switch in both, and
//! a rule that looks in both takes a token each time.

use super::addresses::Side;
use super::replies::Scene;
use super::space::{Field, Region};
use super::{Item, Kind, Work};
use crate::deciders;
use crate::evaluate::IMPLIED_SWITCH;
use crate::model::{FilterPolicy, Segment};

/// A segment in which a policy looks at packets.
struct Looked<'i> {
    name: &'i str,
    segment: &'i Segment,
    own: Side,
}

pub(super) fn find(scene: &Scene<'_, '_>, work: &mut Work) -> Vec<Item> {
    let mut found = Vec::new();
    for taker in &scene.order.takers {
        let Some(rule) = taker.rule.filter(|rule| rule.rate_limit.is_some()) else { continue };
        if !work.next() {
            break;
        }
        let looked = looked(scene, taker.policy);
        work.step(looked.len());
        let pair = taker.direct.iter().find_map(|region| crossed(scene, &looked, region, work));
        let Some([from, to]) = pair else { continue };
        found.push(Item {
            object: deciders::filter_policy(taker.name),
            rule: Some(rule.name.clone()),
            kind: Kind::CountedTwice { segments: [from.to_owned(), to.to_owned()] },
            message: format!(
                "the rate limit of rule {} counts a packet from segment {from} to segment {to} twice: a router brings \
                 it back into the switch, and the policy looks at it in both",
                rule.name
            ),
            help: format!(
                "put the limit into a policy of its own with `appliesTo: {{segments: [{from}]}}`, and let a rule without \
                 one allow the packet in the other segment"
            ),
        });
    }
    found
}

/// The segments in which frames enter and a policy looks at them.
fn looked<'i>(scene: &Scene<'_, 'i>, policy: &FilterPolicy) -> Vec<Looked<'i>> {
    let wanted = |name: &str| policy.segments.is_empty() || policy.segments.iter().any(|one| one == name);
    let segments = scene.intent.segments.iter();
    segments
        .filter(|(name, segment)| wanted(name) && (segment.vlan.is_some() || !segment.ports.is_empty()))
        .map(|(name, segment)| Looked { name, segment, own: scene.order.addresses().of_segment(name) })
        .collect()
}

/// Two segments of a switch between which a packet of a region goes.
fn crossed<'i>(
    scene: &Scene<'_, '_>,
    looked: &[Looked<'i>],
    region: &Region,
    work: &mut Work,
) -> Option<[&'i str; 2]> {
    let family = usize::from(region.v4);
    let of = |field: Field, work: &mut Work| -> Vec<usize> {
        let side = region.get(field);
        let meets = |place: &usize| {
            work.step(side.ranges().len() + looked[*place].own[family].ranges().len());
            side.meets(&looked[*place].own[family])
        };
        (0..looked.len()).filter(meets).collect()
    };
    let (from, to) = (of(Field::Source, work), of(Field::Destination, work));
    let pairs = from.iter().flat_map(|one| to.iter().map(move |other| (&looked[*one], &looked[*other])));
    let mut pairs = pairs.inspect(|_| work.step(1)).take(PAIRS);
    let (one, other) = pairs.find(|(one, other)| {
        let number = |switch: &str| scene.order.switch(switch);
        one.name != other.name
            && shared(scene, one.segment, other.segment)
                .any(|switch| region.get(Field::Switch).has(number(switch)))
    })?;
    Some([one.name, other.name])
}

/// Pairs of segments that are looked at for one part of a rule.
const PAIRS: usize = 4096;

/// The switches that both segments are on.
fn shared<'s>(
    scene: &'s Scene<'_, '_>,
    one: &'s Segment,
    other: &'s Segment,
) -> impl Iterator<Item = &'s str> {
    let names = scene.intent.switches.keys().map(String::as_str);
    let implied = scene.intent.switches.is_empty().then_some(IMPLIED_SWITCH);
    let is_on =
        |segment: &Segment, switch: &str| segment.ports.is_empty() || segment.ports.contains_key(switch);
    names.chain(implied).filter(move |switch| is_on(one, switch) && is_on(other, switch))
}
