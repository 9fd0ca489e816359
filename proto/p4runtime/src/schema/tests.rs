use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;
use crate::p4::config::v1 as config;

const EVERYTHING: &str = include_str!("../../tests/data/everything.p4info.txt");

fn everything() -> Schema {
    Schema::from_text(EVERYTHING).unwrap()
}

#[test]
fn outplane_p4_is_indexed() {
    let schema = Schema::from_text(outplane_p4::P4INFO).unwrap();
    for table in schema.tables() {
        assert_eq!(schema.table(table.id), Some(table));
        assert_eq!(schema.table_by_name(&table.name), Some(table));
        assert_eq!(schema.table_by_name(&table.alias), Some(table));
        assert!(table.size > 0, "{}", table.name);
        for reference in &table.actions {
            assert!(schema.action(reference.action).is_some());
        }
    }
    let filter = schema.table_by_name("filter_admin").unwrap();
    assert!(filter.needs_priority() && filter.has_direct_counter());
    let version = filter.field_by_name("version").unwrap();
    assert_eq!((version.bits, &version.kind), (8, &MatchKind::Ternary));
    assert_eq!(filter.field(version.id), Some(version));
    let forward = schema.table_by_name("OutplaneIngress.l2_forward").unwrap();
    assert!(!forward.needs_priority() && !forward.has_direct_counter());
    assert_eq!(schema.packet_in().unwrap().field_by_name("ingress_port").unwrap().bits, 9);
    assert!(schema.packet_out().unwrap().field_by_name("pad").unwrap().padding);
    assert_eq!(schema.table_by_name("no_such_table"), None);
    assert_eq!(schema.table(forward.id + 1), None);
}

#[test]
fn every_kind_of_object_is_indexed() {
    let schema = everything();
    let forward = schema.action_by_name("forward").unwrap();
    assert_eq!(forward.param_by_name("mac").unwrap().bits, 48);
    assert_eq!(forward.param(2), forward.param_by_name("mac"));

    let route = schema.table_by_name("route").unwrap();
    assert_eq!(route.size, 1024);
    assert!(route.idle_timeout && !route.needs_priority() && !route.is_const);
    assert_eq!(route.direct_counter, Some(schema.counter_by_name("route_counter").unwrap().id));
    assert_eq!(route.direct_meter, Some(schema.meter_by_name("route_meter").unwrap().id));
    let default = ActionCall { action: forward.id, arguments: vec![(1, vec![1, 0xff]), (2, vec![0])] };
    assert_eq!(route.initial_default_action, Some(default));
    let scopes: Vec<_> = route.actions.iter().map(|action| action.scope).collect();
    assert_eq!(scopes, [Scope::TableAndDefault, Scope::TableOnly, Scope::DefaultOnly]);

    let acl = schema.table_by_name("ingress.acl").unwrap();
    assert!(acl.needs_priority());
    assert_eq!(acl.const_default_action, Some(schema.action_by_name("NoAction").unwrap().id));

    let wide = schema.table_by_name("wide").unwrap();
    let widths: Vec<_> = wide.fields.iter().map(|field| field.bits).collect();
    assert_eq!(widths, [256, 0, 20, 7], "wider than 128 bits, a string, a translated number, another kind");
    assert_eq!(wide.fields[3].kind, MatchKind::Other("fuzzy".to_owned()));
    assert!(wide.is_const && wide.has_initial_entries);

    let selector = schema.profile_by_name("selector").unwrap();
    assert_eq!(schema.table_by_name("balance").unwrap().implementation, Some(selector.id));
    assert_eq!((selector.with_selector, selector.size, selector.max_group_size), (true, 64, 8));
    let ports = schema.counter_by_name("ports").unwrap();
    assert_eq!((ports.unit, ports.cells), (CounterUnit::Both, Cells::Indexed(511)));
    assert_eq!(schema.counter_by_name("route_counter").unwrap().cells, Cells::Direct(route.id));
    let limiter = schema.meter_by_name("limiter").unwrap();
    assert_eq!((limiter.unit, limiter.kind), (MeterUnit::Packets, MeterKind::TwoRateThreeColor));
    assert_eq!(schema.meter_by_name("route_meter").unwrap().kind, MeterKind::SingleRateTwoColor);
    assert_eq!(schema.packet_in().unwrap().field(2).unwrap().name, "pad");
    assert_eq!(schema.value_set_by_name("tpids").unwrap().fields[0].bits, 16);
    assert_eq!(schema.register_by_name("state").unwrap().size, 128);
    assert_eq!(schema.digest_by_name("learn").unwrap().name, "ingress.learn");
    assert_eq!(schema.extern_instance_by_name("cache").unwrap().type_name, "Cache");
    assert_eq!(schema.action_by_name("NoAction").unwrap().alias, "NoAction", "no alias: the name");
}

