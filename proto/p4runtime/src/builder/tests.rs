use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

fn router() -> Schema {
    Schema::from_text(crate::EXAMPLE_P4INFO).unwrap()
}

fn everything() -> Schema {
    Schema::from_text(include_str!("../../tests/data/everything.p4info.txt")).unwrap()
}

#[test]
fn what_is_built_is_what_the_table_can_hold() {
    let schema = router();
    let mac = Mac([2, 0, 0, 0, 0, 7]);
    let entries = [
        schema.build_entry("ipv4_lpm").field("dst_addr", (Ipv4Addr::new(10, 0, 0, 0), 8)).action("drop"),
        schema.build_entry("ingress.ipv4_lpm").field("dst_addr", Ipv4Addr::LOCALHOST).action("ingress.drop"),
        // A prefix of no bits is anything.
        schema.build_entry("ipv4_lpm").field("dst_addr", (Ipv4Addr::UNSPECIFIED, 0)).action("drop"),
        schema
            .build_entry("neighbour")
            .field("vlan", 4095u16)
            .field("mac", mac)
            .action("forward")
            .param("mac", mac)
            .param("port", 511u32),
        schema
            .build_entry("acl")
            .field("protocol", 6)
            .field("tcp_flags", Pattern::masked(0x7f, 0x12))
            .field("dst_port", 1..=u16::MAX)
            .field("src_addr", (Ipv4Addr::new(192, 0, 2, 0), 24))
            .field("dst_addr", Pattern::masked(Ipv4Addr::new(1, 2, 3, 4), Ipv4Addr::new(0, 0, 0, 255)))
            .priority(1)
            .action("permit")
            .metadata(b"mine".to_vec()),
        schema
            .build_entry("acl")
            .field("dst_port", 0..=u16::MAX)
            .field("tcp_flags", Pattern::masked(0, 0))
            .priority(1)
            .action("drop"),
    ];
    let entries: Vec<Entry> = entries.map(|entry| entry.build().unwrap()).into();
    for entry in &entries {
        schema.check_entry(entry).unwrap();
    }
    assert_eq!(entries[1].key.matches[0].matches, Match::Lpm { value: 0x7f00_0001, prefix_len: 32 });
    assert_eq!(entries[3].action.params, [(1, 511), (2, 0x0200_0000_0007)]);
    assert!(entries[2].key.matches.is_empty() && entries[5].key.matches.is_empty());
    assert_eq!(
        schema.describe(&entries[4]),
        "acl priority 1: src_addr=0xc0000200/0xffffff00, dst_addr=0x4/0xff, dst_port=1..=65535, protocol=6, \
         tcp_flags=0x12/0x12 -> permit()"
    );
    let default = schema.build_default("acl", Some(schema.build_action("NoAction"))).unwrap();
    assert_eq!(default.action.map(|action| action.id), Some(16_777_220));
    assert_eq!(schema.build_default("acl", None).unwrap().action, None);
}

