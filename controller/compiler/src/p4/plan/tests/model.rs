//! The pure model: a switch that takes changes one by one and refuses what a strict switch refuses.

use std::collections::{BTreeMap, BTreeSet};

use outplane_p4runtime::Schema;
use outplane_p4runtime::entry::{Action, Entry, FieldMatch, Key, Match, MeterCell, MulticastGroup};

use crate::plan::Bare;
use crate::program::{ActionKind, Program};
use crate::state::{Change, Desired, Installed, Plan};

pub(super) fn program() -> &'static Program {
    Program::outplane()
}

fn schema() -> &'static Schema {
    program().schema()
}

/// An entry of `segment_of`, which stands for all versioned tables: one port, to one segment.
pub(super) fn segment(port: u128, segment: u128, origin: &str) -> Entry {
    let table = schema().table_by_name("segment_of").expect("in the program");
    let field = table.field_by_name("ingress_port").expect("in the program").id;
    let action = schema().action_by_name("set_segment").expect("in the program");
    Entry {
        key: Key {
            table: table.id,
            matches: vec![FieldMatch { field, matches: Match::Ternary { value: port, mask: 0x1ff } }],
            priority: 1,
        },
        action: Action { id: action.id, params: vec![(action.params[0].id, segment)] },
        metadata: origin.into(),
    }
}

/// An entry of another versioned table.
pub(super) fn class(address: u128, class: u128) -> Entry {
    let table = schema().table_by_name("src_v4_class").expect("in the program");
    let field = table.field_by_name("address").expect("in the program").id;
    let action = schema().action_by_name("set_src_class").expect("in the program");
    Entry {
        key: Key {
            table: table.id,
            matches: vec![FieldMatch {
                field,
                matches: Match::Ternary { value: address, mask: 0xffff_ffff },
            }],
            priority: 2,
        },
        action: Action {
            id: action.id,
            params: action.params.iter().map(|param| (param.id, class)).collect(),
        },
        metadata: b"class".to_vec(),
    }
}

/// An entry of `flood`, a table without versions.
pub(super) fn flood(segment: u128, group: u128) -> Entry {
    let table = schema().table_by_name("flood").expect("in the program");
    let matches = vec![FieldMatch { field: table.fields[0].id, matches: Match::Exact(segment) }];
    Entry {
        key: Key { table: table.id, matches, priority: 0 },
        action: program().action(ActionKind::FloodTo, &[group]),
        metadata: b"flood".to_vec(),
    }
}

pub(super) fn group(id: u32, ports: &[u32]) -> MulticastGroup {
    MulticastGroup { id, ports: ports.to_vec() }
}

pub(super) fn meter(index: i64, rate: i64) -> MeterCell {
    MeterCell { meter: 1, index, cir: rate, cburst: 1, pir: rate, pburst: 1 }
}

pub(super) fn desired(entries: Vec<Entry>) -> Desired {
    Desired { entries: entries.into(), ..Desired::default() }
}

/// What packets of one version can see: a key without its version, and what it does.
pub(super) type Shown = BTreeMap<(u32, Vec<FieldMatch>, i32), BTreeSet<Action>>;

/// A switch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Switch {
    pub version: u8,
    pub entries: BTreeMap<Key, Entry>,
    pub groups: BTreeMap<u32, MulticastGroup>,
    pub meters: BTreeMap<(u32, i64), MeterCell>,
    /// Most entries that any table has held at once.
    pub peaks: BTreeMap<u32, usize>,
}

impl Switch {
    pub(super) fn with(version: u8, entries: Vec<Entry>) -> Self {
        let entries = entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        Self { version, entries, ..Self::default() }
    }

