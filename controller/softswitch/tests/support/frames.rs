//! Frames for tests, layer by layer. Checksums stay zero: the switch does not look at them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A frame under construction. Each layer announces itself in the one before.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
    /// Where the next layer's type belongs.
    next: Next,
    /// Where the IP header begins, and whether it is IPv6's.
    ip: Option<(usize, bool)>,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    EtherType(usize),
    Protocol(usize),
}

pub(crate) const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
pub(crate) const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

pub(crate) const ACK: u8 = 0x10;
pub(crate) const RST: u8 = 0x04;
pub(crate) const SYN: u8 = 0x02;

impl Frame {
    /// Ethernet from A to B.
    pub(crate) fn new() -> Self {
        Self::between(MAC_A, MAC_B)
    }

    pub(crate) fn between(src: [u8; 6], dst: [u8; 6]) -> Self {
        Self { bytes: [&dst[..], &src, &[0, 0]].concat(), next: Next::EtherType(12), ip: None }
    }

    /// Sets the type of what follows, where no layer does.
    pub(crate) fn ether_type(mut self, ether_type: u16) -> Self {
        if let Next::EtherType(at) = self.next {
            self.bytes[at..at + 2].copy_from_slice(&ether_type.to_be_bytes());
        }
        self
    }

    /// Sets the protocol of what follows, where no layer does.
    pub(crate) fn protocol(mut self, protocol: u8) -> Self {
        if let Next::Protocol(at) = self.next {
            self.bytes[at] = protocol;
        }
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    pub(crate) fn tag(self, tpid: u16, vid: u16) -> Self {
        let mut frame = self.ether_type(tpid);
        let at = frame.bytes.len();
        frame = frame.bytes(&(0xe000 | vid).to_be_bytes()).bytes(&[0, 0]);
        frame.next = Next::EtherType(at + 2);
        frame
    }

    pub(crate) fn vlan(self, vid: u16) -> Self {
        self.tag(0x8100, vid)
    }

    pub(crate) fn arp(self, sender: [u8; 4], target: [u8; 4]) -> Self {
        self.ether_type(0x0806)
            .bytes(&[0, 1, 8, 0, 6, 4, 0, 1])
            .bytes(&MAC_A)
            .bytes(&sender)
            .bytes(&[0; 6])
            .bytes(&target)
    }

    pub(crate) fn ipv4(self, src: [u8; 4], dst: [u8; 4]) -> Self {
        self.ipv4_with(src, dst, 0, 0)
    }

    /// `options` in units of four bytes, `fragment_offset` of eight.
    pub(crate) fn ipv4_with(self, src: [u8; 4], dst: [u8; 4], options: u8, fragment_offset: u16) -> Self {
        let mut frame = self.ether_type(0x0800);
        let at = frame.bytes.len();
        frame = frame
            .bytes(&[0x45 + options, 0, 0, 0, 0, 0])
            .bytes(&fragment_offset.to_be_bytes())
            .bytes(&[64, 0, 0, 0])
            .bytes(&src)
            .bytes(&dst)
            .bytes(&vec![1; usize::from(options) * 4]);
        frame.next = Next::Protocol(at + 9);
        frame.ip = Some((at, false));
        frame
    }

    pub(crate) fn ipv6(self, src: u128, dst: u128) -> Self {
        let mut frame = self.ether_type(0x86dd);
        let at = frame.bytes.len();
        frame =
            frame.bytes(&[0x60, 0, 0, 0, 0, 0, 59, 64]).bytes(&src.to_be_bytes()).bytes(&dst.to_be_bytes());
        frame.next = Next::Protocol(at + 6);
        frame.ip = Some((at, true));
        frame
    }

    /// An extension header of `bytes` bytes, whose length field says `length`.
    pub(crate) fn extension(self, kind: u8, length: u8, bytes: usize) -> Self {
        let mut frame = self.protocol(kind);
        let at = frame.bytes.len();
        frame = frame.bytes(&[59, length]).bytes(&vec![0; bytes - 2]);
        frame.next = Next::Protocol(at);
        frame
    }

    /// Hop-by-hop options, eight bytes.
    pub(crate) fn hop_by_hop(self) -> Self {
        self.extension(0, 0, 8)
    }

    /// An IPv6 fragment header; `offset` in units of eight bytes.
    pub(crate) fn fragment(self, offset: u16) -> Self {
        let mut frame = self.protocol(44);
        let at = frame.bytes.len();
        frame = frame.bytes(&[59, 0]).bytes(&(offset << 3 | 1).to_be_bytes()).bytes(&[0; 4]);
        frame.next = Next::Protocol(at);
        frame
    }

    pub(crate) fn tcp(self, sport: u16, dport: u16, flags: u8) -> Self {
        self.protocol(6)
            .bytes(&sport.to_be_bytes())
            .bytes(&dport.to_be_bytes())
            .bytes(&[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0])
    }

    pub(crate) fn udp(self, sport: u16, dport: u16) -> Self {
        self.protocol(17).ports(sport, dport)
    }

    pub(crate) fn sctp(self, sport: u16, dport: u16) -> Self {
        self.protocol(132).ports(sport, dport)
    }

    fn ports(self, sport: u16, dport: u16) -> Self {
        self.bytes(&sport.to_be_bytes()).bytes(&dport.to_be_bytes()).bytes(&[0; 4])
    }

    pub(crate) fn icmp(self, icmp_type: u8, code: u8) -> Self {
        self.protocol(1).bytes(&[icmp_type, code, 0, 0])
    }

    pub(crate) fn icmpv6(self, icmp_type: u8, code: u8) -> Self {
        self.protocol(58).bytes(&[icmp_type, code, 0, 0])
    }

    /// The frame's bytes, with the length of its IP packet.
    pub(crate) fn build(mut self) -> Vec<u8> {
        if let Some((at, v6)) = self.ip {
            let length = self.bytes.len() - at;
            let (field, length) = if v6 { (at + 4, length - 40) } else { (at + 2, length) };
            let length = u16::try_from(length).unwrap_or(u16::MAX);
            self.bytes[field..field + 2].copy_from_slice(&length.to_be_bytes());
        }
        self.bytes
    }
}

pub(crate) fn v4(address: &str) -> [u8; 4] {
    address.parse::<Ipv4Addr>().unwrap().octets()
}

pub(crate) fn v6(address: &str) -> u128 {
    address.parse::<Ipv6Addr>().unwrap().to_bits()
}
