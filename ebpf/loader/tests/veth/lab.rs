//! Two namespaces with a veth pair between them: senders in one, the receiver in the other.

use std::future::Future;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use outplane_testbed::Namespace;
use outplane_xdp::{Delivered, Settings, XdpReceiver};

use crate::support;

/// The receiver's interface, in its namespace.
pub(crate) const INTERFACE: &str = "rx0";
/// Of the receiver's interface.
pub(crate) const RECEIVER: &str = "10.9.0.2";
/// Long enough for a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Lab {
    senders: Namespace,
    receiver: Namespace,
    /// In a bpffs of the lab's own.
    pub(crate) pins: PathBuf,
    /// Not in a bpffs.
    pub(crate) plain: PathBuf,
}

impl Lab {
    /// Runs a test in the receiver's namespace, or says why it cannot. The bpffs is mounted for the test's thread alone
    /// and goes with it, whatever happens.
    pub(crate) fn run<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Lab) -> F + Send) {
        if let Some(why) = outplane_testbed::why_not() {
            println!("SKIPPED: {name}: {why}");
            return;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lab = Self {
            senders: Namespace::new(&format!("{name}tx")).expect("a namespace"),
            receiver: Namespace::new(&format!("{name}rx")).expect("a namespace"),
            pins: folder.path().join("bpf/outplane"),
            plain: folder.path().join("plain"),
        };
        lab.connect(1500);
        let namespace =
            std::fs::File::open(format!("/run/netns/{}", lab.receiver.name())).expect("a namespace");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                setns(&namespace, CloneFlags::CLONE_NEWNET).expect("the namespace is ours");
                unshare(CloneFlags::CLONE_NEWNS).expect("mounts of our own");
                let bpffs = folder.path().join("bpf");
                std::fs::create_dir(&bpffs).expect("a folder");
                command("mount", &["--make-rprivate", "/"]);
                command("mount", &["-t", "bpf", "bpf", bpffs.to_str().expect("a plain path")]);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(test(lab));
            });
        });
    }

    /// Makes the veth pair; also again, after [`Self::cut`].
    pub(crate) fn connect(&self, mtu: u16) {
        let (mtu, receiver) = (mtu.to_string(), self.receiver.name());
        let link =
            ["link", "add", "tx0", "mtu", &mtu, "type", "veth", "peer", "name", INTERFACE, "mtu", &mtu];
        self.senders.ip(&[&link[..], &["netns", receiver]].concat()).expect("a veth pair");
        for (namespace, interface, host) in [(&self.senders, "tx0", 1), (&self.receiver, INTERFACE, 2)] {
            let v4 = format!("10.9.0.{host}/24");
            let v6 = format!("fd09::{host}/64");
            namespace.ip(&["address", "add", &v4, "dev", interface]).expect("an address");
            namespace.ip(&["address", "add", &v6, "dev", interface, "nodad"]).expect("an address");
            namespace.ip(&["link", "set", interface, "up"]).expect("an interface");
        }
        self.senders.ip(&["route", "add", "239.0.0.0/8", "dev", "tx0"]).expect("a route");
    }

    /// Removes the veth pair.
    pub(crate) fn cut(&self) {
        self.senders.ip(&["link", "delete", "tx0"]).expect("the veth pair is there");
    }

    /// Settings for the receiver's interface.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings =
            Settings { interface: INTERFACE.to_owned(), pin_root: self.pins.clone(), ..support::settings() };
        settings.groups.push((RECEIVER.parse().expect("an address"), settings.groups[0].1));
        settings
    }

    /// A sender's socket.
    pub(crate) fn sender(&self, to: IpAddr, port: u16) -> UdpSocket {
        let socket = self.senders.inside(|| {
            let (from, to) = match to {
                IpAddr::V4(_) => ("0.0.0.0:0", SocketAddr::new(to, port)),
                IpAddr::V6(to) => {
                    let scope = nix::net::if_::if_nametoindex("tx0").expect("an interface");
                    ("[::]:0", SocketAddrV6::new(to, port, 0, scope).into())
                }
            };
            let socket = UdpSocket::bind(from).expect("a socket");
            socket.connect(to).expect("a route");
            socket
        });
        socket.expect("the namespace is there")
    }
}

fn command(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("util-linux is there");
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

pub(crate) async fn attach(settings: Settings) -> XdpReceiver {
    match XdpReceiver::attach(settings).await {
        Ok(receiver) => receiver,
        Err(error) => panic!("{}", support::chain(&error)),
    }
}

/// What is said when it cannot be attached.
pub(crate) async fn refusal(settings: Settings) -> String {
    match XdpReceiver::attach(settings).await {
        Ok(_) => panic!("attached"),
        Err(error) => support::chain(&error),
    }
}

pub(crate) async fn next(receiver: &mut XdpReceiver) -> Delivered {
    tokio::time::timeout(PATIENCE, receiver.next())
        .await
        .expect("a datagram in time")
        .expect("the ring is readable")
}
