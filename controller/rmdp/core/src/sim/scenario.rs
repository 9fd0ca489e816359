//! What a seed means: how many of what, how bad the faults are, and when they come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::chance::Chance;
use super::clock::MS;
use super::incident::Incident;
use super::store::Faults;
use crate::config::SharedConfig;
use crate::mutant::Mutant;
use crate::object::{DesiredState, Generation, ProbeEntry};
use crate::task::{Digest, NETWORK, Task};

/// Rates are per 1,000.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    pub(super) datagram_lost: u64,
    pub(super) datagram_twice: u64,
    pub(super) datagram_late: u64,
    pub(super) request_lost: u64,
    pub(super) reply_lost: u64,
    pub(super) refused: u64,
    pub(super) lands_late: u64,
    pub(super) write_stuck: u64,
    pub(super) write_fails: u64,
    pub(super) copies_late: u64,
    /// Announces that nobody gets.
    pub(super) announce_lost: u64,
    /// Nodes that crash while they execute, and nodes that sleep over a horizon meanwhile.
    pub(super) crash_executing: u64,
    pub(super) sleep_executing: u64,
    /// Nodes that are paused while they execute, for any time.
    pub(super) pause_executing: u64,
    /// Raises of a horizon after which what they close is announced again.
    pub(super) closed_again: u64,
    /// Of the requests that land late, those that do so a horizon later.
    pub(super) lands_next_day: u64,
    pub(super) store: Faults,
}

impl Rates {
    /// A network and a store that are well.
    pub(super) const CALM: Self = Self {
        datagram_lost: 0,
        datagram_twice: 0,
        datagram_late: 0,
        request_lost: 0,
        reply_lost: 0,
        refused: 0,
        lands_late: 0,
        write_stuck: 0,
        write_fails: 0,
        copies_late: 0,
        announce_lost: 0,
        crash_executing: 0,
        sleep_executing: 0,
        pause_executing: 0,
        closed_again: 0,
        lands_next_day: 0,
        store: Faults::NONE,
    };
}

#[derive(Clone, Debug)]
pub(super) struct Scenario {
    /// The versions of the configuration.
    pub(super) configs: Vec<Arc<SharedConfig>>,
    pub(super) switches: Vec<String>,
    pub(super) rates: Rates,
    /// Switches let what they have begun run on beside the next primary's writes.
    pub(super) lax: bool,
    /// Switches that take writes under any fence.
    pub(super) unfenced: BTreeSet<String>,
    /// How long switches work on a push, give or take a half; nanoseconds.
    pub(super) push_takes: u64,
    pub(super) incidents: Vec<(u64, Incident)>,
    /// Controllers that never come back after the calm; at least one does.
    pub(super) lost_for_ever: Vec<usize>,
    /// How long after the calm history is watched, for the horizon to pass.
    pub(super) long: bool,
    /// Generations are numbered from behind this one.
    pub(super) first: u64,
    /// The node whose name another process has as well.
    pub(super) twin: Option<usize>,
    /// Garbage lies under numbers of the logs that nobody has issued.
    pub(super) far: bool,
    /// Others' objects that lie about.
    pub(super) strangers: Vec<String>,
    /// How often the store had been put back when a generation was appended, if it ever was: what has the same number may
    /// want something else.
    pub(super) eras: BTreeMap<u64, u8>,
    /// Some generations want what the last one wanted, and some what the one before that wanted.
    pub(super) same: u64,
    /// Broken in the way that generations are appended.
    pub(super) mutant: Option<Mutant>,
}

impl Scenario {
    /// Nodes follow this version no later than so long after it was set, nanoseconds: those who run do so before the
    /// grace of the version before is over.
    pub(super) fn follows(&self, version: usize) -> u64 {
        (u64::from(self.configs[version - 1].retention.grace_s) * 1000 / 2 * MS).min(12_000 * MS)
    }

