//! The network of a cluster, and its faults.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use super::Cluster;
use super::layout::{self, DATAGRAM_PORT, Part, Seat};
use crate::chaos::{Chaos, ChaosCounts, Relay};
use crate::faults::{self, FaultCounts};
use crate::lab::{self, Place};
use crate::netns::{self, Namespace};

impl Cluster {
    pub(super) fn make_network(&mut self) -> Result<()> {
        let bridge = Namespace::new("bridge")?;
        bridge.sysctl("net.ipv6.conf.default.disable_ipv6=1")?;
        bridge.ip(&["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"])?;
        bridge.ip(&["link", "set", "br0", "up"])?;
        let mut places: BTreeMap<String, _> =
            self.seats.iter().map(|seat| (seat.namespace.clone(), (seat.v4(), seat.v6()))).collect();
        let store = Seat::new(Part::Store, 1);
        places.insert(store.namespace.clone(), (store.v4(), store.v6()));
        places.insert("admin".to_owned(), (layout::v4(layout::ADMIN), layout::v6(layout::ADMIN)));
        for (name, (v4, v6)) in places {
            let namespace = Namespace::new(&name)?;
            let relayed = self.options.relays.contains(&name);
            let port = port(&name);
            let other = if relayed { format!("x-{name}") } else { port.clone() };
            namespace.ip(&[
                "link",
                "add",
                "eth0",
                "type",
                "veth",
                "peer",
                "name",
                &other,
                "netns",
                bridge.name(),
            ])?;
            if relayed {
                bridge.ip(&["link", "add", &format!("y-{name}"), "type", "veth", "peer", "name", &port])?;
                bridge.ip(&["link", "set", &other, "up"])?;
                bridge.ip(&["link", "set", &format!("y-{name}"), "up"])?;
            }
            bridge.ip(&["link", "set", &port, "master", "br0", "up"])?;
            // Relays copy frames through user space, where checksums and segments left to the hardware stay unfinished.
            netns::run("ip", &["netns", "exec", namespace.name(), "ethtool", "-K", "eth0", "tx", "off"])?;
            namespace.ip(&["address", "add", &format!("{v4}/24"), "dev", "eth0"])?;
            namespace.ip(&["address", "add", &format!("{v6}/64"), "dev", "eth0", "nodad"])?;
            namespace.ip(&["link", "set", "eth0", "up"])?;
            namespace.ip(&["route", "add", "239.0.0.0/8", "dev", "eth0"])?;
            namespace
                .ip(&["-6", "route", "add", "multicast", "ff00::/8", "dev", "eth0", "table", "local"])
                .ok();
            if relayed {
                let ends = [other, format!("y-{name}")];
                let relay = Relay::start(&self.starter, &bridge, &self.programs.agent, [&ends[0], &ends[1]])?;
                self.relays.insert(name.clone(), Mutex::new(relay));
            }
            self.namespaces.insert(name, namespace);
        }
        self.namespaces.insert("bridge".to_owned(), bridge);
        Ok(())
    }

    pub(super) fn make_hosts(&mut self) -> Result<()> {
        for switch in 1..=self.options.switches {
            for port in 1..=self.options.ports {
                let place = Place {
                    name: format!("s{switch}h{port}"),
                    number: u16::from(switch - 1) * self.options.ports + port,
                    port,
                    interface: switch_port(switch, port),
                };
                let switches = self.namespace("switches")?;
                let host = lab::host(&self.starter, place, switches, &self.programs.agent)?;
                self.hosts.push(host);
            }
        }
        Ok(())
    }
}

/// Faults of the network.
impl Cluster {
    /// So many of 100 datagrams are lost on their way to each node, and so many doubled; 0 and 0 ends it.
    pub fn spoil(&self, loss: u8, duplicate: u8) -> Result<()> {
        let ports = |part| self.names(part).iter().map(|name| port(name)).collect::<Vec<_>>();
        let (senders, receivers) = (ports(Part::Distributor), ports(Part::Controller));
        faults::set(self.namespace("bridge")?, DATAGRAM_PORT, loss, duplicate, &senders, &receivers)
    }

    /// What [`Self::spoil`] has done since it was called last.
    pub fn spoilt(&self) -> Result<FaultCounts> {
        faults::counts(self.namespace("bridge")?)
    }

    /// Changes what a node's relay does; says what it did so far.
    pub fn chaos(&self, name: &str, chaos: &Chaos) -> Result<ChaosCounts> {
        let relay = self.relays.get(name).with_context(|| format!("{name} has no relay"))?;
        relay.lock().unwrap_or_else(PoisonError::into_inner).set(chaos)
    }

    /// Cuts a node, or the namespace `switches`, off the network, or joins it again.
    pub fn connect(&self, name: &str, connected: bool) -> Result<()> {
        self.namespace("bridge")?.ip(&["link", "set", &port(name), if connected { "up" } else { "down" }])
    }
}

/// The bridge port of a namespace.
pub(super) fn port(name: &str) -> String {
    format!("p-{name}")
}

/// The interface of a switch's port.
pub(super) fn switch_port(switch: u8, port: u16) -> String {
    format!("s{switch}p{port}")
}
