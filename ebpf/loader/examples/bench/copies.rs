//! Processor time for a received copy, at four copies a task: the XDP program and the daemon's side of the ring, beside
//! a UDP socket whose owner does the same work (verify, replay window, deduplication).
//!
//! One thread sends over veth and one receives. The kernel's receive path runs in the sender's time, so the cost of a
//! copy is what sender and receiver use together, less what the sender uses when each datagram is dropped as soon as it
//! arrives.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use nix::time::{ClockId, clock_gettime};
use outplane_rmdp_wire::{DEFAULT_GROUP_V4, DEFAULT_PORT, Datagram, DatagramType, Window};
use outplane_testbed::Namespace;
use outplane_xdp::{Settings, XdpReceiver};

use crate::median;
use crate::support::{KEY, SENDERS, announce_of, settings};

const ROUNDS: u64 = 7;
const TASKS: u64 = 20_000;
const MESSAGE: usize = 256;
const INTERFACE: &str = "rx0";
/// Datagrams on their way at most, so that no queue overflows.
const AHEAD: u64 = 64;

pub fn table() -> Result<()> {
    let (senders, receiver) = (Namespace::new("benchtx")?, Namespace::new("benchrx")?);
    let link = ["link", "add", "tx0", "type", "veth", "peer", "name", INTERFACE, "netns", receiver.name()];
    senders.ip(&link)?;
    for (namespace, interface, address) in [(&senders, "tx0", "10.9.0.1/24"), (&receiver, INTERFACE, "10.9.0.2/24")] {
        namespace.ip(&["address", "add", address, "dev", interface])?;
        namespace.ip(&["link", "set", interface, "up"])?;
    }
    senders.ip(&["route", "add", "239.0.0.0/8", "dev", "tx0"])?;
    let socket = senders.inside(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect((DEFAULT_GROUP_V4, DEFAULT_PORT))?;
        Ok::<_, std::io::Error>(socket)
    })??;
    let namespace = std::fs::File::open(format!("/run/netns/{}", receiver.name()))?;
    let folder = tempfile::tempdir()?;
    // The bpffs is this thread's alone and goes with it.
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            unshare(CloneFlags::CLONE_NEWNS)?;
            let path = folder.path().to_str().context("a plain path")?;
            for arguments in [&["--make-rprivate", "/"][..], &["-t", "bpf", "bpf", path]] {
                ensure!(Command::new("mount").args(arguments).status()?.success(), "mount {arguments:?}");
            }
            let settings = Settings {
                interface: INTERFACE.to_owned(),
                pin_root: folder.path().join("outplane"),
                capacity: 327_680,
                ..settings()
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(rounds(&socket, &settings))
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Nanoseconds of a copy in each way.
async fn rounds(socket: &UdpSocket, settings: &Settings) -> Result<()> {
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        let datagrams: Vec<[Vec<u8>; 4]> = (round * TASKS + 1..=(round + 1) * TASKS)
            .map(|number| SENDERS.map(|sender| announce_of(sender, number, number, MESSAGE)))
            .collect();
        // Dropped at once: a byte that must be zero is not.
        let mut bad = datagrams.clone();
        bad.iter_mut().flatten().for_each(|datagram| datagram[22] = 1);
        let receiver = XdpReceiver::attach(settings.clone()).await?;
        let sending = send(socket, &bad, |_| Ok(()))?;
        drop(receiver);
        times[0].push(sending);

        let mut receiver = XdpReceiver::attach(settings.clone()).await?;
        let mut delivered = 0;
        let used = send(socket, &datagrams, |sent| {
            // The daemon is behind by some tasks at most; without a reactor between, as under load.
            while delivered + AHEAD / 4 < sent || (sent == TASKS && delivered < TASKS) {
                match receiver.try_next() {
                    Some(task) => {
                        let datagram = Datagram::parse(&task.bytes)?;
                        ensure!(datagram.header.datagram_type == DatagramType::TaskAnnounce);
                        delivered += 1;
                    }
                    None => std::hint::spin_loop(),
                }
            }
            Ok(())
        })?;
        ensure!(delivered == TASKS, "{delivered} delivered");
        receiver.control().switch_generation()?;
        receiver.detach()?;
        times[1].push(used.saturating_sub(sending));

        times[2].push(by_socket(socket, &datagrams)?.saturating_sub(sending));
    }
    let [sending, xdp, plain] = times.map(median);
    println!("\nProcessor time for a received copy, four copies a task, message of {MESSAGE} bytes, over veth: nanoseconds");
    println!("  median of {ROUNDS} rounds of {TASKS} tasks; sending alone takes {sending} and is taken off");
    println!("  {:<52} {xdp:>6}", "XDP program and ring");
    println!("  {:<52} {plain:>6}", "UDP socket, verified and deduplicated by its owner");
    println!("  {:<52} {:>8.1}", "ratio", ratio(plain, xdp));
    Ok(())
}

/// Sends everything and lets `receive` read after each task; gives the time used a copy.
fn send(socket: &UdpSocket, datagrams: &[[Vec<u8>; 4]], mut receive: impl FnMut(u64) -> Result<()>) -> Result<u64> {
    let begin = used()?;
    for (sent, copies) in (1..).zip(datagrams) {
        for copy in copies {
            socket.send(copy)?;
        }
        receive(sent)?;
    }
    Ok((used()? - begin) / (4 * TASKS))
}

/// The same datagrams into a socket that has joined the group.
fn by_socket(socket: &UdpSocket, datagrams: &[[Vec<u8>; 4]]) -> Result<u64> {
    let receiver = UdpSocket::bind((DEFAULT_GROUP_V4, DEFAULT_PORT))?;
    receiver.join_multicast_v4(&DEFAULT_GROUP_V4, &"10.9.0.2".parse()?)?;
    receiver.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut windows = SENDERS.map(|sender| (sender, Window::default()));
    let mut known = HashSet::new();
    let mut buffer = [0; 1500];
    let mut received = 0;
    let begin = Instant::now();
    let cost = send(socket, datagrams, |sent| {
        while received + AHEAD < 4 * sent || (sent == TASKS && received < 4 * TASKS) {
            let length = receiver.recv(&mut buffer).with_context(|| format!("{received} of {} received", 4 * sent))?;
            received += 1;
            let datagram = Datagram::parse(&buffer[..length])?;
            datagram.verify(&[KEY])?;
            let header = datagram.header;
            let window = windows.iter_mut().find(|(sender, _)| *sender == header.sender);
            let (_, window) = window.context("a sender that we know")?;
            if window.accept(header.epoch, header.sequence).is_ok() && known.insert(header.id) {
                std::hint::black_box(datagram.payload.to_vec());
            }
        }
        Ok(())
    })?;
    ensure!(known.len() as u64 == TASKS, "{} of {TASKS} tasks after {:?}", known.len(), begin.elapsed());
    Ok(cost)
}

/// Processor time of this thread, nanoseconds.
fn used() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(u64::try_from(time.tv_sec())? * 1_000_000_000 + u64::try_from(time.tv_nsec())?)
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a datagram")]
fn ratio(plain: u64, xdp: u64) -> f64 {
    plain as f64 / xdp.max(1) as f64
}