#[test]
fn text_and_binary_are_one() {
    let schema = everything();
    let bytes = schema.p4info().encode_to_vec();
    let again = Schema::from_p4info(&P4Info::decode(bytes.as_slice()).unwrap()).unwrap();
    assert_eq!(again.p4info(), schema.p4info());
    assert_eq!(again.tables(), schema.tables());
    assert_eq!(again.cookie(b"config"), schema.cookie(b"config"));
    // Always this one, in every process: maps have an order. A changed number means that all switches are pushed anew.
    assert_eq!(schema.cookie(b"config"), 17_615_807_162_818_726_639);
}

#[test]
fn cookie_depends_on_both_parts() {
    let schema = everything();
    let mut other = schema.p4info().clone();
    other.pkg_info.as_mut().unwrap().version = "2".to_owned();
    let other = Schema::from_p4info(&other).unwrap();
    let cookies = BTreeMap::from([
        (schema.cookie(b""), "no config"),
        (schema.cookie(b"a"), "a config"),
        (other.cookie(b""), "other P4Info"),
        (other.cookie(b"a"), "both"),
    ]);
    assert_eq!(cookies.len(), 4);
}

/// Every way to spoil the P4Info, and what is said about it.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn spoilt_p4info_is_refused() {
    type Spoil = fn(&mut P4Info);
    fn preamble(p4info: &mut P4Info) -> &mut config::Preamble {
        p4info.tables[0].preamble.as_mut().unwrap()
    }
    let cases: &[(&str, Spoil)] = &[
        ("table number 1 has no preamble", |p| p.tables[0].preamble = None),
        ("table number 2 has no name", |p| p.tables[1].preamble.as_mut().unwrap().name.clear()),
        (r#"table "ingress.route" (id 0) has no id"#, |p| preamble(p).id = 0),
        (r#"table "ingress.route" (id 16777999) has an id whose top byte is 0x01"#, |p| {
            preamble(p).id = 16_777_999;
        }),
        (r#"table "ingress.acl" (id 33554433) has the id 33554433 that another one has"#, |p| {
            p.tables[1].preamble.as_mut().unwrap().id = 33_554_433;
        }),
        ("has the id 67108865 that another one has", |p| {
            // Across kinds too: packet headers are not held to a prefix.
            p.controller_packet_metadata[0].preamble.as_mut().unwrap().id = 67_108_865;
        }),
        (r#"has the name "ingress.route" that another"#, |p| {
            p.tables[1].preamble.as_mut().unwrap().name = "ingress.route".to_owned();
        }),
        (r#"has the alias "route" that another"#, |p| {
            p.tables[1].preamble.as_mut().unwrap().alias = "route".to_owned();
        }),
        (r#"has the alias "ingress.route" that another"#, |p| {
            p.tables[1].preamble.as_mut().unwrap().alias = "ingress.route".to_owned();
        }),
        (r#"match field number 1 of table "ingress.route" (id 33554433) has no name"#, |p| {
            p.tables[0].match_fields[0].name.clear();
        }),
        (r#"match field "vrf" of table "ingress.route" (id 33554433) has no id"#, |p| {
            p.tables[0].match_fields[0].id = 0;
        }),
        (r#"match field "dst" of table "ingress.route" (id 33554433) has the id 1"#, |p| {
            p.tables[0].match_fields[1].id = 1;
        }),
        (r#"has the name "vrf""#, |p| p.tables[0].match_fields[1].name = "vrf".to_owned()),
        (r#"match field "vrf" of table "ingress.route" (id 33554433) is 0 bits wide"#, |p| {
            p.tables[0].match_fields[0].bitwidth = 0;
        }),
        ("is -9 bits wide", |p| p.tables[0].match_fields[0].bitwidth = -9),
        ("is 0 bits wide", |p| p.type_info = None),
        ("is -1 bits wide", |p| {
            let translation = config::p4_new_type_translation::SdnType::SdnBitwidth(-1);
            let translated = config::P4NewTypeTranslation { uri: String::new(), sdn_type: Some(translation) };
            let new_type = p.type_info.as_mut().unwrap().new_types.get_mut("region_t").unwrap();
            new_type.representation =
                Some(config::p4_new_type_spec::Representation::TranslatedType(translated));
        }),
        ("has no match type", |p| p.tables[0].match_fields[0].r#match = None),
        ("has 0 as match type", |p| {
            p.tables[0].match_fields[0].r#match = Some(config::match_field::Match::MatchType(0));
        }),
        ("has 77 as match type", |p| {
            p.value_sets[0].r#match[0].r#match = Some(config::match_field::Match::MatchType(77));
        }),
        ("refers to action 16777999", |p| p.tables[0].action_refs[0].id = 16_777_999),
        (r#"an action of table "ingress.route" (id 33554433) has the id 16777217"#, |p| {
            p.tables[0].action_refs[1].id = 16_777_217;
        }),
        ("has 9 as action scope", |p| p.tables[0].action_refs[0].scope = 9),
        ("has 5 as idle timeout behavior", |p| p.tables[0].idle_timeout_behavior = 5),
        ("has the size -1", |p| p.tables[0].size = -1),
        ("has the default action 16777220: it is none of the table's", |p| {
            p.tables[0].const_default_action_id = 16_777_220;
        }),
        ("has the default action 16777218: its scope forbids it", |p| {
            p.tables[0].const_default_action_id = 16_777_218;
        }),
        ("its argument \"mac\" is missing", |p| {
            p.tables[0].initial_default_action.as_mut().unwrap().arguments.pop();
        }),
        ("it has no parameter 9", |p| {
            p.tables[0].initial_default_action.as_mut().unwrap().arguments[0].param_id = 9;
        }),
        ("its argument \"port\" is given twice", |p| {
            p.tables[0].initial_default_action.as_mut().unwrap().arguments[1].param_id = 1;
        }),
        ("its argument \"port\" is no number of 9 bits", |p| {
            p.tables[0].initial_default_action.as_mut().unwrap().arguments[0].value = vec![2, 0];
        }),
        ("refers to action profile 285212999", |p| p.tables[0].implementation_id = 285_212_999),
        ("refers to action profile 285212673, which does not refer back", |p| {
            p.tables[0].implementation_id = 285_212_673;
        }),
        ("refers to table 33554433, which does not refer back", |p| {
            p.action_profiles[0].table_ids.push(33_554_433);
        }),
        ("refers to table 7", |p| p.action_profiles[0].table_ids.push(7)),
        ("refers to direct counter 318767999", |p| p.tables[0].direct_resource_ids[0] = 318_767_999),
        ("refers to direct meter 352321999", |p| p.tables[0].direct_resource_ids[1] = 352_321_999),
        ("has more than one direct counter", |p| p.tables[0].direct_resource_ids.push(318_767_105)),
        ("has more than one direct meter", |p| p.tables[0].direct_resource_ids.push(352_321_537)),
        (
            r#"direct counter "ingress.route_counter" (id 318767105) refers to table 33554433, which does not"#,
            |p| {
                p.tables[0].direct_resource_ids.remove(0);
            },
        ),
        (r#"direct meter "ingress.route_meter" (id 352321537) refers to table 33554499"#, |p| {
            p.direct_meters[0].direct_table_id = 33_554_499;
        }),
        ("parameter \"port\" of action \"ingress.forward\" (id 16777217) is 0 bits", |p| {
            p.actions[0].params[0].bitwidth = 0;
        }),
        ("parameter \"mac\" of action \"ingress.forward\" (id 16777217) has the id 1", |p| {
            p.actions[0].params[1].id = 1;
        }),
        ("has the largest group size -1", |p| p.action_profiles[0].max_group_size = -1),
        ("has the size -2", |p| p.counters[0].size = -2),
        ("has 4 as unit", |p| p.counters[0].spec.as_mut().unwrap().unit = 4),
        ("has 3 as unit", |p| p.meters[0].spec.as_mut().unwrap().unit = 3),
        ("has -1 as meter type", |p| p.meters[0].spec.as_mut().unwrap().r#type = -1),
        ("field \"pad\" of packet header \"packet_in\" (id 2868941301) is 0 bits", |p| {
            p.controller_packet_metadata[0].metadata[1].bitwidth = 0;
        }),
        ("field \"pad\" of packet header \"packet_in\" (id 2868941301) has the id 1", |p| {
            p.controller_packet_metadata[0].metadata[1].id = 1;
        }),
        ("value set \"parser.tpids\" (id 50331649) has the size -1", |p| p.value_sets[0].size = -1),
        ("register \"ingress.state\" (id 369098753) has the size -1", |p| p.registers[0].size = -1),
        ("digest number 1 has no preamble", |p| p.digests[0].preamble = None),
        ("extern instance \"ingress.cache\" (id 2164260865) has an id whose top byte is 0x81", |p| {
            p.externs[0].extern_type_id = 130;
        }),
    ];
    let schema = everything();
    for (expected, spoil) in cases {
        let mut p4info = schema.p4info().clone();
        spoil(&mut p4info);
        let error = Schema::from_p4info(&p4info).expect_err(expected).to_string();
        assert!(error.contains(expected), "expected {expected:?}, got {error:?}");
    }
}

