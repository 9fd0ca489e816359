//! Segments and forwarding: where frames enter, and where they leave.

use std::collections::{BTreeMap, BTreeSet};

use outplane_intent::model::{Intent, Segment, Switch};
use outplane_p4runtime::entry::{Entry, Match, MulticastGroup};
use sha2::{Digest, Sha256};

use super::terms::whole;
use crate::capacity::MAX_SEGMENTS;
use crate::program::{ActionKind, Field, Program, Table};
use crate::rows::slots::{self, SlotNumbers};
use crate::state::Origin;

/// Multicast group of the frames that enter in no segment. Those of segments are the segments' ids.
pub const NO_SEGMENT_GROUP: u16 = 32_767;

/// A frame that says port and VLAN is of the segment that names both, before the one that is on every port.
const NAMED_PORT: i32 = 20;
const EVERY_PORT: i32 = 10;

/// An id for each segment: the one that it has had, or what the hash of its name says, or the next free one. None: there
/// are too many. With them what the next compilation goes on from.
pub(crate) fn segment_ids<'n>(
    names: impl Iterator<Item = &'n String>,
    before: &SlotNumbers,
) -> Option<(BTreeMap<String, u16>, SlotNumbers)> {
    let names: Vec<&String> = names.collect();
    let digests: Vec<[u8; 32]> = names.iter().map(|name| Sha256::digest(name.as_bytes()).into()).collect();
    let slots = slots::assign::<4>(&digests, u32::try_from(MAX_SEGMENTS).ok()?, before)?;
    let numbers = slots::numbers(&digests, &slots);
    let id = |slot: u32| u16::try_from(slot + 1).ok();
    let ids = names.into_iter().zip(slots).map(|(name, slot)| Some((name.clone(), id(slot)?)));
    Some((ids.collect::<Option<_>>()?, numbers))
}

/// What forwards frames on one switch.
#[derive(Debug, Default)]
pub(crate) struct Forwarding {
    pub(crate) entries: Vec<Entry>,
    pub(crate) groups: Vec<MulticastGroup>,
}

/// The segments and the forwarding of a switch; `None` for a switch that nobody declared.
pub(crate) fn compile(
    intent: &Intent,
    program: &Program,
    name: &str,
    switch: Option<&Switch>,
    segments: &BTreeMap<String, u16>,
) -> Forwarding {
    let mut compiler = Compiler { program, name, found: Forwarding::default() };
    for (segment, id) in
        intent.segments.iter().filter_map(|(name, segment)| Some((segment, *segments.get(name)?)))
    {
        compiler.entrances(segment, id);
    }
    compiler.hosts(intent, segments);
    let paired = compiler.cross_connects(switch);
    compiler.floods(intent, switch, segments, &paired);

    let mut found = compiler.found;
    found.groups.sort_unstable();
    // Two segments may claim the same frames: the first by name has them. Sorting is stable.
    found.entries.sort_by(|left, right| left.key.cmp(&right.key));
    found.entries.dedup_by(|later, first| later.key == first.key);
    found
}

struct Compiler<'c> {
    program: &'c Program,
    name: &'c str,
    found: Forwarding,
}

