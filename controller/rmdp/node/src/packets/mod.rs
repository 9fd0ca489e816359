//! Packets that rules with `log` deny: the switch sends them to its primary controller, and here they get a line.
//!
//! ```text
//!  switches ──► Tap (a bound for all) ──► whose rule? ──► counted by rule ──► so many a second and switch ─┬─► log
//!                                         Names                               (the others: left out)      └─► l/<node>/<N>
//! ```
//! Only the primary hears of a packet, so each has one line in one controller, and [`PacketLine`]s of all controllers
//! together are all there are. What is too much is counted and told, never waited for: a flood of denied packets must
//! not slow a change down.

pub mod frame;
mod limit;
mod names;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use outplane_driver_p4runtime::{FromSwitch, Taken};
use outplane_rmdp_core::config::PacketLogConfig;
use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{MAX_LINES, Object, PacketBatch, PacketLine, batch_number};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

pub use names::{Names, Resolved, tags};

use crate::clock;
use crate::intents::Intents;
use crate::metrics::Metrics;
use crate::objects::Objects;
use limit::Limits;

/// Packets that may wait for their line, of all switches together.
pub const QUEUE: usize = 2048;

/// How often a batch is written, at most.
const WRITE: Duration = Duration::from_secs(1);

/// So many times a batch waits for the names of segments at most.
const NAMES_WAIT: u32 = 5;

/// Batches that are deleted at a time.
const DELETES: usize = 500;

/// What a controller does with packets from switches.
pub(crate) struct PacketLog {
    pub(crate) taken: Taken,
    pub(crate) names: Names,
    pub(crate) intents: Intents,
    pub(crate) objects: Objects,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: watch::Receiver<PacketLogConfig>,
    pub(crate) node: String,
    pub(crate) epoch: u64,
}

/// Lines that wait to be written.
#[derive(Default)]
struct Batch {
    lines: Vec<PacketLine>,
    bytes: usize,
    left_out: u64,
    /// Lines whose segment has its number still: by their place, the generation that has its name, and the number.
    unnamed: Vec<(usize, u64, u16)>,
    /// How often it has waited for names.
    waited: u32,
}

impl Batch {
    /// Takes a line if there is room.
    fn add(&mut self, line: PacketLine) -> bool {
        let bytes = serde_json::to_vec(&line).map_or(usize::MAX, |json| json.len() + 1);
        if self.bytes.saturating_add(bytes) > MAX_LINES {
            self.left_out += 1;
            return false;
        }
        self.bytes += bytes;
        self.lines.push(line);
        true
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.left_out == 0
    }

    /// Names the segments whose names are known by now; whether it may be written: none is left, or they are waited for no
    /// longer.
    fn name(&mut self, known: impl Fn(u64, u16) -> Option<String>) -> bool {
        let (lines, bytes) = (&mut self.lines, &mut self.bytes);
        self.unnamed.retain(|(at, generation, id)| {
            let Some(name) = known(*generation, *id) else { return true };
            if let Some(line) = lines.get_mut(*at).filter(|_| *bytes + name.len() <= MAX_LINES) {
                *bytes += name.len();
                line.segment = Some(name);
            }
            false
        });
        self.waited += 1;
        self.unnamed.is_empty() || self.waited > NAMES_WAIT
    }

    /// Puts what has come since behind it.
    fn append(&mut self, newer: Self) {
        self.left_out += newer.left_out;
        for (at, line) in newer.lines.into_iter().enumerate() {
            let place = self.lines.len();
            if self.add(line) {
                let unnamed = newer.unnamed.iter().filter(|(of, ..)| *of == at);
                self.unnamed.extend(unnamed.map(|(_, generation, id)| (place, *generation, *id)));
            }
        }
    }
}

