//! Counters of rules whose entries are written anew: what the old entries have counted, the new ones go on from.

use std::collections::BTreeMap;

use outplane_p4runtime::entry::{Counter, Entry, Key};
use outplane_p4runtime::schema::TableInfo;

use crate::program::Program;
use crate::state::{Change, Installed, Origin, Plan};

/// The step whose inserts stay.
pub(super) const PREPARE: &str = "prepare";

/// What new entries begin to count from, so that a rule's sum stays what it is: for each rule of which the plan deletes
/// entries and inserts some, one of the new ones begins with what all of the old ones have counted. `installed` has
/// counters.
///
/// A rule of which nothing is inserted loses what its deleted entries have counted.
pub fn carried(program: &Program, installed: &Installed, plan: &Plan) -> BTreeMap<Key, Counter> {
    let mut sums: BTreeMap<(String, String), Counter> = BTreeMap::new();
    for change in plan.steps.iter().flat_map(|step| &step.changes) {
        let Change::Delete(key) = change else { continue };
        let (Some(entry), Some(counter)) = (installed.entries.get(key), installed.counters.get(key)) else {
            continue;
        };
        let Some(rule) = rule(entry) else { continue };
        let sum = sums.entry(rule).or_default();
        sum.packets = sum.packets.saturating_add(counter.packets);
        sum.bytes = sum.bytes.saturating_add(counter.bytes);
    }
    sums.retain(|_, sum| *sum != Counter::default());
    let mut begin = BTreeMap::new();
    let prepare = plan.steps.iter().filter(|step| step.title == PREPARE);
    for change in prepare.flat_map(|step| &step.changes) {
        let Change::Insert(entry) = change else { continue };
        let counts = program.schema().table(entry.key.table).is_some_and(TableInfo::has_direct_counter);
        if let Some(sum) = rule(entry).filter(|_| counts).and_then(|rule| sums.remove(&rule)) {
            begin.insert(entry.key.clone(), sum);
        }
    }
    begin
}

fn rule(entry: &Entry) -> Option<(String, String)> {
    Origin::decode(&entry.metadata).map(|origin| (origin.policy, origin.rule))
}

#[cfg(test)]
mod tests {
    use outplane_p4runtime::entry::Match;

    use super::*;
    use crate::plan::plan;
    use crate::program::{ActionKind, Field, Table};
    use crate::state::Desired;

    fn entry(rule: &str, priority: i32, source: u128) -> Entry {
        let program = Program::outplane();
        let matches = [(Field::SrcClass, Match::Ternary { value: source, mask: 0xffff })];
        Entry {
            key: program.key(Table::FilterAdmin, priority, matches),
            action: program.action(ActionKind::AdminDeny, &[]),
            metadata: Origin { policy: "FilterPolicy/p".into(), rule: rule.into(), order: 1 }.encode(),
        }
    }

    fn desired(entries: Vec<Entry>) -> Desired {
        Desired { entries: entries.into(), ..Desired::default() }
    }

    #[test]
    fn a_rules_new_entry_goes_on_from_its_old_ones() {
        let program = Program::outplane();
        let (one, two, other, gone) =
            (entry("a", 9, 1), entry("a", 9, 2), entry("b", 8, 1), entry("c", 7, 1));
        let mut installed = Installed { version: 1, ..Installed::default() };
        installed.entries = desired(vec![one.clone(), two.clone(), other.clone(), gone.clone()]).entries;
        for (entry, packets) in [(&one, 60), (&two, 7), (&other, 5), (&gone, 3)] {
            installed.counters.insert(entry.key.clone(), Counter { packets, bytes: packets * 100 });
        }
        // Rule a gets another priority and one more entry, b stays, c goes.
        let wanted = desired(vec![entry("a", 10, 1), entry("a", 10, 2), entry("a", 10, 3), other]);
        let plan = plan(program, &installed, &wanted).expect("a plan");
        let begin = carried(program, &installed, &plan);
        assert_eq!(begin.values().copied().collect::<Vec<_>>(), [Counter { packets: 67, bytes: 6700 }]);
        let key = begin.keys().next().expect("one");
        // As the plan inserts it.
        assert_eq!((key.priority, key.matches.len()), (10, 1));
    }
}
