//! Expectations: whatever their packets say, it is refused in words, or each is a packet on the switch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_intent::reader;

const BEFORE: &str = "apiVersion: outplane.dev/v1alpha1
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

fuzz_target!(|packets: &str| {
    match reader::parse([("fuzz.yaml", format!("{BEFORE}{packets}"))]) {
        Ok(loaded) => {
            for expected in loaded.expectations.values().flat_map(|expectation| &expectation.packets) {
                let packet =
                    expected.packet.packets(&loaded.intent, loaded.intent.switches.keys().map(String::as_str));
                // More documents may have come, with other switches.
                assert!(
                    packet.is_ok() || loaded.intent.switches.len() > 1,
                    "the reader has made sure: {packet:?}"
                );
            }
        }
        Err(diagnostics) => assert!(!diagnostics.to_string().is_empty()),
    }
});
