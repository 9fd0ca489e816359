//! Random entries, and the many forms that one entry can take on the wire.

use proptest::prelude::*;
use proptest::sample::Index;

use super::SCHEMAS;
use crate::bytestring::{self, canonical, max_value};
use crate::entry::{Action, Entry, FieldMatch, Key, Match};
use crate::p4::v1;
use crate::schema::{FieldInfo, MatchKind, Schema, TableInfo};
use v1::field_match::FieldMatchType;

/// A bounded source of numbers for building entries.
pub(super) struct Numbers(pub(super) std::vec::IntoIter<u128>);

impl Numbers {
    fn next(&mut self) -> u128 {
        self.0.next().unwrap_or(0)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u128).unwrap()
    }

    /// A value of a width, small ones and all ones more often than chance would have it.
    fn value(&mut self, bits: u32) -> u128 {
        let value = self.next();
        match value % 4 {
            0 => ((value >> 2) % 3) & max_value(bits),
            1 => max_value(bits),
            _ => value.rotate_left(61) & max_value(bits),
        }
    }
}

/// A random match in its one form; none for don't-care.
fn random_match(field: &FieldInfo, numbers: &mut Numbers) -> Option<Match> {
    let bits = field.bits;
    let dont_care = field.kind != MatchKind::Exact && numbers.below(3) == 0;
    if dont_care {
        return None;
    }
    match field.kind {
        MatchKind::Exact => Some(Match::Exact(numbers.value(bits))),
        MatchKind::Optional => Some(Match::Optional(numbers.value(bits))),
        MatchKind::Lpm => {
            let prefix_len = u32::try_from(numbers.below(bits as usize)).unwrap() + 1;
            let value = numbers.value(bits) >> (bits - prefix_len) << (bits - prefix_len);
            Some(Match::Lpm { value, prefix_len: u8::try_from(prefix_len).unwrap() })
        }
        MatchKind::Ternary => {
            let mask = numbers.value(bits).max(1);
            Some(Match::Ternary { value: numbers.value(bits) & mask, mask })
        }
        MatchKind::Range => {
            let (a, b) = (numbers.value(bits), numbers.value(bits));
            let (low, high) = (a.min(b), a.max(b));
            (high - low != max_value(bits)).then_some(Match::Range { low, high })
        }
        MatchKind::Other(_) => unreachable!("tables with such fields are left out"),
    }
}

fn random_action(schema: &Schema, id: u32, numbers: &mut Numbers) -> Action {
    let mut params: Vec<_> =
        schema.action(id).unwrap().params.iter().map(|param| (param.id, numbers.value(param.bits))).collect();
    params.sort_unstable();
    Action { id, params }
}

/// Tables whose entries have a form as values.
fn plain_tables(schema: &'static Schema) -> Vec<&'static TableInfo> {
    let plain = |table: &&TableInfo| {
        table.implementation.is_none()
            && table.fields.iter().all(|field| (1..=128).contains(&field.bits))
            && table.actions.iter().any(|action| action.scope.in_entries())
    };
    schema.tables().iter().filter(plain).collect()
}

/// A random entry of a random table.
pub(super) fn entries() -> impl Strategy<Value = (&'static Schema, Entry)> {
    let numbers = proptest::collection::vec(any::<u128>(), 64);
    let metadata = proptest::collection::vec(any::<u8>(), 0..12);
    (0usize..2, any::<Index>(), any::<Index>(), numbers, 1..=i32::MAX, metadata).prop_map(
        |(schema, table, action, numbers, priority, metadata)| {
            let schema = &SCHEMAS[schema];
            let numbers = &mut Numbers(numbers.into_iter());
            let table = *table.get(&plain_tables(schema));
            let mut matches: Vec<_> = table
                .fields
                .iter()
                .filter_map(|field| {
                    Some(FieldMatch { field: field.id, matches: random_match(field, numbers)? })
                })
                .collect();
            matches.sort_unstable_by_key(|matched| matched.field);
            let usable: Vec<_> = table.actions.iter().filter(|action| action.scope.in_entries()).collect();
            let action = random_action(schema, action.get(&usable).action, numbers);
            let priority = if table.needs_priority() { priority } else { 0 };
            (schema, Entry { key: Key { table: table.id, matches, priority }, action, metadata })
        },
    )
}

/// The same entry in another form: padded byte strings, stray bits outside of masks and prefixes, don't-care matches
/// spelled out, another order.
pub(super) fn disguise(schema: &Schema, entry: &mut v1::TableEntry, numbers: &mut Numbers) {
    fn pad(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
        let padding = numbers.below(20);
        bytes.splice(0..0, std::iter::repeat_n(0, padding));
    }
    /// Sets some of the bits that `free` has.
    fn stray(bytes: &mut Vec<u8>, free: u128, numbers: &mut Numbers) {
        let value = bytestring::parse(bytes, 128).unwrap();
        *bytes = canonical(value | (free & numbers.next()));
    }
    let table = schema.table(entry.table_id).unwrap();
    for field in &table.fields {
        let all = max_value(field.bits);
        let given = entry.r#match.iter_mut().find(|matched| matched.field_id == field.id);
        let Some(given) = given else {
            let empty = if numbers.below(2) == 0 { vec![] } else { vec![0] };
            let dont_care = match field.kind {
                MatchKind::Ternary => FieldMatchType::Ternary(v1::field_match::Ternary {
                    value: canonical(numbers.value(field.bits)),
                    mask: empty,
                }),
                MatchKind::Lpm => FieldMatchType::Lpm(v1::field_match::Lpm {
                    value: canonical(numbers.value(field.bits)),
                    prefix_len: 0,
                }),
                MatchKind::Range => {
                    FieldMatchType::Range(v1::field_match::Range { low: empty, high: canonical(all) })
                }
                _ => continue,
            };
            if numbers.below(2) == 0 {
                entry.r#match.push(v1::FieldMatch { field_id: field.id, field_match_type: Some(dont_care) });
            }
            continue;
        };
        match given.field_match_type.as_mut().unwrap() {
            FieldMatchType::Exact(exact) => pad(&mut exact.value, numbers),
            FieldMatchType::Optional(optional) => pad(&mut optional.value, numbers),
            FieldMatchType::Lpm(lpm) => {
                let length = u32::try_from(lpm.prefix_len).unwrap();
                stray(&mut lpm.value, max_value(field.bits - length), numbers);
                pad(&mut lpm.value, numbers);
            }
            FieldMatchType::Ternary(ternary) => {
                let mask = bytestring::parse(&ternary.mask, field.bits).unwrap();
                stray(&mut ternary.value, all & !mask, numbers);
                pad(&mut ternary.value, numbers);
                pad(&mut ternary.mask, numbers);
            }
            FieldMatchType::Range(range) => {
                pad(&mut range.low, numbers);
                pad(&mut range.high, numbers);
            }
            FieldMatchType::Other(_) => unreachable!("nothing makes it"),
        }
    }
    let middle = numbers.below(entry.r#match.len() + 1);
    entry.r#match.rotate_left(middle);
    if let Some(v1::table_action::Type::Action(action)) = &mut entry.action.as_mut().unwrap().r#type {
        action.params.iter_mut().for_each(|param| pad(&mut param.value, numbers));
        action.params.reverse();
    }
}
