//! Where a source address may enter that can hardly be meant to, and where one may not that is: what the files say of
//! segments, ports and hosts, held against what `antiSpoofing` makes of it. Who says `antiSpoofing` means what it says.

use std::collections::{BTreeMap, BTreeSet};

use crate::evaluate::{Evaluator, Limit};
use crate::model::{HostGuard, Intent, Segment, SegmentGuard};
use crate::reader::declared::{Entry, HostDecl};
use crate::reader::decode::Problem;
use crate::reader::diagnostic::Code;
use crate::reader::resolve::Resolver;
use crate::reader::source::Place;

/// A port of a switch, and a MAC address there.
type Interface<'i> = (&'i (String, u16), [u8; 6]);

pub(crate) fn find(resolver: &mut Resolver<'_>, intent: &Intent) {
    let paired = || intent.switches.values().flat_map(|switch| switch.ports.values());
    if intent.segments.is_empty()
        && intent.hosts.values().all(|host| host.port.is_none())
        && paired().all(|port| port.cross_connect.is_none())
    {
        return;
    }
    let look = Look { intent, evaluator: &Evaluator::new(intent) };
    let mut found: Vec<(String, Problem)> = Vec::new();
    if goes_by_sources(intent) {
        look.open_segments(resolver, &mut found);
        look.open_ports(resolver, &mut found);
        look.nodes(resolver, &mut found);
    }
    look.families(resolver, &mut found);
    look.routers(resolver, &mut found);
    look.beside_strict(resolver, &mut found);
    for (object, problem) in found {
        resolver.report(&object, problem);
    }
}

/// Whether a policy tells packets apart by their source addresses.
fn goes_by_sources(intent: &Intent) -> bool {
    intent.filters.values().flat_map(|policy| &policy.rules).any(|rule| !rule.from.is_empty())
        || !intent.network_policies.is_empty()
        || !intent.cluster_policies.is_empty()
}

struct Look<'l> {
    intent: &'l Intent,
    evaluator: &'l Evaluator<'l>,
}

/// The ports of a segment.
struct Ports<'l> {
    /// Switch and number.
    known: Vec<(&'l str, u16)>,
    /// And every port of switches that list none.
    others: bool,
}

