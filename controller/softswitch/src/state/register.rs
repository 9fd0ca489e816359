//! Registers: values of any P4 type (`P4Data`, the standard's section 8.4), checked against the type that the P4Info
//! gives them. Cells that were never written are zero and take no memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::p4_bitstring_like_type_spec::TypeSpec as Bits;
use config::p4_data_type_spec::TypeSpec;
use outplane_p4runtime::bytestring;
use outplane_p4runtime::p4::config::v1 as config;
use outplane_p4runtime::p4::v1 as proto;
use proto::p4_data::Data;

use super::refusal::{Outcome, Refusal};

/// How deep types may nest, and how many values one may hold: a P4Info can name types that double at each level.
const MAX_DEPTH: usize = 16;
const MAX_VALUES: usize = 4096;

/// A register's cells that were written.
#[derive(Debug, Default)]
pub(crate) struct Register {
    /// By index.
    pub(crate) cells: BTreeMap<usize, Arc<proto::P4Data>>,
}

/// Bytes that a cell takes, by estimate.
pub(crate) fn cost(data: &proto::P4Data) -> usize {
    64 + 4 * prost::Message::encoded_len(data)
}

/// Walks a type with a value (or without one, to make the zero), within bounds.
struct Walk<'a> {
    types: &'a config::P4TypeInfo,
    values: usize,
}

fn malformed(message: impl Into<String>) -> Refusal {
    Refusal::invalid(message)
}

/// Whether a type can be held: everything that it names is there, and it is no larger than bounds allow.
pub(crate) fn check_spec(spec: &config::P4DataTypeSpec, types: &config::P4TypeInfo) -> Outcome<()> {
    zero(spec, types).map(drop)
}

/// The zero of a type: what a register holds at first. Headers are invalid, enums their first member.
pub(crate) fn zero(spec: &config::P4DataTypeSpec, types: &config::P4TypeInfo) -> Outcome<proto::P4Data> {
    Walk { types, values: 0 }.zero(spec, 0)
}

/// Whether `data` is of a type; byte strings come back canonical.
pub(crate) fn check(
    data: &proto::P4Data,
    spec: &config::P4DataTypeSpec,
    types: &config::P4TypeInfo,
) -> Outcome<proto::P4Data> {
    Walk { types, values: 0 }.check(data, spec, 0)
}

impl<'a> Walk<'a> {
    fn step(&mut self, depth: usize) -> Outcome<()> {
        self.values += 1;
        if depth > MAX_DEPTH || self.values > MAX_VALUES {
            return Err(malformed(format!(
                "the type nests deeper than {MAX_DEPTH} or holds more than {MAX_VALUES} values"
            )));
        }
        Ok(())
    }

    fn named<T>(map: &'a BTreeMap<String, T>, named: &config::P4NamedType) -> Outcome<&'a T> {
        map.get(&named.name).ok_or_else(|| malformed(format!("type {:?} is not in the P4Info", named.name)))
    }

    fn stack_size(&self, size: i32) -> Outcome<usize> {
        let size = usize::try_from(size).ok().filter(|size| self.values + size <= MAX_VALUES);
        size.ok_or_else(|| malformed(format!("a header stack is negative or larger than {MAX_VALUES}")))
    }

    /// The members of a struct, whose specs may be missing in a hostile P4Info.
    fn struct_members(&self, named: &config::P4NamedType) -> Outcome<Vec<&'a config::P4DataTypeSpec>> {
        let spec = Self::named(&self.types.structs, named)?;
        let members = spec.members.iter().map(|member| member.type_spec.as_ref());
        members
            .collect::<Option<_>>()
            .ok_or_else(|| malformed(format!("struct {} has an untyped member", named.name)))
    }

    /// What a new type stands for: itself another type, or the controller's view of it.
    fn new_type(&self, named: &config::P4NamedType) -> Outcome<config::P4DataTypeSpec> {
        use config::p4_new_type_spec::Representation;
        match &Self::named(&self.types.new_types, named)?.representation {
            Some(Representation::OriginalType(spec)) => Ok(spec.clone()),
            Some(Representation::TranslatedType(translation)) => match translation.sdn_type {
                Some(config::p4_new_type_translation::SdnType::SdnBitwidth(bitwidth)) => Ok(bit(bitwidth)),
                _ => Err(malformed(format!(
                    "type {} is translated to a string, which is not supported",
                    named.name
                ))),
            },
            None => Err(malformed(format!("type {} stands for nothing", named.name))),
        }
    }

