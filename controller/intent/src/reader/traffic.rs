//! What a filter rule says about traffic: items of `ports` and `icmp`.

use super::decode::{Decoder, Fields};
use super::diagnostic::Code;
use super::hints;
use super::render::quoted;
use super::source::Place;
use super::tree::{Cursor, Said};
use crate::model::{IcmpMatch, PortProtocol, TcpFlags, TrafficMatch};
use crate::packet::TPIDS;

/// What `protocol` can say.
#[derive(Clone, Copy)]
enum Protocol {
    Ports(PortProtocol),
    Icmp,
    IcmpV6,
    Number(u8),
    Arp,
    NeighborDiscovery,
    NonIp,
}

const PROTOCOLS: [(&str, Protocol); 15] = [
    ("TCP", Protocol::Ports(PortProtocol::Tcp)),
    ("UDP", Protocol::Ports(PortProtocol::Udp)),
    ("SCTP", Protocol::Ports(PortProtocol::Sctp)),
    ("ICMP", Protocol::Icmp),
    ("ICMPv6", Protocol::IcmpV6),
    ("ARP", Protocol::Arp),
    ("ND", Protocol::NeighborDiscovery),
    ("NonIP", Protocol::NonIp),
    // The names of IANA's protocol numbers that firewalls meet.
    ("IGMP", Protocol::Number(2)),
    ("GRE", Protocol::Number(47)),
    ("ESP", Protocol::Number(50)),
    ("AH", Protocol::Number(51)),
    ("OSPF", Protocol::Number(89)),
    ("PIM", Protocol::Number(103)),
    ("VRRP", Protocol::Number(112)),
];

const FLAGS: [(&str, u8); 8] = [
    ("FIN", 0x01),
    ("SYN", 0x02),
    ("RST", 0x04),
    ("PSH", 0x08),
    ("ACK", 0x10),
    ("URG", 0x20),
    ("ECE", 0x40),
    ("CWR", 0x80),
];

const FAMILIES: [(&str, bool); 4] = [("v4", true), ("v6", false), ("IPv4", true), ("IPv6", false)];

