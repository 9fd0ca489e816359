//! The agent in each host's namespace, as seen from outside: a process that takes a JSON line and answers with one.
//!
//! `src/bin/agent.rs` is the program. Requests are answered in any order; an id says which is which.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::netns::Namespace;
use crate::process::{Process, Starter};

/// What a flow is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A connection, a line, its echo.
    Tcp,
    /// A datagram and its echo.
    Udp,
    /// An echo request and its reply.
    Icmp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Icmp => "ICMP",
        })
    }
}

/// A flow to try.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flow {
    /// Transport.
    pub transport: Transport,
    /// Where to.
    pub destination: IpAddr,
    /// Destination port; not for ICMP.
    pub port: u16,
}

/// How a flow went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// There and back again.
    Passed,
    /// No answer within the time.
    Dropped,
}

/// A stream of numbered datagrams, each echoed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stream {
    /// Where to.
    pub destination: IpAddr,
    /// Destination port.
    pub port: u16,
    /// Datagrams a second.
    pub rate: u32,
    /// For how long, milliseconds.
    pub milliseconds: u64,
    /// No more than so many are without their echoes at a time: a switch in software drops what exceeds its queues, whatever
    /// its tables say. None: they are sent in any case.
    pub window: Option<u32>,
}

/// What came of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Datagrams sent.
    pub sent: u64,
    /// Echoes received.
    pub received: u64,
}

/// A request to the agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Echo on this port, over both families, until the end.
    Serve(Transport, u16),
    /// Try a flow.
    Try(Flow, u64),
    /// Send a stream.
    Stream(Stream),
    /// Receive datagrams at a UDP port, without answering.
    Listen(u16),
    /// Wait so many milliseconds at most for a datagram at such a port.
    Hear(u16, u64),
    /// Send a frame as it is, by this interface.
    Frame(String, Vec<u8>),
}

/// The agent's answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Serving,
    Tried(Outcome),
    Streamed(StreamReport),
    Listening,
    Heard(bool),
    Sent,
    Failed(String),
}

/// An outcome and whose it is.
pub type FlowResult = (Flow, Outcome);

/// An agent in a namespace. Dropping it ends it.
#[derive(Debug)]
pub struct Agent {
    name: String,
    process: Process,
    stdin: ChildStdin,
    next: u64,
    early: HashMap<u64, Answer>,
}

impl Agent {
    pub(crate) fn start(
        starter: &Starter,
        name: &str,
        namespace: &Namespace,
        program: &Path,
    ) -> Result<Self> {
        let mut command = namespace.command(program);
        command.stdin(Stdio::piped());
        let mut process = starter.start(&format!("agent of {name}"), command)?;
        let stdin = process.take_stdin().context("standard input was not piped")?;
        Ok(Self { name: name.to_owned(), process, stdin, next: 0, early: HashMap::new() })
    }

    /// Serves echo on a TCP or UDP port.
    pub fn serve(&mut self, transport: Transport, port: u16) -> Result<()> {
        let id = self.ask(&Request::Serve(transport, port))?;
        match self.answer(id, Duration::from_secs(5))? {
            Answer::Serving => Ok(()),
            other => bail!("agent of {}: {other:?}", self.name),
        }
    }

    /// Begins to try a flow; the id is for [`Self::tried`].
    pub fn begin(&mut self, flow: &Flow, patience: Duration) -> Result<u64> {
        let milliseconds = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.ask(&Request::Try(flow.clone(), milliseconds))
    }

    /// How the flow went.
    pub fn tried(&mut self, id: u64) -> Result<Outcome> {
        match self.answer(id, Duration::from_secs(30))? {
            Answer::Tried(outcome) => Ok(outcome),
            other => bail!("agent of {}: {other:?}", self.name),
        }
    }

    /// Begins a stream; the id is for [`Self::streamed`].
    pub fn stream(&mut self, stream: &Stream) -> Result<u64> {
        self.ask(&Request::Stream(stream.clone()))
    }

    /// What came of the stream.
    pub fn streamed(&mut self, id: u64) -> Result<StreamReport> {
        match self.answer(id, Duration::from_mins(2))? {
            Answer::Streamed(report) => Ok(report),
            other => bail!("agent of {}: {other:?}", self.name),
        }
    }

    /// Receives datagrams at a UDP port from now on, without answering; [`Self::hears`] says whether one has come.
    pub fn listen(&mut self, port: u16) -> Result<()> {
        let id = self.ask(&Request::Listen(port))?;
        match self.answer(id, Duration::from_secs(5))? {
            Answer::Listening => Ok(()),
            other => bail!("agent of {}: {other:?}", self.name),
        }
    }

