//! Switch, Segment, Host and `AddressGroup`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::declared::{GroupDecl, HostDecl, PortRef, PortsDecl, SegmentDecl, SwitchDecl};
use super::decode::{Decoder, Fields, Problem};
use super::diagnostic::Code;
use super::render::quoted;
use super::source::{Place, Placed};
use super::tree::{Cursor, Said};
use super::values::HostBits;
use crate::model::{HostGuard, P4Runtime, Port, Protocol, SegmentGuard, Switch, Tls};

/// Highest switch port: 510 is the controller's, 511 means none (p4/outplane.p4).
const LAST_PORT: i64 = 509;
const LAST_VLAN: i64 = 4094;

/// The only P4 program so far.
const PROGRAM: &str = "outplane";

pub(crate) fn switch(decoder: &mut Decoder<'_>, spec: Option<Cursor<'_>>, at: Place) -> SwitchDecl {
    let switch =
        Switch { address: String::new(), tls: None, protocol: Protocol::default(), ports: BTreeMap::new() };
    let mut declared =
        SwitchDecl { switch, address_at: at, port_places: BTreeMap::new(), crosses: Vec::new() };
    let Some(mut fields) = decoder.spec(spec, at) else { return declared };
    if let Some(at) = fields.require(decoder, "address", "192.0.2.1:9559") {
        declared.address_at = at.place();
        declared.switch.address = server_address(decoder, at).unwrap_or_default();
    }
    declared.switch.protocol = protocol(decoder, &mut fields);
    if let Some(at) = fields.get("tls") {
        declared.switch.tls = tls(decoder, at);
    }
    if let Some(ports) = fields.get("ports")
        && let Some(ports) = decoder.list(ports, "`ports`")
    {
        for at in ports.iter() {
            switch_port(decoder, at, &mut declared);
        }
    }
    fields.finish(decoder);
    declared
}

/// `protocol`, and the fields that belong to it.
fn protocol(decoder: &mut Decoder<'_>, fields: &mut Fields<'_>) -> Protocol {
    if let Some(at) = fields.get("protocol")
        && decoder.choice(at, "`protocol`", &[("p4runtime", true), ("openflow", false)]) == Some(false)
    {
        let message = "no driver for `protocol: openflow` is there yet";
        let help = "this version drives switches by P4Runtime alone: `protocol: p4runtime`, or none";
        decoder.error(Code::Unsupported, at.place(), message, help);
    }
    let mut found = P4Runtime::default();
    if let Some(at) = fields.get("deviceId") {
        found.device_id = decoder.number(at, "`deviceId`", 0..=i64::MAX).unwrap_or(found.device_id);
    }
    if let Some(at) = fields.get("role") {
        found.role = decoder.text(at, "`role`").map(str::to_owned);
    }
    if let Some(at) = fields.get("program") {
        decoder.choice(at, "`program`", &[(PROGRAM, ())]);
    }
    Protocol::P4Runtime(found)
}

/// `host:port`; IPv6 addresses in brackets.
fn server_address(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<String> {
    let text = decoder.text(at, "`address`")?;
    let help = if text.contains("://") {
        "leave out the scheme; `tls` says whether TLS is used"
    } else {
        "9559 is P4Runtime's port; IPv6 addresses stand in brackets: [2001:db8::1]:9559"
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let host_is_good = |host: &str| match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(plain),
    };
    match text.rsplit_once(':') {
        Some((host, port)) if host_is_good(host) && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Some(text.to_owned())
        }
        _ => {
            let message = format!("`address` must be host:port, not {}", quoted(text));
            decoder.error(Code::InvalidValue, at.place(), message, help);
            None
        }
    }
}

