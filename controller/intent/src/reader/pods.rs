//! Pods and nodes: only what policies need, and tolerant about the rest.

use std::collections::{BTreeMap, BTreeSet};

use super::declared::PodDecl;
use super::decode::{Decoder, Problem};
use super::diagnostic::Code;
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
    let mut declared = PodDecl { pod: None, addresses: Vec::new() };
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
    let mut named_ports = BTreeMap::new();
    // Containers first, then init containers that go on running: the order in which Kubernetes looks names up.
    let sidecars = items(field(spec, "initContainers"))
        .filter(|container| field(Some(*container), "restartPolicy").and_then(Cursor::raw) == Some("Always"));
    for container in items(field(spec, "containers")).chain(sidecars) {
        for port in items(field(Some(container), "ports")) {
            let Some(name) = field(Some(port), "name").and_then(Cursor::raw) else { continue };
            let Some(number) = field(Some(port), "containerPort") else { continue };
            let number = decoder.number::<u16>(number, "`containerPort`", 1..=65535);
            let protocol = match field(Some(port), "protocol") {
                Some(at) => decoder.choice(at, "`protocol`", &PROTOCOLS),
                None => Some(PortProtocol::Tcp),
            };
            if let (Some(number), Some(protocol)) = (number, protocol) {
                named_ports.entry((name.to_owned(), protocol)).or_insert(number);
            }
        }
    }
    declared.pod = Some(Pod { labels, addresses, named_ports });
    declared
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
