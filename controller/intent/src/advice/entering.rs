//! Segments that a rule lets packets through to from elsewhere, or from there: whatever routes them, or their answers, has
//! no port by which their sources may enter.

use std::net::IpAddr;

use super::addresses::{Side, address, bits};
use super::replies::{LET_IN, Scene, let_through};
use super::space::{Field, Region, Set};
use super::{Item, Kind, Work};
use crate::deciders;
use crate::evaluate::{IMPLIED_SWITCH, Limit};
use crate::model::{FilterAction, Segment};

/// A segment in which not everything may enter, whichever port of a switch is taken.
struct Closed<'i> {
    switch: &'i str,
    number: u128,
    name: &'i str,
    ports: Vec<u16>,
    own: Side,
}

/// Told once for each segment of a switch, of the first rule that there is.
pub(super) fn find(scene: &Scene<'_, '_>, work: &mut Work) -> Vec<Item> {
    let mut closed = closed(scene);
    let mut found = Vec::new();
    for taker in &scene.order.takers {
        let Some(rule) = taker.rule.filter(|rule| rule.action == FilterAction::Allow) else { continue };
        // Rules about all addresses say nothing of others' that come here.
        if closed.is_empty() || rule.from.is_empty() || rule.to.is_empty() {
            continue;
        }
        if !work.next() {
            break;
        }
        closed.retain(|segment| {
            let refused = taker.direct.iter().find_map(|region| segment.refused(scene, region, work));
            let Some(refused) = refused else { return true };
            found.push(segment.item(&deciders::filter_policy(taker.name), &rule.name, refused));
            false
        });
    }
    if !closed.is_empty() {
        let_through(scene, work, |object, rule, ends, work| {
            closed.retain(|segment| {
                let Some(refused) = segment.refused_between(scene, ends, work) else { return true };
                found.push(segment.item(object, rule, refused));
                false
            });
        });
    }
    found
}

fn closed<'i>(scene: &Scene<'_, 'i>) -> Vec<Closed<'i>> {
    let intent = scene.intent;
    let mut switches: Vec<&str> = intent.switches.keys().map(String::as_str).collect();
    if switches.is_empty() {
        switches.push(IMPLIED_SWITCH);
    }
    let mut closed = Vec::new();
    for (name, segment) in &intent.segments {
        for switch in &switches {
            let ports = ports(scene, switch, (name, segment));
            let shut = |port: &u16| {
                let limit = scene.evaluator.limit(switch, Some(*port), Some(name));
                !matches!(limit, Limit::Anything | Limit::Others)
            };
            if !ports.is_empty() && ports.iter().all(shut) {
                let own = scene.order.addresses().of_segment(name);
                closed.push(Closed { switch, number: scene.order.switch(switch), name, ports, own });
            }
        }
    }
    closed
}

/// The ports of a segment on a switch, as far as they are known.
fn ports(scene: &Scene<'_, '_>, switch: &str, (name, segment): (&str, &Segment)) -> Vec<u16> {
    if !segment.ports.is_empty() || segment.vlan.is_none() {
        return segment.ports.get(switch).cloned().unwrap_or_default();
    }
    let declared = scene.intent.switches.get(switch).into_iter().flat_map(|switch| switch.ports.keys());
    let here =
        |port: &u16| scene.evaluator.at_port(switch, *port, segment.vlan).segment.as_deref() == Some(name);
    declared.copied().filter(here).collect()
}

impl Closed<'_> {
    /// An address from elsewhere that may not enter, with which a packet comes here by a rule; or its answer.
    fn refused(&self, scene: &Scene<'_, '_>, region: &Region, work: &mut Work) -> Option<(IpAddr, bool)> {
        if !region.get(Field::Switch).has(self.number) {
            return None;
        }
        let own = &self.own[usize::from(region.v4)];
        let (from, to) = (region.get(Field::Source), region.get(Field::Destination));
        work.step(own.ranges().len() + from.ranges().len() + to.ranges().len());
        let (other, answers) = match (from.meets(own), to.meets(own)) {
            (false, true) => (from, false),
            (true, false) => (to, true),
            _ => return None,
        };
        let source = some_of(other, region.v4)?;
        self.keeps_out(scene, source, work).then_some((source, answers))
    }

    /// The same of a packet between two addresses.
    fn refused_between(
        &self,
        scene: &Scene<'_, '_>,
        (src, dst): (IpAddr, IpAddr),
        work: &mut Work,
    ) -> Option<(IpAddr, bool)> {
        let own = &self.own[usize::from(src.is_ipv4())];
        work.step(1);
        let (other, answers) = match (own.has(bits(src)), own.has(bits(dst))) {
            (false, true) => (src, false),
            (true, false) => (dst, true),
            _ => return None,
        };
        self.keeps_out(scene, other, work).then_some((other, answers))
    }

    fn keeps_out(&self, scene: &Scene<'_, '_>, source: IpAddr, work: &mut Work) -> bool {
        work.step(self.ports.len());
        let refused =
            |port: &u16| scene.evaluator.refused(self.switch, Some(*port), Some(self.name), source).is_some();
        self.ports.iter().all(refused)
    }

    fn item(&self, object: &str, rule: &str, (source, answers): (IpAddr, bool)) -> Item {
        let (way, what) = if answers { ("from", "their answers") } else { ("to", "them") };
        let (segment, switch) = (self.name, self.switch);
        Item {
            object: object.to_owned(),
            rule: Some(rule.to_owned()),
            kind: Kind::NoEntrance { switch: switch.to_owned(), segment: segment.to_owned() },
            message: format!(
                "rule {rule} lets packets through {way} segment {segment} and elsewhere, and no router can bring {what} \
                 there: by no port of switch {switch} that it has may {source} enter, for example"
            ),
            help: LET_IN.to_owned(),
        }
    }
}

/// An address of a set that is nobody's network.
fn some_of(set: &Set, v4: bool) -> Option<IpAddr> {
    let (low, high) = set.ranges().first()?;
    let some = address(v4, low + u128::from(high - low > 2));
    (!some.is_multicast() && !some.is_unspecified()).then_some(some)
}
