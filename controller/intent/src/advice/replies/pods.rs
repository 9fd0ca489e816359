//! Policies of pods: what their rules let through, and what pods send of which no policy speaks. The commonest pair of
//! NetworkPolicies is one that lets nobody in, and one that lets names be asked for.

use std::net::IpAddr;

use super::{ANYBODY, DNS, LET_IN, MOST_FOUND, ONE_WAY, Scene, by, client_of, name_of, request};
use crate::advice::{Item, Kind, Lost, Work};
use crate::deciders;
use crate::evaluate::{Outcome, Stage, Verdict, is_for_many, selects};
use crate::model::{
    ClusterAction, ClusterPeer, LabelSelector, NetworkPeer, NetworkPort, ObjectName, Pod, PodsAnywhere,
    PortProtocol,
};

/// Pods of a policy that are tried: those of one policy are alike in most cases.
const PODS: usize = 4;
/// Addresses of a rule's peers that are tried.
const PEERS: usize = 6;

/// A rule that lets something through.
struct Rule<'i> {
    name: String,
    /// Out of the pods, or into them.
    egress: bool,
    /// Addresses of its peers; none given means everybody.
    peers: Vec<IpAddr>,
    ports: &'i [NetworkPort],
}

pub(super) fn find(scene: &Scene<'_, '_>, work: &mut Work) -> Vec<Item> {
    let mut found = Vec::new();
    for (name, policy) in &scene.intent.network_policies {
        if !may_go_on(&found, work) {
            continue;
        }
        let object = deciders::network_policy(name);
        let pods = scene.pods_of(&name.namespace, &policy.pods, work);
        let mut rules = Vec::new();
        for (egress, own) in [(false, &policy.ingress), (true, &policy.egress)] {
            for (n, rule) in own.iter().flatten().enumerate().filter(|(_, rule)| !rule.ports.is_empty()) {
                let peers =
                    rule.peers.iter().flat_map(|peer| scene.network_peer(&name.namespace, peer, work));
                let peers =
                    if rule.peers.is_empty() { ANYBODY.to_vec() } else { peers.take(PEERS).collect() };
                rules.push(Rule { name: rule_name(egress, n), egress, peers, ports: &rule.ports });
            }
        }
        let lost = rules.iter().find_map(|rule| scene.of_rule(&object, rule, &pods, work));
        let alone = || policy.ingress.is_some();
        let item = lost.or_else(|| scene.of_isolation(&object, &pods, work).filter(|_| alone()));
        found.extend(item);
        if work.is_over() {
            work.miss();
        }
    }
    for (name, policy) in &scene.intent.cluster_policies {
        if !may_go_on(&found, work) {
            continue;
        }
        let object = deciders::cluster_policy(name);
        let pods = scene.pods_anywhere(&policy.subject, work);
        let mut rules = Vec::new();
        for (egress, own) in [(false, &policy.ingress), (true, &policy.egress)] {
            for (n, rule) in own.iter().enumerate() {
                if rule.action == ClusterAction::Accept && !rule.ports.is_empty() {
                    let peers = rule.peers.iter().flat_map(|peer| scene.cluster_peer(peer, work));
                    let peers = peers.take(PEERS).collect();
                    let name = rule.name.clone().unwrap_or_else(|| rule_name(egress, n));
                    rules.push(Rule { name, egress, peers, ports: &rule.ports });
                }
            }
        }
        found.extend(rules.iter().find_map(|rule| scene.of_rule(&object, rule, &pods, work)));
        if work.is_over() {
            work.miss();
        }
    }
    found
}

/// Packets that rules of pods' policies let through, by object and rule: between some of their pods and some of the peers that
/// they name. Rules about everybody say nothing of others that come from elsewhere.
pub(in crate::advice) fn let_through(
    scene: &Scene<'_, '_>,
    work: &mut Work,
    mut each: impl FnMut(&str, &str, (IpAddr, IpAddr), &mut Work),
) {
    let mut tell = |object: &str, rule: &Rule<'_>, pods: &[&Pod], work: &mut Work| {
        for (own, peer) in pairs(pods, &rule.peers) {
            let ends = if rule.egress { (own, peer) } else { (peer, own) };
            each(object, &rule.name, ends, work);
        }
    };
    for (name, policy) in &scene.intent.network_policies {
        if !work.next() {
            return;
        }
        let object = deciders::network_policy(name);
        let pods = scene.pods_of(&name.namespace, &policy.pods, work);
        for (egress, own) in [(false, &policy.ingress), (true, &policy.egress)] {
            for (n, rule) in own.iter().flatten().enumerate() {
                let peers =
                    rule.peers.iter().flat_map(|peer| scene.network_peer(&name.namespace, peer, work));
                let peers = peers.take(PEERS).collect();
                let rule = Rule { name: rule_name(egress, n), egress, peers, ports: &rule.ports };
                tell(&object, &rule, &pods, work);
            }
        }
    }
    for (name, policy) in &scene.intent.cluster_policies {
        if !work.next() {
            return;
        }
        let object = deciders::cluster_policy(name);
        let pods = scene.pods_anywhere(&policy.subject, work);
        for (egress, own) in [(false, &policy.ingress), (true, &policy.egress)] {
            for (n, rule) in own.iter().enumerate().filter(|(_, rule)| rule.action == ClusterAction::Accept) {
                let peers = rule.peers.iter().flat_map(|peer| scene.cluster_peer(peer, work));
                let peers = peers.take(PEERS).collect();
                let name = rule.name.clone().unwrap_or_else(|| rule_name(egress, n));
                tell(&object, &Rule { name, egress, peers, ports: &rule.ports }, &pods, work);
            }
        }
    }
}

