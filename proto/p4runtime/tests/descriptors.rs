//! Our .proto files say what the official ones say: every message, field, enum, oneof and method.
//!
//! Both descriptor sets become lists of facts by path ("p4.v1.Update.type" -> "field 1, ..."); the lists must be equal.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};

/// See data/README.md.
const OFFICIAL: &[u8] = include_bytes!("data/p4runtime-1.6.0.binpb");

/// What a descriptor set says, by path.
type Facts = BTreeMap<String, String>;

fn ours() -> FileDescriptorSet {
    FileDescriptorSet::decode(outplane_p4runtime::file_descriptor_set()).unwrap()
}

fn official() -> FileDescriptorSet {
    FileDescriptorSet::decode(OFFICIAL).unwrap()
}

fn facts(set: &FileDescriptorSet) -> Facts {
    let mut facts = Facts::new();
    for file in &set.file {
        file_facts(file, &mut facts);
    }
    facts
}

fn add(facts: &mut Facts, path: String, fact: String) {
    match facts.entry(path) {
        Entry::Vacant(vacant) => {
            vacant.insert(fact);
        }
        Entry::Occupied(occupied) => panic!("{} is there twice", occupied.key()),
    }
}

fn file_facts(file: &FileDescriptorProto, facts: &mut Facts) {
    let package = file.package();
    let imports: BTreeSet<_> = file.dependency.iter().map(String::as_str).collect();
    let public = &file.public_dependency;
    let fact = format!("file of {package}, syntax {}, imports {imports:?}, public {public:?}", file.syntax());
    add(facts, file.name().to_owned(), fact);
    for message in &file.message_type {
        message_facts(package, message, facts);
    }
    for enumeration in &file.enum_type {
        enum_facts(package, enumeration, facts);
    }
    for extension in &file.extension {
        add(facts, format!("{package}.{}", extension.name()), "extension".to_owned());
    }
    for service in &file.service {
        let path = format!("{package}.{}", service.name());
        for method in &service.method {
            let fact = format!(
                "method {}{} -> {}{}",
                if method.client_streaming() { "stream " } else { "" },
                method.input_type(),
                if method.server_streaming() { "stream " } else { "" },
                method.output_type(),
            );
            add(facts, format!("{path}.{}", method.name()), fact);
        }
        add(facts, path, "service".to_owned());
    }
}

fn message_facts(scope: &str, message: &DescriptorProto, facts: &mut Facts) {
    let path = format!("{scope}.{}", message.name());
    let reserved: Vec<_> = message.reserved_range.iter().map(|range| (range.start(), range.end())).collect();
    let options = message.options.clone().unwrap_or_default();
    let fact = format!(
        "message, map entry {}, deprecated {}, reserved {reserved:?} {:?}, extension ranges {}",
        options.map_entry(),
        options.deprecated(),
        message.reserved_name,
        message.extension_range.len(),
    );
    add(facts, path.clone(), fact);
    for oneof in &message.oneof_decl {
        add(facts, format!("{path}.{}", oneof.name()), "oneof".to_owned());
    }
    for field in &message.field {
        let oneof = field.oneof_index.map(|index| message.oneof_decl[usize::try_from(index).unwrap()].name());
        add(facts, format!("{path}.{}", field.name()), field_fact(field, oneof));
    }
    for nested in &message.nested_type {
        message_facts(&path, nested, facts);
    }
    for enumeration in &message.enum_type {
        enum_facts(&path, enumeration, facts);
    }
    for extension in &message.extension {
        add(facts, format!("{path}.{}", extension.name()), "extension".to_owned());
    }
}

fn field_fact(field: &FieldDescriptorProto, oneof: Option<&str>) -> String {
    let label = match field.label() {
        Label::Optional => "optional",
        Label::Required => "required",
        Label::Repeated => "repeated",
    };
    let kind = match field.r#type() {
        Type::Message | Type::Enum | Type::Group => format!("{:?} {}", field.r#type(), field.type_name()),
        scalar => format!("{scalar:?}"),
    };
    // Descriptors that protoc embeds in generated code leave out the names that follow from the field's.
    let json = field.json_name.clone().unwrap_or_else(|| json_name(field.name()));
    let options = field.options.clone().unwrap_or_default();
    format!(
        "field {}, {label} {kind}, json {json}, oneof {}, proto3 optional {}, deprecated {}, packed {:?}, default {:?}",
        field.number(),
        oneof.unwrap_or("-"),
        field.proto3_optional(),
        options.deprecated(),
        options.packed,
        field.default_value,
    )
}

/// Protobuf's rule: underscores go, the letter after one becomes a capital.
fn json_name(name: &str) -> String {
    let mut json = String::new();
    let mut capital = false;
    for letter in name.chars() {
        match letter {
            '_' => capital = true,
            letter if capital => {
                json.push(letter.to_ascii_uppercase());
                capital = false;
            }
            letter => json.push(letter),
        }
    }
    json
}