    /// Whether a datagram comes to a port that [`Self::listen`] has opened, or has come since it was asked last.
    pub fn hears(&mut self, port: u16, patience: Duration) -> Result<bool> {
        let milliseconds = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let id = self.ask(&Request::Hear(port, milliseconds))?;
        match self.answer(id, patience + Duration::from_secs(5))? {
            Answer::Heard(heard) => Ok(heard),
            other => bail!("agent of {}: {other:?}", self.name),
        }
    }

    /// Sends a frame as it is, from Ethernet on, by an interface of the agent's namespace.
    pub fn send_frame(&mut self, interface: &str, frame: &[u8]) -> Result<()> {
        let id = self.ask(&Request::Frame(interface.to_owned(), frame.to_vec()))?;
        match self.answer(id, Duration::from_secs(5))? {
            Answer::Sent => Ok(()),
            other => bail!("agent of {}: {other:?}", self.name),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<u64> {
        let id = self.next;
        self.next += 1;
        let line = serde_json::to_string(&(id, request))?;
        writeln!(self.stdin, "{line}").with_context(|| format!("the agent of {} is gone", self.name))?;
        Ok(id)
    }

    fn answer(&mut self, id: u64, patience: Duration) -> Result<Answer> {
        loop {
            if let Some(answer) = self.early.remove(&id) {
                return Ok(answer);
            }
            let line = self.process.line(patience)?;
            let (other, answer) =
                serde_json::from_str(&line).with_context(|| format!("agent said {line:?}"))?;
            self.early.insert(other, answer);
        }
    }
}

/// The agent's side: reads requests from standard input until it ends.
pub(crate) mod program {
    use std::collections::HashMap;
    use std::io::{BufRead, ErrorKind, Read, Write};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::{Duration, Instant};

    use anyhow::{Context, Result};

    use super::{Answer, Flow, Outcome, Request, Stream, StreamReport, Transport};

    /// An echo that has not come by then does not come.
    const SILENCE: Duration = Duration::from_secs(1);

    /// Runs the agent.
    pub(crate) fn run() -> Result<()> {
        for line in std::io::stdin().lock().lines() {
            let (id, request): (u64, Request) = serde_json::from_str(&line?)?;
            std::thread::spawn(move || {
                let answer = answer(request).unwrap_or_else(|error| Answer::Failed(format!("{error:#}")));
                let line = serde_json::to_string(&(id, answer)).expect("answers are plain values");
                let mut stdout = std::io::stdout().lock();
                // The owner is gone when nobody reads: the closed standard input ends us.
                let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
            });
        }
        Ok(())
    }

    fn answer(request: Request) -> Result<Answer> {
        Ok(match request {
            Request::Serve(transport, port) => {
                serve(transport, port).with_context(|| format!("cannot serve {transport} port {port}"))?;
                Answer::Serving
            }
            Request::Try(flow, milliseconds) => {
                Answer::Tried(attempt(&flow, Duration::from_millis(milliseconds))?)
            }
            Request::Stream(stream) => Answer::Streamed(send_stream(&stream)?),
            Request::Listen(port) => {
                let socket = UdpSocket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
                LISTENING.lock().unwrap_or_else(PoisonError::into_inner).insert(port, socket);
                Answer::Listening
            }
            Request::Hear(port, milliseconds) => {
                Answer::Heard(hear(port, Duration::from_millis(milliseconds))?)
            }
            Request::Frame(interface, frame) => {
                let sent = pcap::Capture::from_device(interface.as_str())
                    .and_then(pcap::Capture::open)
                    .and_then(|mut capture| capture.sendpacket(frame));
                sent.with_context(|| format!("cannot send a frame by {interface}"))?;
                Answer::Sent
            }
        })
    }

    /// The sockets of [`Request::Listen`], by port.
    static LISTENING: LazyLock<Mutex<HashMap<u16, UdpSocket>>> = LazyLock::new(Mutex::default);

    fn hear(port: u16, patience: Duration) -> Result<bool> {
        let socket = {
            let listening = LISTENING.lock().unwrap_or_else(PoisonError::into_inner);
            listening.get(&port).with_context(|| format!("nobody listens at port {port}"))?.try_clone()?
        };
        socket.set_read_timeout(Some(patience))?;
        Ok(silent_is_none(socket.recv(&mut [0; 2048]).map(|_| ()))?.is_some())
    }

    fn serve(transport: Transport, port: u16) -> Result<()> {
        let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        match transport {
            Transport::Tcp => {
                let listener = TcpListener::bind(everywhere)?;
                std::thread::spawn(move || {
                    for stream in listener.incoming().flatten() {
                        std::thread::spawn(move || echo(stream));
                    }
                });
            }
            Transport::Udp => {
                let socket = UdpSocket::bind(everywhere)?;
                std::thread::spawn(move || {
                    let mut buffer = [0; 2048];
                    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                        let _ = socket.send_to(&buffer[..length], from);
                    }
                });
            }
            Transport::Icmp => {} // the kernel answers
        }
        Ok(())
    }

    fn echo(mut stream: TcpStream) {
        let mut buffer = [0; 64];
        while let Ok(length) = stream.read(&mut buffer) {
            if length == 0 || stream.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
    }

    fn attempt(flow: &Flow, patience: Duration) -> Result<Outcome> {
        let target = SocketAddr::from((flow.destination, flow.port));
        let answered = match flow.transport {
            Transport::Tcp => silent_is_none(try_tcp(target, patience))?,
            Transport::Udp => silent_is_none(try_udp(target, patience))?,
            Transport::Icmp => try_icmp(flow.destination, patience)?.then_some(()),
        };
        Ok(if answered.is_some() { Outcome::Passed } else { Outcome::Dropped })
    }

    fn silent_is_none(result: std::io::Result<()>) -> Result<Option<()>> {
        match result {
            Ok(()) => Ok(Some(())),
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => Ok(None),
            // No answer to ARP or neighbour discovery either.
            Err(error) if error.kind() == ErrorKind::HostUnreachable => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn try_tcp(target: SocketAddr, patience: Duration) -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&target, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(b"outplane")?;
        stream.read_exact(&mut [0; 8])
    }

    fn try_udp(target: SocketAddr, patience: Duration) -> std::io::Result<()> {
        let socket = connected(target)?;
        socket.set_read_timeout(Some(patience))?;
        socket.send(b"outplane")?;
        socket.recv(&mut [0; 16]).map(|_| ())
    }

    fn try_icmp(target: IpAddr, patience: Duration) -> Result<bool> {
        let seconds = patience.as_secs_f64().max(0.1);
        let status = Command::new("ping")
            .args(["-n", "-q", "-c", "1", "-W", &seconds.to_string(), &target.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("cannot run `ping` (Debian package iputils-ping)")?;
        Ok(status.success())
    }

    fn connected(target: SocketAddr) -> std::io::Result<UdpSocket> {
        let any: IpAddr =
            if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::from((any, 0)))?;
        socket.connect(target)?;
        Ok(socket)
    }

    fn send_stream(stream: &Stream) -> Result<StreamReport> {
        let socket = connected(SocketAddr::from((stream.destination, stream.port)))?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let echoes = socket.try_clone()?;
        let (received, ended) = (AtomicU64::new(0), AtomicBool::new(false));
        let sent = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = [0; 16];
                let mut last = Instant::now();
                // However long a busy machine stands still meanwhile, the end is silence after the last one was sent.
                while !ended.load(Ordering::SeqCst) || last.elapsed() < SILENCE {
                    if echoes.recv(&mut buffer).is_ok() {
                        received.fetch_add(1, Ordering::SeqCst);
                        last = Instant::now();
                    } else if !ended.load(Ordering::SeqCst) {
                        last = Instant::now();
                    }
                }
            });
            let sent = send_numbers(stream, &socket, &received);
            ended.store(true, Ordering::SeqCst);
            sent
        })?;
        Ok(StreamReport { sent, received: received.into_inner() })
    }