fn may_go_on(found: &[Item], work: &mut Work) -> bool {
    if found.len() >= MOST_FOUND {
        work.spare();
        return false;
    }
    work.next()
}

fn rule_name(egress: bool, n: usize) -> String {
    format!("{}[{n}]", if egress { "egress" } else { "ingress" })
}

impl<'i> Scene<'_, 'i> {
    /// What is to be said of a rule: the first packet that it lets through and whose answer is denied.
    fn of_rule(&self, object: &str, rule: &Rule<'_>, pods: &[&Pod], work: &mut Work) -> Option<Item> {
        for (own, peer) in pairs(pods, &rule.peers) {
            let (src, dst) = if rule.egress { (own, peer) } else { (peer, own) };
            for (protocol, port) in rule.ports.iter().flat_map(|port| self.numbers(port, dst)) {
                let found = self.ask(protocol, src, dst, port, work);
                let Some((lost, verdict)) = found else { continue };
                let way = if rule.egress { "out of" } else { "into" };
                let what = format!("{} to port {port} {way} a pod", name_of(protocol));
                return Some(item(object, Some(&rule.name), &format!("it lets {what}"), lost, &verdict));
            }
            if work.is_over() {
                return None;
            }
        }
        None
    }

    /// What pods send of which no policy speaks, and whose answers a policy keeps out that isolates them for ingress.
    fn of_isolation(&self, object: &str, pods: &[&Pod], work: &mut Work) -> Option<Item> {
        let answers_names = |pod: &&Pod| {
            pod.named_ports.iter().any(|((_, by), port)| (*by, *port) == (PortProtocol::Udp, DNS))
        };
        let servers =
            self.intent.pods.values().filter(answers_names).flat_map(|pod| pod.addresses.iter().copied());
        let mut servers: Vec<IpAddr> = servers.take(PEERS).collect();
        if servers.is_empty() {
            servers.extend(ANYBODY);
        }
        // Who answers names asks others outside, whatever is said of those that ask it.
        let resolvers: Vec<&Pod> = pods.iter().copied().filter(answers_names).collect();
        for (own, peer) in pairs(pods, &servers).into_iter().chain(pairs(&resolvers, &ANYBODY)) {
            let Some((lost, verdict)) = self.ask(PortProtocol::Udp, own, peer, DNS, work) else { continue };
            let isolated = verdict.policy.as_deref() == Some(object)
                && verdict.rule.as_deref() == Some(deciders::ISOLATION);
            let sent = self.evaluator.evaluate(Some(&lost.switch), self.at, &lost.packet);
            let free =
                sent.steps.iter().any(|step| step.stage == Stage::Egress && step.outcome == Outcome::None);
            if isolated && free {
                let what = "no policy says what the pods that it isolates may send: UDP gets out";
                return Some(item(object, None, what, lost, &verdict));
            }
        }
        None
    }

    fn ask(
        &self,
        protocol: PortProtocol,
        src: IpAddr,
        dst: IpAddr,
        port: u16,
        work: &mut Work,
    ) -> Option<(Lost, Verdict)> {
        if is_for_many(dst) || protocol != PortProtocol::Tcp && ONE_WAY.contains(&port) {
            return None;
        }
        let packet = request(protocol, (src, client_of(port)), (dst, port));
        let mut switches = self.switches.iter();
        switches.find_map(|(switch, _)| self.denied(switch, None, &packet, &|_| true, work))
    }

    /// The ports that are meant for a destination: both ends of a range.
    fn numbers(&self, port: &NetworkPort, dst: IpAddr) -> Vec<(PortProtocol, u16)> {
        let named = |name: &str| {
            let pod = self.evaluator.pod(dst);
            let ports = pod.into_iter().flat_map(|pod| &pod.named_ports);
            ports.filter(|((own, _), _)| own == name).map(|((_, by), port)| (*by, *port)).collect::<Vec<_>>()
        };
        match port {
            NetworkPort::All(protocol) => vec![(*protocol, DNS)],
            NetworkPort::Range(protocol, low, high) if low == high => vec![(*protocol, *low)],
            NetworkPort::Range(protocol, low, high) => vec![(*protocol, *low), (*protocol, *high)],
            NetworkPort::Named(wanted, name) => {
                named(name).into_iter().filter(|(protocol, _)| protocol == wanted).collect()
            }
            NetworkPort::NamedAnyProtocol(name) => named(name),
        }
    }

    /// Some pods of a namespace that a selector selects.
    fn pods_of(&self, namespace: &str, selector: &LabelSelector, work: &mut Work) -> Vec<&'i Pod> {
        let first = ObjectName { namespace: namespace.to_owned(), name: String::new() };
        let pods = self.intent.pods.range(first..).take_while(|(pod, _)| pod.namespace == namespace);
        let pods = pods.inspect(|_| work.step(8)).map(|(_, pod)| pod);
        pods.filter(|pod| selects(selector, &pod.labels)).take(PODS).collect()
    }

    fn pods_anywhere(&self, meant: &PodsAnywhere, work: &mut Work) -> Vec<&'i Pod> {
        let namespaces =
            self.intent.namespaces.iter().filter(|(_, labels)| selects(&meant.namespaces, labels));
        namespaces.flat_map(|(name, _)| self.pods_of(name, &meant.pods, work)).take(PODS).collect()
    }

    /// Some addresses of a peer.
    fn network_peer(&self, own: &str, peer: &NetworkPeer, work: &mut Work) -> Vec<IpAddr> {
        let pods = match peer {
            NetworkPeer::IpBlock { cidr, except } => return first_of(cidr, except).collect(),
            NetworkPeer::Pods { namespaces: None, pods } => self.pods_of(own, pods, work),
            NetworkPeer::Pods { namespaces: Some(namespaces), pods } => {
                let meant = PodsAnywhere { namespaces: namespaces.clone(), pods: pods.clone() };
                self.pods_anywhere(&meant, work)
            }
        };
        pods.iter().flat_map(|pod| pod.addresses.iter().copied()).collect()
    }

    fn cluster_peer(&self, peer: &ClusterPeer, work: &mut Work) -> Vec<IpAddr> {
        match peer {
            ClusterPeer::Pods(meant) => {
                let pods = self.pods_anywhere(meant, work);
                pods.iter().flat_map(|pod| pod.addresses.iter().copied()).collect()
            }
            ClusterPeer::Nodes(selector) => {
                let nodes = self.intent.nodes.values().filter(|node| selects(selector, &node.labels));
                nodes.flat_map(|node| node.addresses.iter().copied()).take(2).collect()
            }
            ClusterPeer::Networks(cidrs) => cidrs.iter().flat_map(|cidr| first_of(cidr, &[])).collect(),
        }
    }
}

