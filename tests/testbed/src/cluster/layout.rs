//! Who is where: names and addresses of a cluster, a pure function of its size.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// UDP port of the datagrams.
pub const DATAGRAM_PORT: u16 = 8277;
/// Where the daemons serve metrics and health.
pub const HTTP_PORT: u16 = 9464;
/// Of the embedded store.
const STORE_PORT: u16 = 9000;
/// Of the first Ceph gateway.
const GATEWAY_PORT: u16 = 7480;
/// Switch `k` listens on this and `k`.
const SWITCH_PORT: u16 = 9500;
/// Most nodes of a role.
pub(super) const MOST: u8 = 20;

/// What a process of the cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `outplane distributor`: d1, d2, ..
    Distributor,
    /// `outplane controller`: c1, c2, ..
    Controller,
    /// `outplane softswitch`: s1, s2, ..
    Switch,
    /// `outplane store`: store.
    Store,
}

/// A part by number, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) part: Part,
    pub(super) number: u8,
    pub(super) name: String,
    /// The namespace it is in.
    pub(super) namespace: String,
}

impl Seat {
    pub(super) fn new(part: Part, number: u8) -> Self {
        let (name, namespace) = match part {
            Part::Distributor => (format!("d{number}"), None),
            Part::Controller => (format!("c{number}"), None),
            Part::Switch => (format!("s{number}"), Some("switches")),
            Part::Store => ("store".to_owned(), None),
        };
        let namespace = namespace.map_or_else(|| name.clone(), str::to_owned);
        Self { part, number, name, namespace }
    }

    /// Its id in datagrams.
    pub(super) fn sender(&self) -> u32 {
        match self.part {
            Part::Controller => 100 + u32::from(self.number),
            _ => self.number.into(),
        }
    }

    /// The last part of its addresses.
    fn host(&self) -> u8 {
        match self.part {
            Part::Store => 2,
            Part::Switch => 4,
            Part::Distributor => 10 + self.number,
            Part::Controller => 40 + self.number,
        }
    }

    pub(super) fn v4(&self) -> Ipv4Addr {
        v4(self.host())
    }

    pub(super) fn v6(&self) -> Ipv6Addr {
        v6(self.host())
    }

    /// Where others find it: datagrams of nodes, the server of a store or a switch.
    pub(super) fn address(&self) -> SocketAddr {
        let port = match self.part {
            Part::Distributor | Part::Controller => DATAGRAM_PORT,
            Part::Switch => SWITCH_PORT + u16::from(self.number),
            Part::Store => STORE_PORT,
        };
        (IpAddr::from(self.v4()), port).into()
    }

    /// Where it serves metrics and health.
    pub(super) fn http(&self) -> SocketAddr {
        (IpAddr::from(self.v4()), HTTP_PORT).into()
    }
}

/// Where commands run.
pub(super) const ADMIN: u8 = 3;

pub(super) fn v4(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, host)
}

pub(super) fn v6(host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, host.into())
}

/// Where a Ceph gateway listens, from 0.
pub(super) fn gateway(number: u16) -> SocketAddr {
    (IpAddr::from(Seat::new(Part::Store, 1).v4()), GATEWAY_PORT + number).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nobody_shares_a_name_an_address_or_a_sender_id() {
        let mut names = BTreeSet::new();
        let (mut addresses, mut senders) = (BTreeSet::new(), BTreeSet::new());
        for number in 1..=MOST {
            for part in [Part::Distributor, Part::Controller, Part::Switch] {
                let seat = Seat::new(part, number);
                assert!(names.insert(seat.name.clone()));
                assert!(addresses.insert(seat.address()));
                if part != Part::Switch {
                    assert!(senders.insert(seat.sender()));
                    assert!(![ADMIN, 2, 4].contains(&seat.host()));
                }
            }
        }
        assert!(addresses.insert(Seat::new(Part::Store, 1).address()));
    }
}
