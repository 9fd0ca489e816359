//! Matches and actions, from the wire and back. The standard's sections 8.3 (bytestrings), 9.1.1 and 9.1.2.

use std::sync::Arc;

use outplane_p4runtime::bytestring;
use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::schema::{ActionInfo, FieldInfo, MatchKind, MetadataInfo, ParamInfo, Schema};
use proto::field_match::{self, FieldMatchType};

use super::action::ActionCall;
use super::refusal::{Outcome, Refusal};
use super::table::{Matches, Range, Shape};

/// The value of a byte string for something of `bits` bits. What does not fit, or is empty, is `OUT_OF_RANGE`.
pub(crate) fn value(bytes: &[u8], bits: u32, what: impl FnOnce() -> String) -> Outcome<u128> {
    bytestring::parse(bytes, bits).map_err(|error| Refusal::out_of_range(format!("{}: {error}", what())))
}

/// A port number: 32 bits, as v1model's egress port and the standard's SDN ports.
pub(crate) fn port(bytes: &[u8], what: &str) -> Outcome<u32> {
    let port = value(bytes, 32, || what.to_owned())?;
    u32::try_from(port).map_err(|_| Refusal::out_of_range(format!("{what}: {port} is no port number")))
}

/// One field's condition.
#[derive(Clone, Copy)]
enum Condition {
    Masked { value: u128, mask: u128 },
    Range(Range),
}

/// The matches of an entry or value set member. Exact fields must all be there; don't-care must be left out.
pub(crate) fn matches(fields: &[FieldInfo], matches: &[proto::FieldMatch]) -> Outcome<Matches> {
    let mut conditions = vec![None; fields.len()];
    for field_match in matches {
        let id = field_match.field_id;
        let index = fields.iter().position(|field| field.id == id);
        let index = index.ok_or_else(|| Refusal::invalid(format!("there is no match field with id {id}")))?;
        let field = &fields[index];
        let condition = condition(field, field_match.field_match_type.as_ref())?;
        if conditions[index].replace(condition).is_some() {
            return Err(Refusal::invalid(format!("match field {} is given twice", field.name)));
        }
    }
    let mut masks = vec![0; fields.len()];
    let (mut values, mut ranges, mut range_fields) =
        (Vec::with_capacity(matches.len()), Vec::new(), Vec::new());
    for (index, (field, condition)) in fields.iter().zip(conditions).enumerate() {
        match condition {
            Some(Condition::Masked { value, mask }) => {
                masks[index] = mask;
                values.push(value);
            }
            Some(Condition::Range(range)) => {
                let index =
                    u16::try_from(index).map_err(|_| Refusal::invalid("the key has too many fields"))?;
                range_fields.push(index);
                ranges.push(range);
            }
            None if field.kind == MatchKind::Exact => {
                return Err(Refusal::invalid(format!(
                    "exact match field {} is missing; exact fields cannot be left out",
                    field.name
                )));
            }
            None => {}
        }
    }
    Ok(Matches {
        shape: Arc::new(Shape { masks: masks.into(), ranges: range_fields.into() }),
        values: values.into(),
        ranges: ranges.into(),
    })
}

fn condition(field: &FieldInfo, field_match: Option<&FieldMatchType>) -> Outcome<Condition> {
    let all = bytestring::max_value(field.bits);
    let number = |bytes: &[u8]| value(bytes, field.bits, || format!("match field {}", field.name));
    let invalid = |message: &str| Err(Refusal::invalid(format!("match field {}: {message}", field.name)));
    match (&field.kind, field_match) {
        (MatchKind::Exact, Some(FieldMatchType::Exact(exact))) => {
            Ok(Condition::Masked { value: number(&exact.value)?, mask: all })
        }
        (MatchKind::Optional, Some(FieldMatchType::Optional(optional))) => {
            Ok(Condition::Masked { value: number(&optional.value)?, mask: all })
        }
        (MatchKind::Ternary, Some(FieldMatchType::Ternary(ternary))) => {
            let (value, mask) = (number(&ternary.value)?, number(&ternary.mask)?);
            if mask == 0 {
                return invalid("the mask is zero; leave don't-care fields out");
            }
            if value & !mask != 0 {
                return invalid("the value has bits outside the mask");
            }
            Ok(Condition::Masked { value, mask })
        }
        (MatchKind::Lpm, Some(FieldMatchType::Lpm(lpm))) => {
            let value = number(&lpm.value)?;
            let Some(length) = u32::try_from(lpm.prefix_len).ok().filter(|length| *length <= field.bits)
            else {
                return invalid(&format!("a prefix of {} bits in a field of {}", lpm.prefix_len, field.bits));
            };
            if length == 0 {
                return invalid("the prefix is empty; leave don't-care fields out");
            }
            let mask = all & !bytestring::max_value(field.bits - length);
            if value & !mask != 0 {
                return invalid("the value has bits outside the prefix");
            }
            Ok(Condition::Masked { value, mask })
        }
        (MatchKind::Range, Some(FieldMatchType::Range(range))) => {
            let (low, high) = (number(&range.low)?, number(&range.high)?);
            if low > high {
                return invalid("the low bound is above the high bound");
            }
            if low == 0 && high == all {
                return invalid("the range holds every value; leave don't-care fields out");
            }
            Ok(Condition::Range(Range { low, high }))
        }
        (_, None) => invalid("nothing says what it matches"),
        (kind, Some(_)) => invalid(&format!("its match kind is {kind:?}, and the match is of another")),
    }
}

