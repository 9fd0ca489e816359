//! The XDP side of a receiver.

use std::error::Error;
use std::net::IpAddr;
use std::path::Path;

use outplane_rmdp_wire::{DatagramType, Window};
use outplane_xdp::{XdpControl, XdpError, XdpReceiver};

use crate::counters::{Counters, Lateness, RECENT};
use crate::error::TransportError;
use crate::filter::Kernel;
use crate::settings::{Mode, Settings, Xdp};

/// Why there is no XDP where nobody wants it.
const OFF: &str = "it is switched off";

/// Attaches XDP if it is wanted and works; and takes away what an earlier start has left if it is not wanted, since
/// nobody would read its ring.
pub(crate) async fn open(
    settings: &Settings,
    targets: Vec<(IpAddr, u16)>,
) -> Result<(Option<XdpReceiver>, Mode), TransportError> {
    let socket = |reason: String| Ok((None, Mode::Socket { reason }));
    let Some(interface) = &settings.interface else {
        let reason = "no interface is named".to_owned();
        return match settings.xdp {
            Xdp::Required => Err(TransportError::Required { reason }),
            Xdp::Auto => socket(reason),
            Xdp::Off => socket(OFF.to_owned()),
        };
    };
    let left_behind = is_pinned(&settings.pin_root, interface);
    if settings.xdp == Xdp::Off && !left_behind {
        return socket(OFF.to_owned());
    }
    let attached = XdpReceiver::attach(outplane_xdp::Settings {
        interface: interface.clone(),
        pin_root: settings.pin_root.clone(),
        groups: targets,
        network: settings.network,
        keys: settings.keys.clone(),
        senders: settings.senders.clone(),
        window: settings.window,
        capacity: u32::try_from(settings.capacity).unwrap_or(u32::MAX),
        ..outplane_xdp::Settings::default()
    });
    match (attached.await, settings.xdp) {
        (Ok(ring), Xdp::Off) => match ring.detach() {
            Ok(()) => socket(OFF.to_owned()),
            Err(error) => Err(TransportError::LeftBehind { reason: chain(&error) }),
        },
        (Ok(ring), Xdp::Auto | Xdp::Required) => {
            let mode = match ring.mode() {
                outplane_xdp::Mode::Driver => Mode::XdpDriver,
                outplane_xdp::Mode::Generic => Mode::XdpGeneric,
            };
            Ok((Some(ring), mode))
        }
        (Err(error), Xdp::Required) => Err(TransportError::Required { reason: chain(&error) }),
        (Err(error), _) if left_behind => Err(TransportError::LeftBehind { reason: chain(&error) }),
        (Err(error), _) => {
            let reason = chain(&error);
            tracing::warn!(interface, reason, "no XDP; datagrams are received by sockets");
            socket(reason)
        }
    }
}

/// What XDP has seen of a sender's stream, for the sockets. Where it cannot be asked, everything counts as seen: what is
/// refused costs a look into the queue.
pub(crate) fn seen(control: &XdpControl, sender: u32) -> Option<Kernel> {
    match stream(control, sender) {
        Ok(seen) => seen,
        Err(error) => {
            tracing::warn!(sender, error = chain(&error), "XDP cannot be asked what it has seen");
            Some(Kernel { window: Window::new(u64::MAX, u64::MAX), passed: 0 })
        }
    }
}

/// What XDP has seen of a sender's stream; nothing of one that it was never told of.
pub(crate) fn stream(control: &XdpControl, sender: u32) -> Result<Option<Kernel>, XdpError> {
    let seen = control.stream(sender)?;
    Ok(seen.map(|seen| Kernel { window: seen.window, passed: seen.announces_passed }))
}

/// Whether the program of an earlier start may still be on the interface: `<pin root>/v<ABI>/<interface>/`.
fn is_pinned(pin_root: &Path, interface: &str) -> bool {
    let Ok(versions) = std::fs::read_dir(pin_root) else { return false };
    versions.flatten().any(|version| {
        std::fs::read_dir(version.path().join(interface)).is_ok_and(|mut pins| pins.next().is_some())
    })
}

/// An error with its causes.
pub(crate) fn chain(error: &XdpError) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        told = format!("{told}: {cause}");
        next = cause.source();
    }
    told
}

