//! Addresses of loopback for servers of tests that go away and come back, or that start some time after their address
//! was written into a file.
//!
//! A port that the kernel gave (`127.0.0.1:0`) is anybody's once its owner has closed it: of the next server that asks,
//! and of each outgoing connection, which takes its own port from the same range. What stands here cannot be taken that
//! way: nobody else has the address (Linux answers at all of 127.0.0.0/8; connections come from 127.0.0.1), and no
//! kernel gives the port away by itself (they are below its range, 32768 to 60999, and above those of well-known
//! services).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

const PORTS: RangeInclusive<u16> = 10_000..=29_999;

/// An address that nobody else uses, now or later.
#[must_use]
pub fn address() -> SocketAddr {
    let [first, second, third, ..] = random();
    // 127.0.0.0/16 has what others use, 127.255.255.255 is a broadcast address.
    (Ipv4Addr::new(127, first % 254 + 1, second, third), port()).into()
}

/// A port for a program that listens at 127.0.0.1 alone, or everywhere. Another program may have been told to use it.
#[must_use]
pub fn port() -> u16 {
    let [first, second, ..] = random();
    PORTS.start() + u16::from_be_bytes([first, second]) % (PORTS.end() - PORTS.start() + 1)
}

fn random() -> [u8; 8] {
    RandomState::new().build_hasher().finish().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn addresses_differ_and_can_be_used_again_and_again() {
        let addresses: BTreeSet<SocketAddr> = (0..1000).map(|_| address()).collect();
        assert_eq!(addresses.len(), 1000);
        for address in addresses {
            assert!(address.ip().is_loopback() && PORTS.contains(&address.port()), "{address}");
        }
        let address = address();
        for _ in 0..3 {
            let listener = TcpListener::bind(address).expect("nobody has it");
            let client = TcpStream::connect(address).expect("it listens");
            assert_eq!(client.local_addr().expect("it has one").ip(), Ipv4Addr::LOCALHOST);
            drop(listener);
        }
    }
}
