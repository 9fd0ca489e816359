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
//! It needs root, `ip`, `ethtool`, `mount`, and `nft` for faults. Addresses are `10.77.0.0/24` and `fd77::/64`.

mod bpffs;
mod files;
mod http;
mod layout;
mod life;
mod network;
mod node;
mod store;
mod usage;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
pub use outplane_rmdp_core::config::SharedConfig;

use crate::ceph::Ceph;
use crate::chaos::Relay;
use crate::lab::Host;
use crate::netns::{self, Namespace};
use crate::process::Starter;
use bpffs::BpfFs;
use layout::Seat;
use node::Node;

pub use http::Metrics;
pub use layout::{DATAGRAM_PORT, HTTP_PORT, Part};
pub use usage::Usage;

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
    /// How long nodes wait for one endpoint before they try the next.
    pub attempt_timeout: Duration,
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
            attempt_timeout: store::patience(options.store),
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

    fn write_files(&self) -> Result<()> {
        let pins = self.folder().join("bpf");
        for seat in self.seats.iter().filter(|seat| matches!(seat.part, Part::Distributor | Part::Controller))
        {
            let text = files::node(seat, &self.store, self.options.xdp, &pins.join(&seat.name));
            let path = self.write(&format!("{}.toml", seat.name), &text)?;
            // It has secrets in it.
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
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

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A first line says that a program has started.
            for name in self.nodes.keys().filter(|name| self.log(name).lines().count() > 1) {
                eprintln!("{}", self.tail(name, 15));
            }
            if let Some(ceph) = self.ceph() {
                eprintln!("{}", ceph.tails(15));
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
