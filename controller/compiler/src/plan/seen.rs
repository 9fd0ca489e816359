//! Which packets entries are about: whether any packet has a class that they match, and whether one packet matches two.

use outplane_p4runtime::entry::{Entry, FieldMatch, Match};

use crate::classes::Cube;
use crate::program::{Field, Program, Table};
use crate::space::{SPACES, Space};

/// The classes that packets have in one version of the policy.
#[derive(Debug)]
pub(super) struct Classes([Ids; SPACES]);

/// A set of ids: a bit for each.
#[derive(Debug)]
struct Ids(Vec<u64>);

impl Ids {
    fn new() -> Self {
        Self(vec![0; 1 << 10])
    }

    fn insert(&mut self, id: u16) {
        self.0[usize::from(id >> 6)] |= 1 << (id & 63);
    }

    fn contains(&self, id: u16) -> bool {
        self.0[usize::from(id >> 6)] >> (id & 63) & 1 == 1
    }
}

impl Classes {
    /// By the entries that these packets see. What has no entry has class 0.
    pub(super) fn new<'e>(program: &Program, entries: impl Iterator<Item = &'e Entry>) -> Self {
        let mut classes: [Ids; SPACES] = std::array::from_fn(|_| Ids::new());
        for ids in &mut classes {
            ids.insert(0);
        }
        for entry in entries {
            let Some(table) = program.table_of(entry.key.table) else { continue };
            for (place, space) in Space::set_by(table).iter().enumerate() {
                if let Some(id) = program.class(&entry.action, place) {
                    classes[*space as usize].insert(id);
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
                    let cube = Cube { value, mask };
                    cube.block().any(|id| cube.matches(id) && classes.contains(id))
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
