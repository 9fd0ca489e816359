//! What is dropped, and why, said now and then: a line a second for each port and reason, with a frame as an example.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::counters::Discard;
use super::parse::{Parsed, parse};

/// How long one reason is silent at one port after a line.
const SILENCE: Duration = Duration::from_secs(1);

/// One port's lines.
#[derive(Debug)]
pub(super) struct DropLog {
    started: Instant,
    reasons: [Said; Discard::ALL.len()],
}

/// What has been said of one reason.
#[derive(Debug, Default)]
struct Said {
    /// From when on the next line may come, milliseconds since the start.
    again: AtomicU64,
    /// Frames that lines have told of.
    frames: AtomicU64,
}

impl Default for DropLog {
    fn default() -> Self {
        Self { started: Instant::now(), reasons: Default::default() }
    }
}

impl DropLog {
    /// Says that the port has dropped a frame, the `frames`th for this reason, unless it has just said so.
    pub(super) fn say(&self, port: &dyn fmt::Display, reason: Discard, frames: u64, frame: &[u8]) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        if let Some(fresh) = self.reasons[reason as usize].due(frames, self.started.elapsed()) {
            tracing::info!(
                port = %port, reason = reason.name(), frames = fresh, frame = %Description(frame),
                "dropped: {}", reason.explanation()
            );
        }
    }
}

impl Said {
    /// How many frames a line at this time would tell of; none before its time.
    fn due(&self, frames: u64, now: Duration) -> Option<u64> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (now, again) = (millis(now), self.again.load(Ordering::Relaxed));
        let next = now.saturating_add(millis(SILENCE));
        let mine = now >= again
            && self.again.compare_exchange(again, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        mine.then(|| frames.saturating_sub(self.frames.swap(frames, Ordering::Relaxed)))
    }
}

/// A frame in a few words: tag, addresses, protocol, ports, as far as it can be read.
struct Description<'f>(&'f [u8]);

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parsed { hdr, meta, .. } = parse(self.0, 0);
        let Some(ethernet) = hdr.ethernet else { return write!(f, "{} bytes", self.0.len()) };
        if let Some(vlan) = hdr.vlan_outer {
            write!(f, "VLAN {} ", vlan.vid)?;
        }
        let (src, dst) = if let Some(ipv4) = hdr.ipv4 {
            (Ipv4Addr::from_bits(ipv4.src).to_string(), Ipv4Addr::from_bits(ipv4.dst).to_string())
        } else if let Some(ipv6) = hdr.ipv6 {
            (Ipv6Addr::from_bits(ipv6.src).to_string(), Ipv6Addr::from_bits(ipv6.dst).to_string())
        } else if let Some(arp) = hdr.arp {
            let [sender, target] = [arp.sender_ip, arp.target_ip].map(Ipv4Addr::from_bits);
            return write!(f, "ARP {sender} -> {target}");
        } else {
            let (src, dst) = (Mac(ethernet.src), Mac(ethernet.dst));
            return write!(f, "{src} -> {dst} EtherType {:#06x}", meta.ether_type);
        };
        let ports = hdr.tcp || hdr.ports;
        match meta.protocol {
            6 if ports => write!(f, "TCP {src} port {} -> {dst} port {}", meta.sport, meta.dport),
            17 if ports => write!(f, "UDP {src} port {} -> {dst} port {}", meta.sport, meta.dport),
            132 if ports => write!(f, "SCTP {src} port {} -> {dst} port {}", meta.sport, meta.dport),
            1 | 58 if hdr.icmp => {
                write!(f, "ICMP {src} -> {dst} type {} code {}", meta.icmp_type, meta.icmp_code)
            }
            protocol => write!(f, "IP {src} -> {dst} protocol {protocol}"),
        }
    }
}

struct Mac(u64);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<String> = self.0.to_be_bytes()[2..].iter().map(|byte| format!("{byte:02x}")).collect();
        f.write_str(&bytes.join(":"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::Frame;
    use super::*;

    #[test]
    fn a_line_a_second_tells_of_all_since_the_last() {
        let said = Said::default();
        let at = Duration::from_millis;
        assert_eq!(said.due(1, at(5)), Some(1));
        assert_eq!(said.due(2, at(5)), None);
        assert_eq!(said.due(900, at(1004)), None);
        assert_eq!(said.due(901, at(1005)), Some(900));
        assert_eq!(said.due(902, at(2004)), None);
    }

    #[test]
    fn frames_in_words() {
        let words = |frame: Frame| Description(&frame.build()).to_string();
        let ip = || Frame::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]);
        assert_eq!(words(ip().tcp(1000, 22, 2)), "TCP 10.0.0.1 port 1000 -> 10.0.0.2 port 22");
        assert_eq!(words(ip().icmp(8, 0)), "ICMP 10.0.0.1 -> 10.0.0.2 type 8 code 0");
        assert_eq!(words(ip().protocol(47)), "IP 10.0.0.1 -> 10.0.0.2 protocol 47");
        assert_eq!(words(Frame::new().vlan(7).ipv6(1, 2).udp(1, 53)), "VLAN 7 UDP ::1 port 1 -> ::2 port 53");
        assert_eq!(words(Frame::new().arp([10, 0, 0, 1], [10, 0, 0, 2])), "ARP 10.0.0.1 -> 10.0.0.2");
        let other = Frame::new().ether_type(0x8864).bytes(&[0; 10]);
        assert_eq!(words(other), "02:00:00:00:00:0a -> 02:00:00:00:00:0b EtherType 0x8864");
        assert_eq!(Description(&[1, 2, 3]).to_string(), "3 bytes");
    }
}
