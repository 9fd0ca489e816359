//! What a seed adds to its scenario: clocks that jump, stand still or show the wrong day, changes of the configuration, two
//! processes under one name, a store that is put back, and histories in which the horizon passes amid faults.

use std::sync::Arc;

use super::chance::Chance;
use super::clock::MS;
use super::incident::{self, Incident, Pause};
use super::scenario::Scenario;
use crate::config::SharedConfig;

/// A clock that stands still may do so for a tenth of the shortest grace altogether: docs/rmdp.md says what is beyond.
const STILL: u64 = 300 * MS;
/// How much longer a history of faults is in which the horizon passes.
const LONGER: u64 = 25_000 * MS;
const DAY: u64 = 86_400_000 * MS;

pub(super) fn add(scenario: &mut Scenario, chance: &mut Chance, calm: u64) {
    let nodes = scenario.configs[0].members.len();
    let until = if scenario.long && chance.permille(500) {
        longer(scenario, chance, calm);
        calm + LONGER
    } else {
        calm
    };
    if chance.permille(100) {
        scenario.twin = Some(chance.index(nodes));
    }
    let mut clocks = Vec::new();
    for _ in 0..chance.range(0, 4) {
        let node = chance.index(nodes);
        let incident = match chance.range(0, 5) {
            0 => Incident::ClockJumps { node, by: chance.range(50, 3000) * MS },
            1 => Incident::ClockJumps { node, by: chance.range(DAY / 1000, DAY) },
            2 => {
                Incident::WallClock { node, by: i64::try_from(chance.range(DAY / 10_000, DAY)).unwrap_or(0) }
            }
            3 => {
                Incident::WallClock { node, by: -i64::try_from(chance.range(DAY / 10_000, DAY)).unwrap_or(0) }
            }
            _ => Incident::Pause { node, length: chance.range(STILL / 10, STILL), kind: Pause::Still },
        };
        clocks.push((chance.range(0, until * 9 / 10), incident));
    }
    scenario.incidents.extend(clocks);
    if chance.permille(250) {
        configure(scenario, chance, until);
    }
    scenario.rates.pause_executing = chance.range(0, 150);
    for _ in 0..chance.range(0, 3) {
        let (from, to) = (chance.index(nodes), chance.index(nodes));
        let cut = Incident::Cut { from, to, length: chance.range(50, 3000) * MS };
        scenario.incidents.push((chance.range(0, until * 9 / 10), cut));
    }
    let unfenced = scenario.switches.iter().filter(|_| chance.permille(200)).cloned();
    scenario.unfenced = unfenced.collect();
    scenario.far = chance.permille(200);
    if chance.permille(50) {
        let by = chance.range(1, until / 2);
        scenario.incidents.push((chance.range(until / 4, until * 8 / 10), Incident::PutBack { by }));
    }
}

/// Faults go on while the horizon passes what there was, and new generations come.
fn longer(scenario: &mut Scenario, chance: &mut Chance, calm: u64) {
    for (at, _) in scenario.incidents.iter_mut().filter(|(at, _)| *at >= calm) {
        *at += LONGER;
    }
    for _ in 0..chance.range(1, 4) {
        scenario.incidents.push((calm + chance.range(0, LONGER * 9 / 10), Incident::Append));
    }
    let nodes = scenario.configs[0].members.len();
    for _ in 0..chance.range(0, 12) {
        let at = calm + chance.range(0, LONGER * 9 / 10);
        let incident = incident::any(chance, nodes, scenario.switches.len());
        scenario.incidents.push((at, incident));
    }
    for _ in 0..chance.range(0, 6) {
        scenario.incidents.push((calm + chance.range(0, LONGER), Incident::Replay));
    }
    if chance.permille(400) {
        scenario.rates.sleep_executing = chance.range(10, 100);
    }
    scenario.rates.closed_again = chance.range(0, 1000);
    if chance.permille(400) {
        scenario.rates.lands_next_day = chance.range(50, 400);
    }
}

/// New versions of the configuration, each when all who run follow the one before.
fn configure(scenario: &mut Scenario, chance: &mut Chance, until: u64) {
    let mut at = chance.range(0, until / 2);
    for version in 1..=usize::try_from(chance.range(1, 3)).unwrap_or(1) {
        let mut config = SharedConfig::clone(&scenario.configs[version - 1]);
        config.claims.delay_ms = [0, 5, 20, 60][chance.index(4)];
        config.claims.lease_base_ms = [600, 800, 1000][chance.index(3)];
        config.claims.budget_ms = [100, 200, 300][chance.index(3)];
        config.claims.watch_ms = [200, 400, 800][chance.index(3)];
        config.takeover.silence_ms = [0, 80, 120, 200][chance.index(4)];
        config.attempts.max = u32::try_from(chance.range(2, 5)).unwrap_or(2);
        config.audit.interval_s = [1, 3, 10][chance.index(3)];
        config.queue.delay_ms = [0, 10, 50, 300][chance.index(4)];
        config.queue.poll_ms = [300, 500, 800][chance.index(3)];
        config.retention.grace_s = [4, 5, 8, 40][chance.index(4)];
        config.retention.horizon_s = config.retention.grace_s.max([5, 8, 12][chance.index(3)]);
        scenario.configs.push(Arc::new(config));
        scenario.incidents.push((at, Incident::Configure { version }));
        let follows = scenario.follows(version);
        at += chance.range(follows, 2 * follows);
    }
}
