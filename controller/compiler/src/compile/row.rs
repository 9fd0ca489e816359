//! Rows: entries before sets have become cubes of classes. A rule is a few rows, a row is an entry for each
//! combination of its sets' cubes.

use std::cmp::Reverse;
use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use outplane_p4runtime::entry::{Action, Entry, Key, Match};

use crate::addresses::AddressSet;
use crate::capacity::{self, Overflow, Resource, ResourceUsage};
use crate::classes::{
    AddressClasses, Catalog, ClassRange, Classes, Cube, PortClasses, SetId, TooManyClasses, longest_prefixes,
};
use crate::numbers::PolicyNumbers;
use crate::program::{Field, Program, Table};
use crate::ranges::{Point, Ranges};
use crate::space::is_filter;
use crate::state::Origin;

/// The sets that rows speak of.
#[derive(Debug, Default)]
pub(super) struct Sets {
    /// Addresses in filter tables.
    pub(super) filter: Catalog<AddressSet>,
    /// Addresses in pod tables.
    pub(super) pod: Catalog<AddressSet>,
    /// Source ports.
    pub(super) sport: Catalog<Ranges<u16>>,
    /// Destination ports.
    pub(super) dport: Catalog<Ranges<u16>>,
}

/// The classes of all sets.
#[derive(Debug)]
pub(super) struct Spaces {
    pub(super) filter: AddressClasses,
    pub(super) pod: AddressClasses,
    pub(super) sport: PortClasses,
    pub(super) dport: PortClasses,
}

impl Spaces {
    /// The classes of addresses that a table matches.
    fn addresses(&self, table: Table) -> &Classes {
        if is_filter(table) { &self.filter.classes } else { &self.pod.classes }
    }

    /// How many classes of each kind there are.
    pub(super) fn usage(&self, program: &Program) -> Vec<ResourceUsage> {
        [
            (Resource::FilterClasses, &self.filter.classes),
            (Resource::PodClasses, &self.pod.classes),
            (Resource::SourcePortClasses, &self.sport.classes),
            (Resource::DestinationPortClasses, &self.dport.classes),
        ]
        .map(|(resource, classes)| ResourceUsage {
            resource,
            used: classes.count() as u64,
            size: resource.size(program),
            policies: BTreeMap::new(),
        })
        .into()
    }
}

/// Source or destination addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    /// Any, also of packets that have none.
    Any,
    /// These.
    Of(AddressSet),
}

impl Addresses {
    /// These, or any if they are all.
    pub(super) fn new(set: AddressSet) -> Self {
        if set.is_full() { Self::Any } else { Self::Of(set) }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Of(set) if set.is_empty())
    }

    /// What is in both.
    pub(super) fn intersect(&self, other: &AddressSet) -> Self {
        Self::new(match self {
            Self::Any => other.clone(),
            Self::Of(set) => set.intersect(other),
        })
    }
}

/// A row. Sets that are absent are not matched on.
#[derive(Clone, Debug)]
pub(super) struct Row {
    table: Table,
    priority: i32,
    action: Action,
    /// Index in [`Rows::origins`].
    origin: usize,
    src: Option<SetId>,
    dst: Option<SetId>,
    sport: Option<SetId>,
    dport: Option<SetId>,
    /// Ids of segments, any of them; empty for all.
    segments: Vec<u16>,
    fixed: Vec<(Field, Match)>,
}

/// What a row matches.
#[derive(Clone, Debug)]
pub(super) struct RowMatch<'a> {
    pub(super) src: &'a Addresses,
    pub(super) dst: &'a Addresses,
    pub(super) sport: Option<&'a Ranges<u16>>,
    pub(super) dport: Option<&'a Ranges<u16>>,
    pub(super) segments: &'a [u16],
    /// Fields and all their bits.
    pub(super) fixed: Vec<(Field, Match)>,
}

/// All rows of a switch.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) sets: Sets,
    all: Vec<Row>,
    origins: Vec<Origin>,
    /// By policy, its rules' places in `origins`.
    rules: HashMap<String, HashMap<String, usize>>,
}

/// All bits of a field.
pub(super) fn whole(table: Table, field: Field, value: u128) -> (Field, Match) {
    let bits = table.fields().iter().find(|(own, _)| *own == field).map_or(0, |(_, bits)| *bits);
    (field, Match::Ternary { value, mask: outplane_p4runtime::bytestring::max_value(bits) })
}

impl Rows {
    /// The number of a rule's origin, whose priorities say its place.
    pub(super) fn origin(&mut self, policy: &str, rule: &str) -> usize {
        self.origin_at(policy, rule, 0)
    }

