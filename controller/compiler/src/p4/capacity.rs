//! How much of a switch a desired state takes, and for whom.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Serialize;

use crate::classes::MAX_CLASSES;
use crate::program::{Program, Table};
use crate::state::{Desired, Origin};

/// Most segments that there can be: ids 1..=32766. Each is a multicast group too, and BMv2 takes groups below 2^15.
pub const MAX_SEGMENTS: usize = 32_766;

/// Something that a switch has a limited number of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Entries of a table.
    Table(Table),
    /// Classes that the filter tables tell addresses apart by.
    FilterClasses,
    /// Classes that the pod tables tell addresses apart by.
    PodClasses,
    /// Classes of source ports.
    SourcePortClasses,
    /// Classes of destination ports.
    DestinationPortClasses,
    /// Cells of the meter that limits rates.
    RateLimits,
    /// Segment ids.
    Segments,
}

impl Resource {
    /// Its name: the table's, or what there is too much of, in kebab case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table(table) => table.name(),
            Self::FilterClasses => "filter-address-classes",
            Self::PodClasses => "pod-address-classes",
            Self::SourcePortClasses => "source-port-classes",
            Self::DestinationPortClasses => "destination-port-classes",
            Self::RateLimits => "rate-limits",
            Self::Segments => "segments",
        }
    }

    /// How many a switch with this program has.
    pub fn size(self, program: &Program) -> u64 {
        match self {
            Self::Table(table) => program.size(table),
            Self::FilterClasses
            | Self::PodClasses
            | Self::SourcePortClasses
            | Self::DestinationPortClasses => MAX_CLASSES as u64,
            Self::RateLimits => program.rate_limiter_cells(),
            Self::Segments => MAX_SEGMENTS as u64,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "table {table}"),
            Self::FilterClasses => f.write_str("classes of addresses in filter policies"),
            Self::PodClasses => f.write_str("classes of addresses in the pods' policies"),
            Self::SourcePortClasses => f.write_str("classes of source ports"),
            Self::DestinationPortClasses => f.write_str("classes of destination ports"),
            Self::RateLimits => f.write_str("rate limits"),
            Self::Segments => f.write_str("segments"),
        }
    }
}

impl Serialize for Resource {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How much of one resource is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResourceUsage {
    /// What.
    pub resource: Resource,
    /// How many are taken.
    pub used: u64,
    /// How many there are.
    pub size: u64,
    /// How many of them each policy takes; `-` is what serves all policies. Empty where that is not known.
    pub policies: BTreeMap<String, u64>,
}

impl ResourceUsage {
    /// The policies that take most, at most `count`, the biggest first.
    pub fn biggest(&self, count: usize) -> Vec<(String, u64)> {
        let mut policies: Vec<(String, u64)> =
            self.policies.iter().map(|(policy, used)| (policy.clone(), *used)).collect();
        policies.sort_by_key(|(_, used)| std::cmp::Reverse(*used));
        policies.truncate(count);
        policies
    }

    /// What is wrong with it, if there is too little.
    pub fn overflow(&self, switch: &str) -> Option<Overflow> {
        (self.used > self.size).then(|| Overflow {
            switch: switch.to_owned(),
            resource: self.resource,
            used: self.used,
            size: self.size,
            biggest: self
                .biggest(BIGGEST + 1)
                .into_iter()
                .filter(|(policy, _)| policy != Origin::COMMON)
                .take(BIGGEST)
                .collect(),
        })
    }
}

/// There is too little of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overflow {
    /// On which switch.
    pub switch: String,
    /// Of what.
    pub resource: Resource,
    /// How many are needed.
    pub used: u64,
    /// How many there are.
    pub size: u64,
    /// The policies that need most, the biggest first; without what serves all policies.
    pub biggest: Vec<(String, u64)>,
}

/// How many policies an overflow names.
pub(crate) const BIGGEST: usize = 3;

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { switch, resource, used, size, biggest } = self;
        write!(f, "switch {switch}: {resource}: {used} needed, {size} there")?;
        for (place, (policy, used)) in biggest.iter().enumerate() {
            let start = if place == 0 { "; most by " } else { ", " };
            write!(f, "{start}{policy} ({used})")?;
        }
        if matches!(resource, Resource::Table(Table::SourceGuardV4 | Table::SourceGuardV6)) {
            f.write_str(
                "; a Host with a `port` takes two an address: it takes none without `port`, or in a Segment that says \
                 `antiSpoofing: none`",
            )?;
        }
        Ok(())
    }
}

/// Entries of every table and cells of the rate limiter that a state takes, by policy. In the order of [`Table::ALL`],
/// without `policy_version`, which has no entries.
pub fn measure(program: &Program, desired: &Desired) -> Vec<ResourceUsage> {
    // Rules have many entries each: their origins are read once.
    let mut rules: HashMap<(u32, &[u8]), u64> = HashMap::new();
    for run in desired.entries.runs() {
        for of_rule in run.entries().chunk_by(|one, other| one.metadata == other.metadata) {
            *rules.entry((run.table(), &of_rule[0].metadata)).or_default() += of_rule.len() as u64;
        }
    }
    let mut counts: BTreeMap<u32, BTreeMap<String, u64>> = BTreeMap::new();
    for ((table, metadata), count) in rules {
        let policy =
            Origin::decode(metadata).map_or_else(|| Origin::COMMON.to_owned(), |origin| origin.policy);
        *counts.entry(table).or_default().entry(policy).or_default() += count;
    }
    let mut usage: Vec<ResourceUsage> = Table::ALL
        .iter()
        .filter(|table| **table != Table::PolicyVersion)
        .map(|table| table_usage(program, *table, counts.remove(&program.table(*table)).unwrap_or_default()))
        .collect();
    let cells = desired.meters.iter().filter(|cell| cell.meter == program.rate_limiter()).count();
    usage.push(ResourceUsage {
        resource: Resource::RateLimits,
        used: cells as u64,
        size: Resource::RateLimits.size(program),
        policies: BTreeMap::new(),
    });
    usage
}

/// A table's usage from counts by policy.
pub(crate) fn table_usage(program: &Program, table: Table, policies: BTreeMap<String, u64>) -> ResourceUsage {
    ResourceUsage {
        resource: Resource::Table(table),
        used: policies.values().sum(),
        size: program.size(table),
        policies,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overflow_names_the_biggest() {
        let policies = [("a", 10), ("b", 60_000), ("-", 7), ("c", 9_000)];
        let policies = policies.into_iter().map(|(policy, used)| (policy.to_owned(), used)).collect();
        let usage = table_usage(Program::outplane(), Table::FilterAdmin, policies);
        assert_eq!((usage.used, usage.size), (69_017, 65_536));
        let overflow = usage.overflow("edge1").unwrap();
        assert_eq!(
            overflow.to_string(),
            "switch edge1: table filter_admin: 69017 needed, 65536 there; most by b (60000), c (9000), a (10)"
        );
        assert_eq!(table_usage(Program::outplane(), Table::Flood, BTreeMap::new()).overflow("x"), None);
    }
}