fn tls(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<Tls> {
    let mut fields = decoder.fields(at, "`tls`")?;
    let file = decoder.sources.file_of(at.place());
    let folder = file.and_then(|file| Path::new(file.name()).parent()).unwrap_or(Path::new("")).to_owned();
    let path = |decoder: &mut Decoder<'_>, at, what| decoder.text(at, what).map(|path| folder.join(path));
    let ca = fields.require(decoder, "ca", "ca.pem").and_then(|at| path(decoder, at, "`ca`"));
    let cert_at = fields.get("cert");
    let key_at = fields.get("key");
    let cert: Option<PathBuf> = cert_at.and_then(|at| path(decoder, at, "`cert`"));
    let key: Option<PathBuf> = key_at.and_then(|at| path(decoder, at, "`key`"));
    if cert_at.is_some() != key_at.is_some() {
        let (there, missing) = if cert_at.is_some() { ("cert", "key") } else { ("key", "cert") };
        let place = fields.key(there).unwrap_or_else(|| fields.place());
        let message = format!("`{there}` without `{missing}`");
        decoder.error(Code::MissingField, place, message, "mTLS needs our certificate and its private key");
    }
    let server_name = fields.get("serverName").and_then(|at| decoder.text(at, "`serverName`"));
    let server_name = server_name.map(str::to_owned);
    fields.finish(decoder);
    Some(Tls { ca: ca?, cert, key, server_name })
}

fn switch_port(decoder: &mut Decoder<'_>, at: Cursor<'_>, declared: &mut SwitchDecl) {
    // A number alone is a port without anything to say about it.
    let (id, at, port) = if let Said::Integer(_) = at.said() {
        (decoder.number(at, "a port", 1..=LAST_PORT), at.place(), Port::default())
    } else {
        let Some(mut fields) = decoder.fields(at, "a port") else { return };
        let id_at = fields.require(decoder, "id", "1");
        let id = id_at.and_then(|at| decoder.number(at, "`id`", 1..=LAST_PORT));
        let place = id_at.map_or_else(|| fields.place(), Cursor::place);
        let name_at = fields.get("name");
        let name = name_at.and_then(|at| port_name(decoder, at)).map(str::to_owned);
        if let (Some(name), Some(name_at)) = (&name, name_at) {
            let twice = declared.switch.ports.iter().find(|(_, port)| port.name.as_ref() == Some(name));
            if let Some((id, _)) = twice {
                let message = format!("port {id} has the name {} already", quoted(name));
                decoder.error(Code::DuplicateName, name_at.place(), message, "rename one of them");
            }
        }
        if let (Some(cross), Some(id)) = (fields.get("crossConnect"), id)
            && let Some(cross) = port_ref(decoder, cross, "`crossConnect`")
        {
            declared.crosses.push((id, cross));
        }
        let trusted = fields.get("antiSpoofing").and_then(|at| {
            decoder.choice(at, "`antiSpoofing` of a port", &[("none", true), ("hosts", false)])
        });
        fields.finish(decoder);
        (id, place, Port { name, cross_connect: None, trusted: trusted.unwrap_or(false) })
    };
    let Some(id) = id else { return };
    if let Some(first) = declared.port_places.get(&id) {
        let problem = Problem::error(Code::DuplicateName, at, format!("port {id} is there twice"));
        decoder.report(problem.also(*first, "first here").help("remove one of them"));
        return;
    }
    declared.port_places.insert(id, at);
    declared.switch.ports.insert(id, port);
}

/// Names of ports must not look like numbers.
fn port_name<'d>(decoder: &mut Decoder<'_>, at: Cursor<'d>) -> Option<&'d str> {
    let name = decoder.plain_name(at, "`name`")?;
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("{} is no name for a port", quoted(name));
        decoder.error(
            Code::InvalidValue,
            at.place(),
            message,
            "a name of digits alone would be taken for a number",
        );
        return None;
    }
    Some(name)
}

/// A port by number or name.
fn port_ref(decoder: &mut Decoder<'_>, at: Cursor<'_>, what: &str) -> Option<Placed<PortRef>> {
    let value = match at.said() {
        Said::Text(_) => PortRef::Name(decoder.text(at, what)?.to_owned()),
        Said::Integer(_) => PortRef::Number(decoder.number(at, what, 1..=LAST_PORT)?),
        _ => {
            decoder.wrong_type(at, what, "a port's number or name");
            return None;
        }
    };
    Some(Placed { value, at: at.place() })
}

fn vlan(decoder: &mut Decoder<'_>, at: Option<Cursor<'_>>) -> Option<Placed<u16>> {
    let at = at?;
    Some(Placed { value: decoder.number(at, "`vlan`", 1..=LAST_VLAN)?, at: at.place() })
}

