//! The commonest pair of NetworkPolicies: one that lets nobody in, and one that lets names be asked for.

use std::net::IpAddr;

use jiff::Timestamp;

use super::{ANYBODY, CLIENT, MOST, first_of};
use crate::advice::{Item, Kind};
use crate::evaluate::{Evaluator, IMPLIED_SWITCH, selects};
use crate::model::{Intent, NetworkPeer, NetworkPolicyRule, NetworkPort, ObjectName, Pod, PortProtocol};
use crate::packet::Packet;

/// Pods of a policy that are tried: those of one policy are alike in most cases.
const PODS: usize = 4;

pub(super) fn find(intent: &Intent, evaluator: &Evaluator<'_>, at: Timestamp) -> Vec<Item> {
    let switch = intent.switches.keys().next().map_or(IMPLIED_SWITCH, String::as_str);
    let judge = |packet: &Packet| evaluator.evaluate(Some(switch), at, packet);
    let policies = intent.network_policies.iter().take(MOST);
    let lost = |name: &ObjectName, pod: &Pod, rule: &NetworkPolicyRule| {
        let (source, destination, port) = request(intent, pod, rule)?;
        if !judge(&Packet::udp(source, CLIENT, destination, port)).allow {
            return None;
        }
        let back = judge(&Packet::udp(destination, port, source, CLIENT));
        let isolated = !back.allow && back.rule.as_deref() == Some("isolation");
        let by = back.policy.filter(|_| isolated)?;
        Some(Item {
            object: format!("NetworkPolicy/{}/{}", name.namespace, name.name),
            rule: None,
            kind: Kind::RepliesLost,
            message: format!(
                "it lets UDP to port {port} out of a pod, and no answer back: for example, what {destination} answers \
                 {source} is denied by {by}, isolation"
            ),
            help: "a switch keeps no state: annotate a policy that isolates the pod for ingress with \
                   `outplane.dev/replies: reverse`, or set `replies: reverse` for all of them with an object of kind \
                   KubernetesDefaults"
                .to_owned(),
        })
    };
    let of_policy = |name: &ObjectName, rules: &[NetworkPolicyRule], pods: &[&Pod]| {
        rules.iter().find_map(|rule| pods.iter().find_map(|pod| lost(name, pod, rule)))
    };
    let of_policies = policies.filter_map(|(name, policy)| {
        let rules =
            policy.egress.as_deref().filter(|rules| rules.iter().any(|rule| udp_port(rule).is_some()))?;
        let first = ObjectName { namespace: name.namespace.clone(), name: String::new() };
        let pods = intent.pods.range(first..).take_while(|(pod, _)| pod.namespace == name.namespace);
        let pods = pods.map(|(_, pod)| pod).filter(|pod| selects(&policy.pods, &pod.labels));
        of_policy(name, rules, &pods.take(PODS).collect::<Vec<_>>())
    });
    of_policies.collect()
}

/// A port that a rule lets UDP out to.
fn udp_port(rule: &NetworkPolicyRule) -> Option<u16> {
    rule.ports.iter().find_map(|port| match port {
        NetworkPort::Range(PortProtocol::Udp, low, high) if low == high => Some(*low),
        _ => None,
    })
}

/// From where to where a rule lets UDP out of a pod, and to which port.
fn request(intent: &Intent, pod: &Pod, rule: &NetworkPolicyRule) -> Option<(IpAddr, IpAddr, u16)> {
    let port = udp_port(rule)?;
    let source = *pod.addresses.first()?;
    let fits = |address: &IpAddr| address.is_ipv4() == source.is_ipv4() && *address != source;
    let anybody = || ANYBODY.into_iter().find(fits);
    let destination = match rule.peers.first() {
        None => anybody(),
        Some(NetworkPeer::IpBlock { cidr, except }) => first_of(cidr, except).find(fits),
        Some(NetworkPeer::Pods { namespaces, pods }) => {
            let in_place = |name: &ObjectName| match namespaces {
                Some(namespaces) => {
                    intent.namespaces.get(&name.namespace).is_some_and(|labels| selects(namespaces, labels))
                }
                // Of the policy's own namespace, which is this pod's: the verdict tells.
                None => true,
            };
            let other = |(name, other): (&ObjectName, &Pod)| {
                let meant = selects(pods, &other.labels) && in_place(name);
                meant.then(|| other.addresses.iter().copied().find(fits)).flatten()
            };
            intent.pods.iter().find_map(other)
        }
    };
    Some((source, destination?, port))
}