impl<'l> Look<'l> {
    fn ports(&self, name: &str, segment: &'l Segment) -> Ports<'l> {
        if !segment.ports.is_empty() || segment.vlan.is_none() {
            let listed = segment.ports.iter();
            let known = listed.flat_map(|(switch, ports)| ports.iter().map(|port| (switch.as_str(), *port)));
            return Ports { known: known.collect(), others: false };
        }
        let mut ports = Ports { known: Vec::new(), others: self.intent.switches.is_empty() };
        for (switch, declared) in &self.intent.switches {
            ports.others |= declared.ports.is_empty();
            let here = |port: &&u16| {
                self.evaluator.at_port(switch, **port, segment.vlan).segment.as_deref() == Some(name)
            };
            ports.known.extend(declared.ports.keys().filter(here).map(|port| (switch.as_str(), *port)));
        }
        ports
    }

    fn limits(&self, name: &str, ports: &Ports<'l>, limit: Limit) -> Vec<String> {
        let is =
            |(switch, port): &&(&str, u16)| self.evaluator.limit(switch, Some(*port), Some(name)) == limit;
        ports.known.iter().filter(is).map(|(switch, port)| format!("{switch}:{port}")).collect()
    }

    /// Segments of which some port lets in any source address.
    fn open_segments(&self, resolver: &Resolver<'_>, found: &mut Vec<(String, Problem)>) {
        for (name, entry) in &resolver.declared.segments {
            let Some(segment) = self.intent.segments.get(name) else { continue };
            if entry.value.anti_spoofing.is_some() {
                continue;
            }
            let ports = self.ports(name, segment);
            let open = self.limits(name, &ports, Limit::Others);
            let by = match listed(&open) {
                Some(by) => by,
                None if ports.others => "ports that no Host is on".to_owned(),
                None => continue,
            };
            let help = if segment.subnets.is_empty() {
                "list the segment's `subnets`, and `antiSpoofing: subnets` lets in their addresses only; `hosts` says \
                 that this is meant"
            } else {
                "`antiSpoofing: subnets` lets in its subnets' addresses only (where a router is, `antiSpoofing: none` \
                 at the Switch's port or the Host lets all in); `hosts` says that this is meant"
            };
            let message = format!("a packet with any source address may enter by {by}");
            found.push((format!("Segment/{name}"), spoofing(entry.at, message).help(help)));
        }
    }

    /// Cross-connected ports in no segment: what enters there leaves, and any source address may. Others in no segment
    /// reach each other at most.
    fn open_ports(&self, resolver: &Resolver<'_>, found: &mut Vec<(String, Problem)>) {
        for (name, entry) in &resolver.declared.switches {
            let Some(switch) = self.intent.switches.get(name) else { continue };
            let mut placed: BTreeSet<u16> = BTreeSet::new();
            for segment in self.intent.segments.values() {
                placed.extend(segment.ports.get(name).into_iter().flatten());
            }
            let open = switch.ports.iter().filter(|(number, port)| {
                port.cross_connect.is_some()
                    && !placed.contains(number)
                    && self.evaluator.limit(name, Some(**number), None) == Limit::Others
            });
            let open: Vec<String> = open.map(|(number, _)| number.to_string()).collect();
            let Some(by) = listed(&open) else { continue };
            let message = format!("a packet with any source address may enter by {by}, in no segment");
            let help = "list the ports in a Segment, or say which Hosts are there; `antiSpoofing: none` at the port says \
                        that this is meant";
            found.push((format!("Switch/{name}"), spoofing(entry.at, message).help(help)));
        }
    }

    /// Nodes of Kubernetes: behind them are pods of which some are not known yet, so everything is let in.
    fn nodes(&self, resolver: &Resolver<'_>, found: &mut Vec<(String, Problem)>) {
        for (name, entry, port) in self.silent(resolver) {
            let host = &self.intent.hosts[name];
            if self.evaluator.guard(host) == HostGuard::None && self.is_guarded(port, name) {
                let message = format!(
                    "a packet with any source address may enter by port {}:{}, where this node of Kubernetes is",
                    port.0, port.1
                );
                let help = "`antiSpoofing: hosts` lets in its addresses, its pods' and its segment's (a pod that is \
                            new may have to wait until its address is known); `none` says that the cluster's network \
                            plugin sees to it";
                found.push((format!("Host/{name}"), spoofing(entry.at, message).help(help)));
            }
        }
    }

    /// Hosts on a port that do not say what may enter there, and the port.
    fn silent<'r>(
        &self,
        resolver: &Resolver<'r>,
    ) -> impl Iterator<Item = (&'r String, &'r Entry<HostDecl>, &'l (String, u16))> + use<'r, 'l> {
        let intent = self.intent;
        let declared = resolver.declared;
        let silent = declared.hosts.iter().filter(|(_, entry)| entry.value.anti_spoofing.is_none());
        silent.filter_map(|(name, entry)| Some((name, entry, intent.hosts.get(name)?.port.as_ref()?)))
    }

    /// Whether, but for what this host says, not everything would be let in where its frames enter.
    fn is_guarded(&self, (switch, port): &(String, u16), name: &str) -> bool {
        let segment = self.entered(name);
        let guard = segment.as_ref().and_then(|name| self.intent.segments.get(name));
        !self.evaluator.is_trusted(switch, Some(*port))
            && guard.is_none_or(|segment| segment.anti_spoofing != SegmentGuard::None)
    }

    /// The segment that a host's frames enter in.
    fn entered(&self, host: &str) -> Option<String> {
        let host = self.intent.hosts.get(host)?;
        let (switch, _) = host.port.as_ref()?;
        self.evaluator.place(switch, host)?.1
    }

    /// What is dropped since only the other family's addresses are said.
    fn families(&self, resolver: &Resolver<'_>, found: &mut Vec<(String, Problem)>) {
        let missing = |has: &dyn Fn(bool) -> bool| {
            [true, false].into_iter().find(|v4| self.evaluator.is_known_family(*v4) && !has(*v4))
        };
        for (name, entry) in &resolver.declared.segments {
            let Some(segment) = self.intent.segments.get(name) else { continue };
            if entry.value.anti_spoofing.is_some() || segment.subnets.is_empty() {
                continue;
            }
            let guarded = self.limits(name, &self.ports(name, segment), Limit::Known);
            let has = |v4: bool| segment.subnets.iter().any(|subnet| subnet.addr().is_ipv4() == v4);
            if let (Some(by), Some(v4)) = (listed(&guarded), missing(&has)) {
                let family = family(v4);
                let message =
                    format!("{family} packets that come in by {by} are dropped: it has no {family} subnet");
                let help = format!(
                    "list its {family} subnet; `antiSpoofing: hosts` says that it has none (Hosts' own addresses are let \
                     in)"
                );
                found.push((format!("Segment/{name}"), spoofing(entry.at, message).help(help)));
            }
        }
        for (name, entry, (switch, port)) in self.silent(resolver) {
            let segment = self.entered(name);
            let declared = segment.as_ref().and_then(|name| self.intent.segments.get(name));
            if declared.is_some_and(|segment| !segment.subnets.is_empty())
                || self.evaluator.limit(switch, Some(*port), segment.as_deref()) != Limit::Known
            {
                continue;
            }
            let there = self.evaluator.inhabitants(switch, *port, segment.as_deref());
            let has = |v4: bool| {
                there.iter().flat_map(|(_, host)| &host.addresses).any(|address| address.is_ipv4() == v4)
            };
            if let Some(v4) = missing(&has).filter(|_| there.first().is_some_and(|(first, _)| first == name))
            {
                let family = family(v4);
                let message = format!("its {family} packets are dropped: it has no {family} address");
                let help = "list it in `addresses`; `antiSpoofing: hosts` says that it has none";
                found.push((format!("Host/{name}"), spoofing(entry.at, message).help(help)));
            }
        }
    }

