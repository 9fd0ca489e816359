//! Processor time for a received copy, at four copies a task: the XDP program and the daemon's side of the ring, beside
//! a UDP socket whose owner does the same work (verify, replay window, deduplication). Over veth, in two parts:
//!
//! - the kernel's: veth receives in the sender's time, so it is what sending takes more than into an interface that
//!   throws away (an ifb, which takes nothing that it is sent); in batches, with the reading between them not counted;
//! - the daemon's: processor time of a thread with a tokio runtime that receives, while copies come one by one, as they
//!   come from distributors on machines of their own.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use nix::time::{ClockId, clock_gettime};
use outplane_rmdp_wire::{DEFAULT_GROUP_V4, DEFAULT_PORT, Datagram, Window};
use outplane_testbed::Namespace;
use outplane_xdp::{Settings, XdpReceiver};

use crate::median;
use crate::support::{KEY, SENDERS, announce_of, settings};

const ROUNDS: u64 = 5;
const TASKS: u64 = 4000;
const BATCH: usize = 16;
const MESSAGE: usize = 256;
const INTERFACE: &str = "rx0";
/// Between two copies, where they come one by one.
const GAP: Duration = Duration::from_micros(40);
/// The group that goes to the interface that throws away.
const NOWHERE: &str = "238.255.82.77";

