//! Pods and nodes: only what policies need, and tolerant about the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::declared::PodDecl;
use super::decode::{Decoder, Problem};
use super::diagnostic::Code;
use super::render::quoted;
use super::source::Place;
use super::tree::{Cursor, Said};
use crate::model::{Labels, Node, Pod, PortProtocol};

/// Protocols of ports, as Kubernetes writes them.
pub(crate) const PROTOCOLS: [(&str, PortProtocol); 3] =
    [("TCP", PortProtocol::Tcp), ("UDP", PortProtocol::Udp), ("SCTP", PortProtocol::Sctp)];

/// A field of a mapping that others write: whatever is not there or of another type is not there.
fn field<'d>(at: Option<Cursor<'d>>, name: &str) -> Option<Cursor<'d>> {
    let Said::Mapping(items) = at?.said() else { return None };
    let found = items.pairs().find(|(key, _)| key.raw() == Some(name)).map(|(_, value)| value);
    found.filter(|value| !matches!(value.said(), Said::Null))
}

fn items(at: Option<Cursor<'_>>) -> impl Iterator<Item = Cursor<'_>> {
    let items = match at.map(Cursor::said) {
        Some(Said::Sequence(items)) => Some(items),
        _ => None,
    };
    items.into_iter().flat_map(super::tree::Items::iter)
}

pub(crate) fn pod(
    decoder: &mut Decoder<'_>,
    spec: Option<Cursor<'_>>,
    status: Option<Cursor<'_>>,
    labels: Labels,
    at: Place,
) -> PodDecl {
    let node = field(spec, "nodeName").and_then(Cursor::raw).filter(|name| !name.is_empty());
    let mut declared = PodDecl {
        pod: None,
        addresses: Vec::new(),
        node: node.map(str::to_owned),
        deleted: false,
        created: None,
    };
    let host_network = field(spec, "hostNetwork").and_then(|at| decoder.boolean(at, "`hostNetwork`"));
    let phase = field(status, "phase").and_then(Cursor::raw);
    if host_network == Some(true) || matches!(phase, Some("Succeeded" | "Failed")) {
        return declared;
    }
    let mut addresses = Vec::new();
    let mut known = BTreeSet::new();
    let listed = items(field(status, "podIPs")).filter_map(|item| field(Some(item), "ip"));
    for at in listed.chain(field(status, "podIP")) {
        if let Some(address) = decoder.address(at, "a pod's address")
            && known.insert(address)
        {
            addresses.push(address);
            declared.addresses.push(at.place());
        }
    }
    let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    if v4 > 1 || addresses.len() - v4 > 1 {
        let help = "Kubernetes gives a pod at most one address of each family";
        decoder.error(Code::Conflict, at, "this pod has two addresses of one family", help);
    }
    if addresses.is_empty() {
        let problem = Problem::warning(Code::Skipped, at, "this pod has no address yet and is left out");
        decoder
            .report(problem.help("read it again once `status.podIPs` is there (`kubectl get pods -o yaml`)"));
        return declared;
    }
    let named_ports = named_ports(decoder, spec);
    declared.pod =
        Some(Pod { labels, addresses, named_ports, node_addresses: host_addresses(decoder, status) });
    declared
}

/// The ports that containers have names for. Containers first, then init containers that go on running: the order in
/// which Kubernetes looks names up; the first of a name and protocol counts.
fn named_ports(decoder: &mut Decoder<'_>, spec: Option<Cursor<'_>>) -> BTreeMap<(String, PortProtocol), u16> {
    let mut named_ports = BTreeMap::new();
    let mut first_places: BTreeMap<String, (usize, u16, Place)> = BTreeMap::new();
    let sidecars = items(field(spec, "initContainers"))
        .filter(|container| field(Some(*container), "restartPolicy").and_then(Cursor::raw) == Some("Always"));
    for (index, container) in items(field(spec, "containers")).chain(sidecars).enumerate() {
        for port in items(field(Some(container), "ports")) {
            let Some(name_at) = field(Some(port), "name") else { continue };
            let Some(number) = field(Some(port), "containerPort") else { continue };
            let name = decoder.plain_name(name_at, "a port's `name`");
            let number = decoder.number::<u16>(number, "`containerPort`", 1..=65535);
            let protocol = match field(Some(port), "protocol") {
                Some(at) => decoder.word(at, "`protocol`", &PROTOCOLS),
                None => Some(PortProtocol::Tcp),
            };
            let (Some(name), Some(number), Some(protocol)) = (name, number, protocol) else { continue };
            if let Some((container, other, at)) = first_places.get(name) {
                let who = if *container == index { "this container" } else { "another container of the pod" };
                let message = format!("the port name {} is that of port {other} of {who} too", quoted(name));
                let help = "policies that name it mean the first one of each protocol, as Kubernetes does; rename one of \
                            them";
                let problem = Problem::warning(Code::DuplicateName, name_at.place(), message);
                decoder.report(problem.also(*at, "first here").help(help));
            } else {
                first_places.insert(name.to_owned(), (index, number, name_at.place()));
            }
            named_ports.entry((name.to_owned(), protocol)).or_insert(number);
        }
    }
    named_ports
}

/// The addresses of the pod's node that its status says, ascending.
fn host_addresses(decoder: &mut Decoder<'_>, status: Option<Cursor<'_>>) -> Vec<IpAddr> {
    let listed = items(field(status, "hostIPs")).filter_map(|item| field(Some(item), "ip"));
    let said = listed.chain(field(status, "hostIP")).filter(|at| !matches!(at.said(), Said::Text("")));
    let mut addresses: Vec<IpAddr> =
        said.filter_map(|at| decoder.address(at, "the address of a pod's node")).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

pub(crate) fn node(decoder: &mut Decoder<'_>, status: Option<Cursor<'_>>, labels: Labels) -> Node {
    let mut addresses = Vec::new();
    let mut known = BTreeSet::new();
    for item in items(field(status, "addresses")) {
        let kind = field(Some(item), "type").and_then(Cursor::raw);
        if !matches!(kind, Some("InternalIP" | "ExternalIP")) {
            continue;
        }
        if let Some(at) = field(Some(item), "address")
            && let Some(address) = decoder.address(at, "a node's address")
            && known.insert(address)
        {
            addresses.push(address);
        }
    }
    Node { labels, addresses }
}