    /// Hosts that look like routers: what they forward is dropped.
    fn routers(&self, resolver: &Resolver<'_>, found: &mut Vec<(String, Problem)>) {
        let mut macs: BTreeMap<Interface<'_>, BTreeSet<Option<String>>> = BTreeMap::new();
        for (name, host) in &self.intent.hosts {
            if let (Some(port), Some(mac)) = (&host.port, host.mac) {
                macs.entry((port, mac)).or_default().insert(self.entered(name));
            }
        }
        for (name, entry, port) in self.silent(resolver) {
            let host = &self.intent.hosts[name];
            if self.evaluator.guard(host) == HostGuard::None || !self.is_guarded(port, name) {
                continue;
            }
            let mut within: BTreeSet<&str> = BTreeSet::new();
            for address in host.addresses.iter().filter(|_| host.addresses.len() > 1) {
                let around = self
                    .intent
                    .segments
                    .iter()
                    .filter(|(_, segment)| segment.subnets.iter().any(|subnet| subnet.contains(address)));
                within.extend(around.map(|(name, _)| name.as_str()));
            }
            let interfaces = host.mac.and_then(|mac| macs.get(&(port, mac))).map_or(0, BTreeSet::len);
            let why = match (within.first(), within.last()) {
                (Some(first), Some(last)) if first != last => {
                    format!("it has addresses in the subnets of {first} and {last}")
                }
                _ if interfaces > 1 => "its MAC address is on this port in several segments".to_owned(),
                _ => continue,
            };
            let message = format!("it looks like a router ({why}), and what it forwards is dropped");
            let help = "`antiSpoofing: none` lets in what it forwards; `hosts` says that it forwards nothing";
            found.push((format!("Host/{name}"), spoofing(entry.at, message).help(help)));
        }
    }

    /// Hosts without addresses on the port of one that says `strict`: nothing of theirs enters.
    fn beside_strict(&self, resolver: &Resolver<'_>, found: &mut Vec<(String, Problem)>) {
        for (name, host) in &self.intent.hosts {
            let Some(entry) = resolver.declared.hosts.get(name) else { continue };
            let Some((switch, port)) = host.port.as_ref().filter(|_| host.addresses.is_empty()) else {
                continue;
            };
            let segment = self.entered(name);
            if self.evaluator.limit(switch, Some(*port), segment.as_deref()) != Limit::Strict {
                continue;
            }
            let there = self.evaluator.inhabitants(switch, *port, segment.as_deref());
            let strict = there.iter().find(|(_, host)| self.evaluator.guard(host) == HostGuard::Strict);
            let strict = strict.map_or("another", |(name, _)| name);
            let message = format!(
                "nothing of it can enter: it has no `addresses`, and Host {strict} on its port says `antiSpoofing: strict`"
            );
            let help = format!("list its `addresses`, or let {strict} say `hosts`");
            found.push((format!("Host/{name}"), spoofing(entry.at, message).help(help)));
        }
    }
}

fn spoofing(at: Place, message: String) -> Problem {
    Problem::warning(Code::Spoofing, at, message)
}

fn family(v4: bool) -> &'static str {
    if v4 { "IPv4" } else { "IPv6" }
}

/// Ports in words; none if there are none.
fn listed(ports: &[String]) -> Option<String> {
    Some(match ports {
        [] => return None,
        [only] => format!("port {only}"),
        [first, second] => format!("ports {first} and {second}"),
        [first, .., last] => format!("{} of its ports ({first}, .., {last})", ports.len()),
    })
}