    fn zero(&mut self, spec: &config::P4DataTypeSpec, depth: usize) -> Outcome<proto::P4Data> {
        self.step(depth)?;
        let zeros =
            |this: &mut Self, members: Vec<&config::P4DataTypeSpec>| -> Outcome<proto::P4StructLike> {
                let members = members.into_iter().map(|member| this.zero(member, depth + 1));
                Ok(proto::P4StructLike { members: members.collect::<Outcome<_>>()? })
            };
        let data = match spec.type_spec.as_ref().ok_or_else(|| malformed("a type is missing"))? {
            TypeSpec::Bitstring(bits) => match bit_kind(bits)? {
                BitKind::Varbit(_) => Data::Varbit(proto::P4Varbit { bitstring: vec![0], bitwidth: 0 }),
                _ => Data::Bitstring(vec![0]),
            },
            TypeSpec::Bool(_) => Data::Bool(false),
            TypeSpec::Tuple(tuple) => Data::Tuple(zeros(self, tuple.members.iter().collect())?),
            TypeSpec::Struct(named) => Data::Struct(zeros(self, self.struct_members(named)?)?),
            TypeSpec::Header(named) => {
                Self::named(&self.types.headers, named)?;
                Data::Header(proto::P4Header::default())
            }
            TypeSpec::HeaderUnion(named) => {
                Self::named(&self.types.header_unions, named)?;
                Data::HeaderUnion(proto::P4HeaderUnion::default())
            }
            TypeSpec::HeaderStack(stack) => {
                Self::named(
                    &self.types.headers,
                    stack.header.as_ref().unwrap_or(&config::P4NamedType::default()),
                )?;
                let entries = vec![proto::P4Header::default(); self.stack_size(stack.size)?];
                Data::HeaderStack(proto::P4HeaderStack { entries })
            }
            TypeSpec::HeaderUnionStack(stack) => {
                let named = stack.header_union.clone().unwrap_or_default();
                Self::named(&self.types.header_unions, &named)?;
                let entries = vec![proto::P4HeaderUnion::default(); self.stack_size(stack.size)?];
                Data::HeaderUnionStack(proto::P4HeaderUnionStack { entries })
            }
            TypeSpec::Enum(named) => {
                let members = &Self::named(&self.types.enums, named)?.members;
                let first =
                    members.first().ok_or_else(|| malformed(format!("enum {} is empty", named.name)))?;
                Data::Enum(first.name.clone())
            }
            TypeSpec::Error(_) => {
                let members = self.types.error.as_ref().map_or(&[][..], |error| &error.members);
                Data::Error(members.first().cloned().ok_or_else(|| malformed("the P4Info names no errors"))?)
            }
            TypeSpec::SerializableEnum(named) => {
                serializable_bits(Self::named(&self.types.serializable_enums, named)?)?;
                Data::EnumValue(vec![0])
            }
            TypeSpec::NewType(named) => return self.zero(&self.new_type(named)?, depth + 1),
        };
        Ok(proto::P4Data { data: Some(data) })
    }

