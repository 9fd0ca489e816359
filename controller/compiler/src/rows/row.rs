//! Rows: what rules come to before any switch is thought of. A rule is a few rows; a row says in which stage it stands, in
//! which sets a packet's addresses and ports are, what else it matches, and what becomes of it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use super::content::{Content, Sets4};
use super::terms::{Condition, Effect, Stage};
use crate::addresses::AddressSet;
use crate::classes::{Catalog, SetId};
use crate::origin::Origin;
use crate::ranges::Ranges;

/// The sets that rows speak of.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    /// Addresses in filter tables.
    pub(crate) filter: Catalog<AddressSet>,
    /// Addresses in pod tables.
    pub(crate) pod: Catalog<AddressSet>,
    /// Source ports.
    pub(crate) sport: Catalog<Ranges<u16>>,
    /// Destination ports.
    pub(crate) dport: Catalog<Ranges<u16>>,
}

/// Source or destination addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// Any, also of packets that have none.
    Any,
    /// These.
    Of(AddressSet),
}

impl Addresses {
    /// These, or any if they are all.
    pub(crate) fn new(set: AddressSet) -> Self {
        if set.is_full() { Self::Any } else { Self::Of(set) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Of(set) if set.is_empty())
    }

    /// What is in both.
    pub(crate) fn intersect(&self, other: &AddressSet) -> Self {
        Self::new(match self {
            Self::Any => other.clone(),
            Self::Of(set) => set.intersect(other),
        })
    }
}

/// A row. Sets that are absent are not matched on; packets that have no ports, later fragments too, are in no set of them.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) stage: Stage,
    pub(crate) priority: i32,
    pub(crate) effect: Effect,
    /// Index in [`Rows::origins`].
    pub(crate) origin: usize,
    pub(crate) src: Option<SetId>,
    pub(crate) dst: Option<SetId>,
    pub(crate) sport: Option<SetId>,
    pub(crate) dport: Option<SetId>,
    /// Ids of segments, any of them; empty for all.
    pub(crate) segments: Vec<u16>,
    /// All of them.
    pub(crate) conditions: Vec<Condition>,
}

/// What a row matches.
#[derive(Clone, Debug)]
pub(crate) struct RowMatch<'a> {
    pub(crate) src: &'a Addresses,
    pub(crate) dst: &'a Addresses,
    pub(crate) sport: Option<&'a Ranges<u16>>,
    pub(crate) dport: Option<&'a Ranges<u16>>,
    pub(crate) segments: &'a [u16],
    pub(crate) conditions: Vec<Condition>,
}

/// All rows of a switch.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) sets: Sets,
    pub(crate) all: Vec<Row>,
    pub(crate) origins: Vec<Origin>,
    /// By policy, its rules' places in `origins`.
    rules: HashMap<String, HashMap<String, usize>>,
}

impl Rows {
    /// The number of a rule's origin, whose priorities say its place.
    pub(crate) fn origin(&mut self, policy: &str, rule: &str) -> usize {
        self.origin_at(policy, rule, 0)
    }

    /// The number of a rule's origin that shares its priority with others. Who asks first is named first.
    pub(crate) fn origin_at(&mut self, policy: &str, rule: &str, place: usize) -> usize {
        if let Some(known) = self.rules.get(policy).and_then(|rules| rules.get(rule)) {
            return *known;
        }
        let order = u32::try_from(place).unwrap_or(u32::MAX);
        self.origins.push(Origin { policy: policy.to_owned(), rule: rule.to_owned(), order });
        let number = self.origins.len() - 1;
        self.rules.entry(policy.to_owned()).or_default().insert(rule.to_owned(), number);
        number
    }

    /// The mark of a rule's log records.
    pub(crate) fn tag(&self, origin: usize) -> u32 {
        self.origins[origin].tag()
    }

    /// Adds a row, unless one of its sets is empty and it would match nothing.
    pub(crate) fn push(
        &mut self,
        stage: Stage,
        priority: i32,
        effect: Effect,
        origin: usize,
        matches: RowMatch<'_>,
    ) {
        let RowMatch { src, dst, sport, dport, segments, conditions } = matches;
        let no_port = |ports: Option<&Ranges<u16>>| ports.is_some_and(Ranges::is_empty);
        if src.is_empty() || dst.is_empty() || no_port(sport) || no_port(dport) {
            return;
        }
        let catalog = if stage.is_filter() { &mut self.sets.filter } else { &mut self.sets.pod };
        let mut addresses = |addresses: &Addresses| match addresses {
            Addresses::Any => None,
            Addresses::Of(set) => Some(catalog.add(set)),
        };
        let (src, dst) = (addresses(src), addresses(dst));
        let sport = sport.filter(|ports| !ports.is_full()).map(|ports| self.sets.sport.add(ports));
        let dport = dport.filter(|ports| !ports.is_full()).map(|ports| self.sets.dport.add(ports));
        let segments = segments.to_vec();
        self.all.push(Row { stage, priority, effect, origin, src, dst, sport, dport, segments, conditions });
    }

    /// Each row by itself.
    pub(crate) fn into_contents(self) -> Vec<Content> {
        let Self { sets, all, origins, .. } = self;
        let metadata: Vec<Vec<u8>> = origins.iter().map(Origin::encode).collect();
        let content = |row: Row| {
            let addresses = if row.stage.is_filter() { &sets.filter } else { &sets.pod };
            Content {
                stage: row.stage,
                priority: row.priority,
                effect: row.effect,
                origin: row.origin,
                metadata: metadata[row.origin].clone(),
                sets: Sets4::new(
                    [row.src, row.dst].map(|set| addresses.shared(set?)),
                    [
                        row.sport.and_then(|set| sets.sport.shared(set)),
                        row.dport.and_then(|set| sets.dport.shared(set)),
                    ],
                ),
                segments: row.segments,
                conditions: row.conditions,
                is_gone: false,
            }
        };
        all.into_iter().map(content).collect()
    }

    /// Of rows that match the same packets only the first in rank is ever hit: the others go.
    pub(crate) fn prune(&mut self) {
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
}

/// What a row matches: stage, sets, segments, conditions.
type RowKey<'r> = (Stage, [Option<SetId>; 4], &'r [u16], &'r [Condition]);

impl Row {
    fn key(&self) -> RowKey<'_> {
        (self.stage, [self.src, self.dst, self.sport, self.dport], &self.segments, &self.conditions)
    }
}
