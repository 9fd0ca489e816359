//! What entries have counted that a plan takes away, or gives to another rule: read by their keys, and no others.
//!
//! ```text
//!   steps    sweep  pin  restrict  prepare  flip           clean up  release
//!   reads    ├── early: those of these ──┤       late: ──┤ those of these
//!            beside the first write                before it: packets see the new policy already
//! ```
//! So the flip waits for none of it, unless the very first step takes entries away that packets may see.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use outplane_compiler::plan::CLEAN_UP;
use outplane_compiler::program::Program;
use outplane_compiler::state::{Change, Installed, Origin, Plan, Step};
use outplane_p4runtime::entry::{Counter, Entry, Key};
use outplane_p4runtime::p4::v1::entity::Entity as Kind;
use outplane_p4runtime::p4::v1::{CounterData, TableEntry};
use outplane_p4runtime::schema::TableInfo;
use tokio::time::timeout;

use crate::connection::Connection;
use crate::counted::{Counted, CountedEntry};

/// Most entries that are read by their keys; more are read with their tables.
const BY_KEY: usize = 1000;

/// What counters may take amid an update.
const COUNTING: Duration = Duration::from_millis(400);

/// Entries that go or count for another rule from now on, and the rules that they have counted for.
type Going = BTreeMap<Key, Origin>;

/// Reads counters amid an update.
pub(super) struct Counting<'a> {
    connection: &'a Connection,
    counted: &'a Counted,
    early: Going,
    late: Going,
    /// Steps before this one are early.
    split: usize,
    /// The first step takes away what counts.
    first_deletes: bool,
    /// Rules of which entries go.
    rules: HashSet<(String, String)>,
}

/// Whether a plan takes so little away that it is read by key.
pub(crate) fn is_little(program: &Program, installed: &Installed, plan: &Plan) -> bool {
    let origins = Origins::new(program, installed, plan);
    let [early, late] = going(&origins, plan);
    early.len() + late.len() <= BY_KEY
}

impl<'a> Counting<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        counted: &'a Counted,
        plan: &'a Plan,
        installed: &'a Installed,
    ) -> Self {
        let program = &connection.pipeline.program;
        let origins = Origins::new(program, installed, plan);
        let [early, late] = going(&origins, plan);
        let first_deletes = plan.steps.first().is_some_and(|step| {
            step.changes.iter().any(|change| matches!(change, Change::Delete(key) if early.contains_key(key)))
        });
        let rules = early.values().chain(late.values()).cloned().map(|of| (of.policy, of.rule)).collect();
        Self { connection, counted, early, late, split: split(plan), first_deletes, rules }
    }

    /// Before a step is written.
    pub(super) async fn before(&mut self, step: usize) {
        if step >= self.split {
            let late = std::mem::take(&mut self.late);
            self.read(late).await;
        } else if self.first_deletes {
            let early = std::mem::take(&mut self.early);
            self.read(early).await;
        }
    }

    /// While a step is written. An entry that is given to another rule goes on counting, so it is no matter which comes
    /// first.
    pub(super) async fn beside(&mut self, step: usize) {
        if step < self.split {
            let early = std::mem::take(&mut self.early);
            self.read(early).await;
        }
    }

    /// After a step was acknowledged. With `as_known`, what it has inserted was not there before.
    pub(super) fn after(&self, step: &Step, as_known: bool, counts: Option<&BTreeMap<Key, Counter>>) {
        let program = &self.connection.pipeline.program;
        let mut deleted = Vec::new();
        let mut inserted = Vec::new();
        for change in &step.changes {
            match change {
                Change::Delete(key) if counts_in(program, key) => deleted.push(key.clone()),
                Change::Insert(Entry { key, metadata, .. }) if as_known && counts_in(program, key) => {
                    let is_given = counts.is_some_and(|counts| counts.contains_key(key));
                    let origin = Origin::decode(metadata).filter(|_| !is_given);
                    let of =
                        |origin: &Origin| self.rules.contains(&(origin.policy.clone(), origin.rule.clone()));
                    inserted.extend(origin.filter(of).map(|origin| CountedEntry {
                        key: key.clone(),
                        origin,
                        counter: Counter::default(),
                    }));
                }
                _ => {}
            }
        }
        self.counted.put_inserted(inserted);
        self.counted.put_deleted(deleted);
    }

    /// Entries that the switch does not tell of in time are left out: what they have counted since they were read last is
    /// lost.
    async fn read(&self, mut going: Going) {
        if going.is_empty() {
            return;
        }
        let schema = self.connection.pipeline.schema();
        let counted =
            |entry| Kind::TableEntry(TableEntry { counter_data: Some(CounterData::default()), ..entry });
        let queries = if going.len() <= BY_KEY {
            going.keys().map(|key| counted(schema.key_to_proto(key))).collect()
        } else {
            let tables: BTreeSet<u32> = going.keys().map(|key| key.table).collect();
            let all = |table_id| TableEntry { table_id, ..TableEntry::default() };
            tables.into_iter().map(|table| counted(all(table))).collect()
        };
        let read = self.connection.read_counters(queries);
        let entities = match timeout(COUNTING, read).await {
            Ok(Ok(entities)) => entities,
            Ok(Err(error)) => {
                tracing::debug!(%error, "what entries that go have counted cannot be read");
                return;
            }
            Err(_) => return,
        };
        let mut entries = Vec::with_capacity(going.len());
        for entity in entities {
            // A key without matches is answered with the whole table.
            if let Some(Kind::TableEntry(entry)) = entity.entity
                && let Some(counter) = entry.counter_data.map(Counter::from)
                && let Ok(key) = schema.key_from_proto(&entry)
                && let Some(origin) = going.remove(&key)
            {
                entries.push(CountedEntry { key, origin, counter });
            }
        }
        self.counted.put_part(entries);
    }
}