pub(crate) fn segment(decoder: &mut Decoder<'_>, spec: Option<Cursor<'_>>) -> SegmentDecl {
    let mut declared = SegmentDecl::default();
    let Some(spec) = spec else { return declared };
    let Some(mut fields) = decoder.fields(spec, "`spec`") else { return declared };
    declared.vlan = vlan(decoder, fields.get("vlan")).map(|vlan| vlan.value);
    if let Some(subnets) = fields.get("subnets")
        && let Some(subnets) = decoder.list(subnets, "`subnets`")
    {
        for at in subnets.iter() {
            if let Some(value) = decoder.cidr(at, "a subnet", HostBits::Refuse, true) {
                declared.subnets.push(Placed { value, at: at.place() });
            }
        }
    }
    if let Some(ports) = fields.get("ports")
        && let Some(ports) = decoder.list(ports, "`ports`")
    {
        for at in ports.iter() {
            let Some(mut fields) = decoder.fields(at, "an item of `ports`") else { continue };
            let switch = fields.get("switch").and_then(|at| decoder.placed_text(at, "`switch`"));
            let mut members = Vec::new();
            if let Some(ports) = fields.require(decoder, "ports", "[1, 2]")
                && let Some(ports) = decoder.list(ports, "`ports`")
            {
                if ports.len() == 0 {
                    let help = "list its ports, or remove the item";
                    decoder.error(Code::InvalidValue, at.place(), "no ports are listed here", help);
                }
                members.extend(ports.iter().filter_map(|at| port_ref(decoder, at, "a port")));
            }
            let at = fields.place();
            fields.finish(decoder);
            declared.ports.push(PortsDecl { switch, ports: members, at });
        }
    }
    declared.anti_spoofing = fields.get("antiSpoofing").and_then(|at| {
        let choices = [
            ("none", SegmentGuard::None),
            ("hosts", SegmentGuard::Hosts),
            ("subnets", SegmentGuard::Subnets),
        ];
        let value = decoder.choice(at, "`antiSpoofing` of a segment", &choices)?;
        Some(Placed { value, at: at.place() })
    });
    fields.finish(decoder);
    declared
}

pub(crate) fn host(decoder: &mut Decoder<'_>, spec: Option<Cursor<'_>>, at: Place) -> HostDecl {
    let mut declared = HostDecl::default();
    let Some(mut fields) = decoder.spec(spec, at) else { return declared };
    if let Some(addresses) = fields.get("addresses")
        && let Some(addresses) = decoder.list(addresses, "`addresses`")
    {
        for at in addresses.iter() {
            if let Some(value) = decoder.address(at, "an address") {
                declared.addresses.push(Placed { value, at: at.place() });
            }
        }
    }
    declared.segment = fields.get("segment").and_then(|at| decoder.placed_text(at, "`segment`"));
    if let Some(at) = fields.get("mac") {
        declared.mac = decoder.mac(at, "`mac`").map(|value| Placed { value, at: at.place() });
    }
    declared.vlan = vlan(decoder, fields.get("vlan"));
    let switch = fields.get("switch").and_then(|at| decoder.placed_text(at, "`switch`"));
    match (fields.get("port"), switch) {
        (Some(port), switch) => {
            let ports = port_ref(decoder, port, "`port`").into_iter().collect();
            declared.port = Some(PortsDecl { switch, ports, at: port.place() });
        }
        (None, Some(switch)) => {
            let help = "add `port: 1`, the switch port that the host is plugged into";
            decoder.error(Code::MissingField, switch.at, "`switch` without `port`", help);
        }
        (None, None) => {}
    }
    declared.anti_spoofing = fields.get("antiSpoofing").and_then(|at| {
        let choices = [("none", HostGuard::None), ("hosts", HostGuard::Hosts), ("strict", HostGuard::Strict)];
        let value = decoder.choice(at, "`antiSpoofing` of a host", &choices)?;
        if declared.port.is_none() {
            let help = "add `port`, where it is plugged in, or remove `antiSpoofing`";
            decoder.error(Code::MissingField, at.place(), "`antiSpoofing` without `port`", help);
        }
        Some(Placed { value, at: at.place() })
    });
    fields.finish(decoder);
    declared
}

pub(crate) fn group(decoder: &mut Decoder<'_>, spec: Option<Cursor<'_>>) -> GroupDecl {
    let mut declared = GroupDecl::default();
    let Some(spec) = spec else { return declared };
    let Some(mut fields) = decoder.fields(spec, "`spec`") else { return declared };
    if let Some(addresses) = fields.get("addresses")
        && let Some(addresses) = decoder.list(addresses, "`addresses`")
    {
        let cidrs = addresses.iter().filter_map(|at| decoder.cidr(at, "an address", HostBits::Refuse, true));
        declared.cidrs = cidrs.collect();
    }
    if let Some(groups) = fields.get("groups")
        && let Some(groups) = decoder.list(groups, "`groups`")
    {
        declared.groups = groups.iter().filter_map(|at| decoder.placed_text(at, "a group")).collect();
    }
    fields.finish(decoder);
    declared
}
