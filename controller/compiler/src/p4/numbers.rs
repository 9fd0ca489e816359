//! The numbers by which a switch's entries were compiled, as far as the entries say them.

use std::collections::{BTreeMap, BTreeSet};

use outplane_intent::model::RateLimit;
use outplane_p4runtime::entry::{Entry, FieldMatch, Match};

use crate::classes::{Cube, Prefix};
use crate::numbers::{AddressPrefix, Numbers, PolicyNumbers};
use crate::p4::space::is_filter;
use crate::plan::seen;
use crate::program::{ActionKind, Field, Program, Table};
use crate::ranges::Point;
use crate::rows::meters::cell_digests;
use crate::rows::priority::{Line, line_place, rule_digest};
use crate::state::{Installed, Origin};

/// The fields whose matches are cubes of classes.
const CLASSES: [Field; 4] = [Field::SrcClass, Field::DstClass, Field::SportClass, Field::DportClass];

impl Numbers {
    /// What packets see now, as numbers to compile a switch's next policy after. What entries do not say (segments, places
    /// of rules without entries) is numbered anew.
    pub fn of_installed(program: &Program, switch: &str, installed: &Installed) -> Self {
        let visible: Vec<&Entry> =
            installed.entries.iter().filter(|entry| seen(program, entry, installed.version)).collect();
        let mut policies = PolicyNumbers { entries_anew: Some(0), ..PolicyNumbers::default() };
        for entry in &visible {
            addresses(program, entry, &mut policies);
        }
        policies.v4.sort_unstable();
        policies.v4.dedup_by_key(|prefix| (prefix.value, prefix.length));
        policies.v6.sort_unstable();
        policies.v6.dedup_by_key(|prefix| (prefix.value, prefix.length));
        policies.sport.ports = ports(program, &visible, Table::SportClass);
        policies.dport.ports = ports(program, &visible, Table::DportClass);
        covers(program, &visible, &mut policies);
        places(program, &visible, &mut policies);
        cells(program, &visible, installed, &mut policies);
        let mut numbers = Self::default();
        numbers.add(switch, &policies);
        numbers
    }
}

fn addresses(program: &Program, entry: &Entry, policies: &mut PolicyNumbers) {
    let class = |place| program.class(&entry.action, place).unwrap_or(0);
    let classes = (class(0), class(1));
    match program.table_of(entry.key.table) {
        Some(table @ Table::SrcV4Class) => {
            policies.v4.push(prefix(program.matched(table, &entry.key.matches, Field::Address), classes));
        }
        Some(table @ Table::SrcV6Class) => {
            policies.v6.push(prefix(program.matched(table, &entry.key.matches, Field::Address), classes));
        }
        _ => {}
    }
}

fn prefix<T: Point + TryFrom<u128>>(matches: Option<Match>, class: (u16, u16)) -> AddressPrefix<T> {
    let (value, length) = match matches {
        Some(Match::Ternary { value, mask }) => (value, mask.count_ones().min(T::BITS)),
        _ => (0, 0),
    };
    let value = T::try_from(value).unwrap_or(T::MIN).prefix(length).0;
    Prefix { value, length, class }
}

/// Ranges that overlap are somebody else's doing: the first one counts.
fn ports(program: &Program, entries: &[&Entry], table: Table) -> Vec<(u16, u16, u16)> {
    let own = entries.iter().filter(|entry| program.table_of(entry.key.table) == Some(table));
    let found: BTreeSet<(u16, u16, u16)> = own
        .filter_map(|entry| {
            let (low, high) = match program.matched(table, &entry.key.matches, Field::Port) {
                Some(Match::Range { low, high }) => (u16::try_from(low).ok()?, u16::try_from(high).ok()?),
                _ => (u16::MIN, u16::MAX),
            };
            Some((low, high, program.class(&entry.action, 0).unwrap_or(0)))
                .filter(|(low, high, class)| low <= high && *class != 0)
        })
        .collect();
    let mut ranges: Vec<(u16, u16, u16)> = Vec::new();
    for range in found {
        if ranges.last().is_none_or(|last| last.1 < range.0) {
            ranges.push(range);
        }
    }
    ranges
}