    pub(super) fn read(&self) -> Installed {
        Installed {
            version: self.version,
            entries: self.entries.values().cloned().collect(),
            groups: self.groups.values().cloned().collect(),
            meters: self.meters.values().copied().collect(),
            ..Installed::default()
        }
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Insert(entry) => {
                assert!(
                    self.entries.insert(entry.key.clone(), entry.clone()).is_none(),
                    "ALREADY_EXISTS {}",
                    schema().describe(entry)
                );
                schema().check_entry(entry).expect("an entry of its table");
                let count = self.entries.keys().filter(|key| key.table == entry.key.table).count();
                let peak = self.peaks.entry(entry.key.table).or_default();
                *peak = count.max(*peak);
            }
            Change::Modify(entry) => {
                let old = self.entries.insert(entry.key.clone(), entry.clone());
                assert_ne!(old.expect("NOT_FOUND"), *entry, "a modify that changes nothing");
            }
            Change::Delete(key) => {
                assert!(self.entries.remove(key).is_some(), "NOT_FOUND {}", schema().describe_key(key));
            }
            Change::SetDefault(entry) => {
                self.version = program().version_of(entry).expect("set_version");
            }
            Change::InsertGroup(group) => {
                assert!(self.groups.insert(group.id, group.clone()).is_none(), "ALREADY_EXISTS");
            }
            Change::ModifyGroup(group) => {
                assert!(self.groups.insert(group.id, group.clone()).is_some(), "NOT_FOUND");
            }
            Change::DeleteGroup(id) => assert!(self.groups.remove(id).is_some(), "NOT_FOUND"),
            Change::SetMeter(cell) => {
                self.meters.insert((cell.meter, cell.index), *cell);
            }
            Change::ClearMeter { meter, index } => {
                assert!(self.meters.remove(&(*meter, *index)).is_some(), "cleared twice");
            }
        }
        for entry in self.entries.values() {
            let floods = program().action_of(entry.action.id) == Some(ActionKind::FloodTo);
            if let Some(group) = program().argument(&entry.action, 0).filter(|&group| floods && group != 0) {
                let group = u32::try_from(group).expect("16 bits");
                assert!(
                    self.groups.contains_key(&group),
                    "an entry floods to group {group}, which is not there"
                );
            }
        }
    }

    pub(super) fn run(&mut self, plan: &Plan) {
        for change in plan.steps.iter().flat_map(|step| &step.changes) {
            self.apply(change);
        }
    }

    /// What packets see in versioned tables.
    pub(super) fn shown(&self) -> Shown {
        let mut shown = Shown::new();
        if self.version == 0 {
            return shown;
        }
        for entry in self.entries.values() {
            if program().version_field(entry.key.table).is_none() {
                continue;
            }
            let (version, bare) = Bare::of(program(), &entry.key);
            let seen = match version.map(|matched| matched.matches) {
                None => true,
                Some(Match::Ternary { value, mask }) => u128::from(self.version) & mask == value,
                Some(other) => panic!("a version is ternary, not {other:?}"),
            };
            if seen {
                let key = (bare.table, bare.matches.into_owned(), bare.priority);
                shown.entry(key).or_default().insert(entry.action.clone());
            }
        }
        // What stands below an entry with the same match is never hit, and so is as if it stood in its place.
        let mut highest: BTreeMap<(u32, Vec<FieldMatch>), (i32, i32)> = BTreeMap::new();
        for (table, matches, priority) in shown.keys() {
            let (low, high) = highest.entry((*table, matches.clone())).or_insert((*priority, *priority));
            (*low, *high) = ((*low).min(*priority), (*high).max(*priority));
        }
        let seen = highest.into_iter().filter_map(|((table, matches), (low, high))| {
            Some(((table, matches.clone(), low), shown.remove(&(table, matches, high))?))
        });
        seen.collect()
    }

    /// What it holds, versions apart, as a desired state.
    pub(super) fn holds(&self) -> Desired {
        Desired {
            entries: self
                .entries
                .values()
                .map(|entry| crate::plan::for_version(program(), entry, None))
                .collect(),
            groups: self.groups.values().cloned().collect(),
            meters: self.meters.values().copied().collect(),
        }
    }
}

/// What packets see of a desired state.
pub(super) fn shows(desired: &Desired) -> Shown {
    Switch::with(1, desired.entries.iter().cloned().collect()).shown()
}