#[test]
fn errors_name_the_object_and_what_fits() {
    let schema = router();
    let lpm = || schema.build_key("ipv4_lpm");
    let acl = || schema.build_key("acl").priority(1);
    let keys = [
        (schema.build_key("ipv6_lpm"), "the P4Info has no table ipv6_lpm; it has ipv4_lpm, acl, neighbour"),
        (
            schema.build_key("neighbour").field("lan", 1),
            "table neighbour has no match field lan; it has mac (exact, 48 bits), vlan (exact, 12 bits)",
        ),
        (
            lpm().field("dst_addr", Ipv6Addr::LOCALHOST),
            "match field dst_addr of table ipv4_lpm is 32 bits wide, and ::1 does not fit: an IPv6 address has 128 bits",
        ),
        (
            lpm().field("dst_addr", Mac([0; 6])),
            "match field dst_addr of table ipv4_lpm is 32 bits wide, and 00:00:00:00:00:00 does not fit: a MAC address \
             has 48 bits",
        ),
        (
            lpm().field("dst_addr", (Ipv4Addr::new(10, 1, 2, 3), 8)),
            "match field dst_addr of table ipv4_lpm is 32 bits wide, and 10.1.2.3/8 does not fit: bits are set behind \
             the prefix, which is 10.0.0.0/8",
        ),
        (
            lpm().field("dst_addr", (Ipv4Addr::new(10, 1, 2, 3), 33)),
            "match field dst_addr of table ipv4_lpm is 32 bits wide, and 10.1.2.3/33 does not fit: the longest prefix \
             has 32 bits",
        ),
        (
            lpm().field("dst_addr", 1..=2),
            "match field dst_addr of table ipv4_lpm is matched by LPM, and 1..=2 is a range; give a prefix or one value",
        ),
        (
            schema.build_key("neighbour").field("vlan", Pattern::masked(1, 1)),
            "match field vlan of table neighbour is matched by exact, and 1 under the mask 1 is a value with a mask; \
             give one value",
        ),
        (
            acl().field("protocol", -1),
            "match field protocol of table acl is 8 bits wide, and -1 does not fit: it cannot be negative",
        ),
        (
            acl().field("dst_port", Pattern::range(443, 80)),
            "match field dst_port of table acl: the range 443..=80 is empty",
        ),
        (acl().field("protocol", 1).field("protocol", 2), "match field protocol of table acl is given twice"),
        // Also one that says nothing.
        (
            acl().field("dst_port", 0..=u16::MAX).field("dst_port", 1),
            "match field dst_port of table acl is given twice",
        ),
        (schema.build_key("neighbour").field("vlan", 1), "match field mac of table neighbour is missing"),
        (
            acl().priority(0),
            "table acl: the priority 0 is wrong: a table with ternary, range or optional fields wants a priority of at \
             least 1",
        ),
    ];
    for (key, words) in keys {
        assert_eq!(key.build().unwrap_err().to_string(), words);
    }
    let entry = || lpm_entry(&schema);
    let entries = [
        (entry(), "table ipv4_lpm: the entry has no action; name one of forward, drop"),
        (
            entry().param("port", 1),
            "table ipv4_lpm: an argument stands before its action; name one of forward, drop",
        ),
        (
            entry().action("permit"),
            "table ipv4_lpm: its entries may not use action permit; they may use forward, drop",
        ),
        (
            schema.build_entry("acl").priority(1).action("NoAction"),
            "table acl: its entries may not use action NoAction; they may use drop, permit",
        ),
        (entry().action("go"), "the P4Info has no action go; it has forward, drop, permit, NoAction"),
        (entry().action("forward").param("port", 1), "parameter mac of action forward is missing"),
        (
            entry().action("forward").param("port", 1).param("port", 1),
            "parameter port of action forward is given twice",
        ),
        (
            entry().action("forward").param("dmac", 1),
            "action forward has no parameter dmac; it has port (9 bits), mac (48 bits)",
        ),
    ];
    for (entry, words) in entries {
        assert_eq!(entry.build().unwrap_err().to_string(), words);
    }
    let error = schema.build_default("ipv4_lpm", Some(schema.build_action("permit"))).unwrap_err();
    assert_eq!(error.to_string(), "table ipv4_lpm: action permit is not among those that may be its default");
}

fn lpm_entry(schema: &Schema) -> EntryBuilder<'_> {
    schema.build_entry("ipv4_lpm").field("dst_addr", Ipv4Addr::LOCALHOST)
}

#[test]
fn what_has_no_form_is_said() {
    let schema = everything();
    let wide = |field| schema.build_key("wide").field(field, 1).build().unwrap_err().to_string();
    assert_eq!(
        wide("digest"),
        "match field digest of table wide is 256 bits wide; only numbers of at most 128 bits have a form here"
    );
    assert_eq!(
        wide("label"),
        "match field label of table wide is of strings; only numbers of at most 128 bits have a form here"
    );
    assert_eq!(
        wide("odd"),
        "match field odd of table wide is matched by fuzzy, and 1 is a value; give it through the messages, as \
         builders have no form for it"
    );
    let entry = schema.build_entry("balance").field("flow", 1).action("forward").param("port", 1);
    assert_eq!(
        entry.param("mac", [0; 6]).build().unwrap_err().to_string(),
        "table balance: its action comes from an action profile, which has no form as a value"
    );
}

#[test]
fn packets_out_by_names() {
    let schema = router();
    let packet = schema.build_packet_out(vec![1, 2]).field("egress_port", 511).build().unwrap();
    let values: Vec<_> = packet.metadata.iter().map(|field| (field.metadata_id, &field.value[..])).collect();
    assert_eq!((values, &packet.payload[..]), (vec![(1, &[1, 0xff][..]), (2, &[0])], &[1, 2][..]));
    let error = |name, value: u32| {
        schema.build_packet_out(vec![]).field(name, value).build().unwrap_err().to_string()
    };
    assert_eq!(error("pad", 1), "the packet-out header has no field pad; it has egress_port (9 bits)");
    assert_eq!(
        error("egress_port", 512),
        "field egress_port of the packet-out header is 9 bits wide, and 512 does not fit: the most that fits is 511"
    );
}

#[test]
fn addresses_are_read() {
    for text in ["02:00:00:00:00:0a", "2-0-0-0-0-A"] {
        assert_eq!(text.parse(), Ok(Mac([2, 0, 0, 0, 0, 10])));
    }
    for text in
        ["", "02:00:00:00:00", "02:00:00:00:00:00:00", "02:00:00:00:00:+1", "02:00:00:00:00:", "020000000000"]
    {
        assert_eq!(text.parse::<Mac>(), Err(ParseError::Mac(text.to_owned())));
    }
    assert_eq!("fd00::/8".parse(), Ok(Prefix { address: "fd00::".parse().unwrap(), len: 8 }));
    for text in ["", "10.0.0.0", "10.0.0.0/", "10.0.0/8", "10.0.0.0/+8", "10.0.0.0/256", "10.0.0.0/8/8"] {
        assert_eq!(text.parse::<Prefix>(), Err(ParseError::Prefix(text.to_owned())));
    }
}
