//! What the XDP program does, for datagrams that come to a socket: take the first authentic copy.
//!
//! ```text
//!   bytes ─► parse ─► network, sender known? ─► tag ─► replay? ─► task seen? ─► deliver, and only now remember
//! ```
//!
//! Where XDP works, sockets get what it did not judge: what comes by other interfaces, what the kernel has put together
//! from fragments or taken out of extension headers and tunnels, and what XDP passed on for want of room. So each such
//! datagram is judged by what XDP has seen of its stream as well ([`Kernel`]), and what XDP delivers by what sockets have
//! seen: a replay is one, whichever way it comes.
//!
//! Pure: bytes and a time in, a verdict out. Nothing unauthentic changes anything but a counter. What is delivered is
//! returned by the call that remembers it, so that nothing can come between the two.

use std::collections::BTreeMap;
use std::time::Duration;

use outplane_rmdp_wire::{
    Datagram, DatagramType, Forged, Header, Key, NetworkId, ParseError, Replay, Window,
};

use crate::counters::{Counters, SenderCounters};
use crate::dedup::{Copy, Dedup};

/// Senders whose stream is remembered after they have left the configuration, so that they are no way in for replays
/// if they come back.
const MAX_FORMER: usize = 1024;

/// Why a datagram was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    NotRmdp,
    UnknownVersion,
    Malformed,
    ForeignNetwork,
    UnknownSender,
    UnknownKey,
    Forged,
    Replay(Replay),
    Duplicate,
}

#[derive(Debug, Default)]
struct Sender {
    window: Window,
    counters: SenderCounters,
    /// Announces that XDP had passed on when this receiver began, and those of a later pass that were taken since.
    passed: (u64, u64),
    /// Tasks that the ring delivered after a socket had, which counts as delivered in the kernel.
    crossed: u64,
    active: bool,
}

/// What XDP has seen of a sender's stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kernel {
    pub(crate) window: Window,
    /// Announces that it passed on to the sockets, ever.
    pub(crate) passed: u64,
}

/// The state of a receiver.
#[derive(Debug)]
pub(crate) struct Filter {
    network: NetworkId,
    keys: Vec<Key>,
    senders: BTreeMap<u32, Sender>,
    dedup: Dedup,
    counters: Counters,
}

impl Filter {
    pub(crate) fn new(
        network: NetworkId,
        keys: &[Key],
        senders: &[u32],
        window: Duration,
        capacity: usize,
    ) -> Self {
        let mut filter = Self {
            network,
            keys: keys.to_vec(),
            senders: BTreeMap::new(),
            dedup: Dedup::new(window, capacity),
            counters: Counters::default(),
        };
        filter.set_senders(senders);
        filter
    }

    pub(crate) fn set_keys(&mut self, keys: &[Key]) {
        self.keys = keys.to_vec();
    }

    /// Takes datagrams of these senders from now on. Streams go on where they were.
    pub(crate) fn set_senders(&mut self, senders: &[u32]) {
        for (id, sender) in &mut self.senders {
            sender.active = senders.contains(id);
        }
        for id in senders {
            self.senders.entry(*id).or_default().active = true;
        }
        let former: Vec<u32> =
            self.senders.iter().filter(|(_, sender)| !sender.active).map(|(id, _)| *id).collect();
        for id in former.iter().skip(MAX_FORMER) {
            self.senders.remove(id);
        }
    }

    /// Older starts of these senders are over, as the store says: their datagrams are replays.
    pub(crate) fn begun(&mut self, epochs: &BTreeMap<u32, u64>) {
        for (id, epoch) in epochs {
            if let Some(sender) = self.senders.get_mut(id)
                && sender.window.epoch() < *epoch
            {
                sender.window = Window::of_epoch(*epoch);
            }
        }
    }

    /// XDP begins, or goes on, with this much passed on.
    pub(crate) fn beside(&mut self, sender: u32, kernel: &Kernel) {
        if let Some(sender) = self.senders.get_mut(&sender) {
            sender.passed = (kernel.passed, 0);
        }
    }

    /// XDP is given up: what it has seen was seen.
    pub(crate) fn inherit(&mut self, sender: u32, kernel: &Kernel) {
        let Some(sender) = self.senders.get_mut(&sender) else { return };
        let (ours, theirs) = (&sender.window, &kernel.window);
        if theirs.epoch() >= ours.epoch() && theirs.epoch() > 0 {
            let highest = if theirs.epoch() == ours.epoch() {
                theirs.highest().max(ours.highest())
            } else {
                theirs.highest()
            };
            sender.window = Window::new(theirs.epoch(), highest);
        }
    }

    pub(crate) fn senders(&self) -> Vec<u32> {
        self.senders.keys().copied().collect()
    }