    fn check(
        &mut self,
        data: &proto::P4Data,
        spec: &config::P4DataTypeSpec,
        depth: usize,
    ) -> Outcome<proto::P4Data> {
        self.step(depth)?;
        let data = data.data.as_ref().ok_or_else(|| malformed("the data is missing"))?;
        let spec = spec.type_spec.as_ref().ok_or_else(|| malformed("a type is missing"))?;
        let data = match (spec, data) {
            (TypeSpec::Bitstring(bits), data) => check_bits(bit_kind(bits)?, data)?,
            (TypeSpec::Bool(_), Data::Bool(_)) => data.clone(),
            (TypeSpec::Tuple(tuple), Data::Tuple(value)) => {
                Data::Tuple(self.check_members(value, &tuple.members.iter().collect::<Vec<_>>(), depth)?)
            }
            (TypeSpec::Struct(named), Data::Struct(value)) => {
                Data::Struct(self.check_members(value, &self.struct_members(named)?, depth)?)
            }
            (TypeSpec::Header(named), Data::Header(header)) => {
                Data::Header(self.check_header(header, named)?)
            }
            (TypeSpec::HeaderUnion(named), Data::HeaderUnion(union)) => {
                Data::HeaderUnion(self.check_union(union, named)?)
            }
            (TypeSpec::HeaderStack(stack), Data::HeaderStack(value)) => {
                let named = stack.header.clone().unwrap_or_default();
                self.check_length(value.entries.len(), stack.size)?;
                let entries = value.entries.iter().map(|header| self.check_header(header, &named));
                Data::HeaderStack(proto::P4HeaderStack { entries: entries.collect::<Outcome<_>>()? })
            }
            (TypeSpec::HeaderUnionStack(stack), Data::HeaderUnionStack(value)) => {
                let named = stack.header_union.clone().unwrap_or_default();
                self.check_length(value.entries.len(), stack.size)?;
                let entries = value.entries.iter().map(|union| self.check_union(union, &named));
                Data::HeaderUnionStack(proto::P4HeaderUnionStack {
                    entries: entries.collect::<Outcome<_>>()?,
                })
            }
            (TypeSpec::Enum(named), Data::Enum(name)) => {
                let members = &Self::named(&self.types.enums, named)?.members;
                if !members.iter().any(|member| member.name == *name) {
                    return Err(malformed(format!("enum {} has no member {name:?}", named.name)));
                }
                data.clone()
            }
            (TypeSpec::Error(_), Data::Error(name)) => {
                if !self.types.error.as_ref().is_some_and(|error| error.members.contains(name)) {
                    return Err(malformed(format!("there is no error {name:?}")));
                }
                data.clone()
            }
            (TypeSpec::SerializableEnum(named), Data::EnumValue(value)) => {
                let bits = serializable_bits(Self::named(&self.types.serializable_enums, named)?)?;
                Data::EnumValue(unsigned(value, bits)?)
            }
            (TypeSpec::NewType(named), _) => {
                let data = proto::P4Data { data: Some(data.clone()) };
                return self.check(&data, &self.new_type(named)?, depth + 1);
            }
            _ => return Err(malformed("the data is not of the type that the P4Info says")),
        };
        Ok(proto::P4Data { data: Some(data) })
    }

    fn check_members(
        &mut self,
        value: &proto::P4StructLike,
        specs: &[&config::P4DataTypeSpec],
        depth: usize,
    ) -> Outcome<proto::P4StructLike> {
        if value.members.len() != specs.len() {
            return Err(malformed(format!(
                "{} members where there should be {}",
                value.members.len(),
                specs.len()
            )));
        }
        let members =
            value.members.iter().zip(specs).map(|(member, spec)| self.check(member, spec, depth + 1));
        Ok(proto::P4StructLike { members: members.collect::<Outcome<_>>()? })
    }

    fn check_length(&self, length: usize, size: i32) -> Outcome<()> {
        let size = self.stack_size(size)?;
        if length == size {
            return Ok(());
        }
        Err(malformed(format!("{length} elements in a stack of {size}")))
    }

    fn check_header(
        &mut self,
        header: &proto::P4Header,
        named: &config::P4NamedType,
    ) -> Outcome<proto::P4Header> {
        self.step(0)?;
        let members = &Self::named(&self.types.headers, named)?.members;
        if !header.is_valid {
            let message = || malformed(format!("header {} is not valid, but has fields", named.name));
            return header.bitstrings.is_empty().then(proto::P4Header::default).ok_or_else(message);
        }
        if header.bitstrings.len() != members.len() {
            let (given, wanted) = (header.bitstrings.len(), members.len());
            return Err(malformed(format!("header {} has {given} fields instead of {wanted}", named.name)));
        }
        let fields = header.bitstrings.iter().zip(members).map(|(bytes, member)| {
            let spec = member.type_spec.as_ref();
            let kind = bit_kind(
                spec.ok_or_else(|| malformed(format!("header {} has an untyped field", named.name)))?,
            )?;
            match check_bits(kind, &Data::Bitstring(bytes.clone()))? {
                Data::Bitstring(bytes) => Ok(bytes),
                _ => Err(malformed("a header field is no byte string")),
            }
        });
        Ok(proto::P4Header { is_valid: true, bitstrings: fields.collect::<Outcome<_>>()? })
    }