pub(crate) fn table() -> Result<()> {
    let (senders, receiver) = (Namespace::new("benchtx")?, Namespace::new("benchrx")?);
    let link = ["link", "add", "tx0", "type", "veth", "peer", "name", INTERFACE, "netns", receiver.name()];
    senders.ip(&link)?;
    for (namespace, interface, address) in
        [(&senders, "tx0", "10.9.0.1/24"), (&receiver, INTERFACE, "10.9.0.2/24")]
    {
        namespace.ip(&["address", "add", address, "dev", interface])?;
        namespace.ip(&["link", "set", interface, "up"])?;
    }
    senders.ip(&["route", "add", "239.0.0.0/8", "dev", "tx0"])?;
    senders.ip(&["link", "add", "nowhere0", "type", "ifb"])?;
    senders.ip(&["link", "set", "nowhere0", "up"])?;
    senders.ip(&["route", "add", "238.0.0.0/8", "dev", "nowhere0"])?;
    let [socket, nowhere] = [DEFAULT_GROUP_V4.to_string(), NOWHERE.to_owned()].map(|group| {
        senders.inside(|| {
            let socket = UdpSocket::bind("10.9.0.1:0")?;
            socket.connect((group.as_str(), DEFAULT_PORT))?;
            Ok::<_, std::io::Error>(socket)
        })
    });
    let (socket, nowhere) = (socket??, nowhere??);
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
            runtime.block_on(rounds(&socket, &nowhere, &settings))
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

type Tasks = Vec<[Vec<u8>; 4]>;

async fn rounds(socket: &UdpSocket, nowhere: &UdpSocket, settings: &Settings) -> Result<()> {
    let mut times = [const { Vec::new() }; 4];
    let mut number = 0;
    for _ in 0..ROUNDS {
        let mut tasks = || -> Tasks {
            (0..TASKS)
                .map(|_| {
                    number += 1;
                    SENDERS.map(|sender| announce_of(sender, number, number, MESSAGE))
                })
                .collect()
        };
        let sending = batches(nowhere, &tasks(), || Ok(()))?;

        let mut receiver = XdpReceiver::attach(settings.clone()).await?;
        let kernel = batches(socket, &tasks(), || {
            while receiver.try_next().is_some() {}
            Ok(())
        })?;
        times[0].push(kernel.saturating_sub(sending));
        let (paced, begin) = (pace(socket, tasks())?, used()?);
        for _ in 0..TASKS {
            let task = receiver.next().await?;
            let datagram = Datagram::parse(&task.bytes)?;
            std::hint::black_box(datagram.payload.to_vec());
        }
        times[1].push((used()? - begin) / (4 * TASKS));
        paced.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        ensure!(receiver.control().counters()?.delivered() == 2 * TASKS, "one delivery a task");
        receiver.detach()?;

        let receiver = UdpSocket::bind((DEFAULT_GROUP_V4, DEFAULT_PORT))?;
        receiver.join_multicast_v4(&DEFAULT_GROUP_V4, &"10.9.0.2".parse()?)?;
        receiver.set_nonblocking(true)?;
        let mut buffer = [0; 1500];
        let kernel = batches(socket, &tasks(), || {
            while receiver.recv(&mut buffer).is_ok() {}
            Ok(())
        })?;
        times[2].push(kernel.saturating_sub(sending));
        let receiver = tokio::net::UdpSocket::from_std(receiver)?;
        let mut owner = State::default();
        let (paced, begin) = (pace(socket, tasks())?, used()?);
        let mut copies = 0;
        // On a loaded machine the socket's buffer overflows at times: those copies cost it nothing.
        while copies < 4 * TASKS {
            let Ok(length) = tokio::time::timeout(Duration::from_secs(2), receiver.recv(&mut buffer)).await
            else {
                break;
            };
            owner.take(&buffer[..length?])?;
            copies += 1;
        }
        ensure!(copies > 3 * TASKS, "{copies} of {} copies came by the socket", 4 * TASKS);
        times[3].push((used()? - begin) / copies);
        paced.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    }
    let [xdp_kernel, xdp_daemon, socket_kernel, socket_daemon] = times.map(median);
    let (xdp, plain) = (xdp_kernel + xdp_daemon, socket_kernel + socket_daemon);
    println!(
        "\nProcessor time for a received copy, four copies a task, message of {MESSAGE} bytes, over veth: nanoseconds"
    );
    println!("  median of {ROUNDS} rounds of {TASKS} tasks            kernel  daemon     all");
    println!("  XDP program and ring                       {xdp_kernel:>8} {xdp_daemon:>7} {xdp:>7}");
    println!("  UDP socket, same work in its owner         {socket_kernel:>8} {socket_daemon:>7} {plain:>7}");
    println!("  ratio                                                      {:>7.1}", ratio(plain, xdp));
    Ok(())
}

/// What a socket's owner keeps to do what the program does.
struct State {
    windows: [(u32, Window); 4],
    known: HashSet<outplane_rmdp_wire::TransactionId>,
}

impl Default for State {
    fn default() -> Self {
        Self { windows: SENDERS.map(|sender| (sender, Window::default())), known: HashSet::new() }
    }
}

impl State {
    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let datagram = Datagram::parse(bytes)?;
        datagram.verify(&[KEY])?;
        let header = datagram.header;
        let window = self.windows.iter_mut().find(|(sender, _)| *sender == header.sender);
        let (_, window) = window.context("a sender that we know")?;
        if window.accept(header.epoch, header.sequence).is_ok() && self.known.insert(header.id) {
            std::hint::black_box(datagram.payload.to_vec());
        }
        Ok(())
    }
}

/// Sends in batches; gives the time that sending took a copy. What `read` does between them is not counted.
fn batches(socket: &UdpSocket, tasks: &Tasks, mut read: impl FnMut() -> Result<()>) -> Result<u64> {
    let mut sum = 0;
    for batch in tasks.chunks(BATCH) {
        let begin = used()?;
        for copy in batch.iter().flatten() {
            socket.send(copy)?;
        }
        sum += used()? - begin;
        read()?;
    }
    Ok(sum / (4 * TASKS))
}

/// Begins to send one by one, on a thread of its own.
fn pace(socket: &UdpSocket, tasks: Tasks) -> Result<std::thread::JoinHandle<Result<()>>> {
    let socket = socket.try_clone()?;
    Ok(std::thread::spawn(move || {
        let mut due = Instant::now();
        for copy in tasks.iter().flatten() {
            while Instant::now() < due {
                std::hint::spin_loop();
            }
            due = Instant::now() + GAP;
            socket.send(copy)?;
        }
        Ok(())
    }))
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
