//! What the intent means for one packet: docs/policy-semantics.md in Rust, and nothing else.
//!
//! This is the oracle. `trace --intent` answers with it and the property tests hold the compiled entries, the soft
//! switch and real switches against it, so it shares no code with the compiler and prefers to be plainly right over
//! being fast: it walks policies and rules in their order and asks each whether it matches.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::OnceLock;

use jiff::Timestamp;

use crate::model::{FilterPolicy, FilterTier, Host, Intent, Node, ObjectName, Pod, Segment};
use crate::packet::{Packet, Traffic};

mod decider;
mod entrance;
mod filter;
mod leaving;
mod matching;
mod related;
mod side;
mod spoofing;
#[cfg(test)]
mod tests;
mod unread;
mod verdict;

use decider::Decider;
use side::{Direction, PodPolicies, Side};

pub use entrance::Entrance;
pub(crate) use entrance::can_enter;
pub(crate) use leaving::is_for_many;
pub use leaving::{Addressee, Leaving, LeavingBy};
pub(crate) use matching::selects;
pub(crate) use related::{answers, provokes};
pub(crate) use spoofing::Limit;
pub use verdict::{Outcome, Stage, Step, Verdict};

/// Name of the one switch of an intent that declares none.
pub const IMPLIED_SWITCH: &str = "default";

/// Judges one packet. For more than one, keep an [`Evaluator`].
pub fn evaluate(intent: &Intent, switch: Option<&str>, at: Timestamp, packet: &Packet) -> Verdict {
    Evaluator::new(intent).evaluate(switch, at, packet)
}

/// An intent, indexed to judge packets. Judging changes nothing but a memo, so threads may share one.
#[derive(Debug)]
pub struct Evaluator<'a> {
    intent: &'a Intent,
    /// Which pod has an address. The reader refuses addresses that two pods have; were there any, the first pod has it.
    pods: BTreeMap<IpAddr, PodEntry<'a>>,
    nodes: BTreeMap<IpAddr, Vec<&'a Node>>,
    /// The host that has an address, and its name.
    hosts: BTreeMap<IpAddr, (&'a str, &'a Host)>,
    segment_hosts: BTreeMap<&'a str, BTreeSet<IpAddr>>,
    /// Segments by the tag of their frames, in the order of their names.
    by_vlan: BTreeMap<Option<u16>, Vec<(&'a str, &'a Segment)>>,
    /// See [`Self::inhabitants`].
    inhabited: OnceLock<spoofing::Inhabited<'a>>,
    /// Addresses of nodes that pods say.
    pod_nodes: OnceLock<BTreeSet<IpAddr>>,
    /// See [`Self::is_known_family`].
    families: OnceLock<[bool; 2]>,
    /// Each tier's policies in the order in which they are asked.
    filters: BTreeMap<FilterTier, Vec<(&'a str, &'a FilterPolicy)>>,
    /// See [`Self::representatives`].
    representatives: OnceLock<Vec<IpAddr>>,
    /// See [`Self::denial_by_pods`].
    denial_by_pods: OnceLock<Option<(Decider, bool)>>,
}

#[derive(Debug)]
struct PodEntry<'a> {
    name: &'a ObjectName,
    pod: &'a Pod,
    policies: OnceLock<PodPolicies<'a>>,
    /// See [`Evaluator::may_have_sent`], of IPv6 and IPv4.
    may_have_sent: [OnceLock<bool>; 2],
}

impl<'a> Evaluator<'a> {
    /// Indexes an intent.
    pub fn new(intent: &'a Intent) -> Self {
        let mut pods = BTreeMap::new();
        for (name, pod) in &intent.pods {
            for address in &pod.addresses {
                pods.entry(*address).or_insert_with(|| PodEntry {
                    name,
                    pod,
                    policies: OnceLock::new(),
                    may_have_sent: Default::default(),
                });
            }
        }
        let mut nodes = BTreeMap::<_, Vec<_>>::new();
        for node in intent.nodes.values() {
            for address in &node.addresses {
                nodes.entry(*address).or_default().push(node);
            }
        }
        let mut hosts = BTreeMap::new();
        let mut segment_hosts = BTreeMap::<_, BTreeSet<_>>::new();
        for (name, host) in &intent.hosts {
            for address in &host.addresses {
                hosts.entry(*address).or_insert((name.as_str(), host));
                if let Some(segment) = &host.segment {
                    segment_hosts.entry(segment.as_str()).or_default().insert(*address);
                }
            }
        }
        let mut by_vlan = BTreeMap::<_, Vec<_>>::new();
        for (name, segment) in &intent.segments {
            by_vlan.entry(segment.vlan).or_default().push((name.as_str(), segment));
        }
        let mut filters = BTreeMap::<_, Vec<_>>::new();
        for (name, policy) in &intent.filters {
            filters.entry(policy.tier).or_default().push((name.as_str(), policy));
        }
        for policies in filters.values_mut() {
            policies.sort_by_key(|(name, policy)| (policy.priority, *name));
        }
        Self {
            intent,
            pods,
            nodes,
            hosts,
            segment_hosts,
            by_vlan,
            filters,
            inhabited: OnceLock::new(),
            pod_nodes: OnceLock::new(),
            families: OnceLock::new(),
            representatives: OnceLock::new(),
            denial_by_pods: OnceLock::new(),
        }
    }

