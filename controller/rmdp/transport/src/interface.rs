//! Interfaces by name.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;

use crate::error::TransportError;

/// An interface as it is now; it may be gone later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
}

impl Interface {
    pub(crate) fn find(name: &str) -> Result<Self, TransportError> {
        let index = if_nametoindex(name).map_err(|error| TransportError::Interface {
            name: name.to_owned(),
            source: io::Error::from(error),
        })?;
        Ok(Self { name: name.to_owned(), index })
    }

    /// Its first IPv4 address: what the kernel tells interfaces apart by when it sends IPv4 multicast.
    pub(crate) fn ipv4(&self, group: Ipv4Addr) -> Result<Ipv4Addr, TransportError> {
        let all = getifaddrs().map_err(|error| TransportError::Interface {
            name: self.name.clone(),
            source: io::Error::from(error),
        })?;
        all.filter(|entry| entry.interface_name == self.name)
            .find_map(|entry| Some(entry.address?.as_sockaddr_in()?.ip()))
            .ok_or_else(|| TransportError::NoAddress { name: self.name.clone(), group: IpAddr::V4(group) })
    }
}
