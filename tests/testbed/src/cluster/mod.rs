//! A whole site in network namespaces: distributors, controllers, a store and switches, joined by a Linux bridge.
//!
//! ```text
//!   namespaces  d1 d2 ..   c1 c2 ..   store   switches (s1 s2 ..)   admin (commands)
//!                 │eth0      │eth0      │eth0        │eth0             │eth0
//!                 └───────┬──┴──────────┴────────────┴─────────────────┘
//!                  bridge namespace: br0, ports p-d1, p-c1, ..; nftables and relays spoil datagrams here
//! ```
//!
//! Every process is one of the built programs with files as users write them. They are started, stopped, killed and
//! paused by name. What they say goes to files in the cluster's folder; when a test fails, the ends of those are shown.
//! It needs root, `ip`, `ethtool`, `mount`, and `nft` for faults. Addresses are 10.77.0.0/24 and fd77::/64.

mod bpffs;
mod files;
mod http;
mod layout;
mod node;
mod store;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
pub use outplane_rmdp_core::config::SharedConfig;

use crate::ceph::Ceph;
use crate::chaos::{Chaos, ChaosCounts, Relay};
use crate::faults::{self, FaultCounts};
use crate::lab::{self, Host, Place};
use crate::netns::{self, Namespace};
use crate::process::Starter;
use bpffs::BpfFs;
use layout::Seat;
use node::Node;

pub use http::Metrics;
pub use layout::{DATAGRAM_PORT, HTTP_PORT, Part};

/// How long a process may take until it is ready, or has ended as asked.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the store's objects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// `outplane store`; its process is called `store`.
    Embedded,
    /// Ceph with that many gateways, called `g1`, `g2`, ..; `store` is all of it, and can be paused only.
    Ceph {
        /// How many.
        gateways: u8,
    },
}

/// What nodes are told about XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xdp {
    /// Where it can be.
    Auto,
    /// Or the controller does not start.
    Required,
    /// A socket.
    Off,
}

/// What a cluster is to be.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// d1, d2, ..; at most 20 of each kind.
    pub distributors: u8,
    /// c1, c2, ..
    pub controllers: u8,
    /// s1, s2, ..
    pub switches: u8,
    /// Ports of each switch, with a host at each; 0: tables only.
    pub ports: u16,
    /// The store.
    pub store: StoreKind,
    /// Whether controllers receive by XDP.
    pub xdp: Xdp,
    /// Nodes that get a relay before them, for [`Cluster::chaos`].
    pub relays: Vec<String>,
    /// The shared configuration, without members.
    pub shared: SharedConfig,
}

/// The built programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `outplane`.
    pub outplane: PathBuf,
    /// `outplane-lab-agent`.
    pub agent: PathBuf,
}

/// How to reach the store from within the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreAccess {
    /// URLs.
    pub endpoints: Vec<String>,
    /// The bucket.
    pub bucket: String,
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
}