    /// The number of a rule's origin that shares its priority with others. Who asks first is named first.
    pub(super) fn origin_at(&mut self, policy: &str, rule: &str, place: usize) -> usize {
        if let Some(known) = self.rules.get(policy).and_then(|rules| rules.get(rule)) {
            return *known;
        }
        let order = u32::try_from(place).unwrap_or(u32::MAX);
        self.origins.push(Origin { policy: policy.to_owned(), rule: rule.to_owned(), order });
        let number = self.origins.len() - 1;
        self.rules.entry(policy.to_owned()).or_default().insert(rule.to_owned(), number);
        number
    }

    /// The origin of a number.
    pub(super) fn origin_of(&self, origin: usize) -> &Origin {
        &self.origins[origin]
    }

    /// Adds a row, unless one of its sets is empty and it would match nothing.
    pub(super) fn push(
        &mut self,
        table: Table,
        priority: i32,
        action: Action,
        origin: usize,
        matches: RowMatch<'_>,
    ) {
        let RowMatch { src, dst, sport, dport, segments, fixed } = matches;
        let no_port = |ports: Option<&Ranges<u16>>| ports.is_some_and(Ranges::is_empty);
        if src.is_empty() || dst.is_empty() || no_port(sport) || no_port(dport) {
            return;
        }
        let catalog = if is_filter(table) { &mut self.sets.filter } else { &mut self.sets.pod };
        let mut addresses = |addresses: &Addresses| match addresses {
            Addresses::Any => None,
            Addresses::Of(set) => Some(catalog.add(set)),
        };
        let (src, dst) = (addresses(src), addresses(dst));
        let sport = sport.filter(|ports| !ports.is_full()).map(|ports| self.sets.sport.add(ports));
        let dport = dport.filter(|ports| !ports.is_full()).map(|ports| self.sets.dport.add(ports));
        let segments = segments.to_vec();
        self.all.push(Row { table, priority, action, origin, src, dst, sport, dport, segments, fixed });
    }

    /// Each row by itself.
    pub(super) fn into_contents(self) -> Vec<Content> {
        let Self { sets, all, origins, .. } = self;
        let metadata: Vec<Vec<u8>> = origins.iter().map(Origin::encode).collect();
        let content = |row: Row| {
            let addresses = if is_filter(row.table) { &sets.filter } else { &sets.pod };
            Content {
                table: row.table,
                priority: row.priority,
                action: row.action,
                origin: row.origin,
                metadata: metadata[row.origin].clone(),
                sets: Sets4 {
                    addresses: [row.src, row.dst].map(|set| addresses.shared(set?)),
                    ports: [
                        row.sport.and_then(|set| sets.sport.shared(set)),
                        row.dport.and_then(|set| sets.dport.shared(set)),
                    ],
                },
                segments: row.segments,
                fixed: row.fixed,
                is_gone: false,
            }
        };
        all.into_iter().map(content).collect()
    }

    /// Of rows that match the same packets only the first in rank is ever hit: the others go.
    pub(super) fn prune(&mut self) {
        let mut places: HashMap<RowKey<'_>, usize> = HashMap::with_capacity(self.all.len());
        let mut best: Vec<usize> = Vec::with_capacity(self.all.len());
        let rank = |number: usize| (self.all[number].priority, Reverse(self.all[number].origin));
        for (number, row) in self.all.iter().enumerate() {
            match places.entry(row.key()) {
                Slot::Vacant(slot) => {
                    slot.insert(best.len());
                    best.push(number);
                }
                Slot::Occupied(slot) => {
                    let other = &mut best[*slot.get()];
                    if rank(number) > rank(*other) {
                        *other = number;
                    }
                }
            }
        }
        drop(places);
        let mut all: Vec<Option<Row>> = std::mem::take(&mut self.all).into_iter().map(Some).collect();
        self.all = best.into_iter().filter_map(|number| all[number].take()).collect();
    }