#[test]
fn what_the_standard_leaves_open_is_accepted() {
    type Change = fn(&mut P4Info);
    let changes: [Change; 5] = [
        |p| *p = P4Info::default(),
        |p| p.counters[0].spec = None,
        // Direct resources that the architecture adds.
        |p| p.tables[0].direct_resource_ids.push(0x8100_0001),
        |p| p.tables[0].size = 0,
        // The same name in two kinds.
        |p| p.actions[0].preamble.as_mut().unwrap().name = "ingress.route".to_owned(),
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut p4info = everything().p4info().clone();
        change(&mut p4info);
        Schema::from_p4info(&p4info).unwrap_or_else(|error| panic!("change {at}: {error}"));
    }
}

#[test]
fn text_errors_have_a_place() {
    for (text, expected) in [
        ("tables {\n  preamble { idd: 1 }\n}", "line 2, column 14: field 'idd' not found"),
        ("tables {", "line 1, column 9: expected"),
        ("\n\n  tables: 7", "line 3, column 11: expected"),
        ("tables { size: 99999999999999999999 }", "line 1, column 16: expected value to be a signed 64-bit"),
        ("pkg_info { name: \"a\nb\" }", "invalid string character"),
        ("type_info { structs { key: \"\\377\" } }", "not valid utf-8"),
        ("tables { preamble { id: 1 id: 2 } }", "line 1, column 31: 'id' is already set"),
        ("\u{1f980}", "line 1, column 1: invalid token"),
    ] {
        let error = Schema::from_text(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
        assert!(error.starts_with("P4Info text, line "), "{error}");
    }
}

#[test]
fn text_of_hostile_size_or_depth_is_refused() {
    let long = "#".repeat(MAX_TEXT_BYTES + 1);
    assert!(matches!(Schema::from_text(&long), Err(SchemaError::TooLong { .. })));
    let many = "tables{}".repeat(MAX_TEXT_MESSAGES + 1);
    assert!(matches!(Schema::from_text(&many), Err(SchemaError::TooManyMessages { .. })));

    let tuple = "tuple { members { ";
    let deep = |levels: usize, close: &str| {
        format!("digests {{ type_spec {{ {}{}", tuple.repeat(levels), close.repeat(2 * levels + 2))
    };
    assert!(matches!(Schema::from_text(&deep(100_000, "}")), Err(SchemaError::TooDeep { line: 1, .. })));
    assert!(matches!(Schema::from_text(&deep(100_000, "")), Err(SchemaError::TooDeep { .. })));
    let angles = deep(100_000, "}").replace('{', "<").replace('}', ">");
    assert!(matches!(Schema::from_text(&angles), Err(SchemaError::TooDeep { .. })));
    // A deep, but not hostile one gets as far as to the digest without preamble.
    let error = Schema::from_text(&deep(20, "}")).unwrap_err();
    assert!(matches!(error, SchemaError::Missing { .. }), "{error}");
    // Any in Any in Any.
    let any = format!("tables {{ other_properties {{ {}", "[a/google.protobuf.Any] { ".repeat(100_000));
    assert!(matches!(Schema::from_text(&any), Err(SchemaError::TooDeep { .. })));
    // Braces in strings and comments open nothing.
    let braces = "{".repeat(1000);
    let text = format!(
        "# {braces} \" '\npkg_info {{ name: \"{braces}\\\"'{braces}\" version: '\"{braces}' }} # {braces}"
    );
    assert_eq!(Schema::from_text(&text).unwrap().tables().len(), 0);
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(4), ..Config::default() }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn mangled_text_never_panics(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), "[ -~\n]{0,4}"), 1..8),
    ) {
        let mut text = EVERYTHING.to_owned();
        for (from, length, insert) in edits {
            let from = from.index(text.len());
            let to = (from + length.index(40)).min(text.len());
            text.replace_range(from..to, &insert);
        }
        let _ = Schema::from_text(&text);
    }

    #[test]
    fn any_text_never_panics(text in "(tables|actions|[{}<>\\[\\]:;,.'\"#/0-9a-fx\\\\\n -]|\\PC){0,60}") {
        let _ = Schema::from_text(&text);
    }

    #[test]
    fn mangled_bytes_never_panic(edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = everything().p4info().encode_to_vec();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(p4info) = P4Info::decode(bytes.as_slice()) {
            let _ = Schema::from_p4info(&p4info);
        }
    }
}