fn enum_facts(scope: &str, enumeration: &EnumDescriptorProto, facts: &mut Facts) {
    let path = format!("{scope}.{}", enumeration.name());
    let options = enumeration.options.clone().unwrap_or_default();
    let reserved: Vec<_> =
        enumeration.reserved_range.iter().map(|range| (range.start(), range.end())).collect();
    let fact = format!(
        "enum, allow alias {}, deprecated {}, reserved {reserved:?} {:?}",
        options.allow_alias(),
        options.deprecated(),
        enumeration.reserved_name,
    );
    for value in &enumeration.value {
        let deprecated = value.options.clone().unwrap_or_default().deprecated();
        let fact = format!("value {}, deprecated {deprecated}", value.number());
        add(facts, format!("{path}.{}", value.name()), fact);
    }
    add(facts, path, fact);
}

/// Every difference, by name.
fn differences(ours: &Facts, official: &Facts) -> Vec<String> {
    let paths: BTreeSet<_> = ours.keys().chain(official.keys()).collect();
    paths
        .into_iter()
        .filter_map(|path| match (ours.get(path), official.get(path)) {
            (Some(ours), Some(official)) if ours == official => None,
            (Some(ours), Some(official)) => {
                Some(format!("{path}\n      ours: {ours}\n  official: {official}"))
            }
            (Some(_), None) => Some(format!("{path} is only in ours")),
            (None, _) => Some(format!("{path} is only in the official ones")),
        })
        .collect()
}

#[test]
fn ours_are_the_official_ones() {
    let mut ours = ours();
    // Protobuf's own, which every compiler brings along.
    ours.file.retain(|file| file.package() != "google.protobuf");
    let (ours, official) = (facts(&ours), facts(&official()));
    assert!(official.len() > 500, "the official descriptors have {} facts only", official.len());
    let differences = differences(&ours, &official);
    assert!(
        differences.is_empty(),
        "{} differences from the official descriptors:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// The comparison sees each kind of difference, and names the place.
#[test]
fn differences_are_seen_and_named() {
    type Edit = fn(&mut FileDescriptorProto);
    fn message<'a>(file: &'a mut FileDescriptorProto, name: &str) -> &'a mut DescriptorProto {
        file.message_type.iter_mut().find(|message| message.name() == name).unwrap()
    }
    fn field<'a>(file: &'a mut FileDescriptorProto, name: &str, field: &str) -> &'a mut FieldDescriptorProto {
        message(file, name).field.iter_mut().find(|candidate| candidate.name() == field).unwrap()
    }
    let edits: [(&str, Edit); 17] = [
        ("p4.v1.Update.type\n", |file| field(file, "Update", "type").number = Some(9)),
        ("p4.v1.Update.type\n", |file| field(file, "Update", "type").set_type(Type::Int32)),
        ("p4.v1.Update.entity\n", |file| {
            field(file, "Update", "entity").type_name = Some(".p4.v1.Role".into());
        }),
        ("p4.v1.TableEntry.match\n", |file| field(file, "TableEntry", "match").set_label(Label::Optional)),
        ("p4.v1.TableEntry.priority\n", |file| {
            field(file, "TableEntry", "priority").json_name = Some("prio".into());
        }),
        ("p4.v1.TableEntry.priority\n", |file| {
            field(file, "TableEntry", "priority").proto3_optional = Some(true);
        }),
        ("p4.v1.Role.id\n", |file| field(file, "Role", "id").options = None),
        ("p4.v1.Replica.port\n", |file| field(file, "Replica", "port").oneof_index = None),
        ("p4.v1.Replica.port_kind is only", |file| {
            let replica = message(file, "Replica");
            replica.oneof_decl.clear();
            replica.field.iter_mut().for_each(|field| field.oneof_index = None);
        }),
        ("p4.v1.Uint128.low is only", |file| message(file, "Uint128").field.truncate(1)),
        ("p4.v1.FieldMatch.LPM is only", |file| {
            message(file, "FieldMatch").nested_type.retain(|nested| nested.name() != "LPM");
        }),
        ("p4.v1.CapabilitiesRequest is only", |file| {
            file.message_type.retain(|message| message.name() != "CapabilitiesRequest");
        }),
        ("p4.v1.SdnPort.SDN_PORT_CPU\n", |file| {
            let port = &mut file.enum_type[0].value;
            port.iter_mut().find(|value| value.name() == "SDN_PORT_CPU").unwrap().number = Some(7);
        }),
        ("p4.v1.Update.Type.DELETE is only", |file| {
            message(file, "Update").enum_type[0].value.pop();
        }),
        ("p4.v1.P4Runtime.Read\n", |file| {
            let methods = &mut file.service[0].method;
            methods.iter_mut().find(|method| method.name() == "Read").unwrap().server_streaming = None;
        }),
        ("p4.v1.P4Runtime.Write is only", |file| {
            file.service[0].method.retain(|method| method.name() != "Write");
        }),
        ("p4/v1/p4runtime.proto\n", |file| file.syntax = None),
    ];
    let official = official();
    for (expected, edit) in edits {
        let mut edited = official.clone();
        edit(edited.file.iter_mut().find(|file| file.name() == "p4/v1/p4runtime.proto").unwrap());
        let differences = differences(&facts(&edited), &facts(&official));
        assert!(
            differences.iter().any(|difference| difference.starts_with(expected)),
            "{expected:?} not seen in {differences:#?}"
        );
    }
}
