//! Switches, segments and hosts: ports exist, and every frame enters one segment at most.

use std::collections::BTreeMap;

use super::Resolver;
use crate::evaluate::IMPLIED_SWITCH;
use crate::model::{Host, HostGuard, P4Runtime, Protocol, Segment, SegmentGuard, Switch};
use crate::reader::declared::{PortRef, PortsDecl, in_file_order};
use crate::reader::decode::Problem;
use crate::reader::diagnostic::Code;
use crate::reader::render::quoted;
use crate::reader::source::{Place, Placed};

pub(super) fn switches(resolver: &mut Resolver<'_>) -> BTreeMap<String, Switch> {
    let declared = resolver.declared;
    let mut switches = BTreeMap::new();
    let mut devices: BTreeMap<(&str, u64), (&str, Place)> = BTreeMap::new();
    for (name, entry) in in_file_order(&declared.switches, resolver.sources) {
        let object = format!("Switch/{name}");
        let mut switch = entry.value.switch.clone();
        if !entry.broken {
            let Protocol::P4Runtime(P4Runtime { device_id, .. }) = &entry.value.switch.protocol;
            let device = (entry.value.switch.address.as_str(), *device_id);
            if let Some((other, at)) = devices.insert(device, (name, entry.value.address_at)) {
                let message = format!("switch {} has the same address and device id", quoted(other));
                let problem = Problem::error(Code::Overlap, entry.value.address_at, message);
                let help =
                    "two Switch objects would overwrite each other's entries; correct one, or remove it";
                resolver.report(&object, problem.also(at, "also here").help(help));
            }
        }
        for (port, peer) in &entry.value.crosses {
            let Some(other) = port_number(resolver, &object, name, peer) else { continue };
            cross_connect(resolver, &object, &mut switch, *port, other, peer.at);
        }
        switches.insert(name.clone(), switch);
    }
    switches
}

/// Pairs two ports. Saying it at one of them is enough.
fn cross_connect(
    resolver: &mut Resolver<'_>,
    object: &str,
    switch: &mut Switch,
    port: u16,
    other: u16,
    at: Place,
) {
    if port == other {
        let message = format!("port {port} is cross-connected with itself");
        resolver.report(
            object,
            Problem::error(Code::Conflict, at, message).help("name the other port of the pair"),
        );
        return;
    }
    for (one, two) in [(port, other), (other, port)] {
        let Some(known) = switch.ports.get_mut(&one) else { continue };
        match known.cross_connect {
            Some(third) if third != two => {
                let message = format!("port {one} is cross-connected with port {third} already");
                let help = "a port has one partner";
                resolver.report(object, Problem::error(Code::Conflict, at, message).help(help));
                return;
            }
            _ => known.cross_connect = Some(two),
        }
    }
}

/// The switch that ports belong to, and their numbers. Nothing when something is not there, which is reported.
fn ports(
    resolver: &mut Resolver<'_>,
    object: &str,
    declared: &PortsDecl,
) -> Option<(String, Vec<Placed<u16>>)> {
    let switches = &resolver.declared.switches;
    let switch = match &declared.switch {
        Some(name) => {
            check_switch(resolver, object, &name.value, name.at)?;
            name.value.clone()
        }
        None => match switches.keys().next() {
            None => IMPLIED_SWITCH.to_owned(),
            Some(only) if switches.len() == 1 => only.clone(),
            Some(_) => {
                let problem =
                    Problem::error(Code::MissingField, declared.at, "this does not say which switch");
                resolver.report(object, problem.help("add `switch: <name>`; there are several"));
                return None;
            }
        },
    };
    let numbers = declared.ports.iter().filter_map(|port| {
        let value = port_number(resolver, object, &switch, port)?;
        Some(Placed { value, at: port.at })
    });
    let numbers = numbers.collect();
    Some((switch, numbers))
}

/// Whether a switch of this name exists; without any Switch, the implied one does.
pub(super) fn check_switch(resolver: &mut Resolver<'_>, object: &str, name: &str, at: Place) -> Option<()> {
    let switches = &resolver.declared.switches;
    if switches.contains_key(name) || (switches.is_empty() && name == IMPLIED_SWITCH) {
        return Some(());
    }
    let names = switches.keys().map(String::as_str).chain(switches.is_empty().then_some(IMPLIED_SWITCH));
    resolver.unknown(object, "Switch", name, at, names);
    None
}

