//! Sets of IPv4 and IPv6 addresses.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::ranges::Ranges;

/// A set of addresses of both families. Equal sets are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressSet {
    /// IPv4 addresses.
    pub v4: Ranges<u32>,
    /// IPv6 addresses.
    pub v6: Ranges<u128>,
}

impl AddressSet {
    /// All addresses.
    pub fn full() -> Self {
        Self { v4: Ranges::full(), v6: Ranges::full() }
    }

    /// The addresses of these networks.
    pub fn of_networks<'a>(networks: impl IntoIterator<Item = &'a IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self { v4: Ranges::new(v4), v6: Ranges::new(v6) }
    }

    /// These addresses.
    pub fn of_addresses(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in addresses {
            match address {
                IpAddr::V4(address) => v4.push((address.to_bits(), address.to_bits())),
                IpAddr::V6(address) => v6.push((address.to_bits(), address.to_bits())),
            }
        }
        Self { v4: Ranges::new(v4), v6: Ranges::new(v6) }
    }

    /// What is in any of these.
    pub fn union_of<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for set in sets {
            v4.extend_from_slice(set.v4.as_slice());
            v6.extend_from_slice(set.v6.as_slice());
        }
        Self { v4: Ranges::new(v4), v6: Ranges::new(v6) }
    }

    /// Adds some addresses.
    pub fn insert(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            match address {
                IpAddr::V4(address) => self.v4.insert(address.to_bits()),
                IpAddr::V6(address) => self.v6.insert(address.to_bits()),
            }
        }
    }

    /// Takes some addresses out.
    pub fn remove(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            match address {
                IpAddr::V4(address) => self.v4.remove(address.to_bits()),
                IpAddr::V6(address) => self.v6.remove(address.to_bits()),
            }
        }
    }

    /// What is in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self { v4: self.v4.intersect(&other.v4), v6: self.v6.intersect(&other.v6) }
    }

    /// What is in this and not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self { v4: self.v4.minus(&other.v4), v6: self.v6.minus(&other.v6) }
    }

    /// Whether no address is in it.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether every address of both families is in it.
    pub fn is_full(&self) -> bool {
        self.v4.is_full() && self.v6.is_full()
    }

    /// Whether this address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stay_apart() {
        let nets: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].iter().map(|text| text.parse().unwrap()).collect();
        let set = AddressSet::of_networks(&nets);
        let hole = AddressSet::of_addresses(["10.0.0.1", "fd00::1"].iter().map(|text| text.parse().unwrap()));
        let cut = set.minus(&hole);
        for (address, inside, kept) in [
            ("10.0.0.1", true, false),
            ("10.255.255.255", true, true),
            ("11.0.0.0", false, false),
            ("fd00::1", true, false),
            ("fdff::", true, true),
            ("::10.0.0.2", false, false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(set.contains(address), inside, "{address}");
            assert_eq!(cut.contains(address), kept, "{address}");
        }
        assert!(!AddressSet::of_networks(&["0.0.0.0/0".parse().unwrap()]).is_full());
        assert!(AddressSet::of_networks(&["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]).is_full());
        assert_eq!(AddressSet::union_of([&cut, &hole]), set);
        assert_eq!(set.intersect(&hole), hole);
    }
}