/// A cluster. Dropping it ends all of it.
#[derive(Debug)]
pub struct Cluster {
    /// Hosts of all switches, in their order; none if switches have no ports.
    pub hosts: Vec<Host>,
    nodes: BTreeMap<String, Mutex<Node>>,
    relays: BTreeMap<String, Mutex<Relay>>,
    seats: Vec<Seat>,
    options: ClusterOptions,
    programs: Programs,
    store: StoreAccess,
    ceph: Option<Mutex<Ceph>>,
    // Processes end before their starter, that before the mounts and namespaces that they are in.
    starter: Starter,
    _bpffs: Option<BpfFs>,
    namespaces: BTreeMap<String, Namespace>,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// Makes the network and the files, and Ceph, which takes 15 s; nothing of ours is started yet.
    pub fn new(options: ClusterOptions, programs: Programs) -> Result<Self> {
        for count in [options.distributors, options.controllers] {
            ensure!((1..=layout::MOST).contains(&count), "1 to {} of each kind of node", layout::MOST);
        }
        netns::sweep()?;
        bpffs::sweep()?;
        let folder = tempfile::Builder::new().prefix(&bpffs::folder_prefix()).tempdir()?;
        let bpffs = match options.xdp {
            Xdp::Off => None,
            Xdp::Auto => BpfFs::mount(&folder.path().join("bpf")).ok(),
            Xdp::Required => Some(BpfFs::mount(&folder.path().join("bpf"))?),
        };
        let seats = seats(&options);
        let store = StoreAccess {
            endpoints: store::endpoints(options.store),
            bucket: "outplane".to_owned(),
            access_key: "outplane".to_owned(),
            secret_key: "a-secret-of-the-lab-alone".to_owned(),
        };
        let mut cluster = Self {
            hosts: Vec::new(),
            nodes: BTreeMap::new(),
            relays: BTreeMap::new(),
            seats,
            options,
            programs,
            store,
            ceph: None,
            starter: Starter::new(),
            _bpffs: bpffs,
            namespaces: BTreeMap::new(),
            folder,
        };
        cluster.make_network()?;
        cluster.make_ceph()?;
        cluster.make_hosts()?;
        cluster.write_files()?;
        for seat in cluster.seats.clone() {
            cluster.nodes.insert(seat.name.clone(), Mutex::new(Node::new(seat)));
        }
        Ok(cluster)
    }

