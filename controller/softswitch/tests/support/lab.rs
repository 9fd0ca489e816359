//! Real interfaces for tests, in a network namespace that a thread makes and that ends with it.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use pcap::{Active, Capture, Direction};

/// How long a frame may take; far longer than any does, so that a slow machine fails no test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a test in a namespace of its own, or says why it can't.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    if let Some(reason) = why_not() {
        println!("SKIPPED: frames on real interfaces: {reason}");
        return;
    }
    let thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn why_not() -> Option<&'static str> {
    if !geteuid().is_root() {
        return Some("network namespaces need root");
    }
    // A container may have root without it.
    let allowed = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join();
    if !matches!(allowed, Ok(Ok(()))) {
        return Some("this system allows no network namespaces");
    }
    if Command::new("ip").arg("-V").output().is_err() {
        return Some("`ip` is not installed (Debian package iproute2)");
    }
    None
}

/// Runs `ip` in this thread's namespace.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A veth pair, both ends up, on which the kernel says nothing of itself.
pub(crate) fn veth(a: &str, b: &str) {
    ip(&format!("link add {a} type veth peer name {b}"));
    for end in [a, b] {
        quiet(end).unwrap();
    }
    for end in [a, b] {
        ip(&format!("link set {end} up"));
    }
    for end in [a, b] {
        wait_until_up(end);
    }
}

/// The system loses frames without a word between an interface's being set up and its being up.
pub(crate) fn wait_until_up(interface: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let output = Command::new("ip").args(["-oneline", "link", "show", interface]).output().unwrap();
        if String::from_utf8_lossy(&output.stdout).contains("state UP") {
            return;
        }
        assert!(Instant::now() < end, "{interface} stays down");
    }
}

/// No router solicitations, no duplicate address detection.
fn quiet(interface: &str) -> io::Result<()> {
    let setting = Path::new("/proc/sys/net/ipv6/conf").join(interface).join("disable_ipv6");
    // Without the folder this kernel has no IPv6, and is quiet.
    if setting.exists() { std::fs::write(setting, "1") } else { Ok(()) }
}

/// The host's end of a port: sends frames, and collects those that arrive.
pub(crate) struct Tap {
    sender: Capture<Active>,
    frames: Receiver<Vec<u8>>,
}

impl Tap {
    pub(crate) fn new(interface: &str) -> Self {
        let open = || {
            let tap = Capture::from_device(interface).unwrap().immediate_mode(true).promisc(true);
            tap.snaplen(66_000).buffer_size(16 << 20).timeout(50).open().unwrap()
        };
        let (to_test, frames) = channel();
        let mut receiver = open();
        receiver.direction(Direction::In).unwrap();
        let mut sender = open();
        sender.filter("less 0", false).unwrap();
        thread::spawn(move || {
            loop {
                match receiver.next_packet() {
                    Ok(packet) if to_test.send(packet.data.to_vec()).is_err() => break,
                    Ok(_) | Err(pcap::Error::TimeoutExpired) => {}
                    Err(_) => break, // the interface is gone
                }
            }
        });
        Self { sender, frames }
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        self.sender.sendpacket(frame).unwrap();
    }

    /// The next frame that arrives.
    pub(crate) fn receive(&self) -> Vec<u8> {
        self.frames.recv_timeout(PATIENCE).expect("a frame arrives")
    }

    /// All frames up to `last`, which is not returned.
    pub(crate) fn receive_until(&self, last: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let end = Instant::now() + PATIENCE;
        let mut frames = Vec::new();
        loop {
            match self.frames.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(frame) if last(&frame) => return frames,
                Ok(frame) => frames.push(frame),
                Err(RecvTimeoutError::Timeout) => panic!("the last frame doesn't arrive, after {frames:x?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the interface is gone"),
            }
        }
    }

    /// What has arrived and was not asked for.
    pub(crate) fn nothing_more(&self) -> bool {
        self.frames.try_recv().is_err()
    }
}
