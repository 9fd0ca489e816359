//! The property that everything rests on: compiled entries and the intent itself give the same verdict, by the same
//! policy and rule, for every packet on every switch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use outplane_compiler::compile::{Compiled, Options, compile, compile_after};
use outplane_compiler::lookup::Lookup;
use outplane_compiler::program::{ActionKind, Program, Table};
use outplane_intent::evaluate::{Evaluator, IMPLIED_SWITCH, Leaving, LeavingBy};
use outplane_intent::model::Intent;
use outplane_intent::packet::Packet;
use outplane_intent::testing::{self, universe};
use outplane_p4runtime::entry::MeterCell;
use proptest::prelude::*;
use proptest::test_runner::Config;

/// How much more often than usual: `PROPTEST_CASES` beyond the default is by hand.
const CASES: u32 = 300;

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES)
}

fn compiled(intent: &Intent) -> Compiled {
    compile(intent, &Options { at: universe::now() }).expect("small intents fit")
}

/// Nothing, or all about the first packet on which they differ.
fn difference(intent: &Intent, compiled: &Compiled, packets: &[Packet]) -> Option<String> {
    let program = Program::outplane();
    let evaluator = Evaluator::new(intent);
    for (switch, state) in &compiled.switches {
        let lookup = Lookup::new(program, &state.desired.entries, None);
        for packet in packets {
            let verdict = evaluator.evaluate(Some(switch), universe::now(), packet);
            let entrance = evaluator.entrance(Some(switch), packet);
            let trace = lookup.trace(packet, &entrance, &compiled.segments);
            let segment = verdict.segment.as_ref().map_or(0, |name| compiled.segments[name]);
            let meant = (verdict.allow, &verdict.policy, &verdict.rule, verdict.log, segment);
            let done = (trace.allow, &trace.policy, &trace.rule, trace.log, trace.segment);
            let limit = verdict.rate_limit.map(|limit| (limit.packets_per_second, limit.burst));
            if meant == done && limit == limited(&state.desired.meters, trace.limiter) {
                continue;
            }
            let mut text = format!("on switch {switch}: {packet:?}\nmeant: {meant:?}\n");
            for step in &verdict.steps {
                let _ = writeln!(text, "  {}", step.text);
            }
            let _ = writeln!(text, "done: {done:?}");
            for hit in &trace.hits {
                let _ = writeln!(text, "  {} by {:?}", program.schema().describe(hit.entry), hit.origin);
            }
            return Some(text);
        }
    }
    None
}

/// The rate and burst of a cell.
fn limited(meters: &[MeterCell], cell: Option<u16>) -> Option<(u32, u32)> {
    let cell = meters.iter().find(|meter| Some(meter.index) == cell.map(i64::from))?;
    assert_eq!((cell.cir, cell.cburst), (cell.pir, cell.pburst));
    Some((u32::try_from(cell.cir).unwrap(), u32::try_from(cell.cburst).unwrap()))
}

/// The same of where packets that pass leave, whomever their frames are for.
fn strayed(intent: &Intent, compiled: &Compiled, packets: &[Packet]) -> Option<String> {
    let program = Program::outplane();
    let evaluator = Evaluator::new(intent);
    let macs = intent.hosts.values().map(|host| host.mac).chain([None, Some([2, 0, 0, 0, 0xff, 0xff])]);
    let macs: BTreeSet<_> = macs.collect();
    for (switch, state) in &compiled.switches {
        let lookup = Lookup::new(program, &state.desired.entries, None);
        for packet in packets {
            let entrance = evaluator.entrance(Some(switch), packet);
            let segment = entrance.segment.as_ref().map_or(0, |name| compiled.segments[name]);
            for mac in &macs {
                let meant = evaluator.leaving(Some(switch), &entrance, *mac);
                let done = lookup.way(segment, entrance.port, *mac, &state.desired.groups);
                let by = done.hit.as_ref().map_or(LeavingBy::Flood, |hit| match hit.table {
                    Table::CrossConnect => LeavingBy::CrossConnect,
                    Table::L2Forward => LeavingBy::Host,
                    _ => LeavingBy::Flood,
                });
                if meant != (Leaving { by, ports: done.ports.iter().copied().collect() }) {
                    return Some(format!(
                        "on {switch}, {entrance:?} for {mac:x?}\nmeant: {meant:?}\ndone: {done:?}"
                    ));
                }
            }
        }
    }
    None
}

