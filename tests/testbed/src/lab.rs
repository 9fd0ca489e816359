//! Hosts and a switch, each in a namespace, joined by veth pairs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::agent::Agent;
use crate::netns::{self, Namespace};
use crate::process::Starter;

/// A host: interface `eth0`, one address of each family, an agent that tries flows.
#[derive(Debug)]
pub struct Host {
    /// `h1`, `h2`, ..
    pub name: String,
    /// The switch port that it is plugged into.
    pub port: u16,
    /// `10.0.0.<n>`
    pub v4: String,
    /// `fd00::<n>`
    pub v6: String,
    /// `02:00:00:00:00:<n>`
    pub mac: String,
    /// Its agent.
    pub agent: Agent,
    namespace: Namespace,
}

impl Host {
    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}

/// Hosts behind one switch. Port `n` of the switch is interface `port<n>` in the switch's namespace.
#[derive(Debug)]
pub struct Lab {
    /// The hosts, in port order.
    pub hosts: Vec<Host>,
    switch: Namespace,
    folder: tempfile::TempDir,
    /// The switch's end of every host's cable.
    cables: Agent,
    /// The agents end with it.
    _starter: Starter,
}

impl Lab {
    /// Makes `count` hosts (at most 99) on ports 1 to `count`; `agent` is the agent's program.
    pub fn new(count: u16, agent: &Path) -> Result<Self> {
        netns::sweep()?;
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let switch = Namespace::new("switch")?;
        let starter = Starter::new();
        let new = |port| {
            let place = Place { name: format!("h{port}"), number: port, port, interface: interface(port) };
            host(&starter, place, &switch, agent)
        };
        let hosts = (1..=count).map(new).collect::<Result<_>>()?;
        let cables = Agent::start(&starter, "the cables", &switch, agent)?;
        Ok(Self { hosts, switch, folder, cables, _starter: starter })
    }

    /// Sends a frame to the host at this port, past the switch.
    pub fn send_to_host(&mut self, port: u16, frame: &[u8]) -> Result<()> {
        self.cables.send_frame(&interface(port), frame)
    }

    /// The switch's namespace: its server listens on loopback there, and controllers run there.
    pub fn switch(&self) -> &Namespace {
        &self.switch
    }

    /// A folder that goes with the lab.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Port number and interface of each switch port.
    pub fn ports(&self) -> Vec<(u16, String)> {
        self.hosts.iter().map(|host| (host.port, interface(host.port))).collect()
    }

    /// Writes a file into the lab's folder.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder().join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

fn interface(port: u16) -> String {
    format!("port{port}")
}

/// Where a host is.
pub(crate) struct Place {
    /// Its name.
    pub(crate) name: String,
    /// The last part of its addresses.
    pub(crate) number: u16,
    /// The port of its switch.
    pub(crate) port: u16,
    /// The port's interface in the switch's namespace.
    pub(crate) interface: String,
}

/// Makes a host and plugs it into a switch.
pub(crate) fn host(starter: &Starter, place: Place, switch: &Namespace, agent: &Path) -> Result<Host> {
    let Place { name, number, port, interface: port_name } = place;
    let namespace = Namespace::new(&name)?;
    let (v4, v6) = (format!("10.0.0.{number}"), format!("fd00::{number}"));
    let mac = format!("02:00:00:00:00:{number:02}");
    namespace.ip(&[
        "link",
        "add",
        "eth0",
        "address",
        &mac,
        "type",
        "veth",
        "peer",
        "name",
        &port_name,
        "netns",
        switch.name(),
    ])?;
    // The switch forwards frames; the kernel's own chatter on its ends would be noise in the counters.
    switch.sysctl(&format!("net.ipv6.conf.{port_name}.disable_ipv6=1"))?;
    switch.ip(&["link", "set", &port_name, "up"])?;
    // Frames pass through user space, where a checksum left to the hardware would stay unfinished.
    netns::run("ip", &["netns", "exec", namespace.name(), "ethtool", "-K", "eth0", "tx", "off"])?;
    namespace.ip(&["address", "add", &format!("{v4}/24"), "dev", "eth0"])?;
    namespace.ip(&["address", "add", &format!("{v6}/64"), "dev", "eth0", "nodad"])?;
    namespace.ip(&["link", "set", "eth0", "up"])?;
    let agent = Agent::start(starter, &name, &namespace, agent)?;
    Ok(Host { name, port, v4, v6, mac, agent, namespace })
}