    /// The pod that has an address.
    pub(crate) fn pod(&self, address: IpAddr) -> Option<&'a Pod> {
        self.pods.get(&address).map(|entry| entry.pod)
    }

    /// Judges one packet on one switch at one moment.
    ///
    /// Without a switch it is the [`IMPLIED_SWITCH`]. A switch that the intent does not declare is one that no policy
    /// or segment names. `at` decides which rules have expired.
    pub fn evaluate(&self, switch: Option<&str>, at: Timestamp, packet: &Packet) -> Verdict {
        let switch = switch.unwrap_or(IMPLIED_SWITCH);
        if packet.is_overtagged() {
            return Verdict { allow: false, steps: vec![Step::overtagged()], ..Verdict::allow(None) };
        }
        let entrance = self.entrance(Some(switch), packet);
        let mut steps = vec![Step::entrance(&entrance)];
        if let Some(reason) = self.spoofing(switch, &entrance, packet) {
            steps.push(Step::spoofed(reason));
            return Verdict { allow: false, segment: entrance.segment, steps, ..Verdict::allow(None) };
        }
        let verdict = self.decide(switch, entrance.segment.as_deref(), at, packet, &mut steps);
        Verdict { segment: entrance.segment, steps, ..verdict }
    }

    fn decide(
        &self,
        switch: &str,
        segment: Option<&str>,
        at: Timestamp,
        packet: &Packet,
        steps: &mut Vec<Step>,
    ) -> Verdict {
        let scene = filter::Scene { switch, segment, at };
        if packet.traffic() == Traffic::Unread {
            let verdict = self.unread(scene, packet);
            steps.push(Step::unread(&verdict));
            return verdict;
        }
        let admin = self.filter(FilterTier::Admin, scene, packet);
        steps.push(Step::filter(FilterTier::Admin, admin.as_ref()));
        if let Some(verdict) = admin.as_ref().and_then(Verdict::of_filter) {
            return verdict;
        }

        let (egress, ingress) = self.sides(packet, steps);
        for side in [&egress, &ingress] {
            if let Side::Deny { by, log, .. } = side {
                return Verdict { log: *log, ..Verdict::deny(by) };
            }
        }
        if let (Side::Allow { .. }, Side::Allow { by }) = (&egress, &ingress) {
            return Verdict::allow(Some(by));
        }

        let baseline = self.filter(FilterTier::Baseline, scene, packet);
        steps.push(Step::filter(FilterTier::Baseline, baseline.as_ref()));
        if let Some(verdict) = baseline.as_ref().and_then(Verdict::of_filter) {
            return verdict;
        }
        // One side at most allows, else the baseline would not have been asked.
        Verdict::allow(ingress.allowed_by().or(egress.allowed_by()))
    }

    /// Egress of the source's pod and ingress of the destination's. Where egress denies, ingress is not asked.
    fn sides(&self, packet: &Packet, steps: &mut Vec<Step>) -> (Side, Side) {
        let addresses = packet.addresses().filter(|_| packet.traffic() == Traffic::Ip);
        let Some((src, dst)) = addresses.filter(|(src, dst)| src != dst) else {
            return (Side::Undecided, Side::Undecided);
        };
        let egress = self.side_of(src, Direction::Egress, packet, steps);
        if matches!(egress, Side::Deny { .. }) {
            return (egress, Side::Undecided);
        }
        let ingress = self.side_of(dst, Direction::Ingress, packet, steps);
        (egress, ingress)
    }

    fn side_of(&self, address: IpAddr, direction: Direction, packet: &Packet, steps: &mut Vec<Step>) -> Side {
        let Some(pod) = self.pods.get(&address) else { return Side::Undecided };
        let side = self.side(pod, direction, packet);
        steps.push(Step::side(direction, pod.name, &side));
        let reply = self.reply(pod, direction, packet, &side);
        if let Some(reply) = &reply {
            steps.push(Step::reply(direction, pod.name, reply));
        }
        let related = self.related(pod, direction, packet, &side);
        if let Some(related) = &related {
            steps.push(Step::related(direction, pod.name, related));
        }
        match reply.or(related) {
            Some(overruled @ Side::Allow { .. }) => overruled,
            _ => side,
        }
    }
}