impl Compiler<'_> {
    fn push(
        &mut self,
        table: Table,
        priority: i32,
        matches: &[(Field, Match)],
        action: (ActionKind, u128),
        why: &str,
    ) {
        let origin = Origin { policy: Origin::COMMON.to_owned(), rule: why.to_owned(), order: 0 };
        self.found.entries.push(Entry {
            key: self.program.key(table, priority, matches.iter().copied()),
            action: self.program.action(action.0, &[action.1]),
            metadata: origin.encode(),
        });
    }

    fn entrances(&mut self, segment: &Segment, id: u16) {
        let table = Table::SegmentOf;
        // Without a tag the switch sees VLAN 0, and a priority tag says VLAN 0.
        let vlan = whole(table, Field::VlanId, segment.vlan.unwrap_or(0).into());
        let action = (ActionKind::SetSegment, id.into());
        for port in ports_here(segment, self.name) {
            let port = whole(table, Field::IngressPort, (*port).into());
            self.push(table, NAMED_PORT, &[port, vlan], action, "segment");
        }
        if is_everywhere(segment) {
            self.push(table, EVERY_PORT, &[vlan], action, "segment");
        }
    }

    fn hosts(&mut self, intent: &Intent, segments: &BTreeMap<String, u16>) {
        for host in intent.hosts.values() {
            let (Some(mac), Some((switch, port))) = (host.mac, &host.port) else { continue };
            if switch != self.name {
                continue;
            }
            let segment = host.segment.as_ref().and_then(|name| segments.get(name)).copied().unwrap_or(0);
            let mac = mac.iter().fold(0u128, |mac, byte| (mac << 8) | u128::from(*byte));
            let matches =
                [(Field::Segment, Match::Exact(segment.into())), (Field::DstMac, Match::Exact(mac))];
            self.push(Table::L2Forward, 0, &matches, (ActionKind::Forward, (*port).into()), "host");
        }
    }

    /// Both ways, whichever port says so. Returns the ports.
    fn cross_connects(&mut self, switch: Option<&Switch>) -> BTreeSet<u16> {
        let mut pairs: BTreeMap<u16, u16> = BTreeMap::new();
        for (port, declared) in switch.into_iter().flat_map(|switch| &switch.ports) {
            if let Some(other) = declared.cross_connect {
                pairs.entry(*port).or_insert(other);
                pairs.entry(other).or_insert(*port);
            }
        }
        for (port, other) in &pairs {
            let matches = [(Field::IngressPort, Match::Exact((*port).into()))];
            let action = (ActionKind::Forward, (*other).into());
            self.push(Table::CrossConnect, 0, &matches, action, "cross-connect");
        }
        pairs.into_keys().collect()
    }

    /// A segment floods to its ports here, or to all that are declared if it is on every port; frames of no segment to the
    /// ports that no segment lists. Cross-connected ports take part only where a segment lists them.
    fn floods(
        &mut self,
        intent: &Intent,
        switch: Option<&Switch>,
        segments: &BTreeMap<String, u16>,
        paired: &BTreeSet<u16>,
    ) {
        let declared = switch.into_iter().flat_map(|switch| switch.ports.keys().copied());
        let free: BTreeSet<u16> = declared.filter(|port| !paired.contains(port)).collect();
        let mut listed: BTreeSet<u16> = BTreeSet::new();
        for (name, segment) in &intent.segments {
            let mut ports: BTreeSet<u16> = ports_here(segment, self.name).iter().copied().collect();
            listed.extend(&ports);
            if is_everywhere(segment) {
                ports.extend(&free);
            }
            if let Some(id) = segments.get(name) {
                self.flood(*id, *id, &ports);
            }
        }
        let rest: BTreeSet<u16> = free.difference(&listed).copied().collect();
        self.flood(0, NO_SEGMENT_GROUP, &rest);
    }

    fn flood(&mut self, segment: u16, group: u16, ports: &BTreeSet<u16>) {
        if ports.is_empty() {
            return;
        }
        let ports = ports.iter().map(|port| u32::from(*port)).collect();
        self.found.groups.push(MulticastGroup { id: group.into(), ports });
        let matches = [(Field::Segment, Match::Exact(segment.into()))];
        self.push(Table::Flood, 0, &matches, (ActionKind::FloodTo, group.into()), "flood");
    }
}

pub(crate) fn ports_here<'s>(segment: &'s Segment, switch: &str) -> &'s [u16] {
    segment.ports.get(switch).map_or(&[], Vec::as_slice)
}

pub(crate) fn is_everywhere(segment: &Segment) -> bool {
    segment.vlan.is_some() && segment.ports.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[String]) -> Option<BTreeMap<String, u16>> {
        segment_ids(names.iter(), &SlotNumbers::new()).map(|(ids, _)| ids)
    }

    #[test]
    fn segment_ids_are_stable_and_different() {
        let names: Vec<String> = (0..2000).map(|number| format!("segment-{number}")).collect();
        let all = ids(&names).unwrap();
        let different: BTreeSet<u16> = all.values().copied().collect();
        assert_eq!(different.len(), names.len());
        assert!(!different.contains(&0) && !different.contains(&NO_SEGMENT_GROUP));
        let reversed: Vec<String> = names.iter().rev().cloned().collect();
        assert_eq!(ids(&reversed).unwrap(), all);
        // Without collisions the others do not matter.
        let few = ids(&names[..3]).unwrap();
        assert!(few.iter().all(|(name, id)| all[name] == *id));
    }

    #[test]
    fn who_comes_and_goes_moves_nobody() {
        let names: Vec<String> = (0..30_000).map(|number| format!("segment-{number}")).collect();
        let (before, numbers) = segment_ids(names[..29_000].iter(), &SlotNumbers::new()).unwrap();
        let (after, _) = segment_ids(names[500..].iter(), &numbers).unwrap();
        assert!(names[500..29_000].iter().all(|name| before[name] == after[name]));
        assert_eq!(after.values().collect::<BTreeSet<_>>().len(), after.len());
    }

    #[test]
    fn every_id_can_be_given() {
        let names: Vec<String> = (0..MAX_SEGMENTS).map(|number| number.to_string()).collect();
        let all: BTreeSet<u16> = ids(&names).unwrap().into_values().collect();
        assert_eq!(all.len(), MAX_SEGMENTS);
        assert_eq!(ids(&[names.as_slice(), &["x".to_owned()]].concat()), None);
    }
}
