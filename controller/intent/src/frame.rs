//! Bytes of an Ethernet frame to what policies see of it: as the switch's parser reads them.
//!
//! For frames that a switch has let its policies judge: it drops those whose headers end early, or are wrong, before.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::packet::{ICMP, ICMPV6, Kind, L4, Llc, MAX_TAGS, Packet, SCTP, TCP, TPIDS, Tag, UDP};

/// IPv6 extension headers that a switch walks.
const MAX_EXTENSIONS: usize = 4;

/// A frame's two MAC addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Macs {
    /// Of its sender.
    pub source: [u8; 6],
    /// Of its receiver.
    pub destination: [u8; 6],
}

/// The MAC addresses of a frame, and the packet in it; none where a header ends early. What stands behind the network
/// header may have been cut off: then nothing of it is known.
pub fn read(frame: &[u8]) -> (Option<Macs>, Option<Packet>) {
    let mut bytes = Bytes(frame);
    let macs = bytes.take::<6>().and_then(|destination| {
        let source = bytes.take()?;
        Some(Macs { source, destination })
    });
    let packet = macs.and_then(|_| packet(&mut bytes));
    (macs, packet)
}

fn packet(bytes: &mut Bytes<'_>) -> Option<Packet> {
    let mut ether_type = bytes.number()?;
    let mut tags = Vec::new();
    while TPIDS.contains(&ether_type) {
        if tags.len() == MAX_TAGS {
            return None;
        }
        tags.push(Tag { tpid: ether_type, vlan: bytes.number()? & 0x0fff });
        ether_type = bytes.number()?;
    }
    let kind = match ether_type {
        0x0800 => ipv4(bytes)?,
        0x86dd => ipv6(bytes)?,
        0x0806 => arp(bytes)?,
        0..0x0600 => llc(bytes)?,
        ether_type => Kind::Other { ether_type },
    };
    Some(Packet { ingress: None, tags, kind })
}

fn llc(bytes: &mut Bytes<'_>) -> Option<Kind> {
    let [dsap, ssap, control, o0, o1, o2, p0, p1] = bytes.take()?;
    Some(Kind::Llc(Llc { dsap, ssap, control, oui: [o0, o1, o2], protocol: u16::from_be_bytes([p0, p1]) }))
}

/// The addresses stand where those of Ethernet and IPv4 do, whatever the header says.
fn arp(bytes: &mut Bytes<'_>) -> Option<Kind> {
    bytes.skip(14)?;
    let sender = Ipv4Addr::from(bytes.take::<4>()?);
    bytes.skip(6)?;
    Some(Kind::Arp { sender, target: bytes.take::<4>()?.into() })
}

fn ipv4(bytes: &mut Bytes<'_>) -> Option<Kind> {
    let [first, _, _, _, _, _, f0, f1, _, protocol, _, _] = bytes.take()?;
    let (src, dst) = (Ipv4Addr::from(bytes.take::<4>()?), Ipv4Addr::from(bytes.take::<4>()?));
    let words = usize::from(first & 0xf).checked_sub(5).filter(|_| first >> 4 == 4)?;
    let fragment = u16::from_be_bytes([f0, f1]) & 0x1fff != 0;
    // Where options were cut off, what follows them was, too.
    let is_whole = bytes.skip(words * 4).is_some();
    let l4 = if fragment || !is_whole { L4::None } else { transport(bytes, protocol) };
    Some(Kind::Ip { src: src.into(), dst: dst.into(), protocol, fragment, l4 })
}

fn ipv6(bytes: &mut Bytes<'_>) -> Option<Kind> {
    let [first, _, _, _, _, _, mut protocol, _] = bytes.take()?;
    let (src, dst) = (Ipv6Addr::from(bytes.take::<16>()?), Ipv6Addr::from(bytes.take::<16>()?));
    if first >> 4 != 6 {
        return None;
    }
    let mut fragment = false;
    for _ in 0..MAX_EXTENSIONS {
        // Hop-by-hop, routing, fragment, authentication, destination options.
        if !matches!(protocol, 0 | 43 | 44 | 51 | 60) || fragment {
            break;
        }
        let [next, length, f0, f1] = bytes.take()?;
        bytes.skip(match protocol {
            44 => 4,
            51 => (usize::from(length) + 1) * 4,
            _ => (usize::from(length) + 1) * 8 - 4,
        })?;
        fragment = protocol == 44 && u16::from_be_bytes([f0, f1]) >> 3 != 0;
        protocol = next;
    }
    let l4 = if fragment { L4::None } else { transport(bytes, protocol) };
    Some(Kind::Ip { src: src.into(), dst: dst.into(), protocol, fragment, l4 })
}

fn transport(bytes: &mut Bytes<'_>, protocol: u8) -> L4 {
    let ports = |bytes: &mut Bytes<'_>| Some((bytes.number()?, bytes.number()?));
    let read = match protocol {
        TCP => ports(bytes).and_then(|(source, destination)| {
            bytes.skip(9)?;
            let [tcp_flags] = bytes.take()?;
            Some(L4::Ports { source, destination, tcp_flags })
        }),
        UDP | SCTP => {
            ports(bytes).map(|(source, destination)| L4::Ports { source, destination, tcp_flags: 0 })
        }
        ICMP | ICMPV6 => bytes.take().map(|[icmp_type, code]| L4::Icmp { icmp_type, code }),
        _ => None,
    };
    read.unwrap_or(L4::None)
}

/// What has not been read.
struct Bytes<'f>(&'f [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    fn number(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing;
    use crate::testing::frame::{Layout, frame};

    proptest! {
        #[test]
        fn what_was_written_is_read((_, packets) in testing::cases(8)) {
            for packet in packets.into_iter().filter(|packet| !packet.is_overtagged()) {
                let layout = Layout::default();
                let bytes = frame(&packet, &layout);
                let (macs, read) = read(&bytes);
                prop_assert_eq!(macs, Some(Macs { source: layout.source, destination: layout.destination }));
                let read = read.expect("a frame of a packet");
                prop_assert_eq!(read.tags, packet.tags.clone());
                let seen = |packet: &Packet| (
                    packet.addresses(), packet.ports(), packet.tcp_flags(), packet.icmp_header(), packet.is_later_fragment(),
                    packet.traffic(),
                );
                let as_read = Packet { ingress: None, tags: Vec::new(), kind: read.kind };
                prop_assert_eq!(seen(&as_read), seen(&packet), "{:?}", packet);
            }
        }

        #[test]
        fn anything_is_read_or_not(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = read(&bytes);
        }
    }
}
