//! A packet with fields left out, and what stands in for them.

use std::net::IpAddr;

use crate::evaluate::can_enter;
use crate::model::Intent;
use crate::packet::{ICMP, ICMPV6, Ingress, Kind, L4, Packet, SCTP, TCP, TPIDS, Tag, UDP};
use serde::Deserialize;

use super::fields::port_number;
use super::{EtherType, Fate, LlcSpec, Mac, PortSpec, Protocol, Side, Snap, TagSpec, TcpFlags};

/// Source port of a packet that does not say: the first of the dynamic ports (RFC 6335), where clients' ports are.
const SOURCE_PORT: u16 = 49_152;

/// A port in JSON: a number, or its digits.
fn port<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    #[derive(Deserialize)]
    struct Port(#[serde(deserialize_with = "number_or_text")] u16);
    Ok(Option::<Port>::deserialize(deserializer)?.map(|Port(port)| port))
}

fn number_or_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    struct Form;
    impl serde::de::Visitor<'_> for Form {
        type Value = u16;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a port from 0 to 65535")
        }

        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<u16, E> {
            number.try_into().map_err(|_| E::custom(format!("{number} is no port: they end at 65535")))
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u16, E> {
            port_number(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Form)
}

/// A packet as users describe it. What stands in for absent fields is said in docs/command.md.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketSpec {
    /// What should become of it; in batches.
    pub expect: Option<Fate>,
    /// Source: an address, a pod as `namespace/name`, a host, a node, or pods by their labels.
    pub src: Option<Side>,
    /// Destination, likewise.
    pub dst: Option<Side>,
    /// Protocol.
    pub proto: Option<Protocol>,
    /// Source port.
    #[serde(default, deserialize_with = "port")]
    pub sport: Option<u16>,
    /// Destination port.
    #[serde(default, deserialize_with = "port")]
    pub dport: Option<u16>,
    /// ICMP type.
    pub icmp_type: Option<u8>,
    /// ICMP code.
    pub icmp_code: Option<u8>,
    /// TCP flags.
    pub tcp_flags: Option<TcpFlags>,
    /// A fragment after the first.
    pub fragment: Option<bool>,
    /// EtherType of a frame that is neither IP nor ARP.
    pub ether_type: Option<EtherType>,
    /// LLC header.
    pub llc: Option<LlcSpec>,
    /// LLC and SNAP header.
    pub snap: Option<Snap>,
    /// VLAN id of its one tag.
    pub vlan: Option<u16>,
    /// Its tags, from the outermost inwards.
    pub tags: Option<Vec<TagSpec>>,
    /// MAC address that its frame is for.
    pub dst_mac: Option<Mac>,
    /// Switch port that it enters by.
    pub port: Option<PortSpec>,
    /// Segment that it enters in, whatever the port.
    pub segment: Option<String>,
}

/// Packets that are judged at most where sides mean several pods.
const MOST_PACKETS: usize = 4096;