    fn check_union(
        &mut self,
        union: &proto::P4HeaderUnion,
        named: &config::P4NamedType,
    ) -> Outcome<proto::P4HeaderUnion> {
        let members = &Self::named(&self.types.header_unions, named)?.members;
        let name = &union.valid_header_name;
        match (&union.valid_header, members.iter().find(|member| member.name == *name)) {
            (None, _) if name.is_empty() => Ok(proto::P4HeaderUnion::default()),
            (Some(header), Some(member)) if header.is_valid => {
                let header = self.check_header(
                    header,
                    member.header.as_ref().unwrap_or(&config::P4NamedType::default()),
                )?;
                Ok(proto::P4HeaderUnion { valid_header_name: name.clone(), valid_header: Some(header) })
            }
            _ => Err(malformed(format!(
                "header union {}: one valid header under its member's name, or neither name nor header",
                named.name
            ))),
        }
    }
}

#[derive(Clone, Copy)]
enum BitKind {
    Unsigned(u32),
    Signed(u32),
    Varbit(u32),
}

fn bit(bitwidth: i32) -> config::P4DataTypeSpec {
    let bits = config::P4BitstringLikeTypeSpec {
        type_spec: Some(Bits::Bit(config::P4BitTypeSpec { bitwidth })),
        ..Default::default()
    };
    config::P4DataTypeSpec { type_spec: Some(TypeSpec::Bitstring(bits)) }
}

fn bit_kind(spec: &config::P4BitstringLikeTypeSpec) -> Outcome<BitKind> {
    let (kind, bits): (fn(u32) -> BitKind, i32) = match spec.type_spec.as_ref() {
        Some(Bits::Bit(spec)) => (BitKind::Unsigned, spec.bitwidth),
        Some(Bits::Int(spec)) => (BitKind::Signed, spec.bitwidth),
        Some(Bits::Varbit(spec)) => (BitKind::Varbit, spec.max_bitwidth),
        None => return Err(malformed("a bit string type is missing")),
    };
    u32::try_from(bits)
        .ok()
        .filter(|bits| *bits > 0)
        .map(kind)
        .ok_or_else(|| malformed("a bit string without a width"))
}

fn serializable_bits(spec: &config::P4SerializableEnumTypeSpec) -> Outcome<u32> {
    let bits = spec.underlying_type.as_ref().and_then(|spec| u32::try_from(spec.bitwidth).ok());
    bits.filter(|bits| *bits > 0).ok_or_else(|| malformed("a serializable enum without a width"))
}

fn unsigned(bytes: &[u8], bits: u32) -> Outcome<Vec<u8>> {
    if bytestring::fits(bytes, bits) {
        return Ok(bytestring::canonicalize(bytes).to_vec());
    }
    Err(Refusal::out_of_range(format!("the byte string is empty or does not fit into {bits} bits")))
}

/// The shortest two's complement form, which must fit into `bits` bits with its sign.
fn signed(bytes: &[u8], bits: u32) -> Outcome<Vec<u8>> {
    let out_of_range =
        || Refusal::out_of_range(format!("the byte string is no signed number of {bits} bits"));
    let sign = if bytes.first().ok_or_else(out_of_range)? & 0x80 == 0 { 0x00 } else { 0xff };
    let redundant =
        bytes.windows(2).take_while(|pair| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0).count();
    let bytes = &bytes[redundant..];
    // Bits below the sign's run, and the sign itself.
    let needed = bytes.len() * 8 - (bytes[0] ^ sign).leading_zeros() as usize + 1;
    if needed > bits as usize {
        return Err(out_of_range());
    }
    Ok(bytes.to_vec())
}

fn check_bits(kind: BitKind, data: &Data) -> Outcome<Data> {
    match (kind, data) {
        // In a header, a variable field is a plain byte string as well.
        (BitKind::Unsigned(bits) | BitKind::Varbit(bits), Data::Bitstring(bytes)) => {
            unsigned(bytes, bits).map(Data::Bitstring)
        }
        (BitKind::Signed(bits), Data::Bitstring(bytes)) => signed(bytes, bits).map(Data::Bitstring),
        (BitKind::Varbit(bits), Data::Varbit(value)) => {
            let length = u32::try_from(value.bitwidth).ok().filter(|length| *length <= bits);
            let length = length
                .ok_or_else(|| Refusal::out_of_range(format!("a variable bit string above {bits} bits")))?;
            let bitstring = unsigned(&value.bitstring, length.max(1))?;
            Ok(Data::Varbit(proto::P4Varbit { bitstring, bitwidth: value.bitwidth }))
        }
        _ => Err(malformed("the data is not of the type that the P4Info says")),
    }
}