    /// Judges a datagram from a socket. `kernel` tells what XDP has seen of an authentic one's sender, where there is XDP;
    /// it is asked for those alone.
    pub(crate) fn take<'a>(
        &mut self,
        bytes: &'a [u8],
        now: u64,
        kernel: impl FnOnce(u32) -> Option<Kernel>,
    ) -> Result<Datagram<'a>, Refused> {
        let judged = self.judge(bytes, now, kernel);
        if let Err(refused) = judged {
            let drops = &mut self.counters.drops;
            match refused {
                Refused::NotRmdp => drops.not_rmdp += 1,
                Refused::UnknownVersion => drops.unknown_version += 1,
                Refused::Malformed => drops.malformed += 1,
                Refused::ForeignNetwork => drops.foreign_network += 1,
                Refused::UnknownSender => drops.unknown_sender += 1,
                Refused::UnknownKey => drops.unknown_key += 1,
                Refused::Forged => drops.forged += 1,
                Refused::Replay(Replay::OldEpoch) => drops.old_epoch += 1,
                Refused::Replay(Replay::TooOld) => drops.too_old += 1,
                Refused::Replay(Replay::Seen) => drops.seen += 1,
                Refused::Duplicate => {}
            }
        }
        judged
    }

    fn judge<'a>(
        &mut self,
        bytes: &'a [u8],
        now: u64,
        kernel: impl FnOnce(u32) -> Option<Kernel>,
    ) -> Result<Datagram<'a>, Refused> {
        let datagram = Datagram::parse(bytes).map_err(|error| match error {
            ParseError::NotRmdp => Refused::NotRmdp,
            ParseError::UnknownVersion(_) => Refused::UnknownVersion,
            ParseError::Malformed(_) => Refused::Malformed,
        })?;
        let header = &datagram.header;
        if header.network != self.network {
            return Err(Refused::ForeignNetwork);
        }
        if !self.senders.get(&header.sender).is_some_and(|sender| sender.active) {
            return Err(Refused::UnknownSender);
        }
        match datagram.verify(&self.keys) {
            Ok(()) => {}
            Err(Forged::UnknownKey(_)) => return Err(Refused::UnknownKey),
            Err(Forged::WrongTag) => {
                if let Some(sender) = self.senders.get_mut(&header.sender) {
                    sender.counters.forged += 1;
                }
                return Err(Refused::Forged);
            }
        }
        self.authentic(header, now, kernel(header.sender))?;
        Ok(datagram)
    }

    /// Judges a datagram whose tag was found right, and remembers it.
    fn authentic(&mut self, header: &Header, now: u64, kernel: Option<Kernel>) -> Result<(), Refused> {
        let Some(sender) = self.senders.get_mut(&header.sender) else { return Err(Refused::UnknownSender) };
        let announce = header.datagram_type == DatagramType::TaskAnnounce;
        let replay = kernel.and_then(|kernel| sender.behind_the_ring(header, announce, &kernel).err());
        let replay = replay.or_else(|| sender.window.accept(header.epoch, header.sequence).err());
        let counters = sender.counters.of_mut(header.datagram_type);
        counters.copies += 1;
        if let Some(replay) = replay {
            counters.replays += 1;
            return Err(Refused::Replay(replay));
        }
        if !announce {
            counters.first += 1;
            return Ok(());
        }
        let copy = self.dedup.note(header.id, header.sender, now);
        match copy {
            Copy::First | Copy::Unremembered => {
                counters.first += 1;
                sender.counters.lateness.record(0);
                self.counters.tasks += 1;
                self.counters.unremembered += u64::from(copy == Copy::Unremembered);
                Ok(())
            }
            Copy::Further { lateness, of_another } => {
                counters.duplicates += 1;
                if of_another {
                    sender.counters.lateness.record(lateness);
                }
                Err(Refused::Duplicate)
            }
        }
    }

    /// Whether a datagram that the XDP program has judged, counted and put into the ring is to be delivered: not if a
    /// socket has delivered it, or its task, as happens while the ring is full; nor if its sender has started again since.
    ///
    /// That the window of the sockets calls it too old says nothing: ring and sockets are read in no order, so that a full
    /// ring's worth of good datagrams would look too old as soon as one came by a socket.
    pub(crate) fn take_from_ring(&mut self, header: &Header, arrival: u64) -> bool {
        let Some(sender) = self.senders.get_mut(&header.sender) else { return false };
        match sender.window.check(header.epoch, header.sequence) {
            Err(Replay::Seen) => {
                self.counters.drops.seen += 1;
                return false;
            }
            Err(Replay::OldEpoch) => {
                self.counters.drops.old_epoch += 1;
                return false;
            }
            Ok(()) | Err(Replay::TooOld) => {}
        }
        if header.datagram_type != DatagramType::TaskAnnounce {
            return true;
        }
        let further = matches!(self.dedup.note(header.id, header.sender, arrival), Copy::Further { .. });
        sender.crossed += u64::from(further);
        !further
    }

    /// Forgets what is old enough.
    pub(crate) fn tick(&mut self, now: u64) {
        self.dedup.advance(now);
    }

    /// By sender, the tasks of [`Self::take_from_ring`] that were not to be delivered.
    pub(crate) fn crossed(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.senders.iter().map(|(id, sender)| (*id, sender.crossed))
    }

    pub(crate) fn counters(&self) -> Counters {
        let senders = self.senders.iter().map(|(id, sender)| (*id, sender.counters)).collect();
        Counters { senders, remembered: self.dedup.len() as u64, ..self.counters.clone() }
    }
}

impl Sender {
    /// What comes by a socket while XDP works may be a replay of what came by the ring, which the window of the sockets has
    /// not seen: XDP's window tells. Where that is past the sequence it does not tell any more. Then an announce may be one
    /// that XDP had passed on for want of room: as many as it passed on are taken, and none while the ring was never full.
    fn behind_the_ring(&mut self, header: &Header, announce: bool, kernel: &Kernel) -> Result<(), Replay> {
        let judged = kernel.window.check(header.epoch, header.sequence);
        let (before, taken) = &mut self.passed;
        if judged == Err(Replay::TooOld) && announce && kernel.passed.saturating_sub(*before) > *taken {
            *taken += 1;
            return Ok(());
        }
        judged
    }
}

#[cfg(test)]
mod tests;
