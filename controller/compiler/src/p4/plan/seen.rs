//! Which packets entries are about: whether any packet has a class that they match, and whether one packet matches two.

use outplane_p4runtime::entry::{Entry, FieldMatch, Key, Match};

use super::{seen, versioned};
use crate::classes::{Cube, Ids};
use crate::entries::Entries;
use crate::p4::space::{SPACES, Space};
use crate::program::{Field, Program, Table};

/// The classes that packets have in one version of the policy.
#[derive(Debug)]
pub(super) struct Classes([Ids; SPACES]);

impl Classes {
    /// By the entries that packets of a version see. What has no entry has class 0.
    pub(super) fn new(program: &Program, entries: &Entries, packets: u8) -> Self {
        let mut classes: [Ids; SPACES] = std::array::from_fn(|_| Ids::default());
        for ids in &mut classes {
            ids.insert(0);
        }
        // Of most runs nothing has a version, and then what it sets is known already.
        let versioned: Vec<&Key> = versioned(program, entries).map(|entry| &entry.key).collect();
        for run in entries.runs() {
            let spaces = program.table_of(run.table()).map(Space::set_by).unwrap_or_default();
            if spaces.is_empty() {
                continue;
            }
            let (first, last) = run.ends();
            let next = versioned.get(versioned.partition_point(|key| *key < first));
            if next.is_some_and(|next| *next <= last) {
                for entry in run.entries().iter().filter(|entry| seen(program, entry, packets)) {
                    for (place, space) in spaces.iter().enumerate() {
                        program
                            .class(&entry.action, place)
                            .iter()
                            .for_each(|id| classes[*space as usize].insert(*id));
                    }
                }
                continue;
            }
            for (action, param, value) in run.params().iter().filter(|_| packets != 0) {
                let place = program.place_of(*action, *param);
                if let Some(space) = place.and_then(|place| spaces.get(place)) {
                    classes[*space as usize].insert(*value);
                }
            }
        }
        Self(classes)
    }

    /// Whether some packet has classes that the entry matches.
    pub(super) fn have(&self, program: &Program, entry: &Entry) -> bool {
        let Some(table) = program.table_of(entry.key.table) else { return true };
        entry.key.matches.iter().all(|FieldMatch { field, matches }| {
            let space = program.field_of(table, *field).and_then(|field| Space::of(table, field));
            match (space, matches) {
                (Some(space), Match::Ternary { value, mask }) => {
                    let classes = &self.0[space as usize];
                    let (Ok(value), Ok(mask)) = (u16::try_from(*value), u16::try_from(*mask)) else {
                        return true;
                    };
                    classes.meet(Cube { value, mask })
                }
                _ => true,
            }
        })
    }
}

/// Tables whose entries decide, and set nothing that others match.
const POLICY: [Table; 10] = [
    Table::FilterAdmin,
    Table::FilterBaseline,
    Table::PodEgressAdmin,
    Table::PodIngressAdmin,
    Table::PodEgressAdminReply,
    Table::PodIngressAdminReply,
    Table::PodEgress,
    Table::PodIngress,
    Table::PodEgressReply,
    Table::PodIngressReply,
];

/// Whether no packet can match both of two entries of policy tables, whatever it is.
pub(super) fn are_apart(program: &Program, one: &Entry, other: &Entry) -> bool {
    let known = |entry: &Entry| program.table_of(entry.key.table).filter(|table| POLICY.contains(table));
    let (Some(first), Some(second)) = (known(one), known(other)) else { return false };
    let fields = |table: Table, entry: &Entry| -> Vec<(Field, Option<Space>, u128, u128)> {
        entry
            .key
            .matches
            .iter()
            .filter_map(|FieldMatch { field, matches }| {
                let field = program.field_of(table, *field).filter(|field| *field != Field::Version)?;
                match matches {
                    Match::Ternary { value, mask } => Some((field, Space::of(table, field), *value, *mask)),
                    Match::Exact(value) | Match::Optional(value) => {
                        Some((field, Space::of(table, field), *value, u128::MAX))
                    }
                    Match::Lpm { .. } | Match::Range { .. } => None,
                }
            })
            .collect()
    };
    let (one, other) = (fields(first, one), fields(second, other));
    let differ = one.iter().any(|(field, space, value, mask)| {
        other.iter().any(|(of, there, wanted, bits)| {
            field == of && space == there && (value ^ wanted) & mask & bits != 0
        })
    });
    // A later fragment has no ports: class 0 of both.
    let is_fragment = |fields: &[(Field, Option<Space>, u128, u128)]| {
        fields.iter().any(|(field, _, value, mask)| *field == Field::Fragment && value & mask == 1)
    };
    let has_ports = |fields: &[(Field, Option<Space>, u128, u128)]| {
        fields.iter().any(|(field, _, value, mask)| {
            matches!(field, Field::SportClass | Field::DportClass) && value & mask != 0
        })
    };
    differ || is_fragment(&one) && has_ports(&other) || is_fragment(&other) && has_ports(&one)
}
