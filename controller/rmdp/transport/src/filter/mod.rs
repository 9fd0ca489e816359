//! What the XDP program does, for datagrams that come to a socket: take the first authentic copy.
//!
//! ```text
//!   bytes ─► parse ─► sender known? ─► tag ─► replay? ─► task seen? ─► deliver, and only now remember
//! ```
//!
//! Pure: bytes and a time in, a verdict out. Nothing unauthentic changes anything but a counter. What is delivered is
//! returned by the call that remembers it, so that nothing can come between the two.

use std::collections::BTreeMap;
use std::time::Duration;

use outplane_rmdp_wire::{Datagram, DatagramType, Forged, Header, Key, ParseError, Replay, Window};

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
    /// The last datagram that came by the ring: (epoch, highest sequence).
    ring: (u64, u64),
    /// Tasks that the ring delivered after a socket had, which counts as delivered in the kernel.
    crossed: u64,
    active: bool,
}

/// The state of a receiver.
#[derive(Debug)]
pub(crate) struct Filter {
    keys: Vec<Key>,
    senders: BTreeMap<u32, Sender>,
    dedup: Dedup,
    counters: Counters,
}

impl Filter {
    pub(crate) fn new(keys: &[Key], senders: &[u32], window: Duration, capacity: usize) -> Self {
        let mut filter = Self {
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

    /// Judges a datagram from a socket.
    pub(crate) fn take<'a>(&mut self, bytes: &'a [u8], now: u64) -> Result<Datagram<'a>, Refused> {
        let judged = self.judge(bytes, now);
        if let Err(refused) = judged {
            let drops = &mut self.counters.drops;
            match refused {
                Refused::NotRmdp => drops.not_rmdp += 1,
                Refused::UnknownVersion => drops.unknown_version += 1,
                Refused::Malformed => drops.malformed += 1,
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

    fn judge<'a>(&mut self, bytes: &'a [u8], now: u64) -> Result<Datagram<'a>, Refused> {
        let datagram = Datagram::parse(bytes).map_err(|error| match error {
            ParseError::NotRmdp => Refused::NotRmdp,
            ParseError::UnknownVersion(_) => Refused::UnknownVersion,
            ParseError::Malformed(_) => Refused::Malformed,
        })?;
        let header = &datagram.header;
        if !self.senders.get(&header.sender).is_some_and(|sender| sender.active) {
            return Err(Refused::UnknownSender);
        }
        datagram.verify(&self.keys).map_err(|forged| match forged {
            Forged::UnknownKey(_) => Refused::UnknownKey,
            Forged::WrongTag => Refused::Forged,
        })?;
        self.authentic(header, now)?;
        Ok(datagram)
    }

    /// Judges a datagram whose tag was found right, and remembers it.
    fn authentic(&mut self, header: &Header, now: u64) -> Result<(), Refused> {
        let Some(sender) = self.senders.get_mut(&header.sender) else { return Err(Refused::UnknownSender) };
        let announce = header.datagram_type == DatagramType::TaskAnnounce;
        let replay = sender.behind_the_ring(header, announce).err();
        let counters = sender.counters.of_mut(header.datagram_type);
        counters.copies += 1;
        let replay = replay.or_else(|| sender.window.accept(header.epoch, header.sequence).err());
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
    /// socket has delivered the task, as happens while the ring is full.
    ///
    /// The stream's window is not asked. Ring and sockets are read in no order, so that a full ring's worth of good
    /// datagrams would look too old as soon as one came by a socket.
    pub(crate) fn take_from_ring(&mut self, header: &Header, arrival: u64) -> bool {
        let Some(sender) = self.senders.get_mut(&header.sender) else { return false };
        sender.ring = sender.ring.max((header.epoch, header.sequence));
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

    /// The XDP program has seen this much of a sender's stream.
    pub(crate) fn ring_saw(&mut self, sender: u32, epoch: u64, sequence: u64) {
        if let Some(sender) = self.senders.get_mut(&sender) {
            sender.ring = sender.ring.max((epoch, sequence));
        }
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
    /// What comes by a socket while the ring works may be a replay of what came by the ring, which the window of the
    /// sockets has not seen. An older epoch always is. Of heartbeats and hints, of which none matters much, the older
    /// ones are refused; announces are left to the memory of tasks, since a full ring passes good ones.
    fn behind_the_ring(&self, header: &Header, announce: bool) -> Result<(), Replay> {
        let (epoch, highest) = self.ring;
        if header.epoch < epoch {
            return Err(Replay::OldEpoch);
        }
        if !announce && header.epoch == epoch && header.sequence <= highest {
            return Err(Replay::TooOld);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