/// Whether packets are seen to hit an entry with this key.
fn counts_in(program: &Program, key: &Key) -> bool {
    program.schema().table(key.table).is_some_and(TableInfo::has_direct_counter)
}

/// The first step that takes away what packets do not see any more.
fn split(plan: &Plan) -> usize {
    let flip = |step: &Step| step.changes.iter().any(|change| matches!(change, Change::SetDefault(_)));
    let after_flip = plan.steps.iter().position(flip).map(|at| at + 1);
    let clean_up = || plan.steps.iter().position(|step| step.title == CLEAN_UP);
    after_flip.or_else(clean_up).unwrap_or(plan.steps.len())
}

/// What entries count for, those that stand before a plan and those that it inserts on the way.
struct Origins<'a> {
    program: &'a Program,
    installed: &'a Installed,
    inserted: BTreeMap<&'a Key, &'a Entry>,
}

impl<'a> Origins<'a> {
    fn new(program: &'a Program, installed: &'a Installed, plan: &'a Plan) -> Self {
        let changes = plan.steps.iter().flat_map(|step| &step.changes);
        let inserted = changes
            .filter_map(|change| if let Change::Insert(entry) = change { Some(entry) } else { None })
            .map(|entry| (&entry.key, entry))
            .collect();
        Self { program, installed, inserted }
    }

    fn of(&self, key: &Key) -> Option<Origin> {
        let entry = self.installed.entries.get(key).or_else(|| self.inserted.get(key).copied())?;
        Origin::decode(&entry.metadata)
    }
}

/// What goes until the flip, and after it.
fn going(origins: &Origins<'_>, plan: &Plan) -> [Going; 2] {
    let split = split(plan);
    let mut going = [Going::new(), Going::new()];
    for (at, step) in plan.steps.iter().enumerate() {
        let going = &mut going[usize::from(at >= split)];
        for change in &step.changes {
            let (key, then) = match change {
                Change::Delete(key) => (key, None),
                Change::Modify(entry) => (&entry.key, Origin::decode(&entry.metadata)),
                _ => continue,
            };
            if !counts_in(origins.program, key) {
                continue;
            }
            let rule = |origin: &Origin| (origin.policy.clone(), origin.rule.clone());
            if let Some(now) = origins.of(key)
                && then.as_ref().map(rule) != Some(rule(&now))
            {
                going.insert(key.clone(), now);
            }
        }
    }
    going
}

#[cfg(test)]
mod tests {
    use outplane_compiler::plan::plan;
    use outplane_compiler::program::{ActionKind, Field, Table};
    use outplane_compiler::state::Desired;
    use outplane_p4runtime::entry::Match;

    use super::*;

    fn entry(rule: &str, source: u128, action: ActionKind) -> Entry {
        let program = Program::outplane();
        let matches = [(Field::SrcClass, Match::Ternary { value: source, mask: 0xffff })];
        Entry {
            key: program.key(Table::FilterAdmin, 9, matches),
            action: program.action(action, &[]),
            metadata: Origin { policy: "FilterPolicy/p".into(), rule: rule.into(), order: 1 }.encode(),
        }
    }

    fn going_rules(before: &[Entry], after: &[Entry]) -> [Vec<(String, bool)>; 2] {
        let program = Program::outplane();
        let installed = Installed { version: 1, entries: before.to_vec().into(), ..Installed::default() };
        let desired = Desired { entries: after.to_vec().into(), ..Desired::default() };
        let plan = plan(program, &installed, &desired).expect("a plan");
        going(&Origins::new(program, &installed, &plan), &plan).map(|going| {
            let stood = |key: &Key| installed.entries.get(key).is_some();
            going.into_iter().map(|(key, origin)| (origin.rule, stood(&key))).collect()
        })
    }

    #[test]
    fn what_goes_is_read_before_it_goes() {
        let (permit, deny) = (ActionKind::AdminPermit, ActionKind::AdminDeny);
        let of = |rules: &[(&str, u128)], action| {
            rules.iter().map(|(rule, source)| entry(rule, *source, action)).collect::<Vec<_>>()
        };
        let none = Vec::<(String, bool)>::new;
        let known = |rule: &str, stood| (rule.to_owned(), stood);
        // Where it stands: deleted, and given to another rule.
        let rules = of(&[("a", 1), ("b", 2), ("c", 3)], permit);
        assert_eq!(going_rules(&rules, &rules), [none(), none()]);
        assert_eq!(going_rules(&rules, &rules[..2]), [none(), vec![known("c", true)]]);
        let renamed = of(&[("a", 1), ("b", 2), ("other", 3)], permit);
        assert_eq!(going_rules(&rules, &renamed).concat(), [known("c", true)]);
        // Over a flip, of so many that they are not compared: the originals before it, their copies after it.
        let many: Vec<(String, u128)> = (1..60).map(|n| (format!("r{n:02}"), n)).collect();
        let many: Vec<(&str, u128)> = many.iter().map(|(rule, n)| (rule.as_str(), *n)).collect();
        let [early, late] = going_rules(&of(&many, permit), &of(&many, deny));
        let all = |stood| many.iter().map(|(rule, _)| known(rule, stood)).collect::<Vec<_>>();
        let sorted = |mut going: Vec<(String, bool)>| {
            going.sort();
            going
        };
        assert_eq!((sorted(early), sorted(late)), (all(true), all(false)));
    }
}
