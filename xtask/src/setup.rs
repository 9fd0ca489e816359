//! What the tasks need on the machine, installed where we may.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::cargo::run;

/// Something that a Debian package brings.
struct Need {
    package: &'static str,
    why: &'static str,
    present: fn() -> bool,
}

/// To build: tests send and capture frames with libpcap, TLS contains C and assembly.
const TO_BUILD: [Need; 2] = [
    Need {
        package: "libpcap-dev",
        why: "tests send and capture frames with libpcap",
        present: || header("pcap/pcap.h"),
    },
    Need { package: "gcc", why: "the TLS library contains C", present: || program("cc") },
];

/// To make networks of namespaces.
const TO_RUN_LABS: [Need; 5] = [
    Need { package: "iproute2", why: "makes network namespaces and veth pairs", present: || program("ip") },
    Need {
        package: "ethtool",
        why: "turns checksum offload off on veth, for BMv2",
        present: || program("ethtool"),
    },
    Need { package: "nftables", why: "drops and doubles datagrams on their way", present: || program("nft") },
    Need { package: "iputils-ping", why: "tries ICMP flows", present: || program("ping") },
    Need {
        package: "util-linux",
        why: "setpriv ends a lab's processes with their owner",
        present: || program("setpriv"),
    },
];

/// Real peers that tests run against. Without them those tests say SKIPPED.
const PEERS: [Need; 5] = [
    Need { package: "ceph-mon", why: "a real S3 store: Ceph", present: || program("ceph-mon") },
    Need { package: "ceph-osd", why: "a real S3 store: Ceph", present: || program("ceph-osd") },
    Need { package: "ceph-common", why: "a real S3 store: Ceph", present: || program("ceph") },
    Need { package: "radosgw", why: "a real S3 store: Ceph's gateway", present: || program("radosgw") },
    Need { package: "etcd-server", why: "what RMDP is compared with: etcd", present: || program("etcd") },
];

/// Installs peers where that can be done; tests do without those that are not there.
pub(crate) fn peers() {
    if let Err(error) = install(&PEERS.iter().collect::<Vec<_>>()) {
        println!("going on without: {error:#}");
    }
}

/// Installs what building and labs need.
pub(crate) fn machine() -> Result<()> {
    install(&TO_BUILD.iter().chain(&TO_RUN_LABS).collect::<Vec<_>>())
}

/// Installs rustup components that the checks need.
pub(crate) fn components() -> Result<()> {
    for (tool, component) in [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        if !program(tool) {
            println!("installing the rustup component {component}: the checks use it");
            run(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}

fn install(needs: &[&Need]) -> Result<()> {
    let missing: Vec<_> = needs.iter().filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        println!("needs the Debian package {}: {}", need.package, need.why);
    }
    let packages: Vec<_> = missing.iter().map(|need| need.package).collect();
    if !is_root() || !program("apt-get") {
        bail!("please install, then start again: apt-get install {}", packages.join(" "));
    }
    println!("installing with apt-get: {}", packages.join(" "));
    run(apt().args(["-qq", "update"]).stdout(Stdio::null()))?;
    run(apt()
        .args(["-qq", "install", "--yes", "--no-install-recommends"])
        .args(packages)
        .stdout(Stdio::null()))
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Whether a program is on PATH.
pub(crate) fn program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(name).is_file())
}

fn header(name: &str) -> bool {
    Path::new("/usr/include").join(name).is_file()
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