impl PacketSpec {
    /// The packet, as it is asked about on these switches; one for each pair of pods where its sides mean several. Names of
    /// pods and hosts become addresses.
    ///
    /// # Errors
    /// What is wrong with it and the cure, in words.
    pub fn packets<'s>(
        &self,
        intent: &Intent,
        switches: impl Iterator<Item = &'s str>,
    ) -> Result<Vec<Packet>, String> {
        let (ingress, tags) = (self.ingress(intent, switches)?, self.tags()?);
        self.enters(intent, &tags)?;
        let packet = |kind| Packet { ingress: ingress.clone(), tags: tags.clone(), kind };
        Ok(self.kinds(intent)?.into_iter().map(packet).collect())
    }

    /// All that is wrong with it, each with the field that it is about, where it is about one.
    pub fn problems<'s>(
        &self,
        intent: &Intent,
        switches: impl Iterator<Item = &'s str>,
    ) -> Vec<(Option<&'static str>, String)> {
        let sides = [("src", &self.src), ("dst", &self.dst)];
        let side = |(name, side): (&'static str, &Option<Side>)| {
            let error = side.as_ref()?.addresses(intent).err()?;
            Some((Some(name), format!("{name}: {error}")))
        };
        let mut problems: Vec<(Option<&'static str>, String)> = sides.into_iter().filter_map(side).collect();
        let place = match (&self.port, &self.segment) {
            (Some(_), None) => Some("port"),
            (None, Some(_)) => Some("segment"),
            _ => None,
        };
        problems.extend(self.ingress(intent, switches).err().map(|error| (place, error)));
        match self.tags() {
            Ok(tags) => {
                problems.extend(self.enters(intent, &tags).err().map(|error| (Some("segment"), error)));
            }
            Err(error) => problems.push((None, error)),
        }
        if !problems.iter().any(|(field, _)| matches!(field, Some("src" | "dst"))) {
            problems.extend(self.kinds(intent).err().map(|error| (None, error)));
        }
        problems
    }

    fn tags(&self) -> Result<Vec<Tag>, String> {
        match (self.vlan, &self.tags) {
            (Some(_), Some(_)) => {
                Err("`vlan` is the one tag of a frame: with `tags`, leave it out".to_owned())
            }
            (Some(vlan), None) if vlan > 4095 => Err(format!("vlan {vlan}: VLAN ids end at 4095")),
            (Some(vlan), None) => Ok(vec![Tag { tpid: TPIDS[0], vlan }]),
            (None, tags) => Ok(tags.iter().flatten().map(|tag| tag.0).collect()),
        }
    }

    /// A frame that says its tags enters in segments of their VLAN alone.
    fn enters(&self, intent: &Intent, tags: &[Tag]) -> Result<(), String> {
        let named = self.segment.as_ref().filter(|_| self.port.is_none() && !tags.is_empty());
        let Some((name, segment)) = named.and_then(|name| intent.segments.get_key_value(name)) else {
            return Ok(());
        };
        let vlan = Packet { tags: tags.to_vec(), ..Packet::other(0) }.vlan_id();
        if vlan == segment.vlan {
            return Ok(());
        }
        let frames = vlan.map_or("frames without a VLAN".to_owned(), |vlan| format!("frames of VLAN {vlan}"));
        let of = segment.vlan.map_or("has none".to_owned(), |vlan| format!("has VLAN {vlan}"));
        Err(format!(
            "{frames} do not enter in segment `{name}`, which {of}: leave the tag out, or say another segment"
        ))
    }

    fn ingress<'s>(
        &self,
        intent: &Intent,
        mut switches: impl Iterator<Item = &'s str>,
    ) -> Result<Option<Ingress>, String> {
        match (&self.port, &self.segment) {
            (Some(_), Some(_)) => {
                Err("a packet enters by a `port` or in a `segment`: give one of them".to_owned())
            }
            (Some(port), None) => Ok(Some(Ingress::Port(port.number(intent, switches)?))),
            (None, Some(name)) if intent.segments.contains_key(name) => {
                let here = |switch: &str| {
                    intent.segments.get(name).is_some_and(|segment| can_enter(segment, switch))
                };
                let mut asked = Vec::new();
                // Whoever asks about no switch asks what is written alone.
                if switches.any(|switch| {
                    asked.push(switch);
                    here(switch)
                }) || asked.is_empty()
                {
                    return Ok(Some(Ingress::Segment(name.clone())));
                }
                Err(format!(
                    "no frame enters in segment `{name}` on {}: it has no port there",
                    asked.join(", ")
                ))
            }
            (None, Some(segment)) => {
                let known: Vec<_> = intent.segments.keys().map(String::as_str).take(20).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(format!("the files have no segment `{segment}`; they have {known}"))
            }
            (None, None) => Ok(None),
        }
    }

    fn kinds(&self, intent: &Intent) -> Result<Vec<Kind>, String> {
        match (self.ether_type, self.llc, self.snap) {
            (None, None, None) => {}
            (Some(EtherType(ether_type)), None, None) => return Ok(vec![self.other(ether_type)?]),
            (None, Some(LlcSpec(llc)), None) | (None, None, Some(Snap(llc))) => {
                self.addressless()?;
                return Ok(vec![Kind::Llc(llc)]);
            }
            _ => return Err("a frame has one of `ether_type`, `llc` and `snap`".to_owned()),
        }
        self.pairs(intent)?.into_iter().map(|(src, dst)| self.between(src, dst)).collect()
    }

    fn between(&self, src: IpAddr, dst: IpAddr) -> Result<Kind, String> {
        let protocol = match self.proto {
            Some(Protocol::Arp) => return self.arp(src, dst),
            // Who says ICMP means that of the addresses' family.
            Some(Protocol::Named(ICMP)) if src.is_ipv6() => ICMPV6,
            Some(Protocol::Named(ICMPV6)) if src.is_ipv4() => {
                let problem = "between IPv4 addresses ICMP is `icmp`; give proto 58 if you mean the number";
                return Err(problem.to_owned());
            }
            Some(Protocol::Named(protocol) | Protocol::Number(protocol)) => protocol,
            None => self.likely_protocol(src)?,
        };
        let fragment = self.fragment.unwrap_or(false);
        let l4 = if fragment {
            self.without("a fragment after the first", true, true, true)?;
            L4::None
        } else {
            self.transport(protocol, src)?
        };
        Ok(Kind::Ip { src, dst, protocol, fragment, l4 })
    }

    fn transport(&self, protocol: u8, src: IpAddr) -> Result<L4, String> {
        match protocol {
            TCP | UDP | SCTP => {
                self.without("a packet with ports", false, protocol != TCP, true)?;
                Ok(L4::Ports {
                    source: self.sport.unwrap_or(SOURCE_PORT),
                    destination: self.dport.unwrap_or(0),
                    tcp_flags: if protocol == TCP { self.tcp_flags.unwrap_or(TcpFlags::SYN).0 } else { 0 },
                })
            }
            ICMP | ICMPV6 => {
                self.without("an ICMP packet", true, true, false)?;
                let echo_request = if protocol == ICMPV6 && src.is_ipv6() { 128 } else { 8 };
                Ok(L4::Icmp {
                    icmp_type: self.icmp_type.unwrap_or(echo_request),
                    code: self.icmp_code.unwrap_or(0),
                })
            }
            _ => {
                self.without(&format!("a packet of IP protocol {protocol}"), true, true, true)?;
                Ok(L4::None)
            }
        }
    }

    fn arp(&self, src: IpAddr, dst: IpAddr) -> Result<Kind, String> {
        self.without("an ARP packet", true, true, true)?;
        self.whole("an ARP packet")?;
        match (src, dst) {
            (IpAddr::V4(sender), IpAddr::V4(target)) => Ok(Kind::Arp { sender, target }),
            _ => Err("ARP is about IPv4 addresses; between IPv6 addresses it is icmpv6 types 135 and 136"
                .to_owned()),
        }
    }

    fn other(&self, ether_type: u16) -> Result<Kind, String> {
        match ether_type {
            0x0800 | 0x86dd => return Err("for an IP packet give src and dst and no ether_type".to_owned()),
            0x0806 => return Err("for an ARP packet give proto `arp` and no ether_type".to_owned()),
            tpid if TPIDS.contains(&tpid) => {
                return Err("for a tagged frame give vlan or tags, and the ether_type behind them".to_owned());
            }
            _ => {}
        }
        self.addressless()?;
        Ok(Kind::Other { ether_type })
    }

    /// Nothing of IP can be said about a frame that is not IP to the switch.
    fn addressless(&self) -> Result<(), String> {
        if self.src.is_some() || self.dst.is_some() || self.proto.is_some() {
            return Err(
                "a frame with an ether_type, llc or snap of its own has no src, dst and proto".to_owned()
            );
        }
        self.without("a frame that is not IP", true, true, true)?;
        self.whole("a frame that is not IP")
    }

    /// The addresses of each pair of sides: of the first family that both have.
    fn pairs(&self, intent: &Intent) -> Result<Vec<(IpAddr, IpAddr)>, String> {
        let side = |name: &str, side: &Option<Side>| {
            let side = side
                .as_ref()
                .ok_or_else(|| format!("`{name}` is missing: an address, namespace/pod or host"))?;
            side.addresses(intent).map_err(|error| format!("{name}: {error}"))
        };
        let (sources, destinations) = (side("src", &self.src)?, side("dst", &self.dst)?);
        let number = sources.len().saturating_mul(destinations.len());
        if number > MOST_PACKETS {
            return Err(format!(
                "src and dst mean {number} pairs of pods, and at most {MOST_PACKETS} are judged: say fewer"
            ));
        }
        let several =
            matches!((&self.src, &self.dst), (Some(Side::Pods { .. }), _) | (_, Some(Side::Pods { .. })));
        let mut pairs = Vec::new();
        for (source, destination) in
            sources.iter().flat_map(|source| destinations.iter().map(move |other| (source, other)))
        {
            // A pod's packets to itself are on no wire.
            if several && source == destination {
                continue;
            }
            pairs.push(pair(source, destination)?);
        }
        if pairs.is_empty() {
            return Err("src and dst are the same pod, whose packets to itself reach no switch".to_owned());
        }
        Ok(pairs)
    }

    /// The protocol of a packet that does not say: what its other fields belong to, or TCP.
    fn likely_protocol(&self, src: IpAddr) -> Result<u8, String> {
        if self.icmp_type.is_none() && self.icmp_code.is_none() {
            return Ok(TCP);
        }
        if self.sport.is_some() || self.dport.is_some() || self.tcp_flags.is_some() {
            return Err("ports and ICMP type do not go together: give `proto`".to_owned());
        }
        Ok(if src.is_ipv4() { ICMP } else { ICMPV6 })
    }

    /// Fields that mean nothing for this packet must be absent or zero.
    fn without(&self, what: &str, ports: bool, flags: bool, icmp: bool) -> Result<(), String> {
        let refused = [
            ("sport", ports && self.sport.unwrap_or(0) != 0),
            ("dport", ports && self.dport.unwrap_or(0) != 0),
            ("tcp_flags", flags && self.tcp_flags.is_some_and(|flags| flags.0 != 0)),
            ("icmp_type", icmp && self.icmp_type.unwrap_or(0) != 0),
            ("icmp_code", icmp && self.icmp_code.unwrap_or(0) != 0),
        ];
        match refused.iter().find(|(_, refused)| *refused) {
            Some((field, _)) => Err(format!("{what} has no {field}: leave it out, or change `proto`")),
            None => Ok(()),
        }
    }

    fn whole(&self, what: &str) -> Result<(), String> {
        if self.fragment == Some(true) { Err(format!("{what} is never a fragment")) } else { Ok(()) }
    }
}

