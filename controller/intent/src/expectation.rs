//! `Expectation` objects: packets, and what should become of them. They say nothing to a switch; whoever is about to apply
//! policies judges them first.

use std::collections::BTreeMap;

use crate::described::{Fate, PacketSpec};

/// All of them, by name.
pub type Expectations = BTreeMap<String, Expectation>;

/// One object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// Its packets, in order.
    pub packets: Vec<ExpectedPacket>,
}

/// A packet, and what should become of it. The reader has checked it against the intent: it is a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedPacket {
    /// Its name, unique in the object; `packet-<n>` (from 1) where none was given.
    pub name: String,
    /// The packet.
    pub packet: PacketSpec,
    /// What should become of it.
    pub expect: Fate,
    /// On this switch; none: on every one.
    pub switch: Option<String>,
    /// The policy that should decide, as verdicts name it: `FilterPolicy/<name>` and the like.
    pub policy: Option<String>,
    /// The rule of it that should decide.
    pub rule: Option<String>,
}

/// A switch and a segment, and the beginning of an object whose packets come next: what is put before packets that are
/// tried out by themselves.
pub const BEFORE_PACKETS: &str = "apiVersion: outplane.dev/v1alpha1
kind: Switch
metadata: {name: core}
spec: {address: 192.0.2.1:9559, ports: [1, 2]}
---
apiVersion: outplane.dev/v1alpha1
kind: Segment
metadata: {name: office}
spec: {vlan: 20, subnets: [10.1.0.0/16]}
---
apiVersion: outplane.dev/v1alpha1
kind: Expectation
metadata: {name: fuzz}
spec:
  packets:
";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::BEFORE_PACKETS;
    use crate::reader;

    /// Values that are near to good ones, and others.
    fn value() -> impl Strategy<Value = String> {
        let good = "10\\.1\\.0\\.[0-9]|2001:db8::[0-9]|office|core|tcp|udp|icmp|allow|deny|drop|true|[0-9]{1,5}|0x[0-9a-f]{1,4}";
        prop_oneof![3 => good, 1 => "[ -~]{0,12}", 1 => "\\PC{0,6}"]
    }

    const FIELDS: [&str; 21] = [
        "name",
        "src",
        "dst",
        "proto",
        "sport",
        "dport",
        "icmp_type",
        "icmp_code",
        "tcp_flags",
        "fragment",
        "ether_type",
        "llc",
        "snap",
        "vlan",
        "tags",
        "dst_mac",
        "port",
        "segment",
        "switch",
        "policy",
        "rule",
    ];

    /// Any packets are refused in words, or are packets on the switch.
    fn judged(packets: &str) -> Result<bool, TestCaseError> {
        match reader::parse([("fuzz.yaml", format!("{BEFORE_PACKETS}{packets}"))]) {
            Ok(loaded) => {
                for expected in loaded.expectations.values().flat_map(|expectation| &expectation.packets) {
                    let packet = expected.packet.packets(&loaded.intent, std::iter::once("core"));
                    prop_assert!(packet.is_ok(), "{packet:?}: {packets}");
                }
                Ok(true)
            }
            Err(diagnostics) => {
                prop_assert!(!diagnostics.to_string().is_empty());
                Ok(false)
            }
        }
    }

    #[test]
    fn packets_that_are_some_are_taken() {
        let packets = "  - {src: 10.1.0.1, dst: 10.1.0.2, dport: 443, vlan: 20, expect: allow}\n";
        assert!(judged(packets).expect("a packet"));
    }

    proptest! {
        #[test]
        fn packets_of_any_fields_are_packets_or_refused(
            fields in prop::collection::vec((prop::sample::select(&FIELDS[..]), value()), 0..6),
            expect in value(),
        ) {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}, ")).collect();
            let fields = fields.concat();
            judged(&format!("  - {{src: 10.1.0.1, dst: 10.1.0.2, {fields}expect: {expect}}}\n"))?;
        }

        #[test]
        fn any_text_is_refused_in_words(text in "[ -~\n]{0,120}") {
            judged(&text)?;
        }
    }
}
