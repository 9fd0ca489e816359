//! A scenario is drawn: what a seed means.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::chance::Chance;
use super::clock::MS;
use super::incident::{self, Forged, Incident, Pause};
use super::scenario::{Rates, Scenario};
use super::store::Faults;
use super::troubles;
use crate::config::{Member, Role, SharedConfig};

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
            let incident = incident::any(chance, nodes, switches.len());
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
