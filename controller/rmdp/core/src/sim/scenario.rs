//! What a seed means: how many of what, how bad the faults are, and when they come.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::chance::Chance;
use super::store::Faults;
use super::troubles;
use crate::config::{Member, Role, SharedConfig};
use crate::mutant::Mutant;
use crate::object::{DesiredState, Generation, ProbeEntry};
use crate::task::{Digest, NETWORK, Task};

/// A millisecond in nanoseconds, the unit of simulated time.
pub(super) const MS: u64 = 1_000_000;

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

/// A fault, or something to do, at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Incident {
    Append,
    Probe,
    Crash {
        node: usize,
        restart_after: u64,
        old: bool,
    },
    Pause {
        node: usize,
        length: u64,
        kind: Pause,
    },
    ClockJumps {
        node: usize,
        by: u64,
    },
    WallClock {
        node: usize,
        by: i64,
    },
    Configure {
        version: usize,
    },
    PutBack {
        by: u64,
    },
    Drain {
        node: usize,
        restart_after: u64,
    },
    /// Nothing that the one sends comes to the other.
    Cut {
        from: usize,
        to: usize,
        length: u64,
    },
    StoreGone {
        length: u64,
        keeps: bool,
    },
    SwitchRestart {
        switch: usize,
    },
    SwitchEdited {
        switch: usize,
    },
    SwitchGone {
        switch: usize,
        length: u64,
    },
    Replay,
    ReplayBeats,
    Forge {
        what: Forged,
        switch: usize,
        queued: bool,
    },
    ForgetCopies,
    Calm,
}

/// How a node stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// Its clock goes on.
    Plain,
    /// Its clock stands still with it.
    Still,
    /// Its clock goes on, and it is for so long that others have to tell of it, beyond the calm too.
    Frozen,
}

/// What somebody with the key says that is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forged {
    /// A task of the last generation that there can be.
    Absurd,
    /// The next generation's task, as it will be, before there is that generation.
    Early,
    /// A task of the newest generation, or of the next one, with another desired state.
    Otherwise,
    /// A task of another network, under the newest generation's number.
    Foreign,
    /// A task whose generation is not its occurrence.
    Uneven,
    /// A task for a switch of which its generation says nothing.
    Elsewhere,
    /// A task of the newest generation, as if it said something new of a switch.
    Unchanged,
    /// Heartbeats that tell of generations that are not there.
    Heartbeat,
}

impl Forged {
    const ALL: [Self; 8] = [
        Self::Absurd,
        Self::Early,
        Self::Otherwise,
        Self::Foreign,
        Self::Uneven,
        Self::Elsewhere,
        Self::Heartbeat,
        Self::Unchanged,
    ];
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
    same: u64,
    /// Broken in the way that generations are appended.
    pub(super) mutant: Option<Mutant>,
}

