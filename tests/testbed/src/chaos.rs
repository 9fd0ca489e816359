//! A wire that loses, doubles and delays frames: a relay between two interfaces, in user space.
//!
//! ```text
//!   node eth0 ── x-node [ relay ] y-node ── p-node ── bridge
//! ```
//!
//! Only UDP datagrams to one port suffer; everything else passes at once and in order. Delays are drawn for each copy,
//! so datagrams overtake each other. The draws come from a seed: the same datagrams in the same order have the same
//! fate. The relay is a mode of the lab's agent program: `outplane-lab-agent chaos LEFT RIGHT`, which takes a JSON line
//! with [`Chaos`] and answers with one of [`ChaosCounts`], until its standard input ends.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::netns::Namespace;
use crate::process::{Process, Starter};

/// What datagrams suffer from. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chaos {
    /// Of the draws.
    pub seed: u64,
    /// UDP destination port of those that suffer.
    pub port: u16,
    /// So many of 100 are lost.
    pub loss: u8,
    /// So many of 100 come twice.
    pub duplicate: u8,
    /// Each copy waits up to so many microseconds.
    pub delay_us: u32,
}

/// What the relay did, since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChaosCounts {
    /// Frames that passed without a draw.
    pub untouched: u64,
    /// Datagrams that were drawn for.
    pub drawn: u64,
    /// Of these: lost.
    pub lost: u64,
    /// Of these: sent twice.
    pub doubled: u64,
    /// Copies that were sent after one that had come later.
    pub overtaken: u64,
    /// Copies that found too many waiting and were lost.
    pub overflowed: u64,
    /// Frames that the interface did not take.
    pub unsent: u64,
}

/// A running relay. Dropping it cuts the wire.
#[derive(Debug)]
pub(crate) struct Relay {
    process: Process,
    stdin: ChildStdin,
}

impl Relay {
    /// Joins two interfaces of a namespace; returns when frames pass.
    pub(crate) fn start(
        starter: &Starter,
        namespace: &Namespace,
        program: &Path,
        [left, right]: [&str; 2],
    ) -> Result<Self> {
        let mut command = namespace.command(program);
        command.args(["chaos", left, right]).stdin(Stdio::piped());
        let mut process = starter.start(&format!("relay of {left}"), command)?;
        let stdin = process.take_stdin().context("standard input was not piped")?;
        let mut relay = Self { process, stdin };
        relay.set(&Chaos::default())?;
        Ok(relay)
    }

    /// Changes what datagrams suffer from; says what was done so far.
    pub(crate) fn set(&mut self, chaos: &Chaos) -> Result<ChaosCounts> {
        writeln!(self.stdin, "{}", serde_json::to_string(chaos)?)?;
        let line = self.process.line(Duration::from_secs(10))?;
        serde_json::from_str(&line).with_context(|| format!("the relay said {line:?}"))
    }
}