/// A port's number. A Switch that lists ports has only these.
fn port_number(
    resolver: &mut Resolver<'_>,
    object: &str,
    switch: &str,
    port: &Placed<PortRef>,
) -> Option<u16> {
    let listed = resolver.declared.switches.get(switch).map(|entry| &entry.value.switch.ports);
    let found = match (&port.value, listed) {
        (PortRef::Number(number), Some(listed)) if listed.is_empty() || listed.contains_key(number) => {
            Some(*number)
        }
        (PortRef::Number(number), None) => Some(*number),
        (PortRef::Number(_), Some(_)) => None,
        (PortRef::Name(name), listed) => listed
            .and_then(|listed| listed.iter().find(|(_, port)| port.name.as_ref() == Some(name)))
            .map(|(number, _)| *number),
    };
    if found.is_none() {
        let broken = resolver.declared.switches.get(switch).is_some_and(|entry| entry.broken);
        if resolver.complete && !broken {
            let port_said = match &port.value {
                PortRef::Number(number) => number.to_string(),
                PortRef::Name(name) => quoted(name),
            };
            let message = format!("switch {} has no port {port_said}", quoted(switch));
            let problem = Problem::error(Code::UnknownReference, port.at, message);
            resolver.report(object, problem.help("list it under the Switch's `ports`, or correct it"));
        }
    }
    found
}

pub(super) fn segments(resolver: &mut Resolver<'_>) -> BTreeMap<String, Segment> {
    let declared = resolver.declared;
    let mut segments = BTreeMap::new();
    // Who owns a port with a VLAN (or without).
    let mut owners: BTreeMap<(String, u16, Option<u16>), (&str, Place)> = BTreeMap::new();
    for (name, entry) in in_file_order(&declared.segments, resolver.sources) {
        let object = format!("Segment/{name}");
        let mut segment = Segment {
            vlan: entry.value.vlan,
            subnets: entry.value.subnets.iter().map(|subnet| subnet.value).collect(),
            ports: BTreeMap::new(),
            anti_spoofing: entry.value.anti_spoofing.as_ref().map(|said| said.value).unwrap_or_default(),
        };
        if let Some(said) = &entry.value.anti_spoofing
            && said.value == SegmentGuard::Subnets
            && segment.subnets.is_empty()
        {
            let problem =
                Problem::error(Code::Conflict, said.at, "`antiSpoofing: subnets` without `subnets`");
            resolver
                .report(&object, problem.help("list the segment's `subnets`, or nothing could enter in it"));
        }
        for group in &entry.value.ports {
            let Some((switch, members)) = ports(resolver, &object, group) else { continue };
            for port in members {
                let owned = (switch.clone(), port.value, segment.vlan);
                if let Some((other, at)) = owners.insert(owned, (name, port.at)) {
                    let what = format!("port {} of switch {}", port.value, quoted(&switch));
                    let tag = match segment.vlan {
                        Some(vlan) => format!("VLAN {vlan}"),
                        None => "no VLAN".to_owned(),
                    };
                    let message = if other == name {
                        format!("{what} is listed twice")
                    } else {
                        format!("{what} with {tag} belongs to segment {} already", quoted(other))
                    };
                    let problem = Problem::error(Code::Overlap, port.at, message).also(at, "first here");
                    resolver.report(
                        &object,
                        problem.help("a frame enters one segment; remove it from one of them"),
                    );
                }
                segment.ports.entry(switch.clone()).or_default().push(port.value);
            }
        }
        for members in segment.ports.values_mut() {
            members.sort_unstable();
            members.dedup();
        }
        segments.insert(name.clone(), segment);
    }
    whole_vlans(resolver);
    segments
}