impl PacketLog {
    /// Until the daemon ends.
    pub(crate) async fn run(mut self) {
        let mut batch = Batch::default();
        let mut limits = Limits::default();
        let mut seconds = interval(WRITE);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut count, mut kept, mut listed) = (0, VecDeque::new(), false);
        let mut writes: JoinSet<Written> = JoinSet::new();
        let mut lost = 0;
        loop {
            tokio::select! {
                packet = self.taken.next() => match packet {
                    Some(packet) => self.take(packet, &mut batch, &mut limits),
                    None => return,
                },
                Some(Ok(written)) = writes.join_next() => {
                    listed |= written.listed.is_some();
                    if let Some(numbers) = written.listed {
                        kept = numbers.into_iter().chain(kept).collect();
                    }
                    kept.extend(written.number);
                    for number in written.deleted {
                        kept.retain(|known| *known != number);
                    }
                    if let Some(rest) = written.rest {
                        // Not written: it waits for the next time, before what has come since.
                        let newer = std::mem::replace(&mut batch, rest);
                        batch.append(newer);
                    }
                }
                _ = seconds.tick() => {
                    let dropped = self.taken.dropped();
                    batch.left_out += dropped - lost;
                    self.metrics.packets_left_out("queue", dropped - lost);
                    lost = dropped;
                    let keep = self.settings.borrow().batches as usize;
                    if keep == 0 {
                        batch = Batch::default();
                    }
                    let surplus = kept.len().saturating_sub(keep).min(DELETES);
                    if !writes.is_empty() || (batch.is_empty() && surplus == 0 && listed) {
                        continue;
                    }
                    // What is named by a number alone is of no use to who reads it: names are there in a moment.
                    let intents = &self.intents;
                    if !batch.name(|generation, id| intents.segment(generation, id)) && listed {
                        continue;
                    }
                    let number = (!batch.is_empty()).then(|| {
                        count += 1;
                        batch_number(self.epoch, count)
                    });
                    let write = Write {
                        objects: self.objects.clone(),
                        node: self.node.clone(),
                        batch: std::mem::take(&mut batch),
                        number,
                        delete: kept.iter().take(surplus).copied().collect(),
                        list: !listed,
                    };
                    writes.spawn(write.run());
                }
            }
        }
    }

    fn take(&mut self, packet: FromSwitch, batch: &mut Batch, limits: &mut Limits) {
        let FromSwitch { switch, packet, length } = packet;
        let field = |name: &str| packet.fields.get(name).copied();
        let tag = field("rule").and_then(|tag| u32::try_from(tag).ok()).unwrap_or(0);
        let resolved = self.names.resolve(&switch, tag);
        self.metrics.logged(resolved.policy.as_deref(), resolved.rule.as_deref());
        let most = self.settings.borrow().lines_per_s;
        if !limits.allows(&switch, most, clock::now()) {
            batch.left_out += 1;
            self.metrics.packets_left_out("rate", 1);
            return;
        }
        let segment = field("segment").and_then(|id| u16::try_from(id).ok()).filter(|id| *id != 0);
        let generation = resolved.newest;
        let named = segment.map(|id| generation.and_then(|generation| self.intents.segment(generation, id)));
        let unnamed = segment.zip(generation).filter(|_| named == Some(None));
        let segment = segment.map(|id| named.flatten().unwrap_or_else(|| id.to_string()));
        let port = field("ingress_port").and_then(|port| u16::try_from(port).ok());
        let line = frame::line(&switch, tag, resolved, port, segment, &packet.payload, length);
        tell(&line);
        if !batch.add(line) {
            self.metrics.packets_left_out("batch", 1);
        } else if let Some((id, generation)) = unnamed {
            batch.unnamed.push((batch.lines.len() - 1, generation, id));
        }
    }
}

/// A structured line in the daemon's log.
fn tell(line: &PacketLine) {
    let PacketLine {
        switch, generation, policy, rule, tag, segment, src_mac, dst_mac, length, packet, ..
    } = line;
    tracing::info!(
        target: "outplane::packets",
        switch,
        policy = policy.as_deref(),
        rule = rule.as_deref(),
        tag,
        generation,
        port = packet.port,
        segment = segment.as_deref(),
        src = packet.src.as_deref(),
        dst = packet.dst.as_deref(),
        proto = packet.proto.as_deref(),
        sport = packet.sport,
        dport = packet.dport,
        tcp_flags = packet.tcp_flags.as_deref(),
        icmp_type = packet.icmp_type,
        icmp_code = packet.icmp_code,
        ether_type = packet.ether_type,
        llc = packet.llc.as_deref(),
        vlan = packet.vlan,
        tags = packet.tags.join(" "),
        src_mac = src_mac.as_deref(),
        dst_mac = dst_mac.as_deref(),
        length,
        "denied: {}",
        frame::sentence(packet)
    );
}

/// A batch on its way into the store, and old ones on their way out.
struct Write {
    objects: Objects,
    node: String,
    batch: Batch,
    number: Option<u64>,
    delete: Vec<u64>,
    /// The batches of earlier starts have to be found first.
    list: bool,
}

/// What came of it.
struct Written {
    number: Option<u64>,
    /// What could not be written.
    rest: Option<Batch>,
    deleted: Vec<u64>,
    listed: Option<Vec<u64>>,
}

impl Write {
    async fn run(self) -> Written {
        let Self { objects, node, batch, number, delete, list } = self;
        let mut written = Written { number: None, rest: None, deleted: Vec::new(), listed: None };
        if list {
            match objects.list_all(&Prefix::PacketsOf(node.clone()), 200_000).await {
                Ok((keys, _)) => {
                    let number = |key| match key {
                        Key::Packets(_, number) => Some(number),
                        _ => None,
                    };
                    written.listed = Some(keys.into_iter().filter_map(number).collect());
                }
                Err(error) => tracing::debug!(%error, "cannot list earlier packets"),
            }
        }
        if let Some(number) = number {
            let (lines, left_out) = (batch.lines.clone(), batch.left_out);
            let object = PacketBatch { node: node.clone(), number, lines, left_out, at_ms: 0 };
            let key = Key::Packets(node.clone(), number);
            match objects.put(&key, &mut Object::Packets(object)).await {
                Ok(()) => written.number = Some(number),
                Err(error) => {
                    tracing::debug!(%error, "cannot write packets; they wait");
                    written.rest = Some(batch);
                }
            }
        }
        if !delete.is_empty() {
            let key = |number: &u64| Key::Packets(node.clone(), *number);
            let keys: Vec<Key> = delete.iter().map(key).collect();
            match objects.delete(&keys).await {
                Ok(()) => written.deleted = delete,
                Err(error) => tracing::debug!(%error, "cannot delete old packets"),
            }
        }
        written
    }
}