    fn make_network(&mut self) -> Result<()> {
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

    fn make_hosts(&mut self) -> Result<()> {
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

    fn write_files(&self) -> Result<()> {
        let pins = self.folder().join("bpf");
        for seat in self.seats.iter().filter(|seat| matches!(seat.part, Part::Distributor | Part::Controller))
        {
            let text = files::node(seat, &self.store, self.options.xdp, &pins.join(&seat.name));
            self.write(&format!("{}.toml", seat.name), &text)?;
        }
        self.write("shared.toml", &self.shared().to_toml())?;
        Ok(())
    }

    /// The shared configuration that the cluster begins with.
    pub fn shared(&self) -> SharedConfig {
        files::shared(&self.options.shared, &self.seats)
    }

    /// The switches as objects of the intent.
    pub fn switch_objects(&self) -> String {
        files::switch_objects(&self.seats, self.options.ports)
    }

    /// A folder that goes with the cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the cluster's folder.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder().join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Names of all processes of a kind.
    pub fn names(&self, part: Part) -> Vec<String> {
        self.seats.iter().filter(|seat| seat.part == part).map(|seat| seat.name.clone()).collect()
    }

    /// What the store consists of, for those who kill or pause it.
    pub fn store_processes(&self) -> Vec<String> {
        match self.options.store {
            StoreKind::Embedded => self.names(Part::Store),
            StoreKind::Ceph { gateways } => (1..=gateways).map(|number| format!("g{number}")).collect(),
        }
    }

    /// How to reach the store.
    pub fn store(&self) -> &StoreAccess {
        &self.store
    }

    /// The journal of a switch.
    pub fn journal(&self, switch: &str) -> PathBuf {
        self.folder().join(format!("{switch}.journal"))
    }

    /// Where others find it: datagrams of nodes, the server of a store or a switch.
    pub fn address(&self, name: &str) -> Result<SocketAddr> {
        Ok(self.seat(name)?.address())
    }

    /// Its addresses, of both families.
    pub fn addresses(&self, name: &str) -> Result<[IpAddr; 2]> {
        let seat = self.seat(name)?;
        Ok([seat.v4().into(), seat.v6().into()])
    }

    /// The namespace where commands run.
    pub fn admin(&self) -> Result<&Namespace> {
        self.namespace("admin")
    }

    /// The namespace of a node; `bridge`, `switches`, `store` and `admin` are there, too.
    pub fn namespace(&self, name: &str) -> Result<&Namespace> {
        self.namespaces.get(name).with_context(|| format!("there is no namespace {name}"))
    }

    fn seat(&self, name: &str) -> Result<&Seat> {
        self.seats.iter().find(|seat| seat.name == name).with_context(|| format!("there is no {name}"))
    }

    fn node(&self, name: &str) -> Result<MutexGuard<'_, Node>> {
        let node = self.nodes.get(name).with_context(|| format!("there is no {name}"))?;
        Ok(node.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Starting and ending.
impl Cluster {
    /// Starts switches and store, writes the shared configuration, starts all nodes, and waits until they are ready.
    pub fn start(&self) -> Result<()> {
        for name in self.names(Part::Switch).into_iter().chain(self.names(Part::Store)) {
            self.start_one(&name)?;
            self.wait_ready(&name)?;
        }
        self.outplane(&["config", "set", "shared.toml"])?;
        let nodes = || self.names(Part::Distributor).into_iter().chain(self.names(Part::Controller));
        for name in nodes() {
            self.start_one(&name)?;
        }
        for name in nodes() {
            self.wait_ready(&name)?;
        }
        Ok(())
    }

    /// Starts a process that does not run.
    pub fn start_one(&self, name: &str) -> Result<()> {
        if let Some((mut ceph, gateway)) = self.gateway(name)? {
            return ceph.restart_gateway(gateway);
        }
        let command = self.daemon(self.seat(name)?)?;
        self.node(name)?.start(&self.starter, self.folder(), command)
    }

    /// Waits until a process that was started does its work.
    pub fn wait_ready(&self, name: &str) -> Result<()> {
        if self.gateway(name)?.is_some() {
            return Ok(());
        }
        let end = Instant::now() + PATIENCE;
        loop {
            match self.is_ready(name) {
                Ok(true) => return Ok(()),
                other if Instant::now() >= end => {
                    let why =
                        other.err().map_or_else(|| "it says no".to_owned(), |error| format!("{error:#}"));
                    bail!("{name} is not ready after {PATIENCE:?}: {why}\n{}", self.tail(name, 20));
                }
                _ => {}
            }
            if let Some(status) = self.node(name)?.ended()? {
                bail!("{name} has ended: {status}\n{}", self.tail(name, 20));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_ready(&self, name: &str) -> Result<bool> {
        let seat = self.seat(name)?;
        match seat.part {
            Part::Distributor | Part::Controller => Ok(self.get(name, "/ready")?.0 == 200),
            Part::Switch | Part::Store => {
                let address = seat.address();
                let connect = move || std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1));
                Ok(self.admin()?.inside(connect)?.is_ok())
            }
        }
    }

    /// SIGTERM, and waits until it has ended; it must say that all is well.
    pub fn stop(&self, name: &str) -> Result<Duration> {
        let start = Instant::now();
        let status = self.node(name)?.stop(PATIENCE)?;
        ensure!(status.success(), "{name} ended with {status} after SIGTERM\n{}", self.tail(name, 20));
        Ok(start.elapsed())
    }

    /// SIGKILL.
    pub fn kill(&self, name: &str) -> Result<()> {
        if let Some((mut ceph, gateway)) = self.gateway(name)? {
            return ceph.kill_gateway(gateway);
        }
        self.node(name)?.kill()
    }

    /// SIGSTOP: it lives, and does nothing.
    pub fn pause(&self, name: &str) -> Result<()> {
        if let (Some(ceph), "store") = (self.ceph(), name) {
            return ceph.stop();
        }
        if let Some((mut ceph, gateway)) = self.gateway(name)? {
            return ceph.stop_gateway(gateway);
        }
        self.node(name)?.pause()
    }

    /// SIGCONT.
    pub fn resume(&self, name: &str) -> Result<()> {
        if let (Some(ceph), "store") = (self.ceph(), name) {
            return ceph.cont();
        }
        if let Some((mut ceph, gateway)) = self.gateway(name)? {
            return ceph.cont_gateway(gateway);
        }
        self.node(name)?.resume()
    }

    /// Processes that have ended without being asked, and how.
    pub fn casualties(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for name in self.nodes.keys() {
            if let Some(status) = self.node(name)?.ended()? {
                found.push(format!("{name}: {status}"));
            }
        }
        Ok(found)
    }

    fn daemon(&self, seat: &Seat) -> Result<Command> {
        let mut command = self.namespace(&seat.namespace)?.command(&self.programs.outplane);
        command.current_dir(self.folder());
        match seat.part {
            Part::Distributor | Part::Controller => {
                let word = if seat.part == Part::Controller { "controller" } else { "distributor" };
                command.args([word, "--config", &format!("{}.toml", seat.name)]);
            }
            Part::Store => {
                command.args(["store", "--dir", "objects", "--bucket", &self.store.bucket]);
                command.args(["--listen", &seat.address().to_string()]);
                command.env("OUTPLANE_STORE_ACCESS_KEY", &self.store.access_key);
                command.env("OUTPLANE_STORE_SECRET_KEY", &self.store.secret_key);
            }
            Part::Switch => {
                command.args(["softswitch", "--listen", &seat.address().to_string()]);
                command.args(["--device-id", &seat.number.to_string()]);
                command.arg("--journal").arg(self.journal(&seat.name));
                for port in 1..=self.options.ports {
                    command.args(["--port", &format!("{port}={}", switch_port(seat.number, port))]);
                }
                if self.options.ports == 0 {
                    command.arg("--no-ports");
                }
            }
        }
        Ok(command)
    }
}

/// Looking.
impl Cluster {
    /// An outplane command in the admin namespace and the cluster's folder, that finds the store.
    pub fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = self.admin()?.command(&self.programs.outplane);
        command.args(words).current_dir(self.folder()).stdin(Stdio::null());
        command.env("OUTPLANE_CONFIG", self.folder().join("d1.toml"));
        Ok(command)
    }

    /// Runs an outplane command; an error shows what it said.
    pub fn outplane(&self, words: &[&str]) -> Result<Output> {
        let output = self.command(words)?.output().context("cannot run outplane")?;
        ensure!(
            output.status.success(),
            "`outplane {}`: {}\n{}{}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output)
    }

    /// Status and body of a page that a node serves.
    pub fn get(&self, name: &str, path: &str) -> Result<(u16, String)> {
        let address = self.seat(name)?.http();
        self.admin()?.inside(|| http::get(address, path))?.with_context(|| format!("GET {path} of {name}"))
    }

    /// A node's metrics.
    pub fn metrics(&self, name: &str) -> Result<Metrics> {
        let (status, body) = self.get(name, "/metrics")?;
        ensure!(status == 200, "GET /metrics of {name}: {status}");
        Ok(Metrics::parse(&body))
    }

    /// What a process said, all its lives.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(node::log(self.folder(), name)).unwrap_or_default()
    }

    /// The last lines of what a process said.
    pub fn tail(&self, name: &str, lines: usize) -> String {
        let log = self.log(name);
        let all: Vec<_> = log.lines().collect();
        let shown = &all[all.len().saturating_sub(lines)..];
        format!("--- {name}, the last {} of {} lines\n{}\n", shown.len(), all.len(), shown.join("\n"))
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

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in self.nodes.keys() {
                eprintln!("{}", self.tail(name, 15));
            }
        }
    }
}

fn seats(options: &ClusterOptions) -> Vec<Seat> {
    let of = |part, count| (1..=count).map(move |number| Seat::new(part, number));
    of(Part::Distributor, options.distributors)
        .chain(of(Part::Controller, options.controllers))
        .chain(of(Part::Switch, options.switches))
        .chain(of(Part::Store, u8::from(options.store == StoreKind::Embedded)))
        .collect()
}

/// The bridge port of a namespace.
fn port(name: &str) -> String {
    format!("p-{name}")
}

/// The interface of a switch's port.
fn switch_port(switch: u8, port: u16) -> String {
    format!("s{switch}p{port}")
}