impl Scenario {
    pub(super) fn new(seed: u64, chance: &mut Chance) -> Self {
        let distributors = chance.range(1, 3);
        let controllers = chance.range(1, 4);
        let config = Arc::new(configuration(chance, distributors, controllers));
        let nodes = usize::try_from(distributors + controllers).unwrap_or(0);
        let switches: Vec<_> = (1..=chance.range(1, 3)).map(|number| format!("leaf{number}")).collect();
        let generations = chance.range(1, 7);
        let long = chance.permille(150);
        let calm = chance.range(2000, 7000) * MS;
        let mut incidents = Vec::new();
        let first = [0, 5, 40, 1020][chance.index(4)];
        for _ in 0..generations {
            incidents.push((chance.range(0, calm * 9 / 10), Incident::Append));
        }
        for _ in 0..chance.range(0, 6) {
            incidents.push((chance.range(0, calm * 9 / 10), Incident::Probe));
        }
        // Some seeds have every fault, some few, some none.
        let wild = [0, 300, 700, 1000][chance.index(4)];
        let mut rate = |most: u64| chance.range(0, most) * wild / 1000;
        let rates = Rates {
            datagram_lost: rate(600),
            datagram_twice: rate(200),
            datagram_late: rate(100),
            request_lost: rate(100),
            reply_lost: rate(150),
            refused: rate(100),
            lands_late: rate(60),
            write_stuck: rate(80),
            write_fails: rate(150),
            copies_late: rate(500),
            announce_lost: rate(300),
            crash_executing: rate(60),
            sleep_executing: 0,
            pause_executing: 0,
            closed_again: 0,
            lands_next_day: 0,
            store: Faults { hidden: rate(300), late: rate(300), disorder: rate(300), unreadable: rate(100) },
        };
        let count = chance.range(0, 12) * wild / 1000;
        for _ in 0..count {
            let at = chance.range(0, calm * 9 / 10);
            let incident = incident(chance, nodes, switches.len());
            incidents.push((at, incident));
        }
        if long {
            for _ in 0..chance.range(2, 8) {
                incidents.push((calm + chance.range(0, 40_000) * MS, Incident::Replay));
            }
            // So long that what it knows of the horizon is of no use any more.
            if chance.permille(wild / 2) {
                let node = chance.index(nodes);
                let length = chance.range(8_000, 25_000) * MS;
                incidents.push((
                    calm + chance.range(1, 6_000) * MS,
                    Incident::Pause { node, length, kind: Pause::Plain },
                ));
            }
        }
        for _ in 0..chance.range(0, 6) * wild / 1000 {
            let what = Forged::ALL[chance.index(Forged::ALL.len())];
            let (switch, queued) = (chance.index(switches.len()), chance.permille(300));
            incidents.push((chance.range(0, calm * 9 / 10), Incident::Forge { what, switch, queued }));
        }
        incidents.push((calm, Incident::Calm));
        let mut lost_for_ever = Vec::new();
        if wild > 0 && chance.permille(300) {
            for node in usize::try_from(distributors).unwrap_or(0) + 1..nodes {
                if chance.permille(500) {
                    lost_for_ever.push(node);
                }
            }
        }
        for _ in 0..lost_for_ever.len() {
            incidents.push((calm + chance.range(0, 8000) * MS, Incident::ReplayBeats));
        }
        let same = chance.range(0, 400);
        let strangers = if chance.permille(wild / 2) { strangers(chance) } else { Vec::new() };
        let lax = chance.permille(500);
        let push_takes = chance.range(20, u64::from(config.claims.push_ms) * 2 / 3) * MS;
        let mut scenario = Self {
            configs: vec![config],
            twin: None,
            far: false,
            switches,
            rates,
            lax,
            unfenced: BTreeSet::new(),
            push_takes,
            incidents,
            lost_for_ever,
            long,
            first,
            strangers,
            eras: BTreeMap::new(),
            same,
            mutant: None,
        };
        if wild > 0 {
            // From a stream of its own, so that it changes nothing in the seeds that have none.
            let mut more = Chance::new(seed ^ 0x7206_b1e5);
            troubles::add(&mut scenario, &mut more, calm);
        }
        scenario
    }

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

/// More than a page of keys that are not ours, before, between or behind ours.
fn strangers(chance: &mut Chance) -> Vec<String> {
    let mut paths = Vec::new();
    for prefix in ["q/", "c/", "r/", "d/", "h/intent/", "i/", "e/", "b/", "n/", "config/"] {
        if chance.permille(500) {
            let digit = b"!0378bf~"[chance.index(8)] as char;
            paths.extend(
                (0..chance.range(1, 30)).map(|number| format!("{prefix}{digit}/stranger{number:02}")),
            );
        }
    }
    paths
}

pub(super) fn incident(chance: &mut Chance, nodes: usize, switches: usize) -> Incident {
    let node = chance.index(nodes);
    match chance.range(0, 13) {
        0..=2 => {
            Incident::Crash { node, restart_after: chance.range(50, 2500) * MS, old: chance.permille(300) }
        }
        3..=5 => Incident::Pause { node, length: chance.range(50, 3000) * MS, kind: Pause::Plain },
        6 => Incident::Drain { node, restart_after: chance.range(200, 2000) * MS },
        7 => Incident::StoreGone { length: chance.range(100, 2500) * MS, keeps: chance.permille(500) },
        8 => Incident::SwitchRestart { switch: chance.index(switches) },
        9 => Incident::SwitchGone { switch: chance.index(switches), length: chance.range(100, 2000) * MS },
        10 => Incident::Replay,
        11 => Incident::ReplayBeats,
        12 => Incident::SwitchEdited { switch: chance.index(switches) },
        _ => Incident::ForgetCopies,
    }
}

/// Times are short, so that seconds of simulated time see everything.
fn configuration(chance: &mut Chance, distributors: u64, controllers: u64) -> SharedConfig {
    let mut config = SharedConfig::default();
    for number in 1..=distributors + controllers {
        let (role, name) = if number <= distributors {
            (Role::Distributor, format!("d{number}"))
        } else {
            (Role::Controller, format!("c{}", number - distributors))
        };
        let sender = u32::try_from(number).unwrap_or(0);
        let ip = Ipv4Addr::from(0xc000_0200 + sender);
        config.members.push(Member { name, sender, role, address: SocketAddr::from((ip, 8277)), http: None });
    }
    config.heartbeat.interval_ms = 250;
    config.heartbeat.silent_after = 4;
    config.claims.delay_ms = [0, 5, 20, 60][chance.index(4)];
    config.claims.lease_base_ms = 800;
    config.claims.lease_max_ms = 1500;
    config.claims.push_ms = [300, 700][chance.index(2)];
    config.claims.budget_ms = [100, 300][chance.index(2)];
    config.claims.watch_ms = 400;
    config.takeover.silence_ms = [0, 80, 120, 200][chance.index(4)];
    config.attempts.max = u32::try_from(chance.range(2, 5)).unwrap_or(2);
    config.attempts.backoff_ms = 50;
    config.attempts.backoff_max_ms = 400;
    config.audit.interval_s = [1, 3, 10][chance.index(3)];
    config.queue.delay_ms = [0, 10, 50, 300][chance.index(4)];
    config.queue.poll_ms = 500;
    config.limits.executions = if chance.permille(200) { 1 } else { 8 };
    config.retention.horizon_s = 8;
    config.retention.grace_s = 5;
    config.retention.generations = 2;
    config.check().expect("a configuration that can work");
    if chance.permille(200) {
        // Fewer than a configuration may say, so that the bound is met.
        config.limits.tasks = 2;
    }
    config
}
