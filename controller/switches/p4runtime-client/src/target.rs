//! Which switch, and how patient to be with it.

use std::path::PathBuf;
use std::time::Duration;

use crate::packet_io::Tap;

/// A switch to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What people call it.
    pub name: String,
    /// `host:port` of its P4Runtime server; an IPv6 address stands in brackets.
    pub address: String,
    /// P4Runtime device id.
    pub device_id: u64,
    /// P4Runtime role; none is the default role, which may do everything.
    pub role: Option<String>,
    /// TLS, none for plain text.
    pub tls: Option<TlsFiles>,
}

/// PEM files for TLS. They are read at every connect, so that renewed certificates are taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that the switch's certificate must come from.
    pub ca: PathBuf,
    /// Our certificate and its private key, for switches that want to know who we are.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name to expect in the switch's certificate; none: the host of the address.
    pub server_name: Option<String>,
}

impl Target {
    /// A switch in plain text, with device id 1 and the default role; it is called by its address.
    pub fn new(address: impl Into<String>) -> Self {
        let address = address.into();
        Self { name: address.clone(), address, device_id: 1, role: None, tls: None }
    }
}

/// Deadlines, limits and the election id of a connection.
#[derive(Clone, Debug)]
pub struct Options {
    /// Our election id: the highest one of a device and role is the primary, the only one that may write. Not 0.
    pub election_id: u128,
    /// Where another controller is primary, take its election id plus one.
    pub take_over: bool,
    /// TCP and TLS until the first request can go out.
    pub connect_deadline: Duration,
    /// Small calls: arbitration, capabilities, the pipeline's cookie.
    pub call_deadline: Duration,
    /// A pipeline push.
    pub pipeline_deadline: Duration,
    /// From one part of a read to the next.
    pub read_deadline: Duration,
    /// One chunk of writes.
    pub write_deadline: Duration,
    /// How to wait between attempts to connect.
    pub backoff: Backoff,
    /// Updates in a chunk at first; never more. At least 1.
    pub chunk: usize,
    /// Chunks of a step that may be under way at once. At least 1.
    pub in_flight: usize,
    /// Entries that a switch may hold before a read gives up. A table's own bound, by its size in the P4Info, may be
    /// lower.
    pub max_entries: usize,
    /// Bytes that a switch may send in one part of a read before it gives up.
    pub max_read_bytes: usize,
    /// Packets from the switch that may wait for their reader; what comes on top is dropped and counted.
    pub packet_queue: usize,
    /// Where packets from the switch go instead of [`Connection::packets`](crate::Connection::packets).
    pub tap: Option<Tap>,
    /// Interval of HTTP/2 pings. None (the default): TCP keep-alive alone, because servers built on gRPC's C++ library
    /// (BMv2, Stratum) close connections that ping more often than every five minutes.
    pub http2_ping: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            election_id: 1,
            take_over: false,
            connect_deadline: Duration::from_secs(5),
            call_deadline: Duration::from_secs(10),
            pipeline_deadline: Duration::from_mins(1),
            read_deadline: Duration::from_secs(30),
            write_deadline: Duration::from_secs(30),
            backoff: Backoff::default(),
            chunk: 1000,
            in_flight: 4,
            max_entries: 4_000_000,
            max_read_bytes: 256 << 20,
            packet_queue: 1024,
            tap: None,
            http2_ping: None,
        }
    }
}

/// How long to wait for answers: see [`Options`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// [`Options::connect_deadline`].
    pub connect: Duration,
    /// [`Options::call_deadline`].
    pub call: Duration,
    /// [`Options::write_deadline`].
    pub write: Duration,
}

impl Options {
    /// From now on: how long to wait for answers.
    pub fn set_deadlines(&mut self, deadlines: Deadlines) {
        let Deadlines { connect, call, write } = deadlines;
        (self.connect_deadline, self.call_deadline, self.write_deadline) = (connect, call, write);
    }
}

/// Waiting times that double up to a limit. The same every time: what keeps controllers apart is that only one of them
/// is the primary, not chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// Longest wait.
    pub limit: Duration,
    /// Attempts in all, at least 1.
    pub attempts: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), limit: Duration::from_secs(5), attempts: 5 }
    }
}

impl Backoff {
    /// The waits between attempts, one less than attempts.
    pub fn waits(self) -> impl Iterator<Item = Duration> {
        let mut wait = self.first;
        (1..self.attempts).map(move |_| {
            let now = wait.min(self.limit);
            wait = wait.saturating_mul(2);
            now
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_end() {
        let backoff = |attempts| Backoff {
            first: Duration::from_millis(100),
            limit: Duration::from_millis(350),
            attempts,
        };
        let millis = |attempts| backoff(attempts).waits().map(|wait| wait.as_millis()).collect::<Vec<_>>();
        assert_eq!(millis(6), [100, 200, 350, 350, 350]);
        assert_eq!(millis(1), [0u128; 0]);
        assert_eq!(millis(0), [0u128; 0]);
        let huge = Backoff { first: Duration::MAX, limit: Duration::MAX, attempts: 4 };
        assert_eq!(huge.waits().last(), Some(Duration::MAX));
    }
}