/// Of the first family that both have.
fn pair(sources: &[IpAddr], destinations: &[IpAddr]) -> Result<(IpAddr, IpAddr), String> {
    let found = sources.iter().find_map(|source| {
        let same = destinations.iter().find(|other| other.is_ipv4() == source.is_ipv4())?;
        Some((*source, *same))
    });
    found
        .ok_or_else(|| "src and dst have no address family in common: one is IPv4, the other IPv6".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Packet, String> {
        let spec: PacketSpec = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut packets = spec.packets(&Intent::default(), std::iter::empty())?;
        packets.pop().ok_or_else(|| "none".to_owned())
    }

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn v6(last: u16) -> IpAddr {
        IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last])
    }

    #[test]
    fn absent_fields_have_stand_ins() {
        let table = [
            (r#""proto":"tcp","dport":80"#, Packet::tcp(v4(1), 49_152, v4(2), 80, 0x02)),
            (r#""dport":80"#, Packet::tcp(v4(1), 49_152, v4(2), 80, 0x02)),
            (r#""proto":null,"dport":80,"vlan":null"#, Packet::tcp(v4(1), 49_152, v4(2), 80, 0x02)),
            (r#""sport":7,"dport":80,"tcp_flags":"SYN,ACK""#, Packet::tcp(v4(1), 7, v4(2), 80, 0x12)),
            (r#""dport":80,"tcp_flags":[]"#, Packet::tcp(v4(1), 49_152, v4(2), 80, 0)),
            ("", Packet::tcp(v4(1), 49_152, v4(2), 0, 0x02)),
            (
                r#""proto":"UDP","dport":53,"icmp_type":0,"tcp_flags":0"#,
                Packet::udp(v4(1), 49_152, v4(2), 53),
            ),
            (r#""proto":17,"dport":53"#, Packet::udp(v4(1), 49_152, v4(2), 53)),
            (r#""proto":"sctp","dport":5"#, Packet::sctp(v4(1), 49_152, v4(2), 5)),
            (r#""proto":"icmp""#, Packet::icmp(v4(1), v4(2), 8, 0)),
            (r#""icmp_type":3,"icmp_code":1"#, Packet::icmp(v4(1), v4(2), 3, 1)),
            (r#""icmp_type":0"#, Packet::icmp(v4(1), v4(2), 0, 0)),
            (r#""proto":"gre""#, Packet::ip(v4(1), v4(2), 47)),
            (r#""proto":47,"sport":0"#, Packet::ip(v4(1), v4(2), 47)),
            (r#""proto":"udp","fragment":true"#, Packet::later_fragment(v4(1), v4(2), UDP)),
            (
                r#""dport":80,"vlan":100,"port":3"#,
                Packet::tcp(v4(1), 49_152, v4(2), 80, 2).in_vlan(100).at_port(3),
            ),
        ];
        for (fields, expected) in table {
            let comma = if fields.is_empty() { "" } else { "," };
            let json = format!(r#"{{"src":"10.0.0.1","dst":"10.0.0.2"{comma}{fields}}}"#);
            assert_eq!(parse(&json), Ok(expected), "{json}");
        }
        let v6_table = [
            (r#""icmp_type":129"#, Packet::icmp(v6(1), v6(2), 129, 0)),
            (r#""proto":"icmpv6""#, Packet::icmp(v6(1), v6(2), 128, 0)),
            (r#""proto":"icmp","icmp_type":129"#, Packet::icmp(v6(1), v6(2), 129, 0)),
        ];
        for (fields, expected) in v6_table {
            let json = format!(r#"{{"src":"fd00::1","dst":"fd00::2",{fields}}}"#);
            assert_eq!(parse(&json), Ok(expected), "{json}");
        }
        let arp = parse(r#"{"src":"10.0.0.1","dst":"10.0.0.2","proto":"arp"}"#);
        assert_eq!(arp, Ok(Packet::arp([10, 0, 0, 1].into(), [10, 0, 0, 2].into())));
        assert_eq!(parse(r#"{"ether_type":35020}"#), Ok(Packet::other(0x88cc)));
        assert_eq!(parse(r#"{"ether_type":"0x88cc","src":null}"#), Ok(Packet::other(0x88cc)));
        assert_eq!(
            parse(r#"{"snap":"0x0800","tags":[0,"0x88a8:7",{"vlan":9}]}"#),
            Ok(Packet::new(Kind::Llc(crate::packet::Llc::snap([0; 3], 0x0800)))
                .in_vlan(0)
                .tagged(0x88a8, 7)
                .in_vlan(9))
        );
    }

    /// A packet that could not come in where it is said to: whatever became of it would hold.
    #[test]
    fn places_where_it_cannot_enter_are_refused() {
        let text = "\
{apiVersion: outplane.dev/v1alpha1, kind: Switch, metadata: {name: core}, spec: {address: 'a:1', ports: [1, {id: 2, name: desk}]}}
---
{apiVersion: outplane.dev/v1alpha1, kind: Switch, metadata: {name: leaf}, spec: {address: 'a:2'}}
---
{apiVersion: outplane.dev/v1alpha1, kind: Segment, metadata: {name: office}, spec: {vlan: 10, ports: [{switch: core, ports: [1]}]}}
---
{apiVersion: outplane.dev/v1alpha1, kind: Segment, metadata: {name: bare}, spec: {ports: [{switch: core, ports: [2]}]}}
";
        let intent = crate::reader::parse([("a.yaml", text)]).unwrap().intent;
        let asked = |place: &str, switch: &str| {
            let json = format!(r#"{{"src":"10.0.0.1","dst":"10.0.0.2",{place}}}"#);
            let spec: PacketSpec = serde_json::from_str(&json).unwrap();
            let problems = spec.problems(&intent, std::iter::once(switch));
            let packets = spec.packets(&intent, std::iter::once(switch));
            assert_eq!(packets.is_err(), !problems.is_empty(), "{place}: {problems:?}");
            packets.map(|_| ())
        };
        let vlan_20 = "frames of VLAN 20 do not enter in segment `office`, which has VLAN 10";
        for (place, switch, words) in [
            (r#""segment":"office""#, "core", None),
            (r#""segment":"office","vlan":10"#, "core", None),
            (r#""segment":"office","tags":[0,10]"#, "core", None),
            (r#""segment":"office","vlan":20"#, "core", Some(vlan_20)),
            (r#""segment":"office","tags":["0x88a8:20",10]"#, "core", Some(vlan_20)),
            (r#""segment":"office","vlan":0"#, "core", Some("frames without a VLAN do not enter")),
            (r#""segment":"bare","vlan":0"#, "core", None),
            (r#""segment":"bare","vlan":7"#, "core", Some("which has none")),
            (r#""segment":"office""#, "leaf", Some("no frame enters in segment `office` on leaf")),
            (r#""port":1,"vlan":20"#, "core", None),
            (r#""port":"desk""#, "core", None),
            (r#""port":3"#, "core", Some("switch `core` has no port 3; it has 1, 2 (desk)")),
            (r#""port":"dask""#, "core", Some("give its number; they have 1, 2 (desk)")),
            (r#""port":3"#, "leaf", None),
        ] {
            match (asked(place, switch), words) {
                (Ok(()), None) => {}
                (Err(error), Some(words)) => assert!(error.contains(words), "{place}: {error}"),
                (found, _) => panic!("{place} on {switch}: {found:?}"),
            }
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_cure() {
        let table = [
            (r#"{"dst":"10.0.0.2"}"#, "`src` is missing"),
            (r#"{"src":"10.0.0.1"}"#, "`dst` is missing"),
            (r#"{"src":"10.0.0.1","dst":"fd00::2"}"#, "no address family in common"),
            (r#"{"src":"10.0.0.1","dst":"10.0.0.300"}"#, "dst: `10.0.0.300` is no IPv4 address"),
            (r#"{"src":"10.0.0.1","dst":"10.0.0.2","colour":"red"}"#, "unknown field `colour`"),
            (r#"{"src":"10.0.0.1","src":"10.0.0.2"}"#, "duplicate field"),
            (r#"{"src":"10.0.0.1","dst":"10.0.0.2","dport":65536}"#, "65536"),
            (r#"{"src":"10.0.0.1","dst":"10.0.0.2","vlan":4096}"#, "4095"),
            (r#"{"src":"10.0.0.1","dst":"10.0.0.2","port":0}"#, "1 to 509"),
            (r#"{"src":"10.0.0.1","dst":"10.0.0.2","segment":"office"}"#, "no segment `office`"),
            (r#"{"src":"10.0.0.1","dst":"10.0.0.2","proto":"udp","tcp_flags":"SYN"}"#, "has no tcp_flags"),
            (r#"{"src":"10.0.0.1","dst":"10.0.0.2","proto":"icmp","dport":80}"#, "has no dport"),
            (r#"{"src":"10.0.0.1","dst":"10.0.0.2","proto":"tcp","icmp_type":8}"#, "has no icmp_type"),
            (r#"{"src":"10.0.0.1","dst":"10.0.0.2","icmp_type":8,"dport":80}"#, "give `proto`"),
            (r#"{"src":"10.0.0.1","dst":"10.0.0.2","proto":"icmpv6"}"#, "`icmp`"),
            (r#"{"src":"fd00::1","dst":"fd00::2","proto":"arp"}"#, "IPv4"),
            (r#"{"src":"10.0.0.1","dst":"10.0.0.2","fragment":true,"dport":80}"#, "has no dport"),
            (r#"{"ether_type":2048}"#, "no ether_type"),
            (r#"{"ether_type":35020,"src":"10.0.0.1"}"#, "has no src"),
            (r#"{"snap":2048,"src":"10.0.0.1"}"#, "has no src"),
            (r#"{"snap":2048,"llc":"424203"}"#, "one of"),
            (r#"{"ether_type":1500}"#, "it is a length"),
            (r#"{"ether_type":37120}"#, "the ether_type behind them"),
            (r#"{"ether_type":35020,"vlan":1,"tags":[2]}"#, "leave it out"),
        ];
        for (json, hint) in table {
            let message = parse(json).unwrap_err();
            assert!(message.contains(hint), "{json}: {message}");
        }
    }
}
