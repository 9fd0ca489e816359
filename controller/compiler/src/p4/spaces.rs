//! The classes that a switch tells the sets of rows apart by, and whose they are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::addresses::AddressSet;
use crate::capacity::{self, Overflow, Resource, ResourceUsage};
use crate::classes::{
    AddressClasses, Catalog, ClassRange, Classes, PortClasses, SetId, TooManyClasses, longest_prefixes,
};
use crate::numbers::PolicyNumbers;
use crate::origin::Origin;
use crate::program::{Program, Table};
use crate::ranges::{Point, Ranges};
use crate::rows::row::Rows;
use crate::rows::terms::Stage;

/// The classes of all sets.
#[derive(Debug)]
pub(crate) struct Spaces {
    pub(crate) filter: AddressClasses,
    pub(crate) pod: AddressClasses,
    pub(crate) sport: PortClasses,
    pub(crate) dport: PortClasses,
}

impl Spaces {
    /// The classes of addresses that the rows of a stage match.
    pub(crate) fn addresses(&self, stage: Stage) -> &Classes {
        if stage.is_filter() { &self.filter.classes } else { &self.pod.classes }
    }

    /// How many classes of each kind there are.
    pub(crate) fn usage(&self, program: &Program) -> Vec<ResourceUsage> {
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

    /// Numbers the classes as before where they are what they were, or says of which there are too many.
    pub(crate) fn classify(rows: &Rows, before: &PolicyNumbers, uses: &Uses) -> Result<Self, Vec<Overflow>> {
        let sets = &rows.sets;
        let [filter, pod] = before.addresses();
        let over = |resource| move |over| overflow(rows, resource, &over);
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
            (Ok(filter), Ok(pod), Ok(sport), Ok(dport)) => Ok(Self { filter, pod, sport, dport }),
            (filter, pod, sport, dport) => {
                Err([filter.err(), pod.err(), sport.err(), dport.err()].into_iter().flatten().collect())
            }
        }
    }
}

/// By set, how many rows use it.
pub(crate) struct Uses {
    filter: Vec<u32>,
    pod: Vec<u32>,
    sport: Vec<u32>,
    dport: Vec<u32>,
}

impl Uses {
    /// How many rows use each set.
    pub(crate) fn of(rows: &Rows) -> Self {
        let sets = &rows.sets;
        let mut uses = Self {
            filter: vec![0; sets.filter.len()],
            pod: vec![0; sets.pod.len()],
            sport: vec![0; sets.sport.len()],
            dport: vec![0; sets.dport.len()],
        };
        for row in &rows.all {
            let addresses = if row.stage.is_filter() { &mut uses.filter } else { &mut uses.pod };
            row.src.iter().chain(&row.dst).for_each(|set| addresses[set.index()] += 1);
            row.sport.iter().for_each(|set| uses.sport[set.index()] += 1);
            row.dport.iter().for_each(|set| uses.dport[set.index()] += 1);
        }
        uses
    }
}

/// Counts for each policy the classes that its sets tell apart from others.
fn overflow(rows: &Rows, resource: Resource, TooManyClasses { classes }: &TooManyClasses) -> Overflow {
    let mut users: HashMap<SetId, BTreeSet<&str>> = HashMap::new();
    for row in &rows.all {
        let filter = row.stage.is_filter();
        let sets = match resource {
            Resource::SourcePortClasses => [row.sport, None],
            Resource::DestinationPortClasses => [row.dport, None],
            Resource::FilterClasses if filter => [row.src, row.dst],
            Resource::PodClasses if !filter => [row.src, row.dst],
            _ => [None, None],
        };
        for set in sets.into_iter().flatten() {
            users.entry(set).or_default().insert(&rows.origins[row.origin].policy);
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
pub(crate) fn class_users(rows: &Rows) -> BTreeMap<Table, Vec<(String, u64)>> {
    let mut users: BTreeMap<&str, Used> = BTreeMap::new();
    for row in &rows.all {
        let used = users.entry(&rows.origins[row.origin].policy).or_default();
        let filter = row.stage.is_filter();
        let addresses = if filter { &mut used.filter } else { &mut used.pod };
        addresses.extend(row.src.iter().chain(&row.dst));
        used.sport.extend(row.sport);
        used.dport.extend(row.dport);
    }
    let mut tables: BTreeMap<Table, Vec<(String, u64)>> = BTreeMap::new();
    for (policy, used) in users.into_iter().filter(|(policy, _)| *policy != Origin::COMMON) {
        let (filter, pod) = (&rows.sets.filter, &rows.sets.pod);
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
            (Table::SportClass, ports(&rows.sets.sport, &used.sport)),
            (Table::DportClass, ports(&rows.sets.dport, &used.dport)),
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