/// A segment with a VLAN and without ports has the VLAN on every port that no other segment lists. Two such segments
/// would both have them all.
fn whole_vlans(resolver: &mut Resolver<'_>) {
    let mut owners: BTreeMap<u16, (&str, Place)> = BTreeMap::new();
    for (name, entry) in in_file_order(&resolver.declared.segments, resolver.sources) {
        let Some(vlan) = entry.value.vlan.filter(|_| entry.value.ports.is_empty()) else { continue };
        let Some((other, at)) = owners.get(&vlan) else {
            owners.insert(vlan, (name, entry.at));
            continue;
        };
        let message = format!("VLAN {vlan} belongs to segment {} on every port already", quoted(other));
        let problem = Problem::error(Code::Overlap, entry.at, message).also(*at, "first here");
        resolver.report(
            &format!("Segment/{name}"),
            problem.help("give each of them its `ports`, or another `vlan`"),
        );
    }
}

pub(super) fn hosts(
    resolver: &mut Resolver<'_>,
    segments: &BTreeMap<String, Segment>,
) -> BTreeMap<String, Host> {
    let declared = resolver.declared;
    let mut hosts = BTreeMap::new();
    let mut macs = BTreeMap::new();
    for (name, entry) in in_file_order(&declared.hosts, resolver.sources) {
        let object = format!("Host/{name}");
        let said = &entry.value;
        let segment = said.segment.as_ref().and_then(|segment| {
            let found = segments.get_key_value(&segment.value);
            if found.is_none() {
                let names = segments.keys().map(String::as_str);
                resolver.unknown(&object, "Segment", &segment.value, segment.at, names);
            }
            found
        });
        let port = said.port.as_ref().and_then(|declared| {
            let (switch, numbers) = ports(resolver, &object, declared)?;
            Some((switch, numbers.into_iter().next()?))
        });
        if let (Some((segment_name, segment)), Some(vlan)) = (segment, &said.vlan)
            && let Some(other) = segment.vlan.filter(|other| *other != vlan.value)
        {
            let message =
                format!("VLAN {} is not that of its segment {}: {other}", vlan.value, quoted(segment_name));
            let problem = Problem::error(Code::Conflict, vlan.at, message);
            resolver.report(&object, problem.help("leave `vlan` out: the segment's is taken"));
        }
        if let (Some((segment_name, segment)), Some((switch, port))) = (segment, &port)
            && !segment.ports.is_empty()
            && !segment.ports.get(switch).is_some_and(|ports| ports.contains(&port.value))
        {
            let message = format!(
                "port {} of switch {} does not belong to its segment {}",
                port.value,
                quoted(switch),
                quoted(segment_name)
            );
            let problem = Problem::error(Code::Conflict, port.at, message);
            resolver
                .report(&object, problem.help("add the port to the segment's `ports`, or correct the host"));
        }
        if let Some(mac) = &said.mac {
            let vlan = said.vlan.as_ref().map(|vlan| vlan.value);
            let network = segment.map(|(name, _)| name.as_str());
            if let Some((other, at)) = macs.insert((network, vlan, mac.value), (name, mac.at)) {
                let message = format!("host {} of the same segment has this MAC address", quoted(other));
                let problem = Problem::error(Code::Overlap, mac.at, message).also(at, "first here");
                resolver.report(&object, problem.help("correct one of them"));
            }
        }
        if let Some(guard) = &said.anti_spoofing
            && guard.value == HostGuard::Strict
            && said.addresses.is_empty()
        {
            let problem =
                Problem::error(Code::Conflict, guard.at, "`antiSpoofing: strict` without `addresses`");
            let help = "list the host's `addresses`, or nothing could enter by its port; `hosts` lets in those of its \
                        segment's subnets";
            resolver.report(&object, problem.help(help));
        }
        let host = Host {
            addresses: said.addresses.iter().map(|address| address.value).collect(),
            segment: said.segment.as_ref().map(|segment| segment.value.clone()),
            mac: said.mac.as_ref().map(|mac| mac.value),
            vlan: said.vlan.as_ref().map(|vlan| vlan.value),
            port: port.map(|(switch, port)| (switch, port.value)),
            anti_spoofing: said.anti_spoofing.as_ref().map(|guard| guard.value),
        };
        hosts.insert(name.clone(), host);
    }
    hosts
}