/// An item of `ports`.
pub(crate) fn port(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<TrafficMatch> {
    let mut fields = decoder.fields(at, "an item of `ports`")?;
    if fields.is_empty() {
        let help = "add `protocol: UDP`, or `port: 443`; leave `ports` out to mean all traffic";
        decoder.error(Code::MissingField, at.place(), "an item of `ports` says nothing", help);
        return None;
    }
    let protocol_at = fields.get("protocol");
    if let Some(at) = fields.get("etherType") {
        return ether_type(decoder, fields, protocol_at, at);
    }
    let protocol = match protocol_at {
        Some(at) => protocol(decoder, at),
        None => Some(Protocol::Ports(PortProtocol::Tcp)),
    };
    let destination = range(decoder, &mut fields, "port", "endPort");
    let source = range(decoder, &mut fields, "sourcePort", "sourceEndPort");
    let flags_at = fields.get("tcpFlags");
    let tcp_flags = flags_at.map(|at| tcp_flags(decoder, at));
    let conditions = ["port", "endPort", "sourcePort", "sourceEndPort"];
    let condition = conditions.iter().find_map(|name| Some((*name, fields.key(name)?)));
    let flags = fields.key("tcpFlags").filter(|_| flags_at.is_some()).map(|at| ("tcpFlags", at));
    fields.finish(decoder);
    let (destination, source) = (destination?, source?);
    let tcp_flags = tcp_flags.map_or(Some(None), |flags| flags.map(Some))?;

    let protocol = match protocol? {
        // Numbers of protocols with ports are as good as names where ports are given.
        Protocol::Number(6) if condition.is_some() || flags.is_some() => Protocol::Ports(PortProtocol::Tcp),
        Protocol::Number(17) if condition.is_some() => Protocol::Ports(PortProtocol::Udp),
        Protocol::Number(132) if condition.is_some() => Protocol::Ports(PortProtocol::Sctp),
        other => other,
    };
    match protocol {
        Protocol::Ports(PortProtocol::Udp | PortProtocol::Sctp) => refuse(decoder, flags, "TCP")?,
        Protocol::Ports(PortProtocol::Tcp) => {}
        _ => {
            refuse(decoder, condition, "TCP, UDP and SCTP")?;
            refuse(decoder, flags, "TCP")?;
        }
    }
    Some(match protocol {
        Protocol::Ports(protocol) => TrafficMatch::Ports { protocol, source, destination, tcp_flags },
        Protocol::Icmp => TrafficMatch::Icmp(IcmpMatch::default()),
        Protocol::IcmpV6 => TrafficMatch::IcmpV6(IcmpMatch::default()),
        Protocol::Number(number) => TrafficMatch::Protocol(number),
        Protocol::Arp => TrafficMatch::Arp,
        Protocol::NeighborDiscovery => TrafficMatch::NeighborDiscovery,
        Protocol::NonIp => TrafficMatch::NonIp,
    })
}

/// An item that names an EtherType; `protocol: NonIP` may stand beside it.
fn ether_type(
    decoder: &mut Decoder<'_>,
    fields: Fields<'_>,
    protocol_at: Option<Cursor<'_>>,
    at: Cursor<'_>,
) -> Option<TrafficMatch> {
    let errors = decoder.sink.error_count();
    if let Some(by) = protocol_at
        && !matches!(protocol(decoder, by), None | Some(Protocol::NonIp))
    {
        let help = "leave out `protocol`, or write `protocol: NonIP`";
        decoder.error(Code::Conflict, by.place(), "`etherType` is only for frames that are not IP", help);
    }
    fields.finish(decoder);
    let number = hexadecimal(at).or_else(|| decoder.number(at, "`etherType`", 0..=0xffff));
    let help = match number? {
        0x0800 | 0x86dd => "IP packets are named by their `protocol`; leave both out to mean all of them",
        0x0806 => "write `protocol: ARP`",
        number if TPIDS.contains(&number) => {
            "name what is behind the tag; `appliesTo.segments` says which VLANs"
        }
        ..0x0600 => "below 0x0600 it is a length; such frames are matched by `protocol: NonIP` alone",
        number => return (decoder.sink.error_count() == errors).then_some(TrafficMatch::EtherType(number)),
    };
    let message = "`etherType` is for frames that are neither IP nor ARP nor a tag";
    decoder.error(Code::NeverMatches, at.place(), message, help);
    None
}

/// A number as text: `"0x8864"`.
fn hexadecimal(at: Cursor<'_>) -> Option<u16> {
    let Said::Text(text) = at.said() else { return None };
    text.strip_prefix("0x").and_then(|digits| u16::from_str_radix(digits, 16).ok())
}

fn refuse(decoder: &mut Decoder<'_>, condition: Option<(&str, Place)>, only: &str) -> Option<()> {
    let Some((name, at)) = condition else { return Some(()) };
    let help = "leave it out, or change `protocol`; ICMP types go to `icmp`";
    decoder.error(Code::Conflict, at, format!("`{name}` is only for {only}"), help);
    None
}

fn protocol(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<Protocol> {
    if let Said::Integer(_) = at.said() {
        return decoder.number(at, "`protocol`", 0..=255).map(Protocol::Number);
    }
    if let Said::Text(text) = at.said()
        && let Ok(number) = text.parse()
    {
        return Some(Protocol::Number(number));
    }
    if let Said::Text(text) = at.said()
        && let Some(help) = hints::protocol(text)
    {
        let message = format!("there is no protocol {}", quoted(text));
        decoder.error(Code::InvalidValue, at.place(), message, &help);
        return None;
    }
    decoder.choice(at, "`protocol`", &PROTOCOLS)
}

/// A port or range of ports; `Some(None)` where none is given.
#[expect(clippy::option_option, reason = "broken and absent are different things")]
fn range(
    decoder: &mut Decoder<'_>,
    fields: &mut Fields<'_>,
    name: &'static str,
    end_name: &'static str,
) -> Option<Option<(u16, u16)>> {
    let (low_at, high_at) = (fields.get(name), fields.get(end_name));
    let (low_at, high_at) = match (low_at, high_at) {
        (None, None) => return Some(None),
        (Some(low), None) => return decoder.ports(low, &format!("`{name}`")).map(Some),
        (None, Some(high)) => {
            let help = format!("add `{name}`, the first port of the range");
            decoder.error(Code::MissingField, high.place(), format!("`{end_name}` without `{name}`"), &help);
            return None;
        }
        (Some(low), Some(high)) => (low, high),
    };
    let low = decoder.ports(low_at, &format!("`{name}`"));
    let high = decoder.number::<u16>(high_at, &format!("`{end_name}`"), 0..=65535);
    let ((first, last), high) = (low?, high?);
    if first != last {
        let help = format!("leave out `{end_name}`: {first}-{last} is a range already");
        decoder.error(Code::Conflict, high_at.place(), format!("`{end_name}` beside a range"), &help);
        return None;
    }
    let in_order = decoder.in_order((name, first), (end_name, high), high_at.place());
    in_order.then_some(Some((first, high)))
}

fn tcp_flags(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<TcpFlags> {
    let errors = decoder.sink.error_count();
    let mut fields = decoder.fields(at, "`tcpFlags`")?;
    let mut bits = |name: &'static str| {
        let flags = fields.get(name).and_then(|at| decoder.list(at, &format!("`{name}`")));
        let flags = flags.iter().flat_map(|items| items.iter());
        flags.filter_map(|at| decoder.choice(at, "a TCP flag", &FLAGS)).fold(0, |bits, flag| bits | flag)
    };
    let (set, clear) = (bits("set"), bits("clear"));
    let place = fields.place();
    fields.finish(decoder);
    if decoder.sink.error_count() > errors {
        return None;
    }
    if set == 0 && clear == 0 {
        let help = "for example `{set: [SYN], clear: [ACK]}`, a connection's first segment";
        decoder.error(Code::MissingField, place, "`tcpFlags` names no flag", help);
        return None;
    }
    if set & clear != 0 {
        let both = FLAGS.iter().filter(|(_, bit)| set & clear & bit != 0).map(|(name, _)| *name);
        let message = format!("{} cannot be both set and clear", both.collect::<Vec<_>>().join(", "));
        decoder.error(Code::Conflict, place, message, "no packet would match");
        return None;
    }
    Some(TcpFlags { set, clear })
}

/// An item of `icmp`: a match for each family that it means.
pub(crate) fn icmp(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Vec<TrafficMatch> {
    let Some(mut fields) = decoder.fields(at, "an item of `icmp`") else { return Vec::new() };
    let family = fields.get("family").map(|at| decoder.choice(at, "`family`", &FAMILIES));
    let type_at = fields.get("type");
    let icmp_type = type_at.map(|at| decoder.number::<u8>(at, "`type`", 0..=255));
    let code_at = fields.get("code");
    let code = code_at.map(|at| decoder.number::<u8>(at, "`code`", 0..=255));
    fields.finish(decoder);
    if let (None, Some(at)) = (type_at, code_at) {
        let help = "codes mean something only with their `type`";
        decoder.error(Code::MissingField, at.place(), "`code` without `type`", help);
        return Vec::new();
    }
    let (Some(icmp_type), Some(code)) = (flatten(icmp_type), flatten(code)) else { return Vec::new() };
    let (v4, v6) = match family {
        None => (true, true),
        Some(Some(v4)) => (v4, !v4),
        Some(None) => return Vec::new(),
    };
    let is_discovery = icmp_type.is_some_and(|icmp_type| (133..=137).contains(&icmp_type));
    if let (true, true, Some(at)) = (v6, is_discovery, type_at) {
        let help =
            "write `ports: [{protocol: ND}]` for neighbour discovery, or `family: v4` to mean ICMP alone";
        let message = "ICMPv6 types 133 to 137 are neighbour discovery, which `icmp` does not match";
        decoder.error(Code::NeverMatches, at.place(), message, help);
        return Vec::new();
    }
    let condition = IcmpMatch { icmp_type, code };
    let mut found = Vec::new();
    found.extend(v4.then_some(TrafficMatch::Icmp(condition)));
    found.extend(v6.then_some(TrafficMatch::IcmpV6(condition)));
    found
}

/// Absent is fine, broken is not.
#[expect(clippy::option_option, reason = "broken and absent are different things")]
fn flatten(value: Option<Option<u8>>) -> Option<Option<u8>> {
    match value {
        None => Some(None),
        Some(broken_or_not) => broken_or_not.map(Some),
    }
}