/// The matches as they are read back: fields in the P4Info's order, canonical byte strings.
pub(crate) fn matches_to_proto(fields: &[FieldInfo], matches: &Matches) -> Vec<proto::FieldMatch> {
    let mut values = matches.values.iter();
    let mut ranges = matches.shape.ranges.iter().zip(&matches.ranges).peekable();
    let mut list = Vec::with_capacity(matches.values.len() + matches.ranges.len());
    for (index, (field, &mask)) in fields.iter().zip(&matches.shape.masks).enumerate() {
        let field_match_type = if mask != 0 {
            let Some(value) = values.next().map(|value| bytestring::canonical(*value)) else { break };
            match field.kind {
                MatchKind::Ternary => {
                    FieldMatchType::Ternary(field_match::Ternary { value, mask: bytestring::canonical(mask) })
                }
                MatchKind::Lpm => FieldMatchType::Lpm(field_match::Lpm {
                    value,
                    prefix_len: mask.count_ones().cast_signed(),
                }),
                MatchKind::Optional => FieldMatchType::Optional(field_match::Optional { value }),
                _ => FieldMatchType::Exact(field_match::Exact { value }),
            }
        } else if let Some((_, range)) = ranges.next_if(|(field, _)| usize::from(**field) == index) {
            FieldMatchType::Range(field_match::Range {
                low: bytestring::canonical(range.low),
                high: bytestring::canonical(range.high),
            })
        } else {
            continue;
        };
        list.push(proto::FieldMatch { field_id: field.id, field_match_type: Some(field_match_type) });
    }
    list
}

/// An action call: every parameter just once, each value within its width.
pub(crate) fn params<'a>(
    action: &ActionInfo,
    given: impl Iterator<Item = (u32, &'a [u8])>,
) -> Outcome<ActionCall> {
    let params = values(&action.params, given, |message| format!("action {}: {message}", action.alias))?;
    Ok(ActionCall { id: action.id, params })
}

/// Something that takes a value: a parameter of an action, or a field of a packet header.
pub(crate) trait Slot {
    /// Id, name, width in bits.
    fn head(&self) -> (u32, &str, u32);
}

impl Slot for ParamInfo {
    fn head(&self) -> (u32, &str, u32) {
        (self.id, &self.name, self.bits)
    }
}

impl Slot for MetadataInfo {
    fn head(&self) -> (u32, &str, u32) {
        (self.id, &self.name, self.bits)
    }
}

/// One value for each parameter or metadata field of `layout`, in its order.
pub(crate) fn values<'a, S: Slot>(
    layout: &[S],
    given: impl Iterator<Item = (u32, &'a [u8])>,
    context: impl Fn(&str) -> String,
) -> Outcome<Box<[u128]>> {
    let mut values = vec![None; layout.len()];
    for (id, bytes) in given {
        let Some(index) = layout.iter().position(|slot| slot.head().0 == id) else {
            return Err(Refusal::invalid(context(&format!("there is no parameter or field with id {id}"))));
        };
        let (_, name, bits) = layout[index].head();
        let value = value(bytes, bits, || context(name))?;
        if values[index].replace(value).is_some() {
            return Err(Refusal::invalid(context(&format!("{name} is given twice"))));
        }
    }
    let missing = |slot: &S| Refusal::invalid(context(&format!("{} is missing", slot.head().1)));
    layout.iter().zip(values).map(|(slot, value)| value.ok_or_else(|| missing(slot))).collect()
}

/// An action call as it is read back.
pub(crate) fn call_to_proto(schema: &Schema, call: &ActionCall) -> proto::Action {
    let params = schema.action(call.id).map_or(&[][..], |action| &action.params);
    let params = params.iter().zip(&call.params);
    let params = params.map(|(param, value)| proto::action::Param {
        param_id: param.id,
        value: bytestring::canonical(*value),
    });
    proto::Action { action_id: call.id, params: params.collect() }
}
