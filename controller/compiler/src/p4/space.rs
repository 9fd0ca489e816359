//! What classes are numbered by: which fields match them, and which tables give them out.

use crate::program::{Field, Table};

/// Packets have one class of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    FilterSource,
    FilterDestination,
    PodSource,
    PodDestination,
    SourcePort,
    DestinationPort,
}

/// How many there are.
pub(crate) const SPACES: usize = 6;

impl Space {
    /// Of the classes that a field of a table matches; none for other fields.
    pub(crate) fn of(table: Table, field: Field) -> Option<Self> {
        match (field, is_filter(table)) {
            (Field::SrcClass, true) => Some(Self::FilterSource),
            (Field::DstClass, true) => Some(Self::FilterDestination),
            (Field::SrcClass, false) => Some(Self::PodSource),
            (Field::DstClass, false) => Some(Self::PodDestination),
            (Field::SportClass, _) => Some(Self::SourcePort),
            (Field::DportClass, _) => Some(Self::DestinationPort),
            _ => None,
        }
    }

    /// Of the classes that a table's actions set, in the order of their arguments; none for tables that set none.
    pub(crate) fn set_by(table: Table) -> &'static [Self] {
        match table {
            Table::SrcV4Class | Table::SrcV6Class => &[Self::FilterSource, Self::PodSource],
            Table::DstV4Class | Table::DstV6Class => &[Self::FilterDestination, Self::PodDestination],
            Table::SportClass => &[Self::SourcePort],
            Table::DportClass => &[Self::DestinationPort],
            _ => &[],
        }
    }
}

/// Whether a table matches the classes of filter policies; else those of pods.
pub(crate) fn is_filter(table: Table) -> bool {
    matches!(table, Table::FilterAdmin | Table::FilterBaseline)
}