    /// Numbers the classes as before where they are what they were, or says of which there are too many.
    pub(super) fn classify(&self, before: &PolicyNumbers, uses: &Uses) -> Result<Spaces, Vec<Overflow>> {
        let sets = &self.sets;
        let [filter, pod] = before.addresses();
        let over = |resource| move |over| self.overflow(resource, &over);
        let filter = sets.filter.classify(&filter, &uses.filter).map_err(over(Resource::FilterClasses));
        let pod = sets.pod.classify(&pod, &uses.pod).map_err(over(Resource::PodClasses));
        let sport = sets
            .sport
            .classify(&before.sport.before(), &uses.sport)
            .map_err(over(Resource::SourcePortClasses));
        let dport = sets
            .dport
            .classify(&before.dport.before(), &uses.dport)
            .map_err(over(Resource::DestinationPortClasses));
        match (filter, pod, sport, dport) {
            (Ok(filter), Ok(pod), Ok(sport), Ok(dport)) => Ok(Spaces { filter, pod, sport, dport }),
            (filter, pod, sport, dport) => {
                Err([filter.err(), pod.err(), sport.err(), dport.err()].into_iter().flatten().collect())
            }
        }
    }

    /// How many rows use each set.
    pub(super) fn uses(&self) -> Uses {
        let sets = &self.sets;
        let mut uses = Uses {
            filter: vec![0; sets.filter.len()],
            pod: vec![0; sets.pod.len()],
            sport: vec![0; sets.sport.len()],
            dport: vec![0; sets.dport.len()],
        };
        for row in &self.all {
            let addresses = if is_filter(row.table) { &mut uses.filter } else { &mut uses.pod };
            row.src.iter().chain(&row.dst).for_each(|set| addresses[set.index()] += 1);
            row.sport.iter().for_each(|set| uses.sport[set.index()] += 1);
            row.dport.iter().for_each(|set| uses.dport[set.index()] += 1);
        }
        uses
    }

    /// Counts for each policy the classes that its sets tell apart from others.
    fn overflow(&self, resource: Resource, TooManyClasses { classes }: &TooManyClasses) -> Overflow {
        let mut users: HashMap<SetId, BTreeSet<&str>> = HashMap::new();
        for row in &self.all {
            let filter = is_filter(row.table);
            let sets = match resource {
                Resource::SourcePortClasses => [row.sport, None],
                Resource::DestinationPortClasses => [row.dport, None],
                Resource::FilterClasses if filter => [row.src, row.dst],
                Resource::PodClasses if !filter => [row.src, row.dst],
                _ => [None, None],
            };
            for set in sets.into_iter().flatten() {
                users.entry(set).or_default().insert(&self.origins[row.origin].policy);
            }
        }
        let mut policies: BTreeMap<String, u64> = BTreeMap::new();
        for sets in classes {
            let of_class: BTreeSet<&str> =
                sets.iter().filter_map(|set| users.get(set)).flatten().copied().collect();
            for policy in of_class {
                match policies.get_mut(policy) {
                    Some(count) => *count += 1,
                    None => _ = policies.insert(policy.to_owned(), 1),
                }
            }
        }
        let size = resource.size(Program::outplane());
        let usage = ResourceUsage { resource, used: classes.len() as u64, size, policies };
        Overflow {
            switch: String::new(),
            resource,
            used: usage.used,
            size,
            biggest: usage.biggest(capacity::BIGGEST),
        }
    }

    /// For each table of classes, how many of its entries the sets of each policy come to by themselves, the biggest
    /// first: these entries serve all policies, but some make many of them.
    pub(super) fn class_users(&self) -> BTreeMap<Table, Vec<(String, u64)>> {
        let mut users: BTreeMap<&str, Used> = BTreeMap::new();
        for row in &self.all {
            let used = users.entry(&self.origins[row.origin].policy).or_default();
            let filter = is_filter(row.table);
            let addresses = if filter { &mut used.filter } else { &mut used.pod };
            addresses.extend(row.src.iter().chain(&row.dst));
            used.sport.extend(row.sport);
            used.dport.extend(row.dport);
        }
        let mut tables: BTreeMap<Table, Vec<(String, u64)>> = BTreeMap::new();
        for (policy, used) in users.into_iter().filter(|(policy, _)| *policy != Origin::COMMON) {
            let (filter, pod) = (&self.sets.filter, &self.sets.pod);
            let sets = used.filter.iter().filter_map(|set| filter.get(*set));
            let addresses = AddressSet::union_of(sets.chain(used.pod.iter().filter_map(|set| pod.get(*set))));
            let (v4, v6) = (prefixes(&addresses.v4), prefixes(&addresses.v6));
            let ports = |catalog: &Catalog<Ranges<u16>>, sets: &BTreeSet<SetId>| {
                let ranges = sets.iter().filter_map(|set| catalog.get(*set)).flat_map(Ranges::as_slice);
                ranges.collect::<BTreeSet<_>>().len() as u64
            };
            for (table, count) in [
                (Table::SrcV4Class, v4),
                (Table::DstV4Class, v4),
                (Table::SrcV6Class, v6),
                (Table::DstV6Class, v6),
                (Table::SportClass, ports(&self.sets.sport, &used.sport)),
                (Table::DportClass, ports(&self.sets.dport, &used.dport)),
            ] {
                if count > 0 {
                    tables.entry(table).or_default().push((policy.to_owned(), count));
                }
            }
        }
        for users in tables.values_mut() {
            users.sort_by_key(|(_, count)| Reverse(*count));
            users.truncate(capacity::BIGGEST);
        }
        tables
    }

