//! What the data plane changes: counters, meter cells, times of last hits. All of it through shared references, so
//! that a packet needs no more than a read guard of the state.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::meter::{Color, Marker, Rate};

/// Packets and bytes. The two are not read at one instant.
#[derive(Debug, Default)]
pub struct Counter {
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// A counter's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Counter {
    /// Counts one packet.
    pub fn count(&self, bytes: u64) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> Counted {
        Counted { packets: self.packets.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    /// Writes a value; returns the one that was there.
    pub fn set(&self, value: Counted) -> Counted {
        Counted {
            packets: self.packets.swap(value.packets, Ordering::Relaxed),
            bytes: self.bytes.swap(value.bytes, Ordering::Relaxed),
        }
    }
}

/// `MeterConfig`: rates in units a second, bursts in units. None of them is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterConfig {
    /// Committed information rate.
    pub cir: u64,
    /// Committed burst size.
    pub cburst: u64,
    /// Peak information rate.
    pub pir: u64,
    /// Peak burst size.
    pub pburst: u64,
    /// Excess burst size, only of single-rate three-colour meters.
    pub eburst: u64,
}

/// One cell of a meter: its configuration, the tokens it has left, and what it has marked.
#[derive(Debug, Default)]
pub struct MeterCell {
    state: Mutex<MeterState>,
    marked: [Counter; 3],
}

#[derive(Debug, Default)]
struct MeterState {
    config: Option<MeterConfig>,
    marker: Option<Marker>,
}

impl MeterCell {
    /// Colours a packet of `bytes` bytes that costs `units` units (1, or its length in a meter of bytes); green
    /// while the cell has no configuration. `now` is read on any steady clock, the same one for every packet.
    pub fn mark(&self, now: Duration, units: u64, bytes: u64) -> Color {
        let color = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let MeterState { config, marker } = &mut *state;
            config.map_or(Color::Green, |config| {
                // The buckets are full when the first packet comes: nothing has been taken from them.
                let new = || {
                    let committed = Rate { rate: config.cir, burst: config.cburst };
                    Marker::new(committed, Rate { rate: config.pir, burst: config.pburst }, now)
                };
                marker.get_or_insert_with(new).mark(now, units)
            })
        };
        self.marked[color as usize].count(bytes);
        color
    }

    /// The configuration; none for the default one, which marks everything green.
    pub fn config(&self) -> Option<MeterConfig> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).config
    }

    /// Writes the configuration, with full buckets; returns the one that was there.
    pub fn set_config(&self, config: Option<MeterConfig>) -> Option<MeterConfig> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.marker = None;
        std::mem::replace(&mut state.config, config)
    }

    /// What was marked green, yellow and red.
    pub fn marked(&self) -> [Counted; 3] {
        [self.marked[0].get(), self.marked[1].get(), self.marked[2].get()]
    }

    /// Writes what was marked; returns what was there.
    pub fn set_marked(&self, values: [Counted; 3]) -> [Counted; 3] {
        let [green, yellow, red] = values;
        [self.marked[0].set(green), self.marked[1].set(yellow), self.marked[2].set(red)]
    }
}

/// The direct resources of a table entry, and when it was last hit.
#[derive(Debug)]
pub struct Direct {
    /// Counts in every table; only read where the table has a direct counter.
    pub counter: Counter,
    /// The meter cell, in tables with a direct meter.
    pub meter: Option<Box<MeterCell>>,
    /// Idle times, in tables with idle timeouts.
    pub idle: Option<Box<Idle>>,
}

impl Direct {
    /// Counts a hit.
    pub fn count(&self, bytes: u64) {
        self.counter.count(bytes);
        if let Some(idle) = &self.idle {
            idle.hit();
        }
    }
}

/// When an entry was last hit (or came to be), and when its idleness was last told.
#[derive(Debug)]
pub struct Idle {
    since: Instant,
    /// Nanoseconds after `since`.
    hit: AtomicU64,
    told: AtomicU64,
}

impl Default for Idle {
    fn default() -> Self {
        Self { since: Instant::now(), hit: AtomicU64::new(0), told: AtomicU64::new(0) }
    }
}

impl Idle {
    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The entry is hit now.
    pub fn hit(&self) {
        self.hit.store(self.now(), Ordering::Relaxed);
    }

    /// Nanoseconds since the last hit.
    pub fn elapsed_ns(&self) -> i64 {
        i64::try_from(self.now().saturating_sub(self.hit.load(Ordering::Relaxed))).unwrap_or(i64::MAX)
    }

    /// Whether `timeout_ns` has passed since the last hit and the last time that this said so.
    pub fn expired(&self, timeout_ns: i64) -> bool {
        let now = self.now();
        let last = self.hit.load(Ordering::Relaxed).max(self.told.load(Ordering::Relaxed));
        let expired =
            u64::try_from(timeout_ns).is_ok_and(|timeout| timeout > 0 && now.saturating_sub(last) >= timeout);
        if expired {
            self.told.store(now, Ordering::Relaxed);
        }
        expired
    }
}
