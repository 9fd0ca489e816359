//! What messages look like on the wire, and what they take in memory, from the descriptors.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// Field numbers stay below: P4Info's go up to 100. A test looks at all.
const HIGHEST: usize = 1024;

/// What a field holds.
#[derive(Debug)]
pub(super) enum Kind {
    /// A number or enum.
    Scalar,
    /// A string or bytes.
    Bytes,
    /// A message: its place among the shapes.
    Message(usize),
}

/// A field.
#[derive(Debug)]
pub(super) struct Field {
    /// Full name.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
    /// Kept on the heap, since its message can hold itself.
    pub(super) boxed: bool,
    /// Bytes of one element where it lies, at most.
    pub(super) size: usize,
    /// Most elements.
    pub(super) most: usize,
}

/// A message.
#[derive(Debug)]
pub(super) struct Shape {
    /// Full name.
    pub(super) name: &'static str,
    /// Bytes of the message where it lies, at most.
    pub(super) size: usize,
    fields: Vec<Option<Field>>,
}

impl Shape {
    pub(super) fn field(&self, number: u64) -> Option<&Field> {
        self.fields.get(usize::try_from(number).ok()?)?.as_ref()
    }
}

/// All messages.
#[derive(Debug)]
pub(super) struct Shapes {
    places: HashMap<&'static str, usize>,
    shapes: Vec<Shape>,
}

/// Those of this crate's .proto files, built when first needed.
pub(super) static SHAPES: LazyLock<Shapes> = LazyLock::new(Shapes::build);

impl Shapes {
    pub(super) fn by_name(&self, name: &str) -> Option<&Shape> {
        self.places.get(name).map(|place| &self.shapes[*place])
    }

    pub(super) fn at(&self, place: usize) -> &Shape {
        &self.shapes[place]
    }

    fn build() -> Self {
        // Our own descriptors, which decode: a test does it.
        let files = FileDescriptorSet::decode(crate::file_descriptor_set()).unwrap_or_default();
        let mut messages = BTreeMap::new();
        for file in &files.file {
            for message in &file.message_type {
                collect(file.package(), message, &mut messages);
            }
        }
        let places: HashMap<&'static str, usize> =
            messages.keys().enumerate().map(|(place, name)| (leaked(name), place)).collect();
        let sizes = Sizes { messages: &messages };
        let shapes = messages.iter().map(|(name, message)| shape(name, message, &places, &sizes)).collect();
        Self { places, shapes }
    }
}

/// Names live as long as the program, as the shapes do.
fn leaked(name: &str) -> &'static str {
    Box::leak(name.to_owned().into_boxed_str())
}

/// A message and those declared in it, by full name.
fn collect<'a>(scope: &str, message: &'a DescriptorProto, into: &mut BTreeMap<String, &'a DescriptorProto>) {
    let name = format!("{scope}.{}", message.name());
    for nested in &message.nested_type {
        collect(&name, nested, into);
    }
    into.insert(name, message);
}

fn shape(
    name: &str,
    message: &DescriptorProto,
    places: &HashMap<&'static str, usize>,
    sizes: &Sizes<'_>,
) -> Shape {
    let mut fields: Vec<Option<Field>> = Vec::new();
    for field in &message.field {
        let place = usize::try_from(field.number()).ok().filter(|place| *place < HIGHEST);
        let Some(place) = place else { continue };
        let kind = match field.r#type() {
            Type::Message => places.get(type_name(field)).map_or(Kind::Bytes, |place| Kind::Message(*place)),
            Type::String | Type::Bytes => Kind::Bytes,
            _ => Kind::Scalar,
        };
        let full = leaked(&format!("{name}.{}", field.name()));
        let size = match kind {
            Kind::Message(_) => sizes.message(type_name(field), &mut Vec::new()),
            Kind::Bytes => 24,
            Kind::Scalar => scalar_size(field.r#type()),
        };
        // An entry of a map is a node of a tree.
        let size = if sizes.is_map(field) { size + 64 } else { size };
        let boxed = field.r#type() == Type::Message && sizes.holds(type_name(field), name, &mut Vec::new());
        let repeated = field.label() == Label::Repeated;
        if fields.len() <= place {
            fields.resize_with(place + 1, || None);
        }
        fields[place] = Some(Field { name: full, kind, repeated, boxed, size, most: super::most(full) });
    }
    Shape { name: leaked(name), size: sizes.message(name, &mut Vec::new()), fields }
}

fn scalar_size(of: Type) -> usize {
    match of {
        Type::Double | Type::Int64 | Type::Uint64 | Type::Sint64 | Type::Fixed64 | Type::Sfixed64 => 8,
        _ => 4,
    }
}

/// `p4.v1.Entity` of a field's `.p4.v1.Entity`.
fn type_name(field: &FieldDescriptorProto) -> &str {
    field.type_name().trim_start_matches('.')
}

/// What messages take where they lie, in prost's types, at most.
struct Sizes<'a> {
    messages: &'a BTreeMap<String, &'a DescriptorProto>,
}

impl Sizes<'_> {
    fn message(&self, name: &str, above: &mut Vec<String>) -> usize {
        let Some(message) = self.messages.get(name) else { return 0 };
        if above.iter().any(|known| known == name) {
            // A box.
            return 8;
        }
        above.push(name.to_owned());
        let mut size = 0;
        let mut choices: BTreeMap<i32, usize> = BTreeMap::new();
        for field in &message.field {
            let one = self.field(field, above);
            match field.oneof_index {
                Some(choice) if !field.proto3_optional() => {
                    let largest = choices.entry(choice).or_default();
                    *largest = one.max(*largest);
                }
                _ => size += one,
            }
        }
        above.pop();
        let size = size + choices.values().map(|largest| largest + 8).sum::<usize>();
        size.next_multiple_of(8)
    }

    fn field(&self, field: &FieldDescriptorProto, above: &mut Vec<String>) -> usize {
        if field.label() == Label::Repeated {
            return 24;
        }
        match field.r#type() {
            Type::String | Type::Bytes => 24,
            Type::Message => self.message(type_name(field), above) + 8,
            scalar => scalar_size(scalar) * if field.proto3_optional() { 2 } else { 1 },
        }
    }

    /// Whether a message can hold another in itself, through fields that are not repeated.
    fn holds(&self, name: &str, other: &str, above: &mut Vec<String>) -> bool {
        if name == other {
            return true;
        }
        let Some(message) = self.messages.get(name).filter(|_| !above.iter().any(|known| known == name))
        else {
            return false;
        };
        above.push(name.to_owned());
        message.field.iter().any(|field| {
            field.r#type() == Type::Message
                && field.label() != Label::Repeated
                && self.holds(type_name(field), other, above)
        })
    }

    fn is_map(&self, field: &FieldDescriptorProto) -> bool {
        let entry = self.messages.get(type_name(field)).and_then(|message| message.options.as_ref());
        entry.is_some_and(prost_types::MessageOptions::map_entry)
    }
}