    /// Of which tables the rows come to so many more entries than there is room for that it is not worth making them.
    pub(super) fn hopeless(&self, program: &Program, spaces: &Spaces) -> Vec<Overflow> {
        let is_hopeless = |table: Table, entries: u64| entries > program.size(table).saturating_mul(HOPELESS);
        let mut counts: BTreeMap<Table, u64> = BTreeMap::new();
        for row in &self.all {
            let count = counts.entry(row.table).or_default();
            *count = count.saturating_add(row.entries(spaces));
        }
        if !counts.iter().any(|(table, entries)| is_hopeless(*table, *entries)) {
            return Vec::new();
        }
        let mut users: BTreeMap<Table, BTreeMap<String, u64>> = BTreeMap::new();
        for row in &self.all {
            let policies = users.entry(row.table).or_default();
            let count = policies.entry(self.origins[row.origin].policy.clone()).or_default();
            *count = count.saturating_add(row.entries(spaces));
        }
        let usage = users.into_iter().map(|(table, users)| capacity::table_usage(program, table, users));
        usage.filter_map(|usage| usage.overflow("")).collect()
    }

    /// The entries, sorted by key. Of entries that match the same packets only the first in rank stays.
    pub(super) fn expand(&self, program: &Program, spaces: &Spaces) -> Vec<Entry> {
        let metadata: Vec<Vec<u8>> = self.origins.iter().map(Origin::encode).collect();
        let mut entries: Vec<(usize, Entry)> = Vec::new();
        for row in &self.all {
            row.expand(program, spaces, &mut |key| {
                let (action, metadata) = (row.action.clone(), metadata[row.origin].clone());
                entries.push((row.origin, Entry { key, action, metadata }));
            });
        }
        entries.sort_unstable_by(|(left_order, left), (right_order, right)| {
            (left.key.table, &left.key.matches)
                .cmp(&(right.key.table, &right.key.matches))
                .then(right.key.priority.cmp(&left.key.priority))
                .then(left_order.cmp(right_order))
        });
        entries.dedup_by(|(_, later), (_, first)| {
            later.key.table == first.key.table && later.key.matches == first.key.matches
        });
        // Without twins their order is that of their keys.
        entries.into_iter().map(|(_, entry)| entry).collect()
    }
}

/// More entries than this many times a table's size are not even made.
pub(super) const HOPELESS: u64 = 2;

/// By set, how many rows use it.
pub(super) struct Uses {
    filter: Vec<u32>,
    pod: Vec<u32>,
    sport: Vec<u32>,
    dport: Vec<u32>,
}

/// The sets of a policy.
#[derive(Default)]
struct Used {
    filter: BTreeSet<SetId>,
    pod: BTreeSet<SetId>,
    sport: BTreeSet<SetId>,
    dport: BTreeSet<SetId>,
}

/// How many prefixes some ranges are.
fn prefixes<T: Point>(ranges: &Ranges<T>) -> u64 {
    let ranges: Vec<ClassRange<T>> = ranges.as_slice().iter().map(|(low, high)| (*low, *high, 1)).collect();
    longest_prefixes(&ranges).len() as u64
}

/// What a row matches: table, sets, segments, fixed fields.
type RowKey<'r> = (Table, [Option<SetId>; 4], &'r [u16], &'r [(Field, Match)]);

impl Row {
    fn key(&self) -> RowKey<'_> {
        (self.table, [self.src, self.dst, self.sport, self.dport], &self.segments, &self.fixed)
    }

    fn cubes<'s>(&self, spaces: &'s Spaces) -> [(Field, Option<&'s [Cube]>); 4] {
        let addresses = spaces.addresses(self.table);
        [
            (Field::SrcClass, self.src.map(|set| addresses.cubes(set))),
            (Field::DstClass, self.dst.map(|set| addresses.cubes(set))),
            (Field::SportClass, self.sport.map(|set| spaces.sport.classes.cubes(set))),
            (Field::DportClass, self.dport.map(|set| spaces.dport.classes.cubes(set))),
        ]
    }

    fn entries(&self, spaces: &Spaces) -> u64 {
        self.cubes(spaces)
            .iter()
            .map(|(_, cubes)| cubes.map_or(1, |cubes| cubes.len() as u64))
            .fold(self.segments.len().max(1) as u64, u64::saturating_mul)
    }

    fn expand(&self, program: &Program, spaces: &Spaces, found: &mut impl FnMut(Key)) {
        let cubes = self.cubes(spaces);
        expand(program, (self.table, self.priority), &self.segments, &self.fixed, cubes, found);
    }
}