proptest! {
    #![proptest_config(Config { cases: cases(), max_shrink_iters: 4000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn entries_do_what_the_intent_means((intent, packets) in testing::cases(60)) {
        let difference = difference(&intent, &compiled(&intent), &packets);
        prop_assert!(difference.is_none(), "{}", difference.unwrap_or_default());
    }

    #[test]
    fn entries_forward_as_the_intent_means((intent, packets) in testing::cases(30)) {
        let strayed = strayed(&intent, &compiled(&intent), &packets);
        prop_assert!(strayed.is_none(), "{}", strayed.unwrap_or_default());
    }

    #[test]
    fn entries_do_it_for_packets_made_to_measure(seed in any::<u64>()) {
        let intent = testing::random_intent(seed);
        let packets = testing::random_packets(seed, &intent, 100);
        let difference = difference(&intent, &compiled(&intent), &packets);
        prop_assert!(difference.is_none(), "{}", difference.unwrap_or_default());
    }
}

proptest! {
    #![proptest_config(Config { cases: cases() / 4, max_shrink_iters: 1000, failure_persistence: None, ..Config::default() })]

    /// Numbers that were carried on through other intents decide nothing.
    #[test]
    fn entries_do_what_the_intent_means_after_others(history in proptest::collection::vec(testing::cases(30), 2..5)) {
        let options = Options { at: universe::now() };
        let mut before = Compiled::default();
        for (intent, packets) in history {
            let after = compile_after(&intent, &options, &before.numbers).expect("small intents fit");
            let difference = difference(&intent, &after, &packets);
            prop_assert!(difference.is_none(), "{}", difference.unwrap_or_default());
            let again = compile_after(&intent, &options, &after.numbers).expect("small intents fit");
            prop_assert!(again == after, "after its own numbers it is the same");
            before = after;
        }
    }
}

#[test]
fn an_empty_intent_lets_everything_through() {
    let intent = Intent::default();
    let compiled = compiled(&intent);
    assert!(compiled.switches[IMPLIED_SWITCH].desired.entries.is_empty());
    let packets = testing::random_packets(1, &intent, 200);
    assert_eq!(difference(&intent, &compiled, &packets), None);
}

/// Agreement means little where packets do not come: they run every action of every policy table.
#[test]
fn random_packets_run_every_action() {
    let program = Program::outplane();
    let mut run: BTreeMap<(Table, ActionKind), u32> = BTreeMap::new();
    let mut guards: BTreeMap<(Table, i32), u32> = BTreeMap::new();
    for seed in 0..400 {
        let intent = testing::random_intent(seed);
        let compiled = compiled(&intent);
        let evaluator = Evaluator::new(&intent);
        for (switch, state) in &compiled.switches {
            let lookup = Lookup::new(program, &state.desired.entries, None);
            for packet in testing::random_packets(seed, &intent, 60) {
                let entrance = evaluator.entrance(Some(switch), &packet);
                for hit in lookup.trace(&packet, &entrance, &compiled.segments).hits {
                    let action = program.action_of(hit.entry.action.id).expect("an action of ours");
                    *run.entry((hit.table, action)).or_default() += 1;
                    if matches!(hit.table, Table::SourceGuardV4 | Table::SourceGuardV6) {
                        *guards.entry((hit.table, hit.entry.key.priority)).or_default() += 1;
                    }
                }
            }
        }
    }
    for table in Table::ALL.iter().filter(|table| table.is_versioned()) {
        for action in table.actions() {
            assert!(run.contains_key(&(*table, *action)), "no packet has run {action} in {table}: {run:#?}");
        }
    } // Every level of the guards (p4/guard), of both families.
    assert_eq!(guards.len(), 2 * 11, "{guards:#?}");
}