/// Adds what the kernel has counted. `crossed`: by sender, tasks that a socket delivered before the ring did.
pub(crate) fn add(
    counters: &mut Counters,
    kernel: &outplane_xdp::Counters,
    crossed: impl Iterator<Item = (u32, u64)>,
) {
    for sender in &kernel.senders {
        let sum = counters.senders.entry(sender.sender).or_default();
        for datagram_type in DatagramType::ALL {
            let counts = sender.of(datagram_type);
            let sum = sum.of_mut(datagram_type);
            // Those that found the ring full came to a socket, and were counted there.
            sum.copies += counts.received.saturating_sub(counts.ring_full);
            sum.first += counts.delivered;
            sum.duplicates += counts.duplicates;
            sum.replays += counts.replays;
            counters.unremembered += counts.unmarked;
        }
        counters.tasks += sender.of(DatagramType::TaskAnnounce).delivered;
        add_lateness(&mut sum.lateness, sender);
    }
    for (id, crossed) in crossed {
        if let Some(sum) = counters.senders.get_mut(&id) {
            let crossed = crossed.min(sum.announces.first);
            sum.announces.first -= crossed;
            sum.announces.duplicates += crossed;
            counters.tasks -= crossed.min(counters.tasks);
        }
    }
    let reasons = &kernel.reasons;
    let drops = &mut counters.drops;
    // What is not RMDP, or of another version, is passed on and counted by the sockets.
    drops.malformed += reasons.truncated
        + reasons.trailing_bytes
        + reasons.too_long
        + reasons.unknown_type
        + reasons.not_zero
        + reasons.no_sequence
        + reasons.wrong_id;
    drops.foreign_network += reasons.foreign_network;
    drops.unknown_sender += reasons.unknown_sender;
    drops.unknown_key += reasons.unknown_key;
    drops.forged += reasons.wrong_tag;
    drops.old_epoch += reasons.old_epoch;
    drops.too_old += reasons.too_old;
    drops.seen += reasons.seen;
    counters.ring_full += reasons.ring_full;
    counters.fragments += reasons.fragment;
}

fn add_lateness(sum: &mut Lateness, sender: &outplane_xdp::SenderCounters) {
    let noted: u64 = sender.lateness.iter().sum();
    for (sum, count) in sum.classes.iter_mut().zip(sender.lateness) {
        *sum += count;
    }
    if noted == 0 {
        // All its copies come by sockets, as those of this machine's own nodes do.
        return;
    }
    // The last ones of one of the two ways; which of the other's came in between cannot be told.
    sum.count = noted;
    sum.recent = [0; RECENT];
    for (back, microseconds) in (1..=noted).zip(&sender.recent) {
        sum.set_recent(noted - back, *microseconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::SenderCounters;

    #[test]
    fn kernel_and_sockets_add_up() {
        let mut counters = Counters { tasks: 2, ..Counters::default() };
        let mut spilled = SenderCounters::default();
        spilled.announces.copies = 2;
        spilled.announces.first = 2;
        spilled.lateness.record(0);
        counters.senders.insert(1, spilled);
        counters.senders.insert(2, SenderCounters::default());
        let mut sender = outplane_xdp::SenderCounters { sender: 1, ..Default::default() };
        sender.types[0].received = 10;
        sender.types[0].delivered = 5;
        sender.types[0].duplicates = 2;
        sender.types[0].replays = 1;
        sender.types[0].ring_full = 2;
        sender.lateness[0] = 5;
        sender.lateness[3] = 2;
        sender.recent = vec![7, 6, 0, 0, 0, 0, 0];
        let mut kernel = outplane_xdp::Counters { senders: vec![sender], ..Default::default() };
        kernel.reasons.wrong_tag = 3;
        kernel.reasons.too_long = 1;
        kernel.reasons.no_sequence = 1;
        kernel.reasons.not_rmdp = 9;
        kernel.reasons.ring_full = 2;
        add(&mut counters, &kernel, [(1, 1), (2, 0)].into_iter());
        let announces = counters.senders[&1].announces;
        assert_eq!((announces.copies, announces.first), (10, 6));
        assert_eq!((announces.duplicates, announces.replays), (3, 1));
        assert_eq!(announces.copies, announces.first + announces.duplicates + announces.replays);
        assert_eq!((counters.tasks, counters.ring_full), (6, 2));
        assert_eq!((counters.drops.forged, counters.drops.malformed, counters.drops.not_rmdp), (3, 2, 0));
        let lateness = &counters.senders[&1].lateness;
        assert_eq!(lateness.classes[..4], [6, 0, 0, 2]);
        assert_eq!(lateness.since(4).collect::<Vec<_>>(), [0, 6, 7]);
    }
}