/// Every key that a row comes to: one for each choice of one cube for each set, and of a segment.
fn expand(
    program: &Program,
    (table, priority): (Table, i32),
    segments: &[u16],
    fixed: &[(Field, Match)],
    cubes: [(Field, Option<&[Cube]>); 4],
    found: &mut impl FnMut(Key),
) {
    let mut choices: Vec<Vec<(Field, Match)>> = Vec::new();
    for (field, cubes) in cubes {
        if let Some(cubes) = cubes {
            let ternary =
                |cube: &Cube| (field, Match::Ternary { value: cube.value.into(), mask: cube.mask.into() });
            choices.push(cubes.iter().map(ternary).collect());
        }
    }
    if !segments.is_empty() {
        choices.push(segments.iter().map(|id| whole(table, Field::Segment, (*id).into())).collect());
    }
    let mut chosen = fixed.to_vec();
    product(&choices, &mut chosen, &mut |matches| {
        found(program.key(table, priority, matches.iter().copied()));
    });
}

/// A row by itself: its sets by what they hold.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) table: Table,
    pub(super) priority: i32,
    pub(super) action: Action,
    /// Place of its rule among those of what it comes from.
    pub(super) origin: usize,
    /// The rule, as entries say it.
    pub(super) metadata: Vec<u8>,
    pub(super) sets: Sets4,
    segments: Vec<u16>,
    fixed: Vec<(Field, Match)>,
    /// It is not wanted any more.
    pub(super) is_gone: bool,
}

/// The sets of a row: source and destination addresses, source and destination ports.
#[derive(Clone, Debug)]
pub(super) struct Sets4 {
    addresses: [Option<Arc<AddressSet>>; 2],
    ports: [Option<Arc<Ranges<u16>>>; 2],
}

impl Sets4 {
    pub(super) fn addresses(&self, place: usize) -> Option<&Arc<AddressSet>> {
        self.addresses.get(place)?.as_ref()
    }

    pub(super) fn ports(&self, place: usize) -> Option<&Arc<Ranges<u16>>> {
        self.ports.get(place.checked_sub(2)?)?.as_ref()
    }

    /// The places at which there is one.
    pub(super) fn places(&self) -> Vec<usize> {
        (0..4).filter(|place| self.addresses(*place).is_some() || self.ports(*place).is_some()).collect()
    }

    /// Whether both say the same at a place.
    pub(super) fn same(&self, other: &Self, place: usize) -> bool {
        self.addresses(place) == other.addresses(place) && self.ports(place) == other.ports(place)
    }
}

impl Content {
    /// Whether it differs in sets alone, and in no more than what these hold.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        (self.table, self.priority, &self.action, self.origin, &self.metadata, self.is_gone)
            == (other.table, other.priority, &other.action, other.origin, &other.metadata, other.is_gone)
            && (&self.segments, &self.fixed, self.sets.places())
                == (&other.segments, &other.fixed, other.sets.places())
    }

    /// Every key that it comes to. `cubes`: of the set at a place.
    pub(super) fn expand<'c>(
        &self,
        program: &Program,
        cubes: impl Fn(usize) -> Option<&'c [Cube]>,
        mut found: impl FnMut(Key),
    ) {
        let cubes = [
            (Field::SrcClass, cubes(0)),
            (Field::DstClass, cubes(1)),
            (Field::SportClass, cubes(2)),
            (Field::DportClass, cubes(3)),
        ];
        expand(program, (self.table, self.priority), &self.segments, &self.fixed, cubes, &mut found);
    }
}

/// Every choice of one from each list, after what is chosen already.
fn product<T: Copy>(choices: &[Vec<T>], chosen: &mut Vec<T>, found: &mut impl FnMut(&[T])) {
    let Some((first, rest)) = choices.split_first() else {
        found(chosen);
        return;
    };
    for choice in first {
        chosen.push(*choice);
        product(rest, chosen, found);
        chosen.pop();
    }
}