    /// The shortest silence that any version of the configuration takes an owner over for, nanoseconds.
    pub(super) fn least_silence(&self) -> u64 {
        let silences = self.configs.iter().filter_map(|config| config.takeover_silence());
        silences.min().map_or(u64::MAX, |silence| u64::try_from(silence.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Of all versions of the configuration, nanoseconds.
    pub(super) fn longest_grace(&self) -> u64 {
        let graces = self.configs.iter().map(|config| u64::from(config.retention.grace_s));
        graces.max().unwrap_or(0) * 1000 * MS
    }

    /// What a generation wants of the switches: every distributor compiles the same.
    fn desired(&self, generation: u64) -> BTreeMap<String, DesiredState> {
        let mut states = BTreeMap::new();
        for (number, switch) in self.switches.iter().enumerate() {
            // Not every generation is about every switch; the first one is.
            if generation > self.first + 1 && chance_of(generation, number).permille(200) {
                continue;
            }
            let mut desired = [0; 32];
            desired[..8].copy_from_slice(&self.state(generation, number).to_be_bytes());
            desired[8] = u8::try_from(number).unwrap_or(0);
            desired[9] = self.eras.get(&generation).copied().unwrap_or(0);
            states.insert(switch.clone(), DesiredState { sha256: Digest(desired), entries: 10, place: 0 });
        }
        states
    }

    /// The number of a state: a new one, the last one's, or the one's before.
    fn state(&self, generation: u64, switch: usize) -> u64 {
        let mut chance = chance_of(generation, switch);
        chance.next();
        let (same, back) = (chance.permille(self.same), chance.permille(self.same));
        match generation.saturating_sub(self.first) {
            2.. if same => self.state(generation - 1, switch),
            3.. if back => self.state(generation - 2, switch),
            _ => generation,
        }
    }

    /// A generation, as it lies in the log: appended to the one before.
    pub(super) fn generation(&self, generation: u64) -> Generation {
        let mut record = self.bare(generation);
        let Some(before) = generation.checked_sub(1).filter(|before| *before > self.first) else {
            return record;
        };
        let before = self.generation(before);
        record.since = before.all_since();
        match self.mutant {
            Some(Mutant::ChangedSkipped) => {
                record.since.retain(|switch, _| record.desired.contains_key(switch));
            }
            Some(Mutant::ReturnSkipped) => {
                record.since.clear();
                for (switch, state) in &record.desired {
                    let said = |earlier: &u64| self.bare(*earlier).desired.get(switch) == Some(state);
                    let first = (self.first + 1..generation).find(said);
                    record.since.extend(first.map(|first| (switch.clone(), first)));
                }
            }
            _ => record.follow(Some(&before)),
        }
        record
    }

    fn bare(&self, generation: u64) -> Generation {
        Generation {
            network: NETWORK,
            generation,
            files: Vec::new(),
            sources: BTreeMap::new(),
            numbers: None,
            desired: self.desired(generation),
            since: BTreeMap::new(),
            as_of_ms: 0,
            author: "sim".to_owned(),
            at_ms: 0,
        }
    }

    /// What brings each switch to a generation.
    pub(super) fn tasks(&self, generation: u64) -> Vec<Task> {
        let record = self.generation(generation);
        record.desired.keys().filter_map(|switch| record.task(switch)).collect()
    }

    /// The tasks of an entry of the log of probes: every distributor reads the same.
    pub(super) fn probe(&self, occurrence: u64) -> Vec<Task> {
        self.entry(occurrence).tasks().expect("good events")
    }

    /// An entry of the log of probes.
    pub(super) fn entry(&self, occurrence: u64) -> ProbeEntry {
        let mut chance = Chance::new(occurrence << 16 | 0xffff);
        let few = chance.permille(500);
        let switches = self.switches.iter().take(if few { 1 } else { usize::MAX }).cloned().collect();
        ProbeEntry { network: NETWORK, number: occurrence, switches, author: "sim".to_owned(), at_ms: 0 }
    }
}

fn chance_of(generation: u64, switch: usize) -> Chance {
    Chance::new(generation << 8 | switch as u64)
}