    /// How many were sent.
    fn send_numbers(stream: &Stream, socket: &UdpSocket, received: &AtomicU64) -> Result<u64> {
        let start = Instant::now();
        let end = start + Duration::from_millis(stream.milliseconds);
        let total = u64::from(stream.rate) * stream.milliseconds / 1000;
        let window = stream.window.map_or(u64::MAX, u64::from);
        // Those that were waited for in vain.
        let mut lost = 0;
        for number in 0..total {
            let due = start + Duration::from_secs_f64(f64_of(number) / f64::from(stream.rate));
            if let Some(wait) = due.checked_duration_since(Instant::now()) {
                std::thread::sleep(wait);
            }
            let waiting = Instant::now();
            let under_way = |lost: u64| number.saturating_sub(received.load(Ordering::SeqCst) + lost);
            while under_way(lost) >= window {
                if waiting.elapsed() > SILENCE {
                    lost += under_way(lost);
                }
                std::thread::sleep(Duration::from_micros(100));
            }
            if stream.window.is_some() && Instant::now() > end {
                return Ok(number);
            }
            socket.send(&number.to_be_bytes())?;
        }
        Ok(total)
    }

    #[expect(clippy::cast_precision_loss, reason = "far fewer datagrams than 2^52")]
    fn f64_of(number: u64) -> f64 {
        number as f64
    }
}