/// Whether a frame is a UDP datagram (not a later fragment of one) to this port. VLAN tags are not looked through.
fn is_for(frame: &[u8], port: u16) -> bool {
    let at = |offset: usize| frame.get(offset..offset + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    let header = 14;
    let udp = match at(12) {
        Some(0x0800) => {
            let length = frame.get(header).map_or(0, |byte| usize::from(byte & 15) * 4);
            // The fragment's offset: the lower 13 bits.
            let whole = at(header + 6).is_some_and(|fragment| fragment.trailing_zeros() >= 13);
            (frame.get(header + 9) == Some(&17) && whole).then_some(header + length)
        }
        Some(0x86dd) => (frame.get(header + 6) == Some(&17)).then_some(header + 40),
        _ => None,
    };
    udp.and_then(|udp| at(udp + 2)) == Some(port)
}

/// What becomes of a datagram: the delay of each copy that is sent.
fn fate(chaos: &Chaos, random: &mut fastrand::Rng) -> Vec<Duration> {
    if random.u8(..100) < chaos.loss {
        return Vec::new();
    }
    let copies = if random.u8(..100) < chaos.duplicate { 2 } else { 1 };
    (0..copies).map(|_| Duration::from_micros(random.u32(..=chaos.delay_us).into())).collect()
}

/// The relay's side.
pub(crate) mod program {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;
    use std::io::{BufRead, Write};
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
    use std::time::Instant;

    use anyhow::{Context, Result};
    use nix::errno::Errno;
    use nix::ifaddrs::getifaddrs;
    use nix::sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
        sockopt,
    };

    use super::{Chaos, ChaosCounts, fate, is_for};

    /// Copies that may wait in one direction.
    const WAITING: usize = 10_000;
    /// Longest frame: what segmentation offload makes.
    const FRAME: usize = 1 << 16;
    /// Of each socket's receive buffer, bytes.
    const BUFFER: usize = 8 << 20;

    /// Frames that wait: due, the order in which they came, what.
    type Waiting = BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>;

    struct State {
        chaos: Chaos,
        random: fastrand::Rng,
        counts: ChaosCounts,
    }

    /// Runs the relay until standard input ends.
    pub(crate) fn run(left: &str, right: &str) -> Result<()> {
        let (left, right) = (Arc::new(open(left)?), Arc::new(open(right)?));
        let chaos = Chaos::default();
        let state = State { chaos, random: fastrand::Rng::with_seed(0), counts: ChaosCounts::default() };
        let state = Arc::new(Mutex::new(state));
        for (from, to) in [(left.clone(), right.clone()), (right, left)] {
            let queue = Arc::new((Mutex::new(Waiting::new()), Condvar::new()));
            std::thread::spawn({
                let (state, queue, to) = (state.clone(), queue.clone(), to.clone());
                move || deliver(&state, &queue, &to)
            });
            let state = state.clone();
            std::thread::spawn(move || receive(&state, &queue, &from, &to));
        }
        for line in std::io::stdin().lock().lines() {
            let chaos: Chaos = serde_json::from_str(&line?)?;
            let mut state = lock(&state);
            (state.chaos, state.random) = (chaos, fastrand::Rng::with_seed(chaos.seed));
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "{}", serde_json::to_string(&state.counts)?)?;
            stdout.flush()?;
        }
        Ok(())
    }

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket for all frames of an interface. It does not see those that it sends.
    fn open(interface: &str) -> Result<OwnedFd> {
        let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
            .context("cannot open a packet socket")?;
        let address = getifaddrs()?
            .filter(|found| found.interface_name == interface)
            .find_map(|found| found.address.and_then(|address| address.as_link_addr().copied()))
            .with_context(|| format!("there is no interface {interface}"))?;
        bind(fd.as_raw_fd(), &address).with_context(|| format!("cannot bind to {interface}"))?;
        setsockopt(&fd, sockopt::RcvBufForce, &BUFFER).context("cannot enlarge the receive buffer")?;
        Ok(fd)
    }

    fn receive(state: &Mutex<State>, queue: &(Mutex<Waiting>, Condvar), from: &OwnedFd, to: &OwnedFd) {
        let mut buffer = vec![0; FRAME];
        let mut number = 0;
        loop {
            let frame = match recv(from.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => &buffer[..length],
                Err(Errno::EINTR | Errno::ENETDOWN) => continue,
                Err(error) => {
                    eprintln!("the interface is gone: {error}");
                    return;
                }
            };
            let now = Instant::now();
            let delays = {
                let mut state = lock(state);
                if is_for(frame, state.chaos.port) {
                    let chaos = state.chaos;
                    let delays = fate(&chaos, &mut state.random);
                    state.counts.drawn += 1;
                    state.counts.lost += u64::from(delays.is_empty());
                    state.counts.doubled += u64::from(delays.len() > 1);
                    Some(delays)
                } else {
                    state.counts.untouched += 1;
                    None
                }
            };
            let Some(delays) = delays else {
                pass(state, to, frame);
                continue;
            };
            let mut waiting = lock(&queue.0);
            for delay in delays {
                if waiting.len() >= WAITING {
                    lock(state).counts.overflowed += 1;
                    continue;
                }
                number += 1;
                waiting.push(Reverse((now + delay, number, frame.to_vec())));
            }
            queue.1.notify_one();
        }
    }

    /// Sends what waits when it is due.
    fn deliver(state: &Mutex<State>, queue: &(Mutex<Waiting>, Condvar), to: &OwnedFd) {
        let mut latest = 0;
        let mut waiting = lock(&queue.0);
        loop {
            let Some(Reverse((due, ..))) = waiting.peek() else {
                waiting = queue.1.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                waiting = queue.1.wait_timeout(waiting, wait).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let Some(Reverse((_, number, frame))) = waiting.pop() else { continue };
            drop(waiting);
            if number < latest {
                lock(state).counts.overtaken += 1;
            }
            latest = latest.max(number);
            pass(state, to, &frame);
            waiting = lock(&queue.0);
        }
    }

    fn pass(state: &Mutex<State>, to: &OwnedFd, frame: &[u8]) {
        if send(to.as_raw_fd(), frame, MsgFlags::empty()).is_err() {
            lock(state).counts.unsent += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(protocol: u8, fragment: u16, options: usize, port: u16) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        frame.push(0x40 | u8::try_from(5 + options).unwrap());
        frame.extend([0; 5]);
        frame.extend(fragment.to_be_bytes());
        frame.extend([64, protocol]);
        frame.resize(14 + 20 + options * 4, 0);
        frame.extend([0x12, 0x34]);
        frame.extend(port.to_be_bytes());
        frame
    }

    #[test]
    fn only_datagrams_to_the_port_suffer() {
        assert!(is_for(&v4(17, 0, 0, 8277), 8277));
        assert!(is_for(&v4(17, 0x4000, 2, 8277), 8277), "with options");
        assert!(!is_for(&v4(17, 0, 0, 8278), 8277));
        assert!(!is_for(&v4(6, 0, 0, 8277), 8277), "TCP");
        assert!(!is_for(&v4(17, 1, 0, 8277), 8277), "a later fragment");
        let mut v6 = [&[0; 12][..], &[0x86, 0xdd], &[0; 6], &[17], &[0; 33]].concat();
        v6.extend([0x12, 0x34, 0x20, 0x55]);
        assert!(is_for(&v6, 8277));
        for end in 0..v6.len() {
            assert!(!is_for(&v6[..end], 8277), "cut at {end}");
        }
    }

    #[test]
    fn the_seed_decides() {
        let chaos = Chaos { seed: 7, port: 1, loss: 30, duplicate: 20, delay_us: 1000 };
        let draw = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            (0..1000).map(|_| fate(&chaos, &mut random)).collect::<Vec<_>>()
        };
        let fates = draw(7);
        assert_eq!(fates, draw(7));
        assert_ne!(fates, draw(8));
        let count = |copies: usize| fates.iter().filter(|fate| fate.len() == copies).count();
        assert!((200..400).contains(&count(0)), "{} lost", count(0));
        assert!((80..220).contains(&count(2)), "{} doubled", count(2));
        assert!(fates.iter().flatten().all(|delay| *delay <= Duration::from_millis(1)));
        let calm = Chaos::default();
        assert_eq!(fate(&calm, &mut fastrand::Rng::with_seed(1)), [Duration::ZERO]);
    }
}