/// The first two addresses of a CIDR that are no exceptions, if they are among its first ones.
fn first_of<'n>(cidr: &'n ipnet::IpNet, except: &'n [ipnet::IpNet]) -> impl Iterator<Item = IpAddr> + 'n {
    cidr.hosts().take(64).filter(|address| !except.iter().any(|net| net.contains(address))).take(2)
}

/// Every address of some pods with every other of its family.
fn pairs(pods: &[&Pod], peers: &[IpAddr]) -> Vec<(IpAddr, IpAddr)> {
    let own = pods.iter().flat_map(|pod| pod.addresses.iter().copied());
    let fits = |own: IpAddr| {
        let others =
            peers.iter().copied().filter(move |peer| peer.is_ipv4() == own.is_ipv4() && *peer != own);
        others.map(move |peer| (own, peer))
    };
    own.flat_map(fits).collect()
}

fn item(object: &str, rule: Option<&str>, what: &str, lost: Lost, verdict: &Verdict) -> Item {
    let (from, to) = lost
        .answer
        .addresses()
        .map_or_else(Default::default, |(from, to)| (from.to_string(), to.to_string()));
    let by = by(verdict);
    let by_pods = verdict.policy.as_ref().is_some_and(|policy| !deciders::is_filter_policy(policy));
    let help = match (by_pods, rule) {
        _ if verdict.spoofed().is_some() => LET_IN,
        (true, None) => {
            "a switch keeps no state, and only what a rule lets out has answers: say what they may send (`policyTypes: \
             [Egress]` and `egress` rules; `egress: [{}]` is everything), and annotate a policy that isolates them with \
             `outplane.dev/replies: reverse`"
        }
        (true, Some(_)) => {
            "a switch keeps no state: annotate a policy that isolates the pod in the direction of the answer with \
             `outplane.dev/replies: reverse`, or set `replies: reverse` for all of them with an object of kind \
             KubernetesDefaults"
        }
        (false, _) => "allow the answers in a FilterPolicy that is asked before that one",
    };
    Item {
        object: object.to_owned(),
        rule: rule.map(str::to_owned),
        kind: Kind::RepliesLost(Box::new(lost)),
        message: format!(
            "{what}, and no answer back: for example, what {from} answers {to} is denied by {by}"
        ),
        help: help.to_owned(),
    }
}