/// A rule's entries in one table are every choice of one cube for each field: cubes of one set go with the same others.
fn covers(program: &Program, entries: &[&Entry], policies: &mut PolicyNumbers) {
    /// Of each of [`CLASSES`].
    type Cubes = [Option<Cube>; 4];
    /// What entries of one row have in common: table, priority, origin, and what else they match.
    type Row<'e> = (Table, i32, &'e [u8], Vec<FieldMatch>);
    let mut rows: BTreeMap<Row<'_>, BTreeSet<Cubes>> = BTreeMap::new();
    for entry in entries {
        let Some(table) = program.table_of(entry.key.table) else { continue };
        let cube = |field| match program.matched(table, &entry.key.matches, field) {
            Some(Match::Ternary { value, mask }) => {
                Some(Cube { value: u16::try_from(value).ok()?, mask: u16::try_from(mask).ok()? })
            }
            _ => None,
        };
        let cubes = CLASSES.map(cube);
        if cubes.iter().all(Option::is_none) {
            continue;
        }
        let is_other = |matched: &&FieldMatch| {
            let field = program.field_of(table, matched.field);
            field.is_none_or(|field| field != Field::Version && !CLASSES.contains(&field))
        };
        let fixed: Vec<FieldMatch> = entry.key.matches.iter().filter(is_other).copied().collect();
        rows.entry((table, entry.key.priority, &entry.metadata, fixed)).or_default().insert(cubes);
    }
    let mut found: [BTreeSet<Vec<Cube>>; 4] = Default::default();
    for ((table, ..), choices) in &rows {
        let filter = is_filter(*table);
        for (place, space) in [(0, usize::from(!filter)), (1, usize::from(!filter)), (2, 2), (3, 3)] {
            let mut with: BTreeMap<Cube, BTreeSet<Cubes>> = BTreeMap::new();
            for choice in choices {
                let mut others = *choice;
                if let Some(cube) = others[place].take() {
                    with.entry(cube).or_default().insert(others);
                }
            }
            let mut covers: BTreeMap<BTreeSet<Cubes>, Vec<Cube>> = BTreeMap::new();
            for (cube, others) in with {
                covers.entry(others).or_default().push(cube);
            }
            found[space].extend(covers.into_values());
        }
    }
    let [filter, pod, sport, dport] = found.map(|covers| covers.into_iter().collect());
    (policies.filter_covers, policies.pod_covers) = (filter, pod);
    (policies.sport.covers, policies.dport.covers) = (sport, dport);
}

/// A rule has its place by the table that decides it by itself; answers that have one of their own stand below.
fn places(program: &Program, entries: &[&Entry], policies: &mut PolicyNumbers) {
    let mut found: BTreeMap<(u8, u16), BTreeMap<u32, u64>> = BTreeMap::new();
    let mut rules: BTreeMap<(Line, String, String), BTreeSet<(u16, u32)>> = BTreeMap::new();
    for entry in entries {
        let (Some(table), Some(origin)) =
            (program.table_of(entry.key.table), Origin::decode(&entry.metadata))
        else {
            continue;
        };
        let Some((kind, policy)) = origin.policy.split_once('/') else { continue };
        let line = match (kind, table) {
            ("FilterPolicy", Table::FilterAdmin) => Line::FilterAdmin,
            ("FilterPolicy", Table::FilterBaseline) => Line::FilterBaseline,
            ("ClusterNetworkPolicy", Table::PodEgressAdmin) => Line::AdminEgress,
            ("ClusterNetworkPolicy", Table::PodIngressAdmin) => Line::AdminIngress,
            ("ClusterNetworkPolicy", Table::PodEgress) => Line::BaselineEgress,
            ("ClusterNetworkPolicy", Table::PodIngress) => Line::BaselineIngress,
            _ => continue,
        };
        if let Some(place) = line_place(entry.key.priority) {
            rules.entry((line, policy.to_owned(), origin.rule)).or_default().insert(place);
        }
    }
    for ((line, policy, rule), places) in rules {
        for (answers, (level, place)) in [false, true].into_iter().zip(places) {
            found.entry((line as u8, level)).or_default().insert(place, rule_digest(&policy, &rule, answers));
        }
    }
    policies.places = found
        .into_iter()
        .map(|(line, places)| (line, places.into_iter().map(|(place, digest)| (digest, place)).collect()))
        .collect();
}

/// A cell is a rule's own packets', or those of answers to them: both are tried, one of them is right.
fn cells(program: &Program, entries: &[&Entry], installed: &Installed, policies: &mut PolicyNumbers) {
    let limits: BTreeMap<i64, RateLimit> = installed
        .meters
        .iter()
        .filter_map(|cell| {
            let (rate, burst) = (u32::try_from(cell.cir).ok()?, u32::try_from(cell.cburst).ok()?);
            Some((cell.index, RateLimit { packets_per_second: rate, burst }))
        })
        .collect();
    for entry in entries {
        let is_limited = program.action_of(entry.action.id).is_some_and(ActionKind::is_limited);
        let cell = program.argument(&entry.action, 0).filter(|_| is_limited);
        let (Some(cell), Some(origin)) = (cell, Origin::decode(&entry.metadata)) else { continue };
        let (Ok(index), Ok(slot)) = (i64::try_from(cell), u32::try_from(cell)) else { continue };
        if let Some(limit) = limits.get(&index) {
            for digest in cell_digests(&origin.policy, &origin.rule, *limit) {
                policies.cells.insert(digest, slot);
            }
        }
    }
}
