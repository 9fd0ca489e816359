//! The tables that map addresses and ports to classes.

use outplane_p4runtime::entry::{Entry, Match};

use super::spaces::Spaces;
use crate::classes::{ClassRange, Prefix, carried_prefixes, overlay};
use crate::numbers::{AddressPrefix, PolicyNumbers};
use crate::origin::Origin;
use crate::program::{ActionKind, Field, Program, Table};
use crate::ranges::Point;

/// What the tables of classes of addresses hold, of filter policies and of pods.
pub(crate) struct AddressTables {
    pub(crate) v4: Vec<AddressPrefix<u32>>,
    pub(crate) v6: Vec<AddressPrefix<u128>>,
    /// How few of both there could be, when that was looked at last.
    pub(crate) fewest: (u32, u32),
}

impl AddressTables {
    pub(crate) fn new(spaces: &Spaces, before: &PolicyNumbers) -> Self {
        let (filter, pod) = (&spaces.filter, &spaces.pod);
        let fewest = |place: fn((u32, u32)) -> u32| before.fewest.map(place);
        let (mut v4, few) = carried_prefixes(&overlay(&filter.v4, &pod.v4), &before.v4, fewest(|few| few.0));
        let (mut v6, few_v6) =
            carried_prefixes(&overlay(&filter.v6, &pod.v6), &before.v6, fewest(|few| few.1));
        v4.sort_unstable();
        v6.sort_unstable();
        Self { v4, v6, fewest: (few, few_v6) }
    }
}

/// The tables that map addresses and ports to classes.
pub(crate) fn class_entries(
    program: &Program,
    AddressTables { v4, v6, .. }: &AddressTables,
    spaces: &Spaces,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (table, action) in
        [(Table::SrcV4Class, ActionKind::SetSrcClass), (Table::DstV4Class, ActionKind::SetDstClass)]
    {
        entries.extend(v4.iter().map(|prefix| address_entry(program, table, action, prefix, prefix.class)));
    }
    for (table, action) in
        [(Table::SrcV6Class, ActionKind::SetSrcClass), (Table::DstV6Class, ActionKind::SetDstClass)]
    {
        entries.extend(v6.iter().map(|prefix| address_entry(program, table, action, prefix, prefix.class)));
    }
    for (table, action, ports) in [
        (Table::SportClass, ActionKind::SetSportClass, &spaces.sport.ports),
        (Table::DportClass, ActionKind::SetDportClass, &spaces.dport.ports),
    ] {
        entries.extend(ports.iter().map(|range| port_entry(program, table, action, *range)));
    }
    entries
}

/// Whose the entries of class tables are.
fn common(rule: &str) -> Vec<u8> {
    Origin { policy: Origin::COMMON.to_owned(), rule: rule.to_owned(), order: 0 }.encode()
}

/// Longer prefixes stand above shorter ones; all addresses are no match at all.
pub(crate) fn address_entry<T: Point, C>(
    program: &Program,
    table: Table,
    action: ActionKind,
    prefix: &Prefix<T, C>,
    (filter, pod): (u16, u16),
) -> Entry {
    let host = T::MAX.prefix(prefix.length).0;
    let mask = host.value();
    let matches = (mask != 0).then(|| (Field::Address, Match::Ternary { value: prefix.value.value(), mask }));
    let priority = i32::try_from(prefix.length).expect("at most 128") + 1;
    let action = program.action(action, &[filter.into(), pod.into()]);
    Entry { key: program.key(table, priority, matches), action, metadata: common("address class") }
}

/// Ranges do not overlap, so one priority does for all.
pub(crate) fn port_entry(
    program: &Program,
    table: Table,
    action: ActionKind,
    (low, high, class): ClassRange<u16>,
) -> Entry {
    let whole = (low, high) == (u16::MIN, u16::MAX);
    let matches = (!whole).then(|| (Field::Port, Match::Range { low: low.into(), high: high.into() }));
    let action = program.action(action, &[class.into()]);
    Entry { key: program.key(table, 1, matches), action, metadata: common("port class") }
}
